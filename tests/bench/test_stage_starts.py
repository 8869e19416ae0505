"""What a stage leaves is what the next one starts from, byte for byte; patches reach nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.snapshot import pack_folder, unpack
from bench.stage_prompt import State
from bench.stage_starts import MAX_STATE_BYTES, difference, first_start, next_start
from bench.workspace import MAX_DIFF_BYTES

STATE = State("STATE.md", "nothing yet\n")
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "core.autocrlf=false")


def git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True).stdout


def packed(folder: Path, archive: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    folder.mkdir(exist_ok=True)
    pack_folder(folder, archive)
    return archive


def contents(archive: Path, folder: Path) -> dict[str, bytes | str]:
    """A link as its target."""
    folder.mkdir()
    unpack(archive, folder)
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_all_kinds_of_change_arrive_and_go_back_to_the_repository_as_one_patch(tmp_path: Path) -> None:
    files = {
        "kept.txt": b"a\nb\n",
        "gone.txt": b"x\n",
        "crlf.txt": b"one\r\ntwo\r\n",
        ".gitattributes": b"*.txt text\n",
        ".gitignore": b"*.log\n",
        "picture.bin": bytes(range(256)),
    }
    head = packed(tmp_path / "repo", tmp_path / "head.tar", files)
    first_start(head, STATE, tmp_path / "start.tar")
    work = tmp_path / "work"
    assert contents(tmp_path / "start.tar", work)["STATE.md"] == b"nothing yet\n"
    for folder in (work, tmp_path / "repo"):
        git(folder, "init", "-q")
        (folder / ".git" / "info" / "attributes").write_text("* -text\n")
        git(folder, "add", "-A", "-f")
        git(folder, "commit", "-qm", "start")
    (work / "kept.txt").write_bytes(b"a\nc\n")
    (work / "gone.txt").unlink()
    (work / "crlf.txt").write_bytes(b"one\r\nthree\r\n")
    (work / "picture.bin").write_bytes(b"\0" * 300)
    (work / "new").mkdir()
    (work / "new" / "run.sh").write_bytes(b"echo hi\n")
    (work / "new" / "run.sh").chmod(0o755)
    (work / "link").symlink_to("new/run.sh")
    (work / "STATE.md").write_text("stage 1 is done\n")
    git(work, "add", "-A")
    (tmp_path / "diff.patch").write_bytes(git(work, "diff", "--cached", "--binary"))

    left = next_start(tmp_path / "start.tar", tmp_path / "diff.patch", STATE, tmp_path / "next.tar")
    assert left == State("STATE.md", "stage 1 is done\n")
    found = contents(tmp_path / "next.tar", tmp_path / "next")
    assert found == {
        ".gitattributes": b"*.txt text\n",
        ".gitignore": b"*.log\n",
        "STATE.md": b"stage 1 is done\n",
        "crlf.txt": b"one\r\nthree\r\n",
        "kept.txt": b"a\nc\n",
        "link": "new/run.sh",
        "new/run.sh": b"echo hi\n",
        "picture.bin": b"\0" * 300,
    }
    assert os.access(tmp_path / "next" / "new" / "run.sh", os.X_OK)

    patch = difference(head, tmp_path / "next.tar", "STATE.md")
    assert b"STATE.md" not in patch
    (tmp_path / "whole.patch").write_bytes(patch)
    git(tmp_path / "repo", "apply", "--index", str(tmp_path / "whole.patch"))
    pack_folder(tmp_path / "repo", tmp_path / "applied.tar")
    expected = {name: data for name, data in found.items() if name != "STATE.md"}
    assert contents(tmp_path / "applied.tar", tmp_path / "applied") == expected


def test_a_repository_with_such_a_file_of_its_own_is_refused(tmp_path: Path) -> None:
    head = packed(tmp_path / "repo", tmp_path / "head.tar", {"STATE.md": b"mine"})
    with pytest.raises(BenchError, match=r"STATE\.md of its own.*--state"):
        first_start(head, STATE, tmp_path / "start.tar")
    assert not (tmp_path / "start.tar").exists()


NEW = "diff --git a/{0} b/{0}\nnew file mode {1}\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+{2}\n"
NO_NEWLINE = "\\ No newline at end of file\n"


@pytest.mark.parametrize(
    "patch",
    [
        NEW.format("../out.txt", "100644", "x"),
        NEW.format(".git/hooks/post-checkout", "100755", "x"),
        NEW.format("lead", "120000", "/tmp") + NO_NEWLINE + NEW.format("lead/out.txt", "100644", "x"),
        "diff --git a/no b/no\n--- a/no\n+++ b/no\n@@ -1 +1 @@\n-x\n+y\n",
    ],
)
def test_a_patch_that_reaches_beyond_or_does_not_fit_is_refused(tmp_path: Path, patch: str) -> None:
    start = packed(tmp_path / "app", tmp_path / "start.tar", {"a.txt": b"a\n"})
    (tmp_path / "diff.patch").write_text(patch)
    with pytest.raises(BenchError, match=r"diff\.patch: it does not fit"):
        next_start(start, tmp_path / "diff.patch", STATE, tmp_path / "next.tar")
    assert not (tmp_path / "next.tar").exists()


def test_a_patch_that_was_cut_or_is_lost_is_no_start(tmp_path: Path) -> None:
    start = packed(tmp_path / "app", tmp_path / "start.tar", {"a.txt": b"a\n"})
    with (tmp_path / "diff.patch").open("wb") as file:
        file.truncate(MAX_DIFF_BYTES)
    with pytest.raises(BenchError, match="no stage can go on from it"):
        next_start(start, tmp_path / "diff.patch", STATE, tmp_path / "next.tar")
    with pytest.raises(BenchError, match="run its stage again"):
        next_start(start, tmp_path / "lost.patch", STATE, tmp_path / "next.tar")


def test_a_state_file_is_bounded_and_never_a_link(tmp_path: Path) -> None:
    start = packed(tmp_path / "app", tmp_path / "start.tar", {"a.txt": b"a\n", "STATE.md": b"old\n"})
    secret = tmp_path / "secret"
    secret.write_text("of the user")
    gone = (
        "diff --git a/STATE.md b/STATE.md\ndeleted file mode 100644\n"
        "--- a/STATE.md\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"
    )
    link = NEW.format("STATE.md", "120000", str(secret)) + NO_NEWLINE
    for name, patch in (("gone", gone), ("link", gone + link)):
        (tmp_path / "diff.patch").write_text(patch)
        archive = tmp_path / f"{name}.tar"
        assert next_start(start, tmp_path / "diff.patch", STATE, archive) == STATE
        assert contents(archive, tmp_path / name)["STATE.md"] == b"nothing yet\n"
    assert secret.read_text() == "of the user"
    long = f"+{'s' * 99}\n" * 400
    head = "diff --git a/STATE.md b/STATE.md\n--- a/STATE.md\n+++ b/STATE.md\n@@ -1 +1,400 @@\n-old\n"
    (tmp_path / "diff.patch").write_text(head + long)
    left = next_start(start, tmp_path / "diff.patch", STATE, tmp_path / "long.tar")
    assert (left.cut, len(left.text)) == (True, MAX_STATE_BYTES)
