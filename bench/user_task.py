"""A user's own task as a folder in Harbor's format: a prompt, a snapshot to start from, commands that check.

task.toml, instruction.md
environment/repository.tar      snapshot.py; environment/generate.py lays it out (user_start.py)
tests/checks.json               the commands; tests/check.py runs them (user_checks.py)
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.behaviour import MAX_PROBES
from bench.errors import TaskError
from bench.results import UNVERIFIED
from bench.task import MAX_TEXT_BYTES, Task, load_task
from bench.user_start import ARCHIVE

CHECK_S = 600.0
PROBE_S = 60.0
SPARE_S = 60.0
MAX_VERIFIER_S = 24 * 3600.0
MAX_CHECKS = 50
MAX_COMMAND_CHARS = 4096
MAX_PROBE_NAME_CHARS = 200
_HERE = Path(__file__).parent
_TEST_SH = """#!/usr/bin/env bash
tests="${HOTSEAT_TESTS:-/tests}"
exec python3 -I -B "$tests/check.py" "$tests" "${HOTSEAT_APP:-/app}" "${HOTSEAT_LOGS:-/logs}"
"""


@dataclass(frozen=True, slots=True)
class ProbeCommand:
    """`name`: of what is probed; a name that ends with "?" is the question to ask where candidates differ."""

    name: str
    command: str


@dataclass(frozen=True, slots=True)
class UserTask:
    """`checks`: shell commands, run in the candidate's folder, that end with 0 where all is well."""

    name: str
    instruction: str
    checks: tuple[str, ...] = ()
    probes: tuple[ProbeCommand, ...] = ()
    tags: tuple[str, ...] = ()
    check_s: float = CHECK_S
    probe_s: float = PROBE_S

    @property
    def verifier_s(self) -> float:
        return SPARE_S + self.check_s * len(self.checks) + self.probe_s * len(self.probes)

    @property
    def all_tags(self) -> tuple[str, ...]:
        return (*self.tags, *(() if self.checks else (UNVERIFIED,)))


def write_user_task(folder: Path, wanted: UserTask, archive: Path) -> Task:
    """Into a folder that does not exist yet; `archive` is moved into it. Blocks. Raises TaskError."""
    check_user_task(wanted)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for place in ("environment", "tests"):
        (partial / place).mkdir(parents=True)
    shutil.move(archive, partial / "environment" / ARCHIVE)
    shutil.copyfile(_HERE / "user_start.py", partial / "environment" / "generate.py")
    shutil.copyfile(_HERE / "user_checks.py", partial / "tests" / "check.py")
    (partial / "tests" / "test.sh").write_text(_TEST_SH)
    (partial / "tests" / "checks.json").write_text(_checks(wanted), encoding="utf-8")
    (partial / "instruction.md").write_text(wanted.instruction, encoding="utf-8")
    (partial / "task.toml").write_text(_task_toml(wanted), encoding="utf-8")
    partial.rename(folder)
    return load_task(folder)


def slug(words: str, fallback: str = "task") -> str:
    """A name for a task, of any words."""
    plain = re.sub(r"[^a-z0-9._]+", "-", words.lower()).strip("-._")
    return plain[:64].rstrip("-._") or fallback


def check_user_task(wanted: UserTask) -> None:
    """Raises TaskError for what no task can be made of."""
    if not wanted.instruction.strip():
        raise TaskError("the prompt is empty: say what is to be done")
    if len(wanted.instruction.encode()) > MAX_TEXT_BYTES:
        raise TaskError(f"the prompt has more than {MAX_TEXT_BYTES} bytes")
    if len(wanted.checks) > MAX_CHECKS or len(wanted.probes) > MAX_PROBES:
        raise TaskError(f"more than {MAX_CHECKS} checks or {MAX_PROBES} probes")
    for command in (*wanted.checks, *(probe.command for probe in wanted.probes)):
        if not command.strip() or len(command) > MAX_COMMAND_CHARS:
            raise TaskError(f"expected a command of 1 to {MAX_COMMAND_CHARS} characters: {command[:80]!r}")
    if wanted.verifier_s > MAX_VERIFIER_S:
        raise TaskError(
            f"the checks and probes may take {wanted.verifier_s / 3600:.1f} h in all, more than"
            f" {MAX_VERIFIER_S / 3600:g} h: lower --check-timeout"
        )
    _check_names([probe.name for probe in wanted.probes])


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not 1 <= len(name) <= MAX_PROBE_NAME_CHARS:
            raise TaskError(f"a probe's name has 1 to {MAX_PROBE_NAME_CHARS} characters: {name[:80]!r}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TaskError(f"two probes are called {twice[0]!r}: each needs a name of its own")


def _checks(wanted: UserTask) -> str:
    probes = [{"name": probe.name, "command": probe.command} for probe in wanted.probes]
    said = {"checks": wanted.checks, "probes": probes, "check_s": wanted.check_s, "probe_s": wanted.probe_s}
    return json.dumps(said, indent=1) + "\n"


def _task_toml(wanted: UserTask) -> str:
    """JSON's strings of plain words are TOML's."""
    return "\n".join(
        [
            'version = "1.0"',
            "",
            "[metadata.hotseat]",
            f"name = {json.dumps(wanted.name)}",
            f"tags = {json.dumps(list(wanted.all_tags), ensure_ascii=False)}",
            'requires = ["python3"]',
            "own_walls = true",
            "",
            "[verifier]",
            f"timeout_sec = {wanted.verifier_s!r}",
            "",
        ]
    )
