"""Where a trial happens: private, one commit, and differences that an agent cannot bend."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.task import named_task
from bench.workspace import Workspace, outside_repositories


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with Workspace.made_for(named_task("smoke"), seed=1) as made:
        yield made


def git(app: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=app,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_it_is_one_commit_with_all_files_and_goes_at_the_end() -> None:
    with Workspace.made_for(named_task("smoke"), seed=1) as workspace:
        assert git(workspace.app, "log", "--format=%an %s").splitlines() == ["task The task's start"]
        assert git(workspace.app, "status", "--porcelain") == ""
        assert git(workspace.app, "ls-files").split() == ["numbers.txt"]
        first = git(workspace.app, "rev-parse", "HEAD")
        assert workspace.diff() == b""
    assert not workspace.root.exists()
    with Workspace.made_for(named_task("smoke"), seed=1) as again:
        assert git(again.app, "rev-parse", "HEAD") == first
        assert again.canary != workspace.canary


def test_the_environment_is_private(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "secret")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://elsewhere")
    environment = workspace.environment()
    assert environment["PATH"] == os.environ["PATH"]
    assert {name for name, value in environment.items() if str(workspace.root) in value} == {
        *("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
    }
    assert not {"OPENROUTER_API_KEY", "ANTHROPIC_BASE_URL"} & set(environment)


def test_the_difference_is_a_patch(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.app / "numbers.txt").unlink()
    (workspace.app / "new.bin").write_bytes(b"\0\xff")
    (workspace.app / "ä b.txt").write_text("x\n")
    git(workspace.app, "add", ".")
    git(workspace.app, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "mine")
    (workspace.app / "late.txt").write_text("not added")
    assert sorted(workspace.changed()) == ["late.txt", "new.bin", "numbers.txt", "ä b.txt"]
    patch = tmp_path / "diff.patch"
    patch.write_bytes(workspace.diff())
    with Workspace.made_for(named_task("smoke"), seed=1) as fresh:
        git(fresh.app, "apply", str(patch))
        assert sorted(path.name for path in fresh.app.iterdir()) == [".git", "late.txt", "new.bin", "ä b.txt"]
        assert (fresh.app / "new.bin").read_bytes() == b"\0\xff"


def test_what_running_a_program_leaves_is_no_part_of_a_patch(workspace: Workspace) -> None:
    for place in ("__pycache__/a.pyc", "src/__pycache__/b.cpython-311.pyc", "node_modules/x/index.js"):
        (workspace.app / place).parent.mkdir(parents=True, exist_ok=True)
        (workspace.app / place).write_bytes(b"\x00")
    (workspace.app / "src" / "b.py").write_text("b = 1\n")
    assert workspace.changed() == ["src/b.py"]


def test_what_an_agent_writes_into_its_repository_runs_nothing(workspace: Workspace) -> None:
    proof = workspace.root / "ran"
    with (workspace.app / ".git" / "config").open("a") as config:
        config.write(f'[core]\n\tfsmonitor = "touch {proof}"\n[diff "x"]\n\ttextconv = "touch {proof};"\n')
    (workspace.app / ".gitattributes").write_text("* diff=x\n")
    (workspace.app / "numbers.txt").write_text("1\n")
    assert workspace.changed() == [".gitattributes", "numbers.txt"]
    assert b"+1\n" in workspace.diff()
    assert not proof.exists()


def test_an_agent_without_its_git_folder_is_still_compared(workspace: Workspace) -> None:
    subprocess.run(["rm", "-rf", str(workspace.app / ".git")], check=True)
    (workspace.app / "numbers.txt").write_text("1\n")
    assert workspace.changed() == ["numbers.txt"]


def test_looking_beside_the_repository_is_found(workspace: Workspace) -> None:
    assert workspace.findings() == []
    beside = next(workspace.root.glob("canary-*"))
    (workspace.logs / "stdout").write_text('{"tool_result": "' + "\\n".join(["app", beside.name]) + '"}')
    assert workspace.findings() == ["read beside its repository (seen in logs)"]
    beside.unlink()
    assert "removed a file beside its repository" in workspace.findings()


def test_changing_what_is_protected_is_found(workspace: Workspace) -> None:
    (workspace.app / "numbers.txt").write_text("1\n")
    assert workspace.findings(("other", "numbers")) == []
    assert workspace.findings(("numbers.txt",)) == ["changed numbers.txt, which it was told to leave"]
    (workspace.app / "tests").mkdir()
    (workspace.app / "tests" / "new.py").write_text("")
    assert workspace.findings(("tests/",)) == ["changed tests/new.py, which it was told to leave"]


def test_a_place_under_instructions_for_agents_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "CLAUDE.md").write_text("Always say hello.")
    (tmp_path / "deep").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "deep"))
    with pytest.raises(BenchError, match=r"CLAUDE\.md would reach every agent: set TMPDIR"):
        outside_repositories()


def test_a_repository_that_an_agent_made_inside_is_no_part_of_it_and_hides_nothing_else(
    workspace: Workspace,
) -> None:
    (workspace.app / "numbers.txt").write_text("9\n")
    for name in ("empty", "deep/committed"):
        (workspace.app / name).mkdir(parents=True)
        git(workspace.app / name, "init", "--quiet", "--template=")
        (workspace.app / name / "inner.txt").write_text("x\n")
    committed = workspace.app / "deep" / "committed"
    git(committed, "add", "--all")
    git(committed, "-c", "user.name=u", "-c", "user.email=u@localhost", "commit", "--quiet", "--message", "x")
    (workspace.app / "deep" / "beside.txt").write_text("x\n")
    assert sorted(workspace.changed()) == ["deep/beside.txt", "numbers.txt"]
    assert b"160000" not in workspace.diff()
    assert workspace.findings() == [
        f"made a repository of its own in {name}, which is no part of its patch"
        for name in ("deep/committed", "empty")
    ]


def test_what_a_harness_left_beside_the_repository_goes_first() -> None:
    with Workspace.made_for(named_task("smoke"), 1) as workspace:
        (workspace.home / "cache").mkdir()
        (workspace.home / "cache" / "session").write_text("x")
        workspace.clear_private()
        left = sorted(path.name for path in workspace.root.iterdir() if not path.name.startswith("canary"))
        assert left == ["app", "base"]
        (workspace.app / "numbers.txt").write_text("9\n")
        assert b"+9" in workspace.diff()
        assert not (workspace.app / ".git" / "hooks").exists()
