"""What a log of trials adds up to: per tag and configuration the mean reward, how sure, from how much. Pure.

A trial weighs 1 on its day and half of it a half-life later: w = 2^(-age / half-life).

mean reward      of each task the weighted mean of its trials; of these the mean, each task with the weight of
                 its newest trial. However often a task was tried, it counts as one task.
interval         Wilson's, 95 %, of that mean, with as many tasks as their weights add up to: tasks are the
                 sample. Of a single task: with as many trials as theirs add up to, and it holds for that task
                 alone. Wider than need be for graded rewards, as nothing in 0..1 varies more than pass and
                 fail; and wider the older the evidence is.
effective        the sum of the weights

Trials come in the order of their hashes (note_standing.py): the same log gives the same digits, however
merged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.note_entries import SHORT_CHARS
from bench.note_standing import NotedTrial, Standing
from bench.stats import Interval, wilson

DAY_S = 86_400.0
DEFAULT_HALF_LIFE_S = 90 * DAY_S
NO_TAG = "(no tag)"
MAX_CLOCK_ERROR_S = DAY_S
"""A trial that claims to be from later than that is named."""

_NOTHING = 1e-9
_UNITS: Mapping[str, float] = {"h": 3600.0, "d": DAY_S, "w": 7 * DAY_S, "y": 365.25 * DAY_S}


@dataclass(frozen=True, slots=True)
class Reading:
    """How a log is to be read. `half_life_s` None: age does not matter. `any_version`: configurations that
    differ in their harness's version alone are one."""

    now_s: float
    half_life_s: float | None = DEFAULT_HALF_LIFE_S
    any_version: bool = False

    def halvings(self, trial: NotedTrial) -> float:
        age_s = max(0.0, self.now_s - trial.entry.at_s)
        return 0.0 if self.half_life_s is None else age_s / self.half_life_s

    def weight(self, trial: NotedTrial) -> float:
        return float(0.5 ** self.halvings(trial))

    def key(self, trial: NotedTrial) -> str:
        """Of the configuration."""
        what = trial.configuration
        return what.sha_of_any_version if self.any_version else what.sha


@dataclass(frozen=True, slots=True)
class Average:
    """`known`: of so many trials; the others did not say."""

    mean: float
    known: int


@dataclass(frozen=True, slots=True)
class Rolled:
    """One configuration on the tasks of one tag, or on one task. `trials`: those that count; `left_out`:
    those that do not (INVALID, no verdict, could not be run). `mean` None: none counts."""

    subject: str
    key: str
    label: str
    versions: tuple[str, ...]
    trials: int
    left_out: int
    tasks: int
    effective_trials: float
    effective_tasks: float
    mean: float | None
    interval: Interval | None
    sample: Literal["tasks", "trials"]
    cost_usd: Average | None
    wall_s: Average | None
    energy_j: Average | None
    newest_s: float
    oldest_s: float
    notes: tuple[str, ...]


def half_life_s(text: str) -> float | None:
    """ "90d", "12h", "6w", "1y", "none". Raises ValueError."""
    if text == "none":
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([hdwy])", text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f'expected a time such as "90d", "12h", "6w", "1y", or "none", found {text!r}')
    return float(match[1]) * _UNITS[match[2]]


def roll_up(found: Standing, reading: Reading, tag: str | None = None) -> tuple[Rolled, ...]:
    """Tag by tag, the highest mean first. `tag`: of this one alone."""
    tags = sorted({known for trial in found.trials for known in tags_of(trial)})
    labels = labels_of(found, reading)
    return tuple(
        rolled
        for subject in tags
        if tag in (None, subject)
        for rolled in rolled_of(subject, with_tag(found.trials, subject), reading, labels)
    )


def rolled_of(
    subject: str, trials: Iterable[NotedTrial], reading: Reading, labels: Mapping[str, str]
) -> tuple[Rolled, ...]:
    """One for each configuration, the highest mean first."""
    groups: dict[str, list[NotedTrial]] = {}
    for trial in trials:
        groups.setdefault(reading.key(trial), []).append(trial)
    rows = [_rolled(subject, key, group, reading, labels[key]) for key, group in groups.items()]
    return tuple(sorted(rows, key=lambda row: (row.mean is None, -(row.mean or 0.0), row.label, row.key)))


def tags_of(trial: NotedTrial) -> tuple[str, ...]:
    return trial.tags or (NO_TAG,)


def with_tag(trials: Iterable[NotedTrial], tag: str) -> list[NotedTrial]:
    return [trial for trial in trials if tag in tags_of(trial)]


def labels_of(found: Standing, reading: Reading) -> Mapping[str, str]:
    """What each configuration is called, by its key: its names; and a piece of its hash where another has
    the same."""
    names: dict[str, set[str]] = {}
    for trial in (*found.trials, *(one.trial for one in found.withdrawn)):
        names.setdefault(reading.key(trial), set()).add(trial.configuration.name)
    joined = {key: "/".join(sorted(known)) for key, known in names.items()}
    called = list(joined.values())
    return {
        key: name if called.count(name) == 1 else f"{name} [{key[:SHORT_CHARS]}]"
        for key, name in joined.items()
    }


def of_task(trials: Iterable[NotedTrial], name: str) -> list[NotedTrial]:
    """With the parameters that the name has, or with any if it has none."""
    labels = ((trial, trial.entry.task.label) for trial in trials)
    return [trial for trial, label in labels if name in (label, label.split("(")[0])]


def _rolled(subject: str, key: str, group: Sequence[NotedTrial], reading: Reading, label: str) -> Rolled:
    evidence = [trial for trial in group if trial.outcome.counts]
    ages = [trial.entry.at_s for trial in group]
    by_task = _by_task(evidence)
    effective_trials = math.fsum(map(reading.weight, evidence))
    effective_tasks = math.fsum(max(map(reading.weight, tried)) for tried in by_task.values())
    mean = mean_reward(evidence, reading)
    sample: Literal["tasks", "trials"] = "tasks" if len(by_task) > 1 else "trials"
    size = effective_tasks if sample == "tasks" else effective_trials
    return Rolled(
        subject=subject,
        key=key,
        label=label,
        versions=tuple(sorted({trial.configuration.version for trial in group})),
        trials=len(evidence),
        left_out=len(group) - len(evidence),
        tasks=len(by_task),
        effective_trials=effective_trials,
        effective_tasks=effective_tasks,
        mean=mean,
        interval=None if mean is None else _interval(mean, size),
        sample=sample,
        cost_usd=_average(evidence, reading, _usd),
        wall_s=_average(evidence, reading, lambda trial: trial.entry.wall_s),
        energy_j=_average(evidence, reading, lambda trial: trial.entry.energy_j),
        newest_s=max(ages),
        oldest_s=min(ages),
        notes=_notes(group, reading),
    )


def mean_reward(evidence: Sequence[NotedTrial], reading: Reading) -> float | None:
    """Of trials that count."""
    tasks = list(_by_task(evidence).values())
    if not tasks:
        return None
    means = [_weighted(tried, reading, [trial.outcome.reward or 0.0 for trial in tried]) for tried in tasks]
    newest = [min(tried, key=reading.halvings) for tried in tasks]
    return min(1.0, max(0.0, _weighted(newest, reading, means)))


def _by_task(trials: Iterable[NotedTrial]) -> dict[tuple[str, str], list[NotedTrial]]:
    found: dict[tuple[str, str], list[NotedTrial]] = {}
    for trial in trials:
        found.setdefault(trial.task, []).append(trial)
    return dict(sorted(found.items()))


def _weighted(trials: Sequence[NotedTrial], reading: Reading, values: Sequence[float]) -> float:
    """The mean. Weights are taken against the newest: of trials as old as the hills all would be 0."""
    least = min(map(reading.halvings, trials))
    weights = [float(0.5 ** (reading.halvings(trial) - least)) for trial in trials]
    return math.fsum(w * value for w, value in zip(weights, values, strict=True)) / math.fsum(weights)


def _interval(mean: float, size: float) -> Interval:
    return wilson(mean * size, size) if size > _NOTHING else Interval(0.0, 1.0)


def _average(
    trials: Iterable[NotedTrial], reading: Reading, value: Callable[[NotedTrial], float | None]
) -> Average | None:
    known = [(trial, found) for trial in trials if (found := value(trial)) is not None]
    if not known:
        return None
    mean = _weighted([trial for trial, _ in known], reading, [found for _, found in known])
    return Average(mean, len(known))


def _usd(trial: NotedTrial) -> float | None:
    return None if trial.entry.cost_usd is None else float(trial.entry.cost_usd)


def _notes(group: Sequence[NotedTrial], reading: Reading) -> tuple[str, ...]:
    files: dict[str, set[str]] = {}
    for trial in group:
        for model, sha in trial.entry.models.items():
            if sha:
                files.setdefault(model, set()).add(sha)
    notes = [
        f"{model}: {len(shas)} different files or versions of it are mixed here"
        for model, shas in sorted(files.items())
        if len(shas) > 1
    ]
    late = sum(trial.entry.at_s > reading.now_s + MAX_CLOCK_ERROR_S for trial in group)
    if late:
        notes.append(f"{late} of its trials say that they are from the future: a clock was wrong")
    return tuple(notes)
