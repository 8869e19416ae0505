"""The end of a request: energy from the device's samples, and the price it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from inference.device_sampler import DeviceSampler
from inference.errors import HotseatError
from inference.gpu import DeviceSample
from proxy.money_config import MoneyConfig
from proxy.pricing import Pricing
from proxy.request_log import FailedAttempt, RequestRecord
from tests.proxy.rig import Setup, run, serving

TARIFF = MoneyConfig(usd_per_kwh=Decimal("0.36"))


@dataclass
class Board:
    """A power for each second from 0 on."""

    power_w: list[float | None] = field(default_factory=list)

    def samples(self, at_most: int) -> Sequence[DeviceSample]:
        all_of_them = [DeviceSample(float(at_s), power_w=w) for at_s, w in enumerate(self.power_w)]
        return all_of_them[-at_most:]


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def answered(began_at: float, *, queue_s: float = 0.0, load_s: float = 0.0) -> RequestRecord:
    record = RequestRecord("r", began_at, "", "chat-completions", status=200, ttft_s=queue_s + load_s + 0.5)
    record.attempt_begins("local", "echo")
    record.attempt_started_at = began_at
    record.queue_s, record.load_s = queue_s, load_s
    return record


def test_an_answer_costs_the_energy_of_its_work_and_not_of_its_wait() -> None:
    clock = Clock(2.0)
    pricing = Pricing(lambda: TARIFF, Board([100.0] * 20), clock=clock)
    with pricing.at_work():  # it waits for this one
        clock.now = 8.0
    with pricing.at_work():
        clock.now = 12.0
    record = answered(2.0, queue_s=1.0, load_s=5.0)
    pricing.price(record)
    assert record.energy_j == pytest.approx(400.0)
    assert (record.cost_usd, record.price_source) == (Decimal("0.00004"), "energy")


def test_two_at_once_share() -> None:
    clock = Clock(0.0)
    pricing = Pricing(lambda: TARIFF, Board([100.0] * 20), clock=clock)
    with pricing.at_work():
        clock.now = 4.0
        with pricing.at_work():
            clock.now = 8.0
        other = answered(4.0)
        pricing.price(other)
        clock.now = 10.0
    record = answered(0.0)
    pricing.price(record)
    assert other.energy_j == pytest.approx(200.0)
    assert record.energy_j == pytest.approx(400.0 + 200.0 + 200.0)


def test_a_slow_reader_does_not_make_an_answer_dearer() -> None:
    clock = Clock(0.0)
    pricing = Pricing(lambda: TARIFF, Board([100.0] * 20), clock=clock)
    with pricing.at_work(), pricing.at_work():
        clock.now = 12.0
    record = answered(0.0)
    record.decode_s = 3.5
    pricing.price(record)
    assert record.energy_j == pytest.approx(200.0)


@pytest.mark.parametrize(
    "board", [None, Board(), Board([None] * 20)], ids=["not sampled", "no samples", "no power"]
)
def test_without_a_reading_it_costs_nothing_and_says_so(board: Board | None) -> None:
    clock = Clock(5.0)
    pricing = Pricing(lambda: TARIFF, board, clock=clock)
    with pricing.at_work():
        clock.now = 6.0
    record = answered(5.0)
    pricing.price(record)
    assert record.energy_j is None
    assert (record.cost_usd, record.price_source) == (Decimal(0), "local: no power reading")


def test_a_clock_that_was_set_back_makes_no_free_answer() -> None:
    """It had taken 0 J, by "energy"."""
    clock = Clock(12.0)
    pricing = Pricing(lambda: TARIFF, Board([100.0] * 20), clock=clock)
    with pricing.at_work():
        clock.now = 8.0
    record = answered(12.0)
    pricing.price(record)
    assert (record.energy_j, record.price_source) == (None, "local: no power reading")


def test_who_never_got_a_token_has_no_energy() -> None:
    pricing = Pricing(lambda: TARIFF, Board([100.0] * 20), clock=Clock(6.0))
    record = answered(5.0)
    record.ttft_s, record.status = None, 499
    pricing.price(record)
    assert record.energy_j is None


def test_requests_that_asked_nobody_have_no_price() -> None:
    pricing = Pricing(lambda: TARIFF, Board([100.0] * 20), clock=Clock(6.0))
    record = RequestRecord("r", 5.0, "", "chat-completions", upstream="local", status=404)
    pricing.price(record)
    assert (record.energy_j, record.cost_usd, record.price_source) == (None, None, "")


def test_failed_attempts_have_prices_of_their_own() -> None:
    pricing = Pricing(lambda: TARIFF, None)
    record = answered(5.0)
    record.attempt_begins("far", "big")
    record.attempt_failed(HotseatError("broken"), reported_cost_usd=Decimal("0.25"))
    (failed,) = record.attempts
    priced = pricing.price_attempt(failed)
    assert isinstance(priced, FailedAttempt)
    assert (priced.cost_usd, priced.price_source) == (Decimal("0.25"), "provider")


class PoweredDevice:
    note: str | None = None

    def sample(self, at_s: float) -> DeviceSample:
        return DeviceSample(at_s, power_w=100.0)

    def processes(self) -> None:
        return None


def test_a_whole_server_measures_what_its_answers_take(tmp_path: Path) -> None:
    """Three answers of about 0.1 s each."""

    async def main() -> None:
        script = '[[turn]]\ntext = "a b c d e f g h i j"\n[defaults]\ntokens_per_second = 100.0\n'
        sampler = DeviceSampler(PoweredDevice())
        sampler.take()
        async with serving(tmp_path, Setup({"echo": script}), sampler) as rig:
            for _ in range(3):
                assert (await rig.chat({}))[0] == 200
            sampler.take()
            rows = (await rig.get("/api/requests"))["requests"]
        assert all(5.0 < row["energy_j"] < 100.0 * row["total_s"] * 1.5 for row in rows)
        assert {row["price_source"] for row in rows} == {"local: no tariff"}

    run(main())
