"""What counts as progress of an answer."""

from __future__ import annotations

from proxy.pace import PROGRESS_BYTES, Pace


def test_the_first_event_may_take_long_and_the_next_may_not() -> None:
    pace = Pace(began_s=100.0, first_s=600.0, idle_s=10.0)
    assert pace.wait_s(150.0) == 550.0
    pace.on_event(200.0)
    assert pace.wait_s(205.0) == 5.0
    assert pace.wait_s(211.0) == 0.0


def test_single_bytes_are_no_progress() -> None:
    pace = Pace(began_s=0.0, first_s=60.0, idle_s=10.0)
    pace.on_bytes(1, 1.0)
    assert pace.wait_s(1.0) == 10.0
    for now_s in range(2, 11):
        pace.on_bytes(1, float(now_s))
    assert pace.wait_s(11.0) == 0.0


def test_enough_bytes_are() -> None:
    pace = Pace(began_s=0.0, first_s=60.0, idle_s=10.0)
    for step in range(20):
        pace.on_bytes(PROGRESS_BYTES // 2, float(step * 5))
    assert pace.wait_s(96.0) > 0
