"""Who leaves so that a target fits: pure.

Least recently used first, just enough bytes, nobody for nothing. The caller offers only models
that may leave: never a pinned one, and leased ones only when it is ready to drain them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that may leave. A leased one counts as used now."""

    name: str
    footprint_bytes: int
    last_used_s: float


def choose_victims(missing_bytes: int, candidates: Iterable[Resident]) -> tuple[str, ...] | None:
    """Names whose leaving frees `missing_bytes`, least recently used first; None if all are too few."""
    chosen: list[Resident] = []
    still_missing = missing_bytes
    for resident in sorted(candidates, key=lambda r: r.last_used_s):
        if still_missing <= 0:
            break
        chosen.append(resident)
        still_missing -= resident.footprint_bytes
    if still_missing > 0:
        return None
    return tuple(resident.name for resident in _without_superfluous(chosen, -still_missing))


def _without_superfluous(chosen: list[Resident], surplus_bytes: int) -> list[Resident]:
    """Spare whom a later, larger victim made needless; the most recently used is spared first."""
    kept: list[Resident] = []
    for resident in reversed(chosen):
        if resident.footprint_bytes <= surplus_bytes:
            surplus_bytes -= resident.footprint_bytes
        else:
            kept.append(resident)
    kept.reverse()
    return kept
