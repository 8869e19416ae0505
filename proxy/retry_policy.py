"""What follows a failed attempt at a remote model: again, the next one, or the end. Pure.

Only what failed before the first byte of an answer gets here. A repetition is for failures of which it
is known that nothing was generated, or that pass by themselves; a fallback is for every failure that is
not the request's own fault. Nobody is asked who failed several times in a row just now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_RETRY_AFTER_S = 30.0
"""A provider that asks for more patience than this is not waited for: the client is told instead."""

PATIENCE_WITH_FALLBACK_S = 2.0
"""Somebody else could answer meanwhile."""

MAX_BACKOFF_S = 8.0
COOLDOWN_AFTER = 5
COOLDOWN_S = 20.0
MAX_COOLDOWN_S = 300.0


@dataclass(frozen=True, slots=True)
class Failure:
    """`may_repeat`: the same again may help and costs nothing twice. `may_move`: somebody else may do better.
    `counts`: it says something about the provider's health."""

    may_repeat: bool = False
    may_move: bool = False
    counts: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same target, after so long."""

    after_s: float


Step = Repeat | Literal["move", "give up"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a target is asked again, and how long before the first time; it doubles from there."""

    retries: int = 2
    delay_s: float = 0.5


def next_step(
    failure: Failure, repeated: int, patience: Patience, *, has_fallback: bool, chance: float
) -> Step:
    """`repeated`: how often this target was asked again already. `chance`: 0 to 1, drawn by the caller; it
    spreads clients that failed at the same moment."""
    if failure.may_repeat and repeated < patience.retries:
        after_s = _delay_s(failure, repeated, patience, chance)
        if after_s <= (PATIENCE_WITH_FALLBACK_S if has_fallback else MAX_RETRY_AFTER_S):
            return Repeat(after_s)
    return "move" if failure.may_move and has_fallback else "give up"


def _delay_s(failure: Failure, repeated: int, patience: Patience, chance: float) -> float:
    """At least what Retry-After says: jitter is added to that, and taken from our own back-off."""
    backoff_s = min(MAX_BACKOFF_S, patience.delay_s * 2.0**repeated) * (0.5 + chance / 2)
    if failure.retry_after_s is None:
        return backoff_s
    return max(backoff_s, failure.retry_after_s * (1 + chance / 10))


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one model at one provider. `failures`: in a row. `closed_until_s`: on the caller's clock."""

    failures: int = 0
    closed_until_s: float = 0.0

    def closed_for_s(self, now_s: float) -> float:
        return max(0.0, self.closed_until_s - now_s)


GOOD = Standing()


def after_failure(standing: Standing, failure: Failure, now_s: float) -> Standing:
    """Once closed, every further failure closes it again; those that waited for its end go together."""
    if not failure.counts:
        return standing
    failures = standing.failures + 1
    if failures < COOLDOWN_AFTER:
        return Standing(failures, standing.closed_until_s)
    pause_s = min(MAX_COOLDOWN_S, max(COOLDOWN_S, failure.retry_after_s or 0.0))
    return Standing(failures, now_s + pause_s)
