"""Intervals and tests for graded, repeated trials. Pure; scipy and statsmodels do the mathematics.

A suite is one configuration's rewards, in 0..1, by task: {"katas-12": (1.0, 0.5, 1.0), …}. Tasks are the
sample: attempts at one task say how that task goes, not how another would. So what compares two
configurations resamples or flips tasks, and a benchmark of four tasks can never tell them apart.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
RESAMPLES = 4_000
MAX_EXACT_TASKS = 13
"""2^13 ways to flip signs are all counted; with more tasks, RESAMPLES of them are drawn."""

Suite = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Of a share: 0 of 7 is not 0 %. Wilson 1927. The sum of graded rewards may stand for successes: it is
    then wider than need be, as nothing in 0..1 varies more than pass and fail."""
    if n == 0:
        return Interval(0.0, 1.0)
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    return Interval(float(low) if successes else 0.0, float(high) if successes < n else 1.0)  # as it rounds


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Of a share, never too narrow: what to quote of an event that was not seen once."""
    if n == 0:
        return Interval(0.0, 1.0)
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="beta")
    return Interval(float(low), float(high))


def pass_at_k(n: int, successes: int, k: int) -> float:
    """That at least one of `k` attempts succeeds, from `n` of which `successes` did. Unbiased (Chen 2021)."""
    _check_k(n, successes, k)
    return 1.0 - math.comb(n - successes, k) / math.comb(n, k)


def pass_power_k(n: int, successes: int, k: int) -> float:
    """pass^k: that all of `k` attempts succeed. Unbiased."""
    _check_k(n, successes, k)
    return math.comb(successes, k) / math.comb(n, k)


def _check_k(n: int, successes: int, k: int) -> None:
    if not 0 <= successes <= n or not 1 <= k <= n:
        raise ValueError(f"expected 0 <= successes <= n and 1 <= k <= n, found {successes} of {n}, k = {k}")


def mean_reward(suite: Suite) -> float:
    """Every task counts the same, however often it was tried."""
    return float(np.mean([np.mean(rewards) for rewards in suite.values()]))


def suite_interval(suite: Suite, seed: int, confidence: float = CONFIDENCE) -> Interval:
    """Of `mean_reward`, by the hierarchical bootstrap: tasks are drawn, then attempts of each."""
    return _quantiles(_bootstrap_means(suite, sorted(suite), _generator(seed)), confidence)


def difference_interval(a: Suite, b: Suite, seed: int, confidence: float = CONFIDENCE) -> Interval:
    """Of mean(a) − mean(b) over the tasks that both have: the same tasks are drawn for both."""
    tasks = shared_tasks(a, b)
    generator = _generator(seed)
    picks = _drawn_tasks(len(tasks), generator)
    first = _bootstrap_means(a, tasks, generator, picks)
    second = _bootstrap_means(b, tasks, generator, picks)
    return _quantiles(first - second, confidence)


def paired_permutation(a: Suite, b: Suite, seed: int) -> float:
    """Two-sided p that a and b are alike: the sign of each task's difference is flipped. Exact for up to
    MAX_EXACT_TASKS tasks. The smallest p that n tasks can give is 2^(1-n)."""
    differences = task_differences(a, b)
    if not np.any(differences):
        return 1.0
    n = len(differences)
    if n <= MAX_EXACT_TASKS:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return _share_as_extreme(signs @ differences, differences)
    signs = 1 - 2 * _generator(seed).integers(0, 2, size=(RESAMPLES, n))
    share = _share_as_extreme(signs @ differences, differences)
    return (share * RESAMPLES + 1) / (RESAMPLES + 1)  # the one that was seen counts as drawn


def task_differences(a: Suite, b: Suite) -> NDArray[np.float64]:
    """Mean of a less mean of b, for each task that both have, by name."""
    return np.array([np.mean(a[task]) - np.mean(b[task]) for task in shared_tasks(a, b)], dtype=float)


def shared_tasks(a: Suite, b: Suite) -> list[str]:
    tasks = sorted(set(a) & set(b))
    if not tasks:
        raise ValueError("the two have no task in common")
    return tasks


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for how many comparisons were made. Holm 1979."""
    if len(p_values) < 2:
        return list(p_values)
    gc.freeze()  # statsmodels collects garbage at every call: 0.06 to 0.4 s, if it looks at all there is
    try:
        return [float(p) for p in multipletests(p_values, method="holm")[1]]
    finally:
        gc.unfreeze()


def ratio_interval(a: Suite, b: Suite, confidence: float = CONFIDENCE) -> tuple[float, Interval]:
    """How many times as much a costs as b (dollars, seconds, joules; all above zero): the geometric mean over
    tasks, with a t interval of the logarithms. Fewer than two tasks: no bounds."""
    logs = np.array(
        [np.mean(np.log(a[task])) - np.mean(np.log(b[task])) for task in shared_tasks(a, b)], dtype=float
    )
    ratio = float(np.exp(logs.mean()))
    if len(logs) < 2:
        return ratio, Interval(0.0, math.inf)
    half = float(stats.t.ppf((1 + confidence) / 2, len(logs) - 1) * stats.sem(logs))
    return ratio, Interval(ratio * math.exp(-half), ratio * math.exp(half))


def _share_as_extreme(flipped: NDArray[np.float64], differences: NDArray[np.float64]) -> float:
    """With room for rounding: equal sums in another order differ in the last bits."""
    return float(np.mean(np.abs(flipped) >= abs(differences.sum()) - 1e-9))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _drawn_tasks(n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    picks: NDArray[np.int64] = generator.integers(0, n, size=(RESAMPLES, n))
    return picks


def _bootstrap_means(
    suite: Suite,
    tasks: Sequence[str],
    generator: np.random.Generator,
    picks: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """RESAMPLES means of the suite: for each task that was drawn, its attempts are drawn anew."""
    if picks is None:
        picks = _drawn_tasks(len(tasks), generator)
    counts = np.array([len(suite[task]) for task in tasks])
    rewards = np.zeros((len(tasks), counts.max()))
    for row, task in enumerate(tasks):
        rewards[row, : counts[row]] = suite[task]
    drawn_counts = counts[picks][..., None]
    drawn = (generator.random((*picks.shape, counts.max())) * drawn_counts).astype(np.int64)
    values = rewards[picks[..., None], drawn]
    is_attempt = np.arange(counts.max()) < drawn_counts
    means = np.where(is_attempt, values, 0.0).sum(axis=2) / drawn_counts[..., 0]
    averages: NDArray[np.float64] = means.mean(axis=1)
    return averages


def _quantiles(values: NDArray[np.float64], confidence: float) -> Interval:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
