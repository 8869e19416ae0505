"""SwapScheduler: who may run, who must leave, who comes next. Pure: events in, actions out.

It owns the queues, the leases and the phase of every model (seat.py); it knows no process, no
socket and no clock (each event comes with the time). The pool feeds it and carries out its actions.

Rules
- A model has `slots` leases; who asks for more waits here, and visibly: in order of arrival, the
  batch lane behind the others until it has waited `max_wait_s`.
- One load at a time: no double start, and each measured delta belongs to one model.
- Whether a model can fit is known before anybody is evicted for it.
- A resident model goes on serving while others wait for its memory, until the oldest of them has
  waited `max_wait_s`, or at once for one that outranks it (priority, then lane); then it takes no new
  lease, drains and leaves. An idle one leaves at once, unless its clients are known to come straight
  back: then it lingers through such a pause.
- Who leaves is whoever it costs least to lose (eviction.py).
- A waiter is granted in the same step in which its model becomes ready: a model is never evicted
  before it served one of those it was loaded for.
- If a load fails, whoever left for it comes back, unless somebody else needs the room.
- Exclusive leases have the machine to themselves. One waits for a quiet moment, and makes one when
  it is the oldest of all waiters and has waited `max_wait_s`.
- Memory counts as taken until the process is gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, assert_never

from inference.admission import (
    CRASH_WINDOW_S,
    FREE_CRASHES,
    FREE_FAILURES,
    backoff_s,
    not_recovered,
    queue_full,
    still_failing,
    unknown,
)
from inference.errors import ErrorInfo, InsufficientMemory, LoadFailed, ShuttingDown, Unloaded
from inference.eviction import Resident, choose_victims
from inference.memory_budget import MemoryBudget
from inference.scheduler_events import (
    Action,
    Cancelled,
    Closing,
    Done,
    DryRunDone,
    Event,
    Grant,
    Lane,
    LoadBlocked,
    LoadRequested,
    Measured,
    ModelsChanged,
    Reject,
    Released,
    Requested,
    SchedulerModel,
    SchedulerSettings,
    SeatView,
    Start,
    Stop,
    Tick,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
)
from inference.seat import STATES, Phase, Seat, Waiter
from inference.turns import Turns

RETRY_BLOCKED_S = 0.25
"""How often a load that the device had no memory for is tried again."""

PATIENCE_WITH_DEVICE_S = 1.0
"""How long the device may take to show memory as free before somebody is evicted for the lack of it."""


class SwapScheduler:
    def __init__(self, models: Iterable[SchedulerModel], settings: SchedulerSettings) -> None:
        self._settings = settings
        self._seats = {model.name: Seat(model) for model in models}
        self._memory = MemoryBudget(self._seats, settings)
        self._turns = Turns(self._seats, settings)
        self._seat_of: dict[int, Seat] = {}  # of every waiting or leased request
        self._target: Seat | None = None  # next to start; memory is being freed for it
        self._displaced: list[Seat] = []  # stopped for the target, or for what is loading now
        self._exclusive_id: int | None = None
        self._closing = False
        self._now_s = 0.0
        self._actions: list[Action] = []
        self.swaps = 0

    def handle(self, event: Event, now_s: float) -> list[Action]:
        """What to do about `event`. `now_s` is monotonic."""
        self._now_s = now_s
        actions: list[Action] = []
        self._actions = actions
        self._note(event)
        self._advance()
        return actions

    def next_deadline_s(self) -> float | None:
        """When a Tick is due, if nothing else happens before."""
        return self._turns.next_deadline_s(self._now_s, is_moving=self._is_moving())

    def view(self, model: str) -> SeatView:
        seat = self._seats[model]
        failed = seat.phase == "unloaded" and seat.error is not None
        return SeatView(
            state="failed" if failed else STATES[seat.phase],
            dry_run_bytes=seat.dry_run_bytes,
            measured_bytes=seat.measured_bytes,
            footprint=self._memory.footprint(seat),
            leases=len(seat.leases),
            queued=len(seat.queue),
            error=seat.error,
        )

    def footprint_bytes(self, model: str) -> int:
        return self._memory.counted(self._seats[model])

    @property
    def leases(self) -> int:
        return sum(len(seat.leases) for seat in self._seats.values())

    @property
    def has_leases(self) -> bool:
        for seat in self._seats.values():  # noqa: SIM110  (asked at each event: any() costs three times as much)
            if seat.leases:
                return True
        return False

    # --- taking note of an event ---------------------------------------------------------------

    def _note(self, event: Event) -> None:
        match event:
            case Requested():
                self._on_asked(event.request_id, event.model, event.lane, wants_lease=True)
            case LoadRequested():
                self._on_asked(event.request_id, event.model, "interactive", wants_lease=False)
            case UnloadRequested():
                self._on_unload(event.request_id, event.model)
            case Cancelled():
                self._on_gone(event.request_id, 0.0)
            case Released():
                self._on_gone(event.request_id, event.kept_s)
            case WorkerReady():
                self._on_ready(self._seats[event.model], event.measured_bytes)
            case WorkerExited():
                self._on_exited(self._seats[event.model], event.error)
            case LoadBlocked():
                self._on_blocked(self._seats[event.model], event)
            case ModelsChanged():
                self._on_models(event)
            case Measured():
                self._seats[event.model].measured_bytes = event.measured_bytes
            case DryRunDone():
                self._seats[event.model].dry_run_bytes = event.dry_run_bytes
            case Closing():
                self._closing = True
                for seat in self._seats.values():
                    seat.wants_restore = False
                    self._reject_queue(seat, ShuttingDown("the server is shutting down").info())
            case Tick():
                pass
            case _:
                assert_never(event)

    def _on_asked(self, request_id: int, model: str, lane: Lane, *, wants_lease: bool) -> None:
        seat = self._seats.get(model)
        refusal = self._refusal(seat, model, wants_lease=wants_lease)
        if seat is None or refusal is not None:
            self._actions.append(Reject(request_id, refusal or unknown(model)))
        elif seat.phase == "ready" and not wants_lease:
            self._actions.append(Done(request_id))
        else:
            seat.note_arrival(self._now_s)
            self._seat_of[request_id] = seat
            if wants_lease and lane != "exclusive" and self._is_free(seat):
                self._give_lease(seat, request_id, lane)
                return
            seat.queue[request_id] = Waiter(request_id, self._now_s, wants_lease, lane)
            self._turns.n_special += lane != "interactive"

    def _is_free(self, seat: Seat) -> bool:
        """Whether a newcomer passes nobody by not waiting at all."""
        return self._has_room(seat) and self._turns.doorkeeper(self._now_s) is None

    def _has_room(self, seat: Seat) -> bool:
        return seat.has_free_slot and not seat.queue and not self._is_reserved()

    def _refusal(self, seat: Seat | None, model: str, *, wants_lease: bool) -> ErrorInfo | None:
        """Why a newcomer may not even wait. A load by request is an explicit retry: no back-off."""
        if self._closing:
            return ShuttingDown("the server is shutting down").info()
        if seat is None or seat.is_removed:
            return unknown(model)
        if seat.model.unavailable is not None:
            return seat.model.unavailable
        if seat.phase == "unloaded":
            if wants_lease and seat.error is not None and self._now_s < seat.retry_at_s:
                return still_failing(seat.error, seat.retry_at_s - self._now_s)
            if too_large := self._memory.too_large(seat):
                return too_large
        if self._has_room(seat):
            return None
        return queue_full(seat, self._seats.values(), self._settings)

    def _on_unload(self, request_id: int, model: str) -> None:
        seat = self._seats.get(model)
        if seat is None:
            self._actions.append(Reject(request_id, unknown(model)))
            return
        seat.wants_restore = False
        self._reject_queue(seat, Unloaded(f"model '{model}' was unloaded by request: ask again").info())
        if seat.phase == "unloaded":
            self._actions.append(Done(request_id))
            return
        seat.unload_ids.append(request_id)
        if seat.phase != "unloading":
            self._close(seat, "retiring")

    def _on_gone(self, request_id: int, kept_s: float) -> None:
        seat = self._seat_of.pop(request_id, None)
        if seat is None:  # its model crashed or was rejected before, or it waits for an unload
            for other in self._seats.values():
                if request_id in other.unload_ids:
                    other.unload_ids.remove(request_id)
        elif request_id in seat.queue:
            self._dequeue(seat, request_id)
        else:
            del seat.leases[request_id]
            if request_id == self._exclusive_id:
                self._exclusive_id = None
            if kept_s > 0:
                seat.kept_s.append(kept_s)
            seat.last_used_s = self._now_s
            if not seat.leases and seat.phase in ("evicting", "retiring"):
                self._stop(seat)

    def _on_ready(self, seat: Seat, measured_bytes: int | None) -> None:
        if seat.phase != "loading":
            return  # unloaded by request in the meantime
        seat.phase = "ready"
        seat.error = None
        seat.failed_loads = 0
        seat.retry_at_s = -math.inf
        seat.ready_s = seat.last_used_s = self._now_s
        seat.load_s = self._now_s - seat.started_s
        seat.blocked_since_s = None
        if measured_bytes is not None:
            seat.measured_bytes = measured_bytes
        self._displaced.clear()
        self._answer_loads(seat)

    def _on_exited(self, seat: Seat, error: ErrorInfo | None) -> None:
        was, seat.phase = seat.phase, "unloaded"
        for request_id in seat.leases:
            del self._seat_of[request_id]
            if request_id == self._exclusive_id:
                self._exclusive_id = None
        seat.leases.clear()
        seat.kept_s.clear()
        self._actions += [Done(request_id) for request_id in seat.unload_ids]
        seat.unload_ids.clear()
        if seat.is_removed:
            del self._seats[seat.name]
        elif seat.successor is not None:
            seat.adopt(seat.successor)
            seat.successor = None
        elif was == "loading":
            failure = error or LoadFailed("the worker ended while it was loading").info()
            if failure.code != InsufficientMemory.code or not self._make_more_room(seat):
                self._on_load_failed(seat, failure)
        elif was != "unloading":
            self._on_crashed(seat, error)

    def _on_crashed(self, seat: Seat, error: ErrorInfo | None) -> None:
        """Those who wait get a new start; crash upon crash has to pause before it."""
        seat.error = error
        if error is None:
            return
        seat.crashed_s.append(self._now_s)
        recent = sum(self._now_s - at_s < CRASH_WINDOW_S for at_s in seat.crashed_s)
        pause_s = backoff_s(recent - FREE_CRASHES + FREE_FAILURES)
        if pause_s:
            seat.retry_at_s = self._now_s + pause_s
            self._reject_queue(seat, still_failing(error, pause_s))

    def _on_load_failed(self, seat: Seat, error: ErrorInfo) -> None:
        """Tell every waiter why. The next request tries again, from the second failure on after a pause."""
        seat.error = error
        seat.wants_restore = False
        seat.blocked_since_s = None
        seat.failed_loads += 1
        seat.retry_at_s = self._now_s + backoff_s(seat.failed_loads)
        self._reject_queue(seat, error)
        for displaced in self._displaced:
            displaced.wants_restore = not displaced.is_removed and not self._closing
        self._displaced.clear()

    def _on_blocked(self, seat: Seat, event: LoadBlocked) -> None:
        """No process was started for it: wait for the device, then make room on it, at last give up."""
        seat.phase = "unloaded"
        self.swaps -= bool(self._displaced)  # it has not come to that yet
        if not seat.queue:
            seat.wants_restore = False
            return
        if seat.blocked_since_s is None:
            seat.blocked_since_s = self._now_s
        seat.not_before_s = self._now_s + RETRY_BLOCKED_S
        waited_s = self._now_s - seat.blocked_since_s
        need = self._memory.counted(seat)
        self._memory.withheld_bytes = 0
        self._memory.withheld_bytes = max(0, self._memory.free_bytes() - event.free_bytes)
        if waited_s >= self._settings.memory_wait_s:
            error = not_recovered(seat, need, event.free_bytes, event.held_by, waited_s)
            self._on_load_failed(seat, error)
        elif waited_s >= PATIENCE_WITH_DEVICE_S and self._target is None and self._make_room(seat):
            self._target = seat

    def _make_more_room(self, seat: Seat) -> bool:
        """The device was too small for a load that should have fitted: once, try without the idle ones."""
        idle = [s for s in self._seats.values() if s.is_idle and not s.model.pinned]
        if seat.blocked_since_s is not None or not idle or not seat.queue:
            return False
        seat.blocked_since_s = self._now_s
        for other in idle:
            self._close(other, "evicting")
        free_bytes = self._memory.free_bytes("evicting", "unloading")
        self._memory.withheld_bytes += max(0, free_bytes - self._memory.counted(seat))
        self._target = seat
        return True

    def _on_models(self, event: ModelsChanged) -> None:
        """Take on what is configured now; who runs under another configuration drains first."""
        models = {model.name: model for model in event.models}
        for name, model in models.items():
            seat = self._seats.get(name)
            if seat is None:
                self._seats[name] = Seat(model)
            elif seat.is_removed or name in event.replaced:
                self._replace(seat, model)
            elif seat.successor is not None:
                seat.successor = model
            else:
                seat.model = model
        for name, seat in list(self._seats.items()):
            if name not in models:
                self._remove(seat)

    def _replace(self, seat: Seat, model: SchedulerModel) -> None:
        seat.is_removed = False
        if seat.phase == "unloaded":
            seat.adopt(model)
            if model.unavailable is not None:
                self._reject_queue(seat, model.unavailable)
            return
        seat.successor = model
        if seat.phase != "unloading":
            self._close(seat, "retiring")

    def _remove(self, seat: Seat) -> None:
        seat.is_removed = True
        seat.successor = None
        seat.wants_restore = False
        self._reject_queue(seat, unknown(seat.name))
        if seat.phase == "unloaded":
            del self._seats[seat.name]
        elif seat.phase != "unloading":
            self._close(seat, "retiring")

    def _reject_queue(self, seat: Seat, error: ErrorInfo) -> None:
        for request_id in seat.queue:
            del self._seat_of[request_id]
            self._actions.append(Reject(request_id, error))
        self._turns.n_special -= sum(waiter.lane != "interactive" for waiter in seat.queue.values())
        seat.queue.clear()

    def _dequeue(self, seat: Seat, request_id: int) -> Waiter:
        waiter = seat.queue.pop(request_id)
        self._turns.n_special -= waiter.lane != "interactive"
        return waiter

    def _answer_loads(self, seat: Seat) -> None:
        for waiter in [w for w in seat.queue.values() if not w.wants_lease]:
            self._dequeue(seat, waiter.request_id)
            del self._seat_of[waiter.request_id]
            self._actions.append(Done(waiter.request_id))

    # --- deciding ------------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._is_calm():
            self._unload_idle()
            return
        self._forget_blocked()
        if self._target is not None and not self._target_is_sound(self._target):
            self._give_up_target()
        self._grant_waiting()
        self._unload_idle()
        if not self._is_moving() and not self._is_reserved():
            self._choose_target()
        if self._target is not None and self._memory.counted(self._target) <= self._memory.free_bytes():
            self._start(self._target)
            self._grant_waiting()  # whoever was to leave and need not

    def _is_calm(self) -> bool:
        """Nobody waits and nobody moves: nothing is to be decided. So it is after nearly every event."""
        if self._target is not None or self._memory.withheld_bytes:
            return False
        for seat in self._seats.values():
            if seat.queue or seat.wants_restore or seat.blocked_since_s is not None:
                return False
            if seat.phase not in ("ready", "unloaded"):
                return False
        return True

    def _forget_blocked(self) -> None:
        """Memory that others hold matters to those who wait for it only."""
        for seat in self._seats.values():
            if seat.phase == "unloaded" and not seat.queue:
                seat.blocked_since_s = None
        blocked = [seat for seat in self._seats.values() if seat.blocked_since_s is not None]
        if all(seat.not_before_s <= self._now_s for seat in blocked) and self._target is None:
            self._memory.withheld_bytes = 0  # the next try asks the device again

    def _target_is_sound(self, target: Seat) -> bool:
        """Somebody still waits for it, and what is leaving will be enough for it."""
        is_wanted = bool(target.queue) or target.wants_restore
        leaving: tuple[Phase, ...] = ("evicting", "retiring", "unloading")
        return is_wanted and self._memory.counted(target) <= self._memory.free_bytes(*leaving)

    def _give_up_target(self) -> None:
        self._target = None
        self._reopen_evicted()

    def _reopen_evicted(self) -> None:
        for seat in self._seats.values():
            if seat.phase == "evicting":
                seat.phase = "ready"
                self._answer_loads(seat)

    def _grant_waiting(self) -> None:
        if self._is_reserved():
            return
        first = self._turns.doorkeeper(self._now_s)
        for seat in self._seats.values():
            if not seat.queue or not seat.has_free_slot:
                continue
            for waiter in seat.in_turn(self._now_s, self._settings.max_wait_s):
                if waiter.wants_lease and (first is None or waiter is first):
                    self._grant(seat, waiter)

    def _grant(self, seat: Seat, waiter: Waiter) -> None:
        if not seat.has_free_slot or self._is_reserved():
            return
        if waiter.lane == "exclusive":
            if self._is_moving() or self.leases or not self._turns.may_be_alone(waiter, self._now_s):
                return
            self._exclusive_id = waiter.request_id
        self._dequeue(seat, waiter.request_id)
        self._give_lease(seat, waiter.request_id, waiter.lane)

    def _give_lease(self, seat: Seat, request_id: int, lane: Lane) -> None:
        seat.leases[request_id] = lane
        seat.last_used_s = self._now_s
        self._actions.append(Grant(request_id, seat.name))

    def _unload_idle(self) -> None:
        if self._is_reserved():
            return  # ending a process would disturb what is being timed
        for seat in self._seats.values():
            if seat.idle_at_s is not None and seat.idle_at_s <= self._now_s:
                self._close(seat, "retiring")

    def _is_reserved(self) -> bool:
        """Whether somebody has the machine to itself."""
        return self._exclusive_id is not None

    def _is_moving(self) -> bool:
        if self._target is not None:
            return True
        for seat in self._seats.values():  # noqa: SIM110  (asked at each event: any() costs three times as much)
            if seat.phase == "loading":
                return True
        return False

    def _choose_target(self) -> None:
        """Who has waited long enough goes first, by age; then by rank and age. One that need not
        disturb anybody may overtake. Who left for nothing comes back when nobody waits."""
        first = self._turns.doorkeeper(self._now_s)
        for seat in self._turns.cold(self._now_s):
            if first is not None and first.request_id not in seat.queue:
                continue
            if too_large := self._memory.too_large(seat):
                self._reject_queue(seat, too_large)
            elif self._now_s >= seat.not_before_s and self._make_room(seat):
                self._target = seat
                return
        for seat in self._seats.values():
            if seat.wants_restore and not self._turns.cold(self._now_s):
                if seat.phase == "unloaded" and self._memory.counted(seat) <= self._memory.free_bytes():
                    self._target = seat
                    return
                seat.wants_restore = False

    def _make_room(self, target: Seat) -> bool:
        """See to it that memory is, or becomes, free for `target`. False: it must wait for its turn."""
        leaving: tuple[Phase, ...] = (
            ("unloading", "retiring") if self._turns.is_aged(target, self._now_s) else ("unloading",)
        )
        missing_bytes = self._memory.counted(target) - self._memory.free_bytes(*leaving)
        victims = choose_victims(missing_bytes, self._candidates(target))
        if victims is None:
            return False
        for name in victims:
            self._close(self._seats[name], "evicting")
        return True

    def _candidates(self, target: Seat) -> list[Resident]:
        return [
            Resident(
                seat.name,
                self._memory.counted(seat),
                0.0 if seat.leases else self._now_s - seat.last_used_s,
                seat.reload_s,
                seat.model.priority,
            )
            for seat in self._seats.values()
            if self._turns.may_leave(seat, target, self._now_s)
        ]

    def _close(self, seat: Seat, phase: Literal["evicting", "retiring"]) -> None:
        """No new lease from now on; the process is stopped when the last one ends."""
        seat.phase = phase
        if phase == "evicting":
            seat.closed_s = self._now_s
        if not seat.leases:
            self._stop(seat)

    def _stop(self, seat: Seat) -> None:
        if seat.phase == "evicting":
            self._displaced.append(seat)
        seat.phase = "unloading"
        self._actions.append(Stop(seat.name))

    def _start(self, seat: Seat) -> None:
        self._target = None
        seat.phase = "loading"
        seat.error = None
        seat.started_s = self._now_s
        self.swaps += bool(self._displaced)
        self._actions.append(Start(seat.name))
        self._reopen_evicted()
