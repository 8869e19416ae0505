"""A job's folder, read and written again in another format. Blocks; raises BenchError.

Into an empty folder, or one that is not there yet: nothing is overwritten.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError
from bench.evidence import Row
from bench.exports import harbor
from bench.exports.atif import Said, trajectory
from bench.harnesses.installed import HARNESSES
from bench.plan import load_plan
from bench.results import TrialResult, results_of
from bench.task import Task, named_task, own_tasks, variants

MAX_ROWS_BYTES = 256 * 2**20
MAX_TRANSCRIPT_BYTES = 256 * 2**20
_HARNESSES = {harness.name: harness for harness in HARNESSES.values()}


@dataclass(frozen=True, slots=True)
class Exported:
    """`notes`: what could not be as it was."""

    n_trials: int
    n_tasks: int = 0
    notes: tuple[str, ...] = ()


def export_atif(job: Path, out: Path) -> Exported:
    """TRIAL.json for each trial."""
    results, tasks = _read(job)
    _make(out)
    for result in results:
        _write(out / f"{result.trial}.json", _trajectory(job, result, tasks))
    return Exported(len(results), notes=_notes(results, tasks))


def export_harbor(job: Path, out: Path) -> Exported:
    """A folder of a job as Harbor's own, with the tasks beside its trials. Tasks need to be as they were."""
    results, tasks = _read(job)
    _make(out)
    names: dict[str, None] = {}
    for result in results:
        task = tasks.get(result.task)
        name = harbor.task_name(result.task, result.seed, {}) if task is None else _name(task, result)
        if task is not None and name not in names:
            _write_task(task, result.seed, out / "tasks" / name)
            names[name] = None
        folder = out / result.trial
        _write(folder / "config.json", harbor.trial_config(result, name, str(out)))
        _write(folder / "result.json", harbor.trial_result(result, name, str(out)))
        _write(folder / "agent" / "trajectory.json", _trajectory(job, result, tasks))
        if (job / "trials" / result.trial / "verifier").is_dir():
            shutil.copytree(job / "trials" / result.trial / "verifier", folder / "verifier", symlinks=True)
    _write(out / "config.json", harbor.job_config(job.name, results, names))
    _write(out / "result.json", harbor.job_result(job.name, results))
    return Exported(len(results), len(names), _notes(results, tasks))


def _name(task: Task, result: TrialResult) -> str:
    return harbor.task_name(task.name, result.seed, task.parameters)


# --- reading -------------------------------------------------------------------------------------


def _read(job: Path) -> tuple[list[TrialResult], Mapping[str, Task]]:
    """Tasks by label: those whose files are as they were when the job ran."""
    results = list(results_of(job))
    if not results:
        raise BenchError(f"{job}: no finished trial: name the folder of a job that `hotseat bench run` made")
    try:
        found = {task.label: task for task in load_plan(job / "plan.toml").tasks}
    except BenchError:  # it names what lies beside the original
        labels = dict.fromkeys(result.task for result in results)
        found = {label: task for label in labels if (task := _own_task(label)) is not None}
    digests = {result.task: result.task_digest for result in results}
    return results, {label: task for label, task in found.items() if digests.get(label) == task.digest}


def _own_task(label: str) -> Task | None:
    """The one of Hotseat's own that has this label."""
    name = label.partition("(")[0]
    if name not in own_tasks():
        return None
    return next((task for task in variants(named_task(name)) if task.label == label), None)


def _notes(results: list[TrialResult], tasks: Mapping[str, Task]) -> tuple[str, ...]:
    lost = sorted({result.task for result in results} - set(tasks))
    return tuple(f"{task}: its files are not here as they were: neither task nor prompt" for task in lost)


def _trajectory(job: Path, result: TrialResult, tasks: Mapping[str, Task]) -> dict[str, Any]:
    folder = job / "trials" / result.trial
    task = tasks.get(result.task)
    phases = (
        [] if task is None else [Said(p.instruction, _last_word(folder, p.name, result)) for p in task.phases]
    )
    return trajectory(result, list(_rows(folder / "rows.jsonl")), phases)


def _rows(path: Path) -> Iterator[Row]:
    """A trial without a model has none."""
    if not path.exists():
        return
    if path.stat().st_size > MAX_ROWS_BYTES:
        raise BenchError(f"{path}: more than {MAX_ROWS_BYTES} bytes")
    try:
        for line in path.read_bytes().splitlines():
            if line.strip():
                yield Row.model_validate_json(line)
    except (OSError, ValidationError) as error:
        raise BenchError(f"{path}: it cannot be read: {error}".splitlines()[0]) from error


def _last_word(folder: Path, phase: str, result: TrialResult) -> str:
    """What the harness said last. "" where it said nothing, or is none of ours."""
    path, harness = folder / f"{phase}.stdout", _HARNESSES.get(result.manifest.harness)
    if harness is None or not path.is_file() or path.stat().st_size > MAX_TRANSCRIPT_BYTES:
        return ""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return harness.parse(lines).final_text


# --- writing -------------------------------------------------------------------------------------


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise BenchError(f"{out}: not empty: name a folder that is not there yet")
    except OSError as error:
        raise BenchError(f"{out}: {error.strerror}") from error


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_task(task: Task, seed: int, folder: Path) -> None:
    """Without the broken solutions: Harbor has no use for them."""
    ignored = shutil.ignore_patterns("__pycache__", "broken")
    shutil.copytree(task.folder, folder, ignore=ignored)
    for name, fixed in (
        ("task.toml", harbor.fixed_task_file),
        ("environment/Dockerfile", harbor.fixed_dockerfile),
    ):
        path = folder / name
        if path.exists():
            path.write_text(fixed(path.read_text(encoding="utf-8"), seed, task.parameters), encoding="utf-8")
