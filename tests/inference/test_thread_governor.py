"""The thread governor against simulated machines: seconds of a step by thread count, and virtual time."""

from __future__ import annotations

from collections.abc import Callable

from inference.thread_governor import LONGEST_HOLD_S, ThreadGovernor

IDLE = {2: 0.010, 1: 0.018}
BUSY = {2: 0.300, 1: 0.030}


def run(
    governor: ThreadGovernor, machine: Callable[[int], float], *, for_s: float, start_s: float = 0.0
) -> float:
    """Steps of one row until `for_s` has passed; returns the share of time spent with one thread."""
    now_s, single_s = start_s, 0.0
    while now_s < start_s + for_s:
        threads = governor.threads
        seconds = machine(threads)
        now_s += seconds
        single_s += seconds if threads == 1 else 0.0
        governor.observe(1, seconds, now_s)
    return single_s / for_s


def test_an_idle_machine_is_never_probed() -> None:
    governor = ThreadGovernor(2)
    assert run(governor, IDLE.__getitem__, for_s=60) == 0.0


def test_noise_below_the_factor_changes_nothing() -> None:
    governor = ThreadGovernor(2)
    steps = iter(range(10**9))
    assert run(governor, lambda n: IDLE[n] * (1 + next(steps) % 2), for_s=10) == 0.0


def test_one_slow_step_is_not_yet_contention() -> None:
    governor = ThreadGovernor(2)
    for seconds in (0.01, 0.3, 0.01, 0.3, 0.01):
        governor.observe(1, seconds, 0.0)
    assert governor.threads == 2


def test_a_few_mildly_slow_steps_are_borne() -> None:
    governor = ThreadGovernor(2)
    for seconds in (0.01, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05):
        governor.observe(1, seconds, 0.0)
    assert governor.threads == 2


def test_contention_costs_threads_and_most_time_is_spent_well() -> None:
    governor = ThreadGovernor(2)
    run(governor, IDLE.__getitem__, for_s=1)
    assert run(governor, BUSY.__getitem__, for_s=60, start_s=1) > 0.8


def test_threads_come_back_once_the_machine_is_idle_again() -> None:
    governor = ThreadGovernor(2)
    run(governor, IDLE.__getitem__, for_s=1)
    run(governor, BUSY.__getitem__, for_s=60, start_s=1)
    run(governor, IDLE.__getitem__, for_s=LONGEST_HOLD_S + 1, start_s=61)
    assert governor.threads == 2
    assert run(governor, IDLE.__getitem__, for_s=10, start_s=80) == 0.0


def test_a_start_under_contention_begins_with_what_was_faster() -> None:
    governor = ThreadGovernor(2)
    governor.start_from(BUSY)
    assert governor.threads == 1
    idle = ThreadGovernor(2)
    idle.start_from(IDLE)
    assert idle.threads == 2


def test_larger_batches_are_judged_by_their_own_best() -> None:
    governor = ThreadGovernor(2)
    for _ in range(10):
        governor.observe(1, 0.01, 0.0)
    for _ in range(10):
        governor.observe(8, 0.04, 0.0)
    assert governor.threads == 2


def test_one_thread_has_nothing_to_give_up() -> None:
    governor = ThreadGovernor(1)
    for seconds in (0.01, 1.0, 1.0, 1.0, 1.0):
        assert governor.observe(1, seconds, 0.0) == 1


def test_sixteen_threads_are_halved_step_by_step() -> None:
    governor = ThreadGovernor(16)
    assert governor.levels == (16, 8, 4, 2, 1)
    for seconds in (0.01, 1.0):
        governor.observe(1, seconds, 0.0)
    assert governor.threads == 8
