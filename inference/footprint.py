"""What a model is taken to need, of the three things that may be known: estimate, dry run, measurement.

The rule. The dry run replaces the estimate: it is llama.cpp's own word on the buffers that the
estimate has to guess at. On a GPU a measured delta wins over both: memory is allocated when the
model loads, the CUDA context is in it, and no formula has that one. On a host it can only raise
them: pages of a model file and of a cache become resident when they are used, so what was measured
is short of what the model will come to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["estimate", "dry run", "measured"]


@dataclass(frozen=True, slots=True)
class Footprint:
    """`origin`: where the number comes from."""

    n_bytes: int
    origin: Origin


def predicted(estimated_bytes: int, dry_run_bytes: int | None) -> Footprint:
    """What is known before the model was ever loaded."""
    if dry_run_bytes is None:
        return Footprint(estimated_bytes, "estimate")
    return Footprint(dry_run_bytes, "dry run")


def footprint(
    estimated_bytes: int, dry_run_bytes: int | None, measured_bytes: int | None, *, measured_wins: bool
) -> Footprint:
    """What to count the model for. `measured_wins`: on a GPU."""
    before = predicted(estimated_bytes, dry_run_bytes)
    if measured_bytes is None or (not measured_wins and measured_bytes <= before.n_bytes):
        return before
    return Footprint(measured_bytes, "measured")
