"""The trials behind a number of the roll-up. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.note_rollup import Reading, Rolled, labels_of, of_task, rolled_of, with_tag
from bench.note_standing import NotedTrial, Standing, Withdrawn

MIN_HASH_CHARS = 6


@dataclass(frozen=True, slots=True)
class Claim:
    """`behind`: all trials of the configuration there, the newest first; those that do not count too."""

    rolled: Rolled
    behind: tuple[NotedTrial, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`withdrawn`: in none of the numbers."""

    claims: tuple[Claim, ...]
    withdrawn: tuple[Withdrawn, ...]


def explain(found: Standing, subject: str, reading: Reading, configuration: str | None = None) -> Explanation:
    """`subject`: a tag; if nothing has it, a task. `configuration`: a name, or the beginning of a hash."""

    is_of = _asked_for(found, configuration, reading)

    def chosen(trials: Iterable[NotedTrial]) -> list[NotedTrial]:
        return [trial for trial in _about(trials, subject) if is_of(trial)]

    trials = chosen(found.trials)
    withdrawn = chosen(one.trial for one in found.withdrawn)
    rows = rolled_of(subject, trials, reading, labels_of(found, reading))
    return Explanation(
        claims=tuple(Claim(row, _behind(row, trials, reading)) for row in rows),
        withdrawn=tuple(one for one in found.withdrawn if one.trial in withdrawn),
    )


def _about(trials: Iterable[NotedTrial], word: str) -> list[NotedTrial]:
    known = list(trials)
    return with_tag(known, word) or of_task(known, word)


def _asked_for(found: Standing, word: str | None, reading: Reading) -> Callable[[NotedTrial], bool]:
    """A name goes before a hash: one that is called "a" is not all whose hashes begin with a."""
    everything = (*found.trials, *(one.trial for one in found.withdrawn))
    if word is None:
        return lambda _: True
    if any(trial.configuration.name == word for trial in everything) or len(word) < MIN_HASH_CHARS:
        return lambda trial: trial.configuration.name == word
    return lambda trial: reading.key(trial).startswith(word)


def _behind(row: Rolled, trials: Iterable[NotedTrial], reading: Reading) -> tuple[NotedTrial, ...]:
    own = [trial for trial in trials if reading.key(trial) == row.key]
    return tuple(sorted(own, key=lambda trial: (-trial.entry.at_s, trial.ids)))
