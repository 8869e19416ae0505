"""`hotseat bench report` and `compare`: read folders of jobs, and write what bench/reports makes of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.reports.joining import JobResults
    from bench.reports.recomputed import Side
    from bench.reports.report import JobInfo, Span
    from bench.results import TrialResult

MAX_JOB_BYTES = 64 * 2**20
MAX_ROWS_BYTES = 32 * 2**20
"""Of one trial's rows.jsonl: what has more of them is drawn without its single requests."""

_COMPARED = ("overview", "rewards", "verdicts", "tasks", "validity")
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, writable=True)


@click.command("report")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=_FOLDER)
@click.option("--html", "html_file", type=_FILE, help="write one HTML file that needs nothing else")
@click.option("--markdown", "markdown_file", type=_FILE, help="write Markdown")
@click.option("--json", "as_json", is_flag=True, help="print every number as JSON")
def report(jobs: tuple[Path, ...], html_file: Path | None, markdown_file: Path | None, as_json: bool) -> None:
    """What jobs showed, computed anew from the results in their folders.

    Several jobs become one report. Configurations of the same name are told apart by their job; tasks whose
    files have changed in between are told apart, and not mixed.

    \b
    hotseat bench report jobs/friday
    hotseat bench report jobs/friday jobs/saturday --html both.html
    """
    from bench.errors import BenchError
    from bench.reading import write_whole
    from bench.reports.html import to_html
    from bench.reports.json_report import to_json
    from bench.reports.markdown import to_markdown
    from bench.reports.recomputed import report_of
    from bench.reports.terminal import to_terminal

    try:
        folders = list(dict.fromkeys(folder.resolve() for folder in jobs))
        with_spans = as_json or html_file is not None
        found = report_of([read_job(folder, with_spans=with_spans, with_fields=True) for folder in folders])
        for file, text in ((html_file, to_html), (markdown_file, to_markdown)):
            if file is not None:
                write_whole(file, text(found))
                click.echo(f"wrote {file}", err=True)
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(to_json(found), nl=False)
    elif html_file is None and markdown_file is None:
        click.echo(to_terminal(found, terminal_width()), nl=False)


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="print every number as JSON")
def compare(a: str, b: str, as_json: bool) -> None:
    """Is A better than B? Each is JOB:CONFIGURATION, or the folder of a job.

    Two jobs with several configurations each are compared name by name.

    \b
    hotseat bench compare jobs/friday:codex-solo jobs/friday:codex-helped
    hotseat bench compare jobs/before jobs/after
    """
    from bench.errors import BenchError
    from bench.reports.json_report import to_json
    from bench.reports.recomputed import report_of
    from bench.reports.terminal import to_terminal

    try:
        found = report_of(*_sides(a, b))
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(to_json(found), nl=False)
    else:
        click.echo(to_terminal(found, terminal_width(), only=_COMPARED), nl=False)


def write_page(job: Path) -> Path:
    """The report of one job as a page in its folder. Raises BenchError."""
    from bench.reading import write_whole
    from bench.reports.html import to_html
    from bench.reports.recomputed import report_of

    page = job / "report.html"
    write_whole(page, to_html(report_of([read_job(job.resolve(), with_spans=True, with_fields=True)])))
    return page


def terminal_width() -> int:
    from bench.reports.terminal import DEFAULT_WIDTH

    return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns


# --- the two sides of a comparison ------------------------------------------------------------------


def _sides(a: str, b: str) -> tuple[list[JobResults], list[tuple[Side, Side]]]:
    """The jobs, with the configurations in question alone, and who is compared to whom."""
    (folder_a, name_a), (folder_b, name_b) = _side(a), _side(b)
    folders = [folder_a] if folder_a == folder_b else [folder_a, folder_b]
    jobs = [read_job(folder, with_spans=False) for folder in folders]
    last = len(jobs) - 1
    pairs = [((0, x), (last, y)) for x, y in _names(a, jobs[0], name_a, b, jobs[last], name_b)]
    wanted = {side for pair in pairs for side in pair}
    return [_only(job, {name for at, name in wanted if at == place}) for place, job in enumerate(jobs)], pairs


def _side(words: str) -> tuple[Path, str | None]:
    """A folder may have a colon in its name."""
    from bench.errors import BenchError

    if Path(words).is_dir():
        return Path(words).resolve(), None
    folder, colon, name = words.rpartition(":")
    if not colon or not Path(folder).is_dir():
        raise BenchError(f"{words}: expected the folder of a job, or FOLDER:CONFIGURATION")
    return Path(folder).resolve(), name


def _names(
    a: str, job_a: JobResults, name_a: str | None, b: str, job_b: JobResults, name_b: str | None
) -> list[tuple[str, str]]:
    from bench.errors import BenchError

    known_a, known_b = _configurations(a, job_a, name_a), _configurations(b, job_b, name_b)
    if len(known_a) == len(known_b) == 1:
        pairs = [(known_a[0], known_b[0])]
    else:
        pairs = [(name, name) for name in known_a if name in known_b]
    if not pairs or (job_a is job_b and any(x == y for x, y in pairs)):
        raise BenchError(
            f"expected two configurations, found {', '.join(known_a)} in {a} and {', '.join(known_b)} in {b}:"
            " name one of each as JOB:CONFIGURATION"
        )
    return pairs


def _configurations(words: str, job: JobResults, name: str | None) -> list[str]:
    from bench.errors import BenchError

    known = sorted({result.configuration for result in job.results})
    if not known:
        raise BenchError(f"{words}: no trial of it has come to its end: run it first")
    if name is None:
        return known
    if name not in known:
        raise BenchError(f"{words}: the job has no results of {name!r}, but of {', '.join(known)}")
    return [name]


def _only(job: JobResults, names: set[str]) -> JobResults:
    from bench.reports.joining import JobResults

    kept = tuple(result for result in job.results if result.configuration in names)
    return JobResults(job.info, kept, job.spans)


# --- folders ----------------------------------------------------------------------------------------


def read_job(folder: Path, *, with_spans: bool, with_fields: bool = False) -> JobResults:
    """`with_fields`: also what the candidates left. Raises BenchError for a result that cannot be read.
    Blocks."""
    from bench.errors import BenchError
    from bench.reports.joining import JobResults
    from bench.results import results_of

    if not (folder / "trials").is_dir() and not (folder / "job.json").is_file():
        raise BenchError(f"{folder}: expected a job's folder, found neither trials nor job.json in it")
    results = tuple(results_of(folder))
    spans = {result.trial: _spans(folder, result) for result in results} if with_spans else {}
    job = JobResults(_info(folder, len(results)), results, spans)
    return _with_fields(folder, job) if with_fields else job


def _with_fields(folder: Path, job: JobResults) -> JobResults:
    """Patches, probes and selections are an addition: one that cannot be read costs what it would have said,
    and a note says so."""
    from bench.candidates import fields_of
    from bench.errors import BenchError
    from bench.selection.record import read_selection_file

    try:
        job = replace(job, fields=tuple(fields_of(folder)))
        return replace(job, selection=read_selection_file(folder))
    except BenchError as error:
        return replace(job, trouble=str(error))


def _info(folder: Path, finished: int) -> JobInfo:
    from bench.reports.report import JobInfo

    about = _about(folder / "job.json")
    cells, began_at, machine = about.get("cells"), about.get("began_at"), about.get("machine")
    return JobInfo(
        name=folder.name,
        plan=str(about.get("plan", "")),
        planned=len(cells) if isinstance(cells, list) else None,
        finished=finished,
        began_at=float(began_at) if isinstance(began_at, int | float) else None,
        machine=_machine(machine) if isinstance(machine, dict) else "",
    )


def _about(path: Path) -> Mapping[str, Any]:
    """Results speak for themselves: a job.json that is lost or damaged takes only what it says with it."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_JOB_BYTES))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _machine(about: Mapping[str, Any]) -> str:
    cpus = about.get("cpus")
    said = [str(about.get("system", "")), f"{cpus} CPUs" if cpus else ""]
    return ", ".join(word for word in said if word)


def _spans(folder: Path, result: TrialResult) -> tuple[Span, ...]:
    """Rows are an addition: a trial without them, or with some that cannot be read, has no spans."""
    from pydantic import ValidationError

    from bench.evidence import Row
    from bench.reports.evidence_rows import spans_of

    path = folder / "trials" / result.trial / "rows.jsonl"
    try:
        if path.stat().st_size > MAX_ROWS_BYTES:
            return ()
        rows = [Row.model_validate_json(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, ValidationError):
        return ()
    return spans_of(rows, result)
