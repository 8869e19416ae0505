"""Candidates of a job, and which of them are alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.behaviour import MAX_BEHAVIOUR_BYTES, Behaviour, read_behaviour
from bench.candidates import clusters, fields_of, members
from bench.errors import BenchError
from bench.results import Manifest, TrialResult, write_result

PATCH = "diff --git a/x.py b/x.py\n@@ -0,0 +1,2 @@\n+a = {value}\n+# {said}\n"


def trial(
    job: Path, configuration: str, attempt: int = 1, *, task: str = "fork", harness: str = "codex"
) -> Path:
    folder = job / "trials" / f"{task}-{configuration}-{attempt}"
    (folder / "verifier").mkdir(parents=True)
    result = TrialResult(
        job=job.name,
        trial=folder.name,
        run="r",
        task=task,
        task_digest="0" * 64,
        configuration=configuration,
        attempt=attempt,
        seed=attempt,
        policy="native",
        started_at=1.0,
        outcome="scored",
        why_ended="exited",
        validity="VALID",
        reward=1.0,
        wall_s=1.0,
        waited_s=0.0,
        overhead_s=0.0,
        verifier_s=0.0,
        manifest=Manifest(hotseat="0", harness=harness, harness_version="1"),
    )
    write_result(folder, result)
    (folder / "diff.patch").write_text(PATCH.format(value=1, said=configuration))
    return folder


def probed(folder: Path, **outputs: str) -> None:
    probes = [{"name": name, "output": output} for name, output in outputs.items()]
    (folder / "verifier" / "behaviour.json").write_text(json.dumps({"probes": probes}))


def test_a_field_is_one_task_at_one_attempt(tmp_path: Path) -> None:
    for attempt in (1, 2):
        trial(tmp_path, "b", attempt)
        trial(tmp_path, "a", attempt)
    trial(tmp_path, "a", task="migrate(n=5)")
    trial(tmp_path, "oracle", harness="oracle")
    (trial(tmp_path, "lost") / "diff.patch").unlink()
    found = [
        (field.task, field.attempt, [one.name for one in field.candidates]) for field in fields_of(tmp_path)
    ]
    assert found == [("fork", 1, ["a", "b"]), ("fork", 2, ["a", "b"]), ("migrate(n=5)", 1, ["a"])]
    assert [field.task for field in fields_of(tmp_path, "migrate")] == ["migrate(n=5)"]
    everybody = fields_of(tmp_path, "fork", with_modelless=True)[0].candidates
    assert [one.name for one in everybody] == ["a", "b", "oracle"]


def test_the_same_change_with_other_comments_is_the_same(tmp_path: Path) -> None:
    for name in "abc":
        trial(tmp_path, name)
    folder = tmp_path / "trials" / "fork-c-1"
    (folder / "diff.patch").write_text(PATCH.format(value=2, said="c"))
    (field,) = fields_of(tmp_path)
    assert members(clusters(field.candidates)) == [["a", "b"], ["c"]]
    assert clusters(field.candidates)[0].basis == "patch"
    assert clusters([]) == []


@pytest.mark.parametrize(("path", "groups"), [("app.py", [["a"], ["b"]]), ("app.js", [["a", "b"]])])
def test_a_line_that_moved_into_another_block_is_another_change_of_python(
    tmp_path: Path, path: str, groups: list[list[str]]
) -> None:
    for name, depth in (("a", 4), ("b", 8)):
        folder = trial(tmp_path, name)
        (folder / "diff.patch").write_text(
            f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1,2 +1,3 @@\n"
            f" for x in y:\n     z(x)\n+{' ' * depth}done()\n"
        )
    (field,) = fields_of(tmp_path)
    assert members(clusters(field.candidates)) == groups


def test_behaviour_counts_where_all_were_probed(tmp_path: Path) -> None:
    probed(trial(tmp_path, "a"), one="1", two="2")
    probed(trial(tmp_path, "b"), two="2", one="1")
    different = trial(tmp_path, "c")
    probed(different, one="1", two="3")
    (field,) = fields_of(tmp_path)
    found = clusters(field.candidates)
    assert (members(found), found[0].basis) == ([["a", "b"], ["c"]], "behaviour")
    (different / "verifier" / "behaviour.json").unlink()
    (field,) = fields_of(tmp_path)
    found = clusters(field.candidates)
    assert (members(found), found[0].basis) == ([["a", "b", "c"]], "patch")


def test_questions_and_readings_are_no_behaviour() -> None:
    plain = Behaviour.model_validate({"probes": [{"name": "a", "output": "1"}]})
    told = Behaviour.model_validate(
        {"probes": [{"name": "a", "output": "1", "question": "?", "reading": "r"}]}
    )
    assert plain.signature == told.signature


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"probes": []}', "probes"),
        ('{"probes": [{"name": "a", "output": 1}]}', "probes.0.output"),
        ('{"probes": [{"name": "a", "output": ""}, {"name": "a", "output": "b"}]}', "same name"),
        ('{"probes": [{"name": "a", "output": "", "reward": 1}]}', "probes.0.reward"),
        ("nonsense", "JSON"),
        (" " * (MAX_BEHAVIOUR_BYTES + 1), "more than"),
    ],
)
def test_bad_behaviour_is_named(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "behaviour.json"
    path.write_text(content)
    with pytest.raises(BenchError, match=complaint):
        read_behaviour(path)


def test_no_probes_is_no_behaviour(tmp_path: Path) -> None:
    assert read_behaviour(tmp_path / "behaviour.json") is None
