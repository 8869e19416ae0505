"""What is held and spent of budgets, whatever the order in which requests come and end."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.budgets import AccountId, Budgets, Limit
from proxy.errors import LedgerUnavailable

D = Decimal
MORNING = datetime.datetime(2026, 11, 1, 6, tzinfo=datetime.UTC).timestamp()
DAY = datetime.date(2026, 11, 1)
KEY = AccountId("key", "ci")
LIMIT = Limit(KEY, D("5.00"), "the total budget of key 'ci'")


@dataclass
class Clock:
    now: float = MORNING

    def __call__(self) -> float:
        return self.now


def admitted(budgets: Budgets, request_id: str, usd: Decimal, *limits: Limit) -> bool:
    """What gate.py does."""
    if budgets.shortage(usd, limits) is not None:
        return False
    budgets.hold(request_id, usd, [limit.account for limit in limits])
    return True


def test_what_is_held_is_not_there_for_others() -> None:
    budgets = Budgets()
    assert admitted(budgets, "a", D(3), LIMIT)
    assert not admitted(budgets, "b", D("2.01"), LIMIT)
    assert admitted(budgets, "c", D(2), LIMIT)
    assert (budgets.held_usd(KEY), budgets.spent_usd(KEY)) == (D(5), D(0))


def test_a_shortage_says_of_what_and_what_is_left() -> None:
    day = Limit(AccountId("server", "", DAY), D(1), "the day budget")
    budgets = Budgets()
    budgets.hold("a", D("0.75"), [LIMIT.account, day.account])
    short = budgets.shortage(D("0.3"), [LIMIT, day])
    assert short is not None
    assert (short.limit, short.left_usd) == (day, D("0.25"))


def test_what_a_request_did_not_take_is_free_again() -> None:
    budgets = Budgets()
    budgets.hold("a", D(4), [KEY])
    budgets.settle("a", D("0.10"))
    assert (budgets.held_usd(KEY), budgets.spent_usd(KEY)) == (D(0), D("0.10"))
    assert admitted(budgets, "b", D("4.9"), LIMIT)


def test_an_end_counts_once_and_for_what_was_admitted_alone() -> None:
    budgets = Budgets()
    budgets.settle("never", D(9))
    budgets.hold("a", D(1), [KEY])
    budgets.settle("a", D(1))
    budgets.settle("a", D(1))
    assert budgets.spent_usd(KEY) == 1


def test_days_begin_anew_and_keep_what_began_in_them() -> None:
    clock = Clock()
    budgets = Budgets(clock=clock)
    today = Limit(AccountId("key", "ci", budgets.today()), D(1), "the day budget")
    assert admitted(budgets, "late", D("0.5"), today)
    assert not admitted(budgets, "more", D("0.6"), today)
    clock.now += 86400
    tomorrow = Limit(AccountId("key", "ci", budgets.today()), D(1), "the day budget")
    assert admitted(budgets, "next", D("0.9"), tomorrow)
    budgets.settle("late", D("0.4"))
    assert (budgets.spent_usd(tomorrow.account), budgets.spent_usd(today.account)) == (D(0), D("0.4"))


def test_what_others_spent_counts_too() -> None:
    budgets = Budgets(remembers=True)
    budgets.learned(KEY, D("4.9"))
    assert not admitted(budgets, "a", D("0.2"), LIMIT)
    assert admitted(budgets, "b", D("0.1"), LIMIT)
    budgets.settle("b", D("0.1"))
    assert budgets.spent_usd(KEY) == 5
    budgets.learned(KEY, D("4.95"))
    assert budgets.spent_usd(KEY) == D("5.05"), "its own are not among them"
    budgets.learned(KEY, D(1))
    assert budgets.spent_usd(KEY) == D("5.05"), "rows have expired: that gives nobody his money back"


def test_of_what_is_not_known_nothing_is_given_out() -> None:
    budgets = Budgets(remembers=True)
    assert not budgets.is_known(KEY)
    with pytest.raises(LedgerUnavailable) as caught:
        budgets.shortage(D("0.01"), [LIMIT])
    assert caught.value.retry_after_s is not None
    budgets.hold("local", D(0), [KEY])
    budgets.settle("local", D("0.5"))
    budgets.learned(KEY, D(1))
    assert budgets.spent_usd(KEY) == D("1.5"), "what went on meanwhile is counted"


def test_no_digit_is_lost_in_what_is_held_and_spent() -> None:
    """Forty places, and thousands before them: more than arithmetic keeps by itself."""
    budgets = Budgets()
    small = D("0." + "0" * 39 + "1")
    budgets.hold("large", D(1000), [KEY])
    budgets.hold("small", small, [KEY])
    budgets.settle("large", D(1000))
    assert budgets.held_usd(KEY) == small
    budgets.settle("small", small)
    assert budgets.held_usd(KEY) == 0
    assert str(budgets.spent_usd(KEY)) == "1000." + "0" * 39 + "1"


def test_a_run_begins_at_zero_and_is_forgotten_when_it_has_ended() -> None:
    budgets = Budgets(remembers=True)
    run = Limit(AccountId("run", "id1"), D(1), "the budget of run 'a'")
    assert admitted(budgets, "a", D(1), run)
    budgets.keep_runs([])
    assert budgets.held_usd(run.account) == 1
    budgets.settle("a", D(1))
    assert budgets.spent_usd(run.account) == 1
    budgets.keep_runs([])
    assert budgets.spent_usd(run.account) == 0


CENTS = st.integers(0, 300).map(lambda n: D(n) / 100)


@given(st.data(), st.lists(st.tuples(CENTS, CENTS), max_size=60))
def test_no_order_of_requests_overruns_a_budget_but_by_what_they_cost_beyond_what_was_held(
    data: st.DataObject, requests: list[tuple[Decimal, Decimal]]
) -> None:
    """`(held, cost)` of each; they end in any order, while others come."""
    budgets = Budgets()
    under_way: dict[str, tuple[Decimal, Decimal]] = {}
    spent, excess = D(0), D(0)
    for number, (held, cost) in enumerate(requests):
        name = str(number)
        was_spent = budgets.spent_usd(KEY)
        if admitted(budgets, name, held, LIMIT):
            assert was_spent < LIMIT.usd or held == 0
            under_way[name] = (held, cost)
        assert budgets.held_usd(KEY) == sum((h for h, _ in under_way.values()), D(0))
        assert budgets.spent_usd(KEY) + budgets.held_usd(KEY) <= LIMIT.usd + excess
        for ended in data.draw(st.sets(st.sampled_from(sorted(under_way)))) if under_way else ():
            its_held, its_cost = under_way.pop(ended)
            budgets.settle(ended, its_cost)
            spent += its_cost
            excess += max(D(0), its_cost - its_held)
            assert budgets.spent_usd(KEY) == spent
    assert spent <= LIMIT.usd + excess


def test_accounts_with_nobody_under_way_are_forgotten_after_their_day() -> None:
    clock = Clock()
    budgets = Budgets(clock=clock)
    first = AccountId("server", "", DAY)
    for n_days in range(3):
        budgets.hold("a", D(1), [AccountId("server", "", budgets.today())])
        assert budgets.spent_usd(first) == (1 if 0 < n_days < 2 else 0)
        budgets.settle("a", D(1))
        clock.now += 86400


def test_a_clock_set_back_over_midnight_finds_the_day_as_it_was() -> None:
    clock = Clock(MORNING - 6 * 3600)
    budgets = Budgets(clock=clock)
    late = AccountId("server", "", budgets.today() - datetime.timedelta(days=1))
    budgets.hold("a", D(1), [late])
    budgets.settle("a", D(1))
    clock.now += 1
    budgets.hold("b", D(1), [AccountId("server", "", budgets.today())])
    clock.now -= 10
    budgets.hold("c", D(0), [])
    assert budgets.spent_usd(late) == 1
