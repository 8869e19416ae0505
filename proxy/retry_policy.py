"""What follows a failed attempt at a remote model: again, the next one, or the end. Pure.

Only what failed before the first byte of an answer gets here. A repetition is for failures of which it
is known that nothing was generated, or that pass by themselves; a fallback is for every failure that is
not the request's own fault. Nobody is asked who failed several times in a row just now; when that rest
is over one request finds out for all.

    open ── COOLDOWN_AFTER failures in a row ─▶ closed ── its rest is over, one is let through ─▶ probed
      ▲                                           ▲                                                │
      │                                           ├────────────────── it failed ───────────────────┤
      └─── it began to answer ────────────────────┼────────────────────────────────────────────────┤
                                                  └── it ended otherwise: the next one is let through
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

PROBE_S = 30.0
"""For so long the others wait for the one that was let through: then another one is."""

PROBE_WAIT_S = 2.0
"""What they are told to wait."""


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
    """Of one model at one provider. `failures`: in a row. `closed_until_s`: on the caller's clock.
    `is_probed`: until then one request finds out."""

    failures: int = 0
    closed_until_s: float = 0.0
    is_probed: bool = False

    def closed_for_s(self, now_s: float) -> float:
        """How long until somebody may be let through, as far as that is known."""
        left_s = max(0.0, self.closed_until_s - now_s)
        return min(PROBE_WAIT_S, left_s) if self.is_probed else left_s


GOOD = Standing()


def after_failure(standing: Standing, failure: Failure, now_s: float) -> Standing:
    """Once closed, every further failure closes it again."""
    if not failure.counts:
        return standing
    failures = standing.failures + 1
    if failures < COOLDOWN_AFTER:
        return Standing(failures, standing.closed_until_s)
    pause_s = min(MAX_COOLDOWN_S, max(COOLDOWN_S, failure.retry_after_s or 0.0))
    return Standing(failures, now_s + pause_s)


def let_through(standing: Standing, now_s: float) -> Standing:
    """Somebody asks, who was not closed out: after a rest it is one alone."""
    if standing.failures < COOLDOWN_AFTER:
        return standing
    return Standing(standing.failures, now_s + PROBE_S, is_probed=True)


def after_probe(standing: Standing, now_s: float, *, has_begun: bool) -> Standing:
    """The one that was let through began to answer, and the next failure closes it again; or it ended without
    telling anything of the provider: its client left, or was wrong."""
    return Standing(COOLDOWN_AFTER - 1) if has_begun else Standing(standing.failures, now_s)
