"""`hotseat bench race` and `apply` with the real CLIs on scripted models, on a user's own repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.task import TASKS
from tests.bench.user_repository import commit, fingerprint, git
from tests.integration.harness_rig import LONG, require

pytestmark = [pytest.mark.harness, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
FORK = TASKS / "fork-spec"
PROBE = """Is a claim over the limit cut or left out?=python3 -c '
import expenses, inspect
print(sorted(inspect.signature(expenses.total).parameters))'"""


def hotseat(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy.cli", "bench", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "HOTSEAT_HOME": str(folder / "home"), "HOTSEAT_SERVER": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@LONG[0]
@LONG[1]
def test_three_harnesses_on_a_users_repository_and_one_patch_taken_over(tmp_path: Path) -> None:
    for name in ("opencode", "codex", "claude"):
        require(name)
    repo, job = tmp_path / "repo", tmp_path / "job"
    shutil.copytree(FORK / "environment" / "workspace", repo)
    git(repo, "init", "--quiet", "--initial-branch=main")
    commit(repo, "one")
    before = fingerprint(repo)
    done = hotseat(
        tmp_path,
        *("race", "--prompt", FORK / "instruction.md", "--repo", repo, "--plan", "race-demo", "--job", job),
        *("--check", "python3 -m unittest discover -s tests", "--probe", PROBE, "--json"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["configuration"]: one for one in json.loads(done.stdout)["candidates"]}
    assert {name: one["scores"]["visible"] for name, one in found.items()} == {
        "right": 1.0,
        "subtle": 1.0,
        "failing": 0.0,
    }
    for one in found.values():
        assert (one["validity"], one["outcome"], one["files"]) == ("VALID", "scored", 1), one
        assert one["requests"] > 0
        git(repo, "apply", "--check", one["patch"])
    assert fingerprint(repo) == before
    applied = hotseat(tmp_path, "apply", job, "right", "--json")
    assert applied.returncode == 0, applied.stderr
    assert git(repo, "status", "--porcelain") == " M expenses.py\n"
    subprocess.run(json.loads(applied.stdout)["undo"], shell=True, check=True)
    assert git(repo, "status", "--porcelain") == ""
