"""Rates as people write them, and the bucket that holds somebody to one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rates import Rate, TokenBucket, parse_rate


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/min", Rate(60, 60.0)),
        ("1/s", Rate(1, 1.0)),
        (" 5 / h ", Rate(5, 3600.0)),
        ("1000000/d", Rate(1_000_000, 86400.0)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "60", "0/s", "-1/s", "60/week", "1.5/s", "1000001/s", 60, None])
def test_wrong_rates(text: object) -> None:
    with pytest.raises(ValueError, match="60/min"):
        parse_rate(text)


def test_a_full_bucket_lets_a_burst_through_and_then_one_at_a_time() -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(60, 60.0), clock)
    assert [bucket.take() for _ in range(60)] == [0.0] * 60
    assert bucket.take() == pytest.approx(1.0)
    clock.now_s = 0.25
    assert bucket.take() == pytest.approx(0.75)
    clock.now_s = 1.0
    assert bucket.take() == 0.0
    assert bucket.take() > 0


def test_what_is_not_used_is_not_saved_up() -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(2, 1.0), clock)
    clock.now_s = 3600.0
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, pytest.approx(0.5)]


@given(
    st.integers(1, 50),
    st.sampled_from([1.0, 60.0]),
    st.lists(st.floats(0, 5), max_size=200),
)
def test_never_more_than_the_rate_and_who_waits_gets_in(
    count: int, per_s: float, pauses_s: list[float]
) -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(count, per_s), clock)
    for let_in, pause_s in enumerate(pauses_s, start=1):
        clock.now_s += pause_s
        wait_s = bucket.take()
        if wait_s:
            clock.now_s += wait_s
            assert bucket.take() == 0.0
        assert let_in <= count + clock.now_s * count / per_s + 1e-6
