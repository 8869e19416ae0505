"""Recent requests, in memory: one record for each, with exactly one outcome.

The record has the fields of the ledger's row that are known without prices and attribution. Beside
it lies the engine's report of what was reused, whose windows are prompt text: it is kept apart, so
that lists of requests never show any.
"""

from __future__ import annotations

import contextlib
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from inference.chat import Finish, Usage
from inference.errors import Fault, HotseatError
from inference.messages import PrefixReport
from proxy.errors import UnknownRequest, status_of

KEPT = 1000
MAX_NAME_CHARS = 256


@dataclass(slots=True)
class RequestRecord:
    """Open while the request runs; times in seconds.

    `status` is 0 until the outcome is known; 499: the client left.
    """

    request_id: str
    started_at: float  # epoch
    run: str
    dialect: str
    requested_model: str = ""
    model: str = ""
    upstream: str = ""
    stream: bool = False
    status: int = 0
    code: str = ""
    fault: Fault | None = None
    finish_reason: str = ""
    queue_s: float = 0.0
    load_s: float = 0.0
    ttft_s: float | None = None
    decode_s: float = 0.0  # in which the engine made `decode_tokens`
    decode_tokens: int = 0
    total_s: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    reused_tokens: int | None = None  # None: nothing was reported
    first_difference: int | None = None
    culprit: str = ""

    def count(self, usage: Usage) -> None:
        self.input_tokens = usage.input_tokens
        self.cached_tokens = usage.cached_tokens
        self.output_tokens = usage.output_tokens
        self.reasoning_tokens = usage.reasoning_tokens

    def finish(self, finish: Finish) -> None:
        self.finish_reason = finish.reason
        self.decode_s, self.decode_tokens = finish.timings.decode_s, finish.timings.decode_tokens
        self.count(finish.usage)

    def fail(self, error: HotseatError) -> None:
        self.status = status_of(error)
        self.code = error.code
        self.fault = error.fault


class RequestLog:
    """`on_end` is given each record once, when its outcome is known."""

    def __init__(self, kept: int = KEPT, *, on_end: Callable[[RequestRecord], None] | None = None) -> None:
        self._kept = kept
        self._on_end = on_end
        self._records: deque[RequestRecord] = deque(maxlen=kept)
        self._prefixes: dict[str, PrefixReport] = {}  # by request id, oldest first; of running ones too

    @contextlib.contextmanager
    def track(self, request_id: str, run: str, dialect: str) -> Iterator[RequestRecord]:
        """A record that is filed when the block ends, however it ends."""
        record = RequestRecord(request_id, time.time(), run, dialect)
        begun_s = time.perf_counter()
        try:
            yield record
            record.status = record.status or 200
        except HotseatError as error:
            record.fail(error)
            raise
        except BaseException as error:
            record.status = 499 if isinstance(error, CancelledError) else 500
            record.code = "cancelled" if isinstance(error, CancelledError) else "internal_error"
            record.fault = "proxy"
            raise
        finally:
            record.total_s = time.perf_counter() - begun_s
            self._records.append(record)
            if self._on_end is not None:
                self._on_end(record)

    def explain(self, record: RequestRecord, report: PrefixReport) -> None:
        record.reused_tokens = report.reused_tokens
        record.first_difference = report.first_difference
        record.culprit = report.culprit
        self._prefixes[record.request_id] = report
        if len(self._prefixes) > self._kept:
            del self._prefixes[next(iter(self._prefixes))]

    def prefix(self, request_id: str) -> PrefixReport | None:
        """None if the request said nothing of its prefix. Raises UnknownRequest."""
        report = self._prefixes.get(request_id)
        if report is None and all(record.request_id != request_id for record in self._records):
            raise UnknownRequest(
                f"request {request_id[:MAX_NAME_CHARS]!r} is not known: the last {self._kept} since the "
                "server's start are, by the id in x-hotseat-request-id"
            )
        return report

    def recent(self, limit: int, *, run: str | None = None, model: str | None = None) -> list[RequestRecord]:
        """Newest first."""
        chosen: list[RequestRecord] = []
        for record in reversed(self._records):
            if len(chosen) == limit:
                break
            if (run is None or record.run == run) and (model is None or record.model == model):
                chosen.append(record)
        return chosen
