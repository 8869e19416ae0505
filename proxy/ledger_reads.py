"""Reading the ledger while the server runs: in threads, with connections of their own, bounded.

The newest requests come from memory, older ones from the database; sums are the database's, which is
asked only when everything that ended before the question is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import msgspec
from sqlalchemy import Connection

from proxy import ledger_queries
from proxy.errors import LedgerUnavailable, NoLedger
from proxy.ledger import Ledger
from proxy.ledger_queries import By, RunTotals, Spending
from proxy.ledger_rows import Row, rows_of
from proxy.ledger_store import READERS, StoreError
from proxy.request_log import KEPT, RequestLog, RequestRecord

FLUSH_S = 2.0
READ_S = 10.0
MAX_READS = 16
"""Running and waiting ones."""

T = TypeVar("T")


class Listed(msgspec.Struct, frozen=True):
    """By their end, the last first. `incomplete`: why older ones could not be read, or None. `in_flight`: of
    the run that was asked for, requests that have begun and not ended."""

    requests: list[Row]
    incomplete: str | None = None
    in_flight: int | None = None


class LedgerReads:
    """`ledger` None: none is kept, and only what is in memory can be listed."""

    def __init__(self, ledger: Ledger | None, log: RequestLog) -> None:
        self._ledger = ledger
        self._log = log
        self._turns = asyncio.Semaphore(READERS - 1)  # connections to read with; one is SpentInLedger's
        self._running = 0

    async def newest(
        self, limit: int, *, run: str | None = None, model: str | None = None, until: float | None = None
    ) -> Listed:
        """`until`: those that ended then or before, for whoever reads a long list part by part."""
        in_flight = None if run is None else self._log.in_flight(run)
        records = self._log.recent(limit if model is None and until is None else KEPT, run=run)
        found = await self._in_thread(lambda: self._newest(records, limit, run, model, until))
        return msgspec.structs.replace(found, in_flight=in_flight)

    async def run_totals(self, run: str) -> RunTotals:
        in_flight = self._log.in_flight(run)
        totals = await self._in_thread(lambda: self._read(lambda of: ledger_queries.run_totals(of, run)))
        return msgspec.structs.replace(totals, in_flight=in_flight)

    async def spending(self, by: By, since: float | None) -> Spending:
        return await self._in_thread(lambda: self._read(lambda of: ledger_queries.spending(of, by, since)))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._running >= MAX_READS:
            raise LedgerUnavailable(
                f"{MAX_READS} questions to the ledger are being answered: ask again later", retry_after_s=1.0
            )
        self._running += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work)
        finally:
            self._running -= 1

    # --- in a thread -----------------------------------------------------------------------------

    def _newest(
        self,
        records: list[RequestRecord],
        limit: int,
        run: str | None,
        model: str | None,
        until: float | None,
    ) -> Listed:
        rows = [row for record in records for row in reversed(rows_of(record))]
        rows = [row for row in rows if model is None or row.model == model]
        rows = [row for row in rows if until is None or row.ended_at <= until]
        if len(rows) >= limit or self._ledger is None:
            return Listed(requests=rows[:limit])
        try:
            older = self._read(lambda of: ledger_queries.newest(of, limit, run, model, until))
        except LedgerUnavailable as error:
            return Listed(requests=rows, incomplete=error.message)
        there = {(row.request_id, row.attempt) for row in rows}
        rows += [row for row in older if (row.request_id, row.attempt) not in there]
        rows.sort(key=lambda row: row.ended_at, reverse=True)
        return Listed(requests=rows[:limit])

    def _read(self, query: Callable[[Connection], T]) -> T:
        if self._ledger is None:
            raise NoLedger("no ledger is kept here: set enabled = true under [ledger] in models.toml")
        return _ask(self._ledger, query, FLUSH_S)


class SpentInLedger:
    """What budgets ask (budgets.py): what was spent by others than this server's own requests. For one
    thread at a time. The index has only what is charged: a hundred thousand such attempts take a tenth of a
    second."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def spent_usd(self, *, key: str | None, since_s: float | None) -> Decimal:
        """Raises LedgerUnavailable: what is left of a budget is not known then."""
        own = self._ledger.server
        return _ask(self._ledger, lambda of: ledger_queries.charged_usd(of, key, since_s, but=own), FLUSH_S)


def _ask(ledger: Ledger, query: Callable[[Connection], T], flush_s: float) -> T:
    cause = ledger.status().error
    if cause is None and not ledger.flush(flush_s):
        cause = ledger.status().error or "rows that wait are not written yet"
    store = ledger.store
    if store is None or cause is not None:
        raise LedgerUnavailable(f"the ledger cannot be asked now: {cause}: see `hotseat doctor`")
    try:
        with store.reading(READ_S) as connection:
            return query(connection)
    except StoreError as error:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        message = f"the ledger did not answer within {READ_S:g} s: {cause}: ask for less, or later"
        raise LedgerUnavailable(message) from error
