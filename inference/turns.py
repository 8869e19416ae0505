"""Whose turn it is: among those who wait, and among those who might leave for them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from inference.scheduler_events import SchedulerSettings
from inference.seat import Seat, Waiter


class Turns:
    """Reads the scheduler's seats. `n_special` counts waiters of other lanes than interactive, so that
    nothing is looked for where there is none."""

    def __init__(self, seats: Mapping[str, Seat], settings: SchedulerSettings) -> None:
        self._seats = seats
        self._max_wait_s = settings.max_wait_s
        self._min_residency_s = settings.min_residency_s
        self.n_special = 0

    def cold(self, now_s: float) -> list[Seat]:
        """Models to load, the next one first: who has waited long enough by age, then by rank and age."""

        def turn(seat: Seat) -> tuple[bool, int, int, tuple[float, int]]:
            if self.is_aged(seat, now_s):
                return False, 0, 0, seat.age
            priority, lane = seat.rank
            return True, -priority, -lane, seat.age

        return sorted((s for s in self._seats.values() if s.phase == "unloaded" and s.queue), key=turn)

    def is_aged(self, seat: Seat, now_s: float) -> bool:
        """Whether somebody has waited for it as long as anybody should."""
        return bool(seat.queue) and now_s >= seat.oldest_s + self._max_wait_s

    def doorkeeper(self, now_s: float) -> Waiter | None:
        """An exclusive waiter whose time has come: nobody passes it."""
        oldest = self._aged_oldest(now_s)
        return oldest if oldest is not None and oldest.lane == "exclusive" else None

    def may_be_alone(self, waiter: Waiter, now_s: float) -> bool:
        """Whether an exclusive waiter may have a quiet moment: it passes nobody who has waited long."""
        oldest = self._aged_oldest(now_s)
        return oldest is None or oldest is waiter

    def _aged_oldest(self, now_s: float) -> Waiter | None:
        """The oldest of those who wait for a lease, if it has waited long. None where all are interactive."""
        if not self.n_special:
            return None
        waiters = [(s.age_of(w), w) for s in self._seats.values() for w in s.queue.values() if w.wants_lease]
        if not waiters:
            return None
        (since_s, _), oldest = min(waiters, key=lambda aged: aged[0])
        return oldest if now_s >= since_s + self._max_wait_s else None

    def may_leave(self, seat: Seat, target: Seat, now_s: float) -> bool:
        """Whether `seat` may be taken from memory, or be drained for it, to make room for `target`."""
        if seat.phase != "ready" or seat.model.pinned:
            return False
        if self.is_aged(target, now_s):
            return bool(seat.leases) or not seat.queue or target.age < seat.age
        if self.is_aged(seat, now_s):
            return False
        if seat.leases:
            return target.rank > seat.rank
        if seat.queue:  # loaded for an exclusive lease that waits for a quiet moment
            return False
        if target.model.priority != seat.model.priority:
            return target.model.priority > seat.model.priority
        return now_s >= seat.lingers_until_s(self._min_residency_s)

    def next_deadline_s(self, now_s: float, *, is_moving: bool) -> float | None:
        """When time alone changes whose turn it is. `is_moving`: a worker's next word comes first."""
        is_waited_for = False
        first_s = math.inf
        for seat in self._seats.values():
            is_waited_for = is_waited_for or bool(seat.queue)
            at_s = seat.idle_at_s
            if at_s is not None and now_s < at_s < first_s:
                first_s = at_s
        if is_waited_for:
            for at_s in self._deadlines(now_s, is_moving=is_moving):
                if now_s < at_s < first_s:
                    first_s = at_s
        return None if first_s == math.inf else first_s

    def _deadlines(self, now_s: float, *, is_moving: bool) -> Iterator[float]:
        """Of those who wait."""
        if self.n_special:
            waiters = [w for seat in self._seats.values() for w in seat.queue.values()]
            yield from (w.since_s + self._max_wait_s for w in waiters if w.lane != "interactive")
        cold = self.cold(now_s)
        if is_moving or not cold:
            return
        yield from (seat.oldest_s + self._max_wait_s for seat in cold)
        yield from (seat.not_before_s for seat in cold)
        for seat in self._seats.values():
            if seat.is_idle:
                yield seat.lingers_until_s(self._min_residency_s)
