"""A specification, stage by stage: each a trial of its own, which starts from what the stage before left.

JOB/spec.md, stages.json            the specification as it was run last; which trials count (stage_record.py)
JOB/head.tar                        the commit that all began with
JOB/tasks/N-NAME/                   the task of each stage as it was run last (stage_task.py)
JOB/trials/N-NAME-CONFIGURATION-TRY/    every try, as in any job, with its instruction.md
JOB/stages.patch                    from the commit to what the last finished stage left

So a job of stages is read by `hotseat bench report` and its like as any other.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.job import JOB_FILE, LOCK_FILE, PLAN_FILE, TRIALS, Job, Watcher, begin_apart
from bench.patches import changes
from bench.plan import Cell, Configuration, Plan
from bench.reading import write_whole
from bench.repository import Repository
from bench.results import RESULT, TrialResult, read_result
from bench.snapshot import take_snapshot
from bench.spec import Spec, Stage
from bench.stage_prompt import Before, Failed, State, first_state, told
from bench.stage_record import (
    Record,
    Try,
    is_finished,
    read_record,
    resumed,
    write_record,
)
from bench.stage_review import GOOD, CheckEnded, Review, StageReview, read_ended, review_of
from bench.stage_starts import difference, first_start, next_start
from bench.stage_task import start_of, write_stage_task
from bench.task import Task
from bench.trial import Ground, run_trial

SPEC_FILE, HEAD, TASKS, PATCH = "spec.md", "head.tar", "tasks", "stages.patch"
PLAN_TEXT = "# A job of `hotseat bench stages`: see spec.md and stages.json.\n"
"""Of every such job: what it is asked for may change from start to start, and stages.json says how far."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`repository` None: that of the current directory, or the one that the job began with.
    `configurations`: one for each stage. `goes_on`: also after a stage that failed its checks."""

    spec: Spec
    text: bytes
    repository: Path | None
    configurations: tuple[Configuration, ...]
    start_from: Stage | None = None
    goes_on: bool = False
    state: str = "STATE.md"
    check_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Staged:
    """`job` with what of it need not be done again. `left`: the stages to be done now."""

    job: Job
    wanted: Wanted
    record: Record
    left: tuple[Stage, ...]

    @property
    def needed(self) -> tuple[Configuration, ...]:
        """What the stages that are left are done with, once each."""
        used = {
            one.name: one for one in (self.wanted.configurations[stage.number - 1] for stage in self.left)
        }
        return tuple(used.values())


def plan_of(base: Plan, configurations: Sequence[Configuration]) -> Plan:
    """What a job's folder and the ground are made for: one stage at a time, each once."""
    return replace(
        base, attempts=1, parallel=1, tasks=(), configurations=tuple(configurations), text=PLAN_TEXT
    )


def staged(job: Job, wanted: Wanted) -> Staged:
    """Begin or take up. The repository is only read, and only at the first start. Blocks. Raises
    BenchError."""
    record = read_record(job.folder)
    if record is None:
        record = _begun(job, wanted)
    _check_same(job, record, wanted)
    record = record.model_copy(update={"check_s": wanted.check_s})
    results = _results(job, record)
    kept = resumed(record, wanted.spec, results, wanted.start_from)
    left = wanted.spec.stages[len(kept.kept) :]
    if wanted.start_from is None and not wanted.goes_on and kept.kept:
        last = _review(job, wanted.spec, kept, results).stages[len(kept.kept) - 1]
        left = left if last.state in GOOD else ()
    if not left and kept.kept:
        _mend_patch(job, kept)
    return Staged(job, wanted, kept, left)


def claim(folder: Path) -> None:
    """Before it is opened: a new folder, or one of such a job. Blocks. Raises BenchError."""
    if read_record(folder) is None:
        begin_apart(folder, (JOB_FILE, PLAN_FILE, LOCK_FILE, TRIALS, TASKS, HEAD))


def _take_up(staged: Staged) -> None:
    """What is done again is forgotten when it begins, and no sooner: whoever finds no server has lost
    nothing."""
    if staged.left:
        (staged.job.folder / SPEC_FILE).write_bytes(staged.wanted.text)
        write_record(staged.job.folder, staged.record)
        _mend_patch(staged.job, staged.record, is_known=staged.wanted.start_from is None)


def _check_same(job: Job, record: Record, wanted: Wanted) -> None:
    if record.state != wanted.state:
        raise BenchError(f"{job.folder}: its stages hand on {record.state}: use --state {record.state}")
    if wanted.repository is not None:
        top = Repository.at(wanted.repository).top
        if str(top) != record.repository:
            raise BenchError(
                f"{job.folder} was begun with {record.repository}, and --repo is {top}: take another --job"
            )


def _begun(job: Job, wanted: Wanted) -> Record:
    repository = Repository.at(wanted.repository or Path())
    snapshot = take_snapshot(repository, job.folder / HEAD)
    (job.folder / TASKS).mkdir(exist_ok=True)
    record = Record(
        title=wanted.spec.title,
        repository=str(snapshot.repository),
        head=snapshot.head,
        limits=snapshot.limits,
        state=wanted.state,
        check_s=wanted.check_s,
    )
    write_record(job.folder, record)
    return record


async def run_stages(staged: Staged, ground: Ground, watcher: Watcher) -> None:
    """One after the other, until one fails. Cancelling it ends the one that runs, which is done again at the
    next start. Raises BenchError for what cannot be gone on from."""
    record, wanted, job = staged.record, staged.wanted, staged.job
    await asyncio.to_thread(_take_up, staged)
    for stage in staged.left:
        configuration = wanted.configurations[stage.number - 1]
        task = await asyncio.to_thread(_task, staged, record, stage)
        results = await asyncio.to_thread(_results, job, record)
        cell = Cell(configuration, task, record.attempt(stage, configuration.name, results), seed=0)
        record = record.begun(
            Try(label=stage.label, digest=stage.digest, trial=cell.trial, configuration=configuration.name)
        )
        await asyncio.to_thread(_enlist, job, record, cell)
        watcher.began(cell)
        result = await run_trial(cell, ground)
        watcher.ended(cell, result)
        await asyncio.to_thread(
            shutil.copyfile, task.folder / "instruction.md", job.trials / cell.trial / "instruction.md"
        )
        if not is_finished(result):
            return
        await asyncio.to_thread(_write_patch, job, stage.label, cell.trial, record.state)
        done = (await asyncio.to_thread(review, job, wanted.spec, record)).stages[stage.number - 1]
        if done.state not in GOOD and not wanted.goes_on:
            return


def review(job: Job, spec: Spec, record: Record | None = None) -> Review:
    """Of a job as it is now. Blocks. Raises BenchError."""
    record = record or read_record(job.folder)
    if record is None:
        raise BenchError(f"{job.folder}: no stages.json: it is no job of `hotseat bench stages`")
    return _review(job, spec, record, _results(job, record))


# --- a stage's task --------------------------------------------------------------------------------


def _task(staged: Staged, record: Record, stage: Stage) -> Task:
    spec, job = staged.wanted.spec, staged.job
    folder = job.folder / TASKS / stage.label
    archive = job.folder / ".start.tar"
    state = State(record.state, first_state(spec))
    before = None
    if stage.number == 1:
        first_start(job.folder / HEAD, state, archive)
    else:
        last = record.kept[stage.number - 2]
        patch = job.trials / last.trial / "diff.patch"
        state = next_start(start_of(job.folder / TASKS / last.label), patch, state, archive)
        past = review(job, spec, record.cut(stage.number - 1)).stages
        before = _before(past, past[stage.number - 2], patch, record.state)
    return write_stage_task(folder, spec, stage, told(spec, stage, state, before), archive, record.check_s)


def _before(past: tuple[StageReview, ...], last: StageReview, patch: Path, state_name: str) -> Before:
    failed = [
        Failed(past[end.stage - 1].stage, past[end.stage - 1].stage.items[end.item - 1], end.said)
        for end in last.ended
        if not end.passed
    ]
    touched = changes(patch.read_bytes().decode(errors="replace"))
    others = [change for change in touched if change.path != state_name]
    return Before(last.stage, last.passed, last.checked, failed, others, last.how_ended)


def _mend_patch(job: Job, record: Record, *, is_known: bool = True) -> None:
    """A start that was killed between a stage's result and its patch left an older one. `is_known`: what is
    there is of these stages."""
    path = job.folder / PATCH
    if not record.kept:
        path.unlink(missing_ok=True)
        return
    last = record.kept[-1]
    written_ns = path.stat().st_mtime_ns if path.exists() else 0
    if not is_known or written_ns < (job.trials / last.trial / RESULT).stat().st_mtime_ns:
        _write_patch(job, last.label, last.trial, record.state)


def _write_patch(job: Job, label: str, trial: str, state_name: str) -> None:
    """For the user: of the whole work up to here."""
    outcome = job.folder / ".outcome.tar"
    start, left = start_of(job.folder / TASKS / label), job.trials / trial / "diff.patch"
    next_start(start, left, State(state_name, ""), outcome)
    partial = job.folder / f".{PATCH}.partial"
    partial.write_bytes(difference(job.folder / HEAD, outcome, state_name))
    outcome.unlink()
    partial.replace(job.folder / PATCH)


# --- what is kept ----------------------------------------------------------------------------------


def _enlist(job: Job, record: Record, cell: Cell) -> None:
    """Before it runs: in the record, and among the job's cells, where reports look for what was planned."""
    write_record(job.folder, record)
    path = job.folder / JOB_FILE
    about: dict[str, Any] = json.loads(path.read_bytes())
    about["cells"] = [*(name for name in about["cells"] if name != cell.trial), cell.trial]
    about["tasks"] = {**about["tasks"], cell.task.label: cell.task.digest}
    write_whole(path, json.dumps(about, indent=1) + "\n")


def _results(job: Job, record: Record) -> dict[str, TrialResult]:
    """Of every try that has one."""
    paths = {one.trial: job.trials / one.trial / RESULT for one in record.tries}
    return {trial: read_result(path) for trial, path in paths.items() if path.exists()}


def _review(job: Job, spec: Spec, record: Record, results: Mapping[str, TrialResult]) -> Review:
    ended: dict[str, tuple[CheckEnded, ...]] = {
        one.trial: read_ended(job.trials / one.trial) for one in record.kept if one.trial in results
    }
    return review_of(str(job.folder), spec, record, results, ended)
