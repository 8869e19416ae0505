"""A commit as an archive: its own bytes, the same each time, and a repository that was only read."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.repository import Repository
from bench.snapshot import MAX_NAMED, leads_out, named, pack_folder, take_snapshot, unpack
from bench.user_start import as_it_is
from tests.bench.user_repository import commit, fingerprint, git, make_repository, write


def laid_out(archive: Path, folder: Path) -> dict[str, str]:
    folder.mkdir()
    unpack(archive, folder)
    return {
        str(path.relative_to(folder)): path.read_bytes().decode()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_commit_is_in_it_and_not_what_is_uncommitted(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    (repo / "f.py").write_text("changed")
    (repo / "new.txt").write_text("new")
    found = take_snapshot(Repository.at(repo / "docs"), tmp_path / "a.tar")
    assert (found.repository, found.head) == (repo, git(repo, "rev-parse", "HEAD").strip())
    assert (found.files, found.total_bytes) == (2, 37)
    assert found.limits == ("uncommitted changes are not in it: f.py, new.txt",)
    files = laid_out(tmp_path / "a.tar", tmp_path / "out")
    assert files == {"docs/notes.md": "one\ntwo\nthree\n", "f.py": "def f(x):\n    return x\n"}


def test_no_byte_of_the_repository_changes_and_no_hook_runs(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    hook = f"#!/bin/sh\ntouch {tmp_path}/ran\n"
    for name in ("post-index-change", "reference-transaction", "fsmonitor"):
        path = repo / ".git" / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(hook)
        path.chmod(0o755)
    git(repo, "config", "core.fsmonitor", str(repo / ".git" / "hooks" / "fsmonitor"))
    (tmp_path / "ran").unlink(missing_ok=True)
    os.utime(repo / "f.py", (1, 1))  # an index that is asked would be refreshed
    before = fingerprint(repo)
    take_snapshot(Repository.at(repo), tmp_path / "a.tar")
    assert fingerprint(repo) == before
    assert not (tmp_path / "ran").exists()


def test_a_lock_of_somebody_else_is_in_nobodys_way(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    (repo / ".git" / "index.lock").write_text("")
    take_snapshot(Repository.at(repo), tmp_path / "a.tar")
    assert (repo / ".git" / "index.lock").exists()


def test_attributes_change_nothing(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"crlf.txt": "a\r\nb\r\n", "secret.txt": "$Id$\n"})
    write(repo, {".gitattributes": "secret.txt export-ignore ident\ncrlf.txt text eol=lf\n"})
    git(repo, "add", ".gitattributes")
    git(repo, "commit", "--quiet", "--message", "attributes")
    take_snapshot(Repository.at(repo), tmp_path / "a.tar")
    files = laid_out(tmp_path / "a.tar", tmp_path / "out")
    assert files["secret.txt"] == "$Id$\n"
    assert files["crlf.txt"] == "a\r\nb\r\n"


def test_the_same_commit_gives_the_same_archive(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    take_snapshot(Repository.at(repo), tmp_path / "a.tar")
    os.utime(repo / "f.py", (5, 5))
    take_snapshot(Repository.at(repo), tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_modes_links_and_odd_names_are_kept(tmp_path: Path) -> None:
    repo = make_repository(
        tmp_path / "repo", {"run.sh": "#!/bin/sh\n", "a name\nof two lines": "x", "plain": "y"}
    )
    (repo / "run.sh").chmod(0o755)
    (repo / "docs").mkdir()
    (repo / "docs" / "link").symlink_to("../run.sh")
    (repo / os.fsdecode(b"latin-\xe9")).write_text("z")
    commit(repo, "two")
    take_snapshot(Repository.at(repo), tmp_path / "a.tar")
    out = tmp_path / "out"
    files = laid_out(tmp_path / "a.tar", out)
    assert files["a name\nof two lines"] == "x"
    assert files[os.fsdecode(b"latin-\xe9")] == "z"
    assert (os.access(out / "run.sh", os.X_OK), os.access(out / "plain", os.X_OK)) == (True, False)
    assert (out / "docs" / "link").readlink() == Path("../run.sh")


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other")
    repo = make_repository(tmp_path / "repo")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "lib")
    (repo / "out").symlink_to("/etc/passwd")
    (repo / "up").symlink_to("../other/f.py")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    write(repo, {"big.bin": pointer})
    commit(repo, "two")
    found = take_snapshot(Repository.at(repo), tmp_path / "a.tar")
    assert found.limits == (
        "submodules are empty in it: lib",
        "files of Git LFS are only pointers in it: big.bin",
        "links that lead out of the repository are not in it: out, up",
    )
    files = laid_out(tmp_path / "a.tar", tmp_path / "out")
    assert sorted(files) == [".gitmodules", "big.bin", "docs/notes.md", "f.py"]
    assert found.files == 4


def test_a_variable_of_the_environment_does_not_lead_to_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As git sets them for its hooks and aliases."""
    repo, other = make_repository(tmp_path / "repo"), make_repository(tmp_path / "other", {"x": "x"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    take_snapshot(Repository.at(repo), tmp_path / "a.tar")
    assert "f.py" in laid_out(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("case", ["nothing", "file", "plain", "empty"])
def test_what_is_no_repository_with_a_commit_is_refused(tmp_path: Path, case: str) -> None:
    place = tmp_path / "place"
    if case == "file":
        place.write_text("")
    elif case != "nothing":
        place.mkdir()
    if case == "empty":
        git(place, "init", "--quiet")
    expected = {
        "nothing": "found none",
        "file": "found none",
        "plain": "no git repository",
        "empty": "no commit",
    }
    with pytest.raises(BenchError, match=expected[case]):
        take_snapshot(Repository.at(place), tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


def test_a_bare_repository_is_enough(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    git(tmp_path, "clone", "--quiet", "--bare", str(repo), "bare.git")
    found = take_snapshot(Repository.at(tmp_path / "bare.git"), tmp_path / "a.tar")
    assert (found.files, found.limits) == (2, ())


def test_a_partial_clone_is_not_completed_behind_ones_back(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--no-checkout", "--filter=blob:none", f"file://{repo}", "partial")
    before = fingerprint(tmp_path / "partial")
    with pytest.raises(BenchError, match="of a partial clone, check the commit out"):
        take_snapshot(Repository.at(tmp_path / "partial"), tmp_path / "a.tar")
    assert fingerprint(tmp_path / "partial") == before
    assert list(tmp_path.glob("*.tar")) + list(tmp_path.glob(".*partial")) == []


def test_an_object_that_is_gone_is_an_error_by_name(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    replaced = git(repo, "mktree", "--missing", stdin=f"100644 blob {'1' * 40}\tgone.py\n").strip()
    bad = git(repo, "commit-tree", replaced, "-m", "bad").strip()
    with pytest.raises(BenchError, match="objects of the commit are missing"):
        take_snapshot(Repository.at(repo), tmp_path / "a.tar", bad)


def test_a_packed_folder_is_laid_out_as_it_was(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repo")
    (folder / "run.sh").write_text("x")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("f.py")
    (folder / "docs" / "all").symlink_to("..")
    (folder / "docs" / "out").symlink_to("../..")
    pack_folder(folder, tmp_path / "a.tar")
    (folder / ".git" / "more").write_text("not in it")
    os.utime(folder / "f.py", (9, 9))
    pack_folder(folder, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    unpack(tmp_path / "a.tar", out)
    names = sorted(
        str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir() or path.is_symlink()
    )
    assert names == ["docs/all", "docs/notes.md", "f.py", "link", "run.sh"]
    assert os.access(out / "run.sh", os.X_OK)


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "evil").write_text("x")
    subprocess.run(
        ["tar", "--create", "--file", "a.tar", "--absolute-names", "../evil"],
        cwd=tmp_path / "folder",
        check=True,
    )
    with pytest.raises(BenchError, match="cannot be unpacked"):
        unpack(folder / "a.tar", folder)


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("a", "b", False),
        ("a/b", "../c", False),
        ("a/b", "../../c", True),
        ("a", "..", True),
        ("a", "../a", True),
        ("a/b", "..", False),
        ("a", "/etc", True),
        ("a", "..b/c", False),
        ("a/b", "c/../../../d", True),
        ("a", "p/q/up/../x", True),  # up may be a link to the top
        ("a/b", "./../c/.", False),
        ("a", "c//d/", False),
    ],
)
def test_whether_a_link_leads_out(path: str, target: str, expected: bool) -> None:
    assert leads_out(path, target) is expected


def test_files_are_young_enough_for_archives_that_are_made_of_them(tmp_path: Path) -> None:
    """zip takes nothing that is older than 1980."""
    take_snapshot(Repository.at(make_repository(tmp_path / "repo")), tmp_path / "a.tar")
    laid_out(tmp_path / "a.tar", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as made:
        made.write(tmp_path / "out" / "f.py")


@pytest.mark.parametrize("target", ["docs/", "./docs", "docs//notes.md"])
def test_a_link_is_laid_out_as_it_was_written(tmp_path: Path, target: str) -> None:
    """Newer versions of tarfile write it more plainly: its patch would not apply."""
    repo = make_repository(tmp_path / "repo")
    os.symlink(target, repo / "link")
    commit(repo, "link")
    take_snapshot(Repository.at(repo), tmp_path / "a.tar")
    laid_out(tmp_path / "a.tar", tmp_path / "out")
    assert os.readlink(tmp_path / "out" / "link") == target
    member = tarfile.TarInfo("link")
    member.type, member.linkname = tarfile.SYMTYPE, target
    assert as_it_is(member, str(tmp_path / "out")).linkname == target


def test_a_repository_whose_name_no_job_can_keep_is_refused(tmp_path: Path) -> None:
    repo = make_repository(Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff")))
    with pytest.raises(BenchError, match=r"/r\?: a name in its path is not UTF-8.*: rename it"):
        Repository.at(repo)


def test_many_names_are_counted_and_safe_on_a_terminal() -> None:
    assert named(["a\x1b[2J", "b"]) == "a?[2J, b"
    assert named([f"f{n}" for n in range(MAX_NAMED + 2)]).endswith("f4 and 2 more")
