"""`hotseat bench map`: what each configuration gets for what it takes, as text, JSON or a drawing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.reports.joining import Trial
    from bench.reports.report import Axis, CostMap

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, writable=True)


@click.command("map")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=_FOLDER)
@click.option("--tag", default="", help="only tasks with this tag")
@click.option(
    "--axis",
    type=click.Choice(["usd", "s", "j"]),
    help="dollars, seconds of the active clock, or joules  [default: all three; usd for a drawing]",
)
@click.option("--svg", "svg_file", type=_FILE, help="write a drawing, one file that needs nothing else")
@click.option("--json", "as_json", is_flag=True, help="print every number as JSON")
def cost_map(
    jobs: tuple[Path, ...], tag: str, axis: Axis | None, svg_file: Path | None, as_json: bool
) -> None:
    """Is the expensive configuration worth it here? Reward against dollars, seconds and joules.

    \b
    hotseat bench map jobs/friday
    hotseat bench map jobs/friday --tag migration --axis usd
    hotseat bench map jobs/friday jobs/saturday --axis j --svg energy.svg
    """
    from bench.errors import BenchError

    try:
        trials = _trials(jobs)
        maps = _maps(trials, tag, axis)
        if svg_file is not None:
            _draw(svg_file, next(found for found in maps if found.axis == (axis or "usd")), trials)
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(_as_json(maps), nl=False)
    elif svg_file is None:
        click.echo(_as_text(maps), nl=False)


def _trials(jobs: Sequence[Path]) -> tuple[Trial, ...]:
    from bench.cli_report import read_job
    from bench.reports.joining import joined

    folders = list(dict.fromkeys(folder.resolve() for folder in jobs))
    return joined([read_job(folder, with_spans=False) for folder in folders]).trials


def _maps(trials: Sequence[Trial], tag: str, axis: Axis | None) -> list[CostMap]:
    from bench.errors import BenchError
    from bench.reports.cost_map import maps_of_tag
    from bench.reports.recomputed import SEED

    maps = maps_of_tag(trials, tag, SEED)
    if not maps:
        tags = sorted({name for trial in trials for name in trial.result.tags})
        there = f"it has {', '.join(tags)}" if tags else "its tasks have none"
        what = f"no task is tagged {tag!r}: {there}" if tag and trials else "no trial of a model has ended"
        raise BenchError(f"there is nothing to map: {what}")
    return [found for found in maps if axis in (None, found.axis)]


def _draw(file: Path, found: CostMap, trials: Sequence[Trial]) -> None:
    from bench.errors import BenchError
    from bench.reading import write_whole
    from bench.reports.map_figure import standalone, title_of
    from bench.reports.words import printable

    if not found.points:
        why = "; ".join(f"{one.configuration}: {one.why}" for one in found.unplaced)
        raise BenchError(f"{file} is not drawn, no configuration has a place on it by {found.axis}: {why}")
    names = sorted({trial.configuration for trial in trials})  # colours as in the report
    write_whole(file, standalone(found, {name: n for n, name in enumerate(names)}, title_of(found)))
    click.echo(f"wrote {file}", err=True)
    for one in found.unplaced:
        click.echo(printable(f"not on it: {one.configuration} ({one.why})"), err=True)


def _as_json(maps: Sequence[CostMap]) -> str:
    from pydantic import TypeAdapter

    from bench.reports.report import CostMap

    found = TypeAdapter(list[CostMap]).dump_python(list(maps), mode="json")
    document = {"kind": "hotseat-bench-map", "format": 1, "maps": found}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _as_text(maps: Sequence[CostMap]) -> str:
    from bench.cli_report import terminal_width
    from bench.reports.sections_map import map_section
    from bench.reports.terminal import section_text

    return section_text(map_section(maps, maps), terminal_width())
