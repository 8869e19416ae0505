"""Which configuration did better, took longer, cost more, and what a comparison of this size can see. Pure.

Rewards go through bench/verdicts.py: p is adjusted (Holm) for all pairs of the report. Ratios of cost and
time have an interval each and are not adjusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from bench.power import MIN_TASKS, Spread, detectable_difference, spread_of
from bench.reports.joining import Trial
from bench.reports.report import Design, Measure, Pair, Ratio
from bench.reports.summary import cost_of, counted, suite_of
from bench.reports.words import factor, plural, times
from bench.results import MODELLESS
from bench.stats import Interval, Suite, ratio_interval
from bench.verdicts import Comparison, compare_pairs

MEASURES: tuple[Measure, ...] = ("cost", "wall", "active")
Names = tuple[str, str]
"""Two configurations, the first against the second."""

_NOUN: Mapping[Measure, str] = {"cost": "cost", "wall": "wall time", "active": "active time"}
_MORE: Mapping[Measure, str] = {
    "cost": "costs more than",
    "wall": "takes longer than",
    "active": "is active for longer than",
}
_LESS: Mapping[Measure, str] = {
    "cost": "costs less than",
    "wall": "is faster than",
    "active": "is active for less long than",
}


def by_configuration(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """Those that count."""
    groups: dict[str, list[Trial]] = {}
    for trial in counted(trials):
        groups.setdefault(trial.configuration, []).append(trial)
    return groups


def pairs_of(trials: Sequence[Trial], wanted: Sequence[Names], seed: int) -> tuple[Pair, ...]:
    suites = _suites(trials)
    found = compare_pairs(comparable(trials, wanted), suites, seed)
    return tuple(_pair(comparison, suites) for comparison in found)


def all_pairs(trials: Sequence[Trial]) -> list[Names]:
    """Of those that compete: each pair more costs the others power."""
    return list(combinations(sorted({trial.configuration for trial in trials if _competes(trial)}), 2))


def _competes(trial: Trial) -> bool:
    return trial.result.manifest.harness not in MODELLESS


def comparable(trials: Sequence[Trial], wanted: Sequence[Names]) -> list[Names]:
    """Those with a task of which both have a trial that counts."""
    suites = _suites(trials)
    return [(a, b) for a, b in wanted if set(suites.get(a, ())) & set(suites.get(b, ()))]


def not_comparable(trials: Sequence[Trial], wanted: Sequence[Names]) -> tuple[str, ...]:
    possible = comparable(trials, wanted)
    return tuple(
        f"{a} and {b} cannot be compared: no task has trials of both that count."
        for a, b in wanted
        if (a, b) not in possible
    )


def _suites(trials: Sequence[Trial]) -> dict[str, dict[str, list[float]]]:
    return {name: suite_of(group) for name, group in by_configuration(trials).items()}


def _pair(found: Comparison, suites: Mapping[str, Suite]) -> Pair:
    a, b = suites[found.a], suites[found.b]
    seen = spread_of(a, b)
    is_seen = found.attempts > 1 and seen.of_difference(found.attempts) > 0
    spread = seen if is_seen else Spread()
    return Pair(found, found.sentence(), detectable_difference(found.tasks, found.attempts, spread))


# --- ratios ---------------------------------------------------------------------------------------


def ratios_of(trials: Sequence[Trial], wanted: Sequence[Names]) -> tuple[Ratio, ...]:
    groups = by_configuration(trials)
    return tuple(
        _ratio(measure, (a, groups[a]), (b, groups[b]))
        for measure in MEASURES
        for a, b in comparable(trials, wanted)
    )


def _ratio(measure: Measure, a: tuple[str, list[Trial]], b: tuple[str, list[Trial]]) -> Ratio:
    first, second = _amounts(measure, a[1]), _amounts(measure, b[1])
    tasks = sorted(set(first) & set(second))
    for name, suite in ((a[0], first), (b[0], second)):
        amounts = [amount for task in tasks for amount in suite[task]]
        trouble = _trouble(measure, amounts)
        if trouble:
            said = f"{a[0]} and {b[0]}: no ratio of {_NOUN[measure]}, {name} {trouble}"
            return Ratio(measure, a[0], b[0], len(tasks), None, None, said)
    known_a, known_b = _known(first), _known(second)
    ratio, interval = ratio_interval(known_a, known_b)
    bounds = interval if len(tasks) > 1 else None
    sentence = _sentence(measure, a[0], b[0], ratio, bounds, len(tasks))
    return Ratio(measure, a[0], b[0], len(tasks), ratio, bounds, sentence)


def _amounts(measure: Measure, trials: Sequence[Trial]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for trial in trials:
        found.setdefault(trial.task, []).append(_amount(measure, trial))
    return found


def _amount(measure: Measure, trial: Trial) -> float | None:
    if measure == "cost":
        cost = cost_of(trial.result)
        return None if cost is None else float(cost)
    return trial.result.wall_s if measure == "wall" else trial.result.active_s


def _trouble(measure: Measure, amounts: Sequence[float | None]) -> str:
    """Why there is no logarithm of these. "": there is one of each."""
    unknown = sum(amount is None for amount in amounts)
    if unknown:
        return f"has {plural(unknown, 'trial')} of unknown {_NOUN[measure]}"
    if any(amount is not None and amount <= 0 for amount in amounts):
        return f"has trials of no {_NOUN[measure]} at all"
    return ""


def _known(amounts: Mapping[str, Sequence[float | None]]) -> dict[str, list[float]]:
    """Tasks that only one of the two has may still be unknown: ratio_interval does not look at them."""
    return {task: [amount for amount in found if amount is not None] for task, found in amounts.items()}


def _sentence(measure: Measure, a: str, b: str, ratio: float, bounds: Interval | None, tasks: int) -> str:
    if bounds is None:
        return f"{a} and {b}: {times(ratio)} the {_NOUN[measure]}, on one task, which gives no interval"
    between = f"95 % interval {factor(bounds.low)} to {factor(bounds.high)}"
    seen = f"{times(ratio)}, {between}, {plural(tasks, 'task')}"
    if bounds.holds(1.0):
        return f"{a} and {b}: no detectable difference in {_NOUN[measure]} ({seen})"
    return f"{a} {(_MORE if ratio > 1 else _LESS)[measure]} {b} ({seen})"


# --- what could have been seen --------------------------------------------------------------------


def design_of(trials: Sequence[Trial]) -> Design | None:
    """None: there are no two configurations to compare."""
    suites = _suites([trial for trial in trials if _competes(trial)])
    if len(suites) < 2:
        return None
    tasks = sorted(set.intersection(*(set(suite) for suite in suites.values())))
    if not tasks:
        return None
    attempts = min(len(suite[task]) for suite in suites.values() for task in tasks)
    shared = {name: {task: suite[task] for task in tasks} for name, suite in suites.items()}
    seen = _pooled([spread_of(shared[a], shared[b]) for a, b in combinations(sorted(shared), 2)])
    is_seen = attempts > 1 and len(tasks) > 1 and seen.of_difference(attempts) > 0
    by_assumed = detectable_difference(len(tasks), attempts)
    by_seen = detectable_difference(len(tasks), attempts, seen) if is_seen else None
    sentence = _design_sentence(len(tasks), attempts, by_assumed, by_seen)
    return Design(len(tasks), attempts, by_assumed, by_seen, sentence)


def _pooled(spreads: Sequence[Spread]) -> Spread:
    """The mean of their variances."""
    attempt = float(np.mean([spread.attempt_sd**2 for spread in spreads])) ** 0.5
    effect = float(np.mean([spread.effect_sd**2 for spread in spreads])) ** 0.5
    return Spread(attempt, effect, is_assumed=False)


def _design_sentence(tasks: int, attempts: int, by_assumed: float | None, by_seen: float | None) -> str:
    size = f"{plural(tasks, 'task')} × {plural(attempts, 'attempt')}"
    if by_assumed is None:
        return f"{size}: no difference of rewards can be found, however large; that takes {MIN_TASKS} tasks."
    assumed = f"{100 * by_assumed:.0f} points if attempts vary as is usually assumed"
    seen = f"{100 * by_seen:.0f} points as they varied here, " if by_seen is not None else ""
    return (
        f"{size}: one comparison finds a true difference 4 times in 5 if it is {seen}{assumed}, or more;"
        " with several comparisons it must be larger."
    )
