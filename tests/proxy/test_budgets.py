"""What is held and spent of budgets, whatever the order in which requests come and end."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from proxy.budgets import AccountId, Budgets, Limit, start_of

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


@dataclass
class Earlier:
    """`asked`: of which key, since when."""

    usd: Decimal = Decimal(0)
    asked: list[tuple[str | None, float | None]] = field(default_factory=list)

    def spent_usd(self, *, key: str | None, since_s: float | None) -> Decimal:
        self.asked.append((key, since_s))
        return self.usd


def admitted(budgets: Budgets, request_id: str, usd: Decimal, *limits: Limit) -> bool:
    """What gate.py does."""
    if budgets.shortage(usd, limits) is not None:
        return False
    budgets.hold(request_id, usd, limits)
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
    budgets.hold("a", D("0.75"), [LIMIT, day])
    short = budgets.shortage(D("0.3"), [LIMIT, day])
    assert short is not None
    assert (short.limit, short.left_usd) == (day, D("0.25"))


def test_what_a_request_did_not_take_is_free_again() -> None:
    budgets = Budgets()
    budgets.hold("a", D(4), [LIMIT])
    budgets.settle("a", D("0.10"))
    assert (budgets.held_usd(KEY), budgets.spent_usd(KEY)) == (D(0), D("0.10"))
    assert admitted(budgets, "b", D("4.9"), LIMIT)


def test_what_nobody_can_price_counts_as_it_was_held() -> None:
    budgets = Budgets()
    budgets.hold("a", D(4), [LIMIT])
    budgets.settle("a", None)
    assert (budgets.held_usd(KEY), budgets.spent_usd(KEY)) == (D(0), D(4))


def test_an_end_counts_once_and_for_what_was_admitted_alone() -> None:
    budgets = Budgets()
    budgets.settle("never", D(9))
    budgets.hold("a", D(1), [LIMIT])
    budgets.settle("a", D(1))
    budgets.settle("a", D(1))
    assert budgets.spent_usd(KEY) == 1


def test_days_begin_anew_and_keep_what_began_in_them() -> None:
    clock = Clock()
    earlier = Earlier(D("0.5"))
    budgets = Budgets(earlier, clock=clock)
    today = Limit(AccountId("key", "ci", budgets.today()), D(1), "the day budget")
    assert admitted(budgets, "late", D("0.5"), today)
    assert not admitted(budgets, "more", D("0.1"), today)
    clock.now += 86400
    earlier.usd = D(0)
    tomorrow = Limit(AccountId("key", "ci", budgets.today()), D(1), "the day budget")
    assert admitted(budgets, "next", D("0.9"), tomorrow)
    budgets.settle("late", D("0.4"))
    assert budgets.spent_usd(tomorrow.account) == 0
    assert earlier.asked == [("ci", start_of(DAY)), ("ci", start_of(DAY + datetime.timedelta(days=1)))]


def test_what_was_spent_before_the_start_counts() -> None:
    earlier = Earlier(D("4.9"))
    budgets = Budgets(earlier)
    assert not admitted(budgets, "a", D("0.2"), LIMIT)
    assert admitted(budgets, "b", D("0.1"), LIMIT)
    budgets.settle("b", D("0.1"))
    assert budgets.spent_usd(KEY) == 5
    assert earlier.asked == [("ci", None)]


def test_a_run_begins_at_zero_and_is_forgotten_when_it_has_ended() -> None:
    earlier = Earlier(D(100))
    budgets = Budgets(earlier)
    run = Limit(AccountId("run", "id1"), D(1), "the budget of run 'a'")
    assert admitted(budgets, "a", D(1), run)
    budgets.keep_runs([])
    assert budgets.held_usd(run.account) == 1
    budgets.settle("a", D(1))
    assert budgets.spent_usd(run.account) == 1
    budgets.keep_runs([])
    assert budgets.spent_usd(run.account) == 0
    assert earlier.asked == []


CENTS = st.integers(0, 300).map(lambda n: D(n) / 100)


@given(st.data(), st.lists(st.tuples(CENTS, CENTS, st.booleans()), max_size=60))
def test_no_order_of_requests_overruns_a_budget_but_by_what_they_cost_beyond_what_was_held(
    data: st.DataObject, requests: list[tuple[Decimal, Decimal, bool]]
) -> None:
    """`(held, cost, is known)` of each; they end in any order, while others come."""
    budgets = Budgets()
    under_way: dict[str, tuple[Decimal, Decimal | None]] = {}
    spent, excess = D(0), D(0)
    for number, (held, cost, is_known) in enumerate(requests):
        name = str(number)
        was_spent = budgets.spent_usd(KEY)
        if admitted(budgets, name, held, LIMIT):
            assert was_spent < LIMIT.usd or held == 0
            under_way[name] = (held, cost if is_known else None)
        assert budgets.held_usd(KEY) == sum((h for h, _ in under_way.values()), D(0))
        assert budgets.spent_usd(KEY) + budgets.held_usd(KEY) <= LIMIT.usd + excess
        for ended in data.draw(st.sets(st.sampled_from(sorted(under_way)))) if under_way else ():
            its_held, its_cost = under_way.pop(ended)
            budgets.settle(ended, its_cost)
            spent += its_held if its_cost is None else its_cost
            excess += max(D(0), (its_cost or D(0)) - its_held)
            assert budgets.spent_usd(KEY) == spent
    assert spent <= LIMIT.usd + excess


def test_accounts_with_nobody_under_way_are_forgotten_with_their_day() -> None:
    clock = Clock()
    earlier = Earlier()
    budgets = Budgets(earlier, clock=clock)
    for _ in range(3):
        today = Limit(AccountId("server", "", budgets.today()), D(1), "the day budget")
        budgets.hold("a", D(1), [today])
        budgets.settle("a", D(1))
        clock.now += 86400
    budgets.hold("b", D(0), [])
    assert budgets.spent_usd(AccountId("server", "", DAY)) == 0
    assert len(earlier.asked) == 4
