"""What stands, of all that was ever noted: each trial once, without those that were taken back. Pure.

A trial is what its result.json is. Told twice, with other words or by another person, it counts once and has
the tags and notes of both. Entries that say the same result.json showed different things contradict each
other: none of them counts. A retraction takes out the trial, in whoever's entry it stands; a retraction of a
retraction brings it back. Nothing here depends on the order of entries, nor on how often one was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.note_entries import Entry, NotedConfiguration, NotedOutcome, Retraction, TrialEntry


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    by: str
    note: str


@dataclass(frozen=True, slots=True)
class NotedTrial:
    """`entry`: one of those that tell of it; all have the same facts."""

    entry: TrialEntry
    ids: tuple[str, ...]
    tags: tuple[str, ...]
    remarks: tuple[Remark, ...]

    @property
    def configuration(self) -> NotedConfiguration:
        return self.entry.configuration

    @property
    def outcome(self) -> NotedOutcome:
        return self.entry.outcome

    @property
    def task(self) -> tuple[str, str]:
        """Label and digest: a task whose files changed is another task."""
        return self.entry.task.label, self.entry.task.digest


@dataclass(frozen=True, slots=True)
class Withdrawn:
    trial: NotedTrial
    retractions: tuple[Retraction, ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """`ids`: of entries on one result.json that do not say the same."""

    result_sha: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """`trials`: what counts and what does not, in the order of their hashes."""

    trials: tuple[NotedTrial, ...]
    withdrawn: tuple[Withdrawn, ...]
    contradictions: tuple[Contradiction, ...]


def standing(entries: Iterable[Entry]) -> Standing:
    unique = {entry.id: entry for entry in entries}
    groups: dict[str, list[TrialEntry]] = {}
    for _, entry in sorted(unique.items()):
        if isinstance(entry, TrialEntry):
            groups.setdefault(entry.evidence.result_sha, []).append(entry)
    in_force = _in_force([entry for entry in unique.values() if isinstance(entry, Retraction)])
    trials, withdrawn, contradictions = [], [], []
    for sha, group in sorted(groups.items()):
        against = tuple(one for entry in group for one in in_force.get(entry.id, ()))
        if against:
            withdrawn.append(Withdrawn(_trial(group), against))
        elif len(group) > 1 and len({entry.facts for entry in group}) > 1:
            contradictions.append(Contradiction(sha, tuple(entry.id for entry in group)))
        else:
            trials.append(_trial(group))
    return Standing(tuple(trials), tuple(withdrawn), tuple(contradictions))


def _trial(group: Sequence[TrialEntry]) -> NotedTrial:
    return NotedTrial(
        entry=group[0],
        ids=tuple(entry.id for entry in group),
        tags=tuple(sorted({tag for entry in group for tag in entry.task.tags})),
        remarks=tuple(sorted({Remark(entry.by, entry.note) for entry in group if entry.by or entry.note})),
    )


def _in_force(retractions: Sequence[Retraction]) -> Mapping[str, tuple[Retraction, ...]]:
    """Those that no retraction in force takes back, by what they retract. An id is a hash of what it names,
    so no chain of them bites its tail: begin with those that nobody retracts, and go along."""
    by_id = {one.id: one for one in retractions}
    undecided = dict.fromkeys(by_id, 0)  # how many that retract it are not yet decided on
    for one in retractions:
        if one.retracts in undecided:
            undecided[one.retracts] += 1
    ready = [by_id[name] for name, count in undecided.items() if count == 0]
    annulled: set[str] = set()
    found: dict[str, list[Retraction]] = {}
    while ready:
        one = ready.pop()
        if one.id not in annulled:
            annulled.add(one.retracts)
            found.setdefault(one.retracts, []).append(one)
        if one.retracts in undecided:
            undecided[one.retracts] -= 1
            if undecided[one.retracts] == 0:
                ready.append(by_id[one.retracts])
    return {name: tuple(sorted(ones, key=lambda one: one.id)) for name, ones in found.items()}
