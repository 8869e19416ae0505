"""How far a job is, on standard error: a line for each trial that ends, and on a terminal one that moves."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Self, TextIO

from bench.plan import Cell
from bench.results import TrialResult

MAX_LINE_CHARS = 160
TICK_S = 1.0
_ERASE = "\r\x1b[K"


class Progress:
    """`finished`: trials of earlier starts. `clock`: monotonic."""

    def __init__(
        self,
        stream: TextIO,
        total: int,
        finished: int,
        *,
        moves: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._total = total
        self._before = self._done = finished
        self._moves = moves
        self._clock = clock
        self._begun_s = clock()
        self._running: dict[str, float] = {}  # trial -> since when

    @classmethod
    def on_stderr(cls, total: int, finished: int, *, is_quiet: bool) -> Self:
        stream = io.StringIO() if is_quiet else sys.stderr
        return cls(stream, total, finished, moves=stream.isatty())

    def began(self, cell: Cell) -> None:
        self._running[cell.trial] = self._clock()
        self.tick()

    def ended(self, cell: Cell, result: TrialResult) -> None:
        self._running.pop(cell.trial, None)
        self._done += 1
        self._say(f"[{self._done:>{len(str(self._total))}}/{self._total}] {told(result)}{self._until()}")
        self.tick()

    def tick(self) -> None:
        """Show what runs now, where a line can move."""
        if self._moves:
            now_s = self._clock()
            running = ", ".join(f"{name} {now_s - since_s:.0f} s" for name, since_s in self._running.items())
            line = f"{self._done}/{self._total}: {running}"
            self._stream.write(_ERASE + line[:MAX_LINE_CHARS] if running else _ERASE)
            self._stream.flush()

    def _say(self, line: str) -> None:
        self._stream.write((_ERASE if self._moves else "") + line + "\n")
        self._stream.flush()

    def _until(self) -> str:
        left = self._total - self._done
        return f"; about {spell(self.eta_s())} left" if left else ""

    def eta_s(self) -> float:
        """As long for each trial as for those of this start."""
        made = self._done - self._before
        return (self._clock() - self._begun_s) / made * (self._total - self._done) if made else 0.0


@contextlib.asynccontextmanager
async def ticking(progress: Progress, every_s: float = TICK_S) -> AsyncIterator[None]:
    """What moves goes on moving while nothing begins or ends."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(every_s)
            progress.tick()

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


def told(result: TrialResult) -> str:
    """A trial in a line that is safe on a terminal."""
    reward = "no reward" if result.reward is None else f"reward {result.reward:.2f}"
    parts = [f"{result.task} {result.configuration} #{result.attempt}: {reward}, {result.outcome}"]
    parts.append(f"{result.wall_s:.1f} s")
    if result.validity == "INVALID":
        parts.append(f"INVALID ({result.invalid_because[0] if result.invalid_because else 'no reason'})")
    if result.error and result.outcome != "infrastructure":
        parts.append(result.error)
    return printable(", ".join(parts))[:MAX_LINE_CHARS]


def printable(text: str) -> str:
    """What a harness or a server said, without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)


def spell(seconds: float) -> str:
    """ "45 s", "3 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
