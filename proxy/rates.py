"""How often somebody may ask: "60/min" as a value, and the bucket that counts. Pure, but for its clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_RATE_COUNT = 1_000_000
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"(\d{1,7})\s*/\s*(s|min|h|d)")


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` requests in any `per_s` seconds, on average; as many may come at once."""

    count: int
    per_s: float


def parse_rate(value: object) -> Rate:
    """Raises ValueError saying what was expected."""
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[1]) <= MAX_RATE_COUNT:
        raise ValueError('expected a number of requests and a time, as in "60/min"; units: s, min, h, d')
    return Rate(int(found[1]), _UNITS_S[found[2]])


class TokenBucket:
    """Full at first. `clock` in seconds, monotonic."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._tokens = float(rate.count)
        self._filled_at_s = clock()

    def take(self) -> float:
        """0.0 and one token fewer, or the seconds until there is one."""
        now_s = self._clock()
        per_token_s = self.rate.per_s / self.rate.count
        refill = (now_s - self._filled_at_s) / per_token_s
        self._tokens = min(float(self.rate.count), self._tokens + refill)
        self._filled_at_s = now_s
        if self._tokens < 1.0 - 1e-9:  # who waited as long as he was told to finds one
            return (1.0 - self._tokens) * per_token_s
        self._tokens -= 1.0
        return 0.0
