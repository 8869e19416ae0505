"""Rows of the ledger: which attempts there were, what each took, and nothing that a database refuses."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import Usage
from inference.errors import WorkerCrashed
from proxy.attribution import Attribution
from proxy.ledger_rows import COLUMNS, MAX_COUNT, MAX_TEXT_CHARS, Row, begun_row, day_of, rows_of
from proxy.ledger_schema import ATTEMPTS
from proxy.prices import REPLAY
from proxy.request_log import RequestLog, RequestRecord


def record(**changes: object) -> RequestRecord:
    made = RequestRecord("id", 1000.0, "run", "chat-completions", status=200, total_s=2.0)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_row_has_every_field_of_the_record_and_the_table_every_column() -> None:
    beside = {"attempts", "attempt_started_at", "is_uncounted", "caused_load"}  # of a run: run_notes.py
    assert set(RequestRecord.__struct_fields__) - beside <= set(COLUMNS)
    assert set(ATTEMPTS.columns.keys()) == {*COLUMNS, "server"}


def test_one_attempt_is_charged_with_all_of_the_request() -> None:
    [row] = rows_of(record(attempt=1, attempt_started_at=1000.5, model="m", upstream="local"))
    assert (row.attempt, row.started_at, row.ended_at, row.total_s) == (1, 1000.0, 1002.0, 2.0)
    assert (row.model, row.upstream, row.day) == ("m", "local", "1970-01-01")


def test_failed_attempts_have_rows_of_their_own_and_whose_the_request_was() -> None:
    made = record(started_at=0.0)
    made.attribute(Attribution("codex", "subagent", "n", "p"))
    made.attempt_begins("far", "far/model")
    made.queue_s = 9.0
    made.attempt_failed(
        WorkerCrashed("x"), usage=Usage(input_tokens=7, output_tokens=2), reported_cost_usd=Decimal("0.01")
    )
    made.attempt_begins("local", "m")
    made.started_at, made.total_s = made.attempt_started_at - 3.0, 5.0
    failed, last = rows_of(made)
    assert (failed.attempt, failed.upstream, failed.model, failed.code) == (
        1,
        "far",
        "far/model",
        "worker_crashed",
    )
    assert (failed.input_tokens, failed.output_tokens, failed.queue_s) == (7, 2, 9.0)
    assert (failed.cost_usd, failed.price_source) == (Decimal("0.01"), "provider")
    assert (last.attempt, last.upstream, last.input_tokens, last.queue_s, last.cost_usd) == (
        2,
        "local",
        0,
        0.0,
        None,
    )
    assert last.total_s == pytest.approx(2.0)
    assert {(row.harness, row.role, row.node, row.parent_node) for row in (failed, last)} == {
        ("codex", "subagent", "n", "p")
    }


def test_a_request_that_ends_between_attempts_is_attempt_0() -> None:
    made = record()
    made.attempt_begins("far", "far/model")
    made.attempt_failed(WorkerCrashed("x"))
    made.status, made.code = 499, "client_gone"
    failed, ended = rows_of(made)
    assert [(row.attempt, row.code) for row in (failed, ended)] == [(1, "worker_crashed"), (0, "client_gone")]


def test_what_never_ended_is_the_proxys_fault_and_has_no_price() -> None:
    made = record(total_s=0.0)
    made.attempt_begins("far", "m")
    row = begun_row(made)
    assert (row.status, row.code, row.fault, row.cost_usd, row.price_source) == (
        0,
        "lost",
        "proxy",
        None,
        "unknown",
    )


def test_of_what_nobody_could_price_the_row_says_what_was_assumed() -> None:
    made = record(payer="ci", assumed_usd=Decimal("0.25"), price_source="unknown")
    made.attempt_begins("far", "m")
    assert begun_row(made).assumed_usd == Decimal("0.25"), "also if nothing more is heard of it"
    made.attempt_failed(WorkerCrashed("x"))
    made.attempt_begins("local", "m")
    made.attempt_failed(WorkerCrashed("x"))
    made.attempt_begins("far", "m")
    made.attempt_failed(WorkerCrashed("x"), reported_cost_usd=Decimal("0.5"))
    made.attempts[-1] = replace(made.attempts[-1], price_source="")
    made.attempt_begins("far", "m")
    rows = rows_of(made)
    assumed = [(row.upstream, row.cost_usd, row.assumed_usd) for row in rows]
    assert assumed == [
        ("far", None, Decimal("0.25")),
        ("local", None, None),
        ("far", Decimal("0.5"), None),
        ("far", None, Decimal("0.25")),
    ]
    assert {row.payer for row in rows} == {"ci"}


@pytest.mark.parametrize(("attempt", "source"), [(0, "unknown"), (1, REPLAY)])
def test_who_asked_nobody_or_a_recording_is_assumed_to_have_cost_nothing(attempt: int, source: str) -> None:
    [row] = rows_of(record(attempt=attempt, upstream="far", assumed_usd=Decimal(1), price_source=source))
    assert (row.cost_usd, row.assumed_usd) == (None, None)


@pytest.mark.parametrize(
    "cost", ["1E-999999999", "NaN", "Infinity", "1E+12", "-1E+12", "-1", "0." + "0" * 40 + "1"]
)
def test_what_is_no_amount_of_money_is_not_believed(cost: str) -> None:
    [row] = rows_of(record(reported_cost_usd=Decimal(cost), cost_usd=Decimal(cost), price_source="provider"))
    assert (row.reported_cost_usd, row.cost_usd) == (None, None)


def test_a_price_that_was_found_wins_over_what_the_provider_said_and_both_are_kept() -> None:
    [row] = rows_of(record(reported_cost_usd=Decimal(1), cost_usd=Decimal(2), price_source="book:2026-11-01"))
    assert [str(row.reported_cost_usd), str(row.cost_usd), row.price_source] == ["1", "2", "book:2026-11-01"]
    [unknown] = rows_of(record(reported_cost_usd=Decimal(1), price_source="unknown"))
    assert (unknown.cost_usd, unknown.price_source) == (None, "unknown")


def test_days_are_of_utc() -> None:
    assert [day_of(at) for at in (0.0, 86399.9, 86400.0, 1795305599.0)] == [
        *("1970-01-01", "1970-01-01", "1970-01-02"),
        "2026-11-21",
    ]


@given(st.text(st.characters(), max_size=600), st.integers(), st.decimals())
def test_every_row_can_be_written(name: str, count: int, cost: Decimal) -> None:
    made = record(requested_model=name, finish_reason=name, output_tokens=count, cost_usd=cost)
    [row] = rows_of(made)
    assert len(row.requested_model) <= MAX_TEXT_CHARS
    assert "\0" not in row.requested_model
    assert 0 <= row.output_tokens <= MAX_COUNT
    with sqlite3.connect(":memory:") as database:
        database.execute("SELECT ?, ?", (row.requested_model, row.output_tokens)).fetchone()
    database.close()
    assert len(msgspec.json.encode(row)) < 10_000


def test_a_record_survives_the_journals_line() -> None:
    log = RequestLog()
    with log.track("id", "run", "responses") as made:
        made.attempt_begins("far", "m")
        made.attempt_failed(WorkerCrashed("x"), reported_cost_usd=Decimal("1.50"))
        made.attempt_begins("local", "m")
        made.cost_usd = Decimal("0.000000000000001")
    again = msgspec.json.decode(msgspec.json.encode(made), type=RequestRecord)
    assert rows_of(again) == rows_of(made)
    assert all(isinstance(row, Row) for row in rows_of(again))
