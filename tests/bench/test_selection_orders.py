"""Orders in which nobody is favoured."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from bench.selection.orders import FULL_UP_TO, balanced_orders, both_ways

SIZES = range(1, 9)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("seed", range(5))
def test_everybody_stands_everywhere_equally_often(n: int, seed: int) -> None:
    orders = balanced_orders(n, seed)
    assert all(sorted(order) == list(range(n)) for order in orders)
    assert len(set(orders)) == len(orders)
    times = Counter((place, one) for order in orders for place, one in enumerate(order))
    assert set(times.values()) == {len(orders) // n}


def test_two_orders_for_two_and_twice_as_many_as_candidates_up_to_four() -> None:
    assert [len(balanced_orders(n, 0)) for n in SIZES] == [1, 2, 6, 8, 5, 6, 7, 8]


@pytest.mark.parametrize("n", range(2, FULL_UP_TO + 1))
def test_everybody_comes_right_after_everybody_else_equally_often(n: int) -> None:
    after = Counter(pair for order in balanced_orders(n, 1) for pair in pairwise(order))
    assert len(after) == n * (n - 1)
    assert len(set(after.values())) == 1


def test_the_seed_says_who_begins() -> None:
    begun = {balanced_orders(4, seed)[0] for seed in range(40)}
    assert len(begun) > 10
    assert balanced_orders(4, "a") == balanced_orders(4, "a")


def test_pairs_are_shown_both_ways() -> None:
    assert sorted(both_ways(3)) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]


def test_nobody_has_no_order() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        balanced_orders(0, 1)
