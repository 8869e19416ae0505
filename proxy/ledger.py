"""The ledger: one row per attempt at an upstream, in a database that outlives the server.

    event loop    begin, attempt_failed, end ─▶ journal (one write each) and queue: some microseconds
    writer        one thread: queue ─▶ a process (ledger_process.py), a batch each quarter of a second or when
                  somebody reads; rows and their commits are made there, with an interpreter of their own
    start         what a server that died left in its journal ─▶ rows; what was under way then is "lost"

A database that takes nothing holds nobody up: rows wait, are tried again, and beyond MAX_WAITING stay in
the journal alone, for the next start. What is not in the journal either is dropped, and counted.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from inference.errors import ConfigError
from proxy.ledger_journal import Journal, Replay, Segment, left_behind
from proxy.ledger_place import LedgerConfig
from proxy.ledger_rows import Row
from proxy.ledger_store import Store, StoreError, cause_of, open_store
from proxy.ledger_writer import LedgerWriter, WriterGoneError
from proxy.request_log import FailedAttempt, RequestRecord

BATCH_S = 0.25
BATCH_REQUESTS = 500
REPLAYED_ROWS = 500
MAX_WAITING = 20_000
RETRY_S, MAX_RETRY_S = 1.0, 60.0
EXPIRE_EVERY_S = 3600.0
CLOSE_S = 10.0
MAX_NAMED = 20

_log = logging.getLogger("hotseat.ledger")


class LedgerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the start. `deferred`: in the journal alone, until the next start. `lost`: attempts that
    were under way when an earlier server died. `error`: why the database takes nothing, or None."""

    place: str
    written: int
    waiting: int
    dropped: int
    deferred: int
    lost: int
    error: str | None
    journal_error: str | None


class Ledger:
    """`begin`, `attempt_failed` and `end` are the request log's hooks, all called on one thread. `server`
    marks the rows of its requests: others write into the same database, before it and beside it."""

    def __init__(
        self,
        config: LedgerConfig,
        *,
        journal: Journal | None = None,
        batch_s: float = BATCH_S,
        max_waiting: int = MAX_WAITING,
        retry_s: float = RETRY_S,
        close_s: float = CLOSE_S,
    ) -> None:
        self._config = config
        self.server = secrets.token_hex(8)
        self._journal = journal or Journal(config.journal)
        self._left: list[Segment] = []
        self._waiting: deque[bytes | Callable[[], None]] = deque()  # lines of requests that ended
        self._max_waiting = max_waiting
        self._dropped = self._deferred = 0
        self._is_closed = False
        self._wake, self._hurry, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        # The writer thread's own from here on; others read numbers.
        self._batch_s = batch_s
        self._retry_s = retry_s
        self._close_s = close_s
        self._store: Store | None = None
        self._writer = LedgerWriter(config, self.server)
        self._batch: list[bytes] = []
        self._written = self._refused = self._lost = 0
        self._error: str | None = None
        self._failures = 0

    def start(self) -> None:
        """Raises ConfigError for a ledger that this Hotseat cannot use. Whatever else is wrong with its place
        is logged and tried again: the server serves."""
        try:
            self._store = open_store(self._config)
        except StoreError as error:
            self._fail(error)
        self._left = left_behind(self._config.journal)
        self._journal.open()
        self._wake.set()
        self._thread.start()

    def begin(self, record: RequestRecord) -> None:
        if not self._is_closed:
            self._journal.begin(record)

    def attempt_failed(self, record: RequestRecord, failed: FailedAttempt) -> None:
        if not self._is_closed:
            self._journal.attempt_failed(record, failed)

    def end(self, record: RequestRecord) -> None:
        if self._is_closed:
            self._dropped += 1
            return
        line, is_written = self._journal.end(record)
        if len(self._waiting) < self._max_waiting:
            self._waiting.append(line)
        elif is_written:
            self._journal.keep()
            self._deferred += 1
        else:
            self._dropped += 1
        full = self._journal.take_full()
        if full is not None:
            self._waiting.append(full.delete)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what ended before is in the database. Blocks: not for the event loop."""
        done = threading.Event()
        self._waiting.append(done.set)
        self._hurry.set()
        self._wake.set()
        return done.wait(timeout_s)

    @property
    def store(self) -> Store | None:
        """To read from. None: it could not be opened yet."""
        return self._store

    def status(self) -> LedgerStatus:
        return LedgerStatus(
            place=self._config.place,
            written=self._written,
            waiting=len(self._waiting) + len(self._batch),
            dropped=self._dropped + self._refused,
            deferred=self._deferred,
            lost=self._lost,
            error=self._error,
            journal_error=self._journal.error,
        )

    def close(self) -> None:
        """Write what waits, for `close_s` at most. Blocks; no request may end meanwhile."""
        self._is_closed = True
        self._closing.set()
        self._hurry.set()
        self._wake.set()
        self._thread.join(self._close_s)
        self._writer.kill()
        is_done = not self._thread.is_alive() and not self._waiting and not self._batch
        if not is_done:
            left = len(self._waiting) + len(self._batch)
            _log.warning("%d rows are not in the ledger: %s", left, self._fate())
        self._journal.close(is_done=is_done)
        if self._store is not None and not self._thread.is_alive():
            self._store.close()

    def _fate(self) -> str:
        if self._journal.error is None:
            return "the next start reads them from its journal"
        return f"those that its journal did not take either are lost ({self._journal.error})"

    # --- the writer thread -----------------------------------------------------------------------

    def _run(self) -> None:
        expires_at_s = time.monotonic()
        with contextlib.suppress(OSError):  # then it is started with the first batch, or says why not
            self._writer.start()
        while True:
            self._wake.wait(EXPIRE_EVERY_S)
            self._wake.clear()
            self._hurry.wait(self._batch_s)
            self._hurry.clear()
            try:
                is_idle = self._drain()
                if is_idle and time.monotonic() >= expires_at_s:
                    expires_at_s = time.monotonic() + EXPIRE_EVERY_S
                    self._expire()
            except StoreError as error:
                is_idle = False
                self._fail(error)
            except Exception:  # noqa: BLE001  (the border of one round: the next one may do)
                is_idle = False
                self._failures += 1
                _log.exception("the ledger: a round of its writer failed")
            if self._closing.is_set() and not (is_idle and self._waiting):
                self._writer.end()
                return
            if not is_idle:
                self._closing.wait(min(MAX_RETRY_S, self._retry_s * 2 ** min(self._failures - 1, 10)))
                self._wake.set()

    def _drain(self) -> bool:
        """Everything that waits, in order. False: the database takes nothing now."""
        if not self._is_open() or (self._left and not self._replay()):
            return False
        while self._waiting:
            item = self._waiting[0]
            if isinstance(item, bytes) and len(self._batch) < BATCH_REQUESTS:
                self._batch.append(item)
                self._waiting.popleft()
            elif not self._commit():
                return False
            elif not isinstance(item, bytes):
                self._waiting.popleft()
                item()
        return self._commit()

    def _commit(self) -> bool:
        if not self._batch:
            return True
        try:
            written = self._writer.write(self._batch)
        except StoreError as error:
            self._fail(error)
            return False
        self._batch = []
        self._written += written.rows
        for refused in written.refused:
            self._refuse(refused.request_id, refused.cause)
        self._recover()
        return True

    def _write(self, rows: list[Row]) -> None:
        """What an earlier server left. Raises one of StoreError where the database takes nothing."""
        assert self._store is not None
        refused = self._store.write_what_it_takes(rows)
        self._written += len(rows) - len(refused)
        for row, error in refused:
            self._refuse(row.request_id, cause_of(error))
        self._recover()

    def _refuse(self, request_id: str, cause: str) -> None:
        self._refused += 1
        _log.error("the ledger does not take the row of request %s: %s", request_id, cause)

    def _is_open(self) -> bool:
        if self._store is not None:
            return True
        try:
            self._store = open_store(self._config)
        except (*StoreError, ConfigError) as error:
            self._fail(error)
            return False
        self._recover()
        return True

    def _replay(self) -> bool:
        assert self._store is not None
        replay = Replay(self._left)
        try:
            rows = iter(replay)
            while batch := list(itertools.islice(rows, REPLAYED_ROWS)):
                self._write(batch)
            lost = replay.lost()
            known = self._store.known(lost)
            news = [row for row in lost if (row.request_id, row.attempt) not in known]
            if news:
                self._write(news)
                self._lost += len(news)
        except StoreError as error:
            self._fail(error)
            return False
        for segment in self._left:
            segment.delete()
        self._left = []
        if news:
            named = ", ".join(row.request_id for row in news[:MAX_NAMED])
            more = f" and {len(news) - MAX_NAMED} more" if len(news) > MAX_NAMED else ""
            _log.warning("%d requests were under way when the server died: %s%s", len(news), named, more)
        return True

    def _expire(self) -> None:
        if self._config.retention_s is None:
            return
        assert self._store is not None
        before = time.time() - self._config.retention_s
        while not self._closing.is_set() and self._store.expire(before):
            continue

    def _fail(self, error: BaseException) -> None:
        cause = cause_of(error)
        self._failures += 1
        if self._error is None:
            remedy = (
                "" if isinstance(error, WriterGoneError) else ": make room, or name another place in [ledger]"
            )
            said = "the ledger %s takes no rows: %s: requests go on, their rows wait%s"
            _log.warning(said, self._config.place, cause, remedy)
        self._error = cause

    def _recover(self) -> None:
        self._failures = 0
        if self._error is not None:
            self._error = None
            _log.warning("the ledger %s takes rows again", self._config.place)
