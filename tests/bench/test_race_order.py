"""Who may start when, and in which order: values in, values out."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bench.race_order import Models, Room, fit, in_order, may_start, next_to_start, said_of

BIG, OTHER, TINY = "big", "other", "tiny"
ROOM = Room(
    parallel=4,
    slots={BIG: 1, OTHER: 2, TINY: 4},
    bytes={BIG: 8, OTHER: 8, TINY: 1},
    free_bytes=10,
)
ON_BIG, ON_OTHER, ON_TINY, BOTH = Models([BIG]), Models([OTHER]), Models([TINY]), Models([BIG, TINY])
REMOTE = Models()


def test_no_more_than_asked_for_start() -> None:
    assert may_start(REMOTE, [REMOTE] * 3, ROOM)
    assert not may_start(REMOTE, [REMOTE] * 4, ROOM)


def test_a_candidate_waits_for_a_slot_of_its_model() -> None:
    assert not may_start(ON_BIG, [ON_BIG], ROOM)
    assert may_start(ON_OTHER, [ON_OTHER], ROOM)
    assert not may_start(ON_OTHER, [ON_OTHER, ON_OTHER], ROOM)
    assert not may_start(ON_TINY, [BOTH, ON_TINY, ON_TINY, ON_TINY], replace(ROOM, parallel=9))


def test_models_that_do_not_fit_together_wait_for_each_other() -> None:
    assert not may_start(ON_OTHER, [ON_BIG], ROOM)
    assert may_start(ON_TINY, [ON_BIG], ROOM)
    assert may_start(ON_TINY, [BOTH], ROOM)
    assert may_start(REMOTE, [ON_BIG], ROOM)
    assert may_start(ON_BIG, [REMOTE], ROOM)


def test_a_candidate_too_large_by_itself_starts_alone() -> None:
    huge = Models([BIG, OTHER])
    assert not fit(huge, ROOM)
    assert may_start(huge, [], ROOM)
    assert may_start(huge, [REMOTE], ROOM)
    assert not may_start(ON_TINY, [huge], ROOM)
    assert may_start(ON_OTHER, [huge], ROOM)


def test_without_a_budget_different_models_are_taken_not_to_fit() -> None:
    room = replace(ROOM, free_bytes=None)
    assert not may_start(ON_TINY, [ON_OTHER], room)
    assert may_start(ON_OTHER, [ON_OTHER], room)


def test_who_shares_a_model_runs_together_and_what_is_loaded_first() -> None:
    candidates = [ON_BIG, ON_OTHER, REMOTE, ON_BIG, BOTH, ON_OTHER]
    assert in_order(candidates, ROOM) == [2, 0, 3, 4, 1, 5]
    assert in_order(candidates, replace(ROOM, loaded=frozenset([OTHER]))) == [2, 1, 5, 0, 3, 4]


def test_the_first_that_may_start_does() -> None:
    assert next_to_start([ON_OTHER, REMOTE], [ON_BIG], ROOM) == 1
    assert next_to_start([ON_OTHER], [ON_BIG], ROOM) is None
    assert next_to_start([], [], ROOM) is None


def test_why_not_all_run_at_once_is_said() -> None:
    candidates = [ON_BIG, ON_BIG, ON_OTHER]
    assert said_of(["a", "b", "c"], candidates, replace(ROOM, parallel=3)) == [
        "big has 1 slot for 2 candidates",
        "local models that do not fit together take turns, each loaded once: big; other",
    ]
    assert said_of(["a", "b"], [REMOTE, REMOTE], replace(ROOM, parallel=1)) == [
        "1 of 2 candidates at once (--parallel)"
    ]
    assert said_of(["a", "b"], [ON_BIG, ON_TINY], ROOM) == []
    assert "may not fit" in said_of(["a", "b"], [ON_BIG, ON_TINY], replace(ROOM, free_bytes=None))[0]


MODELS = st.frozensets(st.sampled_from([BIG, OTHER, TINY]))


@given(st.lists(MODELS, min_size=1, max_size=8), st.integers(1, 4), st.none() | st.integers(0, 20))
def test_everybody_starts_once_and_the_bounds_hold(
    candidates: list[Models], parallel: int, free: int | None
) -> None:
    room = replace(ROOM, parallel=parallel, free_bytes=free)
    order = in_order(candidates, room)
    assert sorted(order) == list(range(len(candidates)))
    waiting, running, started = [candidates[place] for place in order], list[Models](), 0
    while waiting or running:
        place = next_to_start(waiting, running, room)
        if place is None:
            assert running, "nobody runs and nobody may start"
            running.pop(0)
            continue
        running.append(waiting.pop(place))
        started += 1
        assert len(running) <= parallel
        for model in (BIG, OTHER, TINY):
            assert sum(model in one for one in running) <= room.slots[model]
        together = frozenset[str]().union(*running)
        assert fit(together, room) or any(together == one for one in running)
    assert started == len(candidates)


@given(st.lists(MODELS, min_size=1, max_size=8))
def test_each_group_is_loaded_once(candidates: list[Models]) -> None:
    """Equal candidates are next to each other: nothing is loaded, left and loaded again for them."""
    groups = [candidates[place] for place in in_order(candidates, ROOM)]
    seen = [group for number, group in enumerate(groups) if number == 0 or groups[number - 1] != group]
    assert len(seen) == len(set(seen))
