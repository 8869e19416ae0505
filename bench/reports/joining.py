"""Several jobs as one set of trials: which names mean the same, and which only look as if they did. Pure.

A configuration of a name that another job has too is told apart by its job. A task whose files differ
between jobs is another task: its results stand in rows of their own.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.candidates import Candidate, Field
from bench.reports.report import JobInfo, Span
from bench.reports.words import plural
from bench.results import TrialResult
from bench.selection.record import SelectionFile

DIGEST_CHARS = 8


@dataclass(frozen=True, slots=True)
class JobResults:
    """One folder, read. `spans`: by trial, for those whose rows are there. `fields`: what candidates left;
    `selection`: what a judge chose of it. `trouble`: why that could not be read, or ""."""

    info: JobInfo
    results: tuple[TrialResult, ...]
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    fields: tuple[Field, ...] = ()
    selection: SelectionFile | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A result under the names that it has in this report."""

    job: str
    task: str
    configuration: str
    result: TrialResult
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """`names`: what the configuration of a job (by its place) is called here."""

    jobs: tuple[JobInfo, ...]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]
    names: Mapping[tuple[int, str], str]
    fields: tuple[Field, ...] = ()


def joined(jobs: Sequence[JobResults]) -> Joined:
    """In the order of configurations, tasks and attempts."""
    names = _job_names(jobs)
    clashing = _clashing([{result.configuration for result in job.results} for job in jobs])
    versions = {task: found for task, found in _digests(jobs).items() if len(found) > 1}
    called = {
        (place, result.configuration): f"{name}/{result.configuration}"
        if result.configuration in clashing
        else result.configuration
        for place, (name, job) in enumerate(zip(names, jobs, strict=True))
        for result in job.results
    }
    trials = [
        Trial(
            job=name,
            task=_task_name(result.task, result.task_digest, versions),
            configuration=called[place, result.configuration],
            result=result,
            spans=job.spans.get(result.trial, ()),
        )
        for place, (name, job) in enumerate(zip(names, jobs, strict=True))
        for result in job.results
    ]
    trials.sort(key=lambda trial: (trial.configuration, trial.task, trial.result.attempt, trial.job))
    infos = tuple(_named(job.info, name) for name, job in zip(names, jobs, strict=True))
    notes = (*_unfinished(infos), *_told_apart(clashing, versions), *_unread(names, jobs))
    return Joined(infos, tuple(trials), notes, called, _fields(jobs, called, set(versions)))


def _job_names(jobs: Sequence[JobResults]) -> list[str]:
    """Two folders may have one name: the second becomes NAME-2."""
    taken: list[str] = []
    for job in jobs:
        name, number = job.info.name, 2
        while name in taken:
            name, number = f"{job.info.name}-{number}", number + 1
        taken.append(name)
    return taken


def _clashing(names: Sequence[set[str]]) -> set[str]:
    every = [name for found in names for name in found]
    return {name for name in every if every.count(name) > 1}


def _digests(jobs: Sequence[JobResults]) -> dict[str, set[str]]:
    digests: dict[str, set[str]] = {}
    for job in jobs:
        for result in job.results:
            digests.setdefault(result.task, set()).add(result.task_digest)
    return digests


def _fields(
    jobs: Sequence[JobResults], called: Mapping[tuple[int, str], str], versions: Container[str]
) -> tuple[Field, ...]:
    """Under the names that tasks and configurations have in this report. Candidates of different jobs are
    no field: they may not have begun alike."""
    return tuple(
        Field(
            _task_name(found.task, found.task_digest, versions),
            found.task_digest,
            found.attempt,
            tuple(_renamed(one, called[place, one.result.configuration]) for one in found.candidates),
        )
        for place, job in enumerate(jobs)
        for found in job.fields
    )


def _renamed(one: Candidate, configuration: str) -> Candidate:
    return replace(one, result=one.result.model_copy(update={"configuration": configuration}))


def _task_name(task: str, digest: str, versions: Container[str]) -> str:
    return f"{task} [{digest[:DIGEST_CHARS]}]" if task in versions else task


def _unread(names: Sequence[str], jobs: Sequence[JobResults]) -> list[str]:
    return [
        f"{name}: how far candidates agree or which was chosen is not said: {job.trouble}"
        for name, job in zip(names, jobs, strict=True)
        if job.trouble
    ]


def _named(info: JobInfo, name: str) -> JobInfo:
    return JobInfo(name, info.plan, info.planned, info.finished, info.began_at, info.machine)


def _unfinished(infos: Sequence[JobInfo]) -> list[str]:
    return [
        f"{info.name} is not finished: {plural(info.finished, 'trial')} of {info.planned:,} have a result"
        for info in infos
        if info.planned is not None and info.finished < info.planned
    ]


def _told_apart(clashing: set[str], versions: Mapping[str, set[str]]) -> list[str]:
    notes = []
    if clashing:
        names = ", ".join(sorted(clashing))
        notes.append(f"More than one job has a configuration {names}: the job stands before the name.")
    notes += [
        f"{task} has results of {len(found)} versions of its files: they are not mixed, each is a task."
        for task, found in sorted(versions.items())
    ]
    return notes
