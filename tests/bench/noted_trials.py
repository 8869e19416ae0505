"""Entries and jobs with round numbers, for tests of the knowledge log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.job import JOB_FILE, PLAN_FILE
from bench.note_entries import Setting, TrialEntry, trial_entry
from bench.note_entries import _id_of as id_of
from bench.results import TrialResult, write_result
from tests.bench.report_results import result

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
SETTING = Setting("codex", "big", "big", {"helper": ("small", None)}, None)

PLAN = """
name = "p"
tasks = ["gone-since-then"]
config = "gone-too.toml"
context = 16384

[configurations.a]
harness = "codex"
main = "theirs"
effort = "high"
subagents = { helper = "small", scout = { model = "theirs", effort = "low" } }

[configurations.b]
harness = "codex"
main = "other"
context = 8192

[configurations.oracle]
harness = "oracle"

[models]
"other" = "mapped-by-plan"
"""


def noted(
    configuration: str = "a",
    task: str = "t1",
    reward: float | None = 0.5,
    *,
    age_days: float = 0.0,
    number: int = 1,
    tags: Sequence[str] = ("python",),
    setting: Setting = SETTING,
    note: str = "",
    by: str = "",
    **changes: Any,
) -> TrialEntry:
    """`number` tells trials of one configuration at one task apart."""
    found = result(
        configuration,
        task,
        number,
        started_at=NOW_S - age_days * DAY_S,
        reward=reward,
        **changes,
    )
    sha = hashlib.sha256(found.model_dump_json().encode()).hexdigest()
    return trial_entry(found, sha, setting, note=note, by=by, tags=tags)


def changed(line: bytes, **changes: Any) -> bytes:
    """Another content, with an id that is right for it."""
    content = json.loads(line) | changes
    content.pop("id")
    return json.dumps({**content, "id": id_of(content)}).encode()


def settings_by_model(*names: str) -> dict[str, Setting]:
    """Configurations that are not the same thing."""
    return {name: Setting("codex", f"model-{name}", f"model-{name}", {}, None) for name in names}


def job_folder(folder: Path, *results: TrialResult, plan: str = PLAN, models: Any = None) -> Path:
    """As a job leaves it."""
    (folder / "trials").mkdir(parents=True)
    for found in results:
        (folder / "trials" / found.trial).mkdir()
        write_result(folder / "trials" / found.trial, found)
    (folder / PLAN_FILE).write_text(plan)
    (folder / JOB_FILE).write_text(json.dumps({"models": models or {}}))
    return folder
