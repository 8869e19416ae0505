"""What the scheduler is told, what it orders, and what it shows: values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inference.errors import ErrorInfo
from inference.footprint import Footprint

Lane = Literal["interactive", "batch", "exclusive"]
"""How a request wants to be run: soon; behind those who want it soon; or alone on the machine, for timing."""

# --- what it is told ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Requested:
    """Somebody wants a lease; ends in Grant, Reject or Cancelled."""

    request_id: int
    model: str
    lane: Lane = "interactive"


@dataclass(frozen=True, slots=True)
class LoadRequested:
    """Somebody wants the model resident, without a lease; ends in Done, Reject or Cancelled."""

    request_id: int
    model: str


@dataclass(frozen=True, slots=True)
class UnloadRequested:
    """Drain and stop the model, pinned or not; ends in Done when its process is gone."""

    request_id: int
    model: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Nobody waits for this answer any more. If it was granted meanwhile, the lease is given back."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Released:
    """`kept_s`: seconds of prefill that the model's caches would save the same client next time."""

    request_id: int
    kept_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerReady:
    model: str
    measured_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The process is reaped. `error` says why if nobody had asked for it."""

    model: str
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class LoadBlocked:
    """No process was started: the budget has room, the device has only `free_bytes`. `held_by` says
    who else is known to be on it."""

    model: str
    free_bytes: int
    held_by: str = ""


@dataclass(frozen=True, slots=True)
class ModelsChanged:
    """What is configured from now on. Models of `replaced` differ in what their worker is told."""

    models: tuple[SchedulerModel, ...]
    replaced: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Measured:
    model: str
    measured_bytes: int


@dataclass(frozen=True, slots=True)
class DryRunDone:
    """What a load will take, as the engine itself says."""

    model: str
    dry_run_bytes: int


@dataclass(frozen=True, slots=True)
class Closing:
    """Nobody new is let in, waiters are sent away, leases run on."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; `next_deadline_s` said that it matters."""


Event = (
    Requested
    | LoadRequested
    | UnloadRequested
    | Cancelled
    | Released
    | WorkerReady
    | WorkerExited
    | LoadBlocked
    | ModelsChanged
    | Measured
    | DryRunDone
    | Closing
    | Tick
)


# --- what it orders ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    model: str


@dataclass(frozen=True, slots=True)
class Stop:
    model: str


@dataclass(frozen=True, slots=True)
class Grant:
    request_id: int
    model: str


@dataclass(frozen=True, slots=True)
class Done:
    """A LoadRequested or UnloadRequested came true."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Reject:
    request_id: int
    error: ErrorInfo


Action = Start | Stop | Grant | Done | Reject


# --- what it knows -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SchedulerModel:
    """`dry_run_bytes` and `measured_bytes`: as known from before, if they are.

    `priority`: among models waiting, and against those that must leave for them; higher first.
    `reload_s`: what a load is expected to take until one was seen. `idle_unload_s` None: never.
    """

    name: str
    estimated_bytes: int
    slots: int = 1
    pinned: bool = False
    unavailable: ErrorInfo | None = None
    dry_run_bytes: int | None = None
    measured_bytes: int | None = None
    priority: int = 0
    idle_unload_s: float | None = None
    reload_s: float = 1.0


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    budget_bytes: int
    max_queue_per_model: int = 64
    max_queue_total: int = 512
    max_wait_s: float = 10.0
    measured_wins: bool = False  # over estimate and dry run; else it only raises them (footprint.py)
    min_residency_s: float = 0.0  # after a load, before the model may leave for another of its rank
    memory_wait_s: float = 10.0  # for memory of the device that the budget counts on and others hold


State = Literal["unloaded", "loading", "ready", "unloading", "failed"]


@dataclass(frozen=True, slots=True)
class SeatView:
    """One model as seen from outside. "failed" is unloaded with a reason."""

    state: State
    dry_run_bytes: int | None
    measured_bytes: int | None
    footprint: Footprint
    leases: int
    queued: int
    error: ErrorInfo | None
