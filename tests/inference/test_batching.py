"""Placement of prompts on slots, and the division of a step among prompts. Values in, values out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batching import (
    TILE,
    Chunk,
    Pending,
    Placement,
    SlotView,
    TokenArray,
    better_soon,
    common_prefix,
    n_groups,
    place,
    plan_checkpoints,
    plan_prefill,
    prefill_budget,
    reusable,
)


def tokens(*ids: int) -> TokenArray:
    return np.array(ids, dtype=np.int32)


def run_of(n: int, start: int = 0) -> TokenArray:
    return np.arange(start, start + n, dtype=np.int32)


def slot(index: int, cached: TokenArray, *, busy: bool = False, used_at: int = 0) -> SlotView:
    return SlotView(index, cached, busy, used_at)


def recurrent(
    index: int, cached: TokenArray, *checkpoints: int, busy: bool = False, used_at: int = 0
) -> SlotView:
    """A slot whose layers cannot go back, but to its checkpoints."""
    return SlotView(index, cached, busy, used_at, trim_floor=len(cached), checkpoints=checkpoints)


EMPTY = tokens()


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_common_prefix_equals_the_naive_count(a: list[int], b: list[int]) -> None:
    naive = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        naive += 1
    assert common_prefix(tokens(*a), tokens(*b)) == naive


def test_one_prompt_token_is_always_computed() -> None:
    assert reusable(run_of(10), slot(0, run_of(10))) == 9


def test_a_cache_that_cannot_be_cut_is_used_whole_or_from_a_checkpoint() -> None:
    assert reusable(run_of(10), recurrent(0, run_of(6))) == 6
    forked = tokens(0, 1, 2, 3, 9, 9)
    assert reusable(run_of(10), recurrent(0, forked)) == 0
    assert reusable(run_of(10), recurrent(0, forked, 2, 3, 5)) == 3
    assert reusable(run_of(6), recurrent(0, run_of(6))) == 0  # its last token would have to be taken back
    assert reusable(run_of(6), recurrent(0, run_of(6), 5)) == 5


def test_a_sliding_window_is_cut_only_as_far_as_it_reaches() -> None:
    windowed = SlotView(0, run_of(1000), False, 0, trim_floor=600, checkpoints=(400,))
    assert reusable(np.concatenate([run_of(700), tokens(9)]), windowed) == 700
    assert reusable(np.concatenate([run_of(500), tokens(9)]), windowed) == 400


def test_no_idle_slot_places_nothing() -> None:
    assert place(run_of(5), [slot(0, EMPTY, busy=True)]) is None


def test_a_session_continues_in_its_own_slot() -> None:
    slots = [slot(0, run_of(100), used_at=1), slot(1, run_of(100, 500), used_at=9)]
    assert place(run_of(120), slots) == Placement(0, 100)


def test_a_regenerated_answer_continues_in_its_own_slot() -> None:
    """The client asks again with the prompt alone: the answer's tokens are cut off."""
    slots = [slot(0, run_of(100), used_at=5), slot(1, EMPTY)]
    assert place(run_of(90), slots) == Placement(0, 89)


def test_a_new_session_takes_an_empty_slot_rather_than_another_sessions() -> None:
    slots = [slot(0, run_of(100, 1000), used_at=1), slot(1, EMPTY, used_at=5)]
    assert place(run_of(50), slots) == Placement(1, 0)


def test_a_new_session_takes_the_least_recently_used_slot() -> None:
    slots = [slot(0, run_of(100, 1000), used_at=7), slot(1, run_of(100, 2000), used_at=3)]
    assert place(run_of(50), slots) == Placement(1, 0)


def test_a_new_session_runs_beside_those_that_run() -> None:
    """In a slot of few tokens, or an old one: neighbours are computed in one pass."""

    def taken(*idle: SlotView) -> int:
        busy = [slot(index, run_of(9, 1000), busy=True) for index in (3, 4)]
        placement = place(run_of(5, 500), [*busy, *idle])
        assert placement is not None
        return placement.index

    assert taken(slot(0, EMPTY), slot(2, EMPTY), slot(6, EMPTY)) == 2
    assert taken(slot(0, EMPTY), slot(2, run_of(9), used_at=1)) == 0, "an empty one costs nobody anything"
    few = [slot(index, run_of(9), used_at=used_at) for index, used_at in ((0, 1), (2, 3), (5, 2), (6, 0))]
    assert taken(*few) == 5, "of two neighbours the older"
    many = [slot(v.index, run_of(2000), used_at=v.used_at) for v in few]
    assert taken(*many) == 6, "a recent session is left alone"
    assert taken(*many[:3]) == 5
    assert taken(many[0], slot(2, run_of(2000), used_at=9)) == 0


def test_sessions_with_one_system_prompt_run_beside_each_other() -> None:
    """Whether their next words happen to begin alike makes no difference; a session's own slot does."""

    def session(index: int, n_alike: int, used_at: int) -> SlotView:
        return slot(index, np.concatenate([run_of(1000 + n_alike), run_of(100, 9000)]), used_at=used_at)

    busy = [slot(index, run_of(1000), busy=True) for index in (3, 4)]
    idle = [session(0, 3, 9), session(2, 0, 1), session(5, 1, 2), session(7, 2, 8)]
    prompt = np.concatenate([run_of(1010), run_of(50, 5000)])
    placement = place(prompt, [*busy, *idle])
    assert placement == Placement(5, 1001), "of two neighbours the one that holds more"
    own = slot(1, run_of(1010), used_at=0)
    assert place(prompt, [*busy, *idle, own]) == Placement(1, 1010)


def test_a_few_tokens_more_are_not_copied() -> None:
    fresh = slot(0, np.concatenate([run_of(20), run_of(5000, 9000)]), used_at=1)
    busy = slot(1, run_of(40), busy=True)
    assert place(run_of(2000), [fresh, busy]) == Placement(0, 20)


def test_slots_between_two_that_run_close_the_gap() -> None:
    idle = [slot(index, EMPTY) for index in (0, 2, 5, 6)]
    busy = [slot(index, run_of(9, 1000), busy=True) for index in (1, 3, 4)]
    assert place(run_of(5), [*busy, *idle]) == Placement(2, 0)


@pytest.mark.parametrize(("slots", "n"), [((), 0), ((4,), 1), ((0, 1, 2), 1), ((7, 0, 1), 2), ((0, 2, 4), 3)])
def test_groups_of_neighbours(slots: tuple[int, ...], n: int) -> None:
    assert n_groups(slots) == n


def test_a_shared_system_prompt_is_copied_and_the_other_session_left_whole() -> None:
    other = np.concatenate([run_of(200), run_of(800, 5000)])
    slots = [slot(0, other, used_at=9), slot(1, EMPTY)]
    assert place(run_of(250), slots) == Placement(1, 200, copy_from=0)


def test_a_prefix_is_copied_from_a_busy_slot() -> None:
    slots = [slot(0, run_of(200), busy=True, used_at=9), slot(1, EMPTY)]
    assert place(run_of(250), slots) == Placement(1, 200, copy_from=0)


def test_a_short_common_prefix_is_not_worth_a_copy() -> None:
    other = np.concatenate([run_of(8), run_of(800, 5000)])
    assert place(run_of(250), [slot(0, other, used_at=9), slot(1, EMPTY)]) == Placement(1, 0)


def test_without_copying_the_longest_prefix_still_wins_when_alone() -> None:
    other = np.concatenate([run_of(200), run_of(800, 5000)])
    assert place(run_of(250), [slot(0, other)]) == Placement(0, 200)


def test_a_recurrent_model_copies_whole_sequences_only() -> None:
    shared = np.concatenate([run_of(200), run_of(800, 5000)])
    assert place(run_of(250), [recurrent(0, shared, used_at=9), slot(1, EMPTY)]) == Placement(1, 0)
    busy = [recurrent(0, run_of(200), busy=True), slot(1, EMPTY)]
    assert place(run_of(250), busy) == Placement(1, 200, copy_from=0)


def test_a_snapshot_is_restored_where_nothing_in_a_slot_serves() -> None:
    kept = SlotView(-3, run_of(400), True, 0)
    assert place(run_of(450), [slot(0, run_of(90, 7000)), kept]) == Placement(0, 400, copy_from=-3)


def test_a_session_in_its_slot_is_not_restored_again() -> None:
    kept = SlotView(-3, run_of(400), True, 0)
    assert place(run_of(450), [slot(0, run_of(410)), kept]) == Placement(0, 410)


def test_a_much_longer_snapshot_wins_over_a_short_continuation() -> None:
    kept = SlotView(-3, run_of(400), True, 0)
    slots = [slot(0, run_of(100), used_at=5), slot(1, run_of(50, 900), used_at=1), kept]
    assert place(run_of(450), slots) == Placement(1, 400, copy_from=-3)


def test_a_prompt_waits_for_a_longer_shared_prefix_being_prefilled() -> None:
    other = np.concatenate([run_of(200), run_of(800, 5000)])
    prefilling = SlotView(0, other[:50], True, 1, coming=other)
    slots = [prefilling, slot(1, EMPTY)]
    prompt = np.concatenate([run_of(200), run_of(50, 9000)])
    placement = place(prompt, slots)
    assert placement == Placement(1, 50, copy_from=0)
    assert better_soon(prompt, placement, slots)
    stuck = [SlotView(0, other[:50], True, 1, trim_floor=50, coming=other), slot(1, EMPTY)]
    assert not better_soon(prompt, placement, stuck)


def test_a_prompt_does_not_wait_once_the_shared_prefix_is_there() -> None:
    other = np.concatenate([run_of(200), run_of(800, 5000)])
    slots = [SlotView(0, other[:210], True, 1, coming=other), slot(1, EMPTY)]
    prompt = np.concatenate([run_of(200), run_of(50, 9000)])
    placement = place(prompt, slots)
    assert placement == Placement(1, 200, copy_from=0)
    assert not better_soon(prompt, placement, slots)


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=60), st.booleans()), min_size=1, max_size=5),
    st.lists(st.integers(0, 2), min_size=1, max_size=80),
    st.booleans(),
)
def test_placement_is_always_possible_to_carry_out(
    contents: list[tuple[list[int], bool]], prompt: list[int], can_trim: bool
) -> None:
    kind = slot if can_trim else recurrent
    slots = [kind(i, tokens(*cached), busy=busy, used_at=i) for i, (cached, busy) in enumerate(contents)]
    placement = place(tokens(*prompt), slots)
    if all(s.busy for s in slots):
        assert placement is None
        return
    assert placement is not None
    assert not slots[placement.index].busy
    source = slots[placement.index if placement.copy_from is None else placement.copy_from]
    assert placement.reuse < len(prompt)
    assert list(source.cached[: placement.reuse]) == prompt[: placement.reuse]
    if placement.reuse and not can_trim:
        assert placement.reuse == len(source.cached)


def test_nobody_decoding_gives_the_whole_batch_to_prompts() -> None:
    assert prefill_budget(0, 1, 512, 100.0) == 512


@pytest.mark.parametrize(("tokens_per_s", "budget"), [(10.0, TILE), (1000.0, 4 * TILE), (1e6, 509)])
def test_running_streams_bound_the_chunk_by_the_measured_rate(tokens_per_s: float, budget: int) -> None:
    assert prefill_budget(3, 1, 512, tokens_per_s) == budget


def test_a_crowd_of_waiting_prompts_may_hold_up_few_streams_longer() -> None:
    assert prefill_budget(2, 2, 512, 500.0) == 2 * TILE
    assert prefill_budget(2, 6, 512, 500.0) == 6 * TILE
    assert prefill_budget(1, 100, 512, 500.0) == 511


def test_a_batch_full_of_streams_leaves_no_room() -> None:
    assert prefill_budget(512, 1, 512, 1e6) == 0


def test_the_oldest_prompt_gets_half_and_a_short_one_overtakes_the_rest() -> None:
    pending = [Pending(0, 5000, order=1), Pending(1, 3000, order=2), Pending(2, 20, order=3)]
    plan = plan_prefill(pending, 4 * TILE, 512)
    assert plan == [Chunk(0, 2 * TILE + 2 * TILE - 20 - TILE), Chunk(2, 20), Chunk(1, TILE)]


def test_a_prompt_that_is_nearly_done_is_finished_undivided() -> None:
    pending = [Pending(0, 80, order=1), Pending(1, 270, order=2), Pending(2, 60, order=3)]
    assert plan_prefill(pending, TILE, 512) == [Chunk(0, 80)]
    assert plan_prefill(pending, 2 * TILE, 512) == [Chunk(0, 80), Chunk(2, 60)]


def test_a_prompt_is_cut_at_a_whole_tile() -> None:
    pending = [Pending(0, 100, order=1), Pending(1, 270, order=2)]
    assert plan_prefill(pending, 3 * TILE, 512) == [Chunk(0, 100), Chunk(1, TILE)]


def test_a_prompt_is_not_finished_beyond_the_room_of_the_batch() -> None:
    assert plan_prefill([Pending(0, 80, order=1)], TILE, TILE) == [Chunk(0, TILE)]


def test_what_short_prompts_leave_goes_to_the_oldest() -> None:
    assert plan_prefill([Pending(0, 5000, order=1), Pending(1, 10, order=2)], 2 * TILE, 512) == [
        Chunk(0, 2 * TILE - 10),
        Chunk(1, 10),
    ]


@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=8),
    st.integers(0, 512),
    st.integers(0, 64),
)
def test_a_plan_spends_the_budget_but_for_a_tile(remaining: list[int], budget: int, more: int) -> None:
    """No less than a tile below it, no more than half a tile above it, and never beyond the room."""
    pending = [Pending(i, n, order=i) for i, n in enumerate(remaining)]
    chunks = plan_prefill(pending, budget, budget + more)
    spent = sum(chunk.n_tokens for chunk in chunks)
    assert min(budget - TILE, sum(remaining)) <= spent <= budget + min(more, TILE // 2)
    assert all(0 < chunk.n_tokens <= remaining[chunk.index] for chunk in chunks)
    assert len({chunk.index for chunk in chunks}) == len(chunks)


def test_a_plan_makes_progress_however_small_the_budget() -> None:
    assert plan_prefill([Pending(0, 500, order=1)], 3, 3) == [Chunk(0, 3)]


def test_checkpoints_stand_after_the_system_prompt_and_at_the_last_messages() -> None:
    assert plan_checkpoints([0, 100, 300, 500, 700, 990], 0, 1000) == [100, 700, 990]


def test_checkpoints_already_behind_are_not_planned_again() -> None:
    assert plan_checkpoints([0, 100, 300, 500, 700, 990], 700, 1000) == [990]


def test_a_prompt_without_boundaries_keeps_its_end() -> None:
    assert plan_checkpoints([], 0, 1000) == [999]
    assert plan_checkpoints([0, 100], 0, 1000) == [100, 999]


def test_a_short_prompt_is_not_worth_a_checkpoint() -> None:
    assert plan_checkpoints([0, 10, 20], 0, 40) == []


@given(st.sets(st.integers(0, 400)), st.integers(0, 400), st.integers(1, 400))
def test_checkpoints_lie_inside_what_is_computed(bounds: set[int], reused: int, n_prompt: int) -> None:
    reused = min(reused, n_prompt - 1)
    planned = plan_checkpoints(sorted(bounds), reused, n_prompt)
    assert planned == sorted(set(planned))
    assert all(reused < position < n_prompt for position in planned)
    assert len(planned) <= 3


def test_a_placement_knows_what_lay_nearest() -> None:
    """Also where nothing of it can be reused, and the latest of equals."""
    forked = np.concatenate([run_of(60), run_of(100, 5000)])
    near = SlotView(-1, forked, True, 0, trim_floor=160, tier="memory")
    placement = place(run_of(100), [slot(0, run_of(20, 3000), used_at=9), near])
    assert placement is not None
    assert (placement.reuse, placement.nearest, placement.prefix) == (0, -1, 60)
    equal = [slot(i, forked, busy=True, used_at=used_at) for i, used_at in ((1, 3), (2, 8), (3, 5))]
    placement = place(run_of(50), [slot(0, EMPTY), *equal])
    assert placement is not None
    assert placement.nearest == placement.source
    placement = place(run_of(5), [slot(0, EMPTY)])
    assert placement is not None
    assert placement.nearest is None
