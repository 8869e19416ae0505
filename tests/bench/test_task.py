"""Reading tasks, laying them out, and checks that can tell right from wrong."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from bench.errors import TaskError
from bench.sandbox import isolation
from bench.task import Task, load_task, named_task, own_tasks, prepare
from bench.task_check import Checked, check_task
from bench.verifier import verify

CONFIG = """
[metadata.hotseat]
tags = ["tiny"]
parameters = { n = [3, 5] }

[verifier]
timeout_sec = 20
"""
CHECK = """
import json, os
from pathlib import Path
done = Path(os.environ["HOTSEAT_APP"], "done.txt")
reward = float(done.read_text()) if done.exists() else 0.0
written = Path(os.environ["HOTSEAT_LOGS"], "verifier", "reward.json")
written.write_text(json.dumps({"reward": reward, "done": reward}))
"""
GENERATE = """
import argparse
from pathlib import Path
parser = argparse.ArgumentParser()
for name in ("seed", "out", "n"):
    parser.add_argument("--" + name)
given = parser.parse_args()
Path(given.out, "made.txt").write_text(f"{given.seed} {given.n}")
"""


def folder(
    at: Path,
    config: str = CONFIG,
    check: str = "python3 $HOTSEAT_TESTS/check.py",
    oracle: str = "echo 1 > done.txt",
) -> Path:
    files = {
        "task.toml": config,
        "instruction.md": "Write done.txt.",
        "environment/workspace/start.txt": "here",
        "environment/generate.py": GENERATE,
        "tests/test.sh": check,
        "tests/check.py": CHECK,
        "solution/solve.sh": oracle,
        "broken/half/solve.sh": "echo 0.5 > done.txt",
    }
    for name, text in files.items():
        path = at / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return at / "tiny"


def checked(task: Task) -> dict[str, Checked]:
    async def all_of_them() -> dict[str, Checked]:
        return {found.solution: found async for found in check_task(task)}

    return asyncio.run(all_of_them())


def test_a_task_is_read(tmp_path: Path) -> None:
    task = load_task(folder(tmp_path))
    assert task.label == "tiny(n=3)"
    assert [(phase.name, phase.instruction) for phase in task.phases] == [("build", "Write done.txt.")]
    assert (task.tags, task.verifier_timeout_s, task.agent_timeout_s) == (("tiny",), 20, 600)
    assert load_task(task.folder, {"n": 5}).label == "tiny(n=5)"


def test_forks_are_questions_with_readings(tmp_path: Path) -> None:
    fork = '[[metadata.hotseat.forks]]\nquestion = "Which?"\nreadings = '
    assert load_task(folder(tmp_path)).forks == ()
    (found,) = load_task(folder(tmp_path, CONFIG + fork + '["this", "that"]')).forks
    assert (found.question, found.readings) == ("Which?", ("this", "that"))
    with pytest.raises(TaskError, match=r"forks\.0\.readings"):
        load_task(folder(tmp_path, CONFIG + fork + '["one alone"]'))


def test_phases_are_steps(tmp_path: Path) -> None:
    at = folder(tmp_path, CONFIG + '[[steps]]\nname = "build"\n[[steps]]\nname = "validate"\n')
    for name in ("build", "validate"):
        (at / "steps" / name).mkdir(parents=True)
        (at / "steps" / name / "instruction.md").write_text(name.upper())
    assert [(phase.name, phase.instruction) for phase in load_task(at).phases] == [
        ("build", "BUILD"),
        ("validate", "VALIDATE"),
    ]


def test_every_change_of_a_file_is_another_digest(tmp_path: Path) -> None:
    at = folder(tmp_path)
    digests = {load_task(at).digest}
    for change in (
        lambda: (at / "tests" / "check.py").write_text(CHECK + "#"),
        lambda: (at / "tests" / "check.py").rename(at / "tests" / "checks.py"),
        lambda: (at / "environment" / "workspace" / "empty").write_text(""),
    ):
        change()
        digests.add(load_task(at).digest)
    assert len(digests) == 4
    (at / "__pycache__").mkdir()
    (at / "__pycache__" / "x.pyc").write_text("")
    assert load_task(at).digest in digests


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("task.toml", "a = ", "not TOML"),
        ("task.toml", "[agent]\ntimeout_sec = -1", r"agent.timeout_sec: .* greater than 0, found -1"),
        ("task.toml", "[metadata.hotseat]\ntag = []", "metadata.hotseat.tag: Extra inputs"),
        ("task.toml", '[[steps]]\nname = "../x"', "steps.0.name"),
        ("task.toml", '[[steps]]\nname = "gone"', "No such file"),
    ],
)
def test_a_broken_task_says_what_is_broken(tmp_path: Path, name: str, text: str, said: str) -> None:
    at = folder(tmp_path)
    (at / name).write_text(text)
    with pytest.raises(TaskError, match=said):
        load_task(at)


def test_parameters_are_among_those_it_has(tmp_path: Path) -> None:
    at = folder(tmp_path)
    with pytest.raises(TaskError, match=r"n = 4: expected one of \[3, 5\]"):
        load_task(at, {"n": 4})
    with pytest.raises(TaskError, match="no parameter 'm'"):
        load_task(at, {"m": 4})


def test_links_are_refused(tmp_path: Path) -> None:
    at = folder(tmp_path)
    (at / "tests" / "secret").symlink_to("/etc/hostname")
    with pytest.raises(TaskError, match="a link"):
        load_task(at)


def test_workspace_and_generator_make_what_the_agent_starts_from(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    prepare(load_task(folder(tmp_path), {"n": 5}), app, seed=9)
    assert {path.name: path.read_text() for path in app.iterdir()} == {"start.txt": "here", "made.txt": "9 5"}


def test_a_generator_that_fails_says_its_last_word(tmp_path: Path) -> None:
    at = folder(tmp_path)
    (at / "environment" / "generate.py").write_text("raise SystemExit('no seed')")
    with pytest.raises(TaskError, match="exit code 1: no seed"):
        prepare(load_task(at), tmp_path, seed=9)


def test_checks_that_tell_right_from_wrong(tmp_path: Path) -> None:
    found = checked(load_task(folder(tmp_path)))
    assert {name: (c.verdict.reward, c.is_right) for name, c in found.items()} == {
        "nop": (0.0, True),
        "oracle": (1.0, True),
        "half": (0.5, True),
    }
    assert found["half"].verdict.scores == {"done": 0.5}


def test_checks_that_cannot_tell_are_found_out(tmp_path: Path) -> None:
    generous = 'echo 1 > "$HOTSEAT_LOGS/verifier/reward.txt"'
    found = checked(load_task(folder(tmp_path, check=generous)))
    assert {name: c.is_right for name, c in found.items()} == {"nop": False, "oracle": True, "half": False}


def test_an_oracle_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="exit code 3: gone"):
        checked(load_task(folder(tmp_path, oracle="echo gone; exit 3")))


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("exit 1", "reward.txt"),
        ('echo nan > "$HOTSEAT_LOGS/verifier/reward.txt"', "from 0 to 1, found 'nan"),
        ('echo 1.5 > "$HOTSEAT_LOGS/verifier/reward.txt"', "from 0 to 1"),
        ('echo "[1]" > "$HOTSEAT_LOGS/verifier/reward.json"', "an object with the key reward"),
        ("sleep 60 & sleep 60", "longer than 0.2 s"),
    ],
)
def test_checks_that_fail_give_no_reward(tmp_path: Path, check: str, said: str) -> None:
    config = CONFIG.replace("timeout_sec = 20", f"timeout_sec = {0.2 if 'sleep' in check else 20}")
    task = load_task(folder(tmp_path, config, check))
    (tmp_path / "app").mkdir()
    verdict = asyncio.run(verify(task, tmp_path / "app", tmp_path, seed=1))
    assert verdict.reward is None
    assert said in verdict.error


def test_a_reward_that_lies_about_is_not_taken(tmp_path: Path) -> None:
    task = load_task(folder(tmp_path, check="true"))
    (tmp_path / "app").mkdir()
    (tmp_path / "verifier").mkdir()
    (tmp_path / "verifier" / "reward.txt").write_text("1")
    assert asyncio.run(verify(task, tmp_path / "app", tmp_path, seed=1)).reward is None


def test_what_the_agent_left_is_not_changed_by_checks(tmp_path: Path) -> None:
    task = load_task(folder(tmp_path, check="rm -r ./*; echo 1 > $HOTSEAT_LOGS/verifier/reward.txt"))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "work.txt").write_text("mine")
    assert asyncio.run(verify(task, tmp_path / "app", tmp_path, seed=1)).reward == 1
    assert (tmp_path / "app" / "work.txt").read_text() == "mine"


REACHES = """
import json, os, socket
from pathlib import Path

def reached(attempt):
    try:
        attempt()
    except OSError:
        return 0
    return 1

attempts = {
    "secret": lambda: open(SECRET),
    "tests": lambda: Path(os.environ["HOTSEAT_TESTS"], "check.py").write_text(""),
    "network": lambda: socket.create_connection(("127.0.0.1", PORT), 5),
    "app": lambda: Path(os.environ["HOTSEAT_APP"], "made.txt").write_text(""),
}
found = {name: reached(attempt) for name, attempt in attempts.items()}
Path(os.environ["HOTSEAT_LOGS"], "verifier", "reward.json").write_text(json.dumps({"reward": 1, **found}))
"""


@pytest.mark.parametrize("own_walls", [False, True])
def test_checks_reach_the_copy_alone(tmp_path: Path, own_walls: bool) -> None:
    """As what they run was written by a model. A task with walls of its own is left to them."""
    if (found := isolation()).bwrap is None:
        pytest.skip(found.label)
    secret = tmp_path / "secret.txt"
    secret.write_text("theirs")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = CONFIG.replace('tags = ["tiny"]', f"own_walls = {str(own_walls).lower()}")
        made = folder(tmp_path, config, 'python3 "$HOTSEAT_TESTS/check.py"')
        places = f"SECRET, PORT = {str(secret)!r}, {listening.getsockname()[1]}\n"
        (made / "tests" / "check.py").write_text(places + REACHES)
        (tmp_path / "app").mkdir()
        verdict = asyncio.run(verify(load_task(made), tmp_path / "app", tmp_path, seed=1))
    beyond = float(own_walls)
    assert verdict.scores == {"secret": beyond, "tests": beyond, "network": beyond, "app": 1}, verdict


def test_names_of_our_own() -> None:
    assert "smoke" in own_tasks()
    with pytest.raises(TaskError, match="no task 'nix'"):
        named_task("nix")


@pytest.mark.parametrize("name", own_tasks())
def test_our_own_tasks_tell_right_from_wrong(name: str) -> None:
    found = checked(named_task(name))
    assert len(found) >= 3
    assert [name for name, c in found.items() if not c.is_right] == []
