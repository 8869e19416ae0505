"""Figures: one JSON line each on stdout, with what they stand on beside them; progress on stderr."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence


def figure(name: str, value: float, unit: str, **evidence: object) -> None:
    """Print one figure. `evidence`: whatever a reader needs to judge it by (rounds, peers, exclusions)."""
    line = {"figure": name, "value": round(value, 4), "unit": unit, **evidence}
    print(json.dumps(line), flush=True)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, object]:
    """Enough of the machine to compare figures by."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            model = next(
                (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
            )
    except OSError:
        pass  # not Linux: the architecture has to do
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "load_1m": round(os.getloadavg()[0], 2)}


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile; `share` 0.5 is the median of an odd number of values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
