"""What several configurations made of the same task, side by side, and which of them made the same.

A field is the trials of one task at one attempt: they had the same seed, and so the same start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.behaviour import BEHAVIOUR, Behaviour, read_behaviour
from bench.errors import BenchError
from bench.patches import without_comments
from bench.results import MODELLESS, RESULT, TrialResult, read_result

PATCH = "diff.patch"
INDENTED = (".py", ".pyi", ".pyx", ".yaml", ".yml", ".coffee", ".nim", ".hs")
"""Languages in which a line that is moved to the right does something else."""

MAX_PATCH_BYTES = 16 * 2**20
"""No workspace keeps more (bench/workspace.py, which reports must not need)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """`folder`: of its trial. `patch`: what it changed; bytes that are no UTF-8 are replaced."""

    result: TrialResult
    folder: Path
    patch: str
    behaviour: Behaviour | None

    @property
    def name(self) -> str:
        return self.result.configuration


@dataclass(frozen=True, slots=True)
class Field:
    """Whoever stood the same test."""

    task: str
    task_digest: str
    attempt: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Candidates that did the same on every probe; where nothing was probed, that made the same change."""

    candidates: tuple[Candidate, ...]
    basis: Literal["behaviour", "patch"]


def fields_of(job: Path, task: str | None = None, *, with_modelless: bool = False) -> list[Field]:
    """Of a job's finished trials, in the order of tasks and attempts. Trials that could not be run left no
    candidate. Blocks. Raises BenchError."""
    groups: dict[tuple[str, str, int, int], list[Candidate]] = {}
    for path in sorted((job / "trials").glob(f"*/{RESULT}")):
        result = read_result(path)
        is_asked = task is None or task in (result.task, result.task.split("(")[0])
        is_rival = with_modelless or result.manifest.harness not in MODELLESS
        if is_asked and is_rival and (path.parent / PATCH).exists():
            key = (result.task, result.task_digest, result.attempt, result.seed)
            groups.setdefault(key, []).append(_candidate(path.parent, result))
    return [
        Field(name, digest, attempt, tuple(sorted(found, key=lambda one: one.name)))
        for (name, digest, attempt, _), found in sorted(groups.items(), key=lambda item: item[0])
    ]


def clusters(candidates: Sequence[Candidate]) -> list[Cluster]:
    """Largest first. By behaviour if all were probed, else by their patches."""
    is_probed = bool(candidates) and all(one.behaviour is not None for one in candidates)
    groups: dict[str, list[Candidate]] = {}
    for one in sorted(candidates, key=lambda one: (one.name, one.result.trial)):
        groups.setdefault(_signature(one, by_behaviour=is_probed), []).append(one)
    found = sorted(groups.values(), key=lambda group: (-len(group), group[0].name))
    return [Cluster(tuple(group), "behaviour" if is_probed else "patch") for group in found]


def members(found: Iterable[Cluster]) -> list[list[str]]:
    """The configurations in each."""
    return [[one.name for one in cluster.candidates] for cluster in found]


def _signature(candidate: Candidate, *, by_behaviour: bool) -> str:
    if by_behaviour and candidate.behaviour is not None:
        return candidate.behaviour.signature
    code = _without_blanks(without_comments(candidate.patch))
    return hashlib.sha256(code.encode()).hexdigest()


def _without_blanks(patch: str) -> str:
    """But those that stand in front of a line where they say which block it belongs to."""
    lines: list[str] = []
    is_indented = False
    for line in patch.splitlines():
        if line.startswith("--- "):
            is_indented = line.lower().endswith(INDENTED)
        code = line[1:]
        depth = len(code) - len(code.lstrip()) if is_indented else 0
        lines.append(f"{line[:1]}{' ' * depth}{''.join(code.split())}")
    return "\n".join(lines)


def _candidate(folder: Path, result: TrialResult) -> Candidate:
    try:
        with (folder / PATCH).open("rb") as file:
            patch = file.read(MAX_PATCH_BYTES)
    except OSError as error:
        raise BenchError(f"{folder / PATCH}: {error.strerror}") from error
    behaviour = read_behaviour(folder / "verifier" / BEHAVIOUR)
    return Candidate(result, folder, patch.decode(errors="replace"), behaviour)
