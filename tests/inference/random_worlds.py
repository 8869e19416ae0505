"""Random worlds for the scheduler: models, settings and a script, all drawn from one Random.

Times are multiples of a quarter of a second: exact in binary, and so coarse that much happens at
the same instant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from random import Random

from inference.request_trace import TracedRequest
from inference.scheduler import SwapScheduler
from inference.scheduler_events import Action, Event, Grant, Lane, SchedulerModel, SchedulerSettings
from inference.simulated_machine import Machine
from inference.simulation import Simulation
from inference.simulation_script import (
    Crash,
    DryRunCame,
    ForeignUse,
    Growth,
    Happening,
    LoadAsked,
    LoadEnd,
    Reconfigured,
    ShutDown,
    SimulatedModel,
    SimulatedRequest,
    SimulationReport,
    UnloadAsked,
)

BUDGET = 100
MAX_SERVICE_S = 8.0
MAX_LOAD_S = 3.0
MAX_UNLOAD_S = 1.0
NAMES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class WorldPlan:
    models: tuple[SimulatedModel, ...]
    settings: SchedulerSettings
    script: tuple[Happening, ...]
    device_bytes: int | None = None
    ticks_first: bool = False

    def model(self, name: str) -> SimulatedModel:
        return next(model for model in self.models if model.name == name)


class World:
    """A plan, played to the real scheduler. `checks` are called after every step of it."""

    def __init__(self, plan: WorldPlan, *checks: Check, origin_s: float = 0.0) -> None:
        self.plan = plan
        self.checks = checks
        self.draining: set[str] = set()  # after the step before
        self.ready: set[str] = set()  # after the step before
        self.lost_s: dict[str, float] = {}  # when a model last stopped taking leases
        self.steps: list[tuple[float, Event, Sequence[Action]]] = []
        self.scheduler = SwapScheduler([model.spec for model in plan.models], plan.settings)
        self.machine = Machine(
            plan.models,
            plan.settings.budget_bytes,
            device_bytes=plan.device_bytes,
            measured_wins=plan.settings.measured_wins,
        )
        self.simulation = Simulation(
            self.scheduler,
            self.machine,
            origin_s=origin_s,
            ticks_first=plan.ticks_first,
            observer=self.observe,
        )

    def observe(self, now_s: float, event: Event, actions: Sequence[Action]) -> None:
        self.steps.append((now_s, event, actions))
        for check in self.checks:
            check(self, now_s, event, actions)
        ready = {name for name in self.machine.models if self.scheduler.view(name).state == "ready"}
        served = {action.model for action in actions if isinstance(action, Grant)}
        self.lost_s.update(dict.fromkeys((self.ready | served) - ready, now_s))
        self.ready, self.draining = ready, self.names_draining()

    def wanted_since_s(self, name: str, waiting: Sequence[SimulatedRequest]) -> float:
        """Since when they wait for want of the model: asked for it, or lost it, whichever was later."""
        return max(self.lost_s.get(name, -inf), min(request.asked_s for request in waiting))

    def names_draining(self) -> set[str]:
        """Models that take no new lease and are not yet told to stop."""
        ready = {name for name, worker in self.machine.workers.items() if worker.phase == "ready"}
        return {name for name in ready if self.scheduler.view(name).state == "unloading"}

    def run(self) -> SimulationReport:
        return self.simulation.run(self.plan.script)


Check = Callable[[World, float, Event, Sequence[Action]], None]


# --- drawing -----------------------------------------------------------------------------------


def quarters(rng: Random, up_to_s: float) -> float:
    return rng.randint(0, int(up_to_s * 4)) / 4


def calm_world(rng: Random, *, lanes: bool = True) -> WorldPlan:
    """Only traffic, at times more than there is room for: everybody is served at last."""
    return WorldPlan(
        models=tuple(_model(rng, name, calm=True) for name in NAMES[: rng.randint(1, 4)]),
        settings=_settings(rng, patient=True),
        script=_traffic(rng, lanes=lanes),
        ticks_first=rng.random() < 0.3,
    )


def wild_world(rng: Random) -> WorldPlan:
    """Everything that can go wrong, and short queues."""
    models = tuple(_model(rng, name, calm=False) for name in NAMES[: rng.randint(1, 4)])
    has_device = rng.random() < 0.4
    return WorldPlan(
        models=models,
        settings=replace(_settings(rng, patient=rng.random() < 0.8), measured_wins=has_device),
        script=(*_traffic(rng, lanes=True), *_disturbances(rng, models)),
        device_bytes=rng.choice([BUDGET, BUDGET + 20]) if has_device else None,
        ticks_first=rng.random() < 0.3,
    )


def _settings(rng: Random, *, patient: bool) -> SchedulerSettings:
    return SchedulerSettings(
        BUDGET,
        max_queue_per_model=1000 if patient else rng.randint(1, 4),
        max_queue_total=1000 if patient else rng.randint(1, 6),
        max_wait_s=rng.choice([0.0, 2.0, 10.0]),
        min_residency_s=rng.choice([0.0, 0.0, 1.0, 4.0]),
        memory_wait_s=rng.choice([2.0, 10.0]),
    )


def _model(rng: Random, name: str, *, calm: bool) -> SimulatedModel:
    ends: list[tuple[LoadEnd, ...]] = [
        ("ready",),
        ("broken",),
        ("broken", "ready"),
        ("no memory", "ready"),
        ("ready", "broken"),
    ]
    spec = SchedulerModel(
        name,
        rng.randint(1, 11 if not calm else 10) * 10,
        slots=rng.randint(1, 3),
        pinned=not calm and rng.random() < 0.1,
        priority=rng.choice([0, 0, 0, 1]),
        idle_unload_s=rng.choice([None, None, 0.0, 5.0, 60.0]),
        reload_s=rng.choice([1.0, 5.0]),
    )
    return SimulatedModel(
        spec,
        load_s=quarters(rng, MAX_LOAD_S),
        unload_s=quarters(rng, MAX_UNLOAD_S),
        load_ends=("ready",) if calm or rng.random() < 0.5 else rng.choice(ends),
        measured_bytes=None if calm else rng.choice([None, None, rng.randint(1, 120)]),
        recovery_s=0.0 if calm else rng.choice([0.0, 0.0, 0.5, 5.0]),
    )


def _traffic(rng: Random, *, lanes: bool) -> tuple[TracedRequest, ...]:
    weights = (6, 2, 1) if lanes and rng.random() < 0.5 else (1, 0, 0)
    gap_s = rng.choice([0.25, 1.0, 8.0])
    leaves = rng.choice([0.0, 0.0, 0.2])
    names = NAMES[: rng.randint(1, 4)]
    lane_names: tuple[Lane, ...] = ("interactive", "batch", "exclusive")
    is_heavy = rng.random() < 0.2
    requests: list[TracedRequest] = []
    at_s = 0.0
    for _ in range(rng.randint(1, 40)):
        at_s += rng.choice([0.0, quarters(rng, gap_s)])
        service_s = rng.choice([0.0, quarters(rng, 1.0), quarters(rng, MAX_SERVICE_S)])
        requests.append(
            TracedRequest(
                at_s,
                rng.choice(names),
                MAX_SERVICE_S if is_heavy else service_s,
                lane=rng.choices(lane_names, weights)[0],
                client=rng.choice([None, None, "x", "y"]),
                patience_s=quarters(rng, 16.0) if rng.random() < leaves else None,
                kept_s=rng.choice([0.0, 2.0]),
            )
        )
    return tuple(requests)


def _disturbances(rng: Random, models: tuple[SimulatedModel, ...]) -> tuple[Happening, ...]:
    return tuple(_disturbance(rng, models) for _ in range(rng.choice([0, 1, 3, 10])))


def _disturbance(rng: Random, models: tuple[SimulatedModel, ...]) -> Happening:
    at_s, name = quarters(rng, rng.choice([4.0, 40.0])), rng.choice(models).name
    kind = rng.choice(["load", "unload", "crash", "crash", "growth", "dry run", "foreign", "change", "end"])
    match kind:
        case "load":
            return LoadAsked(at_s, name)
        case "unload":
            return UnloadAsked(at_s, name)
        case "crash":
            return Crash(at_s, name)
        case "growth":
            return Growth(at_s, name, rng.randint(1, 150))
        case "dry run":
            return DryRunCame(at_s, name, rng.randint(1, 110))
        case "foreign":
            return ForeignUse(at_s, rng.randint(0, BUDGET))
        case "change":
            kept = tuple(model for model in models if rng.random() < 0.7)
            added = tuple(_model(rng, model.name, calm=False) for model in models if model not in kept)
            if rng.random() < 0.3:
                added = added[1:]
            return Reconfigured(at_s, kept + added, frozenset(model.name for model in added))
        case _:
            return ShutDown(at_s + 20.0)
