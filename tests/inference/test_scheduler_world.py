"""The real scheduler in thousands of random worlds, in virtual time.

The machine of the world refuses what no scheduler may do (simulated_machine.py): a load over the
budget or beside another one, a stop under a lease, a lease too many. The tests here say what must
come of it: who is served when, that everybody hears one answer, and that all comes to rest.

HOTSEAT_WORLDS=20000 plays so many worlds of each kind instead of the default (with --timeout=0).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.request_trace import TracedRequest
from inference.scheduler_events import Action, Event, Grant, Reject, Requested, Start, Stop, WorkerExited
from inference.simulation import BROKEN
from inference.simulation_script import LoadAsked, Reconfigured, SimulatedRequest, SimulationReport
from tests.inference.random_worlds import World, WorldPlan, calm_world, wild_world

N_WORLDS = int(os.environ.get("HOTSEAT_WORLDS", "1500"))
N_SHRINKABLE = max(60, N_WORLDS // 20)
"""Of so many more hypothesis holds the dice: slower to make, and what fails is made small."""

Draw = Callable[[Random], WorldPlan]
dice = st.randoms(use_true_random=False)


def worlds(draw: Draw, kind: str) -> Iterator[WorldPlan]:
    for number in range(N_WORLDS):
        yield draw(Random(f"{kind} {number}"))


def traffic_only(rng: Random) -> WorldPlan:
    return calm_world(rng, lanes=False)


# --- how long anybody waits --------------------------------------------------------------------


def nobody_is_kept_from_a_model_for_longer_than_a_turn_of_each(
    world: World, now_s: float, event: Event, actions: Sequence[Action]
) -> None:
    """A model that is waited for is away no longer than `max_wait` and one turn of every model.

    A turn is: drain what must leave, unload it, load the next. Who has waited `max_wait` for want of
    a model closes whoever is in its place; before it come the turn that is under way, and one turn
    at most of each model that was wanted longer, as after it that one is wanted since later. So no
    length of any queue is in the bound, and it is sharp: with two models 1.97 of the two turns occur.
    An exclusive request that runs or waits meanwhile may take two more: it drains its own model first.

    While the model is there its own requests come first, in the order of their lanes: what a request
    waits for behind them is no other model's doing, nor is it bounded here.
    """
    requests = world.simulation.requests
    granted = [requests[action.request_id] for action in actions if isinstance(action, Grant)]
    turn_s = _longest_turn_s(world.plan)
    for model in world.plan.models:
        waiting = [r for r in [*world.simulation.waiting, *granted] if r.model == model.name]
        if not waiting or model.name in world.ready:
            continue
        since_s = world.wanted_since_s(model.name, waiting)
        meanwhile = [r for r in requests if r.ended_s is None or r.ended_s >= since_s]
        n_turns = len(world.plan.models) + 2 * sum(r.lane == "exclusive" for r in meanwhile)
        bound_s = since_s + world.plan.settings.max_wait_s + n_turns * turn_s
        assert now_s <= bound_s, f"'{model.name}' is wanted since {since_s}, {n_turns} turns of {turn_s} s"


def _longest_turn_s(plan: WorldPlan) -> float:
    drain_s = max(happening.service_s for happening in plan.script if isinstance(happening, TracedRequest))
    return drain_s + max(m.unload_s for m in plan.models) + max(m.load_s for m in plan.models)


def test_nobody_is_kept_from_a_model_for_longer_than_max_wait_and_a_turn_of_each() -> None:
    for plan in worlds(calm_world, "waits"):
        World(plan, nobody_is_kept_from_a_model_for_longer_than_a_turn_of_each).run()


@settings(max_examples=N_SHRINKABLE)
@given(rng=dice)
def test_nobody_is_kept_from_a_model_for_longer_in_a_small_world(rng: Random) -> None:
    World(calm_world(rng), nobody_is_kept_from_a_model_for_longer_than_a_turn_of_each).run()


def check_one_among_many(plan: WorldPlan) -> None:
    """Traffic on one model, one request for another: `max_wait`, the leases of then, unload, load. No more.

    Here the bound is exact: what is under way when the request comes of age, second by second.
    """
    other = plan.models[0].name
    requests = [happening for happening in plan.script if isinstance(happening, TracedRequest)]
    crowd = tuple(h for h in requests if h.model == other)
    lonely = tuple(h for h in requests if h.model != other)[:1]
    if not lonely:
        return
    report = World(replace(plan, script=crowd + lonely)).run()
    one = next(request for request in report.requests if request.model != other)
    if one.granted_s is None:
        return
    of_age_s = one.asked_s + plan.settings.max_wait_s
    crowd_stays = [s for s in report.stays if s.model == other and s.started_s <= of_age_s]
    loading_s = [stay.ready_s for stay in crowd_stays if stay.ready_s is not None]
    closes_s = max([of_age_s, *loading_s])  # a load under way is finished, and serves
    held_s = [
        r.granted_s + r.service_s
        for r in report.requests
        if r.model == other and r.granted_s is not None and r.granted_s <= closes_s
    ]
    unload_s, load_s = plan.model(other).unload_s, plan.model(one.model).load_s
    bound_s = max([closes_s, *held_s]) + unload_s + load_s
    assert one.granted_s <= bound_s, f"{one} is granted after {bound_s}"


def test_traffic_on_one_model_holds_a_request_for_another_no_longer_than_max_wait_and_one_swap() -> None:
    for plan in worlds(traffic_only, "one among many"):
        check_one_among_many(plan)


# --- who is served, step by step ---------------------------------------------------------------


def _is_about_exclusive(world: World) -> bool:
    held = [lane for worker in world.machine.workers.values() for lane in worker.leases.values()]
    return "exclusive" in [*held, *(request.lane for request in world.simulation.waiting)]


def no_slot_is_free_while_somebody_waits_for_it(
    world: World, now_s: float, event: Event, actions: Sequence[Action]
) -> None:
    """A ready model serves, whatever happens to others. An exclusive request may hold it back."""
    if _is_about_exclusive(world):
        return
    for model in world.plan.models:
        view = world.scheduler.view(model.name)
        assert view.state != "ready" or view.leases == model.spec.slots or view.queued == 0, (now_s, event)


def no_load_passes_a_model_that_was_wanted_longer(
    world: World, now_s: float, event: Event, actions: Sequence[Action]
) -> None:
    """Of the models to be loaded that were wanted for `max_wait`, the one wanted longest is next.

    Whose turn it is was decided when somebody was told to leave: a drain and an unload before the load.
    Exclusive requests have an order of their own, and for one who leaves no turn is decided anew.
    """
    if _is_about_exclusive(world) or any(r.outcome == "cancelled" for r in world.simulation.requests):
        return
    waiting: dict[str, list[SimulatedRequest]] = {}
    for request in world.simulation.waiting:
        waiting.setdefault(request.model, []).append(request)
    cold = {name for name in waiting if name not in world.machine.workers}
    for started in (action.model for action in actions if isinstance(action, Start)):
        for name in cold:
            since_s = world.wanted_since_s(name, waiting[name])
            if since_s + world.plan.settings.max_wait_s + _longest_turn_s(world.plan) <= now_s:
                assert started in waiting, f"'{started}' is loaded for nobody, and '{name}' is waited for"
                assert world.wanted_since_s(started, waiting[started]) <= since_s


def no_lease_begins_on_a_model_that_has_to_leave(
    world: World, now_s: float, event: Event, actions: Sequence[Action]
) -> None:
    """What drains takes nobody new in: else drains would have no end."""
    granted = {action.model for action in actions if isinstance(action, Grant)}
    stopped = {action.model for action in actions if isinstance(action, Stop)}
    assert not stopped & granted
    assert not world.draining & world.names_draining() & granted


def a_request_for_a_free_slot_is_granted_at_once(
    world: World, now_s: float, event: Event, actions: Sequence[Action]
) -> None:
    if (
        isinstance(event, Requested)
        and not _is_about_exclusive(world)
        and event.model in world.machine.models
    ):
        view = world.scheduler.view(event.model)
        if view.state == "ready" and view.leases < world.plan.model(event.model).spec.slots:
            assert Grant(event.request_id, event.model) in actions


CALM_CHECKS = (
    no_slot_is_free_while_somebody_waits_for_it,
    no_load_passes_a_model_that_was_wanted_longer,
    no_lease_begins_on_a_model_that_has_to_leave,
    a_request_for_a_free_slot_is_granted_at_once,
)


def check_calm_steps(plan: WorldPlan) -> None:
    world = World(plan, *CALM_CHECKS)
    report = world.run()
    assert {r.outcome for r in report.requests if r.model in world.machine.models} <= {
        *("served", "left", "cancelled"),
    }
    check_rest(world, report)


def test_in_calm_worlds_every_step_serves_whom_it_can_and_the_oldest_first() -> None:
    for plan in worlds(calm_world, "steps"):
        check_calm_steps(plan)


# --- whatever goes wrong -----------------------------------------------------------------------


def check_rest(world: World, report: SimulationReport) -> None:
    """One outcome each (a second one breaks a rule of the world), and nothing left anywhere."""
    assert all(request.outcome is not None for request in report.requests), "somebody is left waiting"
    assert not world.simulation.waiting
    assert world.scheduler.next_deadline_s() is None
    assert world.scheduler.leases == 0
    for name, model in world.machine.models.items():
        view = world.scheduler.view(name)
        worker = world.machine.workers.get(name)
        assert (view.leases, view.queued) == (0, 0)
        assert view.state == "ready" if worker else view.state in ("unloaded", "failed")
        assert worker is None or worker.phase == "ready"
        keeps = model.spec.pinned or model.spec.idle_unload_s is None
        assert worker is None or keeps, f"'{name}' is idle for ever and never unloaded"
    assert set(world.machine.workers) <= set(world.machine.models), "a process that nobody knows"


def everybody_hears_why_a_load_failed(
    world: World, now_s: float, event: Event, actions: Sequence[Action]
) -> None:
    """At once, with the cause; nobody is left to wait for a next try that nobody asked for."""
    if isinstance(event, WorkerExited) and event.error is not None and BROKEN in event.error.message:
        stay = [stay for stay in world.machine.stays if stay.model == event.model and stay.gone_s == now_s][
            -1
        ]
        if stay.stop_s is not None or event.model not in world.machine.models:
            return  # it was told to stop; or it is no longer configured
        if any(isinstance(a, Start) and a.model == event.model for a in actions):
            assert _was_replaced(world, event.model), "a failed load is tried again in the same step"
            return
        for rejection in (action for action in actions if isinstance(action, Reject)):
            is_waiter = world.simulation.requests[rejection.request_id].model == event.model
            assert not is_waiter or BROKEN in rejection.error.message
        assert not [r for r in world.simulation.waiting if r.model == event.model and r.kind != "unload"]


def _was_replaced(world: World, name: str) -> bool:
    return any(isinstance(h, Reconfigured) for h in world.plan.script)


def check_back_off(plan: WorldPlan, report: SimulationReport) -> None:
    """The second broken load in a row is followed by a pause of 1 s, then 2 s, 4 s, … 60 s."""
    if any(isinstance(h, LoadAsked | Reconfigured) for h in plan.script):
        return  # both are a new attempt at once, by whoever runs the server
    for model in plan.models:
        failures, gone_s = 0, 0.0
        for stay in (stay for stay in report.stays if stay.model == model.name):
            pause_s = 0.0 if failures < 2 else min(60.0, 2.0 ** (failures - 2))
            assert stay.started_s >= gone_s + pause_s, (
                f"{stay} after {failures} failures, the last at {gone_s}"
            )
            is_broken = stay.error is not None and stay.error.code == "load_failed" and stay.stop_s is None
            failures = failures + 1 if is_broken else 0
            gone_s = stay.gone_s or 0.0


def check_wild(plan: WorldPlan) -> None:
    world = World(plan, everybody_hears_why_a_load_failed)
    report = world.run()
    check_rest(world, report)
    check_back_off(plan, report)


def test_whatever_goes_wrong_every_request_ends_once_and_all_comes_to_rest() -> None:
    for plan in worlds(wild_world, "wild"):
        check_wild(plan)


@settings(max_examples=N_SHRINKABLE)
@given(rng=dice)
def test_whatever_goes_wrong_in_a_small_world(rng: Random) -> None:
    check_wild(wild_world(rng))


# --- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin_s", [-1024.0, 2.0**22])
def test_the_clock_only_moves_by_what_is_passed_in(origin_s: float) -> None:
    """The same world at another time of the clock: the same steps, so much later."""
    for number in range(N_WORLDS // 10):
        plan = wild_world(Random(f"clock {number}"))
        now, then = World(plan), World(plan, origin_s=origin_s)
        now.run()
        then.run()
        steps = [(at_s - origin_s, event, actions) for at_s, event, actions in then.steps]
        assert [(event, actions) for _, event, actions in now.steps] == [(e, a) for _, e, a in steps]
        assert [at_s for at_s, *_ in steps] == pytest.approx([at_s for at_s, *_ in now.steps], abs=1e-6)
