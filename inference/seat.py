"""One model as the scheduler sees it: its phase, who waits for it, who uses it, what it would cost to lose.

    unloaded ──Start──▶ loading ──WorkerReady──▶ ready ──▶ evicting ──▶ unloading ──WorkerExited──▶ unloaded
                           │                       ▲          │  (for another model; reopened if not needed)
                           │                       └──────────┤
                           └──WorkerExited: failed            └  retiring (by request, never reopened)

Values and small rules only; what follows from them is scheduler.py's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from inference.errors import ErrorInfo
from inference.scheduler_events import Lane, SchedulerModel, State

Phase = Literal["unloaded", "loading", "ready", "evicting", "retiring", "unloading"]

STATES: Final[dict[Phase, State]] = {
    "unloaded": "unloaded",
    "loading": "loading",
    "ready": "ready",
    "evicting": "unloading",
    "retiring": "unloading",
    "unloading": "unloading",
}

LANE_RANK: Final[dict[Lane, int]] = {"batch": 0, "interactive": 1, "exclusive": 1}

MAX_LINGER_S = 1.0
"""A model whose clients come straight back is not given up in the pause between two of their requests.
No pause longer than this, or than a reload takes, is waited for."""

LINGER_MARGIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Waiter:
    request_id: int
    since_s: float
    wants_lease: bool
    lane: Lane = "interactive"

    def is_aged(self, now_s: float, max_wait_s: float) -> bool:
        return now_s >= self.since_s + max_wait_s


@dataclass(slots=True)
class Seat:
    model: SchedulerModel
    phase: Phase = "unloaded"
    queue: dict[int, Waiter] = field(default_factory=dict)  # in order of arrival
    leases: dict[int, Lane] = field(default_factory=dict)
    unload_ids: list[int] = field(default_factory=list)
    successor: SchedulerModel | None = None  # takes this one's place when its process is gone
    is_removed: bool = False  # no longer configured; forgotten when its process is gone
    dry_run_bytes: int | None = None
    measured_bytes: int | None = None  # of the last load; kept for the next one
    load_s: float | None = None  # of the last load
    started_s: float = 0.0
    closed_s: float = -math.inf  # when it last took no more leases, for another model's sake
    ready_s: float = -math.inf
    last_used_s: float = 0.0
    pause_s: float | None = None  # typical time between becoming idle and the next request
    kept_s: deque[float] = field(default_factory=lambda: deque(maxlen=1))  # prefill that the caches save
    error: ErrorInfo | None = None
    failed_loads: int = 0
    crashed_s: deque[float] = field(default_factory=lambda: deque(maxlen=16))
    retry_at_s: float = -math.inf
    wants_restore: bool = False  # it left for a model that then failed to load
    blocked_since_s: float | None = None  # its load fits the budget, but not the device
    not_before_s: float = -math.inf

    def __post_init__(self) -> None:
        self.adopt(self.model)

    def adopt(self, model: SchedulerModel) -> None:
        """Be the seat of `model` from now on."""
        self.model = model
        self.dry_run_bytes = model.dry_run_bytes
        self.measured_bytes = model.measured_bytes
        self.kept_s = deque(maxlen=model.slots)
        self.error = None
        self.failed_loads = 0
        self.crashed_s.clear()
        self.retry_at_s = -math.inf

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def oldest_s(self) -> float:
        """Since when somebody waits for want of this model: asked for it, or lost it, whichever was later.

        The model that has just had its turn pushes nobody out for `max_wait` again. If the time before
        counted, two models with long queues would swap after every lease once all had waited so long.
        """
        return self.age[0]

    @property
    def age(self) -> tuple[float, int]:
        """Of its first waiter: the smaller, the older; who came at the same instant in order of arrival."""
        return self.age_of(next(iter(self.queue.values())))

    def age_of(self, waiter: Waiter) -> tuple[float, int]:
        return max(self.closed_s, waiter.since_s), waiter.request_id

    @property
    def is_resident(self) -> bool:
        return self.phase != "unloaded"

    @property
    def has_free_slot(self) -> bool:
        return self.phase == "ready" and len(self.leases) < self.model.slots

    @property
    def is_idle(self) -> bool:
        return self.phase == "ready" and not self.leases and not self.queue

    @property
    def rank(self) -> tuple[int, int]:
        """Whom it comes before: by the model's priority, then by the lanes of those waiting or running."""
        lanes = [LANE_RANK[waiter.lane] for waiter in self.queue.values()]
        lanes += [LANE_RANK[lane] for lane in self.leases.values()]
        return self.model.priority, max(lanes, default=0)

    @property
    def reload_s(self) -> float:
        """What it costs to have it back: the load, and the prefill that its caches save now."""
        load_s = self.model.reload_s if self.load_s is None else self.load_s
        return load_s + sum(self.kept_s)

    @property
    def idle_at_s(self) -> float | None:
        """When it is unloaded for being idle, if nobody comes."""
        after_s = self.model.idle_unload_s
        if after_s is None or self.model.pinned or not self.is_idle:
            return None
        return self.last_used_s + after_s

    def lingers_until_s(self, min_residency_s: float) -> float:
        """Until when an idle model is not given up for another of its rank."""
        until_s = self.ready_s + min_residency_s
        longest_s = min(MAX_LINGER_S, self.model.reload_s if self.load_s is None else self.load_s)
        if self.pause_s is not None and self.pause_s <= longest_s:
            until_s = max(until_s, self.last_used_s + min(longest_s, 2 * self.pause_s + LINGER_MARGIN_S))
        return until_s

    def note_arrival(self, now_s: float) -> None:
        """A request has come: how long was the pause since the last one?"""
        if self.leases or self.queue or self.ready_s == -math.inf:
            return
        pause_s = now_s - self.last_used_s
        self.pause_s = pause_s if self.pause_s is None else (self.pause_s + pause_s) / 2

    def in_turn(self, now_s: float, max_wait_s: float) -> Iterator[Waiter]:
        """In which order to grant: the batch lane behind the others, until it has waited long enough."""

        def turn(waiter: Waiter) -> bool:
            return waiter.lane == "batch" and not waiter.is_aged(now_s, max_wait_s)

        return iter(sorted(self.queue.values(), key=turn))
