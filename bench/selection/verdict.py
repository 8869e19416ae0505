"""What answers in several orders amount to. Pure.

A candidate wins that was put first in more than half of the orders shown, by a judge whose choices are not
explained by position. Everything else is a tie, or an abstention where the judge found none good enough or
could not be read. Two tests look at positions:

- within a field: the same position was chosen more often than any candidate, and chance would seldom do it
- over all fields of a judge (`bias_of`): one position was chosen more often than chance allows. As long as
  what is in the candidates explains more of the choices than where they stood, the judge only leans, and the
  balanced orders even that out; else it is biased, and all of its verdicts become ties.

Chance is that each order's choice falls on any position with the same probability. A judge that looks at
contents alone spreads its choices over positions more evenly than that, as orders are balanced: the tests err
towards calling nobody biased.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from bench.selection.orders import Order
from bench.selection.prompts import Ranking

FIELD_ALPHA = 0.2
"""Within a field, where a handful of orders can prove little: a wrong suspicion costs a tie."""

JUDGE_ALPHA = 0.01
MIN_FIELDS = 3
"""Fewer fields say nothing of a judge that each of them does not say by itself."""

Kind = Literal["chosen", "tie", "abstained"]
Said = Literal["ranked", "tie", "none", "unreadable"]


@dataclass(frozen=True, slots=True)
class Ballot:
    """What was said of one order. `ranking`: candidates, the best first; empty unless `said` is ranked."""

    order: Order
    said: Said
    ranking: tuple[int, ...] = ()
    reason: str = ""

    @property
    def first(self) -> int | None:
        return self.ranking[0] if self.said == "ranked" else None

    @property
    def position(self) -> int | None:
        """Of whoever was put first, from 0."""
        return None if self.first is None else self.order.index(self.first)


def ballot_of(order: Order, answer: Ranking | None) -> Ballot:
    """Letters become candidates again."""
    if answer is None:
        return Ballot(order, "unreadable")
    ranking = tuple(order[ord(letter) - ord("A")] for letter in answer.ranking)
    return Ballot(order, answer.verdict, ranking if answer.verdict == "ranked" else (), answer.reason)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`winner` of "chosen" alone. `follows_position`: the field's own test. `agreement`: that two orders put
    the same candidate first; None with fewer than two that did."""

    kind: Kind
    winner: int | None
    why: str
    follows_position: bool
    agreement: float | None


def verdict_of(ballots: Sequence[Ballot]) -> Verdict:
    firsts = Counter(ballot.first for ballot in ballots if ballot.first is not None)
    follows = follows_position(ballots)
    kind, winner, why = _decided(ballots, firsts, follows)
    return Verdict(kind, winner, why, follows, agreement_of(ballots))


def _decided(ballots: Sequence[Ballot], firsts: Counter[int], follows: bool) -> tuple[Kind, int | None, str]:
    n = len(ballots)
    said = Counter(ballot.said for ballot in ballots)
    if 2 * said["unreadable"] >= n:
        return "abstained", None, f"{said['unreadable']} of {n} answers of the judge could not be read"
    if 2 * said["none"] > n:
        return (
            "abstained",
            None,
            f"in {said['none']} of {n} orders the judge found none that does what was asked",
        )
    if follows:
        place, times = Counter(b.position for b in ballots if b.position is not None).most_common(1)[0]
        where = f"whoever stood {ordinal(place)} in {times} of {n} orders"
        return "tie", None, f"POSITION BIAS here: the judge chose {where}"
    winner, votes = firsts.most_common(1)[0] if firsts else (None, 0)
    if winner is not None and 2 * votes > n:
        return "chosen", winner, f"put first in {votes} of {n} orders"
    if 2 * said["tie"] > n:
        return "tie", None, f"in {said['tie']} of {n} orders the judge saw no difference"
    return "tie", None, f"no candidate was put first in more than half of {n} orders (the most: {votes})"


def follows_position(ballots: Sequence[Ballot]) -> bool:
    """Whether positions explain the choices of one field, and candidates do not."""
    positions = Counter(ballot.position for ballot in ballots if ballot.position is not None)
    if len(ballots) < 2 or not positions:
        return False
    firsts = Counter(ballot.first for ballot in ballots if ballot.first is not None)
    at_place, for_one = max(positions.values()), max(firsts.values())
    chosen = sum(positions.values())
    if at_place <= for_one:
        return False
    return at_place == chosen or at_some_place(at_place, chosen, len(ballots[0].order)) < FIELD_ALPHA


def at_some_place(times: int, chosen: int, places: int) -> float:
    """At most the probability that chance puts `times` or more of `chosen` into one of `places` (the union
    bound over binomial tails)."""
    share = 1 / places
    tail = sum(
        math.comb(chosen, at) * share**at * (1 - share) ** (chosen - at) for at in range(times, chosen + 1)
    )
    return min(1.0, places * tail)


def agreement_of(ballots: Iterable[Ballot]) -> float | None:
    firsts = [ballot.first for ballot in ballots if ballot.first is not None]
    pairs = list(combinations(firsts, 2))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def ordinal(place: int) -> str:
    words = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
    return words[place]


# --- the judge, over all fields --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bias:
    """`position`: "first", …, "last": the one chosen too often, if any is. `share` of all choices, where
    chance gives `expected`. `by_content`: the mean share of a field's most chosen candidate. `agreement`:
    the mean over fields; chance gives about `agreement_by_chance`."""

    fields: int
    choices: int
    position: str
    share: float
    expected: float
    p: float
    by_content: float
    agreement: float | None
    agreement_by_chance: float | None
    level: Literal["none seen", "leans", "biased"]

    def sentence(self) -> str:
        if not self.choices:
            return "the judge has chosen nobody"
        if self.fields < MIN_FIELDS:
            return (
                f"whether the judge prefers a position is tested over {MIN_FIELDS} fields or more; here are"
                f" {self.fields}, each tested by itself"
            )
        seen = f"{self.choices} choices in {self.fields} fields"
        if self.level == "none seen":
            return f"no sign of a preference for a position ({seen})"
        where = (
            f"whoever stood {self.position} was chosen in {100 * self.share:.0f} % of {seen}, where chance"
            f" gives {100 * self.expected:.0f} % (p {'< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'})"
        )
        if self.level == "leans":
            return f"the judge leans to a position, which the orders even out: {where}"
        return f"BIASED BY POSITION, all verdicts are ties: {where}"


def bias_of(fields: Sequence[Sequence[Ballot]]) -> Bias:
    """From every field that the judge compared."""
    judged = [ballots for ballots in fields if any(ballot.first is not None for ballot in ballots)]
    choices = [ballot for ballots in judged for ballot in ballots if ballot.first is not None]
    tests = _tested(choices)
    worst = min(tests, key=lambda test: (test.p, -test.share), default=_Test("", 0.0, 0.0, 1.0))
    p = min(1.0, worst.p * max(1, len(tests)))  # Bonferroni
    by_content = [_content_share(ballots) for ballots in judged]
    content = sum(by_content) / len(by_content) if by_content else 0.0
    agreements = [found for ballots in judged if (found := agreement_of(ballots)) is not None]
    chances = [1 / len(ballots[0].order) for ballots in judged if agreement_of(ballots) is not None]
    is_seen = p < JUDGE_ALPHA and len(judged) >= MIN_FIELDS
    return Bias(
        fields=len(judged),
        choices=len(choices),
        position=worst.position if is_seen else "",
        share=worst.share,
        expected=worst.expected,
        p=p,
        by_content=content,
        agreement=_mean(agreements),
        agreement_by_chance=_mean(chances),
        level="none seen" if not is_seen else "biased" if worst.share >= content else "leans",
    )


@dataclass(frozen=True, slots=True)
class _Test:
    position: str
    share: float
    expected: float
    p: float


def _tested(choices: Sequence[Ballot]) -> list[_Test]:
    """Each position from the front, and the last, which is another in fields of another size."""
    widest = max((len(ballot.order) for ballot in choices), default=0)
    tests = [_test(ordinal(place), place, choices) for place in range(widest - 1)]
    return [*tests, _test("last", -1, choices)] if choices else []


def _test(name: str, place: int, choices: Sequence[Ballot]) -> _Test:
    open_to = [ballot for ballot in choices if len(ballot.order) > place]
    times = sum(ballot.first == ballot.order[place] for ballot in open_to)
    chances = [1 / len(ballot.order) for ballot in open_to]
    expected = sum(chances) / len(chances)
    return _Test(name, times / len(open_to), expected, upper_tail(times, chances))


def upper_tail(times: int, chances: Sequence[float]) -> float:
    """That `times` or more of these independent events happen (Poisson-binomial, by convolution)."""
    exactly = [1.0] + [0.0] * times  # the last one: as many or more
    for chance in chances:
        full = exactly[times]
        for at in range(times, 0, -1):
            exactly[at] = exactly[at] * (1 - chance) + exactly[at - 1] * chance
        exactly[0] *= 1 - chance
        exactly[times] += full * chance if times else 0.0
    return 1.0 if times == 0 else min(1.0, exactly[times])


def _content_share(ballots: Sequence[Ballot]) -> float:
    firsts = Counter(ballot.first for ballot in ballots if ballot.first is not None)
    return max(firsts.values()) / sum(firsts.values())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
