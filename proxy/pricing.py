"""When a request ends: the energy it took on this machine, and what it cost. Counts who is at work."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from inference.energy import Occupancy, shared_energy_j
from inference.gpu import DeviceSample
from proxy.money_config import MoneyConfig
from proxy.prices import LOCAL, attempt_price, price_record
from proxy.request_log import FailedAttempt, RequestRecord

SAMPLES_PER_S = 2
"""At most so many are expected; a request's time is covered by twice as many as are taken."""


class PowerSamples(Protocol):
    """inference/device_sampler.py's."""

    def samples(self, at_most: int) -> Sequence[DeviceSample]: ...


class Pricing:
    """`power` None: the device is not sampled. `clock`: epoch, that of the samples and of the records."""

    def __init__(
        self,
        money: Callable[[], MoneyConfig],
        power: PowerSamples | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._money = money
        self._power = power
        self._clock = clock
        self._occupancy = Occupancy()

    def at_work(self) -> AbstractContextManager[None]:
        """While an answer is made on this machine."""
        return _AtWork(self._occupancy, self._clock)

    def price(self, record: RequestRecord) -> None:
        """Fill energy_j, cost_usd and price_source."""
        money = self._money()
        if record.upstream == LOCAL and record.attempt:
            record.energy_j = self._energy_j(record)
        price_record(record, money.book, money.usd_per_kwh)

    def price_attempt(self, attempt: FailedAttempt) -> FailedAttempt:
        """With cost_usd and price_source. Of an attempt on this machine no energy is known."""
        if attempt.upstream == LOCAL:
            return dataclasses.replace(attempt, price_source="")
        price = attempt_price(attempt, self._money().book)
        return dataclasses.replace(attempt, cost_usd=price.cost_usd, price_source=price.source)

    def _energy_j(self, record: RequestRecord) -> float | None:
        """Prefill and decode: from the lease to the last word. None without a first token: whether, and
        when, it had a lease is not known."""
        if self._power is None or record.ttft_s is None:
            return None
        began_s = record.attempt_started_at
        begin_s = began_s + record.queue_s + record.load_s
        end_s = self._clock()
        if record.decode_s > 0:  # the last word may have waited for a slow client
            end_s = min(end_s, began_s + record.ttft_s + record.decode_s)
        changes = self._occupancy.since(begin_s)
        samples = self._power.samples(SAMPLES_PER_S * int(end_s - begin_s) + 10)
        return None if changes is None else shared_energy_j(samples, changes, begin_s, end_s)


class _AtWork:
    __slots__ = ("_clock", "_occupancy")

    def __init__(self, occupancy: Occupancy, clock: Callable[[], float]) -> None:
        self._occupancy = occupancy
        self._clock = clock

    def __enter__(self) -> None:
        self._occupancy.begin(self._clock())

    def __exit__(self, *exc: object) -> None:
        self._occupancy.end(self._clock())
