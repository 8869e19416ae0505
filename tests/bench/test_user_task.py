"""A user's own task: a snapshot, checked by the user's commands, and nothing claimed beyond them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench.behaviour import MAX_BEHAVIOUR_BYTES, read_behaviour
from bench.errors import TaskError
from bench.repository import Repository
from bench.sandbox import isolation
from bench.snapshot import take_snapshot
from bench.task import Task, load_task, prepare
from bench.user_checks import Ended, behaviour, printed
from bench.user_task import ProbeCommand, UserTask, slug, write_user_task
from bench.verifier import Verdict, verify
from tests.bench.user_repository import make_repository


def made(folder: Path, **given: Any) -> Task:
    repo = make_repository(folder / "repo")
    take_snapshot(Repository.at(repo), folder / "a.tar")
    fields = {"name": "mine", "instruction": "Double it.\n"} | given
    return write_user_task(folder / "task", UserTask(**fields), folder / "a.tar")


def checked(task: Task, folder: Path, code: str = "", patch: str = "") -> Verdict:
    app, logs = folder / "app", folder / "logs"
    app.mkdir()
    logs.mkdir()
    prepare(task, app, 1)
    if code:
        (app / "f.py").write_text(code)
    if patch:
        (logs / "diff.patch").write_text(patch)
    return asyncio.run(verify(task, app, logs, 1))


def test_it_is_a_task_like_any_other(tmp_path: Path) -> None:
    task = made(tmp_path, tags=("maths",), checks=("true",))
    assert (task.name, task.label, task.tags) == ("mine", "mine", ("maths",))
    assert task.phases[0].instruction == "Double it.\n"
    assert load_task(tmp_path / "task") == task
    app = tmp_path / "app"
    app.mkdir()
    prepare(task, app, 1)
    assert sorted(path.name for path in app.rglob("*")) == ["docs", "f.py", "notes.md"]
    assert not (tmp_path / "a.tar").exists()


def test_equal_requests_on_an_equal_commit_are_the_same_task(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    one, other = made(tmp_path / "x", checks=("true",)), made(tmp_path / "y", checks=("false",))
    take_snapshot(Repository.at(tmp_path / "x" / "repo"), tmp_path / "a.tar")
    fields = UserTask("mine", "Double it.\n", ("true",))
    again = write_user_task(tmp_path / "task", fields, tmp_path / "a.tar")
    assert one.digest == again.digest != other.digest


def test_the_share_of_checks_that_pass(tmp_path: Path) -> None:
    task = made(tmp_path, checks=('python3 -c "import f; assert f.f(2) == 4"', "test -f f.py", "exit 3"))
    verdict = checked(task, tmp_path, "def f(x):\n    return 2 * x\n")
    assert verdict.reward == pytest.approx(2 / 3)
    assert dict(verdict.scores) == {
        "visible": pytest.approx(2 / 3),
        "check 1": 1.0,
        "check 2": 1.0,
        "check 3": 0.0,
    }
    kept = json.loads((tmp_path / "logs" / "verifier" / "checks.json").read_bytes())
    assert [row["exit_code"] for row in kept] == [0, 0, 3]
    assert "(exit code 3)" in verdict.log_tail


def test_one_check_is_passed_or_not(tmp_path: Path) -> None:
    verdict = checked(made(tmp_path, checks=("exit 1",)), tmp_path)
    assert (verdict.reward, dict(verdict.scores)) == (0.0, {"visible": 0.0})


@pytest.mark.parametrize(("patch", "reward"), [("", 0.0), ("diff --git a/f b/f\n", 1.0)])
def test_without_checks_it_is_said_that_nothing_is_verified(
    tmp_path: Path, patch: str, reward: float
) -> None:
    task = made(tmp_path)
    assert task.tags == ("unverified",)
    verdict = checked(task, tmp_path, patch=patch)
    assert (verdict.reward, dict(verdict.scores)) == (reward, {"unverified": 1.0})


def test_what_probes_print_is_behaviour_without_where_the_copy_lies(tmp_path: Path) -> None:
    probes = (
        ProbeCommand("Is it doubled?", 'python3 -c "import f; print(f.f(3))"'),
        ProbeCommand("where", "pwd"),
        ProbeCommand("broken", 'python3 -c "import f; f.g()"'),
    )
    checked(made(tmp_path, probes=probes), tmp_path, "def f(x):\n    return 2 * x\n")
    found = read_behaviour(tmp_path / "logs" / "verifier" / "behaviour.json")
    assert found is not None
    outputs = {probe.name: (probe.output, probe.question) for probe in found.probes}
    assert outputs == {
        "Is it doubled?": ("6", "Is it doubled?"),
        "where": (".", ""),
        "broken": ("AttributeError: module 'f' has no attribute 'g'\n(exit code 1)", ""),
    }


def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    task = made(
        tmp_path,
        checks=("exec tail -f /dev/null",),
        check_s=0.2,
        probe_s=0.2,
        probes=(ProbeCommand("p", "echo begun; exec tail -f /dev/null"),),
    )
    assert checked(task, tmp_path).reward == 0.0
    found = read_behaviour(tmp_path / "logs" / "verifier" / "behaviour.json")
    assert found is not None
    assert found.probes[0].output == "begun\n\n(it did not end in time)"


def test_what_a_model_wrote_reaches_neither_network_nor_files(tmp_path: Path) -> None:
    """A check runs the candidate's code."""
    if isolation().bwrap is None:
        pytest.skip("bubblewrap is not allowed here")
    outside = tmp_path / "outside"
    tests = (
        f"! touch {outside}",
        "! touch ../tests/check.py",
        "touch here && touch /tmp/there && touch ~/home",
        "test $(ls /sys/class/net | wc -l) -ge 1 && ! grep -qv -e lo: -e '|' /proc/net/dev",
    )
    verdict = checked(made(tmp_path, checks=tests), tmp_path)
    assert verdict.reward == 1.0, verdict.log_tail
    assert not outside.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"instruction": " \n"}, "prompt is empty"),
        ({"instruction": "x" * 300_000}, "prompt has more than"),
        ({"checks": (" ",)}, "expected a command"),
        ({"checks": ("true",) * 51}, "more than 50 checks"),
        ({"probes": (ProbeCommand("a", "x"), ProbeCommand("a", "y"))}, "two probes are called 'a'"),
        ({"probes": (ProbeCommand("a" * 201, "x"),)}, "1 to 200 characters"),
        ({"check_s": 90_000.0, "checks": ("true",)}, "more than 24 h: lower --check-timeout"),
        ({"name": "Not a name"}, "metadata.hotseat.name"),
    ],
)
def test_what_cannot_be_a_task_is_refused(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        made(tmp_path, **given)


def test_long_outputs_are_cut_and_still_differ() -> None:
    probes = [{"name": f"p{n}", "command": "c"} for n in range(100)]
    text = behaviour(probes, ["x" * 5000 + str(n) for n in range(100)])
    assert len(text.encode()) <= MAX_BEHAVIOUR_BYTES
    outputs = [row["output"] for row in json.loads(text)["probes"]]
    assert len(set(outputs)) == 100
    short = behaviour(probes[:1], ["y" * 4096])
    assert json.loads(short)["probes"][0]["output"] == "y" * 4096


def test_an_output_names_the_copy_by_a_dot() -> None:
    ended = Ended(0, "/tmp/verify-1/app/f.py and /tmp/verify-1/tests\n", "")
    assert printed(ended, Path("/tmp/verify-1/app")) == "./f.py and ../tests"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("My Repo-`Fix` it!", "my-repo-fix-it"), ("…", "task"), ("a" * 80, "a" * 64), ("-.x.-", "x")],
)
def test_a_name_of_any_words(words: str, expected: str) -> None:
    assert slug(words) == expected
