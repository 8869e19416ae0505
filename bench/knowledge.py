"""The knowledge log as a file: found, begun, added to, merged. What its entries mean: note_entries.py and on.

    .hotseat/notes.jsonl         one entry a line; only ever added to
    .hotseat/notes.jsonl.apart   lines out of other logs that could not be read: kept, never counted
    .hotseat/.gitattributes      has git merge both by taking the lines of both sides

A log comes out of a repository that others write to: its bytes are not trusted, and it is neither written nor
read through a link. Everything here blocks and raises BenchError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from bench.errors import BenchError
from bench.job import PLAN_FILE, TRIALS
from bench.note_entries import Entry, Newer, Strange, line_of, read_line, trial_entry
from bench.note_settings import settings_of
from bench.results import MAX_RESULT_BYTES, MODELLESS, RESULT, read_result

FOLDER, LOG_FILE, ATTRIBUTES_FILE = ".hotseat", "notes.jsonl", ".gitattributes"
APART = ".apart"
MAX_LOG_BYTES = 64 * 2**20
ATTRIBUTES = f"{LOG_FILE} merge=union text eol=lf\n{LOG_FILE}{APART} merge=union -text\n"


@dataclass(frozen=True, slots=True)
class Numbered:
    """A line of a file that does not count, by its number from 1."""

    number: int
    line: Newer | Strange


@dataclass(frozen=True, slots=True)
class Log:
    """`entries`: as often as they stand there, in the file's order."""

    entries: tuple[Entry, ...]
    newer: tuple[Numbered, ...]
    strange: tuple[Numbered, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """`known`: entries that the log had. `newer`: taken over, and counted by a later version of Hotseat.
    `apart`: lines that were kept beside the log."""

    new: int
    known: int
    newer: int
    apart: tuple[Numbered, ...]


# --- where it is -----------------------------------------------------------------------------------


def repository_of(start: Path) -> Path | None:
    """The folder with .git in it, upwards from `start`."""
    return next((folder for folder in _upwards(start) if (folder / ".git").exists()), None)


def find_log(start: Path) -> Path | None:
    """Upwards from `start` to the root of its repository, and no further; without a repository in `start`
    alone: what lies in /tmp or in /home is anybody's."""
    root = repository_of(start)
    for folder in _upwards(start):
        log = folder / FOLDER / LOG_FILE
        if log.exists():
            return log
        if root is None or folder == root:
            return None
    return None


def begin(root: Path) -> list[Path]:
    """Makes .hotseat/ with an empty log in it. -> the files that were not there."""
    folder = root / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BenchError(f"{folder}: {error.strerror}") from error
    made = []
    for name, text in ((LOG_FILE, b""), (ATTRIBUTES_FILE, ATTRIBUTES.encode())):
        path = folder / name
        if not path.exists():
            with _opened_to_add(path) as file:
                file.write(text)
            made.append(path)
    return made


def _upwards(start: Path) -> Iterator[Path]:
    start = start.absolute()
    yield from (start, *start.parents)


# --- reading ---------------------------------------------------------------------------------------


def read_log(log: Path) -> Log:
    with _opened_to_read(log) as file:
        return _parsed(file.read(MAX_LOG_BYTES + 1))


def _parsed(data: bytes) -> Log:
    entries: list[Entry] = []
    newer, strange = [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        found = read_line(line)
        if isinstance(found, Newer):
            newer.append(Numbered(number, found))
        elif isinstance(found, Strange):
            strange.append(Numbered(number, found))
        else:
            entries.append(found)
    return Log(tuple(entries), tuple(newer), tuple(strange))


@contextlib.contextmanager
def _opened_to_read(path: Path) -> Iterator[BinaryIO]:
    with _opened(path, os.O_RDONLY) as file:
        yield file


@contextlib.contextmanager
def _opened_to_add(path: Path) -> Iterator[BinaryIO]:
    """Alone: others wait. What is written goes to the end."""
    with _opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[BinaryIO]:
    descriptor = _descriptor(path, flags)
    with open(descriptor, "rb" if flags == os.O_RDONLY else "a+b") as file:
        try:
            yield file
        except OSError as error:
            raise BenchError(f"{path}: {error.strerror}") from error


def _descriptor(path: Path, flags: int) -> int:
    if path.parent.name == FOLDER and path.parent.is_symlink():
        raise BenchError(f"{path.parent}: a link: expected a folder")
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        said = "a link: expected a file" if error.errno == errno.ELOOP else error.strerror
        raise BenchError(f"{path}: {said}") from error
    about = os.fstat(descriptor)
    if stat.S_ISREG(about.st_mode) and about.st_size <= MAX_LOG_BYTES:
        return descriptor
    os.close(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise BenchError(f"{path}: expected a file")
    raise BenchError(f"{path}: {about.st_size} bytes, more than {MAX_LOG_BYTES}: begin another log")


# --- adding ----------------------------------------------------------------------------------------


def append(log: Path, entries: Iterable[Entry]) -> int:
    """Those that the log has not. -> how many they were."""
    return _add(log, {entry.id: line_of(entry) for entry in entries})


def import_log(log: Path, other: Path) -> Imported:
    """All that `other` has and `log` has not. What cannot be read is kept beside `log`."""
    found = read_log(other)
    entries = {entry.id: line_of(entry) for entry in found.entries}
    newer = {one.line.id: one.line.line for one in found.newer if isinstance(one.line, Newer)}
    new = _add(log, entries)
    added = _add(log, newer)
    if found.strange:
        _keep_apart(log.with_name(log.name + APART), [one.line.line for one in found.strange])
    return Imported(new, len(entries) - new, added, found.strange)


def _add(log: Path, lines: Mapping[str, bytes]) -> int:
    if not lines:
        return 0
    with _opened_to_add(log) as file:
        data = _all_of(file)
        known = _parsed(data)
        ids = {entry.id for entry in known.entries}
        ids |= {one.line.id for one in known.newer if isinstance(one.line, Newer)}
        return _write(log, file, data, [line for name, line in lines.items() if name not in ids])


def _keep_apart(path: Path, lines: Iterable[bytes]) -> None:
    with _opened_to_add(path) as file:
        data = _all_of(file)
        known = {line.strip() for line in data.split(b"\n")}
        _write(path, file, data, [line for line in dict.fromkeys(lines) if line not in known])


def _all_of(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _write(path: Path, file: BinaryIO, data: bytes, lines: Sequence[bytes]) -> int:
    """A last line that was cut off stays as it is, and what follows begins on a line of its own."""
    text = b"".join(line + b"\n" for line in lines)
    if text and data and not data.endswith(b"\n"):
        text = b"\n" + text
    if len(data) + len(text) > MAX_LOG_BYTES:
        raise BenchError(f"{path}: it would have more than {MAX_LOG_BYTES} bytes: begin another log")
    file.write(text)
    return len(lines)


# --- from a job ------------------------------------------------------------------------------------


def entries_of(job: Path, *, note: str = "", by: str = "", tags: Sequence[str] = ()) -> list[Entry]:
    """One for each finished trial of a job, also of those that do not count; none for `oracle` and `nop`,
    which ask no model. `tags`: beside those of the tasks."""
    if not (job / TRIALS).is_dir():
        raise BenchError(f"{job}: expected a job's folder, found no {TRIALS} in it")
    paths = sorted((job / TRIALS).glob(f"*/{RESULT}"))
    results = [(path, read_result(path)) for path in paths]
    asked = [(path, result) for path, result in results if result.manifest.harness not in MODELLESS]
    settings = settings_of(job) if asked else {}
    entries: list[Entry] = []
    for path, result in asked:
        setting = settings.get(result.configuration)
        if setting is None:
            raise BenchError(f"{path}: {job / PLAN_FILE} has no configuration {result.configuration!r}")
        entries.append(trial_entry(result, _sha(path), setting, note=note, by=by, tags=tags))
    return entries


def _sha(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from error


Whereabouts = Literal["here", "changed", "not here"]


def whereabouts(jobs: Path, job: str, trial: str, result_sha: str) -> Whereabouts:
    """Whether the result that an entry tells of lies in a folder of jobs, and is what it was."""
    if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in (job, trial)):
        return "not here"
    path = jobs / job / TRIALS / trial / RESULT
    try:
        if path.stat().st_size > MAX_RESULT_BYTES:
            return "changed"
        return "here" if _sha(path) == result_sha else "changed"
    except (OSError, BenchError):
        return "not here"
