"""Who answers a background request (routing.py): one that never makes the model leave with which the work
itself is done. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference.scheduler_events import State


@dataclass(frozen=True, slots=True)
class Seat:
    """A local model at this moment. `last_used`: a count that grows with every request, 0 for none yet."""

    model: str
    state: State
    last_used: int = 0


def stand_in(target: str, seats: Sequence[Seat]) -> str:
    """Which model answers a background request: the first of

    1. `target`, the role's own model, if it is ready
    2. of the ready models the one used last
    3. `target`, and then any other, while it is loading: that load is under way anyway
    4. `target`, which is loaded for it: nobody is there who would have to leave
    """
    for state in ("ready", "loading"):
        there = [seat for seat in seats if seat.state == state]
        if there:
            return max(there, key=lambda seat: (seat.model == target, seat.last_used)).model
    return target
