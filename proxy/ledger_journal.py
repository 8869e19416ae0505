"""The ledger's journal: what began and what ended, in files beside the database, for a server that dies.

A line goes out with one write when an attempt begins and when it ends; nothing waits for the disk. What
the kernel has taken survives the process, SIGKILL included; a loss of power may take the last seconds.

    segment    one file, whose owner holds a lock on it as long as it lives
    full       what is under way is written into the next segment too; the full one is deleted when the
               rows that ended in it are in the database
    found      a segment without an owner is one of a server that died: its rows are read from it, and
               an attempt that began in it and never ended was under way then
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from proxy.ledger_rows import Row, begun_row, failed_row, rows_of
from proxy.request_log import FailedAttempt, RequestRecord

SEGMENT_BYTES = 8 * 2**20
"""When the next one is begun. One that cannot be followed by another is written up to twice this size."""

LIMIT_BYTES = 256 * 2**20
"""Of all segments together. They pile up only while the database takes nothing."""

MAX_LINE_BYTES = 2**20
RETRY_S = 30.0
FILE_MODE, FOLDER_MODE = 0o600, 0o700

BEGUN, FAILED, ENDED = b"B", b"F", b"E"
"""What a line begins with: an attempt began; it failed and another will follow; the request ended."""

_log = logging.getLogger("hotseat.ledger")
_record = msgspec.json.Encoder()
_Key = tuple[str, int]  # request_id, attempt


@dataclass(slots=True)
class Segment:
    """A file that this process has locked."""

    path: Path
    fd: int
    size_bytes: int = 0
    is_gone: bool = False  # set by whoever deletes it, which may be another thread

    def delete(self) -> None:
        """A file that cannot be deleted is read again at the next start, which does no harm."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.release()

    def release(self) -> None:
        """Leave the file to the next start."""
        if not self.is_gone:
            self.is_gone = True
            os.close(self.fd)


class Journal:
    """The segments that this process writes. All on one thread, but `delete` and `release` of those that
    `take_full` handed out."""

    def __init__(
        self, prefix: Path, *, segment_bytes: int = SEGMENT_BYTES, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._prefix = prefix
        self._segment_bytes = segment_bytes
        self._limit_bytes = limit_bytes
        self._numbers = iter(range(1, 2**31))
        self._stem = f"{time.time_ns():020d}-{os.getpid()}"
        self._current: Segment | None = None
        self._full: list[Segment] = []
        self._under_way: dict[_Key, bytes] = {}
        self._is_kept = False  # rows of the current segment are nowhere else
        self._is_torn = False  # the last line is not whole
        self._retry_at_s = 0.0
        self.error: str | None = None
        self.unwritten = 0

    def begin(self, record: RequestRecord) -> None:
        line = self._line(BEGUN, record)
        self._under_way[record.request_id, record.attempt] = line
        self._write(line)

    def attempt_failed(self, record: RequestRecord, failed: FailedAttempt) -> None:
        self._under_way.pop((record.request_id, failed.number), None)
        self._write(self._line(FAILED, record))

    def end(self, record: RequestRecord) -> tuple[bytes, bool]:
        """Its line, and whether that is written down."""
        self._under_way.pop((record.request_id, record.attempt), None)
        line = self._line(ENDED, record)
        return line, self._write(line)

    def keep(self) -> None:
        """The request that ended last is in no queue to the database: its line must stay."""
        self._is_kept = True

    def take_full(self) -> Segment | None:
        """A full segment, if it is time for the next one: everything that ended until now is in it or in
        earlier ones. Whoever takes it deletes it when those rows are safe."""
        current = self._current
        if current is not None and current.size_bytes < self._segment_bytes:
            return None
        if time.monotonic() < self._retry_at_s:
            return None
        self._full = [segment for segment in self._full if not segment.is_gone]
        if sum(segment.size_bytes for segment in self._full) + self._segment_bytes > self._limit_bytes:
            self._fail(f"{len(self._full)} files of it are full, and the database does not take their rows")
            return None
        if not self.open() or current is None:
            return None
        self._full.append(current)
        kept, self._is_kept = self._is_kept, False
        return None if kept else current

    def open(self) -> bool:
        """Begin the next segment; without one, what happens is not written down and the current one stays."""
        try:
            segment = self._create()
            lines = b"".join(self._under_way.values())
            segment.size_bytes = os.write(segment.fd, lines)
        except OSError as error:
            self._fail(str(error.strerror or error))
            return False
        if segment.size_bytes < len(lines):
            segment.delete()
            self._fail("the disk is full")
            return False
        self._current, self._is_torn, self.error = segment, False, None
        return True

    def close(self, *, is_done: bool) -> None:
        """`is_done`: every row is in the database. What is not done is read at the next start."""
        for segment in [*self._full, *([self._current] if self._current else [])]:
            if is_done and not self._is_kept and not self._under_way and segment is self._current:
                segment.delete()
            else:
                segment.release()
        self._current = None
        self._retry_at_s = float("inf")

    def _create(self) -> Segment:
        self._prefix.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        while True:
            name = f"{self._prefix.name}.{self._stem}-{next(self._numbers):06d}"
            path = self._prefix.with_name(name)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
            if _lock(fd) and os.fstat(fd).st_nlink:
                return Segment(path, fd)
            os.close(fd)  # between its creation and its lock it was found by a server that starts

    def _line(self, kind: bytes, record: RequestRecord) -> bytes:
        return kind + _record.encode(record) + b"\n"

    def _write(self, line: bytes) -> bool:
        if self._current is None or self._current.size_bytes >= 2 * self._segment_bytes:
            self.unwritten += 1
            return False
        try:
            written = os.write(self._current.fd, b"\n" + line if self._is_torn else line)
        except OSError as error:
            self.unwritten += 1
            self._fail(str(error.strerror or error))
            return False
        self._current.size_bytes += written
        if written < len(line):
            self.unwritten += 1
            self._is_torn = True
            return False
        self._is_torn = False
        return True

    def _fail(self, cause: str) -> None:
        if self.error is None:
            place = f"the ledger's journal {self._prefix}.*"
            remedy = "requests go on; those under way when the server dies would not be known: make room"
            _log.warning("%s is not written: %s: %s", place, cause, remedy)
        self.error = cause
        self._retry_at_s = time.monotonic() + RETRY_S


# --- what a server that died left behind ---------------------------------------------------------


def left_behind(prefix: Path) -> list[Segment]:
    """The segments that have no owner, oldest first, now this process's own."""
    found: list[Segment] = []
    for path in segment_paths(prefix):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # deleted by its owner just now, or not ours to read
        if _lock(fd) and os.fstat(fd).st_nlink:
            found.append(Segment(path, fd, os.fstat(fd).st_size))
        else:
            os.close(fd)
    return found


def segment_paths(prefix: Path) -> list[Path]:
    """In the order in which they were begun."""
    start = f"{prefix.name}."
    with contextlib.suppress(OSError), os.scandir(prefix.parent) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.name.startswith(start))
    return []


class Replay:
    """The rows in `segments`: first those that ended, by iterating; then `lost` are those that did not."""

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._begun: dict[_Key, RequestRecord] = {}
        self._failed: dict[_Key, Row] = {}
        self.torn_lines = 0

    def __iter__(self) -> Iterator[Row]:
        for segment in self._segments:
            for line in _lines(segment.fd):
                yield from self._rows(line)
        yield from self._failed.values()

    def lost(self) -> list[Row]:
        return [begun_row(record) for record in self._begun.values()]

    def _rows(self, line: bytes) -> list[Row]:
        kind = line[:1]
        try:
            record = _decoder.decode(line[1:])
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.torn_lines += bool(line.strip())
            return []
        if kind == BEGUN:
            self._begun[record.request_id, record.attempt] = record
        elif kind == FAILED and record.attempts:
            failed = record.attempts[-1]
            self._begun.pop((record.request_id, failed.number), None)
            self._failed[record.request_id, failed.number] = failed_row(record, failed)
        elif kind == ENDED:
            rows = rows_of(record)
            for row in rows:
                self._begun.pop((row.request_id, row.attempt), None)
                self._failed.pop((row.request_id, row.attempt), None)
            return rows
        return []


_decoder = msgspec.json.Decoder(RequestRecord)


def rows_ended(line: bytes) -> list[Row]:
    """Of a line that `Journal.end` made."""
    return rows_of(_decoder.decode(line[len(ENDED) :]))


def _lines(fd: int) -> Iterator[bytes]:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", closefd=False) as file:
        while line := file.readline(MAX_LINE_BYTES):
            yield line


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
