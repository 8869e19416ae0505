"""Who leaves so that a target fits: pure.

The cheapest set that frees enough. A model costs what it takes to have it back (its load, and the
prefill that its caches save now), as far as it is likely to be wanted: half of that for every
HALF_LIFE_S that nobody has used it. Models of a lower priority go before any of a higher one. The
caller offers only models that may leave: never a pinned one, and leased ones only when it is ready
to drain them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

HALF_LIFE_S = 600.0
"""A model unused for so long is half as likely to be wanted next: ten minutes, a coffee break."""

MAX_EXACT = 12
"""Up to so many candidates every set is looked at; among more, the cheapest per byte goes first."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that may leave. A leased one counts as used now."""

    name: str
    footprint_bytes: int
    idle_s: float = 0.0
    reload_s: float = 1.0
    priority: int = 0

    @property
    def cost_s(self) -> float:
        """Seconds that its leaving is expected to cost."""
        return max(self.reload_s, 1e-3) * math.exp2(-max(0.0, self.idle_s) / HALF_LIFE_S)


def choose_victims(missing_bytes: int, candidates: Iterable[Resident]) -> tuple[str, ...] | None:
    """Names whose leaving frees `missing_bytes`, longest unused first; None if all are too few."""
    residents = sorted(candidates, key=lambda r: -r.idle_s)
    if missing_bytes <= 0:
        return ()
    if sum(r.footprint_bytes for r in residents) < missing_bytes:
        return None
    choose = _exact if len(residents) <= MAX_EXACT else _greedy
    return tuple(r.name for r in choose(missing_bytes, residents))


def _exact(missing_bytes: int, residents: Sequence[Resident]) -> Sequence[Resident]:
    sets = (
        chosen
        for size in range(1, len(residents) + 1)
        for chosen in combinations(residents, size)
        if sum(r.footprint_bytes for r in chosen) >= missing_bytes
    )
    return min(sets, key=_loss)


def _loss(chosen: Sequence[Resident]) -> tuple[int, float, int]:
    """Highest priority lost, seconds lost, bytes freed: the less the better."""
    return (
        max(r.priority for r in chosen),
        sum(r.cost_s for r in chosen),
        sum(r.footprint_bytes for r in chosen),
    )


def _greedy(missing_bytes: int, residents: Sequence[Resident]) -> Sequence[Resident]:
    chosen: list[Resident] = []
    freed = 0
    for resident in sorted(residents, key=lambda r: (r.priority, r.cost_s / max(1, r.footprint_bytes))):
        if freed >= missing_bytes:
            break
        chosen.append(resident)
        freed += resident.footprint_bytes
    for resident in sorted(chosen, key=lambda r: -r.cost_s):  # whom a later, larger one made needless
        if freed - resident.footprint_bytes >= missing_bytes:
            chosen.remove(resident)
            freed -= resident.footprint_bytes
    return chosen
