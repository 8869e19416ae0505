"""How many bytes each model counts for, and how many are left. Pure; the seats are the scheduler's."""

from __future__ import annotations

from collections.abc import Mapping

from inference.errors import ErrorInfo, InsufficientMemory
from inference.footprint import Footprint, footprint, predicted
from inference.scheduler_events import SchedulerSettings
from inference.seat import Phase, Seat


class MemoryBudget:
    """Counts memory as taken until the process is gone.

    `withheld_bytes`: of the budget, but found to be held by others on the device.
    """

    def __init__(self, seats: Mapping[str, Seat], settings: SchedulerSettings) -> None:
        self._seats = seats
        self._budget_bytes = settings.budget_bytes
        self._measured_wins = settings.measured_wins
        self.withheld_bytes = 0

    def counted(self, seat: Seat) -> int:
        """What the model takes, or took when it was last loaded.

        A model that should fit the budget is never refused by its own measurement: it loaded, it
        ran; it then fills the seat alone.
        """
        expected = predicted(seat.model.estimated_bytes, seat.dry_run_bytes).n_bytes
        n_bytes = self.footprint(seat).n_bytes
        return min(n_bytes, self._budget_bytes) if expected <= self._budget_bytes else n_bytes

    def footprint(self, seat: Seat) -> Footprint:
        return footprint(
            seat.model.estimated_bytes,
            seat.dry_run_bytes,
            seat.measured_bytes,
            measured_wins=self._measured_wins,
        )

    def free_bytes(self, *leaving: Phase) -> int:
        """Free now, or free when those in the `leaving` phases are gone. Negative: over the budget."""
        taken = sum(
            self.counted(seat)
            for seat in self._seats.values()
            if seat.is_resident and seat.phase not in leaving
        )
        return self._budget_bytes - self.withheld_bytes - taken

    def too_large(self, seat: Seat) -> ErrorInfo | None:
        """Why the model cannot fit even if everybody left who may."""
        pinned = [
            s
            for s in self._seats.values()
            if s.model.pinned and s is not seat and s.phase in ("loading", "ready")
        ]
        pinned_bytes = sum(self.counted(s) for s in pinned)
        need = self.counted(seat)
        if need <= self._budget_bytes - pinned_bytes:
            return None
        held = ""
        remedy = "lower its n_ctx or slots, or raise the budget"
        if pinned:
            names = ", ".join(f"'{s.name}'" for s in pinned)
            held = f", of which {size(pinned_bytes)} are held by pinned {names}"
            remedy += f", or unload {names}"
        budget = size(self._budget_bytes)
        message = f"model '{seat.name}' needs {size(need)}, the budget is {budget}{held}: {remedy}"
        return InsufficientMemory(message).info()


def size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
