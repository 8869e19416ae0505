"""How a process ended, in words."""

from __future__ import annotations

import signal
from collections.abc import Mapping


def ending(returncode: int, hints: Mapping[signal.Signals, str]) -> str:
    """`hints`: what dying of a signal usually means."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        number = signal.Signals(-returncode)
    except ValueError:  # a real-time signal
        return f"died of signal {-returncode}"
    hint = f" ({hints[number]})" if number in hints else ""
    return f"died of {number.name}{hint}"
