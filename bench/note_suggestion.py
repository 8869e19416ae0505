"""Which configuration a log speaks for on a task, and whether it can tell. Pure.

What is asked of is chosen by how much evidence there is, never by what it says: the task itself if two
configurations have tried it MIN_TRIALS times; else tasks with all of its tags; else with one of them, the
rarest first; each if two configurations have tried MIN_TASKS of them. Looking on until something is found
would find something.

There every two configurations are compared: on one task by permuting their trials, on several by flipping the
signs of the differences of the tasks that both have tried; p by Holm over all pairs. Older trials weigh less,
as in the roll-up, and those older than MAX_HALVINGS half-lives nothing. A configuration is named if it is
better than each of the others that have been tried as often as that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.note_rollup import Reading, Rolled, labels_of, mean_reward, rolled_of, tags_of
from bench.note_standing import NotedTrial, Standing
from bench.power import ALPHA, MIN_TASKS
from bench.stats import RESAMPLES, holm, paired_permutation

MIN_TRIALS = 4
"""Of each of two configurations at one task: with 3 and 3 no p is below 2/20."""

MAX_HALVINGS = 3.0
MAX_EXACT = 20_000
SEED = 0

Verdict = Literal["named", "not told apart", "one tried", "none"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`task`: label and digest, if it is one that is known."""

    tags: tuple[str, ...]
    task: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """`a` stands before `b` in the order of the means. `difference`: of mean rewards, a less b, on what both
    have tried. `p` None: too little to say."""

    a: str
    b: str
    difference: float | None
    p: float | None
    n: int  # tasks that both have tried, or trials of both at the one task


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`contenders`: tried often enough to be compared; `others`: not. `named`, `cheapest`: their keys.
    `cheapest`: of those to which none is better, where what all of them cost is known."""

    verdict: Verdict
    basis: str
    is_one_task: bool
    contenders: tuple[Rolled, ...]
    others: tuple[Rolled, ...]
    compared: tuple[Compared, ...]
    too_old: int
    named: str | None = None
    cheapest: str | None = None


@dataclass(frozen=True, slots=True)
class _Pool:
    """Trials that say something of what is wanted."""

    basis: str
    trials: tuple[NotedTrial, ...]
    is_one_task: bool

    def groups(self, reading: Reading) -> dict[str, list[NotedTrial]]:
        found: dict[str, list[NotedTrial]] = {}
        for trial in self.trials:
            found.setdefault(reading.key(trial), []).append(trial)
        return dict(sorted(found.items()))

    def contenders(self, reading: Reading) -> list[str]:
        return [key for key, group in self.groups(reading).items() if self._is_enough(group)]

    def _is_enough(self, group: Sequence[NotedTrial]) -> bool:
        if self.is_one_task:
            return len(group) >= MIN_TRIALS
        return len({trial.task for trial in group}) >= MIN_TASKS


def suggest(found: Standing, wanted: Wanted, reading: Reading) -> Suggestion:
    counting = [trial for trial in found.trials if trial.outcome.counts]
    fresh = [trial for trial in counting if reading.halvings(trial) <= MAX_HALVINGS]
    pools = [pool for pool in _pools(fresh, wanted) if pool.trials]
    too_old = sum(_concerns(trial, wanted) for trial in counting) - sum(_concerns(t, wanted) for t in fresh)
    if not pools:
        return Suggestion("none", _asked(wanted), wanted.task is not None, (), (), (), too_old)
    pool = next(
        (one for one in pools if len(one.contenders(reading)) > 1),
        next((one for one in pools if len(one.groups(reading)) > 1), pools[0]),
    )
    return _decided(pool, reading, labels_of(found, reading), too_old)


def _asked(wanted: Wanted) -> str:
    return wanted.task[0] if wanted.task else f"tasks tagged {', '.join(wanted.tags)}"


def _concerns(trial: NotedTrial, wanted: Wanted) -> bool:
    return trial.task == wanted.task or not set(wanted.tags).isdisjoint(tags_of(trial))


def _pools(trials: Sequence[NotedTrial], wanted: Wanted) -> list[_Pool]:
    """From the nearest to the farthest."""
    pools = []
    if wanted.task is not None:
        same = tuple(trial for trial in trials if trial.task == wanted.task)
        pools.append(_Pool(f"{wanted.task[0]} itself", same, is_one_task=True))
    if len(wanted.tags) > 1:
        pools.append(_tagged(trials, wanted.tags))
    with_one = [_tagged(trials, (tag,)) for tag in wanted.tags]
    return pools + sorted(with_one, key=lambda pool: (len({trial.task for trial in pool.trials}), pool.basis))


def _tagged(trials: Iterable[NotedTrial], tags: Sequence[str]) -> _Pool:
    having = tuple(trial for trial in trials if set(tags) <= set(tags_of(trial)))
    return _Pool(f"tasks tagged {', '.join(tags)}", having, is_one_task=False)


# --- telling apart ---------------------------------------------------------------------------------


def _decided(pool: _Pool, reading: Reading, labels: Mapping[str, str], too_old: int) -> Suggestion:
    groups = pool.groups(reading)
    rows = rolled_of(pool.basis, pool.trials, reading, labels)
    able = pool.contenders(reading)
    contenders = tuple(row for row in rows if row.key in able)
    others = tuple(row for row in rows if row.key not in able)
    compared = _comparisons(pool, {row.key: groups[row.key] for row in contenders}, reading)
    if len(rows) == 1:
        return Suggestion("one tried", pool.basis, pool.is_one_task, contenders, others, compared, too_old)
    beaten = _beaten_by(compared)
    named = _best(contenders, beaten)
    worse = set().union(*beaten.values())
    return Suggestion(
        verdict="named" if named else "not told apart",
        basis=pool.basis,
        is_one_task=pool.is_one_task,
        contenders=contenders,
        others=others,
        compared=compared,
        too_old=too_old,
        named=named,
        cheapest=None if named else _cheapest([row for row in contenders if row.key not in worse]),
    )


def _beaten_by(compared: Sequence[Compared]) -> Mapping[str, set[str]]:
    """Who was found to be worse, by who was better."""
    beaten: dict[str, set[str]] = {}
    for one in compared:
        if one.p is not None and one.difference and one.p < ALPHA:
            winner, loser = (one.a, one.b) if one.difference > 0 else (one.b, one.a)
            beaten.setdefault(winner, set()).add(loser)
    return beaten


def _best(contenders: Sequence[Rolled], beaten: Mapping[str, set[str]]) -> str | None:
    """The one that is better than each other. That it is better than another that is better is not enough."""
    keys = {row.key for row in contenders}
    return next((key for key, losers in beaten.items() if losers == keys - {key}), None)


def _cheapest(peers: Sequence[Rolled]) -> str | None:
    costs = [
        (row.cost_usd.mean, row.key)
        for row in peers
        if row.cost_usd is not None and row.cost_usd.known == row.trials
    ]
    if len(costs) < max(2, len(peers)):
        return None
    (least, key), (second, _) = sorted(costs)[:2]
    return key if least < second else None


def _comparisons(
    pool: _Pool, groups: Mapping[str, list[NotedTrial]], reading: Reading
) -> tuple[Compared, ...]:
    compare = _on_one_task if pool.is_one_task else _on_tasks
    raw = [compare(a, groups[a], b, groups[b], reading) for a, b in combinations(groups, 2)]
    adjusted = iter(holm([one.p for one in raw if one.p is not None]))
    return tuple(
        one if one.p is None else Compared(one.a, one.b, one.difference, next(adjusted), one.n) for one in raw
    )


def _on_tasks(
    a: str, first: Sequence[NotedTrial], b: str, second: Sequence[NotedTrial], reading: Reading
) -> Compared:
    """Each task's difference weighs as the older of its two sides: signs are flipped with their weights."""
    shared = sorted({trial.task for trial in first} & {trial.task for trial in second})
    if not shared:
        return Compared(a, b, None, None, 0)
    differences, weights = [], []
    for task in shared:
        sides = [[trial for trial in side if trial.task == task] for side in (first, second)]
        means = [mean_reward(side, reading) or 0.0 for side in sides]
        differences.append(means[0] - means[1])
        weights.append(min(max(map(reading.weight, side)) for side in sides))
    difference = math.fsum(w * d for w, d in zip(weights, differences, strict=True)) / math.fsum(weights)
    if len(shared) < MIN_TASKS:
        return Compared(a, b, difference, None, len(shared))
    scaled = {str(place): [weights[place] * differences[place]] for place in range(len(shared))}
    p = paired_permutation(scaled, {place: [0.0] for place in scaled}, SEED)
    return Compared(a, b, difference, p, len(shared))


def _on_one_task(
    a: str, first: Sequence[NotedTrial], b: str, second: Sequence[NotedTrial], reading: Reading
) -> Compared:
    trials = sorted((*first, *second), key=lambda trial: trial.entry.evidence.result_sha)
    keys = np.array([reading.key(trial) == a for trial in trials])
    weights = np.array([reading.weight(trial) for trial in trials])
    rewards = np.array([trial.outcome.reward or 0.0 for trial in trials])
    seen = _differences(keys[None, :], weights, rewards)[0]
    is_exact = math.comb(len(trials), len(first)) <= MAX_EXACT
    sides = _all_sides(len(trials), len(first)) if is_exact else _drawn_sides(keys)
    share = float(np.mean(np.abs(_differences(sides, weights, rewards)) >= abs(seen) - 1e-9))
    p = share if is_exact else (share * RESAMPLES + 1) / (RESAMPLES + 1)  # what was seen counts as drawn
    return Compared(a, b, float(seen), p, len(trials))


def _differences(
    sides: NDArray[np.bool_], weights: NDArray[np.float64], rewards: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of the weighted means, for each row of `sides`: true for trials of the first."""
    weighted = weights * rewards
    one = (sides @ weighted) / (sides @ weights)
    other = (~sides @ weighted) / (~sides @ weights)
    difference: NDArray[np.float64] = one - other
    return difference


def _all_sides(n: int, first: int) -> NDArray[np.bool_]:
    chosen = np.array(list(combinations(range(n), first)))
    sides = np.zeros((len(chosen), n), dtype=bool)
    sides[np.arange(len(chosen))[:, None], chosen] = True
    return sides


def _drawn_sides(keys: NDArray[np.bool_]) -> NDArray[np.bool_]:
    generator = np.random.default_rng(SEED)
    return np.array([generator.permutation(keys) for _ in range(RESAMPLES)])
