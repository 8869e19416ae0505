"""How far candidates agree, where they part, and what that says of the task. Pure.

Agreement is a signal and no proof: models that learned from the same texts share their mistakes. Whether a
thing is right, only checks can say; so each kind below is of two parts, agreement and checks.

                         │ the checks pass       │ they differ, or fail
    ─────────────────────┼───────────────────────┼──────────────────────
    together             │ agreed, tests pass    │ shared misconception
    apart, by behaviour  │ underspecified        │ hard
    apart, by patches    │ different code        │ hard

Together: AGREED_SHARE of the candidates or more in one cluster. Entropy is reported, and does not decide:
normalised by log k it falls as k grows, and an even fork of six candidates has 0.39 where one of three has
0.58. Nothing with so large a cluster has more than 0.41 (four candidates).

Where nothing was probed, clusters are of patches, and different code that passes is only that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, assert_never

from bench.api_calls import calls_of
from bench.behaviour import Probe
from bench.candidates import Candidate, Cluster, Field, clusters
from bench.patches import files_touched
from bench.results import TrialResult

AGREED_SHARE = 0.75
PASSED = 1.0
"""A score that is any lower has a check that failed."""

VISIBLE = "visible"
"""The score of the checks that the agent or the user could see; without it, the reward."""

MAX_ASKED = 3
MAX_WORDS_CHARS = 60
SILENT = "no such probe"

Basis = Literal["behaviour", "patch"]
Scope = Literal["configurations", "attempts"]
"""Several configurations at one attempt; or one configuration at several attempts."""

_NOUN: Mapping[Scope, str] = {"configurations": "candidates", "attempts": "attempts"}

Kind = Literal[
    "underspecified",
    "hard",
    "shared misconception",
    "agreed, tests pass",
    "agreed, tests differ",
    "agreed, unverified",
    "different code, tests pass",
    "different, unverified",
    "nothing changed",
    "alone",
]


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates that are alike. `visible`, `reward`: the lowest of them; None where none is known."""

    members: tuple[str, ...]
    share: float
    visible: float | None
    reward: float | None
    is_unchanged: bool


@dataclass(frozen=True, slots=True)
class Side:
    """`reading`: the task's word for this outcome, "" where it has none."""

    members: tuple[str, ...]
    output: str
    reading: str

    @property
    def words(self) -> str:
        return self.reading or self.output


@dataclass(frozen=True, slots=True)
class Fork:
    """A probe to which candidates answered differently. `entropy`: of its sides, as that of clusters."""

    probe: str
    input: str
    question: str
    entropy: float
    sides: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class Alike:
    """Mean Jaccard index over pairs of candidates: shared by both, of what either has. `pairs`: of which at
    least one has anything; without any, `mean` is None."""

    mean: float | None
    pairs: int


@dataclass(frozen=True, slots=True)
class Convergence:
    """`where`: "attempt 2" for several configurations, else the one that was repeated. `left_out`: who is no
    evidence, and why. `calls_by_words`: not all calls were read by a grammar."""

    scope: Scope
    task: str
    task_digest: str
    where: str
    n: int
    left_out: tuple[str, ...]
    basis: Basis
    groups: tuple[Group, ...]
    entropy: float
    files: Alike
    calls: Alike
    calls_by_words: bool
    forks: tuple[Fork, ...]
    kind: Kind
    questions: tuple[str, ...]
    sentence: str

    @property
    def largest_share(self) -> float:
        return self.groups[0].share if self.groups else 0.0


def convergence(field: Field) -> Convergence:
    """Of the configurations that stood the same test."""
    where = f"attempt {field.attempt}"
    names = {one.result.trial: one.result.configuration for one in field.candidates}
    return _of("configurations", field, where, field.candidates, names)


def repeated(fields: Sequence[Field]) -> list[Convergence]:
    """Of each configuration with itself, where two attempts or more at a task can be compared: they answered
    the same probes, or began from the same seed."""
    found = []
    for (task, digest, name), tried in sorted(_by_configuration(fields).items()):
        if len(tried) > 1 and _are_comparable(tried):
            names = {one.result.trial: f"attempt {one.result.attempt}" for one in tried}
            field = Field(task, digest, tried[0].result.attempt, tuple(tried))
            found.append(_of("attempts", field, name, tried, names))
    return found


def _by_configuration(fields: Sequence[Field]) -> dict[tuple[str, str, str], list[Candidate]]:
    groups: dict[tuple[str, str, str], list[Candidate]] = {}
    for field in sorted(fields, key=lambda field: (field.task, field.task_digest, field.attempt)):
        for one in field.candidates:
            key = (field.task, field.task_digest, one.result.configuration)
            groups.setdefault(key, []).append(one)
    return groups


def _are_comparable(tried: Sequence[Candidate]) -> bool:
    asked = {
        None if one.behaviour is None else frozenset((p.name, p.input) for p in one.behaviour.probes)
        for one in tried
    }
    is_probed_alike = len(asked) == 1 and None not in asked
    return is_probed_alike or len({one.result.seed for one in tried}) == 1


def _of(
    scope: Scope, field: Field, where: str, everybody: Sequence[Candidate], names: Mapping[str, str]
) -> Convergence:
    present = [one for one in everybody if _is_evidence(one.result)]
    found = clusters(present)
    groups = tuple(_group(cluster, len(present), names) for cluster in found)
    calls = {one.result.trial: calls_of(one.patch) for one in present}
    basis: Basis = found[0].basis if found else "patch"
    forks = _forks(present, names)
    kind = _kind(found, len(present))
    questions = _questions(_forks(_passing(present), names) if kind == "hard" else forks)
    return Convergence(
        scope=scope,
        task=field.task,
        task_digest=field.task_digest,
        where=where,
        n=len(present),
        left_out=tuple(_absent(one, names) for one in everybody if one not in present),
        basis=basis,
        groups=groups,
        entropy=entropy([len(group.members) for group in groups]),
        files=_alike([files_touched(one.patch) for one in present]),
        calls=_alike([calls[one.result.trial].names for one in present]),
        calls_by_words=any(found.by_words for found in calls.values()),
        forks=forks,
        kind=kind,
        questions=questions,
        sentence=_sentence(kind, groups, basis, forks, questions, _NOUN[scope]),
    )


def _is_evidence(result: TrialResult) -> bool:
    """Also if nothing could grade it: what it did is seen all the same."""
    return result.validity == "VALID" and result.outcome != "infrastructure"


def _absent(one: Candidate, names: Mapping[str, str]) -> str:
    because = one.result.invalid_because[0] if one.result.invalid_because else one.result.outcome
    return f"{names[one.result.trial]}: {because}"


# --- numbers ----------------------------------------------------------------------------------------------


def entropy(sizes: Sequence[int]) -> float:
    """Shannon's, of clusters of these sizes, by the most that as many candidates can have: 0, all in one, to
    1, each alone."""
    n = sum(sizes)
    if n < 2 or len(sizes) < 2:
        return 0.0
    return -sum(size / n * math.log(size / n) for size in sizes) / math.log(n)


def _alike(sets: Sequence[frozenset[str]]) -> Alike:
    indices = [len(a & b) / len(a | b) for a, b in combinations(sets, 2) if a or b]
    return Alike(sum(indices) / len(indices) if indices else None, len(indices))


def _group(cluster: Cluster, n: int, names: Mapping[str, str]) -> Group:
    results = [one.result for one in cluster.candidates]
    visible = [score for result in results if (score := visible_score(result)) is not None]
    rewards = [reward for result in results if (reward := result.verified_reward) is not None]
    return Group(
        members=tuple(names[result.trial] for result in results),
        share=len(results) / n,
        visible=min(visible, default=None),
        reward=min(rewards, default=None),
        is_unchanged=not any(one.patch.strip() for one in cluster.candidates),
    )


def _passing(present: Sequence[Candidate]) -> list[Candidate]:
    return [one for one in present if (visible_score(one.result) or 0.0) >= PASSED]


def visible_score(result: TrialResult) -> float | None:
    """None: no check has said anything."""
    return result.scores.get(VISIBLE, result.verified_reward)


# --- forks ------------------------------------------------------------------------------------------------


def _forks(present: Sequence[Candidate], names: Mapping[str, str]) -> tuple[Fork, ...]:
    """The most even first: there the candidates are least of one mind. Outcomes that a task has the same word
    for are one side; where that leaves no fork, and candidates did differ, its words are too coarse."""
    order: dict[str, None] = {}
    for one in present:
        order |= {probe.name: None for probe in (one.behaviour.probes if one.behaviour else ())}
    forks: list[Fork] = []
    for by_reading in (True, False):
        found = (_fork(probe, present, names, by_reading=by_reading) for probe in order)
        forks = forks or [fork for fork in found if fork is not None]
    return tuple(sorted(forks, key=lambda fork: -fork.entropy))


def _fork(
    name: str, present: Sequence[Candidate], names: Mapping[str, str], *, by_reading: bool
) -> Fork | None:
    """None: all did the same."""
    answers = {one.result.trial: _answer(one, name) for one in present if one.behaviour is not None}
    if not by_reading:
        plain = {"reading": "", "question": ""}
        answers = {trial: probe and probe.model_copy(update=plain) for trial, probe in answers.items()}
    probes = [probe for probe in answers.values() if probe is not None]
    sides: dict[tuple[str, str], list[str]] = {}
    for trial, probe in answers.items():
        key = (SILENT, "") if probe is None else ("", probe.reading) if probe.reading else (probe.output, "")
        sides.setdefault(key, []).append(trial)
    if len(sides) < 2:
        return None
    parted = sorted(sides.values(), key=lambda trials: -len(trials))
    return Fork(
        probe=name,
        input=next((probe.input for probe in probes if probe.input), ""),
        question=next((probe.question for probe in probes if probe.question), ""),
        entropy=entropy([len(trials) for trials in parted]),
        sides=tuple(_side(trials, answers[trials[0]], names) for trials in parted),
    )


def _answer(one: Candidate, name: str) -> Probe | None:
    probes = one.behaviour.probes if one.behaviour else ()
    return next((probe for probe in probes if probe.name == name), None)


def _side(trials: Sequence[str], probe: Probe | None, names: Mapping[str, str]) -> Side:
    members = tuple(names[trial] for trial in trials)
    return Side(members, SILENT, "") if probe is None else Side(members, probe.output, probe.reading)


def _questions(forks: Sequence[Fork]) -> tuple[str, ...]:
    """Each once, those of the most even forks first. A fork that no question belongs to makes its own."""
    return tuple(dict.fromkeys(fork.question or _own_question(fork) for fork in forks))


def _own_question(fork: Fork) -> str:
    outcomes = [f'"{_short(side.words)}"' for side in fork.sides]
    return f'On "{_short(fork.probe)}", which is meant: {_listed(outcomes, "or")}?'


# --- what it says -----------------------------------------------------------------------------------------


def _kind(found: Sequence[Cluster], n: int) -> Kind:
    if n < 2:
        return "alone"
    if len(found[0].candidates) / n >= AGREED_SHARE:
        return _agreed(found[0])
    visible = [visible_score(one.result) for cluster in found for one in cluster.candidates]
    if None in visible:
        return "different, unverified"
    if any(score is not None and score < PASSED for score in visible):
        return "hard"
    return "underspecified" if found[0].basis == "behaviour" else "different code, tests pass"


def _agreed(cluster: Cluster) -> Kind:
    """Hidden checks are asked too: what passes those that could be seen may be mistaken all the same."""
    if not any(one.patch.strip() for one in cluster.candidates):
        return "nothing changed"
    passes = {_passes(one.result) for one in cluster.candidates}
    if None in passes:
        return "agreed, unverified"
    if len(passes) > 1:
        return "agreed, tests differ"
    return "agreed, tests pass" if True in passes else "shared misconception"


def _passes(result: TrialResult) -> bool | None:
    """None: no check has said anything."""
    known = [score for score in (visible_score(result), result.verified_reward) if score is not None]
    return all(score >= PASSED for score in known) if known else None


def _sentence(
    kind: Kind,
    groups: Sequence[Group],
    basis: Basis,
    forks: Sequence[Fork],
    questions: Sequence[str],
    noun: str,
) -> str:
    n = sum(len(group.members) for group in groups)
    did = "did the same on every probe" if basis == "behaviour" else "made the same change"
    together = f"{len(groups[0].members)} of {n} {did}" if groups else ""
    apart = f"{n} {noun} {_ways(len(groups), basis)}"
    match kind:
        case "alone":
            return f"{n} of several {noun}: nothing to compare." if n else "No candidate is evidence."
        case "nothing changed":
            return f"{len(groups[0].members)} of {n} changed nothing at all."
        case "agreed, tests pass":
            said = f"{together}, and the checks pass it. That they agree adds nothing to what the checks say."
        case "agreed, tests differ":
            said = f"{together}, and the checks pass some of them only: they see what the comparison misses."
        case "agreed, unverified":
            said = f"{together}, and nothing has checked it: they may share a mistake."
        case "shared misconception":
            said = f"{together}, and {_failed(groups[0])}: a shared misconception, not an answer."
        case "underspecified":
            said = f"{apart}, and the checks pass them all: the task is underspecified. {_ask(questions)}"
        case "different code, tests pass":
            said = f"{apart}, and the checks pass them all. No probe says whether the code does the same."
        case "different, unverified":
            said = f"{apart}, and nothing has checked them. {_ask(questions)}".rstrip()
        case "hard":
            said = f"{apart}, and {_parted(groups)}: the task is hard for them. {_also(questions)}".rstrip()
        case _:
            assert_never(kind)
    return f"{said} {_sides(forks[0])}" if forks else said


def _ways(number: int, basis: Basis) -> str:
    return f"did {number} different things" if basis == "behaviour" else f"made {number} different changes"


def _failed(group: Group) -> str:
    """Visible checks that pass stand beside hidden ones that do not."""
    if group.visible is not None and group.visible >= PASSED:
        return "it passes the visible checks and fails hidden ones"
    return "the checks fail it"


def _parted(groups: Sequence[Group]) -> str:
    passing = [name for group in groups if _is_passing(group) for name in group.members]
    return f"the checks pass {_listed(passing, 'and')} only" if passing else "the checks pass none of them"


def _is_passing(group: Group) -> bool:
    return group.visible is not None and group.visible >= PASSED


def _ask(questions: Sequence[str]) -> str:
    more = f" ({len(questions) - MAX_ASKED} more)" if len(questions) > MAX_ASKED else ""
    return f"Ask: {' '.join(questions[:MAX_ASKED])}{more}" if questions else ""


def _also(questions: Sequence[str]) -> str:
    return f"Those that pass part as well. {_ask(questions)}" if questions else ""


def _sides(fork: Fork) -> str:
    sides = (f"{_short(side.words)} ({_listed(side.members, 'and')})" for side in fork.sides)
    return f'On "{_short(fork.probe)}": {"; ".join(sides)}.'


def _listed(words: Sequence[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_WORDS_CHARS else line[: MAX_WORDS_CHARS - 1] + "…"
