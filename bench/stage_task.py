"""A stage as a task's folder in Harbor's format: what it is told, what it starts from, what checks it.

task.toml, instruction.md
environment/repository.tar      what the stage before left; environment/generate.py lays it out
                                (user_start.py)
tests/checks.json               the checks of all stages so far; tests/check.py runs them (stage_checks.py)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.errors import SpecError
from bench.results import UNVERIFIED
from bench.spec import Spec, Stage
from bench.task import MAX_TEXT_BYTES, Task, load_task
from bench.user_start import ARCHIVE
from bench.user_task import SPARE_S

TAG = "stages"
MAX_VERIFIER_S = 24 * 3600.0
_HERE = Path(__file__).parent
_TEST_SH = """#!/usr/bin/env bash
tests="${HOTSEAT_TESTS:-/tests}"
exec python3 -I -B "$tests/check.py" "$tests" "${HOTSEAT_APP:-/app}" "${HOTSEAT_LOGS:-/logs}"
"""


def start_of(folder: Path) -> Path:
    """The archive that a stage's task starts from."""
    return folder / "environment" / ARCHIVE


def write_stage_task(
    folder: Path, spec: Spec, stage: Stage, instruction: str, archive: Path, check_s: float
) -> Task:
    """In the place of an earlier one; `archive` is moved into it. Blocks. Raises BenchError."""
    if len(instruction.encode()) > MAX_TEXT_BYTES:
        raise SpecError(
            f"stage {stage.number} ({stage.name}): what it would be told has {len(instruction.encode())}"
            f" bytes, more than {MAX_TEXT_BYTES}: shorten the specification"
        )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for place in ("environment", "tests/bench"):
        (partial / place).mkdir(parents=True)
    shutil.move(archive, start_of(partial))
    shutil.copyfile(_HERE / "user_start.py", partial / "environment" / "generate.py")
    shutil.copyfile(_HERE / "stage_checks.py", partial / "tests" / "check.py")
    shutil.copyfile(_HERE / "user_checks.py", partial / "tests" / "bench" / "user_checks.py")
    (partial / "tests" / "test.sh").write_text(_TEST_SH)
    (partial / "tests" / "checks.json").write_text(_checks(spec, stage, check_s), encoding="utf-8")
    (partial / "instruction.md").write_text(instruction, encoding="utf-8")
    (partial / "task.toml").write_text(_task_toml(spec, stage, check_s), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return load_task(folder)


def _checks(spec: Spec, stage: Stage, check_s: float) -> str:
    checks = [
        {"stage": one.number, "item": number, "command": item.command}
        for one in spec.stages[: stage.number]
        for number, item in enumerate(one.items, 1)
        if item.command is not None
    ]
    return json.dumps({"stage": stage.number, "check_s": check_s, "checks": checks}, indent=1) + "\n"


def _task_toml(spec: Spec, stage: Stage, check_s: float) -> str:
    count = sum(len(one.checks) for one in spec.stages[: stage.number])
    tags: Sequence[str] = (TAG,) if count else (TAG, UNVERIFIED)
    return "\n".join(
        [
            'version = "1.0"',
            "",
            "[metadata.hotseat]",
            f"tags = {json.dumps(tags)}",
            'requires = ["python3"]',
            "own_walls = true",
            "",
            "[verifier]",
            f"timeout_sec = {min(MAX_VERIFIER_S, SPARE_S + check_s * count)!r}",
            "",
        ]
    )
