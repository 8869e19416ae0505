"""What a judge is worth, where the truth is known: its choices by each method, beside chance and the best
possible. Pure.

random       any of the candidates: the mean of their rewards, exactly
best single  the configuration that is best on the other tasks, chosen without looking at this one
pointwise    the highest score of the notes on each alone
pairwise     every pair in both orders; who wins the most pairs (Copeland)
listwise     the procedure of `hotseat bench select`: notes, then all side by side in balanced orders
oracle       the best candidate

A tie or an abstention is worth the mean of those it could not tell apart, so that a judge which never decides
is worth as much as chance. Every method chooses among the same: what pruning and clusters have left.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.power import MIN_TASKS
from bench.reports.words import plural
from bench.selection.prompts import Note
from bench.selection.verdict import Ballot, Bias, bias_of, verdict_of
from bench.stats import Interval, mean_reward, suite_interval, wilson
from bench.verdicts import Comparison, compare_pairs

Method = Literal["random", "best single", "pointwise", "pairwise", "listwise", "oracle"]
METHODS: tuple[Method, ...] = ("random", "best single", "pointwise", "pairwise", "listwise", "oracle")
ASKED: tuple[Method, ...] = ("pointwise", "pairwise", "listwise")
"""Those that ask the judge."""

FORMAT = 1
SEED = 20260130


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spent(_Kept):
    """On one purpose. `cost_usd` None: it is not known."""

    questions: int = 0
    tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        known = self.cost_usd is not None and other.cost_usd is not None
        return Spent(
            questions=self.questions + other.questions,
            tokens=self.tokens + other.tokens,
            cost_usd=(self.cost_usd or Decimal(0)) + (other.cost_usd or Decimal(0)) if known else None,
            seconds=self.seconds + other.seconds,
        )


class Examined(_Kept):
    """One field with known truth, and all that the judge said of it. `truths`: rewards of the candidates that
    were compared, by their names. `single`: the reward here of the configuration that is best elsewhere."""

    task: str
    names: tuple[str, ...]
    truths: tuple[float, ...]
    single: float | None = None
    notes: tuple[Note | None, ...]
    pairs: tuple[Ballot, ...]
    lists: tuple[Ballot, ...]
    noting: Spent = Spent()
    pairing: Spent = Spent()
    listing: Spent = Spent()
    problems: tuple[str, ...] = ()


class Choice(_Kept):
    """`among`: whom it could not tell apart; of a choice, the chosen one alone."""

    kind: Literal["chosen", "tie", "abstained"]
    among: tuple[int, ...]


# --- methods ---------------------------------------------------------------------------------------


def pointwise(notes: Sequence[Note | None]) -> Choice:
    """Whom no note could be read of has no score."""
    scores = {place: note.score for place, note in enumerate(notes) if note is not None}
    if not scores:
        return Choice(kind="abstained", among=tuple(range(len(notes))))
    return _best(scores)


def pairwise(n: int, ballots: Sequence[Ballot]) -> Choice:
    """A pair is won by whoever is first more often over its orders; else both get half of it."""
    if all(ballot.said in ("unreadable", "none") for ballot in ballots):
        return Choice(kind="abstained", among=tuple(range(n)))
    votes: dict[frozenset[int], Counter[int]] = defaultdict(Counter)
    for ballot in ballots:
        pair = votes[frozenset(ballot.order)]
        if ballot.first is not None:
            pair[ballot.first] += 1
    points = dict.fromkeys(range(n), 0.0)
    for both, found in votes.items():
        a, b = sorted(both)
        lead = found[a] - found[b]
        points[a] += 1.0 if lead > 0 else 0.5 if lead == 0 else 0.0
        points[b] += 1.0 if lead < 0 else 0.5 if lead == 0 else 0.0
    return _best(points)


def listwise(n: int, ballots: Sequence[Ballot], bias: Bias) -> Choice:
    """A biased judge's choices are ties."""
    verdict = verdict_of(ballots)
    if verdict.winner is not None and bias.level != "biased":
        return Choice(kind="chosen", among=(verdict.winner,))
    return Choice(kind="abstained" if verdict.kind == "abstained" else "tie", among=tuple(range(n)))


def _best(points: Mapping[int, float]) -> Choice:
    top = max(points.values())
    among = tuple(place for place, value in points.items() if value == top)
    return Choice(kind="chosen" if len(among) == 1 else "tie", among=among)


# --- what they are worth ---------------------------------------------------------------------------


class Worth(_Kept):
    """One method. `right`: the share of choices that were the best there was, ties counted in parts.
    `spent`: for one selection, on average. `agreement`: that two orders put the same candidate first."""

    method: Method
    fields: int
    reward: float
    interval: Interval
    right: float
    right_interval: Interval
    ties: int = 0
    abstentions: int = 0
    agreement: float | None = None
    spent: Spent = Spent()


class Calibration(_Kept):
    format: Literal[1] = 1  # FORMAT
    judge: str
    run: str
    truth: str  # where it is from
    worths: tuple[Worth, ...]
    against_random: tuple[Comparison, ...]
    bias: Bias
    advice: str
    use: Method | None
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    examined: tuple[Examined, ...]


def calibrated(
    judge: str, run: str, truth: str, examined: Sequence[Examined], left_out: Sequence[str] = ()
) -> Calibration:
    """`examined` must not be empty."""
    bias = bias_of([one.lists for one in examined])
    values = {method: _suite(method, examined, bias) for method in METHODS}
    known: dict[str, dict[str, list[float]]] = {name: suite for name, suite in values.items() if suite}
    worths = tuple(_worth(method, values[method], examined, bias) for method in METHODS if values[method])
    against = tuple(compare_pairs([(method, "random") for method in ASKED], known, SEED))
    use, advice = advised(judge, worths, against, bias)
    problems = Counter(problem for one in examined for problem in one.problems)
    return Calibration(
        judge=judge,
        run=run,
        truth=truth,
        worths=worths,
        against_random=against,
        bias=bias,
        advice=advice,
        use=use,
        left_out=tuple(left_out),
        problems=tuple(f"{what} ({times} fields)" for what, times in problems.most_common()),
        examined=tuple(examined),
    )


def _suite(method: Method, examined: Iterable[Examined], bias: Bias) -> dict[str, list[float]]:
    """What the method's choices were worth, by task."""
    suite: dict[str, list[float]] = defaultdict(list)
    for one in examined:
        if method != "best single":
            suite[one.task].append(_value(one, choice_of(method, one, bias)))
        elif one.single is not None:
            suite[one.task].append(one.single)
    return dict(suite)


def choice_of(method: Method, one: Examined, bias: Bias) -> Choice:
    everybody = tuple(range(len(one.truths)))
    match method:
        case "pointwise":
            return pointwise(one.notes)
        case "pairwise":
            return pairwise(len(one.truths), one.pairs)
        case "listwise":
            return listwise(len(one.truths), one.lists, bias)
        case "oracle":
            return _best(dict(enumerate(one.truths)))
        case _:
            return Choice(kind="chosen", among=everybody)


def _value(one: Examined, choice: Choice) -> float:
    return sum(one.truths[place] for place in choice.among) / len(choice.among)


def _rightness(one: Examined, choice: Choice) -> float:
    best = max(one.truths)
    return sum(one.truths[place] == best for place in choice.among) / len(choice.among)


def _worth(
    method: Method, suite: Mapping[str, Sequence[float]], examined: Sequence[Examined], bias: Bias
) -> Worth:
    fields = [one for one in examined if method != "best single" or one.single is not None]
    choices = [choice_of(method, one, bias) for one in fields]
    if method == "best single":
        right = float(sum(one.single == max(one.truths) for one in fields))
    else:
        right = sum(_rightness(one, choice) for one, choice in zip(fields, choices, strict=True))
    kinds = Counter(choice.kind for choice in choices)
    return Worth(
        method=method,
        fields=len(fields),
        reward=mean_reward(suite),
        interval=_reward_interval(suite),
        right=right / len(fields),
        right_interval=wilson(right, len(fields)),
        ties=kinds["tie"] if method in ASKED else 0,
        abstentions=kinds["abstained"] if method in ASKED else 0,
        agreement=_agreement(method, fields, bias),
        spent=_mean_spent(method, fields),
    )


def _reward_interval(suite: Mapping[str, Sequence[float]]) -> Interval:
    """Of one task, or of rewards that are all alike, the bootstrap would be certain."""
    found = suite_interval(suite, SEED)
    if len(suite) > 1 and found.low < found.high:
        return found
    values = [value for task in suite.values() for value in task]
    return wilson(sum(values), len(values))


def _agreement(method: Method, fields: Sequence[Examined], bias: Bias) -> float | None:
    if method == "listwise":
        return bias.agreement
    return _pair_agreement(fields) if method == "pairwise" else None


def _pair_agreement(fields: Sequence[Examined]) -> float | None:
    """That both orders of a pair have the same winner."""
    agreed: list[bool] = []
    for one in fields:
        firsts: dict[frozenset[int], list[int]] = defaultdict(list)
        for ballot in one.pairs:
            if ballot.first is not None:
                firsts[frozenset(ballot.order)].append(ballot.first)
        agreed += [found[0] == found[1] for found in firsts.values() if len(found) == 2]
    return sum(agreed) / len(agreed) if agreed else None


def _mean_spent(method: Method, fields: Sequence[Examined]) -> Spent:
    """Pairs and lists are shown with the notes, and pay for them too."""
    total = Spent()
    for one in fields:
        parts = {
            "pointwise": [one.noting],
            "pairwise": [one.noting, one.pairing],
            "listwise": [one.noting, one.listing],
        }
        for part in parts.get(method, ()):
            total += part
    n = len(fields)
    return Spent(
        questions=round(total.questions / n),
        tokens=round(total.tokens / n),
        cost_usd=None if total.cost_usd is None else total.cost_usd / n,
        seconds=total.seconds / n,
    )


# --- what to do with it ----------------------------------------------------------------------------


def advised(
    judge: str, worths: Sequence[Worth], against: Sequence[Comparison], bias: Bias
) -> tuple[Method | None, str]:
    """The method to use, if one is better than chance: the cheapest of those that are, unless another is
    worth clearly more."""
    by_method = {worth.method: worth for worth in worths}
    chance = by_method["random"]
    tasks = max(comparison.tasks for comparison in against)
    better = {comparison.a for comparison in against if comparison.outcome == "better"}
    worse = [comparison.a for comparison in against if comparison.outcome == "worse"]
    tail = f" {bias.sentence()}." if bias.level == "biased" else ""
    if not better:
        if worse:
            verdict = f"{judge} is worse than choosing at random ({', '.join(worse)})"
        elif tasks < MIN_TASKS:
            return None, (
                f"{plural(tasks, 'task')} cannot show that {judge} is better than choosing at random; that"
                f" takes {MIN_TASKS} or more: do not rely on it.{tail}"
            )
        else:
            verdict = f"{judge} is no better than choosing at random, as far as {chance.fields} fields show"
        return None, f"{verdict}: do not use it.{tail}"
    good = [by_method[method] for method in ASKED if method in better]
    most = max(good, key=lambda worth: worth.reward)
    near = [worth for worth in good if worth.reward >= most.interval.low]
    use = min(near, key=lambda worth: (worth.spent.cost_usd or Decimal(0), worth.spent.tokens))
    return use.method, (
        f"use {judge} {use.method}: {use.reward:.2f} on average over {use.fields} fields, where choosing at"
        f" random gives {chance.reward:.2f} and the best possible {by_method['oracle'].reward:.2f}.{tail}"
    )
