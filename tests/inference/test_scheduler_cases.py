"""Known failures of other servers, each as a small world for the real scheduler, in virtual time."""

from __future__ import annotations

import pytest

from inference.request_trace import TracedRequest
from inference.scheduler_events import Grant, Reject, SchedulerModel, SchedulerSettings, Start, Stop
from inference.simulation import BROKEN, FOREIGN
from inference.simulation_script import (
    Crash,
    ForeignUse,
    Happening,
    LoadAsked,
    Reconfigured,
    ShutDown,
    SimulatedModel,
    SimulationReport,
    UnloadAsked,
)
from tests.inference.random_worlds import World, WorldPlan

ROOM = 100
MAX_WAIT_S = 10.0


def model(
    name: str,
    n_bytes: int = 60,  # there is room for one
    *,
    slots: int = 2,
    load_s: float = 3.0,
    unload_s: float = 0.5,
    idle_unload_s: float | None = None,
    pinned: bool = False,
    priority: int = 0,
) -> SimulatedModel:
    spec = SchedulerModel(
        name, n_bytes, slots, pinned, reload_s=load_s, idle_unload_s=idle_unload_s, priority=priority
    )
    return SimulatedModel(spec, load_s=load_s, unload_s=unload_s)


def ask(at_s: float, model: str, service_s: float = 1.0, *, client: str | None = None) -> TracedRequest:
    return TracedRequest(at_s, model, service_s, client=client)


def world(
    models: list[SimulatedModel],
    script: list[Happening],
    *,
    device_bytes: int | None = None,
    min_residency_s: float = 0.0,
    memory_wait_s: float = 5.0,
    ticks_first: bool = False,
) -> World:
    settings = SchedulerSettings(
        ROOM,
        max_queue_per_model=1000,
        max_queue_total=1000,
        max_wait_s=MAX_WAIT_S,
        min_residency_s=min_residency_s,
        memory_wait_s=memory_wait_s,
    )
    return World(WorldPlan(tuple(models), settings, tuple(script), device_bytes, ticks_first))


def play(models: list[SimulatedModel], script: list[Happening]) -> SimulationReport:
    return world(models, script).run()


def wait_s(report: SimulationReport, model: str) -> float:
    """The longest for `model`; somebody must have been served."""
    return max(r.wait_s for r in report.requests if r.model == model and r.wait_s is not None)


def outcomes(report: SimulationReport) -> list[str | None]:
    return [request.outcome for request in report.requests]


# --- starvation and thrash ---------------------------------------------------------------------


def test_28443_overlapping_clients_of_a_hold_b_off_no_longer_than_max_wait_a_drain_and_a_swap() -> None:
    hammering: list[Happening] = [
        ask(0.0, "a", s, client=c) for c, s in (("x", 1.0), ("y", 1.3)) for _ in range(60)
    ]
    report = play([model("a"), model("b")], [*hammering, ask(5.0, "b")])
    assert wait_s(report, "b") <= MAX_WAIT_S + 1.3 + 0.5 + 3.0
    served_after_b = [r for r in report.requests if r.model == "a" and (r.granted_s or 0.0) > 15.0]
    assert len(served_after_b) > 60, "and a goes on afterwards"
    assert set(outcomes(report)) == {"served"}


def test_28443_the_same_while_more_a_wait_than_run_and_keep_coming() -> None:
    crowd: list[Happening] = [ask(0.25 * n, "a", 2.0) for n in range(200)]
    report = play([model("a"), model("b")], [*crowd, ask(5.1, "b")])
    assert wait_s(report, "b") <= MAX_WAIT_S + 2.0 + 0.5 + 3.0


def test_28698_a_model_just_loaded_serves_its_waiter_before_it_is_evicted() -> None:
    """Both have waited for longer than max_wait when a comes up: the load of a was not in vain."""
    slow = [model("a", load_s=20.0), model("b")]
    played = world(slow, [ask(0.0, "a"), ask(1.0, "b")])
    report = played.run()
    assert [(s.model, s.served) for s in report.stays] == [("a", [0]), ("b", [1])]
    assert report.loads == 2


def test_28774_two_requests_at_once_for_a_cold_model_start_it_once() -> None:
    report = play([model("a")], [ask(0.0, "a"), ask(0.0, "a")])
    assert report.loads == 1
    assert report.waits_s == [3.0, 3.0]


def test_two_cold_models_at_once_load_one_after_the_other_though_both_fit() -> None:
    report = play([model("a", 50), model("b", 50)], [ask(0.0, "a"), ask(0.0, "b")])
    assert [(s.model, s.started_s, s.ready_s) for s in report.stays] == [("a", 0.0, 3.0), ("b", 3.0, 6.0)]
    assert report.swaps == 0


def test_a_and_b_alternating_a_hundred_times_each_cost_a_swap_for_many_not_for_each() -> None:
    """All at once, room for one: strict FIFO swaps 199 times. A turn lasts about max_wait here."""
    script: list[Happening] = [ask(0.0, "ab"[n % 2]) for n in range(200)]
    report = play([model("a"), model("b")], script)
    assert set(outcomes(report)) == {"served"}
    assert report.swaps <= 20
    busy_s = 200 * 1.0 / 2
    assert report.makespan_s <= busy_s + (report.swaps + 1) * (3.0 + 0.5 + 1.0)


def test_one_client_that_alternates_pays_for_each_swap_and_nothing_else() -> None:
    script: list[Happening] = [ask(0.0, "ab"[n % 2], client="x") for n in range(40)]
    report = play([model("a"), model("b")], script)
    assert max(report.waits_s) <= 0.5 + 3.0, "an idle model leaves at once for one that is waited for"


def test_a_ready_model_serves_on_while_others_swap() -> None:
    models = [model("a", 30), model("b", 70), model("c", 70)]
    swapping: list[Happening] = [ask(5.0, "b", 3.0), ask(6.0, "c", 3.0)]
    report = play(models, [LoadAsked(0.0, "a"), *swapping, *(ask(5.0 + n, "a") for n in range(20))])
    assert wait_s(report, "a") == 0.0


# --- loads that fail ---------------------------------------------------------------------------


def test_a_load_that_cannot_fit_evicts_nobody() -> None:
    played = world([model("a"), model("b", 150)], [ask(0.0, "a"), ask(5.0, "b"), ask(6.0, "a")])
    report = played.run()
    assert outcomes(report) == ["served", "rejected", "served"]
    assert report.loads == 1
    assert report.waits_s[-1] == 0.0, "a never left"


def test_a_load_that_cannot_fit_beside_a_pinned_model_evicts_nobody() -> None:
    models = [model("a", 40), model("keep", 50, pinned=True), model("b", 60)]
    report = play(models, [LoadAsked(0.0, "keep"), LoadAsked(0.0, "a"), ask(10.0, "b")])
    assert outcomes(report) == ["done", "done", "rejected"]
    assert all(stay.stop_s is None for stay in report.stays)


def test_what_was_resident_comes_back_after_a_load_that_failed() -> None:
    broken = SimulatedModel(model("b").spec, load_s=3.0, load_ends=("broken",))
    played = world([model("a"), broken], [ask(0.0, "a"), ask(5.0, "b")])
    report = played.run()
    assert outcomes(report) == ["served", "rejected"]
    assert [(s.model, s.ready_s is not None) for s in report.stays] == [
        ("a", True),
        ("b", False),
        ("a", True),
    ]
    assert played.scheduler.view("a").state == "ready"


def test_a_failed_load_tells_every_waiter_the_cause_and_is_not_tried_again_for_them() -> None:
    broken = SimulatedModel(model("a").spec, load_s=3.0, load_ends=("broken",))
    played = world([broken], [ask(0.0, "a"), ask(1.0, "a"), ask(2.0, "a"), LoadAsked(2.5, "a")])
    report = played.run()
    assert report.loads == 1
    assert [(r.ended_s, r.error.message if r.error else "") for r in report.requests] == [(3.0, BROKEN)] * 4


def test_clients_that_retry_a_broken_model_in_a_loop_cost_few_loads() -> None:
    """Ten minutes of ten tries a second: pauses of 1, 2, 4, … 60 s between the loads."""
    broken = SimulatedModel(model("a").spec, load_s=1.0, load_ends=("broken",))
    report = play([broken], [ask(0.1 * n, "a") for n in range(6000)])
    assert report.loads <= 18
    assert all(r.error is not None and BROKEN in r.error.message for r in report.requests)


def test_memory_that_others_hold_is_waited_for_and_then_named() -> None:
    script: list[Happening] = [ForeignUse(0.0, 70), ask(1.0, "a"), ask(20.0, "a"), ForeignUse(22.0, 0)]
    report = world([model("a")], script, device_bytes=ROOM).run()
    refused, served = report.requests
    assert refused.outcome == "rejected"
    assert refused.error is not None
    assert FOREIGN in refused.error.message
    assert refused.ended_s == pytest.approx(1.0 + 5.0, abs=0.5), "memory_wait_s"
    assert served.outcome == "served"
    assert served.wait_s == pytest.approx(2.0 + 3.0, abs=0.5)


def test_memory_that_comes_back_late_after_an_exit_is_waited_for() -> None:
    late = SimulatedModel(model("a").spec, load_s=3.0, unload_s=0.5, recovery_s=1.5)
    report = world([late, model("b")], [ask(0.0, "a"), ask(5.0, "b")], device_bytes=ROOM).run()
    assert outcomes(report) == ["served", "served"]
    assert report.requests[1].wait_s == pytest.approx(0.5 + 1.5 + 3.0, abs=0.3)


# --- coming and going --------------------------------------------------------------------------


def test_the_idle_timer_is_armed_when_a_model_is_ready() -> None:
    """llama-swap unloads a model at once whose only client left while it was loading."""
    leaver = TracedRequest(0.0, "a", 1.0, patience_s=1.0)
    report = play([model("a", idle_unload_s=60.0)], [leaver])
    assert outcomes(report) == ["cancelled"]
    assert [(s.ready_s, s.stop_s) for s in report.stays] == [(3.0, 63.0)]


def test_the_idle_timer_starts_when_the_last_lease_ends_and_a_pinned_model_has_none() -> None:
    models = [model("a", 50, idle_unload_s=60.0), model("b", 50, idle_unload_s=60.0, pinned=True)]
    report = play(models, [ask(0.0, "a", 5.0), ask(0.0, "b"), ask(10.0, "a", 5.0)])
    assert [(s.model, s.stop_s) for s in report.stays] == [("a", 15.0 + 60.0), ("b", None)]


def test_a_request_wins_over_an_idle_unload_at_the_same_instant() -> None:
    played = world([model("a", idle_unload_s=60.0)], [ask(0.0, "a"), ask(64.0, "a")])
    report = played.run()
    assert report.loads == 1
    assert report.waits_s == [3.0, 0.0]
    assert report.stays[0].stop_s == 65.0 + 60.0


def test_a_request_just_after_an_idle_unload_reloads_the_model() -> None:
    played = world([model("a", idle_unload_s=60.0)], [ask(0.0, "a"), ask(64.0, "a")], ticks_first=True)
    report = played.run()
    assert report.waits_s == [3.0, 0.5 + 3.0]


def test_a_model_stays_for_min_residency_before_it_leaves_for_its_equal() -> None:
    script: list[Happening] = [ask(0.0, "a"), ask(4.5, "b")]
    report = world([model("a"), model("b")], script, min_residency_s=6.0).run()
    assert report.stays[0].stop_s == 3.0 + 6.0
    urgent = world([model("a"), model("b", priority=1)], script, min_residency_s=6.0).run()
    assert urgent.stays[0].stop_s == 4.5, "a model of a higher priority need not wait for that"


def test_nothing_is_loaded_for_a_client_that_left_while_it_waited() -> None:
    leaver = TracedRequest(1.0, "b", 1.0, patience_s=2.0)
    report = play([model("a"), model("b")], [ask(0.0, "a", 8.0), leaver])
    assert outcomes(report) == ["served", "cancelled"]
    assert [stay.model for stay in report.stays] == ["a"]


def test_a_crash_ends_its_leases_and_starts_the_model_again_for_those_who_wait() -> None:
    script: list[Happening] = [ask(0.0, "a", 8.0), ask(0.0, "a", 8.0), ask(4.0, "a"), Crash(5.0, "a")]
    report = play([model("a")], script)
    assert outcomes(report) == ["crashed", "crashed", "served"]
    assert report.requests[2].granted_s == 5.0 + 3.0


def test_an_exclusive_lease_runs_alone_and_is_neither_starved_nor_starves() -> None:
    alone = TracedRequest(4.0, "a", 5.0, lane="exclusive")
    hammering: list[Happening] = [
        ask(0.0, "a", s, client=c) for c, s in (("x", 1.0), ("y", 1.3)) for _ in range(40)
    ]
    report = play([model("a"), model("b", 40)], [*hammering, LoadAsked(0.0, "b"), alone, ask(15.0, "b")])
    timed = next(request for request in report.requests if request.lane == "exclusive")
    assert timed.granted_s is not None
    assert timed.granted_s <= 4.0 + MAX_WAIT_S + 1.3
    beside = [
        r for r in report.requests if r is not timed and r.granted_s is not None and r.ended_s is not None
    ]
    ended_s = timed.granted_s + 5.0
    assert not [r for r in beside if timed.granted_s < (r.granted_s or 0.0) < ended_s]
    assert set(outcomes(report)) == {"served", "done"}


def test_the_batch_lane_lets_others_pass_until_it_has_waited_max_wait() -> None:
    batch = TracedRequest(0.5, "a", 1.0, lane="batch")
    crowd: list[Happening] = [ask(0.0, "a", client=f"x{n}") for n in range(5) for _ in range(20)]
    report = play([model("a")], [*crowd, batch])
    waited_s = next(r.wait_s for r in report.requests if r.lane == "batch")
    assert waited_s is not None
    assert MAX_WAIT_S <= waited_s <= MAX_WAIT_S + 1.0


def test_a_new_configuration_leaves_unchanged_models_and_their_leases_alone() -> None:
    a, b, changed = model("a", 40), model("b", 40), model("b", 50)
    played = world(
        [a, b],
        [
            *(ask(0.0, "a", 30.0), ask(0.0, "b", 10.0)),
            Reconfigured(8.0, (a, changed), frozenset({"b"})),
            ask(9.0, "b"),
        ],
    )
    report = played.run()
    assert outcomes(report) == ["served", "served", "served"]
    assert [(s.model, s.n_bytes, s.stop_s) for s in report.stays] == [
        *(("a", 40, None), ("b", 40, 16.0), ("b", 50, None)),
    ]


def test_shutting_down_lets_leases_end_and_nobody_in() -> None:
    played = world([model("a", slots=1)], [ask(0.0, "a", 8.0), ask(1.0, "a"), ShutDown(5.0), ask(6.0, "a")])
    report = played.run()
    assert outcomes(report) == ["served", "rejected", "rejected"]
    assert [r.ended_s for r in report.requests] == [3.0 + 8.0, 5.0, 6.0]


def test_unloading_a_stalls_nobody_at_b() -> None:
    models = [model("a", 50, unload_s=30.0), model("b", 50)]
    script: list[Happening] = [
        LoadAsked(0.0, "a"),
        LoadAsked(0.0, "b"),
        UnloadAsked(10.0, "a"),
        ask(11.0, "b"),
    ]
    played = world(models, script)
    report = played.run()
    assert report.requests[-1].wait_s == 0.0
    assert report.stays[0].gone_s == 40.0


def test_the_same_steps_whatever_the_clock_shows() -> None:
    plan = world([model("a"), model("b")], [ask(0.0, "a"), ask(1.0, "b"), ask(2.0, "a")]).plan
    steps = []
    for origin_s in (0.0, -4096.0, 2.0**20):
        played = World(plan, origin_s=origin_s)
        played.run()
        steps.append([(at_s - origin_s, actions) for at_s, _, actions in played.steps])
    assert steps[0] == steps[1] == steps[2]
    flat = [action for _, actions in steps[0] for action in actions]
    assert {type(action) for action in flat} <= {Start, Stop, Grant, Reject}
