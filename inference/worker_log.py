"""What a worker said on stderr: kept for people, searched for the cause of its death."""

from __future__ import annotations

import re
from collections import deque

MAX_LINE_BYTES = 2000
CAUSE_LINES = 4
CAUSE_CHARS = 1200

_TELLING = re.compile(
    r"error|fail|abort|assert|cannot|can't|unable|invalid|unknown|unsupported|not found|"
    r"out of memory|no such|illegal|fatal|exception|exceed",
    re.IGNORECASE,
)
_NOISE = re.compile(
    r"request \d+: \d+ of \d+ prompt tokens reused|"
    r'Traceback |The above exception|During handling of|File "|(Thread|Current thread) 0x|[~^]+$'
)
"""What every request says, and of Python's and faulthandler's traces everything but the exception."""


class LogTail:
    """The last lines of a worker's stderr, bounded in number and length; kept after its death."""

    def __init__(self, max_lines: int) -> None:
        self._lines: deque[str] = deque(maxlen=max_lines)
        self._partial = b""
        self._is_overlong = False  # the start of this line is kept, its rest is not

    def feed(self, data: bytes) -> None:
        *complete, self._partial = (self._partial + data).split(b"\n")
        for line in complete:
            self._keep(line)
            self._is_overlong = False
        if len(self._partial) > MAX_LINE_BYTES:
            self._keep(self._partial)
            self._is_overlong = True
            self._partial = b""

    def end(self) -> None:
        if self._partial:
            self._keep(self._partial)
            self._partial = b""

    def lines(self) -> list[str]:
        return list(self._lines)

    def cause(self, *, besides: str = "") -> str:
        """The lines that most likely say what went wrong and are not in `besides`: for error messages."""
        lines = [line for raw in self._lines if (line := raw.strip()) and not _NOISE.match(line)]
        lines = [line for line in lines if line not in besides and not (besides and besides in line)]
        telling = [line for line in lines if _TELLING.search(line)] or lines
        return " | ".join(dict.fromkeys(telling[-CAUSE_LINES:]))[-CAUSE_CHARS:]

    def _keep(self, line: bytes) -> None:
        if not self._is_overlong:
            self._lines.append(line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r"))
