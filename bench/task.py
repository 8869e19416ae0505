"""A task: a folder in Harbor's format, read and checked, and laid out for an agent.

    task.toml                   timeouts; [metadata.hotseat]: what only Hotseat reads
    instruction.md              what the agent is told; of a task with [[steps]]: steps/NAME/instruction.md
    environment/workspace/      what the agent starts from
    environment/generate.py     and the program that makes more of it: --seed N --out FOLDER --PARAMETER VALUE
    environment/Dockerfile      the same for Harbor
    tests/test.sh               hidden; writes verifier/reward.json or reward.txt into the logs (verifier.py)
    solution/solve.sh           the oracle, worth 1
    broken/NAME/solve.sh        worth less than 1: a verifier that cannot tell is no verifier

A task has no network and needs nothing that is not named in `requires`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import TaskError
from bench.reading import bounded_text, first_complaint

TASKS = Path(__file__).parent / "tasks"
MAX_TEXT_BYTES = 256 * 1024
MAX_FILES = 5000
GENERATE_TIMEOUT_S = 120
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Parameters = Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Fork:
    """What a task leaves open on purpose: the question that would close it, and the words for its answers,
    first the one that was meant. Its checks classify by them (behaviour.py)."""

    question: str
    readings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """One prompt. All phases of a task are one session of the agent."""

    name: str
    instruction: str


@dataclass(frozen=True, slots=True)
class Task:
    """`parameters`: chosen, for each that the task has; `choices`: what they could be. `digest`: of all
    files, so that results of another version of the task are told apart. `requires`: programs that must be
    there. `protected`: paths that the agent is told to leave as they are. `forks`: what it leaves open.
    `own_walls`: its checks confine what they run themselves, as they need what the sandbox would hide."""

    name: str
    folder: Path
    phases: tuple[Phase, ...]
    tags: tuple[str, ...]
    agent_timeout_s: float
    verifier_timeout_s: float
    digest: str
    requires: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    parameters: Parameters = field(default_factory=dict)
    choices: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    forks: tuple[Fork, ...] = ()
    own_walls: bool = False

    @property
    def label(self) -> str:
        """The name, with the parameters that tell its variants apart: migrate-30(n=5)."""
        chosen = ", ".join(f"{name}={value}" for name, value in sorted(self.parameters.items()))
        return f"{self.name}({chosen})" if chosen else self.name

    @property
    def tests(self) -> Path:
        return self.folder / "tests"

    def missing(self) -> list[str]:
        """The required programs that this machine lacks."""
        return [program for program in self.requires if shutil.which(program) is None]

    def solutions(self) -> dict[str, Path]:
        """ "oracle", and the broken ones by name: folders with a solve.sh."""
        broken = sorted((self.folder / "broken").glob("*/solve.sh"))
        return {"oracle": self.folder / "solution"} | {path.parent.name: path.parent for path in broken}


# --- task.toml ---------------------------------------------------------------------------------


class _Open(BaseModel):
    """Harbor's tables: what Hotseat does not read of them is Harbor's to check."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Timeout(_Open):
    timeout_sec: float = Field(default=600.0, gt=0, le=24 * 3600)


class _Step(_Open):
    name: str = Field(pattern=f"^{_NAME.pattern}$")


class _Fork(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=1)
    readings: tuple[str, ...] = Field(min_length=2)


class _Own(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", pattern=f"^({_NAME.pattern})?$")  # the folder's, if it is not given
    tags: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    parameters: dict[str, tuple[int | str, ...]] = {}
    forks: tuple[_Fork, ...] = ()
    own_walls: bool = False


class _Metadata(_Open):
    hotseat: _Own = _Own()


class _TaskFile(_Open):
    metadata: _Metadata = _Metadata()
    agent: _Timeout = _Timeout()
    verifier: _Timeout = _Timeout()
    steps: tuple[_Step, ...] = ()


# --- reading -----------------------------------------------------------------------------------


def named_task(name: str, parameters: Parameters | None = None) -> Task:
    """One of Hotseat's own, or by its folder if `name` is a path. Raises TaskError."""
    if "/" in name:
        return load_task(Path(name), parameters)
    if name not in own_tasks():
        raise TaskError(
            f"there is no task {name!r}: expected a folder with a /, or one of {', '.join(own_tasks())}"
        )
    return load_task(TASKS / name, parameters)


def own_tasks() -> list[str]:
    return sorted(path.parent.name for path in TASKS.glob("*/task.toml"))


def load_task(folder: Path, parameters: Parameters | None = None) -> Task:
    """`parameters` not given: the first value of each. Raises TaskError."""
    folder = folder.resolve()
    if not _NAME.fullmatch(folder.name):
        raise TaskError(f"{folder}: a task's folder has a name of a-z 0-9 . _ - and at most 64 of them")
    file = _task_file(folder / "task.toml")
    for needed in ("tests/test.sh", "environment"):
        if not (folder / needed).exists():
            raise TaskError(f"{folder}: expected {needed}, found none")
    own = file.metadata.hotseat
    return Task(
        name=own.name or folder.name,
        folder=folder,
        phases=_phases(folder, file),
        tags=own.tags,
        agent_timeout_s=file.agent.timeout_sec,
        verifier_timeout_s=file.verifier.timeout_sec,
        digest=_digest(folder),
        requires=own.requires,
        protected=own.protected,
        parameters=_chosen(folder.name, own.parameters, parameters or {}),
        choices=own.parameters,
        forks=tuple(Fork(fork.question, fork.readings) for fork in own.forks),
        own_walls=own.own_walls,
    )


def variants(task: Task) -> list[Task]:
    """One for every combination of its parameters."""
    combined = [dict(zip(task.choices, values, strict=True)) for values in product(*task.choices.values())]
    return [replace(task, parameters=parameters) for parameters in combined]


def _task_file(path: Path) -> _TaskFile:
    try:
        return _TaskFile.model_validate(tomllib.loads(_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        raise TaskError(f"{path}: {first_complaint(error)}") from error


def _phases(folder: Path, file: _TaskFile) -> tuple[Phase, ...]:
    if not file.steps:
        return (Phase("build", _text(folder / "instruction.md")),)
    return tuple(
        Phase(step.name, _text(folder / "steps" / step.name / "instruction.md")) for step in file.steps
    )


def _text(path: Path) -> str:
    return bounded_text(path, MAX_TEXT_BYTES, TaskError)


def _chosen(task: str, known: Mapping[str, tuple[Any, ...]], given: Parameters) -> dict[str, int | str]:
    for name, value in given.items():
        if name not in known:
            raise TaskError(f"{task} has no parameter {name!r}: expected one of {sorted(known) or 'none'}")
        if value not in known[name]:
            raise TaskError(f"{task}: {name} = {value!r}: expected one of {list(known[name])}")
    return {name: values[0] for name, values in known.items()} | dict(given)


def _digest(folder: Path) -> str:
    """Of every file's path and bytes; not of modes, which an installation may change."""
    digest = hashlib.sha256()
    for path in _files(folder):
        name = path.relative_to(folder).as_posix().encode()
        digest.update(b"%d:%s%d:" % (len(name), name, path.stat().st_size))
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    found = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    if len(found) > MAX_FILES:
        raise TaskError(f"{folder}: more than {MAX_FILES} files")
    for path in found:
        if path.is_symlink():
            raise TaskError(f"{path}: a link: a task is files and folders alone")
        if path.is_file():
            yield path


# --- laying it out -----------------------------------------------------------------------------


def prepare(task: Task, app: Path, seed: int) -> None:
    """Lay what the agent starts from into the empty folder `app`. Blocks. Raises TaskError."""
    workspace = task.folder / "environment" / "workspace"
    generator = task.folder / "environment" / "generate.py"
    if workspace.exists():
        shutil.copytree(workspace, app, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    if generator.exists():
        _generate(task, generator, app, seed)


def _generate(task: Task, generator: Path, app: Path, seed: int) -> None:
    options = [part for name, value in task.parameters.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-I", str(generator), "--seed", str(seed), "--out", str(app), *options]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=GENERATE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TaskError(f"{generator}: took longer than {GENERATE_TIMEOUT_S} s") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise TaskError(
            f"{generator}: exit code {done.returncode}: {said[-1] if said else 'it said nothing'}"
        )
