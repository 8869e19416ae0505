"""What a user sees while set-up works: one line per step, and a count where one is known.

Written to stderr; stdout belongs to what a script is asked for. On a terminal the count moves
in place; elsewhere (a log) it appears every fifth of the way.
"""

from __future__ import annotations

import time
from typing import TextIO

_MARKS = 5


class Progress:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._moves = out.isatty()
        self._open = False
        self._shown = -1
        self._began_s = time.monotonic()

    def step(self, text: str) -> None:
        self._end_line()
        self._began_s = time.monotonic()
        self._shown = -1
        self._write(f"hotseat: {text}\n")

    def count(self, what: str, done: int, total: int) -> None:
        mark = done if self._moves else done * _MARKS // max(total, 1)
        if mark == self._shown:
            return
        self._shown = mark
        elapsed_s = time.monotonic() - self._began_s
        line = f"hotseat:   {what} {done}/{total}, {elapsed_s:.0f} s"
        if self._moves:
            self._open = True
            self._write(f"\r\x1b[K{line}")
        else:
            self._write(f"{line}\n")

    def close(self) -> None:
        self._end_line()

    def _end_line(self) -> None:
        if self._open:
            self._open = False
            self._write("\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
