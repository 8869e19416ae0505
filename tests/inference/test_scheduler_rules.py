"""Lanes, priorities, lingering, idle unload, failed loads, the device's memory, a changed configuration."""

from __future__ import annotations

import itertools

import pytest

from inference.errors import ErrorInfo, InsufficientMemory, LoadFailed, WorkerCrashed
from inference.scheduler import SwapScheduler
from inference.scheduler_events import (
    Action,
    Cancelled,
    Done,
    Grant,
    Lane,
    LoadBlocked,
    LoadRequested,
    ModelsChanged,
    Reject,
    Released,
    Requested,
    SchedulerModel,
    SchedulerSettings,
    Start,
    Stop,
    Tick,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
)

BROKEN = LoadFailed("tensor 'output' is missing").info()
CRASH = WorkerCrashed("died of SIGSEGV").info()
NO_MEMORY = InsufficientMemory("cudaMalloc failed: out of memory").info()


def scheduler(*models: SchedulerModel, **settings: float) -> SwapScheduler:
    return SwapScheduler(models, SchedulerSettings(100, **settings))  # type: ignore[arg-type]


def model(name: str, n_bytes: int = 60, **fields: object) -> SchedulerModel:
    return SchedulerModel(name, n_bytes, **({"slots": 2} | fields))  # type: ignore[arg-type]


def resident(s: SwapScheduler, name: str, now_s: float = 0.0) -> None:
    assert Start(name) in s.handle(LoadRequested(-1, name), now_s)
    assert Done(-1) in s.handle(WorkerReady(name), now_s)


def ask(
    s: SwapScheduler, request_id: int, name: str, now_s: float, lane: Lane = "interactive"
) -> list[Action]:
    return s.handle(Requested(request_id, name, lane), now_s)


def rejection(actions: list[Action], request_id: int) -> ErrorInfo:
    return next(a.error for a in actions if isinstance(a, Reject) and a.request_id == request_id)


# --- lanes -------------------------------------------------------------------------------------


def test_batch_waits_behind_interactive_until_it_has_waited_long() -> None:
    s = scheduler(model("a", slots=1), max_wait_s=10.0)
    resident(s, "a")
    ask(s, 1, "a", 0.0)
    ask(s, 2, "a", 0.0, "batch")
    ask(s, 3, "a", 1.0)
    assert s.handle(Released(1), 2.0) == [Grant(3, "a")]
    ask(s, 4, "a", 9.0)
    assert s.next_deadline_s() == 10.0
    assert s.handle(Released(3), 11.0) == [Grant(2, "a")], "now it is its turn"


def test_an_interactive_waiter_drains_a_model_that_only_batch_work_uses() -> None:
    s = scheduler(model("a"), model("b"))
    resident(s, "a")
    ask(s, 1, "a", 0.0, "batch")
    ask(s, 2, "b", 1.0)
    assert ask(s, 3, "a", 1.0, "batch") == [], "a takes nobody new"
    assert s.handle(Released(1), 2.0) == [Stop("a")]


def test_a_batch_waiter_does_not_drain_interactive_traffic_before_its_time() -> None:
    s = scheduler(model("a"), model("b"), max_wait_s=10.0)
    resident(s, "a")
    ask(s, 1, "a", 0.0)
    ask(s, 2, "b", 0.0, "batch")
    assert ask(s, 3, "a", 5.0) == [Grant(3, "a")]
    s.handle(Tick(), 10.0)
    assert ask(s, 4, "a", 10.5) == []


def test_of_two_cold_models_the_one_with_interactive_waiters_is_loaded_first() -> None:
    s = scheduler(model("a"), model("b"), model("c"))
    ask(s, 1, "a", 0.0)
    ask(s, 2, "b", 0.0, "batch")
    ask(s, 3, "c", 1.0)
    s.handle(WorkerReady("a"), 2.0)
    assert s.handle(Released(1), 3.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 3.5) == [Start("c")]


def test_exclusive_runs_alone_and_nobody_runs_beside_it() -> None:
    s = scheduler(model("a", 40), model("b", 40), max_wait_s=10.0)
    resident(s, "a")
    resident(s, "b")
    assert ask(s, 1, "a", 0.0, "exclusive") == [Grant(1, "a")]
    assert ask(s, 2, "a", 1.0) == []
    assert ask(s, 3, "b", 1.0) == []
    assert s.handle(Released(1), 5.0) == [Grant(2, "a"), Grant(3, "b")]


def test_exclusive_waits_for_a_quiet_moment_and_makes_one_when_its_time_has_come() -> None:
    s = scheduler(model("a", 40), model("b", 40), max_wait_s=10.0)
    resident(s, "a")
    resident(s, "b")
    ask(s, 1, "b", 0.0)
    assert ask(s, 2, "a", 1.0, "exclusive") == []
    assert ask(s, 3, "b", 2.0) == [Grant(3, "b")], "others go on meanwhile"
    assert s.next_deadline_s() == 11.0
    s.handle(Tick(), 11.0)
    assert ask(s, 4, "b", 11.5) == [], "nobody passes it any more"
    s.handle(Released(1), 12.0)
    assert s.handle(Released(3), 13.0) == [Grant(2, "a")]
    assert s.handle(Released(2), 14.0) == [Grant(4, "b")]


def test_no_model_is_loaded_while_somebody_has_the_machine_to_himself() -> None:
    s = scheduler(model("a", 40), model("b", 40))
    resident(s, "a")
    ask(s, 1, "a", 0.0, "exclusive")
    assert ask(s, 2, "b", 1.0) == []
    assert s.handle(Released(1), 2.0) == [Start("b")]


def test_a_crash_under_an_exclusive_lease_lets_the_others_go_on() -> None:
    s = scheduler(model("a", 40), model("b", 40))
    resident(s, "a")
    resident(s, "b")
    ask(s, 1, "a", 0.0, "exclusive")
    ask(s, 2, "b", 1.0)
    assert Grant(2, "b") in s.handle(WorkerExited("a", CRASH), 2.0)


# --- priorities --------------------------------------------------------------------------------


def test_a_higher_priority_drains_a_busy_model_at_once_and_is_loaded_first() -> None:
    s = scheduler(model("a"), model("low"), model("vip", priority=5))
    resident(s, "a")
    ask(s, 1, "a", 0.0)
    ask(s, 2, "low", 0.0)
    ask(s, 3, "vip", 1.0)
    assert s.handle(Released(1), 2.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 2.5) == [Start("vip")]


def test_a_lower_priority_waits_but_does_not_starve() -> None:
    s = scheduler(model("vip", priority=5), model("low"), max_wait_s=10.0)
    resident(s, "vip")
    assert ask(s, 1, "low", 0.0) == [], "not even for an idle one"
    assert s.next_deadline_s() == 10.0
    assert s.handle(Tick(), 10.0) == [Stop("vip")]


# --- lingering and residency -------------------------------------------------------------------


def test_a_model_whose_client_comes_straight_back_is_not_given_up_between_two_requests() -> None:
    s = scheduler(model("a"), model("b"), max_wait_s=10.0)
    s.handle(LoadRequested(-1, "a"), 0.0)
    s.handle(WorkerReady("a"), 2.0)
    for number in range(3):  # a closed loop with pauses of 0.1 s
        ask(s, number, "a", number + 2.1)
        s.handle(Released(number), number + 3.0)
    ask(s, 10, "a", 5.1)
    ask(s, 20, "b", 5.5)
    assert s.handle(Released(10), 6.0) == []
    assert s.next_deadline_s() == pytest.approx(6.25)
    assert ask(s, 11, "a", 6.1) == [Grant(11, "a")]
    assert s.handle(Released(11), 7.0) == []
    assert s.handle(Tick(), 7.3) == [Stop("a")], "this time nobody came back"


def test_a_client_that_alternates_between_models_does_not_wait_for_nothing() -> None:
    s = scheduler(model("a", reload_s=0.5), model("b", reload_s=0.5))
    now_s = 0.0
    names = "ab" * 4
    ask(s, 0, "a", now_s)
    s.handle(WorkerReady("a"), now_s + 0.5)
    for number, (old, new) in enumerate(itertools.pairwise(names)):
        now_s += 2.0
        s.handle(Released(number), now_s)
        assert ask(s, number + 1, new, now_s) == [Stop(old)]
        assert s.handle(WorkerExited(old), now_s) == [Start(new)]
        s.handle(WorkerReady(new), now_s + 0.5)


def test_lingering_never_makes_anybody_wait_longer_than_max_wait() -> None:
    s = scheduler(model("a"), model("b"), max_wait_s=3.0)
    s.handle(LoadRequested(-1, "a"), 0.0)
    now_s = 9.0
    s.handle(WorkerReady("a"), now_s)
    asked_s, stopped_s = 0.0, None
    for number in range(100):
        now_s += 0.05
        ask(s, number, "a", now_s)
        if number == 5:
            ask(s, 1000, "b", now_s)
            asked_s = now_s
        now_s += 0.05
        if Stop("a") in s.handle(Released(number), now_s):
            stopped_s = now_s
            break
    assert stopped_s is not None
    assert 3.0 <= stopped_s - asked_s <= 3.2


def test_minimum_residency_holds_unless_somebody_has_waited_long_or_has_priority() -> None:
    s = scheduler(model("a"), model("b"), model("vip", priority=1), min_residency_s=5.0)
    resident(s, "a")
    assert ask(s, 1, "b", 1.0) == []
    assert s.next_deadline_s() == 5.0
    assert s.handle(Tick(), 5.0) == [Stop("a")]
    s.handle(WorkerExited("a"), 5.0)
    s.handle(WorkerReady("b"), 6.0)
    s.handle(Released(1), 6.5)
    assert ask(s, 2, "vip", 7.0) == [Stop("b")]


# --- idle unload -------------------------------------------------------------------------------


def test_idle_unload_is_armed_when_the_model_is_ready() -> None:
    """A load whose client has left is not unloaded at once, and not kept for ever."""
    s = scheduler(model("a", idle_unload_s=30.0))
    ask(s, 1, "a", 0.0)
    s.handle(Cancelled(1), 1.0)
    s.handle(WorkerReady("a"), 2.0)
    assert s.next_deadline_s() == 32.0
    assert s.handle(Tick(), 31.9) == []
    assert s.handle(Tick(), 32.0) == [Stop("a")]


def test_fault_25_idle_unload_counts_from_the_last_release_and_a_request_wins() -> None:
    s = scheduler(model("a", idle_unload_s=30.0))
    resident(s, "a")
    ask(s, 1, "a", 10.0)
    assert s.next_deadline_s() is None, "a leased model is not idle"
    s.handle(Released(1), 20.0)
    assert s.next_deadline_s() == 50.0
    assert ask(s, 2, "a", 50.0) == [Grant(2, "a")]
    s.handle(Released(2), 51.0)
    assert s.handle(Tick(), 81.0) == [Stop("a")]
    assert ask(s, 3, "a", 81.0) == []
    assert s.handle(WorkerExited("a"), 81.5) == [Start("a")]


def test_nothing_is_unloaded_under_an_exclusive_lease() -> None:
    s = scheduler(model("a", 40, idle_unload_s=30.0), model("b", 40))
    resident(s, "a")
    resident(s, "b")
    ask(s, 1, "b", 1.0, "exclusive")
    assert s.handle(Tick(), 40.0) == []
    assert s.handle(Released(1), 41.0) == [Stop("a")]


def test_a_pinned_model_is_never_idle() -> None:
    s = scheduler(model("a", idle_unload_s=30.0, pinned=True))
    resident(s, "a")
    assert s.next_deadline_s() is None


# --- failed loads ------------------------------------------------------------------------------


def test_who_left_for_a_load_that_failed_comes_back() -> None:
    s = scheduler(model("a"), model("b"))
    resident(s, "a")
    assert ask(s, 1, "b", 1.0) == [Stop("a")]
    s.handle(WorkerExited("a"), 2.0)
    actions = s.handle(WorkerExited("b", BROKEN), 3.0)
    assert actions == [Reject(1, BROKEN), Start("a")]
    assert s.handle(WorkerReady("a"), 4.0) == []
    assert s.view("a").state == "ready"


def test_who_left_stays_away_when_its_room_is_wanted_by_others() -> None:
    s = scheduler(model("a"), model("b"), model("c"))
    resident(s, "a")
    ask(s, 1, "b", 1.0)
    ask(s, 2, "c", 1.5)
    s.handle(WorkerExited("a"), 2.0)
    assert s.handle(WorkerExited("b", BROKEN), 3.0) == [Reject(1, BROKEN), Start("c")]
    s.handle(WorkerReady("c"), 4.0)
    assert s.handle(Released(2), 5.0) == [], "a is not fetched back from then"


def test_who_left_and_then_fails_to_load_is_not_tried_for_ever() -> None:
    s = scheduler(model("a"), model("b"))
    resident(s, "a")
    ask(s, 1, "b", 1.0)
    s.handle(WorkerExited("a"), 2.0)
    s.handle(WorkerExited("b", BROKEN), 3.0)
    assert s.handle(WorkerExited("a", BROKEN), 4.0) == []
    assert s.next_deadline_s() is None


def test_fault_18_a_load_the_device_was_too_small_for_is_tried_once_more_without_the_idle_ones() -> None:
    s = scheduler(model("a", 40), model("b", 40))
    resident(s, "a")
    assert ask(s, 1, "b", 1.0) == [Start("b")]
    assert s.handle(WorkerExited("b", NO_MEMORY), 2.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 3.0) == [Start("b")]
    assert Reject(1, NO_MEMORY) in s.handle(WorkerExited("b", NO_MEMORY), 4.0)


def test_fault_18_a_load_the_device_was_too_small_for_disturbs_nobody_who_is_busy() -> None:
    s = scheduler(model("a", 40), model("b", 40))
    resident(s, "a")
    ask(s, 1, "a", 1.0)
    ask(s, 2, "b", 1.0)
    assert s.handle(WorkerExited("b", NO_MEMORY), 2.0) == [Reject(2, NO_MEMORY)]
    assert s.view("a").leases == 1


def test_crash_upon_crash_makes_the_next_start_wait_and_tells_why() -> None:
    s = scheduler(model("a"))
    resident(s, "a")
    for number in (1, 2):
        assert s.handle(WorkerExited("a", CRASH), 1.0) == []
        assert ask(s, number, "a", 1.0) == [Start("a")], "a model that ran may crash now and then"
        s.handle(WorkerReady("a"), 2.0)
        s.handle(Released(number), 2.0)
    ask(s, 9, "a", 2.5)
    s.handle(WorkerExited("a", CRASH), 3.0)
    error = rejection(ask(s, 3, "a", 3.0), 3)
    assert "died of SIGSEGV" in error.message
    assert error.retry_after_s == 1.0
    assert ask(s, 4, "a", 4.0) == [Start("a")]


def test_crashes_long_ago_are_forgotten() -> None:
    s = scheduler(model("a"))
    for number in range(5):
        at_s = 100.0 * number
        assert ask(s, number, "a", at_s) == [Start("a")]
        s.handle(WorkerReady("a"), at_s)
        s.handle(WorkerExited("a", CRASH), at_s + 1.0)


# --- the device's own memory -------------------------------------------------------------------


def test_a_load_waits_for_memory_that_is_not_back_yet() -> None:
    s = scheduler(model("a"))
    assert ask(s, 1, "a", 0.0) == [Start("a")]
    assert s.handle(LoadBlocked("a", 20), 0.0) == []
    assert s.view("a").state == "unloaded"
    assert s.next_deadline_s() == 0.25
    assert s.handle(Tick(), 0.25) == [Start("a")]
    assert s.handle(WorkerReady("a"), 2.0) == [Grant(1, "a")]


def test_a_load_that_others_leave_no_room_for_evicts_an_idle_model() -> None:
    s = scheduler(model("a", 50), model("b", 50))
    resident(s, "b")
    assert ask(s, 1, "a", 0.0) == [Start("a")]
    now_s = 0.0
    while now_s < 1.0:
        assert s.handle(LoadBlocked("a", 10), now_s) == []
        now_s += 0.25
        actions = s.handle(Tick(), now_s)
        assert actions == [Start("a")]
    assert s.handle(LoadBlocked("a", 10), now_s) == [Stop("b")]
    assert s.handle(WorkerExited("b"), now_s) == [Start("a")]
    assert s.handle(WorkerReady("a"), now_s) == [Grant(1, "a")]


def test_a_load_that_others_leave_no_room_for_is_refused_by_their_name_in_the_end() -> None:
    s = scheduler(model("a"), memory_wait_s=2.0)
    assert ask(s, 1, "a", 0.0) == [Start("a")]
    now_s = 0.0
    actions: list[Action] = []
    while now_s <= 2.0:
        actions = s.handle(LoadBlocked("a", 10, "process 77 (game, 12.0 GiB)"), now_s)
        now_s += 0.25
        s.handle(Tick(), now_s)
    error = rejection(actions, 1)
    assert error.code == "insufficient_memory"
    assert "process 77 (game, 12.0 GiB)" in error.message
    assert s.next_deadline_s() is None


def test_others_are_served_while_a_load_waits_for_memory() -> None:
    s = scheduler(model("a", 50), model("b", 20))
    ask(s, 1, "a", 0.0)
    s.handle(LoadBlocked("a", 30), 0.0)
    assert ask(s, 2, "b", 0.1) == [Start("b")]


def test_nothing_is_withheld_once_nobody_waits_for_memory() -> None:
    s = scheduler(model("a", 50), model("b", 90))
    ask(s, 1, "a", 0.0)
    s.handle(LoadBlocked("a", 0), 0.0)
    s.handle(Cancelled(1), 0.1)
    assert ask(s, 2, "b", 0.2) == [Start("b")]


# --- another configuration ---------------------------------------------------------------------


def changed(*models: SchedulerModel, replaced: str = "") -> ModelsChanged:
    return ModelsChanged(models, frozenset(replaced))


def test_an_unchanged_model_goes_on_with_its_leases() -> None:
    s = scheduler(model("a"))
    resident(s, "a")
    ask(s, 1, "a", 0.0)
    assert s.handle(changed(model("a", priority=3), model("new", 10)), 1.0) == []
    assert (s.view("a").state, s.view("a").leases) == ("ready", 1)
    assert ask(s, 2, "new", 2.0) == [Start("new")]


def test_a_changed_model_drains_and_its_waiters_get_the_new_one() -> None:
    s = scheduler(model("a", slots=1))
    resident(s, "a")
    ask(s, 1, "a", 0.0)
    ask(s, 2, "a", 0.0)
    assert s.handle(changed(model("a", 90, slots=4), replaced="a"), 1.0) == []
    assert s.footprint_bytes("a") == 60, "the old process is still there"
    assert s.handle(Released(1), 2.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 3.0) == [Start("a")]
    assert s.footprint_bytes("a") == 90
    assert s.handle(WorkerReady("a"), 4.0) == [Grant(2, "a")]


def test_a_removed_model_finishes_what_it_is_at_and_is_unknown_to_others() -> None:
    s = scheduler(model("a", slots=1), model("b", 30))
    resident(s, "a")
    ask(s, 1, "a", 0.0)
    ask(s, 2, "a", 0.0)
    assert rejection(s.handle(changed(model("b", 30)), 1.0), 2).code == "model_not_found"
    assert rejection(ask(s, 3, "a", 1.0), 3).code == "model_not_found"
    assert s.handle(Released(1), 2.0) == [Stop("a")]
    s.handle(WorkerExited("a"), 3.0)
    assert rejection(s.handle(UnloadRequested(4, "a"), 4.0), 4).code == "model_not_found"


def test_a_model_that_is_put_back_while_it_drains_is_served_again() -> None:
    s = scheduler(model("a", slots=1))
    resident(s, "a")
    ask(s, 1, "a", 0.0)
    s.handle(changed(), 1.0)
    s.handle(changed(model("a")), 2.0)
    assert ask(s, 2, "a", 2.5) == []
    assert s.handle(Released(1), 3.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 4.0) == [Start("a")]


def test_a_changed_file_is_tried_at_once_although_the_old_one_failed() -> None:
    s = scheduler(model("a"))
    for request_id in (1, 2):
        ask(s, request_id, "a", 0.0)
        s.handle(WorkerExited("a", BROKEN), 0.0)
    assert rejection(ask(s, 3, "a", 0.1), 3).message.startswith("tensor")
    s.handle(changed(model("a"), replaced="a"), 0.2)
    assert ask(s, 4, "a", 0.3) == [Start("a")]
