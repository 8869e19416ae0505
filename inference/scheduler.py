"""SwapScheduler: who may run, who must leave, who comes next. Pure: events in, actions out.

It owns the queues, the leases and the phase of every model; it knows no process, no socket and
no clock (each event comes with the time). The pool feeds it and carries out its actions.

    unloaded ──Start──▶ loading ──WorkerReady──▶ ready ──▶ evicting ──▶ unloading ──WorkerExited──▶ unloaded
                           │                       ▲          │  (for another model; reopened if not needed)
                           │                       └──────────┤
                           └──WorkerExited: failed            └  retiring (unload by request; never reopened)

Rules
- A model has `slots` leases; who asks for more waits here, first come first served, and visibly.
- One load at a time: no double start, and each measured delta belongs to one model.
- Whether a model can fit is known before anybody is evicted for it.
- A resident model goes on serving while others wait for its memory, until the oldest of them has
  waited `max_wait_s`; then it takes no new lease, drains and leaves. An idle one leaves at once.
- A waiter is granted in the same step in which its model becomes ready: a model is never evicted
  before it served one of those it was loaded for.
- Memory counts as taken until the process is gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, assert_never

import msgspec

from inference.errors import (
    ErrorInfo,
    InsufficientMemory,
    LoadFailed,
    Overloaded,
    ShuttingDown,
    UnknownModel,
    Unloaded,
)
from inference.eviction import Resident, choose_victims
from inference.footprint import Footprint, footprint, predicted
from inference.scheduler_events import (
    Action,
    Cancelled,
    Closing,
    Done,
    DryRunDone,
    Event,
    Grant,
    LoadRequested,
    Measured,
    Reject,
    Released,
    Requested,
    SchedulerModel,
    SchedulerSettings,
    SeatView,
    Start,
    State,
    Stop,
    Tick,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
)

FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
BUSY_RETRY_S = 1.0
"""When to come back to a full queue of a model that is loaded; for others it is `max_wait_s`."""


Phase = Literal["unloaded", "loading", "ready", "evicting", "retiring", "unloading"]

_STATES: dict[Phase, State] = {
    "unloaded": "unloaded",
    "loading": "loading",
    "ready": "ready",
    "evicting": "unloading",
    "retiring": "unloading",
    "unloading": "unloading",
}


@dataclass(frozen=True, slots=True)
class _Waiter:
    request_id: int
    since_s: float
    wants_lease: bool


@dataclass(slots=True)
class _Seat:
    model: SchedulerModel
    phase: Phase = "unloaded"
    queue: dict[int, _Waiter] = field(default_factory=dict)  # in order of arrival
    leases: set[int] = field(default_factory=set)
    unload_ids: list[int] = field(default_factory=list)
    dry_run_bytes: int | None = None
    measured_bytes: int | None = None  # of the last load; kept for the next one
    last_used_s: float = 0.0
    error: ErrorInfo | None = None
    failed_loads: int = 0
    retry_at_s: float = -math.inf

    @property
    def oldest_s(self) -> float:
        return next(iter(self.queue.values())).since_s

    @property
    def is_resident(self) -> bool:
        return self.phase != "unloaded"

    @property
    def has_free_slot(self) -> bool:
        return self.phase == "ready" and len(self.leases) < self.model.slots


class SwapScheduler:
    def __init__(self, models: Iterable[SchedulerModel], settings: SchedulerSettings) -> None:
        self._settings = settings
        self._seats = {
            model.name: _Seat(model, dry_run_bytes=model.dry_run_bytes, measured_bytes=model.measured_bytes)
            for model in models
        }
        self._seat_of: dict[int, _Seat] = {}  # of every waiting or leased request
        self._target: _Seat | None = None  # next to start; memory is being freed for it
        self._has_evicted = False  # since the last start
        self._closing = False
        self._now_s = 0.0
        self._actions: list[Action] = []
        self.swaps = 0

    def handle(self, event: Event, now_s: float) -> list[Action]:
        """What to do about `event`. `now_s` is monotonic."""
        self._now_s = now_s
        self._actions = []
        self._note(event)
        self._advance()
        return self._actions

    def next_deadline_s(self) -> float | None:
        """When a Tick is due, if nothing else happens before."""
        if self._is_moving():
            return None  # the worker's next word moves things on
        waiting = [seat.oldest_s for seat in self._cold_seats()]
        return min(waiting) + self._settings.max_wait_s if waiting else None

    def view(self, model: str) -> SeatView:
        seat = self._seats[model]
        failed = seat.phase == "unloaded" and seat.error is not None
        return SeatView(
            state="failed" if failed else _STATES[seat.phase],
            dry_run_bytes=seat.dry_run_bytes,
            measured_bytes=seat.measured_bytes,
            footprint=self._footprint_of(seat),
            leases=len(seat.leases),
            queued=len(seat.queue),
            error=seat.error,
        )

    def footprint_bytes(self, model: str) -> int:
        return self._footprint(self._seats[model])

    @property
    def leases(self) -> int:
        return sum(len(seat.leases) for seat in self._seats.values())

    # --- taking note of an event ---------------------------------------------------------------

    def _note(self, event: Event) -> None:
        match event:
            case Requested() | LoadRequested():
                self._on_asked(event.request_id, event.model, wants_lease=isinstance(event, Requested))
            case UnloadRequested():
                self._on_unload(event.request_id, event.model)
            case Cancelled() | Released():
                self._on_gone(event.request_id)
            case WorkerReady():
                self._on_ready(self._seats[event.model], event.measured_bytes)
            case WorkerExited():
                self._on_exited(self._seats[event.model], event.error)
            case Measured():
                self._seats[event.model].measured_bytes = event.measured_bytes
            case DryRunDone():
                self._seats[event.model].dry_run_bytes = event.dry_run_bytes
            case Closing():
                self._closing = True
                for seat in self._seats.values():
                    self._reject_queue(seat, ShuttingDown("the server is shutting down").info())
            case Tick():
                pass
            case _:
                assert_never(event)

    def _on_asked(self, request_id: int, model: str, *, wants_lease: bool) -> None:
        seat = self._seats.get(model)
        refusal = self._refusal(seat, model, wants_lease=wants_lease)
        if seat is None or refusal is not None:
            self._actions.append(Reject(request_id, refusal or _unknown(model)))
        elif seat.phase == "ready" and not wants_lease:
            self._actions.append(Done(request_id))
        else:
            seat.queue[request_id] = _Waiter(request_id, self._now_s, wants_lease)
            self._seat_of[request_id] = seat

    def _refusal(self, seat: _Seat | None, model: str, *, wants_lease: bool) -> ErrorInfo | None:
        """Why a newcomer may not even wait. A load by request is an explicit retry: no back-off."""
        if self._closing:
            return ShuttingDown("the server is shutting down").info()
        if seat is None:
            return _unknown(model)
        if seat.model.unavailable is not None:
            return seat.model.unavailable
        if seat.phase == "unloaded":
            if wants_lease and seat.error is not None and self._now_s < seat.retry_at_s:
                return _still_failing(seat.error, seat.retry_at_s - self._now_s)
            if too_large := self._too_large(seat):
                return too_large
        if seat.has_free_slot and not seat.queue:
            return None
        return self._queue_full(seat)

    def _queue_full(self, seat: _Seat) -> ErrorInfo | None:
        limits = self._settings
        if len(seat.queue) >= limits.max_queue_per_model:
            full = f"the queue of model '{seat.model.name}' is full ({limits.max_queue_per_model} waiting)"
        elif sum(len(other.queue) for other in self._seats.values()) >= limits.max_queue_total:
            full = f"the server's queue is full ({limits.max_queue_total} waiting)"
        else:
            return None
        retry_after_s = BUSY_RETRY_S if seat.phase == "ready" else max(BUSY_RETRY_S, limits.max_wait_s)
        return Overloaded(f"{full}: retry in {retry_after_s:.0f} s", retry_after_s=retry_after_s).info()

    def _on_unload(self, request_id: int, model: str) -> None:
        seat = self._seats.get(model)
        if seat is None:
            self._actions.append(Reject(request_id, _unknown(model)))
            return
        self._reject_queue(seat, Unloaded(f"model '{model}' was unloaded by request: ask again").info())
        if seat.phase == "unloaded":
            self._actions.append(Done(request_id))
            return
        seat.unload_ids.append(request_id)
        if seat.phase != "unloading":
            self._close(seat, "retiring")

    def _on_gone(self, request_id: int) -> None:
        seat = self._seat_of.pop(request_id, None)
        if seat is None:  # its model crashed or was rejected before, or it waits for an unload
            for other in self._seats.values():
                if request_id in other.unload_ids:
                    other.unload_ids.remove(request_id)
        elif request_id in seat.queue:
            del seat.queue[request_id]
        else:
            seat.leases.discard(request_id)
            seat.last_used_s = self._now_s
            if not seat.leases and seat.phase in ("evicting", "retiring"):
                self._stop(seat)

    def _on_ready(self, seat: _Seat, measured_bytes: int | None) -> None:
        if seat.phase != "loading":
            return  # unloaded by request in the meantime
        seat.phase = "ready"
        seat.error = None
        seat.failed_loads = 0
        seat.retry_at_s = -math.inf
        seat.last_used_s = self._now_s
        if measured_bytes is not None:
            seat.measured_bytes = measured_bytes
        self._answer_loads(seat)

    def _on_exited(self, seat: _Seat, error: ErrorInfo | None) -> None:
        was, seat.phase = seat.phase, "unloaded"
        for request_id in seat.leases:
            del self._seat_of[request_id]
        seat.leases.clear()
        self._actions += [Done(request_id) for request_id in seat.unload_ids]
        seat.unload_ids.clear()
        if was == "loading":
            self._on_load_failed(seat, error or LoadFailed("the worker ended while it was loading").info())
        elif was != "unloading":
            seat.error = error

    def _on_load_failed(self, seat: _Seat, error: ErrorInfo) -> None:
        """Tell every waiter why. The next request tries again, from the second failure on after a pause."""
        seat.error = error
        seat.failed_loads += 1
        if seat.failed_loads > 1:
            backoff_s = FIRST_BACKOFF_S * 2.0 ** min(seat.failed_loads - 2, 16)
            seat.retry_at_s = self._now_s + min(MAX_BACKOFF_S, backoff_s)
        self._reject_queue(seat, error)

    def _reject_queue(self, seat: _Seat, error: ErrorInfo) -> None:
        for request_id in seat.queue:
            del self._seat_of[request_id]
            self._actions.append(Reject(request_id, error))
        seat.queue.clear()

    def _answer_loads(self, seat: _Seat) -> None:
        for waiter in [w for w in seat.queue.values() if not w.wants_lease]:
            del seat.queue[waiter.request_id]
            del self._seat_of[waiter.request_id]
            self._actions.append(Done(waiter.request_id))

    # --- deciding ------------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._target is not None and not self._target_is_sound(self._target):
            self._give_up_target()
        self._grant_waiting()
        if not self._is_moving():
            self._choose_target()
        if self._target is not None and self._footprint(self._target) <= self._free_bytes():
            self._start(self._target)
            self._grant_waiting()  # whoever was to leave and need not

    def _target_is_sound(self, target: _Seat) -> bool:
        """Somebody still waits for it, and what is leaving will be enough for it."""
        return bool(target.queue) and self._footprint(target) <= self._free_bytes(
            "evicting", "retiring", "unloading"
        )

    def _give_up_target(self) -> None:
        self._target = None
        self._reopen_evicted()

    def _reopen_evicted(self) -> None:
        for seat in self._seats.values():
            if seat.phase == "evicting":
                seat.phase = "ready"
                self._answer_loads(seat)

    def _grant_waiting(self) -> None:
        for seat in self._seats.values():
            while seat.queue and seat.has_free_slot:
                request_id = next(iter(seat.queue))
                del seat.queue[request_id]
                seat.leases.add(request_id)
                seat.last_used_s = self._now_s
                self._actions.append(Grant(request_id, seat.model.name))

    def _is_moving(self) -> bool:
        return self._target is not None or any(s.phase == "loading" for s in self._seats.values())

    def _cold_seats(self) -> list[_Seat]:
        return [seat for seat in self._seats.values() if seat.phase == "unloaded" and seat.queue]

    def _choose_target(self) -> None:
        """The model whose waiter is oldest goes first; one that need not disturb anybody may overtake."""
        for seat in sorted(self._cold_seats(), key=lambda seat: seat.oldest_s):
            if too_large := self._too_large(seat):
                self._reject_queue(seat, too_large)
            elif self._make_room(seat):
                self._target = seat
                return

    def _make_room(self, target: _Seat) -> bool:
        """See to it that memory is, or becomes, free for `target`. False: it must wait for its turn."""
        is_aged = self._now_s >= target.oldest_s + self._settings.max_wait_s
        leaving: tuple[Phase, ...] = ("unloading", "retiring") if is_aged else ("unloading",)
        missing_bytes = self._footprint(target) - self._free_bytes(*leaving)
        victims = choose_victims(missing_bytes, self._candidates(include_busy=is_aged))
        if victims is None:
            return False
        for name in victims:
            self._close(self._seats[name], "evicting")
        return True

    def _candidates(self, *, include_busy: bool) -> list[Resident]:
        return [
            Resident(name, self._footprint(seat), self._now_s if seat.leases else seat.last_used_s)
            for name, seat in self._seats.items()
            if seat.phase == "ready" and not seat.model.pinned and (include_busy or not seat.leases)
        ]

    def _close(self, seat: _Seat, phase: Literal["evicting", "retiring"]) -> None:
        """No new lease from now on; the process is stopped when the last one ends."""
        seat.phase = phase
        if not seat.leases:
            self._stop(seat)

    def _stop(self, seat: _Seat) -> None:
        self._has_evicted |= seat.phase == "evicting"
        seat.phase = "unloading"
        self._actions.append(Stop(seat.model.name))

    def _start(self, seat: _Seat) -> None:
        self._target = None
        seat.phase = "loading"
        seat.error = None
        self.swaps += self._has_evicted
        self._has_evicted = False
        self._actions.append(Start(seat.model.name))
        self._reopen_evicted()

    # --- bytes ---------------------------------------------------------------------------------

    def _footprint(self, seat: _Seat) -> int:
        """What the model takes, or took when it was last loaded.

        A model that should fit the budget is never refused by its own measurement: it loaded, it
        ran; it then fills the seat alone.
        """
        expected = predicted(seat.model.estimated_bytes, seat.dry_run_bytes).n_bytes
        n_bytes = self._footprint_of(seat).n_bytes
        budget = self._settings.budget_bytes
        return min(n_bytes, budget) if expected <= budget else n_bytes

    def _footprint_of(self, seat: _Seat) -> Footprint:
        return footprint(
            seat.model.estimated_bytes,
            seat.dry_run_bytes,
            seat.measured_bytes,
            measured_wins=self._settings.measured_wins,
        )

    def _free_bytes(self, *leaving: Phase) -> int:
        """Free now, or free when those in the `leaving` phases are gone. Negative: over the budget."""
        taken = sum(
            self._footprint(seat)
            for seat in self._seats.values()
            if seat.is_resident and seat.phase not in leaving
        )
        return self._settings.budget_bytes - taken

    def _too_large(self, seat: _Seat) -> ErrorInfo | None:
        """Why the model cannot fit even if everybody left who may."""
        pinned = [s for s in self._seats.values() if s.model.pinned and s.phase in ("loading", "ready")]
        pinned_bytes = sum(self._footprint(s) for s in pinned)
        need = self._footprint(seat)
        budget = self._settings.budget_bytes
        if need <= budget - pinned_bytes:
            return None
        return _insufficient(seat.model.name, need, budget, pinned_bytes, [s.model.name for s in pinned])


def _unknown(model: str) -> ErrorInfo:
    return UnknownModel(f"no model is called '{model}'").info()


def _still_failing(error: ErrorInfo, wait_s: float) -> ErrorInfo:
    wait_s = max(1.0, wait_s)
    message = f"{error.message} (the last loads failed; the next is tried in {wait_s:.0f} s)"
    return msgspec.structs.replace(error, message=message, retry_after_s=wait_s)


def _insufficient(name: str, need: int, budget: int, pinned_bytes: int, pinned: Sequence[str]) -> ErrorInfo:
    held = ""
    remedy = "lower its n_ctx or slots, or raise the budget"
    if pinned:
        names = ", ".join(f"'{other}'" for other in pinned)
        held = f", of which {_size(pinned_bytes)} are held by pinned {names}"
        remedy += f", or unload {names}"
    message = f"model '{name}' needs {_size(need)}, the budget is {_size(budget)}{held}: {remedy}"
    return InsufficientMemory(message).info()


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
