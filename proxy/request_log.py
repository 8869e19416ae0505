"""Recent requests, in memory: one record for each, with exactly one outcome.

The record has the fields of the ledger's row (ledger_rows.py), of the attempt that ran last; earlier ones
that failed are in `attempts`. Beside it lies the engine's report of what was reused, whose windows are
prompt text: it is kept apart, so that lists of requests never show any.
"""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType

import msgspec

from inference.chat import Finish, Usage
from inference.errors import Fault, HotseatError
from inference.messages import PrefixReport
from proxy.attribution import Attribution, Role
from proxy.errors import UnknownRequest, status_of

KEPT = 1000
MAX_NAME_CHARS = 256


_log = logging.getLogger("hotseat.request")


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt after which another one followed. `number` counts from 1."""

    number: int
    upstream: str
    model: str
    started_at: float  # epoch
    total_s: float
    status: int
    code: str
    fault: Fault | None
    queue_s: float = 0.0
    load_s: float = 0.0
    ttft_s: float | None = None
    decode_s: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tool_calls: int = 0
    reported_cost_usd: Decimal | None = None
    is_uncounted: bool = False
    cost_usd: Decimal | None = None
    price_source: str = ""


class RequestRecord(msgspec.Struct, omit_defaults=True, dict=True):
    """Open while the request runs; times in seconds. Two lines of the ledger's journal are made of it, with
    what differs from the defaults. What ties it to the log that opened it is no field, and in no list.

    `status` is 0 until the outcome is known; 499: the client left. `attempt` counts from 1; 0: none is
    under way, for nothing was asked of an upstream yet, or the last one failed and no other has begun.
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
    caused_load: bool = False  # it was the first to wait for it
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
    node: str = ""
    parent_node: str = ""
    role: Role = "unattributed"
    harness: str = ""
    key: str = ""  # the NAME of the caller's key, never the key
    payer: str = ""  # the name of the key whose budgets it is charged to
    assumed_usd: Decimal | None = None  # of each attempt at a provider whose cost stays unknown
    system_sha: str = ""
    tools_sha: str = ""
    policy: str = ""  # see policies.py
    tool_calls: int = 0
    answer_sha: str = ""  # of its text and calls; kept for requests of runs only
    cache_write_tokens: int = 0  # of the input tokens, those a provider put into its cache
    reported_cost_usd: Decimal | None = None  # what the provider said
    is_uncounted: bool = False  # the provider may have done more than what is counted
    cost_usd: Decimal | None = None  # None: not known
    price_source: str = (
        ""  # until it has ended: "", or prices.REPLAY for one that is answered from a recording
    )
    energy_j: float | None = None
    attempt: int = 0
    attempt_started_at: float = 0.0  # epoch
    attempts: list[FailedAttempt] = msgspec.field(default_factory=list)

    def tie(self, hooks: Hooks) -> None:
        self.__dict__["hooks"] = hooks

    @property
    def _told(self) -> Hooks:
        hooks: Hooks = self.__dict__.get("hooks", NO_HOOKS)
        return hooks

    def _start_clock(self) -> None:
        self.__dict__["begun_s"] = time.perf_counter()

    @property
    def _attempt_s(self) -> float:
        begun_s: float = self.__dict__["begun_s"]
        return time.perf_counter() - begun_s

    def attribute(self, attribution: Attribution) -> None:
        self.harness, self.role = attribution.harness, attribution.role
        self.node, self.parent_node = attribution.node, attribution.parent_node

    def attempt_begins(self, upstream: str, model: str) -> None:
        """Call it right before the request goes to `upstream`, once for each attempt."""
        self.upstream, self.model = upstream, model
        self.attempt = len(self.attempts) + 1
        self._start_clock()
        self.attempt_started_at = time.time()
        hooks = self._told
        if hooks.on_begin is not None:
            hooks.on_begin(self)

    def attempt_failed(
        self, error: HotseatError, *, usage: Usage | None = None, reported_cost_usd: Decimal | None = None
    ) -> None:
        """The attempt that began last has failed, and another will follow."""
        if usage is not None:
            self.count(usage)
        failed = FailedAttempt(
            number=self.attempt,
            upstream=self.upstream,
            model=self.model,
            started_at=self.attempt_started_at,
            total_s=self._attempt_s,
            status=status_of(error),
            code=error.code,
            fault=error.fault,
            queue_s=self.queue_s,
            load_s=self.load_s,
            ttft_s=self.ttft_s,
            decode_s=self.decode_s,
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=self.reasoning_tokens,
            tool_calls=self.tool_calls,
            reported_cost_usd=self.reported_cost_usd if reported_cost_usd is None else reported_cost_usd,
            is_uncounted=self.is_uncounted,
            price_source=self.price_source,
        )
        hooks = self._told
        if hooks.price_attempt is not None:
            failed = hooks.price_attempt(failed)
        self.attempts.append(failed)
        self._forget_attempt()
        if hooks.on_attempt_failed is not None:
            hooks.on_attempt_failed(self, failed)

    def _forget_attempt(self) -> None:
        self.attempt, self.attempt_started_at = 0, 0.0
        self.status, self.code, self.fault, self.finish_reason = 0, "", None, ""
        self.queue_s = self.load_s = self.decode_s = 0.0
        self.ttft_s, self.decode_tokens, self.caused_load = None, 0, False
        self.input_tokens = self.cached_tokens = self.cache_write_tokens = 0
        self.output_tokens = self.reasoning_tokens = self.tool_calls = 0
        self.answer_sha = ""
        self.is_uncounted = False
        self.reported_cost_usd = self.cost_usd = self.energy_j = None

    def count(self, usage: Usage) -> None:
        self.input_tokens = usage.input_tokens
        self.cached_tokens = usage.cached_tokens
        self.cache_write_tokens = usage.cache_write_tokens
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


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who is told what, on the event loop; they neither block nor raise.

    `price` may raise: the record's price is not known then. It is asked before `on_end`, `price_attempt`
    before `on_attempt_failed`.
    """

    on_begin: Callable[[RequestRecord], None] | None = None
    on_attempt_failed: Callable[[RequestRecord, FailedAttempt], None] | None = None
    price_attempt: Callable[[FailedAttempt], FailedAttempt] | None = None
    price: Callable[[RequestRecord], None] | None = None
    on_end: Callable[[RequestRecord], None] | None = None


NO_HOOKS = Hooks()


class RequestLog:
    """`on_begin` is given a record right before each attempt, `on_attempt_failed` the attempt after which
    another one follows; `price` each record once when its outcome is known, and `on_end` after it."""

    def __init__(
        self,
        kept: int = KEPT,
        *,
        on_begin: Callable[[RequestRecord], None] | None = None,
        on_attempt_failed: Callable[[RequestRecord, FailedAttempt], None] | None = None,
        price_attempt: Callable[[FailedAttempt], FailedAttempt] | None = None,
        price: Callable[[RequestRecord], None] | None = None,
        on_end: Callable[[RequestRecord], None] | None = None,
    ) -> None:
        self._kept = kept
        self._hooks = Hooks(on_begin, on_attempt_failed, price_attempt, price, on_end)
        self._records: deque[RequestRecord] = deque(maxlen=kept)
        self._open: Counter[str] = Counter()  # by run; a run without any is not in it
        self._prefixes: dict[str, PrefixReport] = {}  # by request id, oldest first; of running ones too

    def track(self, request_id: str, run: str, dialect: str) -> AbstractContextManager[RequestRecord]:
        """A record that is filed when the block ends, however it ends."""
        record = RequestRecord(request_id, time.time(), run, dialect)
        record.tie(self._hooks)
        return _Tracked(self, record)

    def begin(self, record: RequestRecord) -> None:
        if record.run:
            self._open[record.run] += 1

    def end(self, record: RequestRecord) -> None:
        self._records.append(record)
        if record.run:
            self._open[record.run] -= 1
            if not self._open[record.run]:
                del self._open[record.run]
        self._end(record)

    def _end(self, record: RequestRecord) -> None:
        hooks = self._hooks
        if hooks.price is not None:
            try:
                hooks.price(record)
            except Exception:  # noqa: BLE001  (the request's border: its answer was given already)
                _log.exception("request %s has no price", record.request_id)
        if hooks.on_end is not None:
            hooks.on_end(record)

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

    def in_flight(self, run: str) -> int:
        """Requests of a run that have begun and not ended."""
        return self._open.get(run, 0)

    def recent(self, limit: int, *, run: str | None = None, model: str | None = None) -> list[RequestRecord]:
        """Newest first."""
        chosen: list[RequestRecord] = []
        for record in reversed(self._records):
            if len(chosen) == limit:
                break
            if (run is None or record.run == run) and (model is None or record.model == model):
                chosen.append(record)
        return chosen


class _Tracked:
    """See RequestLog.track. Every request makes one: a generator would cost three times as much."""

    __slots__ = ("_begun_s", "_log", "_record")

    def __init__(self, log: RequestLog, record: RequestRecord) -> None:
        self._log = log
        self._record = record

    def __enter__(self) -> RequestRecord:
        self._begun_s = time.perf_counter()
        self._log.begin(self._record)
        return self._record

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record = self._record
        if error is None:
            record.status = record.status or 200
        elif isinstance(error, HotseatError):
            record.fail(error)
        else:
            is_cancelled = isinstance(error, CancelledError)
            record.status, record.fault = 499 if is_cancelled else 500, "proxy"
            record.code = "cancelled" if is_cancelled else "internal_error"
        record.total_s = time.perf_counter() - self._begun_s
        self._log.end(record)
