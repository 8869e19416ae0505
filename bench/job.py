"""A job: the cells of a plan, run in their order into one folder, as often as it takes to finish them.

A cell with a result is never run again. What a killed start has left half done is done from scratch. One
process at a time works on a folder: it holds the lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.errors import BenchError, PlanError
from bench.plan import Cell, Plan
from bench.progress import printable
from bench.reading import write_whole
from bench.results import RESULT, TrialResult, read_result
from bench.trial import Ground, run_trial

FORMAT = 1
JOB_FILE, PLAN_FILE, LOCK_FILE, TRIALS = "job.json", "plan.toml", ".lock", "trials"
IGNORE_FILE, _ALL = ".gitignore", "*\n"
MAX_JOB_BYTES = 64 * 2**20
MAX_FAILURES_IN_A_ROW = 5
"""So many trials that could not be run, one after the other, are no accidents: the job stops and says why."""


class Watcher(Protocol):
    def began(self, cell: Cell) -> None: ...

    def ended(self, cell: Cell, result: TrialResult) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """`cells`: all that the job is asked for now, in their order."""

    folder: Path
    name: str
    cells: tuple[Cell, ...]

    @property
    def trials(self) -> Path:
        return self.folder / TRIALS

    def finished(self, *, redoes_infrastructure: bool = False) -> dict[str, TrialResult]:
        """By trial, if wanted without what could not be run. Blocks. Raises BenchError for a result that
        cannot be read or is of another task."""
        found: dict[str, TrialResult] = {}
        for cell in self.cells:
            path = self.trials / cell.trial / RESULT
            if path.exists():
                found[cell.trial] = _own(read_result(path), cell, path)
        if redoes_infrastructure:
            found = {name: one for name, one in found.items() if one.outcome != "infrastructure"}
        return found


def _own(result: TrialResult, cell: Cell, path: Path) -> TrialResult:
    if (result.task_digest, result.seed) != (cell.task.digest, cell.seed):
        raise BenchError(
            f"{path}: it is of another version of {cell.task.label}: take another folder with --job"
        )
    return result


# --- the folder -----------------------------------------------------------------------------------


def begin_apart(folder: Path, known: Collection[str]) -> None:
    """Make the folder of a job that begins, or take one in which it was begun: a job writes and removes files
    of fixed names, so a folder with anything but `known` is somebody's own. git sees nothing of it, for it
    may lie in a repository that is not to be touched. Blocks. Raises BenchError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignoring = folder / IGNORE_FILE
        others = {path.name for path in folder.iterdir()}
        if ignoring.is_file() and ignoring.read_bytes()[: len(_ALL) + 1] == _ALL.encode():  # written first
            others = {name for name in others - set(known) if not name.endswith(".partial")} - {IGNORE_FILE}
        if others:
            raise BenchError(
                f"{folder}: it holds {printable(min(others))} and no such job: take a new folder with --job"
            )
        ignoring.write_text(_ALL)
    except OSError as error:
        raise BenchError(f"{folder}: no job can be kept there: {error.strerror}") from error


@contextlib.contextmanager
def opened(folder: Path, plan: Plan, remap: Mapping[str, str], cells: Sequence[Cell]) -> Iterator[Job]:
    """Make or resume it, and keep others out until the end. Blocks. Raises BenchError."""
    folder = folder.absolute()  # the checks run elsewhere
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        job = Job(folder, folder.name, tuple(cells))
        known = _read(folder)
        if known is None:
            if (folder / TRIALS).exists():
                raise BenchError(f"{folder}: trials and no {JOB_FILE}: take another folder with --job")
            write_whole(folder / PLAN_FILE, plan.text)
        else:
            _check_same(folder, known, plan, remap)
        write_whole(folder / JOB_FILE, json.dumps(_manifest(job, known, plan, remap), indent=1) + "\n")
        (folder / TRIALS).mkdir(exist_ok=True)
        yield job


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Ends with the process, however that ends."""
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BenchError(
                f"{folder}: another `hotseat bench run` is at work on it: wait for it"
            ) from error
        yield


def _manifest(
    job: Job, known: Mapping[str, Any] | None, plan: Plan, remap: Mapping[str, str]
) -> dict[str, Any]:
    """The order keeps what earlier starts were asked for."""
    before = list(known["cells"]) if known else []
    return {
        "format": FORMAT,
        "job": job.name,
        "plan": plan.name,
        "plan_sha": _sha(plan.text),
        "models": dict(remap),
        "seed": plan.seed,
        "parallel": plan.parallel,
        "began_at": known["began_at"] if known else time.time(),
        "started_at": [*(known["started_at"] if known else []), time.time()],
        "machine": {
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        },
        "tasks": {task.label: task.digest for task in plan.tasks},
        "cells": [*before, *(cell.trial for cell in job.cells if cell.trial not in set(before))],
    }


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / JOB_FILE
    if not path.exists():
        return None
    try:
        known = json.loads(path.read_bytes()[:MAX_JOB_BYTES])
        if known["format"] != FORMAT:
            raise BenchError(f"{path}: format {known['format']!r}, and this version reads {FORMAT}")
        _ = (known["plan_sha"], known["models"], known["cells"], known["began_at"], known["started_at"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path}: it cannot be read ({error}): take another folder with --job") from error
    return dict(known)


def _check_same(folder: Path, known: Mapping[str, Any], plan: Plan, remap: Mapping[str, str]) -> None:
    if known["plan_sha"] != _sha(plan.text):
        raise PlanError(f"{folder} was begun with another plan: see its {PLAN_FILE}, or take another --job")
    if known["models"] != dict(remap):
        raise PlanError(
            f"{folder} was begun with --map {known['models']}, and now it is {dict(remap)}:"
            " take another --job"
        )


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- the cells ------------------------------------------------------------------------------------


async def run_cells(cells: Sequence[Cell], ground: Ground, parallel: int, watcher: Watcher) -> None:
    """`parallel` at once, in their order. Cancelling it ends those that run, and leaves no half result.
    Raises BenchError if nothing can be run any more."""
    waiting = iter(cells)
    failed_in_a_row: list[str] = []

    async def work() -> None:
        for cell in waiting:
            watcher.began(cell)
            result = await run_trial(cell, ground)
            watcher.ended(cell, result)
            if result.outcome != "infrastructure":
                failed_in_a_row.clear()
            else:
                failed_in_a_row.append(result.error)
            if len(failed_in_a_row) >= MAX_FAILURES_IN_A_ROW:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(min(parallel, len(cells))):
            group.create_task(work())
    if len(failed_in_a_row) >= MAX_FAILURES_IN_A_ROW:
        raise BenchError(
            f"{len(failed_in_a_row)} trials in a row could not be run, the last because"
            f" {failed_in_a_row[-1]}: mend it and run the same command with --redo-infrastructure"
        )
