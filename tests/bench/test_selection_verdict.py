"""What ballots amount to, worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from scipy import stats

from bench.selection.orders import Order, balanced_orders
from bench.selection.prompts import Ranking
from bench.selection.verdict import (
    Ballot,
    at_some_place,
    ballot_of,
    bias_of,
    upper_tail,
    verdict_of,
)

THREE = balanced_orders(3, 0)


def put(order: Order, winner: int) -> Ballot:
    return Ballot(order, "ranked", (winner,))


def at(place: int, orders: Sequence[Order] = THREE) -> list[Ballot]:
    return [put(order, order[place]) for order in orders]


def test_letters_are_places_in_the_order_shown() -> None:
    ballot = ballot_of((2, 0, 1), Ranking(ranking=("B", "A"), reason="why"))
    assert (ballot.ranking, ballot.first, ballot.position, ballot.reason) == ((0, 2), 0, 1, "why")


def test_whoever_is_first_in_every_order_is_chosen() -> None:
    verdict = verdict_of([put(order, 1) for order in THREE])
    assert (verdict.kind, verdict.winner, verdict.agreement) == ("chosen", 1, 1.0)
    assert verdict.why == "put first in 6 of 6 orders"


@pytest.mark.parametrize(("votes", "kind"), [(4, "chosen"), (3, "tie")])
def test_a_majority_is_more_than_half_of_the_orders(votes: int, kind: str) -> None:
    others = [order for order in THREE if order[0] != 1]
    rest = [put(order, 2 if at % 2 else 0) for at, order in enumerate(others)][: 6 - votes]
    left = [order for order in THREE if order not in {ballot.order for ballot in rest}]
    verdict = verdict_of([*rest, *(put(order, 1) for order in left)])
    assert verdict.kind == kind
    assert verdict.winner == (1 if kind == "chosen" else None)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_choices_that_follow_a_position_are_a_tie_and_said_to_be(place: int) -> None:
    verdict = verdict_of(at(place))
    assert (verdict.kind, verdict.winner, verdict.follows_position) == ("tie", None, True)
    where = ("first", "second", "third")[place]
    assert verdict.why == f"POSITION BIAS here: the judge chose whoever stood {where} in 6 of 6 orders"
    assert verdict.agreement == pytest.approx(1 / 5)


def test_two_candidates_and_the_first_of_both_orders() -> None:
    assert verdict_of(at(0, [(0, 1), (1, 0)])).follows_position
    assert verdict_of([put((0, 1), 0), put((1, 0), 0)]).winner == 0


def test_five_of_six_at_one_position_outweigh_four_for_one_candidate() -> None:
    firsts = at(0)[:5]
    other = put(THREE[5], THREE[5][1])
    verdict = verdict_of([*firsts, other])
    assert (verdict.kind, verdict.follows_position) == ("tie", True)


def test_a_judge_that_finds_none_or_cannot_be_read_abstains() -> None:
    none = [Ballot(order, "none") for order in THREE]
    assert verdict_of([*none[:4], *at(0)[4:]]).kind == "abstained"
    unreadable = [Ballot(order, "unreadable") for order in THREE[:3]]
    verdict = verdict_of([*unreadable, *(put(order, 1) for order in THREE[3:])])
    assert (verdict.kind, verdict.why) == ("abstained", "3 of 6 answers of the judge could not be read")


def test_ties_are_readable_and_no_votes() -> None:
    ties = [Ballot(order, "tie") for order in THREE[:3]]
    verdict = verdict_of([*ties, *(put(order, 1) for order in THREE[3:])])
    assert (verdict.kind, verdict.winner) == ("tie", None)
    assert "in 6 of 6 orders the judge saw no difference" in verdict_of([Ballot(o, "tie") for o in THREE]).why


# --- the judge -------------------------------------------------------------------------------------


def test_chances_are_those_of_scipy() -> None:
    assert upper_tail(7, [0.3] * 10) == pytest.approx(stats.binom.sf(6, 10, 0.3))
    assert upper_tail(0, [0.3]) == 1.0
    assert upper_tail(2, [0.5, 0.25]) == pytest.approx(0.125)
    assert upper_tail(1, [0.5, 0.25]) == pytest.approx(1 - 0.5 * 0.75)
    assert at_some_place(5, 6, 3) == pytest.approx(3 * stats.binom.sf(4, 6, 1 / 3))


@pytest.mark.parametrize(("place", "name"), [(0, "first"), (1, "second"), (2, "last")])
def test_a_preference_for_a_position_shows_over_fields(place: int, name: str) -> None:
    bias = bias_of([at(place) for _ in range(4)])
    assert (bias.level, bias.position, bias.share) == ("biased", name, 1.0)
    assert bias.sentence().startswith("BIASED BY POSITION")
    assert f"whoever stood {name} was chosen in 100 % of 24 choices in 4 fields" in bias.sentence()


def test_last_is_the_same_position_in_fields_of_different_sizes() -> None:
    fields = [at(n - 1, balanced_orders(n, n)) for n in (2, 3, 4) for _ in range(3)]
    assert bias_of(fields).position == "last"


def test_a_judge_of_contents_has_no_preference() -> None:
    bias = bias_of([[put(order, 2) for order in THREE] for _ in range(50)])
    assert (bias.level, bias.agreement) == ("none seen", 1.0)
    assert bias.agreement_by_chance == pytest.approx(1 / 3)


def test_a_leaning_that_contents_outweigh_is_told_and_no_more() -> None:
    """Three of ten choices are made by position, the rest by content."""
    draw = random.Random(1)
    fields = [[put(o, o[0] if draw.random() < 0.3 else 2) for o in THREE] for _ in range(100)]
    bias = bias_of(fields)
    assert bias.level == "leans"
    assert bias.share < bias.by_content
    assert bias.sentence().startswith("the judge leans to a position")


def test_a_judge_at_random_is_seldom_called_biased() -> None:
    levels = []
    for seed in range(200):
        draw = random.Random(seed)
        levels.append(bias_of([[put(o, draw.choice(o)) for o in THREE] for _ in range(10)]).level)
    assert levels.count("none seen") >= 196  # JUDGE_ALPHA is 1 %


def test_two_fields_prove_nothing() -> None:
    few = bias_of([at(0), at(0)])
    assert few.level == "none seen"
    assert few.sentence().startswith(
        "whether the judge prefers a position is tested over 3 fields or more; here"
    )
    assert bias_of([]).sentence() == "the judge has chosen nobody"
