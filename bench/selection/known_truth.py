"""Fields of known truth: a task's own solutions, judged by its hidden checks, or a finished job's trials."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from bench.behaviour import BEHAVIOUR, read_behaviour
from bench.candidates import Candidate, Field, fields_of
from bench.errors import BenchError
from bench.results import Manifest, TrialResult
from bench.selection.task_text import instructions, task_text
from bench.task import Task
from bench.task_check import solve
from bench.verifier import verify
from bench.workspace import Workspace

SOLUTION_RUN = "solutions"


@dataclass(frozen=True, slots=True)
class KnownField:
    """`text`: what the candidates were told. `singles`: what each configuration is worth on other tasks."""

    field: Field
    text: str
    singles: Mapping[str, float]

    def truth(self, candidate: Candidate) -> float:
        assert candidate.result.reward is not None, "those without a reward are no part of it"
        return candidate.result.reward


async def solved(task: Task, seed: int, number: int) -> KnownField:
    """The task's oracle and its broken ones as candidates; `number`: from 1, as an attempt. Raises BenchError
    if the checks of one fail."""
    candidates = [
        await _solution(task, name, folder, seed, number) for name, folder in task.solutions().items()
    ]
    field = Field(task.label, task.digest, number, tuple(sorted(candidates, key=lambda one: one.name)))
    return KnownField(field, instructions(task), {})


async def _solution(task: Task, name: str, folder: Path, seed: int, number: int) -> Candidate:
    with contextlib.ExitStack() as stack:
        space = await asyncio.to_thread(stack.enter_context, Workspace.made_for(task, seed))
        await solve(task, folder, space.root, seed)
        patch = await asyncio.to_thread(space.diff)
        with tempfile.TemporaryDirectory(prefix="truth-") as logs:
            verdict = await verify(task, space.app, Path(logs), seed)
            behaviour = await asyncio.to_thread(read_behaviour, Path(logs) / "verifier" / BEHAVIOUR)
    if verdict.reward is None:
        raise BenchError(f"{task.label}: the checks of its solution {name} failed: {verdict.error}")
    result = TrialResult(
        job=SOLUTION_RUN,
        trial=f"{task.label}-{name}-{number}",
        run="",
        task=task.label,
        task_digest=task.digest,
        tags=task.tags,
        configuration=name,
        attempt=number,
        seed=seed,
        policy="native",
        started_at=0.0,
        outcome="scored",
        why_ended="exited",
        validity="VALID",
        reward=verdict.reward,
        scores=dict(verdict.scores),
        wall_s=0.0,
        waited_s=0.0,
        overhead_s=0.0,
        verifier_s=verdict.seconds,
        manifest=Manifest(hotseat="", harness="", harness_version=""),
    )
    return Candidate(result, folder, patch.decode(errors="replace"), behaviour)


def of_job(job: Path, tasks: Sequence[str] = ()) -> list[KnownField]:
    """Its finished fields. Blocks. Raises BenchError."""
    found = [field for field in fields_of(job) if not tasks or field.task.split("(")[0] in tasks]
    known = [
        replace(field, candidates=tuple(one for one in field.candidates if one.result.counts))
        for field in found
    ]
    known = [field for field in known if field.candidates]
    if not known:
        raise BenchError(f"{job}: no finished trial whose reward counts: run it first")
    return [KnownField(field, task_text(job, field), _elsewhere(field, known)) for field in known]


def _elsewhere(field: Field, fields: Sequence[Field]) -> dict[str, float]:
    """The mean reward of each configuration over the other tasks, each task counting the same."""
    rewards: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for other in fields:
        if other.task == field.task:
            continue
        for one in other.candidates:
            if one.result.reward is not None:
                rewards[one.name][other.task].append(one.result.reward)
    return {name: fmean(fmean(found) for found in by_task.values()) for name, by_task in rewards.items()}
