"""`hotseat bench tasks`: what it lists, and when it says that a task's checks cannot tell."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from bench.cli import bench
from bench.task import own_tasks

CHECK = """
reward="$(cat done.txt 2>/dev/null || echo 0)"
echo "$reward" > "$HOTSEAT_LOGS/verifier/reward.txt"
"""


def folder(at: Path, oracle: str = "echo 1 > done.txt", requires: str = "[]", options: str = "[1]") -> str:
    files = {
        "task.toml": f"[metadata.hotseat]\nrequires = {requires}\nparameters = {{ n = {options} }}",
        "instruction.md": "Write done.txt.",
        "environment/workspace/start.txt": "here",
        "tests/test.sh": CHECK,
        "solution/solve.sh": oracle,
        "broken/half/solve.sh": "echo 0.5 > done.txt",
    }
    for name, text in files.items():
        path = at / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(at / "tiny")


def test_all_tasks_are_listed() -> None:
    shown = CliRunner().invoke(bench, ["tasks"])
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.output.splitlines()] == own_tasks()
    assert "n = [5, 15, 30]" in shown.output


def test_the_list_as_json() -> None:
    listed = json.loads(CliRunner().invoke(bench, ["tasks", "--json"]).output)
    found = {task["name"]: task for task in listed}["migrate-30"]
    assert found["parameters"] == {"n": [5, 15, 30]}
    assert (found["phases"], found["missing"], len(found["digest"])) == (["build"], [], 64)
    (forked,) = [task for task in listed if task["forks"]]
    assert forked["name"] == "fork-spec"
    assert forked["forks"][0]["readings"] == ["restrict", "filter", "refuse"]


def test_checks_that_can_tell(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        bench, ["tasks", "verify", folder(tmp_path, options="[1, 2]"), "--all-parameters"]
    )
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        f"tiny(n={n})  {line}" for n in (1, 2) for line in ("nop: 0  ok", "oracle: 1  ok", "half: 0.5  ok")
    ]


def test_checks_that_cannot_tell(tmp_path: Path) -> None:
    done = CliRunner().invoke(bench, ["tasks", "verify", folder(tmp_path, oracle="echo 0.9 > done.txt")])
    assert done.exit_code == 1
    assert "tiny(n=1)  oracle: 0.9  WRONG: expected 1\n" in done.output
    assert "1 of 3 solutions" in done.output


def test_what_is_missing_is_named_and_left_out(tmp_path: Path) -> None:
    done = CliRunner().invoke(bench, ["tasks", "verify", folder(tmp_path, requires='["no-such-program"]')])
    assert done.exit_code == 1  # nothing was checked
    assert "left out: no-such-program not found" in done.output


def test_a_task_that_is_not_there() -> None:
    done = CliRunner().invoke(bench, ["tasks", "verify", "nix"])
    assert done.exit_code == 1
    assert "there is no task 'nix'" in done.output
