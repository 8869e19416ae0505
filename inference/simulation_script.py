"""What a simulation is made of, and what it tells: values only.

A script is a trace of requests (request_trace.py) with disturbances between them. Times count from
the simulation's beginning, in virtual seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from inference.errors import ErrorInfo
from inference.request_trace import TracedRequest
from inference.scheduler_events import Lane, SchedulerModel

# --- the world ---------------------------------------------------------------------------------

LoadEnd = Literal["ready", "broken", "no memory"]


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """What a model's worker does, beside what the scheduler is told of it.

    `load_ends`: how its loads end, one after the other; the last entry holds for all later ones.
    `measured_bytes`: what the worker reports when it is ready.
    `recovery_s`: how long after its exit the device still shows its memory as taken.
    """

    spec: SchedulerModel
    load_s: float = 1.0
    unload_s: float = 0.1
    load_ends: tuple[LoadEnd, ...] = ("ready",)
    measured_bytes: int | None = None
    recovery_s: float = 0.0

    @property
    def name(self) -> str:
        return self.spec.name

    def load_end(self, nth_load: int) -> LoadEnd:
        return self.load_ends[min(nth_load, len(self.load_ends) - 1)]


# --- what happens ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadAsked:
    at_s: float
    model: str


@dataclass(frozen=True, slots=True)
class UnloadAsked:
    at_s: float
    model: str


@dataclass(frozen=True, slots=True)
class Crash:
    """The model's process dies, if there is one that is not being stopped."""

    at_s: float
    model: str


@dataclass(frozen=True, slots=True)
class Growth:
    """The model, if ready, is found to take so much."""

    at_s: float
    model: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class DryRunCame:
    at_s: float
    model: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class ForeignUse:
    """Others hold so much of the device from now on."""

    at_s: float
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """The configuration is replaced. `replaced`: models whose worker would be told something else."""

    at_s: float
    models: tuple[SimulatedModel, ...]
    replaced: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ShutDown:
    at_s: float


Disturbance = LoadAsked | UnloadAsked | Crash | Growth | DryRunCame | ForeignUse | Reconfigured | ShutDown
Happening = TracedRequest | Disturbance


# --- what came of it ---------------------------------------------------------------------------

Kind = Literal["lease", "load", "unload"]
Outcome = Literal["served", "left", "crashed", "done", "rejected", "cancelled"]
"""Of a lease: served to its end; the client left while being served; the worker died under it. Of a load
or unload: done. Of all: rejected with an error, or cancelled while waiting."""


@dataclass(slots=True)
class SimulatedRequest:
    """`outcome` None: still waiting, or being served."""

    request_id: int
    kind: Kind
    model: str
    asked_s: float
    service_s: float = 0.0
    lane: Lane = "interactive"
    client: str | None = None
    kept_s: float = 0.0
    granted_s: float | None = None
    ended_s: float | None = None
    outcome: Outcome | None = None
    error: ErrorInfo | None = None

    @property
    def wait_s(self) -> float | None:
        """None if it was never granted."""
        return None if self.granted_s is None else self.granted_s - self.asked_s


@dataclass(slots=True)
class Stay:
    """One life of a worker process. None: that has not come (yet)."""

    model: str
    started_s: float
    n_bytes: int
    ready_s: float | None = None
    stop_s: float | None = None
    gone_s: float | None = None
    error: ErrorInfo | None = None
    served: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """`swaps`: loads before which somebody had to be stopped. `peak_bytes`: as the budget counts them."""

    requests: tuple[SimulatedRequest, ...]
    stays: tuple[Stay, ...]
    swaps: int
    peak_bytes: int
    ended_s: float

    @property
    def loads(self) -> int:
        return len(self.stays)

    @property
    def waits_s(self) -> list[float]:
        """Of all that were granted, in order of arrival."""
        return [request.wait_s for request in self.requests if request.wait_s is not None]

    @property
    def makespan_s(self) -> float:
        """From the first arrival to the last end."""
        ends = [request.ended_s for request in self.requests if request.ended_s is not None]
        return max(ends) - min(request.asked_s for request in self.requests) if ends else 0.0
