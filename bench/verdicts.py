"""Comparisons in sentences: better, worse, or no detectable difference, and what it would take. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from bench.power import ALPHA, MIN_TASKS, spread_of, tasks_needed
from bench.stats import (
    Interval,
    Suite,
    difference_interval,
    holm,
    mean_reward,
    paired_permutation,
    shared_tasks,
)

Outcome = Literal["better", "worse", "no detectable difference"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a` against `b`, over the tasks that both have. `p` is adjusted for all comparisons made with it.

    `tasks_needed`: to find a difference as large as the one seen, where none was found.
    """

    a: str
    b: str
    tasks: int
    attempts: int  # the fewest at any task
    difference: float
    interval: Interval
    p: float
    outcome: Outcome
    tasks_needed: int | None

    def sentence(self) -> str:
        points = f"{100 * self.difference:+.1f} points"
        between = f"95 % interval {100 * self.interval.low:+.1f} to {100 * self.interval.high:+.1f}"
        bounds = "one trial each" if self.tasks == self.attempts == 1 else between
        tasks = "1 task" if self.tasks == 1 else f"{self.tasks} tasks"
        seen = f"{points}, {bounds}, p = {self.p:.3f}, {tasks}"
        if self.outcome != "no detectable difference":
            return f"{self.a} is {self.outcome} than {self.b} ({seen})"
        return f"{self.a} and {self.b}: no detectable difference ({seen}; {self.wanted()})"

    def wanted(self) -> str:
        """What would show a difference, where none was found."""
        if self.tasks < MIN_TASKS:
            return f"fewer than {MIN_TASKS} tasks can show none"
        if self.tasks_needed is None:
            return "no number of tasks would show one as small"
        return f"would need {max(self.tasks_needed, self.tasks + 1)} tasks if it is as large as it looks"


def compare_all(suites: Mapping[str, Suite], seed: int = 0) -> list[Comparison]:
    """Every pair that has a task in common once, in the order of the names; p by Holm over all of them."""
    pairs = [(a, b) for a, b in combinations(sorted(suites), 2) if set(suites[a]) & set(suites[b])]
    return compare_pairs(pairs, suites, seed)


def compare_pairs(
    pairs: Sequence[tuple[str, str]], suites: Mapping[str, Suite], seed: int = 0
) -> list[Comparison]:
    """These and no others, in their order; p by Holm over them. Each must have a task in common."""
    p_values = holm([paired_permutation(suites[a], suites[b], seed) for a, b in pairs])
    return [_compared(a, b, suites, p, seed) for (a, b), p in zip(pairs, p_values, strict=True)]


def _compared(a: str, b: str, suites: Mapping[str, Suite], p: float, seed: int) -> Comparison:
    tasks = shared_tasks(suites[a], suites[b])
    first = {task: suites[a][task] for task in tasks}
    second = {task: suites[b][task] for task in tasks}
    difference = mean_reward(first) - mean_reward(second)
    interval = difference_interval(first, second, seed)
    attempts = min(len(suite[task]) for suite in (first, second) for task in tasks)
    return Comparison(
        a=a,
        b=b,
        tasks=len(tasks),
        attempts=attempts,
        difference=difference,
        interval=interval,
        p=p,
        outcome=_outcome(difference, interval, p),
        tasks_needed=tasks_needed(difference, attempts, spread_of(first, second)),
    )


def _outcome(difference: float, interval: Interval, p: float) -> Outcome:
    """Both must agree: the test knows how many comparisons there were, the interval how attempts vary."""
    if p >= ALPHA or interval.holds(0.0):
        return "no detectable difference"
    return "better" if difference > 0 else "worse"
