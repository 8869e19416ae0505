"""A race: one task, tried by several configurations at once, each result a patch.

JOB/race.json     what was asked for, and the commit that it began from
JOB/task/         of a user's own repository: the task that was made of it
JOB/baseline/     what the user's checks said before anybody began
JOB/...           else a job like any other: results.py
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.candidates import PATCH
from bench.errors import BenchError, PlanError
from bench.job import JOB_FILE, PLAN_FILE, begin_apart
from bench.patches import changes
from bench.plan import Cell, Plan, load_plan
from bench.proxy_client import RunFeed
from bench.race_board import State
from bench.race_order import Models, Room, in_order, next_to_start
from bench.reading import bounded_if_there, first_complaint, write_whole
from bench.repository import Repository
from bench.results import TrialResult
from bench.session import chosen_models
from bench.snapshot import take_snapshot
from bench.task import Task, load_task, prepare
from bench.trial import BEGUN, Ground, run_trial
from bench.user_task import CHECK_S, ProbeCommand, UserTask, check_user_task, slug, write_user_task
from bench.verifier import Verdict, verify
from bench.watch import NOTHING_YET, Wire

RACE_FILE, TASK_FOLDER, BASELINE = "race.json", "task", "baseline"
_ARCHIVE = ".snapshot.tar"
FORMAT = 1
MAX_RACE_BYTES = 2 * 2**20
FOLLOW_S = 1.0
_NOT_STARTED = (126, 127)
"""A shell's exit codes for a command that is not there, or cannot be run."""


class Race(BaseModel):
    """race.json. `repo` and `head` "": one of Hotseat's own tasks. `limits`: what of the user's working tree
    the candidates did not get. `baseline`: the share of checks that passed before; None: there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    repo: str = ""
    head: str = ""
    prompt: str
    task: str
    task_digest: str
    configurations: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    probes: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a user wants done in a repository."""

    repository: Path
    prompt: str
    checks: tuple[str, ...] = ()
    probes: tuple[ProbeCommand, ...] = ()
    tags: tuple[str, ...] = ()
    check_s: float = CHECK_S


class Watcher(Protocol):
    def began(self, cell: Cell) -> None: ...

    def saw(self, cell: Cell, state: State, wire: Wire) -> None: ...

    def ended(self, cell: Cell, result: TrialResult) -> None: ...

    def draw(self) -> None: ...


# --- what is raced --------------------------------------------------------------------------------


def user_race(folder: Path, request: Request) -> Race:
    """Snapshot and task, in a job's folder; of one that was begun before, what is there. The repository is
    only read. Blocks. Raises BenchError."""
    repository = Repository.at(request.repository)
    name = slug(f"{repository.top.name}-{_title(request.prompt)}", "race")
    wanted = UserTask(
        name, request.prompt, request.checks, request.probes, ("race", *request.tags), request.check_s
    )
    known = read_race(folder)
    if known is not None:
        _check_same(folder, known, repository, request, wanted)
        return known
    check_user_task(wanted)
    repository.commit()
    begin_apart(folder, (TASK_FOLDER, _ARCHIVE))
    shutil.rmtree(folder / TASK_FOLDER, ignore_errors=True)  # of a start that was killed before it was noted
    archive = folder / _ARCHIVE
    snapshot = take_snapshot(repository, archive)
    task = write_user_task(folder / TASK_FOLDER, wanted, archive)
    race = Race(
        repo=str(repository.top),
        head=snapshot.head,
        prompt=request.prompt,
        task=task.label,
        task_digest=task.digest,
        checks=request.checks,
        probes={probe.name: probe.command for probe in request.probes},
        tags=request.tags,
        limits=snapshot.limits,
    )
    write_race(folder, race)
    return race


def task_race(folder: Path, task: Task) -> Race:
    """Of one of Hotseat's own tasks. Raises BenchError."""
    prompt = "\n\n".join(phase.instruction for phase in task.phases)
    race = Race(prompt=prompt, task=task.label, task_digest=task.digest)
    known = read_race(folder)
    if known is None:
        begin_apart(folder, ())
        write_race(folder, race)
    elif (known.repo, known.task, known.task_digest) != ("", task.label, task.digest):
        raise PlanError(f"{folder}: it is the race of {known.task}: take another folder with --job")
    return known or race


def _check_same(
    folder: Path, known: Race, repository: Repository, request: Request, wanted: UserTask
) -> None:
    now = (
        str(repository.top),
        request.prompt,
        request.checks,
        {probe.name: probe.command for probe in request.probes},
        request.tags,
        wanted.verifier_s,  # of the same checks, so by their limit
    )
    limit_s = load_task(folder / TASK_FOLDER).verifier_timeout_s if known.repo else None
    for what, before, asked in zip(
        ("repository", "prompt", "checks", "probes", "tags", "limit for each check (--check-timeout)"),
        (known.repo, known.prompt, known.checks, known.probes, known.tags, limit_s),
        now,
        strict=True,
    ):
        if before != asked:
            raise PlanError(f"{folder}: its race has another {what}: take another folder with --job")


def _title(prompt: str) -> str:
    words = prompt.split()
    return "-".join(words[:6])


def read_race(folder: Path) -> Race | None:
    """None: the job is no race. Raises BenchError."""
    path = folder / RACE_FILE
    if (data := bounded_if_there(path, MAX_RACE_BYTES)) is None:
        return None
    try:
        return Race.model_validate_json(data)
    except ValidationError as error:
        raise BenchError(f"{path}: {first_complaint(error)}") from error


def write_race(folder: Path, race: Race) -> None:
    write_whole(folder / RACE_FILE, race.model_dump_json(indent=1) + "\n")


def kept_plan(folder: Path, text: str, remap: Mapping[str, str]) -> Plan:
    """The plan as the job keeps it; of a job that has begun, job.opened compares. Raises BenchError."""
    path = folder / PLAN_FILE
    if not (folder / JOB_FILE).exists():
        write_whole(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise PlanError(
            f"{folder}: its race has other configurations or bounds: see its {PLAN_FILE}, or"
            " take another folder with --job"
        )
    plan = load_plan(path, remap)
    for one in plan.configurations:
        if one.harness == "oracle" and not (plan.tasks[0].folder / "solution" / "solve.sh").exists():
            raise PlanError(f"{one.name}: nobody knows the solution of {plan.tasks[0].label}: leave it out")
    return plan


# --- the checks before anybody begins -------------------------------------------------------------


async def baseline(folder: Path, task: Task) -> Verdict:
    """What the checks say of the start as it is. Raises BenchError for a command that cannot be started: a
    candidate would be paid for, and nothing known of it."""
    logs = await asyncio.to_thread(_baseline_folder, folder)
    with tempfile.TemporaryDirectory(prefix="hotseat-baseline-", ignore_cleanup_errors=True) as place:
        app = Path(place) / "app"
        app.mkdir()
        await asyncio.to_thread(prepare, task, app, 0)
        verdict = await verify(task, app, logs, 0)
    if verdict.reward is None:
        raise BenchError(f"the checks cannot be run on the start: {verdict.error}: see {logs}/verifier")
    for command, exit_code in _exit_codes(logs):
        if exit_code in _NOT_STARTED:
            raise BenchError(
                f"--check {command!r} ended with exit code {exit_code}, so its program was not found: see"
                f" {logs}/verifier/output.txt"
            )
    return verdict


def _baseline_folder(folder: Path) -> Path:
    """Absolute, for the checks run elsewhere."""
    logs = folder.absolute() / BASELINE
    logs.mkdir(exist_ok=True)
    return logs


def _exit_codes(logs: Path) -> list[tuple[str, int | None]]:
    try:
        found = json.loads((logs / "verifier" / "checks.json").read_bytes())
    except FileNotFoundError:
        return []
    return [(row["command"], row["exit_code"]) for row in found]


# --- running it -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """Candidates in the order in which they start, each with its local models."""

    cells: tuple[Cell, ...]
    models: tuple[Models, ...]
    room: Room


async def line_up(cells: Sequence[Cell], ground: Ground, parallel: int) -> Line:
    """Asks the server what it has room for. Raises ProxyError."""
    if ground.client is None:
        return Line(tuple(cells), tuple(Models() for _ in cells), Room(parallel))
    state = await ground.client.state()
    needs: list[Models] = []
    for cell in cells:
        contestant = ground.contestants.get(cell.configuration.harness)
        offered = chosen_models(contestant.server.offer, cell.configuration) if contestant else ()
        needs.append(Models(model.name for model in offered if model.name in state.models))
    wanted = Models().union(*needs)
    kept = sum(one.footprint_bytes for one in state.models.values() if one.pinned and one.name not in wanted)
    room = Room(
        parallel,
        slots={name: one.slots for name, one in state.models.items()},
        bytes={name: one.footprint_bytes for name, one in state.models.items()},
        free_bytes=state.budget_bytes - kept if state.budget_bytes else None,
        loaded=Models(name for name, one in state.models.items() if one.state == "ready"),
    )
    order = in_order(needs, room)
    return Line(tuple(cells[place] for place in order), tuple(needs[place] for place in order), room)


async def run_race(line: Line, ground: Ground, watcher: Watcher) -> None:
    """As many at once as there is room for. Cancelling it ends those that run. Raises OSError."""
    waiting = list(zip(line.cells, line.models, strict=True))
    running: dict[asyncio.Task[TrialResult], tuple[Cell, Models]] = {}
    following = asyncio.create_task(_follow(running, ground, watcher))
    try:
        while waiting or running:
            at_work = [models for _, models in running.values()]
            place = next_to_start([models for _, models in waiting], at_work, line.room)
            if place is not None:
                cell, models = waiting.pop(place)
                watcher.began(cell)
                running[asyncio.create_task(run_trial(cell, ground))] = (cell, models)
                continue
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                cell, _ = running.pop(task)
                watcher.ended(cell, task.result())
    finally:
        for one in (following, *running):
            one.cancel()
        await asyncio.gather(following, *running, return_exceptions=True)


async def _follow(
    running: Mapping[asyncio.Task[TrialResult], tuple[Cell, Models]], ground: Ground, watcher: Watcher
) -> None:
    """Tell the watcher what the wire shows, again and again."""
    feeds: dict[str, RunFeed] = {}
    while True:
        for cell, _ in list(running.values()):
            state, run = await asyncio.to_thread(_stage, ground.folder / cell.trial)
            wire = NOTHING_YET
            if run and ground.client is not None:
                wire = await feeds.setdefault(run, RunFeed(ground.client, run)).wire()
            watcher.saw(cell, state, wire)
        watcher.draw()
        await asyncio.sleep(FOLLOW_S)


def _stage(folder: Path) -> tuple[State, str]:
    """From what a trial has written so far: how far it is, and its run's name."""
    run = ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        run = str(json.loads((folder / BEGUN).read_bytes())["run"])
    if (folder / "verifier").is_dir():
        return "is checked", run
    return ("works" if run else "prepares"), run


# --- what came of it ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Size:
    """Of a patch."""

    files: int
    added: int
    removed: int


def size_of(patch: str) -> Size:
    found = changes(patch)
    marks = [line[:1] for change in found for hunk in change.hunks for line in hunk.lines]
    return Size(len({change.path for change in found}), marks.count("+"), marks.count("-"))


def patch_size(folder: Path, trial: str) -> Size | None:
    """None: it left no patch. Blocks."""
    try:
        return size_of((folder / "trials" / trial / PATCH).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None
