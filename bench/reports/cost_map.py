"""What each configuration gets for what it takes: maps by task tag and by dollars, seconds and joules. Pure.

All points of a map are means over the same tasks, those at which every configuration on it has trials that
count; otherwise the one that was spared the dear tasks would look cheap. One that has fewer than half of
the tasks is left out, rather than all the tasks that it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.power import MIN_TASKS
from bench.reports.joining import Trial
from bench.reports.report import Axis, Beaten, CostMap, MapPoint, Mean, Unplaced
from bench.reports.summary import cost_of, counted, reward_mean, suite_of
from bench.reports.words import plural
from bench.reports.worth import Rival, questions
from bench.results import MODELLESS, TrialResult
from bench.stats import Suite, difference_interval, mean_reward, suite_interval

AXES: tuple[Axis, ...] = ("usd", "s", "j")
LEAST_SHARE = 0.5
"""Of the tasks: a configuration that has fewer of them is not on the map."""

MIN_TASKS_OF_TAG = 2
"""A tag of one task has its row in the table of tasks."""

_Amount = Callable[[TrialResult], float | None]


def _dollars(result: TrialResult) -> float | None:
    cost = cost_of(result)
    return None if cost is None else float(cost)


_AMOUNTS: Mapping[Axis, tuple[str, _Amount]] = {
    "usd": ("cost", _dollars),
    "s": ("active time", lambda result: result.active_s),
    "j": ("energy", lambda result: result.energy_j),
}


def maps_of(trials: Sequence[Trial], seed: int) -> tuple[CostMap, ...]:
    """Of all tasks, and of each tag of several that is not all of them. Tags of the same tasks are one."""
    rivals = _rivals(trials)
    if not rivals:
        return ()
    by_tasks: dict[frozenset[str], list[str]] = {}
    for tag in sorted({tag for trial in rivals for tag in trial.result.tags}):
        tasks = frozenset(trial.task for trial in rivals if tag in trial.result.tags)
        by_tasks.setdefault(tasks, []).append(tag)
    everything = frozenset(trial.task for trial in rivals)
    chosen = [("", everything)] + [
        (", ".join(tags), tasks)
        for tasks, tags in sorted(by_tasks.items(), key=lambda item: item[1])
        if MIN_TASKS_OF_TAG <= len(tasks) < len(everything)
    ]
    return tuple(
        cost_map(axis, tag, [trial for trial in rivals if trial.task in tasks], seed)
        for tag, tasks in chosen
        for axis in AXES
    )


def maps_of_tag(trials: Sequence[Trial], tag: str, seed: int) -> tuple[CostMap, ...]:
    """Also of a tag that the report leaves out; "" is all tasks. Empty: no task has it."""
    rivals = _rivals(trials)
    tagged = [trial for trial in rivals if not tag or tag in trial.result.tags]
    return tuple(cost_map(axis, tag, tagged, seed) for axis in AXES) if tagged else ()


def _rivals(trials: Sequence[Trial]) -> list[Trial]:
    """Without those whose reward says nothing of how good the work is: it was not checked."""
    return [
        trial
        for trial in trials
        if trial.result.manifest.harness not in MODELLESS and not trial.result.is_unverified
    ]


# --- one map ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Contender:
    name: str
    trials: tuple[Trial, ...]  # that count

    @property
    def tasks(self) -> frozenset[str]:
        return frozenset(trial.task for trial in self.trials)

    def at(self, tasks: frozenset[str]) -> _Contender:
        return _Contender(self.name, tuple(trial for trial in self.trials if trial.task in tasks))


def cost_map(axis: Axis, tag: str, trials: Sequence[Trial], seed: int) -> CostMap:
    everything = {trial.task for trial in trials}
    contenders = [
        _Contender(name, tuple(counted(trial for trial in trials if trial.configuration == name)))
        for name in sorted({trial.configuration for trial in trials})
    ]
    present = [one for one in contenders if len(one.tasks) >= max(1, LEAST_SHARE * len(everything))]
    tasks = frozenset.intersection(*(one.tasks for one in present)) if present else frozenset[str]()
    placed = [rival for one in present if tasks and (rival := _rival(axis, one.at(tasks), seed)) is not None]
    beaten = {one.name: _beaten(one, placed, seed) for one in placed}
    names = {one.name for one in placed}
    return CostMap(
        tag=tag,
        axis=axis,
        tasks=tuple(sorted(tasks)),
        tasks_in_all=len(everything),
        points=tuple(MapPoint(one.name, one.amount, one.reward, beaten[one.name]) for one in placed),
        front=tuple(one.name for one in sorted(placed, key=_from_the_cheapest) if not beaten[one.name]),
        unplaced=tuple(
            Unplaced(one.name, _why_not(axis, one, tasks, len(everything)))
            for one in contenders
            if one.name not in names
        ),
        worth=questions(axis, placed, seed),
    )


def _rival(axis: Axis, one: _Contender, seed: int) -> Rival | None:
    """None: not all of its amounts are known."""
    amounts: dict[str, list[float]] = {}
    for trial in one.trials:
        amount = _AMOUNTS[axis][1](trial.result)
        if amount is None:
            return None
        amounts.setdefault(trial.task, []).append(amount)
    rewards = suite_of(one.trials)
    reward = reward_mean(rewards, seed)
    return None if reward is None else Rival(one.name, rewards, amounts, reward, _mean(amounts, seed))


def _mean(amounts: Suite, seed: int) -> Mean:
    n = sum(len(found) for found in amounts.values())
    return Mean(mean_reward(amounts), suite_interval(amounts, seed) if n > 1 else None, n, len(amounts))


def _why_not(axis: Axis, one: _Contender, tasks: frozenset[str], tasks_in_all: int) -> str:
    if not one.trials:
        return "no trial of it counts"
    if not one.tasks >= tasks or not tasks:
        return f"it has trials that count at {len(one.tasks)} of {plural(tasks_in_all, 'task')}"
    noun, amount = _AMOUNTS[axis]
    results = [trial.result for trial in one.at(tasks).trials]
    known = sum(amount(result) is not None for result in results)
    return f"{noun} is known of {known} of {plural(len(results), 'trial')}"


# --- who beats whom ---------------------------------------------------------------------------------------


def _beaten(one: Rival, rivals: Sequence[Rival], seed: int) -> tuple[Beaten, ...]:
    return tuple(
        Beaten(other.name, _is_clear(other, one, seed))
        for other in sorted(rivals, key=_from_the_cheapest)
        if beats(other, one)
    )


def beats(a: Rival, b: Rival) -> bool:
    """As much or more for as much or less, and not the same for the same."""
    less_for_it, more_of_it = a.amount.value < b.amount.value, a.reward.value > b.reward.value
    return (
        a.amount.value <= b.amount.value and a.reward.value >= b.reward.value and (less_for_it or more_of_it)
    )


def _is_clear(a: Rival, b: Rival, seed: int) -> bool:
    """Never of few tasks: the bootstrap has too little to draw from."""
    if len(a.rewards) < MIN_TASKS:
        return False
    gets = difference_interval(a.rewards, b.rewards, seed)
    takes = difference_interval(a.amounts, b.amounts, seed)
    return gets.low >= 0 >= takes.high and (gets.low > 0 or takes.high < 0)


def _from_the_cheapest(one: Rival) -> tuple[float, float, str]:
    return one.amount.value, -one.reward.value, one.name
