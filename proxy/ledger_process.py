"""The process that writes the ledger's database: lines of the journal in, counts out. Run as a module.

It has an interpreter of its own, so that turning records into rows and rows into statements takes no time
from the event loop. It ends when its input does, that is with the server, however that ends; signals meant
for the server (Ctrl-C, a service manager's SIGTERM) do not reach the rows that are on their way.

    stdin     Opening, then batches of lines, in frames (inference/messages.py)
    stdout    Written for each batch, framed likewise
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from inference.errors import ConfigError
from inference.messages import FrameReader, framed
from proxy.ledger_journal import rows_ended
from proxy.ledger_place import LedgerConfig
from proxy.ledger_rows import Row
from proxy.ledger_store import Store, StoreError, cause_of, open_store

READ_BYTES = 2**18
NICENESS = 5
"""Rows can wait, requests cannot."""

MAX_SHOWN_BYTES = 100


class Opening(msgspec.Struct, frozen=True):
    """`server` marks the rows."""

    path: str | None
    journal: str
    url: str | None
    server: str


class Refused(msgspec.Struct, frozen=True):
    """A row that the database will never take, or (its line's beginning for an id) one that is none."""

    request_id: str
    cause: str


class Written(msgspec.Struct, frozen=True):
    """`error`: the database takes nothing now, and why; nothing of the batch counts as written then."""

    rows: int = 0
    refused: tuple[Refused, ...] = ()
    error: str | None = None


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    answers = sys.stdout.buffer
    batches = _bodies(sys.stdin.fileno())
    opening = msgspec.json.decode(next(batches), type=Opening)
    path = None if opening.path is None else Path(opening.path)
    config = LedgerConfig(path, Path(opening.journal), opening.url)
    store: Store | None = None
    for batch in batches:
        try:
            store = store or open_store(config)
            answer = _write(store, batch, opening.server)
        except (*StoreError, ConfigError) as error:
            answer = Written(error=cause_of(error))
        try:
            answers.write(framed(msgspec.json.encode(answer)))
            answers.flush()
        except BrokenPipeError:  # the server is gone; the next one finds in its journal what was written
            os._exit(0)
    if store is not None:
        store.close()


def _write(store: Store, batch: bytes, server: str) -> Written:
    rows: list[Row] = []
    refused: list[Refused] = []
    for line in batch.splitlines():
        try:
            rows += rows_ended(line)
        except Exception as error:  # noqa: BLE001  (the border of one request: it is said which)
            refused.append(Refused(line[:MAX_SHOWN_BYTES].decode(errors="replace"), cause_of(error)))
    unwritten = store.write_what_it_takes(rows, server)
    refused += [Refused(row.request_id, cause_of(error)) for row, error in unwritten]
    return Written(len(rows) - len(unwritten), tuple(refused))


def _bodies(fd: int) -> Iterator[bytes]:
    """Of the frames that come, until the server is gone."""
    reader = FrameReader()
    while data := os.read(fd, READ_BYTES):
        yield from reader.feed(data)


if __name__ == "__main__":
    main()
