"""A candidate's patch on a user's repository: whole, looked at first, undone by the command that it names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.apply import Offered, apply_to_branch, apply_to_working_tree, message_of, read_patch
from bench.errors import BenchError
from bench.repository import Repository
from bench.workspace import MAX_DIFF_BYTES
from tests.bench.user_repository import FILES, commit, fingerprint, git, make_repository, patch_of, write

DOUBLED = {"f.py": "def f(x):\n    return 2 * x\n", "new/g.py": "from f import f\n"}


class Place:
    """A repository and what a candidate made of its HEAD."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.kept = folder / "job"
        self.repo = make_repository(folder / "repo", FILES, *options)
        self.base = git(self.repo, "rev-parse", "HEAD").strip()
        self.patch = DOUBLING

    def offered(self, patch: bytes | None = None) -> Offered:
        return Offered("race-codex-1", "codex", self.patch if patch is None else patch, self.base)

    def apply(self, patch: bytes | None = None) -> str:
        return apply_to_working_tree(Repository.at(self.repo), self.offered(patch), self.kept).undo

    def status(self) -> str:
        return git(self.repo, "status", "--porcelain", "--untracked-files=all")


def new_file(path: str, text: str = "x", mode: str = "100644") -> bytes:
    """A patch of one file, as somebody writes one by hand."""
    head = f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n"
    return f"{head}+{text}\n\\ No newline at end of file\n".encode()


DOUBLING = (
    b"diff --git a/f.py b/f.py\n--- a/f.py\n+++ b/f.py\n@@ -1,2 +1,2 @@\n def f(x):\n-    return x\n"
    b"+    return 2 * x\n"
    + new_file("new/g.py", "from f import f").replace(b"\\ No newline at end of file\n", b"")
)


def test_the_working_tree_gets_it_and_nothing_else_changes(tmp_path: Path) -> None:
    place = Place(tmp_path)
    index = (place.repo / ".git" / "index").read_bytes()
    objects = sorted((place.repo / ".git" / "objects").rglob("*"))
    undo = place.apply()
    assert place.status() == " M f.py\n?? new/g.py\n"
    assert (place.repo / "f.py").read_text() == DOUBLED["f.py"]
    assert git(place.repo, "rev-parse", "HEAD").strip() == place.base
    subprocess.run(undo, shell=True, check=True, cwd=tmp_path)
    assert place.status() == ""
    assert sorted((place.repo / ".git" / "objects").rglob("*")) == objects
    git(place.repo, "update-index", "--refresh")
    assert len((place.repo / ".git" / "index").read_bytes()) == len(index)


def test_the_index_is_not_touched(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, {"docs/notes.md": "staged\n"})
    git(place.repo, "add", "docs/notes.md")
    before = fingerprint(place.repo / ".git")
    place.apply()
    assert fingerprint(place.repo / ".git") == before
    assert (
        place.status() == " M f.py\nM  docs/notes.md\n?? new/g.py\n" or "M  docs/notes.md" in place.status()
    )


def test_from_a_folder_below_the_whole_patch_is_applied(tmp_path: Path) -> None:
    """git apply by itself leaves out what is beside the folder it is called in."""
    place = Place(tmp_path)
    apply_to_working_tree(Repository.at(place.repo / "docs"), place.offered(), place.kept)
    assert "?? new/g.py" in place.status()


def test_changes_of_the_user_in_its_way_are_named_and_kept(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, {"f.py": "mine\n", "docs/notes.md": "mine too\n", "new/other.py": "and mine\n"})
    with pytest.raises(BenchError, match=r"uncommitted changes where the patch goes: f\.py: "):
        place.apply()
    assert (place.repo / "f.py").read_text() == "mine\n"
    assert not (place.repo / "new" / "g.py").exists()


def test_changes_of_the_user_elsewhere_are_not_in_its_way(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, {"docs/notes.md": "mine\n", "new/other.py": "mine\n"})
    place.apply()
    assert place.status() == " M docs/notes.md\n M f.py\n?? new/g.py\n?? new/other.py\n"


def test_a_file_that_git_ignores_is_not_written_over(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, {".git/info/exclude": "new/\n", "new/g.py": "precious\n"})
    with pytest.raises(BenchError, match=r"new/g\.py: already exists in working directory"):
        place.apply()
    assert (place.repo / "new" / "g.py").read_text() == "precious\n"
    assert place.status() == ""


@pytest.mark.parametrize("path", ["new", "docs"])
def test_what_is_in_the_way_is_named_before_any_file_is_changed(tmp_path: Path, path: str) -> None:
    """git would change f.py, and then find out."""
    place = Place(tmp_path)
    gone = b"".join(
        (
            b"diff --git a/docs/notes.md b/docs/notes.md\ndeleted file mode 100644\n--- a/docs/notes.md\n",
            b"+++ /dev/null\n@@ -1,3 +0,0 @@\n-one\n-two\n-three\n",
        )
    )
    patch = DOUBLING if path == "new" else DOUBLING + gone + new_file("docs")
    mine = place.repo / ("new" if path == "new" else "docs/mine.txt")
    mine.write_text("mine\n")
    before = fingerprint(tmp_path)
    with pytest.raises(
        BenchError, match=f"in the way of the patch, and not in git: {mine.relative_to(place.repo)}:"
    ):
        place.apply(patch)
    assert fingerprint(tmp_path) == before
    mine.unlink()
    place.apply(patch)
    assert (place.repo / path).is_dir() == (path == "new")


def test_what_git_stopped_half_way_is_put_back(tmp_path: Path) -> None:
    place = Place(tmp_path)
    gone = DOUBLING + b"diff --git a/docs/notes.md b/docs/notes.md\ndeleted file mode 100644\n"
    gone += b"--- a/docs/notes.md\n+++ /dev/null\n@@ -1,3 +0,0 @@\n-one\n-two\n-three\n" + new_file("docs")
    (place.repo / "docs" / "empty").mkdir()  # git removes no folder of the user's
    (place.repo / "f.py").chmod(0o755)
    git(place.repo, "config", "core.fileMode", "false")
    with pytest.raises(BenchError, match="does not go on the working tree: unable to write file 'docs'"):
        place.apply(gone)
    assert place.status() == ""
    assert (place.repo / "f.py").stat().st_mode & 0o100
    assert (place.repo / "docs" / "empty").is_dir()


def test_any_kind_of_repository_does(tmp_path: Path) -> None:
    """With longer names of objects, and in a folder whose name separates folders for git."""
    (tmp_path / 'a:b "c"').mkdir()
    place = Place(tmp_path / 'a:b "c"', "--object-format=sha256")
    git(place.repo, "checkout", "--quiet", "--detach")
    git(place.repo, "config", "core.splitIndex", "true")
    apply_to_branch(Repository.at(place.repo), place.offered(), "try", "m")
    assert git(place.repo, "show", "try:f.py") == DOUBLED["f.py"]
    write(place.repo, {"f.py": "# first line\n\n\n\n\ndef f(x):\n    return x\n"})
    commit(place.repo, "two")
    before = fingerprint(place.repo / ".git")
    done = apply_to_working_tree(Repository.at(place.repo), place.offered(), place.kept)
    assert (done.merged, done.files) == (True, ("f.py", "new/g.py"))
    assert fingerprint(place.repo / ".git").keys() == before.keys()
    subprocess.run(done.undo, shell=True, check=True)
    assert place.status() == ""


def test_a_worktree_has_its_own_files(tmp_path: Path) -> None:
    place = Place(tmp_path)
    git(place.repo, "worktree", "add", "--quiet", str(tmp_path / "tree"))
    apply_to_working_tree(Repository.at(tmp_path / "tree"), place.offered(), place.kept)
    assert (tmp_path / "tree" / "f.py").read_text() == DOUBLED["f.py"]
    assert place.status() == ""


def test_what_undoes_it_is_kept_for_each_clone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    undo = place.apply()
    git(tmp_path, "clone", "--quiet", str(place.repo), "clone")
    clone = Repository.at(tmp_path / "clone")
    write(clone.top, {"f.py": "# first line\n\n\n\n\ndef f(x):\n    return x\n"})
    git(clone.top, "-c", "user.name=u", "-c", "user.email=u@localhost", "commit", "--quiet", "-am", "two")
    other = apply_to_working_tree(clone, place.offered(), place.kept).undo
    for command in (undo, other):
        subprocess.run(command, shell=True, check=True)
    assert place.status() == git(clone.top, "status", "--porcelain") == ""


def test_a_branch_needs_somebody_who_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    (place.repo / ".git" / "config").write_text("[user]\n\tuseConfigOnly = true\n")
    with pytest.raises(
        BenchError, match=r"set one with git config user\.name NAME and git config user\.email"
    ):
        apply_to_branch(Repository.at(place.repo), place.offered(), "try", "m")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "n")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "n@localhost")
    apply_to_branch(Repository.at(place.repo), place.offered(), "try", "m")
    assert git(place.repo, "log", "-1", "--format=%ae", "try") == "n@localhost\n"


def test_head_that_has_gone_on_is_merged_with(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, {"f.py": "# first line\n\n\n\n\ndef f(x):\n    return x\n"})
    commit(place.repo, "two")
    done = apply_to_working_tree(Repository.at(place.repo), place.offered(), place.kept)
    assert (done.merged, done.files) == (True, ("f.py", "new/g.py"))
    assert (place.repo / "f.py").read_text() == "# first line\n\n\n\n\ndef f(x):\n    return 2 * x\n"
    subprocess.run(done.undo, shell=True, check=True)
    assert place.status() == ""


def test_a_conflict_is_refused_by_name_and_a_branch_still_works(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, {"f.py": "def f(x):\n    return x + x\n"})
    head = commit(place.repo, "two")
    with pytest.raises(BenchError, match=r"HEAD has gone on since .* conflicts with it: f\.py: use --branch"):
        place.apply()
    assert place.status() == ""
    apply_to_branch(Repository.at(place.repo), place.offered(), "try", "message")
    assert git(place.repo, "rev-parse", "try^").strip() == place.base
    assert git(place.repo, "rev-parse", "HEAD").strip() == head


def test_what_both_have_done_and_modes_and_links_are_merged(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, {"new/g.py": DOUBLED["new/g.py"], "other.py": "o\n"})
    (place.repo / "docs" / "notes.md").chmod(0o755)
    commit(place.repo, "two")
    done = apply_to_working_tree(Repository.at(place.repo), place.offered(), place.kept)
    assert done.files == ("f.py",)
    assert place.status() == " M f.py\n"


@pytest.mark.parametrize("mine", ["another\n", None])
def test_a_file_that_both_have_made_or_one_has_removed_is_a_conflict(
    tmp_path: Path, mine: str | None
) -> None:
    place = Place(tmp_path)
    if mine is None:
        (place.repo / "f.py").unlink()
    else:
        write(place.repo, {"new/g.py": mine})
    commit(place.repo, "two")
    with pytest.raises(
        BenchError, match="conflicts with it: " + (r"f\.py" if mine is None else r"new/g\.py")
    ):
        place.apply()
    assert place.status() == ""


def test_what_head_has_already_is_said(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, DOUBLED)
    commit(place.repo, "the same")
    with pytest.raises(BenchError, match="is in HEAD already"):
        place.apply()


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.base = "1" * 40
    with pytest.raises(BenchError, match="commit 111111111111, which it all started from, is not there: use"):
        place.apply()


def test_a_branch_of_one_commit_and_no_other_change(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write(place.repo, {"f.py": "mine\n"})
    ran = tmp_path / "ran"
    for name in ("pre-commit", "post-commit", "reference-transaction", "commit-msg"):
        hook = place.repo / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
        hook.chmod(0o755)
    before = fingerprint(place.repo)
    done = apply_to_branch(
        Repository.at(place.repo), place.offered(), "try/codex", "Double it\n\nBy codex.\n"
    )
    assert not ran.exists()
    assert (done.place, done.files) == ("branch try/codex", ("f.py", "new/g.py"))
    new = {name for name, kept in fingerprint(place.repo).items() if before.get(name) != kept}
    assert all(
        name.startswith((".git/objects/", ".git/refs/heads/try", ".git/logs/refs/heads/try")) for name in new
    )
    assert git(place.repo, "log", "--format=%s|%P", "try/codex", "-1").strip() == f"Double it|{place.base}"
    assert git(place.repo, "show", "try/codex:new/g.py") == DOUBLED["new/g.py"]
    assert git(place.repo, "fsck", "--strict", "--no-dangling") == ""
    subprocess.run(done.undo, shell=True, check=True, capture_output=True)
    assert "try" not in git(place.repo, "branch", "--list")


def test_a_branch_in_a_bare_repository(tmp_path: Path) -> None:
    place = Place(tmp_path)
    git(tmp_path, "clone", "--quiet", "--bare", str(place.repo), "bare.git")
    bare = Repository.at(tmp_path / "bare.git")
    git(bare.top, "config", "user.name", "u")
    git(bare.top, "config", "user.email", "u@localhost")
    apply_to_branch(bare, place.offered(), "try", "m")
    assert git(bare.top, "show", "try:f.py") == DOUBLED["f.py"]
    with pytest.raises(BenchError, match="no working tree: use --branch"):
        apply_to_working_tree(bare, place.offered(), place.kept)


@pytest.mark.parametrize("name", ["", "-d", "a..b", "HEAD", "a b", "x.lock", "@{-1}", "../main"])
def test_a_bad_name_for_a_branch_is_refused(tmp_path: Path, name: str) -> None:
    place = Place(tmp_path)
    with pytest.raises(BenchError, match="no name for a branch"):
        apply_to_branch(Repository.at(place.repo), place.offered(), name, "m")


def test_a_branch_that_is_there_is_never_moved(tmp_path: Path) -> None:
    place = Place(tmp_path)
    git(place.repo, "branch", "try")
    with pytest.raises(BenchError, match="there is a branch try already"):
        apply_to_branch(Repository.at(place.repo), place.offered(), "try", "m")
    assert git(place.repo, "rev-parse", "try").strip() == place.base


HOSTILE = {
    "above": (new_file("../evil"), "../evil"),
    "absolute": (new_file("/tmp/hotseat-evil"), "hotseat-evil"),
    "git": (new_file(".git/hooks/post-checkout"), ".git/hooks/post-checkout"),
    "git in capitals": (new_file(".GIT/config"), ".GIT/config"),
    "git as Windows shortens it": (new_file("git~1/config"), "git~1"),
    "git below": (new_file("docs/.git/config"), "docs/.git/config"),
    "git as HFS reads it": (new_file(".g\u200cit/config"), "config"),
    "a link out": (new_file("out", "/etc/passwd", "120000"), "a link that leads out of the repository"),
    "a link up": (new_file("docs/up", "../../x", "120000"), "a link that leads out of the repository"),
    "a link into git": (new_file("in", ".git/config", "120000"), "a link into .git"),
    "a submodule": (
        new_file("lib", "Subproject commit " + "1" * 40, "160000").replace(
            b"\\ No newline at end of file\n", b""
        ),
        "another repository",
    ),
    "a link out by way of another": (
        new_file("p/up", "..", "120000") + new_file("out", "p/up/../x", "120000"),
        "a link that leads out of the repository",
    ),
    "through a link": (
        new_file("way", "docs", "120000") + new_file("way/notes.md"),
        "way",
    ),
    "no patch": (b"rm -rf /\n", "patch"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("to_branch", [False, True])
def test_a_patch_that_would_leave_its_place_is_refused_by_name(
    tmp_path: Path, case: str, to_branch: bool
) -> None:
    place = Place(tmp_path)
    patch, expected = HOSTILE[case]
    before = fingerprint(tmp_path)
    with pytest.raises(BenchError, match="refused: the patch") as refused:
        if to_branch:
            apply_to_branch(Repository.at(place.repo), place.offered(patch), "try", "m")
        else:
            place.apply(patch)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert fingerprint(tmp_path) == before


def test_a_link_in_the_working_tree_is_not_written_through(tmp_path: Path) -> None:
    """git knows nothing of it: it is ignored, and it leads out."""
    place = Place(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    write(place.repo, {".git/info/exclude": "new\n"})
    (place.repo / "new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BenchError, match="beyond a symbolic link"):
        place.apply()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert place.status() == ""


def test_a_harmless_link_is_taken(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.apply(new_file("docs/code", "../f.py", "120000"))
    assert (place.repo / "docs" / "code").readlink() == Path("../f.py")


def test_binary_files_names_and_white_space_arrive_as_they_were(tmp_path: Path) -> None:
    place = Place(tmp_path)
    git(place.repo, "config", "apply.whitespace", "fix")
    git(place.repo, "config", "apply.ignoreWhitespace", "change")
    git(place.repo, "config", "diff.noprefix", "true")
    names = {"a name\twith ünits": "trailing \n", "zeros": "\0\1\2" * 50}
    patch = patch_of(place.repo, {})
    assert patch == b""
    write(place.repo, names)
    git(place.repo, "add", "--all")
    patch = git(place.repo, "diff", "--cached", "--binary", "--src-prefix=a/", "--dst-prefix=b/").encode()
    git(place.repo, "reset", "--quiet", "--hard")
    place.apply(patch)
    assert {name: (place.repo / name).read_text() for name in names} == names


def test_patches_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "diff.patch"
    with pytest.raises(BenchError, match="No such file"):
        read_patch(path)
    path.write_bytes(b"\n")
    with pytest.raises(BenchError, match="changed nothing"):
        read_patch(path)
    with path.open("wb") as file:
        file.truncate(MAX_DIFF_BYTES)
    with pytest.raises(BenchError, match="it was cut"):
        read_patch(path)
    path.write_bytes(b"x")
    assert read_patch(path) == b"x"


def test_a_commits_message_begins_with_the_prompt() -> None:
    assert message_of("\n# Double it\n\nMore.\n", "codex", "friday") == (
        "Double it\n\nBy codex, a candidate of friday.\n"
    )
    assert message_of("", "codex", "friday").startswith("Work of codex\n")
