"""What an answer took of the board's energy, from samples of its power and from how many shared it. Pure.

While n answers are made together each takes 1/n of the board's power: what all took together is what the
board took while any was made. Idle power before and after is nobody's.

    energy of an answer = ∫ power(t) / n(t) dt, from its first work to its last
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

MAX_GAP_S = 5.0
"""Between two samples, or from an end to the next sample: over a longer time nothing is known."""

MAX_BACK_S = 0.1
"""A clock that goes back by more was set; by less, it was corrected."""

KEPT_CHANGES = 20_000


class PowerSample(Protocol):
    """The part of a DeviceSample that is used (gpu.py). None: the device does not say."""

    @property
    def at_s(self) -> float: ...
    @property
    def power_w(self) -> float | None: ...
    @property
    def energy_j(self) -> float | None: ...


class Change(NamedTuple):
    """From `at_s` on, `n` answers are being made."""

    at_s: float
    n: int


class Occupancy:
    """How many answers were being made at each moment of late. A time that goes back a little counts as the
    last one; after one that goes back further nothing is known of before."""

    def __init__(self, kept: int = KEPT_CHANGES) -> None:
        self._changes: deque[Change] = deque([Change(float("-inf"), 0)], maxlen=kept)

    def begin(self, at_s: float) -> None:
        self._change(at_s, +1)

    def end(self, at_s: float) -> None:
        self._change(at_s, -1)

    def since(self, at_s: float) -> list[Change] | None:
        """The changes after `at_s`, and the one before them. None: it was too long ago."""
        if self._changes[0].at_s > at_s:
            return None
        found: list[Change] = []
        for change in reversed(self._changes):
            found.append(change)
            if change.at_s <= at_s:
                break
        return found[::-1]

    def _change(self, at_s: float, step: int) -> None:
        last = self._changes[-1]
        if at_s < last.at_s - MAX_BACK_S:
            self._changes.clear()
        self._changes.append(Change(at_s if not self._changes else max(at_s, last.at_s), last.n + step))


def shared_energy_j(
    samples: Sequence[PowerSample], changes: Sequence[Change], begin_s: float, end_s: float
) -> float | None:
    """The share of one of those counted in `changes`. None: the power of some of the time is not known, or
    the clock was set back meanwhile.

    `samples` and `changes` oldest first; of `changes` there is one that is not after `begin_s`.
    """
    powered = [sample for sample in samples if sample.power_w is not None]
    times = [sample.at_s for sample in powered]
    if end_s < begin_s or any(later < earlier for earlier, later in pairwise(times)):
        return None
    cuts = {begin_s, end_s}
    cuts.update(at_s for at_s in times if begin_s < at_s < end_s)
    cuts.update(change.at_s for change in changes if begin_s < change.at_s < end_s)
    change_times = [change.at_s for change in changes]
    total_j = 0.0
    for since_s, until_s in pairwise(sorted(cuts)):
        n = changes[max(0, bisect_right(change_times, since_s) - 1)].n
        if n == 0:
            continue
        mean_w = _mean_power_w(powered, times, since_s, until_s)
        if mean_w is None:
            return None
        total_j += mean_w * (until_s - since_s) / n
    return total_j


def _mean_power_w(
    samples: Sequence[PowerSample], times: Sequence[float], since_s: float, until_s: float
) -> float | None:
    """Of a time in which no sample lies. The board's own count of its energy says it best."""
    after = bisect_left(times, until_s)
    before = bisect_right(times, since_s) - 1
    if before < 0 or after >= len(samples):
        return _held_power_w(samples, times, since_s, until_s)
    first, last = samples[before], samples[after]
    gap_s = last.at_s - first.at_s
    if gap_s > MAX_GAP_S or first.power_w is None or last.power_w is None:
        return None
    if gap_s <= 0:
        return last.power_w
    if first.energy_j is not None and last.energy_j is not None and last.energy_j >= first.energy_j:
        return (last.energy_j - first.energy_j) / gap_s
    middle = ((since_s + until_s) / 2 - first.at_s) / gap_s
    return first.power_w + (last.power_w - first.power_w) * middle


def _held_power_w(
    samples: Sequence[PowerSample], times: Sequence[float], since_s: float, until_s: float
) -> float | None:
    """Before the first sample and after the last one the power is taken to be as it was there."""
    if not samples:
        return None
    nearest, distance_s = (samples[-1], until_s - times[-1])
    if since_s < times[0]:
        nearest, distance_s = samples[0], times[0] - since_s
    return nearest.power_w if distance_s <= MAX_GAP_S else None
