"""Files that set-up makes: scratch space, room on the disk, digests, one writer at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from bootstrap.failures import SetupError
from bootstrap.places import Places
from bootstrap.progress import Progress


@contextmanager
def only_one(places: Places, progress: Progress) -> Iterator[None]:
    """Hold the clone's lock and the home's. The kernel drops both when the process ends, however it ends.

    Scratch space is emptied: whatever lies there belongs to a set-up that was killed.
    """
    open_files: list[int] = []
    try:
        for path in places.flock_files:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            open_files.append(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.step("another set-up is running; waiting for it to end")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        shutil.rmtree(places.scratch, ignore_errors=True)
        yield
    finally:
        for descriptor in reversed(open_files):
            os.close(descriptor)


@contextmanager
def scratch_directory(places: Places, prefix: str) -> Iterator[Path]:
    """A new directory on the home's disk, so that what is made in it can be renamed into place."""
    places.scratch.mkdir(parents=True, exist_ok=True)
    path = Path(mkdtemp(prefix=f"{prefix}-", dir=places.scratch))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def replace_directory(made: Path, kept: Path) -> None:
    """`made` becomes `kept`, all or nothing. Both on one disk."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    made.rename(kept)


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that no reader ever sees half of it."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, "utf-8")
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def require_free(directory: Path, needed_bytes: int, what: str) -> None:
    """Raises SetupError unless the disk under `directory` has so much left."""
    directory.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < needed_bytes:
        raise SetupError(
            f"{what} needs {needed_bytes / 2**30:.1f} GiB in {directory}, {free_bytes / 2**30:.1f} GiB free\n"
            "  remedy: free some space, or set HOTSEAT_HOME to a directory on a larger disk"
        )


def only_file(directory: Path, pattern: str) -> Path | None:
    """The one file that matches; None if there is none, or a choice."""
    found = sorted(directory.glob(pattern))
    return found[0] if len(found) == 1 else None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
