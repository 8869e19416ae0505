"""SwapScheduler against random traffic, faults and timings, in virtual time.

The world below keeps its own books of processes, leases and bytes, and checks every action of
the scheduler against them.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Literal, assert_never

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import LoadFailed, WorkerCrashed
from inference.scheduler import SwapScheduler
from inference.scheduler_events import (
    Action,
    Cancelled,
    Done,
    Event,
    Grant,
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

BUDGET = 100
MAX_WAIT_S = 10.0
MAX_HOLD_S = 8.0
MAX_LOAD_S = 3.0
MAX_STOP_S = 1.0


@dataclass(frozen=True)
class ModelPlan:
    size: int
    slots: int
    pinned: bool
    load_s: float
    stop_s: float
    measured: int
    failing_loads: int


@dataclass(frozen=True)
class Step:
    """Something from outside, `gap_s` after the step before it."""

    gap_s: float
    kind: Literal["request", "cancel", "load", "unload", "crash", "measure"]
    model: int
    amount: float  # how long a lease is held, which waiter is cancelled, how many bytes are measured


@dataclass
class Process:
    phase: Literal["loading", "ready", "stopping"]
    serial: int
    leases: set[int] = field(default_factory=set)
    has_served: bool = False


class World:
    def __init__(self, plans: list[ModelPlan]) -> None:
        self.plans = {f"m{i}": plan for i, plan in enumerate(plans)}
        self.failing = {name: plan.failing_loads for name, plan in self.plans.items()}
        self.measured = dict.fromkeys(self.plans, 0)
        self.processes: dict[str, Process] = {}
        self.unload_wanted: set[str] = set()
        self.pending: dict[
            int, tuple[str, float, float, int]
        ] = {}  # model, since, hold, how many were before
        self.evicted: set[str] = set()
        self.outcomes: dict[int, str] = {}
        self.waits: list[tuple[float, int]] = []
        self.agenda: list[tuple[float, int, Event]] = []
        self.serials = itertools.count()
        self.ids = itertools.count()
        self.now_s = 0.0
        self.scheduler = SwapScheduler(
            [SchedulerModel(name, p.size, p.slots, p.pinned) for name, p in self.plans.items()],
            SchedulerSettings(BUDGET, 1000, 1000, MAX_WAIT_S),
        )

    # --- running -------------------------------------------------------------------------------

    def run(self, steps: list[Step]) -> None:
        for step in steps:
            self.advance_to(self.now_s + step.gap_s)
            self.take(step)
        for _ in range(100_000):
            if not self.agenda and self.scheduler.next_deadline_s() is None:
                return
            self.advance_to(self.next_s())
        raise AssertionError("the world does not come to rest")

    def next_s(self) -> float:
        deadline_s = self.scheduler.next_deadline_s()
        times = [self.agenda[0][0]] if self.agenda else []
        return min([*times, *([deadline_s] if deadline_s is not None else [])])

    def advance_to(self, until_s: float) -> None:
        while True:
            deadline_s = self.scheduler.next_deadline_s()
            due_s = self.agenda[0][0] if self.agenda else None
            if deadline_s is not None and deadline_s <= until_s and (due_s is None or deadline_s < due_s):
                assert deadline_s > self.now_s, "a deadline that has passed would be a busy loop"
                self.feed(Tick(), deadline_s)
            elif due_s is not None and due_s <= until_s:
                _, serial, event = heapq.heappop(self.agenda)
                self.happen(event, serial, due_s)
            else:
                break
        self.now_s = max(self.now_s, until_s)

    def later(self, delay_s: float, event: Event) -> int:
        serial = next(self.serials)
        heapq.heappush(self.agenda, (self.now_s + delay_s, serial, event))
        return serial

    def happen(self, event: Event, serial: int, at_s: float) -> None:
        """An event of a process counts only if the process is still the same."""
        if isinstance(event, WorkerReady | WorkerExited):
            process = self.processes.get(event.model)
            if process is None or process.serial != serial:
                return
            if isinstance(event, WorkerReady):
                process.phase = "ready"
                self.measured[event.model] = event.measured_bytes or 0
            else:
                self.bury(event.model)
        elif isinstance(event, Released):
            for process in self.processes.values():
                process.leases.discard(event.request_id)
        self.feed(event, at_s)

    def bury(self, name: str) -> None:
        del self.processes[name]
        self.unload_wanted.discard(name)

    def take(self, step: Step) -> None:
        name = f"m{step.model % len(self.plans)}"
        process = self.processes.get(name)
        match step.kind:
            case "request" | "load":
                request_id = next(self.ids)
                self.pending[request_id] = (name, self.now_s, step.amount * MAX_HOLD_S, len(self.pending))
                kind = Requested if step.kind == "request" else LoadRequested
                self.feed(kind(request_id, name), self.now_s)
            case "cancel":
                if self.pending:
                    request_id = sorted(self.pending)[int(step.amount * (len(self.pending) - 1))]
                    del self.pending[request_id]
                    self.outcomes[request_id] = "cancelled"
                    self.feed(Cancelled(request_id), self.now_s)
            case "unload":
                request_id = next(self.ids)
                self.pending[request_id] = (name, self.now_s, 0.0, len(self.pending))
                if process is not None:
                    self.unload_wanted.add(name)
                self.feed(UnloadRequested(request_id, name), self.now_s)
            case "crash":
                if process is not None and process.phase == "ready":
                    self.bury(name)
                    self.feed(WorkerExited(name, WorkerCrashed("died").info()), self.now_s)
            case "measure":
                if process is not None and process.phase == "ready":
                    self.measured[name] = int(step.amount * 150)
                    self.feed(Measured(name, self.measured[name]), self.now_s)
            case _:
                assert_never(step.kind)

    def feed(self, event: Event, at_s: float) -> None:
        self.now_s = at_s
        for action in self.scheduler.handle(event, at_s):
            self.check_and_carry_out(action)

    # --- checking ------------------------------------------------------------------------------

    def check_and_carry_out(self, action: Action) -> None:
        match action:
            case Start():
                self.check_start(action.model)
            case Stop():
                self.check_stop(action.model)
            case Grant():
                name, since_s, hold_s, before = self.pending.pop(action.request_id)
                process = self.processes[action.model]
                assert name == action.model
                assert process.phase == "ready"
                process.leases.add(action.request_id)
                process.has_served = True
                assert len(process.leases) <= self.plans[name].slots
                self.settle(action.request_id, "granted")
                self.waits.append((self.now_s - since_s, before))
                self.later(hold_s, Released(action.request_id))
            case Done() | Reject():
                self.pending.pop(action.request_id)
                self.settle(action.request_id, "done" if isinstance(action, Done) else action.error.code)
            case _:
                assert_never(action)

    def settle(self, request_id: int, outcome: str) -> None:
        assert request_id not in self.outcomes, "one outcome each"
        self.outcomes[request_id] = outcome

    def check_start(self, name: str) -> None:
        assert name not in self.processes, "double start"
        assert all(p.phase != "loading" for p in self.processes.values()), "one load at a time"
        waited_for = any(model == name for model, *_ in self.pending.values())
        assert waited_for or name in self.evicted, "a load for nobody, and nobody who comes back"
        taken = sum(self.footprint(other) for other in self.processes)
        assert taken + self.footprint(name) <= BUDGET, "started over the budget"
        plan = self.plans[name]
        if self.failing[name] > 0:
            self.failing[name] -= 1
            serial = self.later(plan.load_s, WorkerExited(name, LoadFailed("scripted").info()))
        else:
            serial = self.later(plan.load_s, WorkerReady(name, plan.measured))
        self.processes[name] = Process("loading", serial)

    def check_stop(self, name: str) -> None:
        process = self.processes[name]
        assert process.phase != "stopping", "stopped twice"
        assert not process.leases, "a leased model was stopped"
        if name not in self.unload_wanted:
            assert process.phase == "ready", "only a request to unload ends a load"
            assert not self.plans[name].pinned, "a pinned model was evicted"
            waited_for = any(model == name for model, *_ in self.pending.values())
            assert process.has_served or not waited_for, "evicted before it served one of its waiters"
            self.evicted.add(name)
        process.phase = "stopping"
        process.serial = self.later(self.plans[name].stop_s, WorkerExited(name))

    def footprint(self, name: str) -> int:
        size = self.plans[name].size
        measured = max(size, self.measured[name])
        return min(measured, BUDGET) if size <= BUDGET else measured


models = st.lists(
    st.builds(
        ModelPlan,
        size=st.integers(10, 110),
        slots=st.integers(1, 3),
        pinned=st.integers(0, 9).map(lambda n: n == 0),
        load_s=st.floats(0.0, MAX_LOAD_S),
        stop_s=st.floats(0.0, MAX_STOP_S),
        measured=st.integers(0, 120),
        failing_loads=st.sampled_from([0, 0, 0, 1, 3]),
    ),
    min_size=1,
    max_size=4,
)
kinds = st.sampled_from(["request"] * 8 + ["cancel", "cancel", "load", "unload", "crash", "measure"])
gaps = st.one_of(st.just(0.0), st.floats(0.0, 1.0), st.floats(0.0, 20.0))


def steps(kinds: st.SearchStrategy[str]) -> st.SearchStrategy[list[Step]]:
    return st.lists(
        st.builds(Step, gap_s=gaps, kind=kinds, model=st.integers(0, 3), amount=st.floats(0.0, 1.0)),
        max_size=60,
    )


@settings(max_examples=400, deadline=None)
@given(plans=models, trace=steps(kinds))
def test_every_request_ends_once_and_no_rule_is_broken(plans: list[ModelPlan], trace: list[Step]) -> None:
    world = World(plans)
    world.run(trace)
    assert not world.pending, "nobody is left waiting"
    assert world.scheduler.leases == 0
    for name, process in world.processes.items():
        assert process.phase == "ready"
        assert world.scheduler.view(name).queued == 0


@settings(max_examples=400, deadline=None)
@given(plans=models, trace=steps(st.just("request")))
def test_nobody_starves(plans: list[ModelPlan], trace: list[Step]) -> None:
    """A request waits for max_wait at most, and for a drain, an exit and a load for each one before it.

    Two more rounds are for what is under way when it comes of age, and for its own.
    """
    calm = [ModelPlan(p.size, p.slots, p.pinned, p.load_s, p.stop_s, p.measured, 0) for p in plans]
    world = World(calm)
    world.run(trace)
    round_s = MAX_HOLD_S + MAX_STOP_S + MAX_LOAD_S
    for waited_s, before in world.waits:
        assert waited_s <= MAX_WAIT_S + (before + 2) * round_s
