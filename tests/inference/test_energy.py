"""Energy of answers that share a board: by values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.energy import MAX_GAP_S, Change, Occupancy, shared_energy_j


@dataclass(frozen=True)
class Sample:
    at_s: float
    power_w: float | None = None
    energy_j: float | None = None


def steady(power_w: float, n: int = 100) -> list[Sample]:
    return [Sample(float(at_s), power_w) for at_s in range(n)]


def occupied(*spans: tuple[float, float]) -> Occupancy:
    occupancy = Occupancy()
    for at_s, step in sorted([(b, +1) for b, _ in spans] + [(e, -1) for _, e in spans]):
        (occupancy.begin if step > 0 else occupancy.end)(at_s)
    return occupancy


def share(samples: list[Sample], occupancy: Occupancy, begin_s: float, end_s: float) -> float | None:
    changes = occupancy.since(begin_s)
    assert changes is not None
    return shared_energy_j(samples, changes, begin_s, end_s)


def test_alone_it_takes_all_the_power() -> None:
    assert share(steady(200.0), occupied((10.5, 14.0)), 10.5, 14.0) == pytest.approx(700.0)


def test_two_at_once_take_half_each_while_they_are_two() -> None:
    occupancy = occupied((10.0, 20.0), (15.0, 30.0))
    assert share(steady(100.0), occupancy, 10.0, 20.0) == pytest.approx(500 + 250)
    assert share(steady(100.0), occupancy, 15.0, 30.0) == pytest.approx(250 + 1000)


def test_power_between_two_samples_is_a_straight_line() -> None:
    samples = [Sample(0.0, 100.0), Sample(2.0, 300.0)]
    assert share(samples, occupied((0.0, 2.0)), 0.0, 2.0) == pytest.approx(400.0)
    assert share(samples, occupied((1.0, 2.0)), 1.0, 2.0) == pytest.approx(250.0)


def test_the_boards_own_count_is_better_than_its_power() -> None:
    samples = [Sample(0.0, 100.0, 5000.0), Sample(2.0, 300.0, 5900.0)]
    assert share(samples, occupied((0.5, 1.5)), 0.5, 1.5) == pytest.approx(450.0)


def test_a_count_that_was_set_back_is_not_used() -> None:
    samples = [Sample(0.0, 100.0, 5000.0), Sample(2.0, 100.0, 10.0)]
    assert share(samples, occupied((0.5, 1.5)), 0.5, 1.5) == pytest.approx(100.0)


def test_the_last_sample_holds_for_a_while() -> None:
    samples = steady(50.0, n=5)
    assert share(samples, occupied((3.0, 7.0)), 3.0, 7.0) == pytest.approx(200.0)
    late = 4.0 + MAX_GAP_S + 0.1
    assert share(samples, occupied((3.0, late)), 3.0, late) is None


def test_the_first_sample_holds_backwards_for_a_while() -> None:
    samples = [Sample(10.0, 50.0), Sample(11.0, 50.0)]
    assert share(samples, occupied((8.0, 11.0)), 8.0, 11.0) == pytest.approx(150.0)
    assert share(samples, occupied((1.0, 11.0)), 1.0, 11.0) is None


@pytest.mark.parametrize(
    "samples",
    [[], [Sample(0.0), Sample(1.0), Sample(2.0)], [Sample(0.0, 10.0), Sample(MAX_GAP_S + 1.0, 10.0)]],
    ids=["no samples", "no power in them", "a hole"],
)
def test_power_that_nobody_measured_is_not_known(samples: list[Sample]) -> None:
    assert share(samples, occupied((0.5, 1.5)), 0.5, 1.5) is None


def test_a_time_of_no_length_takes_nothing() -> None:
    assert share(steady(10.0), occupied((3.0, 3.0)), 3.0, 3.0) == 0.0


def test_after_its_end_an_answer_takes_nothing() -> None:
    """The record is closed a moment after the lease."""
    assert share(steady(10.0), occupied((3.0, 5.0)), 3.0, 6.0) == pytest.approx(20.0)


def test_what_was_too_long_ago_is_not_known() -> None:
    occupancy = Occupancy(kept=4)
    for at_s in range(6):
        occupancy.begin(float(at_s))
    assert occupancy.since(1.0) is None
    assert occupancy.since(2.5) == [Change(2.0, 3), Change(3.0, 4), Change(4.0, 5), Change(5.0, 6)]


def test_a_clock_that_is_set_back_makes_energy_unknown() -> None:
    """It was 0 J, measured: a free answer."""
    samples = steady(10.0, n=10)
    occupancy = Occupancy()
    occupancy.begin(5.0)
    assert share(samples, occupancy, 5.0, 4.0) is None
    went_on = [*samples, *(Sample(float(at_s), 10.0) for at_s in range(5, 13))]
    assert share(went_on, occupancy, 5.0, 12.0) is None, "its seconds are not those of the power"
    assert share([*samples, Sample(12.0, 10.0)], occupancy, 5.0, 12.0) == pytest.approx(70.0)


def test_after_a_clock_was_set_back_nothing_is_known_of_before() -> None:
    """One that had begun before stood for all who came until the clock was there again."""
    occupancy = Occupancy()
    occupancy.begin(1000.0)
    occupancy.end(500.0)
    assert occupancy.since(499.0) is None
    assert occupancy.since(500.0) == [Change(500.0, 0)]
    occupancy.begin(501.0)
    occupancy.end(503.0)
    changes = occupancy.since(501.0)
    assert changes is not None
    assert shared_energy_j(steady(10.0, n=600), changes, 501.0, 503.0) == pytest.approx(20.0)


def test_a_clock_that_is_corrected_changes_no_order() -> None:
    occupancy = Occupancy()
    occupancy.begin(5.0)
    occupancy.end(4.95)
    assert occupancy.since(0.0) == [Change(float("-inf"), 0), Change(5.0, 1), Change(5.0, 0)]


SPANS = st.lists(
    st.tuples(st.floats(1, 40), st.floats(0.01, 20)).map(lambda t: (t[0], t[0] + t[1])),
    min_size=1,
    max_size=8,
)


@given(SPANS, st.lists(st.floats(5, 400), min_size=70, max_size=70))
def test_together_they_take_what_the_board_took_while_any_was_at_work(
    spans: list[tuple[float, float]], powers_w: list[float]
) -> None:
    samples = [Sample(float(at_s), power_w) for at_s, power_w in enumerate(powers_w)]
    occupancy = occupied(*spans)
    shares = [share(samples, occupancy, begin_s, end_s) for begin_s, end_s in spans]
    busy = 0.0
    for begin_s, end_s in union(spans):
        alone = share(samples, occupied((begin_s, end_s)), begin_s, end_s)
        assert alone is not None
        busy += alone
    assert all(one is not None and one >= 0 for one in shares)
    assert math.fsum(one or 0.0 for one in shares) == pytest.approx(busy, rel=1e-6)


def union(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin_s, end_s in sorted(spans):
        if merged and begin_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_s))
        else:
            merged.append((begin_s, end_s))
    return merged
