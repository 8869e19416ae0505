"""Traces: what is read, what is refused, and what is made of recorded requests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import ConfigError
from inference.request_trace import (
    MAX_LINE_BYTES,
    MAX_NAME_CHARS,
    MAX_S,
    TracedRequest,
    from_records,
    read_trace,
    write_trace,
)
from inference.scheduler_events import Lane
from proxy.request_log import RequestRecord

seconds = st.floats(0, MAX_S)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
lanes: st.SearchStrategy[Lane] = st.sampled_from(["interactive", "batch", "exclusive"])
requests = st.lists(
    st.builds(
        TracedRequest, seconds, names, seconds, lanes, st.none() | names, st.none() | seconds, kept_s=seconds
    ),
    max_size=20,
)


@given(requests)
def test_what_is_written_is_read_again_in_order_of_arrival(trace: list[TracedRequest]) -> None:
    lines = [f"{line}\n" for line in write_trace(trace)]
    assert list(read_trace(lines)) == sorted(trace, key=lambda request: request.at_s)
    assert list(read_trace(line.encode() for line in lines)) == list(read_trace(lines))


def test_only_what_differs_from_the_defaults_is_written() -> None:
    assert list(write_trace([TracedRequest(1.5, "a", 2.0)])) == ['{"at_s":1.5,"model":"a","service_s":2.0}']


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "truncated"),
        ('{"at_s": 1.0, "model": "a"}', "service_s"),
        ('{"at_s": -1.0, "model": "a", "service_s": 1.0}', "at_s"),
        ('{"at_s": 1e999, "model": "a", "service_s": 1.0}', "out of range"),
        ('{"at_s": NaN, "model": "a", "service_s": 1.0}', "invalid"),
        ('{"at_s": 1.0, "model": "", "service_s": 1.0}', "model"),
        ('{"at_s": 1.0, "model": "a", "service_s": 1.0, "lane": "fast"}', "fast"),
        ('{"at_s": 1.0, "model": "a", "service_s": 1.0, "prompt": "hello"}', "prompt"),
        ('{"at_s": 1.0, "model": "' + "a" * MAX_LINE_BYTES + '", "service_s": 1.0}', "at most 4096"),
    ],
)
def test_a_line_that_is_no_request_is_named_with_the_reason(line: str, why: str) -> None:
    with pytest.raises(ConfigError, match="line 3: ") as caught:
        read_trace(['{"at_s": 0, "model": "a", "service_s": 1}', "", line])
    assert why in caught.value.message


def row(**changes: Any) -> dict[str, Any]:
    """As `GET /api/requests` lists it: every field of the record."""
    record = RequestRecord("id", 1000.0, "", "chat-completions", model="a", upstream="local", status=200)
    record.queue_s, record.load_s, record.total_s = 0.5, 2.0, 4.0
    return {**msgspec.structs.asdict(record), **changes}


def test_a_recorded_request_becomes_its_arrival_and_the_time_it_used_the_model() -> None:
    rows = [row(started_at=1010.0, model="b"), row(started_at=1000.0)]  # newest first, as they are listed
    trace = from_records(rows)
    assert trace.requests == (TracedRequest(0.0, "a", 1.5), TracedRequest(10.0, "b", 1.5))
    assert trace.n_skipped == 0


def test_rows_without_use_of_a_local_model_are_left_out_and_counted() -> None:
    unused = [
        row(upstream="openrouter"),
        row(status=503, ttft_s=None),
        row(status=499, ttft_s=None),
        row(model=""),
    ]
    broken_off = row(status=499, ttft_s=3.0, started_at=2000.0)
    trace = from_records([*unused, broken_off])
    assert [request.at_s for request in trace.requests] == [0.0]
    assert trace.n_skipped == 4
    assert from_records([]).requests == ()


def test_times_that_do_not_add_up_make_no_negative_service() -> None:
    assert from_records([row(total_s=1.0)]).requests[0].service_s == 0.0


@pytest.mark.parametrize(
    "changes",
    [{"started_at": "now"}, {"total_s": None}, {"model": "a" * (MAX_NAME_CHARS + 1)}, {"queue_s": -1.0}],
)
def test_a_row_that_is_none_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="recorded request 'id'") as caught:
        from_records([row(**changes)])
    assert next(iter(changes)) in caught.value.message
