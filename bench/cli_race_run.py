"""A race as its options ask for it: laid out, said, run, judged, noted. cli_race has read the environment."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli_run import ended_by_signals
from bench.server import DEFAULT_SERVER

if TYPE_CHECKING:
    from bench.plan import Cell, Plan
    from bench.proxy_client import ProxyClient
    from bench.race import Line, Race, Size
    from bench.race_board import Board
    from bench.race_end import Ended
    from bench.results import TrialResult
    from bench.selection.record import Selection
    from bench.task import Task
    from bench.trial import Ground


@dataclass(frozen=True, slots=True)
class Work:
    """A user's own task, as the options say it."""

    repo: Path
    prompt: str
    checks: tuple[str, ...]
    check_s: float
    probes: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wishes:
    """`work` None: `task` is one of Hotseat's own."""

    task: str | None
    entrants: tuple[str, ...]
    work: Work | None
    plan_name: str | None
    remap: Mapping[str, str]
    parallel: int | None
    wall: str | None
    usd: str | None
    judge: str | None
    folder: Path
    url: str | None
    key: str | None = field(repr=False)
    notes: bool
    redoes: bool
    yes: bool
    quiet: bool

    def say(self, line: str) -> None:
        if not self.quiet:
            click.echo(f"hotseat: {line}", err=True)


# --- doing it -------------------------------------------------------------------------------------


async def run_wishes(wishes: Wishes) -> Ended:
    """Raises BenchError, ServerTrouble, UnsuitedSetup."""
    from bench.consent import agree, sold_models
    from bench.ground import Address, ground
    from bench.job import opened
    from bench.race import kept_plan, line_up, run_race
    from bench.race_end import Ended

    log = _log_of(wishes)
    said, text = _laid_out(wishes)
    plan = kept_plan(wishes.folder, text, wishes.remap)
    named = [one.name for one in plan.configurations]
    cells = sorted(plan.cells(), key=lambda cell: named.index(cell.configuration.name))
    selections: list[Selection] | None = None
    with opened(wishes.folder, plan, wishes.remap, cells) as job:
        said = _named(wishes, said, plan)
        finished = job.finished(redoes_infrastructure=wishes.redoes)
        left = [cell for cell in cells if cell.trial not in finished]
        wishes.say(f"results: {wishes.folder}")
        said = await _before(wishes, said, plan.tasks[0], is_needed=bool(left))
        if left or wishes.judge:
            address = Address(wishes.url, wishes.key)
            # Slots bound who starts when, and not how many there may be.
            async with ground(job, replace(plan, parallel=1), address, os.environ) as stands:
                agree(sold_models(plan, stands, wishes.judge), yes=wishes.yes)
                line = await line_up(left, stands, plan.parallel)
                _tell(wishes, line)
                with ended_by_signals():
                    await run_race(line, stands, _board(wishes, line.cells))
                    if wishes.judge:
                        selections = await _selected(wishes, wishes.judge, stands)
        results = list(job.finished().values())
    _after(wishes, log)
    return Ended(wishes.folder, said, results, _sizes(wishes.folder, results), selections)


def _laid_out(wishes: Wishes) -> tuple[Race, str]:
    """The race, and its plan. Raises BenchError."""
    from bench.plan import named_plan
    from bench.race import TASK_FOLDER, Request, task_race, user_race
    from bench.race_plan import RacePlan, label_parts, plan_text, task_named
    from bench.task import named_task
    from bench.user_task import ProbeCommand, slug

    base = named_plan(wishes.plan_name) if wishes.plan_name else None
    asked: str | Mapping[str, int | str]
    if wishes.work is None:
        assert wishes.task is not None
        asked = task_named(wishes.task)
        plan_text(RacePlan("race", asked, wishes.entrants), base)  # complain before anything is written
        found = task_race(wishes.folder, named_task(*label_parts(asked)))
    else:
        work = wishes.work
        asked = f"./{TASK_FOLDER}"
        plan_text(RacePlan("race", asked, wishes.entrants), base)
        probes = tuple(ProbeCommand(name, command) for name, command in work.probes)
        found = user_race(
            wishes.folder, Request(work.repo, work.prompt, work.checks, probes, work.tags, work.check_s)
        )
        _tell_start(wishes, found)
    name = slug(f"race-{found.task}", "race")
    wanted = RacePlan(name, asked, wishes.entrants, wishes.parallel, wishes.wall, wishes.usd)
    return found, plan_text(wanted, base)


def _tell_start(wishes: Wishes, found: Race) -> None:
    wishes.say(f"candidates start from {found.head[:12]} of {found.repo}")
    for limit in found.limits:
        wishes.say(f"note: {limit}")
    if not found.checks:
        wishes.say("note: no --check, so nothing is verified: a reward only says that files were changed")


def _named(wishes: Wishes, found: Race, plan: Plan) -> Race:
    """With the names of who races."""
    from bench.race import write_race

    names = tuple(one.name for one in plan.configurations)
    if found.configurations != names:
        found = found.model_copy(update={"configurations": names})
        write_race(wishes.folder, found)
    return found


async def _before(wishes: Wishes, found: Race, task: Task, *, is_needed: bool) -> Race:
    """What the user's checks say of the start, once. Raises BenchError."""
    from bench.race import baseline, write_race

    if not found.checks or found.baseline is not None or not is_needed:
        return found
    verdict = await baseline(wishes.folder, task)
    found = found.model_copy(update={"baseline": verdict.scores.get("visible")})
    write_race(wishes.folder, found)
    passed = round((found.baseline or 0.0) * len(found.checks))
    wishes.say(
        f"before anybody begins, {passed} of {len(found.checks)} checks pass ({verdict.seconds:.1f} s)"
    )
    if passed == len(found.checks):
        wishes.say("note: all of them: they can tell who breaks something, and not who does the work")
    return found


def _tell(wishes: Wishes, line: Line) -> None:
    from bench.race_order import said_of

    for sentence in said_of([cell.configuration.name for cell in line.cells], line.models, line.room):
        wishes.say(sentence)


def _board(wishes: Wishes, cells: Sequence[Cell]) -> Board:
    from bench.race_board import Board

    stream = io.StringIO() if wishes.quiet else sys.stderr
    size: Callable[[], tuple[int, int]] | None = None
    if stream.isatty():
        size = shutil.get_terminal_size
    return Board(stream, cells, size=size)


async def _selected(wishes: Wishes, judge: str, stands: Ground) -> list[Selection]:
    """Raises BenchError."""
    from bench.proxy_client import connected
    from bench.selection.judge import JudgeSettings
    from bench.selection.run import select_job

    async def select(client: ProxyClient) -> list[Selection]:
        return await select_job(wishes.folder, JudgeSettings(judge), client)

    wishes.say(f"{judge} compares the candidates")
    if stands.client is not None:
        return await select(stands.client)
    async with connected(wishes.url or DEFAULT_SERVER, wishes.key) as client:
        return await select(client)


# --- the end --------------------------------------------------------------------------------------


def _log_of(wishes: Wishes) -> Path | None:
    """Found before the race: a race that cannot be noted would be found out about too late. Raises
    BenchError."""
    if not wishes.notes:
        return None
    from bench.errors import BenchError
    from bench.knowledge import begin, find_log

    if wishes.work is not None and not wishes.work.checks:
        raise BenchError("--notes: without --check nothing is verified, and there is nothing to note")
    start = wishes.work.repo if wishes.work else Path.cwd()
    log = find_log(start.absolute())
    if log is None and wishes.work is None:  # else it is the user's repository, which a race only reads
        for path in begin(start.absolute()):
            wishes.say(f"notes: begins {path}")
        log = find_log(start.absolute())
    if log is None:
        raise BenchError(
            f"--notes: {start} has no .hotseat/notes.jsonl: `hotseat bench notes init` begins one"
        )
    return log


def _after(wishes: Wishes, log: Path | None) -> None:
    from bench.cli_report import write_page

    wishes.say(f"report: {write_page(wishes.folder)}")
    if log is not None:
        from bench.knowledge import append, entries_of

        wishes.say(f"notes: {append(log, entries_of(wishes.folder))} new in {log}")


def _sizes(folder: Path, results: Sequence[TrialResult]) -> dict[str, Size | None]:
    from bench.race import patch_size

    return {one.trial: patch_size(folder, one.trial) for one in results}
