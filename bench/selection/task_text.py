"""What the candidates of a field were told, found again for the judge."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bench.candidates import Field
from bench.errors import BenchError, TaskError
from bench.reading import bounded_if_there
from bench.task import Task, load_task, named_task

RACE = "race.json"
KEPT_TASK = "task"
MAX_RACE_BYTES = 8 * 2**20
_LABEL = re.compile(r"(?P<name>[^(]+)(?:\((?P<parameters>.*)\))?")


def instructions(task: Task) -> str:
    """Of all phases."""
    if len(task.phases) == 1:
        return task.phases[0].instruction
    return "\n\n".join(f"{phase.name}:\n{phase.instruction}" for phase in task.phases)


def task_text(job: Path, field: Field) -> str:
    """From the task that the job kept, one of Hotseat's own, or the prompt of a race. Blocks. Raises
    BenchError."""
    for found in (_kept(job), _own(field.task)):
        if found is not None and found.digest == field.task_digest:
            return instructions(found)
    if (prompt := _prompt(job)) is not None:
        return prompt
    if (known := _own(field.task)) is not None:
        raise BenchError(
            f"{field.task} is not what it was when {job} was run: its digest is {known.digest[:12]}, and the"
            f" trials' {field.task_digest[:12]}: run the job again"
        )
    raise BenchError(
        f"{job}: what {field.task} asks for is not known here: expected one of Hotseat's own tasks,"
        f" {job / KEPT_TASK} or a prompt in {job / RACE}"
    )


def _kept(job: Path) -> Task | None:
    folder = job / KEPT_TASK
    candidates = [folder, *sorted(path.parent for path in folder.glob("*/task.toml"))]
    for one in candidates:
        if (one / "task.toml").is_file():
            return load_task(one)
    return None


def _own(label: str) -> Task | None:
    """By a trial's label: migrate-30(n=5)."""
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    given = dict(pair.split("=", 1) for pair in (match["parameters"] or "").split(", ") if "=" in pair)
    try:
        task = named_task(match["name"])
        chosen: dict[str, int | str] = {
            name: value
            for name, values in task.choices.items()
            for value in values
            if str(value) == given.get(name)
        }
        return named_task(match["name"], chosen)
    except TaskError:
        return None


def _prompt(job: Path) -> str | None:
    path = job / RACE
    if (data := bounded_if_there(path, MAX_RACE_BYTES)) is None:
        return None
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    prompt = found.get("prompt") if isinstance(found, dict) else None
    return prompt if isinstance(prompt, str) and prompt.strip() else None
