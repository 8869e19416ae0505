"""Memory of the processes below this one (without psutil: a worker imports little)."""

from __future__ import annotations

import resource
from pathlib import Path

_PROC = Path("/proc")


def descendants_rss_bytes(pid: int) -> int:
    """Resident set of all that `pid` has started, and so on down. 0 where /proc does not say.

    Pages that two of them share count twice.
    """
    pages = 0
    pending = _children(pid)
    while pending:
        child = pending.pop()
        pages += _rss_pages(child)
        pending += _children(child)
    return pages * resource.getpagesize()


def _children(pid: int) -> list[int]:
    """Every thread has its own list of the processes that it started."""
    found: list[int] = []
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except OSError:  # it ended meanwhile, or the kernel keeps no such lists
        pass
    return found


def _rss_pages(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
