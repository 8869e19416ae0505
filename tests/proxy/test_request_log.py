"""Recent requests: each is filed once, with one outcome, however it ended."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from inference.chat import Usage
from inference.errors import HotseatError, UnknownModel, WorkerCrashed
from proxy.errors import ClientGone
from proxy.request_log import RequestLog


def ended_with(error: BaseException | None) -> tuple[int, str, str | None]:
    log = RequestLog()
    expectation = pytest.raises(type(error)) if error else contextlib.nullcontext()
    with expectation, log.track("r", "", "chat-completions"):
        if error is not None:
            raise error
    [record] = log.recent(10)
    assert record.total_s >= 0
    return record.status, record.code, record.fault


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, (200, "", None)),
        (UnknownModel("x"), (404, "model_not_found", "client")),
        (WorkerCrashed("x"), (502, "worker_crashed", "worker")),
        (ClientGone("x"), (499, "client_gone", "client")),
        (HotseatError("x"), (500, "internal_error", "proxy")),
        (ValueError("x"), (500, "internal_error", "proxy")),
        (asyncio.CancelledError(), (499, "cancelled", "proxy")),
    ],
)
def test_one_outcome(error: BaseException | None, outcome: tuple[int, str, str | None]) -> None:
    assert ended_with(error) == outcome


def test_a_failure_inside_a_stream_is_kept() -> None:
    log = RequestLog()
    with log.track("r", "", "chat-completions") as record:
        record.fail(WorkerCrashed("x"))
    assert (log.recent(1)[0].status, log.recent(1)[0].fault) == (502, "worker")


def test_newest_first_filtered_and_bounded() -> None:
    log = RequestLog(kept=3)
    for i in range(5):
        with log.track(str(i), "ab"[i % 2], "chat-completions") as record:
            record.model = "m"
            record.count(Usage(input_tokens=i, output_tokens=1))
    assert [record.request_id for record in log.recent(10)] == ["4", "3", "2"]
    assert [record.request_id for record in log.recent(1)] == ["4"]
    assert [record.request_id for record in log.recent(10, run="b")] == ["3"]
    assert log.recent(10, model="other") == []
    assert log.recent(1)[0].input_tokens == 4
