"""`hotseat bench select` and `calibrate`: who chooses among candidates, and how well it chooses."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.server import DEFAULT_SERVER

if TYPE_CHECKING:
    from bench.reports.tables import Section
    from bench.selection.calibration import Calibration
    from bench.selection.judge import JudgeSettings
    from bench.selection.known_truth import KnownField
    from bench.selection.record import Selection, SelectionFile
    from bench.task import Task

MAX_REPEAT = 100
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, writable=True)
_URL = click.option(
    "--url",
    envvar="HOTSEAT_SERVER",
    show_envvar=True,
    default=DEFAULT_SERVER,
    show_default=True,
    help="address of a running server",
)
_BUDGET = click.option(
    "--budget",
    type=Decimal,
    default=Decimal("1.00"),
    show_default=True,
    metavar="USD",
    help="what the judge may cost in all",
)
_YES = click.option("--yes", is_flag=True, help="do not ask before a judge that costs money is used")
_JSON = click.option("--json", "as_json", is_flag=True, help="print as JSON")
_SEED = click.option("--seed", type=int, default=0, help="of the orders in which candidates are shown")


@click.command("select")
@click.argument("job", metavar="JOB", type=_FOLDER)
@click.option("--judge", help="model that compares; not given: show the selection that was made before")
@click.option("--task", help="this task alone")
@click.option(
    "--hidden-rewards",
    "hides",
    is_flag=True,
    help="do not prune by rewards, but by the score 'visible' alone: the rewards are the truth to be found",
)
@click.option("--markdown", "markdown_file", type=_FILE, help="write the selection as Markdown too")
@_BUDGET
@_SEED
@_URL
@_YES
@_JSON
def select(
    job: Path,
    judge: str | None,
    task: str | None,
    hides: bool,
    markdown_file: Path | None,
    budget: Decimal,
    seed: int,
    url: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Choose among what the configurations of a job made of each task.

    What fails the checks is left out; of those that behave alike one stands for all; the judge sees the rest
    side by side, without names, in orders that put each in every position. A choice that follows positions is
    a tie. Kept in JOB/selection.json.

    \b
    hotseat bench select jobs/friday --judge qwen3.6-35b-a3b
    hotseat bench select jobs/friday --markdown selection.md
    """
    from bench.errors import BenchError
    from bench.selection.record import read_selection_file
    from bench.selection.views import selection_sections
    from bench.server import ServerTrouble

    try:
        if judge is not None:
            asyncio.run(_select(job, task, _settings(judge, budget, seed, hides=hides), url, yes=yes))
        found = read_selection_file(job)
        if found is None:
            raise BenchError(f"{job}: nothing has been selected yet: name a model with --judge")
        sections = selection_sections(found)
        _write_markdown(markdown_file, sections)
    except (BenchError, ServerTrouble) as error:
        raise click.ClickException(str(error)) from error
    _show(sections, found, as_json=as_json)


@click.command("calibrate")
@click.argument("judge", metavar="JUDGE")
@click.option(
    "--tasks", "names", metavar="A,B", help="these tasks alone  [default: all of Hotseat's, or of the job]"
)
@click.option("--job", type=_FOLDER, help="a finished job's trials, in place of the tasks' own solutions")
@click.option("--repeat", type=click.IntRange(1, MAX_REPEAT), default=1, help="times, each with another seed")
@click.option("--out", type=_FILE, help="file of the results  [default: calibration-JUDGE.json]")
@click.option("--markdown", "markdown_file", type=_FILE, help="write the result as Markdown too")
@_BUDGET
@_SEED
@_URL
@_YES
@_JSON
def calibrate(
    judge: str,
    names: str | None,
    job: Path | None,
    repeat: int,
    out: Path | None,
    markdown_file: Path | None,
    budget: Decimal,
    seed: int,
    url: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Measure what a judge's choices are worth where the truth is known, by method, and say which to use.

    The candidates are the tasks' own solutions, right and broken, judged by their hidden checks on this
    machine; or, with --job, the trials of a finished job by their rewards.

    \b
    hotseat bench calibrate qwen3.6-35b-a3b
    hotseat bench calibrate smollm2-135m --tasks smoke,bugfix-5 --repeat 3
    hotseat bench calibrate qwen3.6-35b-a3b --job jobs/friday
    """
    from bench.errors import BenchError
    from bench.reading import write_whole
    from bench.selection.views import calibration_sections
    from bench.server import ServerTrouble

    wanted = [name for name in (names or "").split(",") if name]
    settings = _settings(judge, budget, seed, hides=True)
    file = out or Path(f"calibration-{re.sub(r'[^A-Za-z0-9._-]', '_', judge)}.json")

    def keep(so_far: Calibration) -> None:
        write_whole(file, so_far.model_dump_json(indent=1) + "\n")

    try:
        found = asyncio.run(_calibrate(settings, wanted, job, repeat, url, keep, yes=yes))
        keep(found)
        sections = calibration_sections(found)
        _write_markdown(markdown_file, sections)
    except (BenchError, ServerTrouble) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"hotseat: wrote {file}", err=True)
    _show(sections, found, as_json=as_json)


def _settings(judge: str, budget: Decimal, seed: int, *, hides: bool) -> JudgeSettings:
    from bench.selection.judge import JudgeSettings

    if not (budget.is_finite() and budget >= 0):
        raise click.BadParameter("expected US dollars, 0 or more", param_hint="--budget")
    return JudgeSettings(judge, budget_usd=budget, seed=seed, rewards_are_hidden=hides)


# --- select ----------------------------------------------------------------------------------------


async def _select(job: Path, task: str | None, settings: JudgeSettings, url: str, *, yes: bool) -> None:
    from bench.launch import first_key
    from bench.proxy_client import connected
    from bench.selection.run import select_job

    def told(one: Selection) -> None:
        click.echo(f"{one.task}, attempt {one.attempt}: {one.configuration or one.decision}", err=True)

    key = first_key(os.environ)
    origin = await asyncio.to_thread(_agreed, settings.model, url, key, yes)
    async with connected(origin, key) as client:
        await select_job(job, settings, client, task=task, watch=told)


def _agreed(judge: str, url: str, key: str | None, yes: bool) -> str:
    """The server's address, once somebody has said that a model which others sell may be asked. Raises
    PlanError, ServerTrouble, Abort."""
    from bench.consent import agree
    from bench.server import fetch_offer

    offer = fetch_offer(url, key)
    model = offer.named(judge)
    agree([judge] if model is not None and not model.is_local else [], yes=yes, them="it")
    return offer.url


# --- calibrate -------------------------------------------------------------------------------------


async def _calibrate(
    settings: JudgeSettings,
    names: Sequence[str],
    job: Path | None,
    repeat: int,
    url: str,
    keep: Callable[[Calibration], None],
    *,
    yes: bool,
) -> Calibration:
    """`keep` is given the whole after each field: a slow judge that is stopped has not worked for nothing."""
    from bench.errors import BenchError
    from bench.launch import first_key
    from bench.proxy_client import connected
    from bench.selection.calibration import Examined, calibrated
    from bench.selection.examination import case_of, examined
    from bench.selection.judge import seated

    key = first_key(os.environ)
    origin = await asyncio.to_thread(_agreed, settings.model, url, key, yes)
    truth = f"rewards of {job}" if job is not None else "the tasks' own solutions, by their hidden checks"
    done: list[Examined] = []
    left_out: dict[str, None] = {}
    so_far: Calibration | None = None
    async with connected(origin, key) as client, seated(settings, client, "calibrate") as seat:
        tasks = [] if job is not None else _tasks(names, left_out)
        for number in range(1, repeat + 1):
            for known in await _known(tasks, names, job, settings.seed, number):
                label = known.field.task
                case = case_of(known)
                if isinstance(case, str):
                    left_out[f"{label}: {case}"] = None
                    continue
                click.echo(f"{label}, {number} of {repeat}: {len(case.compared)} candidates", err=True)
                done.append(await examined(known, case, seat, f"{settings.seed}:{number}"))
                so_far = calibrated(settings.model, seat.run, truth, done, tuple(left_out))
                await asyncio.to_thread(keep, so_far)
    if so_far is None:
        raise BenchError(f"there is nothing to choose from: {'; '.join(left_out)}: take other tasks")
    return so_far.model_copy(update={"left_out": tuple(left_out)})


def _tasks(names: Sequence[str], left_out: dict[str, None]) -> list[Task]:
    """Those that this machine can check. Raises TaskError."""
    from bench.task import named_task, own_tasks

    found = []
    for task in map(named_task, names or own_tasks()):
        if missing := task.missing():
            left_out[f"{task.label}: {', '.join(missing)} not found"] = None
        else:
            found.append(task)
    return found


async def _known(
    tasks: Sequence[Task], names: Sequence[str], job: Path | None, seed: int, number: int
) -> list[KnownField]:
    from bench.selection.known_truth import of_job, solved

    if job is not None:
        return await asyncio.to_thread(of_job, job, names)
    return [
        await solved(task, random.Random(f"{seed}:{task.label}:{number}").randrange(2**31), number)
        for task in tasks
    ]


# --- output ----------------------------------------------------------------------------------------


def _write_markdown(file: Path | None, sections: Sequence[Section]) -> None:
    if file is None:
        return
    from bench.reading import write_whole
    from bench.reports.markdown import section_markdown

    parts = (section_markdown(section, is_first=at == 0) for at, section in enumerate(sections))
    write_whole(file, "\n".join(parts))
    click.echo(f"hotseat: wrote {file}", err=True)


def _show(sections: Sequence[Section], found: SelectionFile | Calibration, *, as_json: bool) -> None:
    from bench.reports.terminal import DEFAULT_WIDTH, MIN_WIDTH, section_text

    if as_json:
        click.echo(json.dumps(found.model_dump(mode="json"), indent=2))
        return
    width = max(MIN_WIDTH, shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns)
    click.echo("\n".join(section_text(section, width) for section in sections), nl=False)
