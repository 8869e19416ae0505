"""`hotseat bench stages` with real CLIs: two stages by two harnesses, one that fails, and how it goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness_rig import LONG, require
from tests.integration.harness_scripts import HANDS, script, turn

pytestmark = [pytest.mark.harness, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SPEC = """# Totals
All numbers are whole.

## Stage: sum
Write total.py, which prints the sum of numbers.txt.
### Acceptance
- It prints the sum. check: `test "$(python3 total.py)" = 6`

## Stage: greet
Write greeting.txt.
### Acceptance
- It greets. check: `grep -qx ready greeting.txt`
- It is kind.
"""
SUM = "print(sum(int(line) for line in open('numbers.txt')))\n"
PLAN = """
name = "two"
config = "models.toml"
attempts = 1
tasks = ["smoke"]
[configurations.first]
harness = "opencode"
main = "summer"
[configurations.careless]
harness = "codex"
main = "careless"
[configurations.second]
harness = "codex"
main = "greeter"
"""


def stages(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    words = [
        "stages",
        "SPEC.md",
        "--repo",
        "repo",
        "--plan",
        "./plan.toml",
        "--with",
        "first",
        "--job",
        "job",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "bench", *words, "--json", *options],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HOTSEAT_HOME": str(folder / "home"),
            "HOTSEAT_SERVER": "",
            "HOTSEAT_HARNESSES": os.environ.get(
                "HOTSEAT_HARNESSES", str(ROOT / ".harnesses" / "node_modules" / ".bin")
            ),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def lay_out(folder: Path) -> None:
    opencode, codex = HANDS["opencode"], HANDS["codex"]
    scripts = {
        "summer": script(
            turn(
                "write", opencode.write("total.py", SUM), match={"step": 1, "user_contains": "stage 1 of 2"}
            ),
            turn("state", opencode.run("echo 'the sum is printed' > STATE.md"), match={"step": 2}),
            turn("end", text="Done.", match={"step": 3}),
        ),
        "careless": script(
            turn("gone", codex.run("rm total.py; echo hello > greeting.txt"), match={"step": 1}),
            turn("end", text="Done.", match={"step": 2}),
        ),
        "greeter": script(
            turn(
                "write",
                codex.write("greeting.txt", "ready\n"),
                match={"step": 1, "user_matches": r"(?s)stage 2 of 2.*total\.py \(new\).*the sum is printed"},
            ),
            turn("end", text="Done.", match={"step": 2}),
        ),
    }
    models = ['[defaults]\nengine = "scripted"\nn_ctx = 128000']
    for name, text in scripts.items():
        (folder / f"{name}.toml").write_text(text)
        models.append(f'[models.{name}]\npath = "{name}.toml"')
    (folder / "models.toml").write_text("\n".join(models))
    (folder / "plan.toml").write_text(PLAN)
    (folder / "SPEC.md").write_text(SPEC)
    (folder / "repo").mkdir()
    (folder / "repo" / "numbers.txt").write_text("1\n2\n3\n")
    git(folder / "repo", "init", "-q", "-b", "main")
    git(folder / "repo", "add", "-A")
    git(folder / "repo", "commit", "-qm", "start")


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@LONG[0]
@LONG[1]
def test_two_harnesses_hand_a_repository_on(tmp_path: Path) -> None:
    require("opencode")
    require("codex")
    lay_out(tmp_path)
    code, said = stages(tmp_path, "--stage", "greet=careless")
    first, second = said["stages"]
    assert (code, first["state"], second["state"]) == (1, "passed", "failed"), said
    assert (second["broken"], second["passed"], second["checks"]) == (1, 0, 2)
    assert (first["validity"], second["validity"]) == ("VALID", "VALID")

    code, said = stages(tmp_path, "--stage", "greet=second", "--from", "greet")
    assert (code, said["done"]) == (0, True), said
    assert [one["trial"] for one in said["stages"]] == ["1-sum-first-1", "2-greet-second-1"]
    assert [one["quality"] for one in said["stages"]] == [1.0, 1.0]
    assert said["stages"][1]["unverified"] == ["It is kind."]
    assert (said["spent"]["tries"], said["spent"]["redone"]) == (3, 1)
    assert said["spent"]["input_tokens"] > 0
    git(tmp_path / "repo", "apply", "--index", "../job/stages.patch")
    assert (tmp_path / "repo" / "total.py").read_text() == SUM
    assert (tmp_path / "repo" / "greeting.txt").read_text() == "ready\n"
    assert not (tmp_path / "repo" / "STATE.md").exists()
