"""When a run must be ended before it ends itself, from what the wire says of it. Pure.

A harness's own output says little while a sub-agent works, and nothing of tokens; every request goes
through the proxy. So caps count there, silence is silence there, and a loop is the same answers again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Why = Literal["exited", "wall", "tokens", "requests", "usd", "stall", "loop", "output", "cancelled"]
"""How a run ended: by itself, at a cap, or because it got nowhere."""

MAX_PERIOD = 6
LOOP_ROUNDS = 6
"""So many times the same answers in the same order. A model that is asked to go on repeats itself two or
three times; a harness in a circle (compacting what is too long after it, too) hundreds of times a minute."""


@dataclass(frozen=True, slots=True)
class Caps:
    """None: no bound. `idle_s`: without any request under way or finished."""

    wall_s: float
    idle_s: float = 300.0
    tokens: int | None = None
    requests: int | None = None
    usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A finished request, as far as it matters here. `answer`: equal for equal answers."""

    node: str
    answer: str


@dataclass(frozen=True, slots=True)
class Wire:
    """What the proxy knows of a run at one moment. `answers`: the last ones, oldest first."""

    requests: int = 0
    in_flight: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)
    answers: tuple[Answered, ...] = ()


NOTHING_YET = Wire()


class Watch:
    """Feed it what the wire says, now and then, and ask whether it is time. Seconds since the start."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._wire = NOTHING_YET
        self._last_sign_s = 0.0

    def saw(self, wire: Wire, now_s: float) -> None:
        if wire.in_flight or wire.requests != self._wire.requests:
            self._last_sign_s = now_s
        self._wire = wire

    def verdict(self, now_s: float) -> Why | None:
        caps, wire = self._caps, self._wire
        if now_s >= caps.wall_s:
            return "wall"
        if caps.tokens is not None and wire.tokens > caps.tokens:
            return "tokens"
        if caps.requests is not None and wire.requests > caps.requests:
            return "requests"
        if caps.usd is not None and wire.usd > caps.usd:
            return "usd"
        if any(period_of(of) for of in by_node(wire.answers)):
            return "loop"
        if now_s - self._last_sign_s >= caps.idle_s:
            return "stall"
        return None


def by_node(answers: Sequence[Answered]) -> list[list[str]]:
    """Of each agent by itself: several at work at once do not make each other's circles."""
    nodes: dict[str, list[str]] = {}
    for answered in answers:
        nodes.setdefault(answered.node, []).append(answered.answer)
    return list(nodes.values())


def period_of(answers: Sequence[str]) -> int | None:
    """How many answers make the circle in which the last ones go round, or None."""
    for period in range(1, MAX_PERIOD + 1):
        length = period * LOOP_ROUNDS
        last = answers[-length:]
        if len(last) == length and all(last[i] == last[i - period] for i in range(period, length)):
            return period
    return None
