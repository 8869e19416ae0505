"""`hotseat bench run`: reads the environment, builds what a job needs, says what will be done, does it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.server import DEFAULT_SERVER

if TYPE_CHECKING:
    from bench.plan import Cell, Plan
    from bench.results import Outcome, TrialResult

JOBS = "jobs"
INTERRUPT_EXIT = 130
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command("run")
@click.argument("plan_name", metavar="PLAN")
@click.option(
    "--job",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"folder of results; one that exists is gone on with  [default: {JOBS}/PLAN-TIME]",
)
@click.option(
    "--map", "maps", multiple=True, metavar="A=B", help="put model B in the place of A; may be repeated"
)
@click.option("--only", multiple=True, metavar="CONFIG", help="these configurations alone; may be repeated")
@click.option("--attempts", type=click.IntRange(1, 1000), help="instead of the plan's")
@click.option("--parallel", type=click.IntRange(1, 64), help="trials at once, instead of the plan's")
@click.option(
    "--url",
    envvar="HOTSEAT_SERVER",
    show_envvar=True,
    help=f"address of a running server, also for a plan that brings its own  [default: {DEFAULT_SERVER}]",
)
@click.option("--redo-infrastructure", "redoes", is_flag=True, help="run again what could not be run")
@click.option("--yes", is_flag=True, help="do not ask before models that cost money are used")
@click.option("--quiet", is_flag=True, help="say nothing but errors and the end")
@click.option("--json", "as_json", is_flag=True, help="print the end as JSON")
def run(
    plan_name: str,
    folder: Path | None,
    maps: tuple[str, ...],
    only: tuple[str, ...],
    attempts: int | None,
    parallel: int | None,
    url: str | None,
    redoes: bool,
    yes: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run every cell of a plan: configurations × tasks × attempts, each in a fresh workspace.

    PLAN is a file, or one of Hotseat's own by its name. A job that was stopped goes on with the same
    command and its --job; finished trials are not repeated.

    \b
    hotseat bench run demo
    hotseat bench run bench/plans/free-local.toml --map glm-4.7-flash=smollm2-135m --job jobs/friday
    """
    from bench.cli_report import write_page
    from bench.errors import BenchError
    from bench.harnesses.base import UnsuitedSetup
    from bench.launch import first_key
    from bench.server import ServerTrouble

    wishes = Wishes(
        plan_name=plan_name,
        folder=folder or Path(JOBS) / f"{Path(plan_name).stem}-{time.strftime('%Y%m%d-%H%M%S')}",
        remap=pairs(maps),
        only=only,
        attempts=attempts,
        parallel=parallel,
        url=url,
        key=first_key(os.environ),
        redoes=redoes,
        yes=yes,
        quiet=quiet,
    )
    try:
        ended = asyncio.run(_run(wishes))
        page = write_page(ended.folder)
    except (BenchError, ServerTrouble, UnsuitedSetup) as error:
        raise click.ClickException(str(error)) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo(f"hotseat: stopped; go on with the same command and --job {wishes.folder}", err=True)
        sys.exit(INTERRUPT_EXIT)
    click.echo(f"hotseat: report: {page}", err=True)
    click.echo(json.dumps(ended.as_json(), indent=2) if as_json else str(ended))
    return 1 if ended.outcomes.keys() & {"infrastructure", "verifier-failed"} else 0


@dataclass(frozen=True, slots=True)
class Wishes:
    plan_name: str
    folder: Path
    remap: Mapping[str, str]
    only: tuple[str, ...]
    attempts: int | None
    parallel: int | None
    url: str | None
    key: str | None = field(repr=False)
    redoes: bool
    yes: bool
    quiet: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """What a job has now."""

    folder: Path
    trials: int
    made_now: int
    outcomes: Mapping[Outcome, int]
    invalid: int

    def as_json(self) -> dict[str, Any]:
        return {
            "job": str(self.folder),
            "trials": self.trials,
            "made_now": self.made_now,
            "outcomes": dict(self.outcomes),
            "invalid": self.invalid,
        }

    def __str__(self) -> str:
        shown = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        trials = "1 trial" if self.trials == 1 else f"{self.trials} trials"
        return f"{trials} in {self.folder}: {shown}; {self.invalid} INVALID"


async def _run(wishes: Wishes) -> Ended:
    from bench.consent import agree, sold_models
    from bench.ground import Address, ground
    from bench.job import opened, run_cells
    from bench.progress import Progress, ticking

    plan = _plan(wishes)
    cells = plan.cells()
    with opened(wishes.folder, plan, wishes.remap, cells) as job:
        finished = job.finished(redoes_infrastructure=wishes.redoes)
        _foretell(wishes, plan, cells, finished)
        left = [cell for cell in cells if cell.trial not in finished]
        if left:
            address = Address(wishes.url, wishes.key)
            async with ground(job, plan, address, os.environ) as stands:
                agree(sold_models(plan, stands), yes=wishes.yes)
                progress = Progress.on_stderr(len(cells), len(finished), is_quiet=wishes.quiet)
                with ended_by_signals():
                    async with ticking(progress):
                        await run_cells(left, stands, plan.parallel, progress)
        results = job.finished().values()
    outcomes = Counter(result.outcome for result in results)
    invalid = sum(result.validity == "INVALID" for result in results)
    return Ended(wishes.folder, len(cells), len(left), outcomes, invalid)


def _plan(wishes: Wishes) -> Plan:
    from bench.errors import PlanError
    from bench.plan import named_plan

    plan = named_plan(wishes.plan_name, wishes.remap)
    known = [one.name for one in plan.configurations]
    if unknown := [name for name in wishes.only if name not in known]:
        raise PlanError(f"--only {unknown[0]}: the plan has {', '.join(known)}")
    return dataclasses.replace(
        plan,
        configurations=tuple(
            one for one in plan.configurations if not wishes.only or one.name in wishes.only
        ),
        attempts=wishes.attempts or plan.attempts,
        parallel=wishes.parallel or plan.parallel,
    )


def _foretell(wishes: Wishes, plan: Plan, cells: Sequence[Cell], finished: Mapping[str, TrialResult]) -> None:
    if wishes.quiet:
        return
    from bench.forecast import forecast  # scipy takes a second to import

    for line in forecast(plan, cells, finished):
        click.echo(line, err=True)
    click.echo(f"results: {wishes.folder}", err=True)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """While trials run, Ctrl-C and SIGTERM cancel this task, which ends them."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def pairs(words: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, model = word.partition("=")
        if not (name and equals and model):
            raise click.BadParameter(f"expected A=B, found {word!r}", param_hint="--map")
        found[name] = model
    return found
