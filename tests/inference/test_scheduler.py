"""SwapScheduler by values, in virtual time."""

from __future__ import annotations

import pytest

from inference.errors import ErrorInfo, LoadFailed, WorkerCrashed
from inference.footprint import Footprint
from inference.scheduler import SwapScheduler
from inference.scheduler_events import (
    Action,
    Cancelled,
    Closing,
    Done,
    DryRunDone,
    Grant,
    LoadBlocked,
    LoadRequested,
    Measured,
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


def scheduler(
    *models: SchedulerModel,
    budget: int = 100,
    per_model: int = 64,
    total: int = 512,
    max_wait_s: float = 10.0,
) -> SwapScheduler:
    return SwapScheduler(models, SchedulerSettings(budget, per_model, total, max_wait_s))


def model(name: str, size: int = 60, slots: int = 2, *, pinned: bool = False) -> SchedulerModel:
    return SchedulerModel(name, size, slots, pinned)


def resident(s: SwapScheduler, name: str, now_s: float = 0.0) -> None:
    """Load `name` by request and say that it is ready."""
    assert Start(name) in s.handle(LoadRequested(-1, name), now_s)
    assert s.handle(WorkerReady(name), now_s) == [Done(-1)]


def rejection(actions: list[Action], request_id: int) -> ErrorInfo:
    return next(a.error for a in actions if isinstance(a, Reject) and a.request_id == request_id)


# --- granting ----------------------------------------------------------------------------------


def test_nobody_comes_in_past_an_exclusive_waiter_whose_time_has_come() -> None:
    """Not to another model with a free slot either: the machine would never be quiet."""
    s = scheduler(model("a", 40), model("b", 40), max_wait_s=10.0)
    resident(s, "a")
    resident(s, "b")
    assert s.handle(Requested(1, "a"), 0.0) == [Grant(1, "a")]
    assert s.handle(Requested(2, "a", "exclusive"), 1.0) == []
    assert s.handle(Requested(3, "b"), 10.9) == [Grant(3, "b")], "it has waited for less than anybody should"
    assert s.handle(Requested(4, "b"), 11.0) == []
    assert s.handle(Released(1), 12.0) == []
    assert s.handle(Released(3), 13.0) == [Grant(2, "a")]
    assert s.handle(Released(2), 14.0) == [Grant(4, "b")]


def test_a_blocked_load_that_nobody_waits_for_any_more_is_forgotten() -> None:
    """Else the next one who asks would be refused at once for the time that another has waited."""
    s = scheduler(model("a"))
    assert s.handle(Requested(1, "a"), 0.0) == [Start("a")]
    assert s.handle(LoadBlocked("a", 10, "somebody"), 0.0) == []
    assert s.handle(Cancelled(1), 0.1) == []
    later_s = SchedulerSettings(100).memory_wait_s + 1.0
    assert s.handle(Requested(2, "a"), later_s) == [Start("a")]
    assert s.handle(LoadBlocked("a", 10, "somebody"), later_s) == [], "it has its own time to wait"


def test_first_request_starts_the_model_and_is_granted_when_it_is_ready() -> None:
    s = scheduler(model("a"))
    assert s.handle(Requested(1, "a"), 0.0) == [Start("a")]
    assert s.view("a").state == "loading"
    assert s.handle(WorkerReady("a", 50), 2.0) == [Grant(1, "a")]
    assert s.view("a").state == "ready"


def test_a_ready_model_grants_at_once_up_to_its_slots_and_then_in_order() -> None:
    s = scheduler(model("a", slots=2))
    resident(s, "a")
    assert s.handle(Requested(1, "a"), 0.0) == [Grant(1, "a")]
    assert s.handle(Requested(2, "a"), 0.0) == [Grant(2, "a")]
    assert s.handle(Requested(3, "a"), 0.0) == []
    assert s.handle(Requested(4, "a"), 0.0) == []
    assert (s.view("a").leases, s.view("a").queued) == (2, 2)
    assert s.handle(Released(2), 1.0) == [Grant(3, "a")]
    assert s.handle(Released(1), 1.0) == [Grant(4, "a")]


def test_a_cancelled_waiter_leaves_the_queue_and_a_cancelled_grant_gives_its_slot_back() -> None:
    s = scheduler(model("a", slots=1))
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "a"), 0.0)
    s.handle(Requested(3, "a"), 0.0)
    assert s.handle(Cancelled(2), 0.0) == []
    assert s.handle(Cancelled(1), 0.0) == [Grant(3, "a")]


def test_releasing_twice_changes_nothing() -> None:
    s = scheduler(model("a", slots=1))
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "a"), 0.0)
    assert s.handle(Released(1), 0.0) == [Grant(2, "a")]
    assert s.handle(Released(1), 0.0) == []
    assert s.view("a").leases == 1


# --- refusing ----------------------------------------------------------------------------------


def test_full_queue_of_a_loaded_model_is_refused_at_once_with_retry_after() -> None:
    s = scheduler(model("a", slots=1), per_model=1)
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "a"), 0.0)
    error = rejection(s.handle(Requested(3, "a"), 0.0), 3)
    assert error.code == "overloaded"
    assert error.retry_after_s is not None
    assert error.retry_after_s > 0
    assert s.view("a").queued == 1


def test_the_total_bound_counts_all_queues_but_not_who_can_run_now() -> None:
    s = scheduler(model("a"), model("b", size=30), total=1)
    resident(s, "b")
    s.handle(Requested(1, "a"), 0.0)
    assert rejection(s.handle(Requested(2, "a"), 0.0), 2).code == "overloaded"
    assert s.handle(Requested(3, "b"), 0.0) == [Grant(3, "b")]


def test_a_model_larger_than_the_budget_is_refused_with_numbers_and_evicts_nobody() -> None:
    s = scheduler(model("a", 80), model("big", 3 * 2**30), budget=2 * 2**30)
    resident(s, "a")
    actions = s.handle(Requested(1, "big"), 0.0)
    assert len(actions) == 1
    error = rejection(actions, 1)
    assert error.code == "insufficient_memory"
    assert "3.0 GiB" in error.message
    assert "2.0 GiB" in error.message
    assert s.view("a").state == "ready"


def test_a_model_that_fits_only_without_a_pinned_one_is_refused_by_its_name() -> None:
    s = scheduler(model("a"), model("keep", 50, pinned=True))
    resident(s, "keep")
    error = rejection(s.handle(Requested(1, "a"), 0.0), 1)
    assert error.code == "insufficient_memory"
    assert "'keep'" in error.message
    assert s.handle(UnloadRequested(2, "keep"), 0.0) == [Stop("keep")]
    s.handle(WorkerExited("keep"), 0.0)
    assert s.handle(Requested(3, "a"), 0.0) == [Start("a")]


def test_waiters_are_refused_when_a_pinned_model_takes_their_room() -> None:
    s = scheduler(model("a", 60), model("b", 60), model("keep", 50, pinned=True))
    resident(s, "b")
    s.handle(Requested(1, "b"), 0.0)
    s.handle(Requested(2, "keep"), 0.0)
    s.handle(Requested(3, "a"), 1.0)
    assert s.handle(Released(1), 2.0) == [Stop("b")]
    assert s.handle(WorkerExited("b"), 2.0) == [Start("keep")]
    assert rejection(s.handle(WorkerReady("keep"), 3.0), 3).code == "insufficient_memory"


def test_unknown_and_unavailable_models_are_refused() -> None:
    missing = ErrorInfo(code="invalid_model_file", message="file is missing")
    s = scheduler(SchedulerModel("gone", 10, unavailable=missing))
    assert s.handle(Requested(1, "gone"), 0.0) == [Reject(1, missing)]
    assert s.handle(LoadRequested(2, "gone"), 0.0) == [Reject(2, missing)]
    assert rejection(s.handle(Requested(3, "nobody"), 0.0), 3).code == "model_not_found"
    assert rejection(s.handle(UnloadRequested(4, "nobody"), 0.0), 4).code == "model_not_found"


# --- swapping ----------------------------------------------------------------------------------


def test_both_fit_no_swap() -> None:
    s = scheduler(model("a", 50), model("b", 50))
    resident(s, "a")
    resident(s, "b")
    assert s.swaps == 0


def test_an_idle_model_is_swapped_out_at_once_and_its_bytes_count_until_it_exited() -> None:
    s = scheduler(model("a"), model("b"))
    resident(s, "a")
    assert s.handle(Requested(1, "b"), 0.0) == [Stop("a")]
    assert s.view("a").state == "unloading"
    assert s.swaps == 0
    assert s.handle(WorkerExited("a"), 1.0) == [Start("b")]
    assert s.swaps == 1


def test_drain_before_evict_a_leased_model_is_never_stopped() -> None:
    s = scheduler(model("a"), model("b"))
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "b"), 0.0)
    assert s.handle(Tick(), 1000.0) == []
    assert s.view("a").state == "unloading"
    assert s.handle(Released(1), 2000.0) == [Stop("a")]


def test_a_resident_model_serves_on_until_the_other_waiter_has_aged() -> None:
    s = scheduler(model("a", slots=1), model("b"), max_wait_s=10.0)
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "b"), 1.0)
    assert s.next_deadline_s() == 11.0
    s.handle(Requested(3, "a"), 2.0)
    assert s.handle(Released(1), 3.0) == [Grant(3, "a")], "b's waiter is not old enough"
    s.handle(Requested(4, "a"), 4.0)
    s.handle(Tick(), 11.0)
    assert s.next_deadline_s() is None
    assert s.handle(Released(3), 12.0) == [Stop("a")], "a takes no new lease once b's waiter has aged"
    assert s.handle(WorkerExited("a"), 12.5) == [Start("b")]
    assert s.handle(WorkerReady("b"), 13.0) == [Grant(2, "b")]
    assert s.next_deadline_s() == 21.0, "now a's waiter ages, since a lost its seat"


def test_an_evicting_model_is_reopened_when_nobody_waits_for_the_other_any_more() -> None:
    s = scheduler(model("a", slots=2), model("b"), max_wait_s=1.0)
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "b"), 0.0)
    s.handle(Tick(), 1.0)
    assert s.handle(Requested(3, "a"), 2.0) == []
    assert s.handle(Cancelled(2), 3.0) == [Grant(3, "a")]
    assert s.view("a").state == "ready"


def test_a_load_by_request_is_answered_when_its_model_is_reopened() -> None:
    s = scheduler(model("a"), model("b"), max_wait_s=0.0)
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "b"), 0.0)
    assert s.handle(LoadRequested(3, "a"), 0.0) == []
    assert s.handle(Cancelled(2), 1.0) == [Done(3)]


def test_a_model_that_need_not_leave_after_all_serves_on() -> None:
    s = scheduler(model("a", 50), model("b", 50), model("c", 70), max_wait_s=0.0, budget=120)
    resident(s, "a")
    resident(s, "b")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "b"), 0.0)
    s.handle(Requested(3, "c"), 0.0)
    evicted = next(name for name in "ab" if s.view(name).state == "unloading")
    spared = "b" if evicted == "a" else "a"
    s.handle(Requested(4, evicted), 1.0)
    crash = WorkerExited(spared, WorkerCrashed("died").info())
    assert s.handle(crash, 2.0) == [Start("c"), Grant(4, evicted)]


def test_nobody_is_evicted_while_enough_is_leaving_anyway() -> None:
    s = scheduler(model("a", 50), model("b", 50), model("c", 50))
    resident(s, "a")
    resident(s, "b")
    assert s.handle(UnloadRequested(1, "a"), 0.0) == [Stop("a")]
    assert s.handle(Requested(2, "c"), 1.0) == []
    assert s.handle(WorkerExited("a"), 2.0) == [Done(1), Start("c")]
    assert s.view("b").state == "ready"


def test_an_aged_waiter_waits_for_the_drain_of_an_unload_instead_of_evicting_another() -> None:
    s = scheduler(model("a", 50), model("b", 50), model("c", 50), max_wait_s=5.0)
    resident(s, "a")
    resident(s, "b")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "b"), 0.0)
    s.handle(UnloadRequested(3, "a"), 0.0)
    s.handle(Requested(4, "c"), 0.0)
    s.handle(Tick(), 5.0)
    assert s.view("b").state == "ready"
    assert s.handle(Released(1), 6.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 7.0) == [Done(3), Start("c")]


def test_no_load_is_started_for_a_waiter_that_has_gone() -> None:
    s = scheduler(model("a"), model("b"))
    resident(s, "a")
    assert s.handle(Requested(1, "b"), 0.0) == [Stop("a")]
    s.handle(Cancelled(1), 0.5)
    assert s.handle(WorkerExited("a"), 1.0) == []
    assert s.view("b").state == "unloaded"


def test_a_load_whose_waiters_have_gone_is_finished_for_the_next_one() -> None:
    s = scheduler(model("a"))
    s.handle(Requested(1, "a"), 0.0)
    assert s.handle(Cancelled(1), 0.5) == []
    assert s.handle(WorkerReady("a"), 1.0) == []
    assert s.handle(Requested(2, "a"), 2.0) == [Grant(2, "a")]


def test_only_as_many_leave_as_are_needed() -> None:
    s = scheduler(model("a", 30), model("b", 30), model("c", 30), model("d", 40))
    for at_s, name in enumerate("bac"):
        resident(s, name, float(at_s))
    assert s.handle(Requested(1, "d"), 9.0) == [Stop("b")]


def test_a_pinned_model_stays_even_if_it_was_used_longest_ago() -> None:
    s = scheduler(model("keep", 40, pinned=True), model("a", 40), model("b", 40))
    resident(s, "keep", 0.0)
    resident(s, "a", 1.0)
    assert s.handle(Requested(1, "b"), 2.0) == [Stop("a")]


def test_a_model_that_fits_beside_all_may_overtake_one_that_must_wait() -> None:
    s = scheduler(model("a", 50), model("big", 100), model("small", 40))
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    assert s.handle(Requested(2, "big"), 1.0) == []
    assert s.handle(Requested(3, "small"), 2.0) == [Start("small")]


def test_fault_22_starvation_llama_cpp_28443() -> None:
    """Endless overlapping traffic on a cannot hold b longer than max_wait, one drain and one load."""
    s = scheduler(model("a", slots=2), model("b"), max_wait_s=10.0)
    resident(s, "a")
    s.handle(Requested(0, "a"), 0.0)
    s.handle(Requested(1000, "b"), 0.0)
    stopped_s = None
    for second in range(1, 40):  # before each release the next request is already there
        s.handle(Requested(second, "a"), float(second))
        actions = s.handle(Released(second - 1), second + 0.5)
        if Stop("a") in actions:
            stopped_s = second + 0.5
            break
    assert stopped_s is not None
    assert stopped_s <= 12.5


def test_fault_22_just_loaded_model_serves_before_it_is_evicted_llama_cpp_28698() -> None:
    s = scheduler(model("a", slots=1), model("b", slots=1), max_wait_s=0.0)
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "b"), 0.0)
    actions = s.handle(WorkerReady("a"), 5.0)
    assert actions == [Grant(1, "a")], "b has aged long ago, and yet a serves first"
    assert s.handle(Released(1), 6.0) == [Stop("a")]
    s.handle(Requested(3, "a"), 6.0)
    assert s.handle(WorkerExited("a"), 6.0) == [Start("b")]
    assert s.handle(WorkerReady("b"), 7.0) == [Grant(2, "b")]


def test_fault_22_two_cold_models_at_once_load_in_turn_llama_cpp_28774() -> None:
    s = scheduler(model("a"), model("b"))
    assert s.handle(Requested(1, "a"), 0.0) == [Start("a")]
    assert s.handle(Requested(2, "b"), 0.0) == []
    assert s.handle(Requested(3, "a"), 0.0) == []
    assert s.handle(Requested(4, "b"), 0.0) == []
    assert s.handle(WorkerReady("a"), 1.0) == [Grant(1, "a"), Grant(3, "a")]
    s.handle(Released(1), 2.0)
    assert s.handle(Released(3), 2.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 2.5) == [Start("b")]
    assert s.handle(WorkerReady("b"), 3.0) == [Grant(2, "b"), Grant(4, "b")]


def test_two_cold_models_that_both_fit_are_still_loaded_one_after_the_other() -> None:
    s = scheduler(model("a", 40), model("b", 40))
    assert s.handle(Requested(1, "a"), 0.0) == [Start("a")]
    assert s.handle(Requested(2, "b"), 0.0) == []
    assert s.handle(WorkerReady("a"), 1.0) == [Grant(1, "a"), Start("b")]


# --- measuring ---------------------------------------------------------------------------------


def test_a_measurement_above_the_estimate_counts() -> None:
    s = scheduler(model("a", 50), model("b", 50))
    s.handle(LoadRequested(1, "a"), 0.0)
    s.handle(WorkerReady("a", 70), 0.0)
    assert s.footprint_bytes("a") == 70
    assert s.handle(Requested(2, "b"), 1.0) == [Stop("a")]


def test_a_measurement_below_the_estimate_frees_nothing() -> None:
    s = scheduler(model("a", 60))
    s.handle(LoadRequested(1, "a"), 0.0)
    s.handle(WorkerReady("a", 10), 0.0)
    assert s.footprint_bytes("a") == 60


def test_a_model_is_never_refused_by_its_own_measurement() -> None:
    s = scheduler(model("a", 90))
    s.handle(LoadRequested(1, "a"), 0.0)
    s.handle(WorkerReady("a", 130), 0.0)
    assert s.footprint_bytes("a") == 100
    s.handle(UnloadRequested(2, "a"), 1.0)
    s.handle(WorkerExited("a"), 1.0)
    assert s.handle(Requested(3, "a"), 2.0) == [Start("a")]


def test_growth_while_another_drains_makes_a_new_plan() -> None:
    s = scheduler(model("a", 40), model("b", 40), model("c", 60), max_wait_s=0.0)
    resident(s, "a", 0.0)
    resident(s, "b", 1.0)
    s.handle(Requested(1, "a"), 2.0)
    s.handle(Requested(2, "b"), 3.0)
    s.handle(Released(2), 4.0)
    assert s.handle(Requested(3, "c"), 5.0) == [Stop("b")]
    s.handle(Measured("a", 45), 6.0)
    assert s.view("a").state == "unloading"
    s.handle(WorkerExited("b"), 7.0)
    assert s.handle(Released(1), 8.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 9.0) == [Start("c")]


def test_a_dry_run_corrects_what_was_refused_and_what_was_let_in() -> None:
    s = scheduler(model("a", 120), model("b", 60), model("c", 60))
    assert "needs 120" not in rejection(s.handle(Requested(1, "a"), 0.0), 1).message  # MiB are shown
    s.handle(DryRunDone("a", 90), 1.0)
    assert s.handle(Requested(2, "a"), 2.0) == [Start("a")]
    assert s.view("a").footprint == Footprint(90, "dry run")
    s.handle(WorkerExited("a", BROKEN), 3.0)
    s.handle(DryRunDone("b", 30), 4.0)
    resident(s, "b", 5.0)
    assert s.handle(Requested(3, "c"), 6.0) == [Start("c")]  # 30 + 60 fit, 60 + 60 would not


def test_a_dry_run_that_is_larger_makes_room_for_it_first() -> None:
    s = scheduler(model("a", 50), model("b", 50))
    resident(s, "a", 0.0)
    s.handle(DryRunDone("b", 60), 1.0)
    assert s.handle(Requested(1, "b"), 2.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 3.0) == [Start("b")]


@pytest.mark.parametrize(
    ("on_gpu", "measured", "counted"),
    [
        (True, 40, Footprint(40, "measured")),
        (False, 40, Footprint(60, "dry run")),
        (False, 70, Footprint(70, "measured")),
    ],
)
def test_what_was_measured_before_is_counted_from_the_start(
    on_gpu: bool, measured: int, counted: Footprint
) -> None:
    known = SchedulerModel("a", 50, dry_run_bytes=60, measured_bytes=measured)
    s = SwapScheduler([known], SchedulerSettings(100, measured_wins=on_gpu))
    assert s.view("a").footprint == counted
    assert s.footprint_bytes("a") == counted.n_bytes
    assert (s.view("a").dry_run_bytes, s.view("a").measured_bytes) == (60, measured)


def test_a_measurement_above_the_budget_does_not_refuse_a_model_whose_dry_run_fits() -> None:
    known = SchedulerModel("a", 120, dry_run_bytes=90, measured_bytes=110)
    s = SwapScheduler([known], SchedulerSettings(100))
    assert s.handle(Requested(1, "a"), 0.0) == [Start("a")]


# --- failing -----------------------------------------------------------------------------------


def test_a_load_that_fails_tells_every_waiter_why_and_the_next_request_tries_again() -> None:
    s = scheduler(model("a"))
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "a"), 0.0)
    assert s.handle(WorkerExited("a", BROKEN), 1.0) == [Reject(1, BROKEN), Reject(2, BROKEN)]
    assert s.view("a").state == "failed"
    assert s.view("a").error == BROKEN
    assert s.handle(Requested(3, "a"), 1.0) == [Start("a")]


def test_loads_that_keep_failing_are_not_retried_in_a_loop() -> None:
    s = scheduler(model("a"))
    pauses = []
    now_s = 0.0
    for request_id in range(8):
        assert s.handle(Requested(request_id, "a"), now_s) == [Start("a")]
        s.handle(WorkerExited("a", BROKEN), now_s)
        early = s.handle(Requested(100 + request_id, "a"), now_s)
        if early == [Start("a")]:  # no pause yet
            s.handle(WorkerExited("a", BROKEN), now_s)
            early = s.handle(Requested(200, "a"), now_s)
        error = rejection(early, early[0].request_id if isinstance(early[0], Reject) else -1)
        assert "tensor 'output' is missing" in error.message
        assert error.retry_after_s is not None
        pauses.append(error.retry_after_s)
        now_s += error.retry_after_s
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_load_by_request_does_not_wait_for_the_pause_and_success_forgets_the_failures() -> None:
    s = scheduler(model("a"))
    for request_id in (1, 2):
        s.handle(Requested(request_id, "a"), 0.0)
        s.handle(WorkerExited("a", BROKEN), 0.0)
    assert s.handle(LoadRequested(3, "a"), 0.0) == [Start("a")]
    s.handle(WorkerReady("a"), 0.0)
    s.handle(WorkerExited("a", BROKEN), 0.0)
    assert s.handle(Requested(4, "a"), 0.0) == [Start("a")]


def test_a_crashed_model_is_restarted_for_those_who_wait_and_its_leases_are_gone() -> None:
    s = scheduler(model("a", slots=1))
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "a"), 0.0)
    crash = WorkerCrashed("died of SIGKILL").info()
    assert s.handle(WorkerExited("a", crash), 1.0) == [Start("a")]
    assert s.handle(Released(1), 1.0) == []
    assert s.handle(WorkerReady("a"), 2.0) == [Grant(2, "a")]
    assert s.view("a").leases == 1


def test_a_crashed_model_without_waiters_shows_why() -> None:
    s = scheduler(model("a"))
    resident(s, "a")
    crash = WorkerCrashed("died of SIGKILL").info()
    assert s.handle(WorkerExited("a", crash), 1.0) == []
    assert s.view("a").state == "failed"
    assert s.view("a").error == crash


def test_a_crash_of_the_draining_model_lets_the_other_start() -> None:
    s = scheduler(model("a"), model("b"), max_wait_s=0.0)
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "b"), 0.0)
    assert s.handle(WorkerExited("a", WorkerCrashed("died").info()), 1.0) == [Start("b")]


# --- by request --------------------------------------------------------------------------------


def test_load_by_request_needs_no_slot() -> None:
    s = scheduler(model("a", slots=1))
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "a"), 0.0)
    assert s.handle(LoadRequested(3, "a"), 0.0) == [Done(3)]


def test_unload_by_request_drains_and_sends_waiters_away() -> None:
    s = scheduler(model("a", slots=1))
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "a"), 0.0)
    assert rejection(s.handle(UnloadRequested(3, "a"), 0.0), 2).code == "model_unloaded"
    assert s.handle(Released(1), 1.0) == [Stop("a")]
    assert s.handle(WorkerExited("a"), 2.0) == [Done(3)]
    assert s.view("a").state == "unloaded"


def test_unload_during_a_load_ends_the_load_and_a_late_ready_changes_nothing() -> None:
    s = scheduler(model("a"))
    s.handle(Requested(1, "a"), 0.0)
    actions = s.handle(UnloadRequested(2, "a"), 1.0)
    assert Stop("a") in actions
    assert rejection(actions, 1).code == "model_unloaded"
    assert s.handle(WorkerReady("a"), 1.5) == []
    assert s.handle(WorkerExited("a"), 2.0) == [Done(2)]


def test_how_a_stopped_worker_ends_is_no_failure() -> None:
    s = scheduler(model("a"))
    resident(s, "a")
    s.handle(UnloadRequested(1, "a"), 0.0)
    s.handle(WorkerExited("a", WorkerCrashed("died of SIGTERM").info()), 1.0)
    assert s.view("a").state == "unloaded"


def test_unload_of_what_is_not_loaded_is_done_at_once() -> None:
    s = scheduler(model("a"))
    assert s.handle(UnloadRequested(1, "a"), 0.0) == [Done(1)]


def test_a_request_during_an_unload_reloads_the_model() -> None:
    s = scheduler(model("a"))
    resident(s, "a")
    s.handle(UnloadRequested(1, "a"), 0.0)
    assert s.handle(Requested(2, "a"), 0.0) == []
    assert s.handle(WorkerExited("a"), 1.0) == [Done(1), Start("a")]


def test_whoever_stops_waiting_for_an_unload_is_not_answered() -> None:
    s = scheduler(model("a"))
    resident(s, "a")
    s.handle(UnloadRequested(1, "a"), 0.0)
    s.handle(Cancelled(1), 0.0)
    assert s.handle(WorkerExited("a"), 1.0) == []


def test_closing_sends_waiters_away_lets_leases_end_and_nobody_in() -> None:
    s = scheduler(model("a", slots=1))
    resident(s, "a")
    s.handle(Requested(1, "a"), 0.0)
    s.handle(Requested(2, "a"), 0.0)
    assert rejection(s.handle(Closing(), 0.0), 2).code == "shutting_down"
    assert s.leases == 1
    assert rejection(s.handle(Requested(3, "a"), 0.0), 3).code == "shutting_down"
    assert rejection(s.handle(LoadRequested(4, "a"), 0.0), 4).code == "shutting_down"
    assert s.handle(Released(1), 1.0) == []
    assert s.leases == 0


@pytest.mark.parametrize("budget", [100, 1000])
def test_no_deadline_while_nobody_waits(budget: int) -> None:
    s = scheduler(model("a"), model("b"), budget=budget)
    assert s.next_deadline_s() is None
    s.handle(Requested(1, "a"), 0.0)
    assert s.next_deadline_s() is None
    s.handle(WorkerReady("a"), 0.0)
    assert s.next_deadline_s() is None
