"""What `GET /metrics` tells a Prometheus: counts since the start, and the pool and device as they are.

Requests are counted from the request log's finished records, loads and crashes from the pool's
events; the rest is read when somebody asks. Labels name models that were found by routing, never
what a client asked for: a stream of invented names makes no series. The counts are kept here as
plain numbers, for all of it happens on one event loop, and a request pays 2 µs for them; the
library's own locked counters would cost it ten times as much.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import get_args

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.gpu import DeviceMemory
from inference.pool_state import ModelState, PoolEvent, PoolState
from inference.scheduler_events import State
from proxy.ledger import LedgerStatus
from proxy.request_log import RequestRecord

WAIT_BUCKETS_S = (0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0)
LOAD_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
TTFT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
SPEED_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 70.0, 100.0, 150.0, 250.0, 500.0, 1000.0)
"""Tokens per second: readers are slower than 10, a good GPU and a small model come to several hundred."""

RESIDENT: frozenset[State] = frozenset({"loading", "ready", "unloading"})


class Distribution:
    """How many values lie at or below each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        bounds = [*map(str, self.bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


@dataclass(slots=True)
class Tally:
    """What was counted of one model; "" for requests that reached none."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # (outcome, fault)
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    loads: int = 0
    load_failures: int = 0
    crashes: int = 0
    queue_s: Distribution = field(default_factory=lambda: Distribution(WAIT_BUCKETS_S))
    waited_load_s: Distribution = field(default_factory=lambda: Distribution(LOAD_BUCKETS_S))
    ttft_s: Distribution = field(default_factory=lambda: Distribution(TTFT_BUCKETS_S))
    speed: Distribution = field(default_factory=lambda: Distribution(SPEED_BUCKETS))
    load_s: Distribution = field(default_factory=lambda: Distribution(LOAD_BUCKETS_S))
    loading_since_s: float | None = None

    def count_request(self, record: RequestRecord) -> None:
        self.requests[record.code or "ok", record.fault or "none"] += 1
        self.input_tokens += record.input_tokens
        self.cached_tokens += record.cached_tokens
        self.output_tokens += record.output_tokens
        if record.ttft_s is not None:
            self.ttft_s.add(record.ttft_s)
        if record.status == 200 or record.ttft_s is not None:  # it had a lease
            self.queue_s.add(record.queue_s)
            if record.load_s > 0:
                self.waited_load_s.add(record.load_s)
        if record.decode_tokens > 0 and record.decode_s > 0:
            self.speed.add(record.decode_tokens / record.decode_s)

    def count_event(self, event: PoolEvent) -> None:
        match event.kind:
            case "loading":
                self.loading_since_s = event.at_s
            case "ready":
                self.loads += 1
                if self.loading_since_s is not None:
                    self.load_s.add(max(0.0, event.at_s - self.loading_since_s))
            case "failed":
                self.load_failures += 1
            case "crashed":
                self.crashes += 1


class Metrics:
    """`state`, `device` and `ledger` are asked at each scrape; `ledger` None: none is kept."""

    def __init__(
        self,
        state: Callable[[], PoolState],
        device: Callable[[], DeviceMemory],
        ledger: Callable[[], LedgerStatus] | None = None,
    ) -> None:
        self._tallies: dict[str, Tally] = {}
        self._state = state
        self._device = device
        self._ledger = ledger

    def count(self, record: RequestRecord) -> None:
        """A request has ended."""
        self._tally(record.model).count_request(record)

    async def follow(self, events: AsyncIterator[PoolEvent]) -> None:
        """Count what the pool does until its events end."""
        async for event in events:
            if event.model:
                self._tally(event.model).count_event(event)

    async def text(self) -> bytes:
        """Prometheus' text format, version 0.0.4. With ten models in use it takes 9 ms, in pieces of at
        most 1.5 ms: nobody's tokens wait for the whole."""
        parts = []
        for family in self._families():
            parts.append(generate_latest(_One(family)))
            await asyncio.sleep(0)
        return b"".join(parts)

    def _tally(self, model: str) -> Tally:
        tally = self._tallies.get(model)
        if tally is None:
            tally = self._tallies[model] = Tally()
        return tally

    def _families(self) -> Iterator[Metric]:
        tallies = list(self._tallies.items())
        yield _requests(tallies)
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=["model"])
            for model, tally in tallies:
                counter.add_metric([model], value(tally))
            yield counter
        for name, text, distribution in _HISTOGRAMS:
            histogram = HistogramMetricFamily(name, text, labels=["model"])
            for model, tally in tallies:
                found = distribution(tally)
                histogram.add_metric([model], found.buckets(), found.sum)
            yield histogram
        yield from _pool_families(self._state())
        device = self._device()
        yield GaugeMetricFamily("hotseat_device_total_bytes", "Memory of the device.", device.total_bytes)
        yield GaugeMetricFamily("hotseat_device_free_bytes", "Memory free on the device.", device.free_bytes)
        if self._ledger is not None:
            yield from _ledger_families(self._ledger())


class _One(Collector):
    """A registry of one family, for the library's writer. Its global registry is not used."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> list[Metric]:
        return [self._family]


def _requests(tallies: Sequence[tuple[str, Tally]]) -> Metric:
    text = "Requests that ended, by what became of them and whose fault it was."
    counter = CounterMetricFamily("hotseat_requests", text, labels=["model", "outcome", "fault"])
    for model, tally in tallies:
        for (outcome, fault), n in tally.requests.items():
            counter.add_metric([model, outcome, fault], n)
    return counter


_COUNTERS: tuple[tuple[str, str, Callable[[Tally], int]], ...] = (
    ("hotseat_input_tokens", "Prompt tokens, cached ones included.", lambda t: t.input_tokens),
    ("hotseat_cached_tokens", "Prompt tokens that were not computed again.", lambda t: t.cached_tokens),
    ("hotseat_output_tokens", "Tokens made.", lambda t: t.output_tokens),
    ("hotseat_model_loads", "Loads that ended ready.", lambda t: t.loads),
    ("hotseat_model_load_failures", "Loads that failed.", lambda t: t.load_failures),
    ("hotseat_model_crashes", "Workers that died when they were ready.", lambda t: t.crashes),
)

_HISTOGRAMS: tuple[tuple[str, str, Callable[[Tally], Distribution]], ...] = (
    ("hotseat_queue_seconds", "What requests waited for their turn.", lambda t: t.queue_s),
    (
        "hotseat_load_wait_seconds",
        "What requests waited for their model's load, if they did.",
        lambda t: t.waited_load_s,
    ),
    ("hotseat_model_load_seconds", "How long loads took.", lambda t: t.load_s),
    ("hotseat_ttft_seconds", "Time to the first token, waits included.", lambda t: t.ttft_s),
    (
        "hotseat_decode_tokens_per_second",
        "Speed of each answer after its first token.",
        lambda t: t.speed,
    ),
)


def _ledger_families(ledger: LedgerStatus) -> Iterator[Metric]:
    yield CounterMetricFamily("hotseat_ledger_rows", "Rows written to the ledger.", ledger.written)
    text = "Rows that the ledger will never have."
    yield CounterMetricFamily("hotseat_ledger_dropped_rows", text, ledger.dropped)
    text = "Rows that the next start reads from the journal."
    yield CounterMetricFamily("hotseat_ledger_deferred_rows", text, ledger.deferred)
    yield GaugeMetricFamily("hotseat_ledger_waiting_rows", "Rows on their way.", ledger.waiting)


def _pool_families(state: PoolState) -> Iterator[Metric]:
    yield CounterMetricFamily("hotseat_swaps", "Loads for which another model had to leave.", state.swaps)
    yield GaugeMetricFamily("hotseat_budget_bytes", "Bytes that models may fill.", state.budget_bytes)
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=["model"])
        for model in state.models:
            gauge.add_metric([model.name], value(model))
        yield gauge
    states = GaugeMetricFamily("hotseat_model_state", "1 for the present state.", labels=["model", "state"])
    for model in state.models:
        for name in get_args(State):
            states.add_metric([model.name, name], float(model.state == name))
    yield states


def _resident_bytes(model: ModelState) -> int:
    if model.state not in RESIDENT:
        return 0
    return model.footprint_bytes if model.measured_bytes is None else model.measured_bytes


_GAUGES: tuple[tuple[str, str, Callable[[ModelState], int]], ...] = (
    ("hotseat_leases", "Requests that are running.", lambda m: m.leases),
    ("hotseat_queue_length", "Requests that wait.", lambda m: m.queued),
    ("hotseat_resident_bytes", "Bytes taken: measured, or what admission counts.", _resident_bytes),
)
