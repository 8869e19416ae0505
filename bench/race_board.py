"""What the candidates of a race are doing, on standard error: a line each, redrawn where a terminal can."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from bench.plan import Cell
from bench.progress import printable, spell, told
from bench.results import TrialResult
from bench.watch import NOTHING_YET, Wire

State = Literal["waits", "prepares", "works", "is checked", "done", "failed"]
MAX_NAME_CHARS = 32
MIN_WIDTH, MIN_HEIGHT = 40, 6
_ERASE_LINE = "\x1b[2K"


@dataclass(slots=True)
class Row:
    """One candidate. `since_s`: when it began; `sign_s`: when the wire last showed anything new of it."""

    cell: Cell
    state: State = "waits"
    since_s: float = 0.0
    sign_s: float = 0.0
    wire: Wire = NOTHING_YET
    result: TrialResult | None = None


class Board:
    """`clock`: monotonic. `size`: columns and lines of the terminal now; None: nothing is redrawn."""

    def __init__(
        self,
        stream: TextIO,
        cells: Sequence[Cell],
        *,
        size: Callable[[], tuple[int, int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._size = size
        self._clock = clock
        self._rows = {cell.trial: Row(cell) for cell in cells}
        self._drawn = 0

    def began(self, cell: Cell) -> None:
        row = self._rows[cell.trial]
        row.state, row.since_s = "prepares", self._clock()
        row.sign_s = row.since_s
        if self._size is None:
            self._say(f"{cell.configuration.name}: begins")
        self.draw()

    def saw(self, cell: Cell, state: State, wire: Wire) -> None:
        row = self._rows[cell.trial]
        if row.result is None:
            if wire.in_flight or wire.requests != row.wire.requests or state != row.state:
                row.sign_s = self._clock()
            row.state, row.wire = state, wire

    def ended(self, cell: Cell, result: TrialResult) -> None:
        row = self._rows[cell.trial]
        row.result = result
        row.state = "failed" if result.outcome == "infrastructure" else "done"
        row.sign_s = self._clock()
        if self._size is None:
            self._say(told(result))
        self.draw()

    def draw(self) -> None:
        if self._size is None:
            return
        width, height = self._size()
        lines = self.lines(max(width, MIN_WIDTH), max(height, MIN_HEIGHT))
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._stream.write("\r" + up + "".join(f"{_ERASE_LINE}{line}\n" for line in lines))
        if self._drawn > len(lines):
            self._stream.write("\x1b[J")
        self._stream.flush()
        self._drawn = len(lines)

    def lines(self, width: int, height: int) -> list[str]:
        """No wider than the terminal, for a line that wraps cannot be drawn over; of more candidates than it
        has lines, those that are at work first."""
        rank: dict[State, int] = {
            "works": 0,
            "is checked": 0,
            "prepares": 0,
            "failed": 1,
            "done": 1,
            "waits": 2,
        }
        rows = list(self._rows.values())
        room = height - 2
        if len(rows) > room:
            shown = sorted(rows, key=lambda row: rank[row.state])[: room - 1]
            rest = f"and {len(rows) - len(shown)} more"
            rows = [row for row in rows if row in shown]
        else:
            rest = ""
        name_chars = min(MAX_NAME_CHARS, max(len(row.cell.configuration.name) for row in rows))
        lines = [self._line(row, name_chars) for row in rows]
        return [printable(line)[: width - 1] for line in (*lines, *([rest] if rest else []))]

    def _line(self, row: Row, name_chars: int) -> str:
        name = row.cell.configuration.name[:MAX_NAME_CHARS].ljust(name_chars)
        if row.state == "waits":
            return f"{name}  waits"
        if row.result is not None:
            return f"{name}  {_ended(row.result)}"
        now_s = self._clock()
        parts = [row.state.ljust(10), spell(now_s - row.since_s).rjust(6)]
        if row.cell.configuration.main:
            wire = row.wire
            parts += [f"{wire.requests} requests", f"{wire.tokens:,} tokens", f"${wire.usd:.4f}"]
            quiet_s = now_s - row.sign_s
            parts.append("is answered" if wire.in_flight else f"last sign {spell(quiet_s)} ago")
        return f"{name}  " + "  ".join(parts)

    def _say(self, line: str) -> None:
        self._stream.write(printable(line) + "\n")
        self._stream.flush()


def _ended(result: TrialResult) -> str:
    reward = "no reward" if result.reward is None else f"reward {result.reward:.2f}"
    reward = "unverified" if result.is_unverified else reward
    parts = [result.outcome.ljust(10), spell(result.wall_s).rjust(6), reward]
    if result.run:
        tokens = result.tokens
        parts.append(f"{sum(node.requests for node in result.nodes)} requests")
        parts.append(f"{tokens.input + tokens.output:,} tokens")
        parts.append("$ unknown" if result.cost_usd is None else f"${result.cost_usd:.4f}")
    if result.validity == "INVALID":
        parts.append(f"INVALID: {(result.invalid_because or ('no reason',))[0]}")
    return "  ".join(parts)
