"""How many threads the next decode step should use.

llama.cpp's CPU threads meet at spinning barriers, several per layer. When other work takes a core
(another resident model, the proxy, a browser), every barrier waits for a descheduled thread:
measured on two cores, two engines with two threads each made 1.3 tok/s, with one thread 60. So the
engine gives up threads when steps become several times slower than it has seen them, and tries
them again from time to time. On an idle machine nothing is ever probed and nothing is lost.

Pure: durations in, a thread count out.
"""

from __future__ import annotations

from collections import deque
from statistics import median

SLOW_FACTOR = 3.0
"""A step this many times slower than the best at its size is taken for contention, not noise."""

PATIENCE_S = 0.4
"""Time lost to slow steps in a row before threads are given up: two steps of a real collapse, many of
a mild one, which fewer threads would not cure."""

PROBE_STEPS = 3
FIRST_HOLD_S = 0.5
LONGEST_HOLD_S = 8.0


class ThreadGovernor:
    """Owned by one engine. `observe` after each step that only decoded."""

    def __init__(self, n_threads: int) -> None:
        self.threads = n_threads
        self._levels = _halvings(n_threads)
        self._level = 0
        self._best_s: dict[tuple[int, int], float] = {}
        self._recent_s: deque[float] = deque(maxlen=8)
        self._lost_s = 0.0
        self._hold_s = FIRST_HOLD_S
        self._probe_at_s = 0.0
        self._probe: list[float] | None = None
        self._reduced_s = 0.0

    def observe(self, rows: int, seconds: float, now_s: float) -> int:
        """A step of `rows` tokens took `seconds`. Returns the threads for the next one."""
        key = (self._level, rows.bit_length())
        best_s = self._best_s[key] = min(seconds, self._best_s.get(key, seconds))
        if self._probe is not None:
            self._judge_probe(seconds, now_s)
        elif seconds > SLOW_FACTOR * best_s and self._level + 1 < len(self._levels):
            self._lost_s += seconds - best_s
            if self._lost_s >= PATIENCE_S:
                self._reduce(now_s)
        else:
            self._lost_s = 0.0
            self._recent_s.append(seconds)
            if self._level > 0 and now_s >= self._probe_at_s:
                self._start_probe()
        return self.threads

    def start_from(self, step_s: dict[int, float]) -> None:
        """Choose the first level from measured seconds per step by thread count (a warm-up's)."""
        fastest = min(step_s, key=lambda threads: step_s[threads])
        for level, threads in enumerate(self._levels):
            if threads in step_s:
                self._best_s[(level, 1)] = step_s[threads]
        self._set_level(self._levels.index(fastest))

    @property
    def levels(self) -> tuple[int, ...]:
        """The thread counts it chooses among, most first."""
        return self._levels

    def _reduce(self, now_s: float) -> None:
        self._set_level(self._level + 1)
        self._probe_at_s = now_s + self._hold_s

    def _start_probe(self) -> None:
        self._reduced_s = median(self._recent_s)
        self._set_level(self._level - 1)
        self._probe = []

    def _judge_probe(self, seconds: float, now_s: float) -> None:
        """Keep the threads tried if steps got no slower, else go back and wait longer."""
        assert self._probe is not None
        self._probe.append(seconds)
        if len(self._probe) < PROBE_STEPS:
            return
        won = median(self._probe) <= self._reduced_s
        self._probe = None
        if won:
            self._hold_s = FIRST_HOLD_S
            self._probe_at_s = now_s + self._hold_s
        else:
            self._hold_s = min(LONGEST_HOLD_S, 2 * self._hold_s)
            self._reduce(now_s)

    def _set_level(self, level: int) -> None:
        self._level = level
        self.threads = self._levels[level]
        self._lost_s = 0.0
        self._recent_s.clear()


def _halvings(n: int) -> tuple[int, ...]:
    levels = [n]
    while levels[-1] > 1:
        levels.append(levels[-1] // 2)
    return tuple(levels)
