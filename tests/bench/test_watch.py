"""When a run must be ended, by what the wire says of it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.watch import LOOP_ROUNDS, MAX_PERIOD, Answered, Caps, Watch, Wire, period_of


def verdict(wire: Wire, caps: Caps, now_s: float = 1.0) -> str | None:
    watch = Watch(caps)
    watch.saw(wire, now_s)
    return watch.verdict(now_s)


@pytest.mark.parametrize(
    ("caps", "wire", "why"),
    [
        (Caps(10, tokens=100), Wire(requests=1, tokens=100), None),
        (Caps(10, tokens=100), Wire(requests=1, tokens=101), "tokens"),
        (Caps(10, requests=3), Wire(requests=3), None),
        (Caps(10, requests=3), Wire(requests=4), "requests"),
        (Caps(10, usd=Decimal("0.5")), Wire(requests=1, usd=Decimal("0.51")), "usd"),
        (Caps(10), Wire(requests=10**6, tokens=10**9, usd=Decimal(10**6)), None),
        (Caps(0.5), Wire(), "wall"),
    ],
)
def test_caps(caps: Caps, wire: Wire, why: str | None) -> None:
    assert verdict(wire, caps) == why


def test_silence_is_a_stall_unless_a_request_is_under_way() -> None:
    watch = Watch(Caps(1000, idle_s=60))
    assert watch.verdict(59) is None
    assert watch.verdict(60) == "stall"  # it never asked anything
    watch.saw(Wire(requests=1), 70)
    assert watch.verdict(129) is None
    watch.saw(Wire(requests=1), 129)
    assert watch.verdict(130) == "stall"
    watch.saw(Wire(requests=1, in_flight=1), 200)  # a long answer, or a load
    watch.saw(Wire(requests=1, in_flight=1), 400)
    assert watch.verdict(459) is None


def wire_of(*answers: tuple[str, str]) -> Wire:
    return Wire(requests=len(answers), answers=tuple(Answered(*answer) for answer in answers))


def test_the_same_answers_round_and_round_are_a_loop() -> None:
    circle = [("main", "read"), ("main", "fail")] * LOOP_ROUNDS
    assert verdict(wire_of(*circle), Caps(10)) == "loop"
    assert verdict(wire_of(*circle[1:]), Caps(10)) is None
    assert verdict(wire_of(*circle, ("main", "done")), Caps(10)) is None


def test_agents_side_by_side_are_no_circle_of_each_other() -> None:
    both = [(node, str(number)) for number in range(LOOP_ROUNDS * 2) for node in ("main", "sub")]
    assert verdict(wire_of(*both), Caps(10)) is None
    one_circles = [pair for number in range(LOOP_ROUNDS) for pair in (("main", str(number)), ("sub", "same"))]
    assert verdict(wire_of(*one_circles), Caps(10)) == "loop"


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=MAX_PERIOD),
    st.lists(st.sampled_from("xyz"), max_size=9),
)
def test_every_short_circle_is_found_whatever_came_before(circle: list[str], before: list[str]) -> None:
    period = period_of([*before, *circle * LOOP_ROUNDS])
    assert period is not None
    assert len(circle) % period == 0


@given(st.integers(1, 200))
def test_answers_that_all_differ_are_none(length: int) -> None:
    assert period_of([str(number) for number in range(length)]) is None
