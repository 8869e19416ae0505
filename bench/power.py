"""What a benchmark can find out, said before it runs. Pure.

A comparison of two configurations is a paired test over tasks. How much their difference varies from task
to task follows from how much one task's attempts vary and how much the effect itself does:

    sd² = effect_sd² + 2 · attempt_sd² / attempts

The test's power is that of a paired t test with as many pairs as tasks (statsmodels, TTestPower), which the
permutation test approaches from below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from statsmodels.stats.power import TTestPower

from bench.stats import Suite, shared_tasks

ALPHA = 0.05
POWER = 0.8
MIN_TASKS = 6
"""Fewer tasks cannot give p < 0.05, whatever happens: 2^(1-5) is 0.0625."""

MAX_TASKS = 1_000_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations of rewards in 0..1. The defaults are an assumption, for a suite of which nothing is
    known: attempts at one task that differ by a quarter, effects that differ by a tenth between tasks."""

    attempt_sd: float = 0.25
    effect_sd: float = 0.10
    is_assumed: bool = True

    def of_difference(self, attempts: int) -> float:
        return math.sqrt(self.effect_sd**2 + 2 * self.attempt_sd**2 / attempts)


ASSUMED = Spread()


def spread_of(a: Suite, b: Suite) -> Spread:
    """From results. With one attempt a task the two cannot be told apart: all is effect."""
    tasks = shared_tasks(a, b)
    within: list[float] = []
    for suite in (a, b):
        within += [float(np.var(suite[task], ddof=1)) for task in tasks if len(suite[task]) > 1]
    attempt_var = float(np.mean(within)) if within else 0.0
    differences = [float(np.mean(a[task]) - np.mean(b[task])) for task in tasks]
    total_var = float(np.var(differences, ddof=1)) if len(tasks) > 1 else 0.0
    noise_var = float(np.mean([attempt_var * (1 / len(a[t]) + 1 / len(b[t])) for t in tasks]))
    effect_var = max(0.0, total_var - noise_var)
    return Spread(math.sqrt(attempt_var), math.sqrt(effect_var), is_assumed=False)


def detectable_difference(tasks: int, attempts: int, spread: Spread = ASSUMED) -> float | None:
    """The smallest true difference of mean rewards that is found with a chance of POWER. None: no difference
    can be found with so few tasks."""
    sd = spread.of_difference(attempts)
    if tasks < MIN_TASKS:
        return None
    if sd == 0:
        return 0.0
    effect = TTestPower().solve_power(effect_size=None, nobs=tasks, alpha=ALPHA, power=POWER)
    return float(np.squeeze(effect)) * sd


def tasks_needed(difference: float, attempts: int, spread: Spread = ASSUMED) -> int | None:
    """How many tasks would find a true `difference` with a chance of POWER. None: more than MAX_TASKS."""
    sd = spread.of_difference(attempts)
    if difference == 0:
        return None
    if sd == 0:
        return MIN_TASKS
    effect = abs(difference) / sd
    low, high = MIN_TASKS, MAX_TASKS
    if _power(effect, high) < POWER:
        return None
    while low < high:  # bisection: the solver of statsmodels does not converge for large effects
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle) >= POWER else (middle + 1, high)
    return low


def _power(effect: float, tasks: int) -> float:
    """nan: so certain that the noncentral t distribution has no number for it."""
    power = float(TTestPower().power(effect, tasks, ALPHA))
    return 1.0 if math.isnan(power) else power


@dataclass(frozen=True, slots=True)
class TrialCost:
    """What one trial of a configuration is expected to take. None: not known, nothing was run yet."""

    usd: Decimal | None
    wall_s: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a whole plan. `unknown`: configurations of which nothing is known, and which are not in the sums."""

    trials: int
    usd: Decimal
    wall_s: float
    unknown: tuple[str, ...]


def estimate(costs: dict[str, TrialCost], trials_of_each: int, parallel: int) -> Estimate:
    known = {name: cost for name, cost in costs.items() if cost.usd is not None and cost.wall_s is not None}
    return Estimate(
        trials=len(costs) * trials_of_each,
        usd=sum((cost.usd * trials_of_each for cost in known.values() if cost.usd is not None), Decimal(0)),
        wall_s=sum(cost.wall_s * trials_of_each for cost in known.values() if cost.wall_s) / parallel,
        unknown=tuple(sorted(set(costs) - set(known))),
    )
