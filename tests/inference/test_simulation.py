"""The simulation itself: what its world does, and that it catches a policy that breaks the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from inference.errors import ErrorInfo
from inference.request_trace import TracedRequest
from inference.scheduler_events import (
    Action,
    Done,
    Event,
    Grant,
    Reject,
    Released,
    Requested,
    SchedulerModel,
    Start,
    Stop,
    Tick,
    WorkerExited,
    WorkerReady,
)
from inference.simulated_machine import Machine, RuleBroken
from inference.simulation import Simulation
from inference.simulation_script import (
    Crash,
    Happening,
    LoadAsked,
    SimulatedModel,
    SimulationReport,
    UnloadAsked,
)

Rule = Callable[[Event, float], list[Action]]


class ByRule:
    """A policy that is a function of the event, and asks for a Tick at one time at most."""

    def __init__(self, rule: Rule, deadline_s: float | None = None) -> None:
        self.rule = rule
        self.deadline_s = deadline_s

    def handle(self, event: Event, now_s: float, /) -> list[Action]:
        return self.rule(event, now_s)

    def next_deadline_s(self) -> float | None:
        return self.deadline_s


MODELS = [
    SimulatedModel(SchedulerModel("a", 60), load_s=2.0, unload_s=0.5),
    SimulatedModel(SchedulerModel("b", 60), load_s=2.0),
    SimulatedModel(SchedulerModel("c", 30, slots=1), load_s=2.0),
]


def play(
    rule: Rule, script: Sequence[Happening], *, models: Sequence[SimulatedModel] = tuple(MODELS)
) -> SimulationReport:
    return Simulation(ByRule(rule), Machine(models, 100)).run(script)


def ask(
    at_s: float, model: str = "c", service_s: float = 1.0, patience_s: float | None = None
) -> TracedRequest:
    return TracedRequest(at_s, model, service_s, patience_s=patience_s)


def one_at_a_time(event: Event, _now_s: float) -> list[Action]:
    """Enough of a policy for requests of c that do not overlap."""
    match event:
        case Requested(request_id=0):
            return [Start("c")]
        case Requested():
            return [Grant(event.request_id, "c")]
        case WorkerReady():
            return [Grant(0, "c")]
        case _:
            return []


# --- what the world does -----------------------------------------------------------------------


def test_a_request_is_granted_when_its_model_is_ready_and_released_after_its_service() -> None:
    report = play(one_at_a_time, [ask(1.0, service_s=4.0)])
    (request,) = report.requests
    assert (request.asked_s, request.granted_s, request.ended_s) == (1.0, 3.0, 7.0)
    assert (request.outcome, request.wait_s, report.makespan_s) == ("served", 2.0, 6.0)
    assert (report.loads, report.swaps, report.peak_bytes) == (1, 0, 30)
    assert report.stays[0].served == [0]


def test_requests_of_one_client_do_not_overlap() -> None:
    script = [TracedRequest(at_s, "c", 5.0, client="x") for at_s in (0.0, 1.0, 30.0)]
    report = play(one_at_a_time, script)
    assert [r.asked_s for r in report.requests] == [0.0, 7.0, 30.0]


def test_a_client_without_patience_leaves_the_queue_or_its_lease_and_goes_on() -> None:
    script = [ask(0.0, service_s=9.0, patience_s=4.0), ask(8.0, service_s=9.0)]
    report = play(one_at_a_time, script)
    assert [(r.outcome, r.ended_s) for r in report.requests] == [("left", 4.0), ("served", 17.0)]

    def never(_event: Event, _now_s: float) -> list[Action]:
        return []

    assert [r.outcome for r in play(never, [ask(0.0, patience_s=4.0)]).requests] == ["cancelled"]


def test_a_crash_ends_the_leases_and_the_policy_hears_of_it_before_their_release() -> None:
    heard: list[Event] = []

    def listen(event: Event, now_s: float) -> list[Action]:
        heard.append(event)
        return one_at_a_time(event, now_s)

    report = play(listen, [ask(0.0, service_s=9.0), Crash(5.0, "c")])
    assert [(r.outcome, r.ended_s) for r in report.requests] == [("crashed", 5.0)]
    crash, release = heard[-2:]
    assert isinstance(crash, WorkerExited)
    assert crash.error is not None
    assert crash.error.code == "worker_crashed"
    assert release == Released(0)


def test_loads_end_as_scripted_and_the_last_end_repeats() -> None:
    broken = SimulatedModel(SchedulerModel("c", 30), load_ends=("ready", "broken", "no memory"))
    codes: list[str] = []

    def again(event: Event, _now_s: float) -> list[Action]:
        match event:
            case Requested():
                return [Start("c")]
            case WorkerReady():
                return [Stop("c")]
            case WorkerExited():
                codes.append(event.error.code if event.error else "stopped")
                return [Start("c")] if len(codes) < 4 else []
            case _:
                return []

    play(again, [ask(0.0, patience_s=100.0)], models=[broken])
    assert codes == ["stopped", "load_failed", "insufficient_memory", "insufficient_memory"]


def test_at_one_instant_requests_come_before_ends_and_ticks_last_or_first() -> None:
    order: list[type[Event]] = []

    def listen(event: Event, now_s: float) -> list[Action]:
        order.append(type(event))
        if isinstance(event, Tick):
            policy.deadline_s = None
        return [] if ids(event) == 1 else one_at_a_time(event, now_s)

    for ticks_first in (False, True):
        order.clear()
        policy = ByRule(listen, deadline_s=3.0)
        Simulation(policy, Machine(MODELS, 100), ticks_first=ticks_first).run(
            [ask(0.0), ask(3.0, patience_s=0.0)]
        )
        at_three = [Tick, Requested, Released] if ticks_first else [Requested, Released, Tick]
        shown = [kind for kind in order if kind in (Tick, Requested, Released)]
        assert shown[1:4] == at_three


# --- what it does not let pass -----------------------------------------------------------------

REFUSED = Reject(0, ErrorInfo(code="overloaded", message="no"))


def on_request(*actions: Action) -> Rule:
    return lambda event, _now_s: list(actions) if isinstance(event, Requested) else []


def then(first: Rule, kind: type[Event], *actions: Action) -> Rule:
    return lambda event, now_s: list(actions) if isinstance(event, kind) else first(event, now_s)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ("no such model", on_request(Start("nobody"))),
        ("started twice", then(on_request(Start("c")), WorkerReady, Start("c"))),
        ("while .* loading", on_request(Start("a"), Start("c"))),
        ("20 bytes over the budget", then(on_request(Start("a")), WorkerReady, Start("b"))),
        ("does not run", on_request(Stop("c"))),
        ("does not run", then(on_request(Start("c")), WorkerReady, Stop("c"), Stop("c"))),
        ("under 1 leases", then(on_request(Start("c")), WorkerReady, Grant(0, "c"), Stop("c"))),
        ("not ready", on_request(Start("c"), Grant(0, "c"))),
        ("wrong grant", then(on_request(Start("a")), WorkerReady, Grant(0, "a"))),
        ("one lease more", then(on_request(Start("c")), WorkerReady, Grant(0, "c"), Grant(1, "c"))),
        ("nobody waits for it", on_request(REFUSED, REFUSED)),
        ("nobody waits for it", then(on_request(Start("c")), WorkerReady, Grant(0, "c"), REFUSED)),
        ("answered with Done", on_request(Done(0))),
    ],
)
def test_a_policy_that_breaks_a_rule_is_caught(broken: str, rule: Rule) -> None:
    def once(event: Event, now_s: float) -> list[Action]:
        is_second = isinstance(event, Requested) and event.request_id == 1
        return [] if is_second else rule(event, now_s)

    with pytest.raises(RuleBroken, match=broken):
        play(once, [ask(0.0), ask(0.0)])


def test_a_load_or_an_unload_is_done_only_when_it_is() -> None:
    def early(_event: Event, _now_s: float) -> list[Action]:
        return [Done(0)]

    with pytest.raises(RuleBroken, match="load of 'c' is answered with Done"):
        play(early, [LoadAsked(0.0, "c")])

    def unload(event: Event, _now_s: float) -> list[Action]:
        return (
            [Stop("c"), Done(1)]
            if isinstance(event, WorkerReady)
            else [Start("c")]
            if ids(event) == 0
            else []
        )

    with pytest.raises(RuleBroken, match="unload of 'c' is answered with Done"):
        play(unload, [LoadAsked(0.0, "c"), UnloadAsked(1.0, "c")])


def ids(event: Event) -> int | None:
    return getattr(event, "request_id", None)


def test_exclusive_leases_are_alone() -> None:
    script = [TracedRequest(0.0, "c", 9.0, lane="exclusive"), TracedRequest(3.0, "a", 1.0)]

    def start_beside(event: Event, now_s: float) -> list[Action]:
        return [Start("a")] if ids(event) == 1 else one_at_a_time(event, now_s)

    with pytest.raises(RuleBroken, match="under an exclusive lease"):
        play(start_beside, script)


def test_asking_again_for_the_tick_that_just_came_is_a_busy_loop() -> None:
    policy = ByRule(lambda _event, _now_s: [], deadline_s=3.0)
    with pytest.raises(RuleBroken, match="busy loop"):
        Simulation(policy, Machine(MODELS, 100)).run([])


def test_a_world_that_does_not_come_to_rest_is_a_broken_rule() -> None:
    def restless(_event: Event, now_s: float) -> list[Action]:
        policy.deadline_s = now_s + 1.0
        return []

    policy = ByRule(restless, deadline_s=1.0)
    with pytest.raises(RuleBroken, match="does not come to rest"):
        Simulation(policy, Machine(MODELS, 100)).run([ask(0.0)])
