"""Where a calibration's truth is from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.candidates import Field
from bench.errors import BenchError
from bench.results import write_result
from bench.selection.examination import case_of
from bench.selection.known_truth import KnownField, of_job
from bench.selection.task_text import task_text
from bench.task import load_task, named_task
from tests.bench.judged_fields import candidate, field_of, patch_of
from tests.bench.report_results import result

REWARDS = {"t1": {"a": 1.0, "b": 0.0}, "t2": {"a": 0.5, "b": 0.75}, "t3": {"a": 0.25, "b": 1.0}}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for task, rewards in REWARDS.items():
        for name, reward in rewards.items():
            found = result(name, task, reward=reward)
            folder = tmp_path / "trials" / found.trial
            folder.mkdir(parents=True)
            write_result(folder, found)
            (folder / "diff.patch").write_text(patch_of(f"x = {reward}"))
    (tmp_path / "race.json").write_text(json.dumps({"prompt": "Do it."}))
    return tmp_path


def test_the_best_single_is_known_from_other_tasks_alone(job: Path) -> None:
    fields = {known.field.task: known for known in of_job(job)}
    assert fields["t1"].singles == {"a": pytest.approx(0.375), "b": pytest.approx(0.875)}
    assert fields["t3"].singles == {"a": pytest.approx(0.75), "b": pytest.approx(0.375)}
    assert [known.field.task for known in of_job(job, ["t2"])] == ["t2"]
    with pytest.raises(BenchError, match="no finished trial whose reward counts"):
        of_job(job, ["t9"])


def test_where_all_are_worth_the_same_there_is_nothing_to_learn() -> None:
    alike = field_of(candidate("a", "x = 1", reward=0.5), candidate("b", "x = 2", reward=0.5))
    assert case_of(KnownField(alike, "task", {})) == "all that are compared are worth the same (0.5)"


def test_a_task_is_known_by_its_label_and_its_digest(tmp_path: Path) -> None:
    task = named_task("migrate-30", {"n": 15})
    assert task_text(tmp_path, Field(task.label, task.digest, 1, ())) == task.phases[0].instruction
    with pytest.raises(BenchError, match=r"migrate-30\(n=15\) is not what it was when"):
        task_text(tmp_path, Field(task.label, "0" * 64, 1, ()))


def test_the_task_that_a_job_kept_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    for name in ("environment", "tests"):
        (folder / name).mkdir(parents=True)
    (folder / "tests" / "test.sh").touch()
    (folder / "task.toml").touch()
    (folder / "instruction.md").write_text("As the job kept it.")
    (tmp_path / "race.json").write_text(json.dumps({"prompt": "another"}))
    kept = load_task(folder)
    assert task_text(tmp_path, Field(kept.label, kept.digest, 1, ())) == "As the job kept it."
    assert task_text(tmp_path, Field(kept.label, "0" * 64, 1, ())) == "another"


@pytest.mark.parametrize("text", ["", "[]", '{"prompt": 3}', '{"prompt": " "}', "{"])
def test_a_race_that_says_nothing_is_no_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "race.json").write_text(text)
    with pytest.raises(BenchError, match="what mine asks for is not known here"):
        task_text(tmp_path, Field("mine", "0" * 64, 1, ()))
