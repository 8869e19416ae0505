"""When an answer under way is too slow to be one. Pure: times are the caller's.

A deadline between two pieces is not enough, for a piece may be one byte: whole events must come, or, in
a body without events, so many bytes. Comments are life only until the answer begins; then they are not
progress any more than silence is.
"""

from __future__ import annotations

from dataclasses import dataclass

PROGRESS_BYTES = 4096


@dataclass(slots=True)
class Pace:
    """`began_s`: when the request left. `first_s`: until the first progress; `idle_s`: between two."""

    began_s: float
    first_s: float
    idle_s: float
    _due_s: float = 0.0
    _bytes: int = 0

    def __post_init__(self) -> None:
        self._due_s = self.began_s + self.first_s

    def on_event(self, now_s: float) -> None:
        self._due_s = now_s + self.idle_s

    def on_bytes(self, n_bytes: int, now_s: float) -> None:
        """Of a body without events. The first of them start the clock."""
        if not self._bytes or (self._bytes % PROGRESS_BYTES) + n_bytes >= PROGRESS_BYTES:
            self._due_s = now_s + self.idle_s
        self._bytes += n_bytes

    def wait_s(self, now_s: float) -> float:
        """How long to wait for the next piece; 0: no longer."""
        return max(0.0, self._due_s - now_s)
