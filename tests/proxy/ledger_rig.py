"""Ledgers under test, what they are told, and what their databases hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from proxy import ledger_queries
from proxy.ledger import Ledger
from proxy.ledger_journal import Journal
from proxy.ledger_place import sqlite_ledger
from proxy.ledger_rows import Row
from proxy.ledger_store import open_store
from proxy.request_log import RequestLog

PATIENCE_S = 30.0


@contextlib.contextmanager
def started(ledger: Ledger) -> Iterator[RequestLog]:
    ledger.start()
    try:
        yield logging_to(ledger)
    finally:
        ledger.close()


def logging_to(ledger: Ledger | Journal) -> RequestLog:
    def end(record: object) -> None:
        ledger.end(record)  # type: ignore[arg-type]

    return RequestLog(on_begin=ledger.begin, on_attempt_failed=ledger.attempt_failed, on_end=end)


def serve(log: RequestLog, *names: str) -> None:
    for name in names:
        with log.track(name, "r", "d") as record:
            record.attempt_begins("local", "m")
            record.cost_usd = Decimal("0.1")


def rows_at(path: Path) -> list[Row]:
    """By another connection, as another process would see them."""
    store = open_store(sqlite_ledger(path))
    with store.reading(PATIENCE_S) as connection:
        rows = ledger_queries.newest(connection, 100_000, None, None)
    store.close()
    return rows


def names_at(path: Path) -> list[str]:
    return sorted(row.request_id for row in rows_at(path))


def warnings(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]
