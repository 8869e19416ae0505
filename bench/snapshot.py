"""A commit of a user's repository as one archive: what a race's candidates and a spec's stages start from.

The archive holds the commit's own bytes, read from git's objects: no attribute changes them (git archive
would leave out what is marked export-ignore, and a checkout would turn line ends), so that what is made of
it applies to that commit again. Equal commits give equal archives.
"""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.errors import BenchError
from bench.repository import GIT_TIMEOUT_S, Entry, Repository, environment
from bench.user_start import as_it_is

MAX_FILES = 50_000
MAX_BYTES = 256 * 2**20
"""Each candidate has four copies of it: what it works in, git's, what is checked, and the archive's own."""

MTIME = 946_684_800
"""Of every file, 2000-01-01: archives that are made of them (zip, wheels) take nothing older than 1980."""

MAX_NAMED = 5
_LFS = b"version https://git-lfs.github.com/spec/v1\n"
_MAX_POINTER_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`head`: the commit. `limits`: sentences on what of the user's working tree is not in it."""

    repository: Path
    head: str
    files: int
    total_bytes: int
    limits: tuple[str, ...]


def take_snapshot(repository: Repository, archive: Path, commit: str = "HEAD") -> Snapshot:
    """Write the commit to `archive`, a tar file that does not exist yet. The repository is only read.
    Blocks. Raises BenchError."""
    head = repository.commit(commit)
    entries = list(repository.entries(head, MAX_FILES))
    submodules = [entry.path for entry in entries if entry.is_submodule]
    files = [entry for entry in entries if not entry.is_submodule]
    total = sum(entry.size for entry in files)
    if total > MAX_BYTES:
        raise BenchError(
            f"{repository.top}: {total} bytes in {head[:12]}, more than {MAX_BYTES}: race on a smaller"
            " repository, or on a commit without its large files"
        )
    pointers: list[str] = []
    links_out: list[str] = []
    with _whole(archive) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry, data in _contents(repository, files):
            if entry.is_link and leads_out(entry.path, os.fsdecode(data)):
                links_out.append(entry.path)
                continue
            if len(data) <= _MAX_POINTER_BYTES and data.startswith(_LFS):
                pointers.append(entry.path)
            _add(tar, entry, data)
    dirty = repository.uncommitted() if commit == "HEAD" else []
    said = _limits(submodules, pointers, links_out, dirty)
    return Snapshot(repository.top, head, len(files) - len(links_out), total, said)


def pack_folder(folder: Path, archive: Path) -> None:
    """A folder's files and links as such an archive, without its .git. Links that lead out of it are left
    out. Blocks. Raises BenchError."""
    total, files = 0, 0
    with _whole(archive) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _files_of(folder):
            name = path.relative_to(folder).as_posix()
            status = path.lstat()
            total, files = total + status.st_size, files + 1
            if total > MAX_BYTES or files > MAX_FILES:
                raise BenchError(f"{folder}: more than {MAX_BYTES} bytes or {MAX_FILES} files")
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(path)
                if not leads_out(name, target):
                    _add(tar, Entry(name, "120000", "", 0), os.fsencode(target))
            else:
                mode = "100755" if status.st_mode & stat.S_IXUSR else "100644"
                _add(tar, Entry(name, mode, "", status.st_size), path.read_bytes())


def unpack(archive: Path, folder: Path) -> None:
    """Into a folder that exists. Blocks. Raises BenchError."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter=as_it_is)
    except (OSError, tarfile.TarError) as error:
        raise BenchError(f"{archive}: it cannot be unpacked: {error}") from error


def leads_out(path: str, target: str) -> bool:
    """Whether a link at `path` points, or could point, beyond the folder that paths are relative to: what
    goes up after a name may go up from wherever a link of that name leads. Pure."""
    steps = [step for step in target.split("/") if step not in ("", ".")]
    ups = next((n for n, step in enumerate(steps) if step != ".."), len(steps))
    return target.startswith("/") or ups > path.count("/") or ".." in steps[ups:]


# --- reading --------------------------------------------------------------------------------------


def _contents(repository: Repository, entries: Sequence[Entry]) -> Iterator[tuple[Entry, bytes]]:
    """One git for all: a process for each file would take minutes."""
    with tempfile.TemporaryFile() as asked:
        asked.write("".join(f"{entry.object_id}\n" for entry in entries).encode())
        asked.seek(0)
        process = subprocess.Popen(
            ["git", "-c", "protocol.allow=never", "cat-file", "--batch"],
            cwd=repository.top,
            env=environment(),
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    late = threading.Timer(GIT_TIMEOUT_S, process.kill)
    late.start()
    try:
        with process:
            assert process.stdout is not None
            for entry in entries:
                yield entry, _content(repository, entry, process.stdout)
    finally:
        late.cancel()
        process.kill()
        process.wait()


def _content(repository: Repository, entry: Entry, answers: IO[bytes]) -> bytes:
    header = answers.readline().split()
    if header[1:] != [b"blob", b"%d" % entry.size]:
        raise BenchError(
            f"{repository.top}: the object of {entry.path} is not there: of a partial clone, check the"
            " commit out once; else see git fsck"
        )
    data = answers.read(entry.size)
    if len(data) < entry.size or answers.read(1) != b"\n":
        raise BenchError(
            f"{repository.top}: git ended, or took longer than {GIT_TIMEOUT_S} s, at {entry.path}"
        )
    return data


def _files_of(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if here != folder or name != ".git")
        linked = [name for name in folders if (here / name).is_symlink()]
        for name in sorted([*names, *linked]):
            path = here / name
            if path.is_symlink() or path.is_file():
                yield path


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, entry: Entry, data: bytes) -> None:
    """Without its own time and owner, which would tell equal commits apart."""
    member = tarfile.TarInfo(entry.path)
    member.mtime = MTIME
    if entry.is_link:
        member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(data)
        tar.addfile(member)
        return
    member.mode = 0o755 if entry.mode == "100755" else 0o644
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _limits(
    submodules: Sequence[str], pointers: Sequence[str], links_out: Sequence[str], dirty: Sequence[str]
) -> tuple[str, ...]:
    told = (
        (dirty, "uncommitted changes are not in it"),
        (submodules, "submodules are empty in it"),
        (pointers, "files of Git LFS are only pointers in it"),
        (links_out, "links that lead out of the repository are not in it"),
    )
    return tuple(f"{sentence}: {named(paths)}" for paths, sentence in told if paths)


def named(paths: Iterable[str]) -> str:
    """The first few, and how many more; safe on a terminal."""
    shown = ["".join(char if char.isprintable() else "?" for char in path) for path in paths]
    more = f" and {len(shown) - MAX_NAMED} more" if len(shown) > MAX_NAMED else ""
    return ", ".join(shown[:MAX_NAMED]) + more
