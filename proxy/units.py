"""Bytes and durations as people write them: "28GiB", "300MB", "30m", 2.5, and back.

Binary units (KiB, MiB, …) are powers of 1024, decimal ones (kB, MB, …) powers of 1000. A bare
"28G" is refused: it means one thing to disks and another to memory.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

_BYTE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d{1,19}(?:\.\d{1,9})?"
_BYTES = re.compile(rf"({_NUMBER})\s*([a-z]*)", re.IGNORECASE)
_DURATION_PART = re.compile(rf"({_NUMBER})\s*(ms|s|m|h|d)")

MAX_BYTES = 2**63 - 1
MAX_SECONDS = 10 * 365 * 86400.0

BYTES_EXPECTED = 'expected bytes as a number or text like "28GiB" or "300MB"'
DURATION_EXPECTED = 'expected seconds as a number or text like "30m", "10s" or "500ms"'


def parse_bytes(value: object) -> int:
    """Bytes in `value`. Raises ValueError saying what was expected."""
    if isinstance(value, int) and not isinstance(value, bool):
        count = value
    elif isinstance(value, str):
        match = _BYTES.fullmatch(value.strip())
        if match is None:
            raise ValueError(BYTES_EXPECTED)
        number, unit = match.groups()
        if unit.lower() not in _BYTE_UNITS:
            raise ValueError(
                f"{BYTES_EXPECTED}; {unit!r} is not one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
            )
        count = int(Decimal(number) * _BYTE_UNITS[unit.lower()])
    else:
        raise ValueError(BYTES_EXPECTED)
    if not 0 <= count <= MAX_BYTES:
        raise ValueError(f"{BYTES_EXPECTED}, between 0 and {MAX_BYTES}")
    return count


def parse_duration_s(value: object) -> float:
    """Seconds in `value`; "1h30m" adds up. Raises ValueError saying what was expected."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= MAX_SECONDS else math.inf
    elif isinstance(value, str):
        text = value.strip()
        parts = _DURATION_PART.findall(text)
        if not parts or re.sub(r"\s", "", "".join(n + u for n, u in parts)) != re.sub(r"\s", "", text):
            raise ValueError(DURATION_EXPECTED)
        seconds = math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
    else:
        raise ValueError(DURATION_EXPECTED)
    if not 0 <= seconds <= MAX_SECONDS:  # refuses nan and inf too, which TOML can write
        raise ValueError(f"{DURATION_EXPECTED}, between 0 and 10 years")
    return seconds


def format_bytes(count: int) -> str:
    """Three significant digits in binary units: 98362432 -> "93.8 MiB"."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{value:.{_decimals(value)}f} {unit}"
        value /= 1024
    return f"{value:.{_decimals(value)}f} TiB"


def _decimals(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0
