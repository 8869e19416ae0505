"""Who may ask for what: decisions of the gate, with budgets and runs, by values."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from inference.errors import EngineFault, HotseatError
from proxy.budgets import AccountId, Budgets
from proxy.callers import OWNER, Budget, Caller, ScopedKey
from proxy.errors import (
    BudgetExceeded,
    ModelNotAllowed,
    RateLimited,
    Unauthorized,
    headers_of,
    status_of,
)
from proxy.gate import Asking, MoneyGate, OpenGate, spent_on
from proxy.ledger_rows import rows_of
from proxy.money_config import MoneyConfig
from proxy.prices import REPLAY, PriceBook, PriceEntry, Rates
from proxy.rates import Rate
from proxy.request_log import RequestRecord
from proxy.routing import Route
from proxy.run_tokens import Run, RunTerms, RunTokens
from proxy.spent_before import SpentByOthers

D = Decimal
LOCAL = Route("local", "qwen")
FAR = Route("far", "vendor/big")
UNPRICED = Route("far", "vendor/other")
BOOK = PriceBook(
    [PriceEntry("far", "vendor/big", datetime.date(2020, 1, 1), "s", Rates(D("0.00001"), D("0.0001")))]
)
ONE = D(1)
CI = Caller("ci", is_admin=False)
KEY = AccountId("key", "ci")


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class Ground:
    """A gate, and what it stands on."""

    def __init__(self, *, usd_per_day: Decimal | None = None, reserve_usd: Decimal = ONE) -> None:
        self.money = MoneyConfig(book=BOOK, usd_per_day=usd_per_day, reserve_usd=reserve_usd)
        self.budgets = Budgets()
        self.runs = RunTokens()
        self.clock = Clock()
        others = SpentByOthers(self.budgets, None)
        self.gate = MoneyGate(lambda: self.money, self.budgets, others, self.runs, clock=self.clock)
        self._ids = itertools.count(1)

    def admit(
        self,
        caller: Caller = OWNER,
        route: Route = FAR,
        *,
        name: str = "big",
        run: str = "",
        body_bytes: int | None = 300,
        max_output_tokens: int | None = 1000,
        is_free: bool = False,
        chooser: str = "",
        meant: str = "",
    ) -> RequestRecord:
        """At most 100 tokens in and 1000 out: $0.101 of FAR."""
        record = RequestRecord(f"r{next(self._ids)}", 1_800_000_000.0, run, "chat-completions")
        record.requested_model = name
        asking = Asking(record, caller, route, body_bytes, max_output_tokens, is_free, chooser, meant)
        asyncio.run(self.gate.admit(asking))
        return record

    def end(self, record: RequestRecord, cost_usd: Decimal | None, route: Route = FAR) -> None:
        record.attempt_begins(route.upstream, route.model)
        record.cost_usd = cost_usd
        self.gate.settled(record)


def with_budget(usd: str, per: str = "total") -> Caller:
    assert per in ("day", "total")
    return replace(CI, budget=Budget(D(usd), "day" if per == "day" else "total"))


# --- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "name", "route"),
    [
        (None, "anything", FAR),
        (("big",), "big", FAR),
        (("vendor/big",), "big", FAR),
        (("vendor/*",), "big", FAR),
        (("qwen",), "main", LOCAL),
        (("claude-haiku-*",), "claude-haiku-4-5", LOCAL),
        (("nothing", "*"), "big", FAR),
    ],
)
def test_allowed_models(allowed: tuple[str, ...] | None, name: str, route: Route) -> None:
    assert Ground().admit(replace(CI, models=allowed), route, name=name).key == "ci"


@pytest.mark.parametrize("allowed", [("small",), ("vendor/bi",), ("big-*",), ("*bigger*",)])
def test_other_models_are_refused(allowed: tuple[str, ...]) -> None:
    with pytest.raises(ModelNotAllowed) as caught:
        Ground().admit(replace(CI, models=allowed))
    assert (status_of(caught.value), caught.value.fault, caught.value.param) == (403, "client", "model")
    assert allowed[0] in caught.value.message


# --- rates -------------------------------------------------------------------------------------


def test_a_key_asks_as_often_as_it_may() -> None:
    ground = Ground()
    caller = replace(CI, rate=Rate(2, 60.0))
    ground.admit(caller)
    ground.admit(caller)
    with pytest.raises(RateLimited) as caught:
        ground.admit(caller)
    assert status_of(caught.value) == 429
    assert (b"retry-after", b"30") in headers_of(caught.value)
    ground.admit(replace(caller, name="other"))
    ground.clock.now_s = 30.0
    ground.admit(caller)


def test_a_rate_changed_by_a_reload_holds_from_then_on() -> None:
    ground = Ground()
    ground.admit(replace(CI, rate=Rate(1, 60.0)))
    ground.admit(replace(CI, rate=Rate(5, 60.0)))


def test_what_is_refused_for_its_model_takes_nothing_of_the_rate() -> None:
    ground = Ground()
    caller = replace(CI, rate=Rate(1, 60.0), models=("big",))
    with pytest.raises(ModelNotAllowed):
        ground.admit(caller, UNPRICED, name="other")
    ground.admit(caller)


# --- budgets -----------------------------------------------------------------------------------


def test_a_request_that_could_cross_the_budget_does_not_leave() -> None:
    ground = Ground()
    caller = with_budget("0.25")
    ground.admit(caller)
    ground.admit(caller)
    with pytest.raises(BudgetExceeded) as caught:
        ground.admit(caller)
    error = caught.value
    assert (status_of(error), error.code, error.fault) == (402, "budget_exceeded", "client")
    assert (b"x-should-retry", b"false") in headers_of(error)
    for part in ("up to $0.101", "$0.048 is left", "total budget of key 'ci'", "$0.25", "max_tokens"):
        assert part in error.message


def test_what_requests_really_cost_makes_room_again() -> None:
    ground = Ground()
    caller = with_budget("0.25")
    for _ in range(20):
        ground.end(ground.admit(caller), D("0.005"))
    assert ground.budgets.spent_usd(KEY) == D("0.1")
    assert ground.budgets.held_usd(KEY) == 0


def test_a_refused_request_holds_nothing() -> None:
    ground = Ground()
    with pytest.raises(BudgetExceeded):
        ground.admit(with_budget("0.05"))
    assert ground.budgets.held_usd(KEY) == 0


def test_a_model_without_a_price_holds_the_reserve() -> None:
    ground = Ground(reserve_usd=D("0.40"))
    ground.admit(with_budget("1.00"), UNPRICED)
    assert ground.budgets.held_usd(KEY) == D("0.40")


def test_the_dearest_fallback_is_held() -> None:
    ground = Ground(reserve_usd=D("0.40"))
    ground.admit(with_budget("1.00"), replace(FAR, fallbacks=(UNPRICED, LOCAL)))
    assert ground.budgets.held_usd(KEY) == D("0.40")


def test_who_says_nothing_of_its_size_holds_for_a_large_request() -> None:
    ground = Ground()
    ground.admit(with_budget("9.00"), body_bytes=None, max_output_tokens=None)
    assert ground.budgets.held_usd(KEY) == D("0.32") + D("3.2")


def test_a_model_of_this_machine_goes_on_when_the_budget_is_used_up() -> None:
    ground = Ground()
    caller = with_budget("0.11")
    ground.end(ground.admit(caller), D("0.5"))
    with pytest.raises(BudgetExceeded):
        ground.admit(caller)
    record = ground.admit(caller, LOCAL)
    ground.end(record, D("0.001"), LOCAL)
    assert ground.budgets.spent_usd(KEY) == D("0.501")


def test_the_servers_day_is_everybodys() -> None:
    ground = Ground(usd_per_day=D("0.15"))
    ground.admit(CI)
    with pytest.raises(BudgetExceeded, match="day budget of the server"):
        ground.admit(OWNER)


def test_earlier_attempts_count_too() -> None:
    ground = Ground()
    caller = with_budget("9")
    record = ground.admit(caller)
    record.attempt_begins("far", "vendor/big")
    record.attempt_failed(HotseatError("broken"), reported_cost_usd=D("0.03"))
    ground.end(record, D("0.002"))
    assert ground.budgets.spent_usd(KEY) == D("0.032")


def test_a_cost_that_is_not_known_is_what_was_held() -> None:
    ground = Ground()
    ground.end(ground.admit(with_budget("9")), None)
    assert ground.budgets.spent_usd(KEY) == D("0.101")


def test_what_is_known_of_its_attempts_counts_beside_what_is_not() -> None:
    """It was forgotten: one attempt of unknown cost made the whole request cost what was held."""
    ground = Ground()
    record = ground.admit(with_budget("9"))
    record.attempt_begins("far", "vendor/big")
    record.attempt_failed(HotseatError("broken"), reported_cost_usd=D("0.5"))
    ground.end(record, None)
    assert ground.budgets.spent_usd(KEY) == D("0.5") + D("0.101")


def test_what_the_ledger_keeps_is_what_the_budget_counted() -> None:
    """Whatever became of its attempts: else a restart would forget, or invent."""
    ground = Ground()
    for cost in (D("0.002"), None):
        record = ground.admit(with_budget("9"), replace(FAR, fallbacks=(UNPRICED, LOCAL)))
        record.attempt_begins("far", "vendor/big")
        record.attempt_failed(HotseatError("broken"))
        record.attempt_begins("local", "qwen")
        record.attempt_failed(HotseatError("full"))
        ground.end(record, cost)
        rows = rows_of(record)
        kept = sum((row.cost_usd or row.assumed_usd or D(0) for row in rows), D(0))
        assert kept == spent_on(record) == ONE + (ONE if cost is None else cost)


def test_what_is_free_holds_nothing_and_is_never_refused() -> None:
    """Tokens are counted for nothing, also by a model whose price nobody knows."""
    ground = Ground()
    caller = with_budget("0.5")
    ground.admit(caller, UNPRICED, is_free=True)
    assert ground.budgets.held_usd(KEY) == 0
    ground.end(ground.admit(caller), D("0.9"))
    ground.admit(caller, FAR, is_free=True)
    with pytest.raises(BudgetExceeded):
        ground.admit(caller, FAR, max_output_tokens=0)


def test_a_budget_added_by_a_reload_counts_what_is_under_way_and_what_was_spent() -> None:
    ground = Ground()
    ended, running = ground.admit(CI), ground.admit(CI)
    ground.end(ended, D("0.03"))
    caller = with_budget("0.2")
    with pytest.raises(BudgetExceeded, match=r"\$0\.069 is left"):
        ground.admit(caller)
    ground.end(running, D("0.001"))
    ground.admit(caller)
    assert ground.budgets.spent_usd(KEY) == D("0.031")


def test_a_day_budget_of_the_server_added_by_a_reload_counts_everybody() -> None:
    ground = Ground()
    ground.admit(CI)
    ground.money = MoneyConfig(book=BOOK, usd_per_day=D("0.15"))
    with pytest.raises(BudgetExceeded, match="day budget of the server"):
        ground.admit(OWNER)


def test_a_request_that_never_left_costs_nothing() -> None:
    ground = Ground()
    ground.gate.settled(ground.admit(with_budget("9")))
    assert (ground.budgets.spent_usd(KEY), ground.budgets.held_usd(KEY)) == (D(0), D(0))
    assert spent_on(RequestRecord("r", 0.0, "", "d", assumed_usd=ONE)) == 0


def test_what_a_recording_answers_costs_nobody_anything() -> None:
    """Whatever the budget, and however many attempts it took."""
    ground = Ground(usd_per_day=D(0))
    record = RequestRecord("r", 0.0, "", "d", requested_model="big", price_source=REPLAY)
    asyncio.run(ground.gate.admit(Asking(record, OWNER, FAR)))
    record.attempt_begins(FAR.upstream, FAR.model)
    record.attempt_failed(EngineFault("x"), reported_cost_usd=D("0.25"))
    record.attempt_begins(FAR.upstream, FAR.model)
    record.cost_usd = D("0.5")
    assert spent_on(record) == 0
    ground.gate.settled(record)
    assert ground.budgets.spent_usd(AccountId("server", "", ground.budgets.today())) == 0


def test_a_budget_taken_away_by_a_reload_is_settled_all_the_same() -> None:
    ground = Ground(usd_per_day=D(1))
    record = ground.admit()
    ground.money = MoneyConfig(book=BOOK)
    ground.end(record, D("0.5"))
    assert ground.budgets.spent_usd(AccountId("server", "", ground.budgets.today())) == D("0.5")


# --- runs --------------------------------------------------------------------------------------


def test_a_run_has_its_own_budget_models_and_number_of_requests() -> None:
    ground = Ground()
    terms = RunTerms(budget_usd=D("0.25"), max_requests=3, models=("big", "qwen"))
    caller = ground.runs.mint("night", terms).run.caller
    record = ground.admit(caller, run="night")
    assert record.key == "night"
    with pytest.raises(ModelNotAllowed):
        ground.admit(caller, UNPRICED, name="other", run="night")
    ground.admit(caller, run="night")
    with pytest.raises(BudgetExceeded, match="budget of run 'night'"):
        ground.admit(caller, run="night")
    ground.admit(caller, LOCAL, name="qwen", run="night")
    with pytest.raises(BudgetExceeded, match="all of its 3 requests"):
        ground.admit(caller, LOCAL, name="qwen", run="night")


def test_a_runs_limits_hold_for_whoever_names_it() -> None:
    ground = Ground()
    ground.runs.mint("night", RunTerms(budget_usd=D("0.11")))
    ground.admit(OWNER, run="night")
    with pytest.raises(BudgetExceeded):
        ground.admit(OWNER, run="night")
    ground.admit(OWNER, run="day")


def test_a_later_run_of_the_same_name_begins_anew() -> None:
    ground = Ground()
    terms = RunTerms(budget_usd=D("0.11"), max_requests=1)
    first = ground.runs.mint("night", terms).run
    record = ground.admit(first.caller, run="night")
    ground.runs.end("night")
    ground.gate.keep_runs(ground.runs.under_way())
    second = ground.runs.mint("night", terms).run
    ground.admit(second.caller, run="night")
    ground.end(record, D("0.1"))
    assert ground.budgets.held_usd(AccountId("run", second.token_id.decode())) == D("0.101")


NO_TERMS = RunTerms()
BOSS = Caller("boss", budget=Budget(D("0.25"), "total"), models=("big", "qwen"), rate=Rate(3, 60.0))


def announced_by(ground: Ground, boss: Caller, terms: RunTerms = NO_TERMS) -> Run:
    ground.money = replace(ground.money, keys=(ScopedKey(boss, b""),))
    return ground.runs.mint("night", terms, creator=boss).run


def test_a_run_is_charged_to_the_key_that_announced_it() -> None:
    """It had no budget of its own, and was bounded by nothing."""
    ground = Ground()
    caller = announced_by(ground, BOSS).caller
    record = ground.admit(caller, run="night")
    assert (record.key, record.payer) == ("night", "boss")
    ground.admit(BOSS)
    with pytest.raises(BudgetExceeded, match="total budget of key 'boss'"):
        ground.admit(caller, run="night")
    ground.end(record, D("0.2"))
    assert ground.budgets.spent_usd(AccountId("key", "boss")) == D("0.2")
    assert ground.budgets.spent_usd(AccountId("key", "night")) == 0


def test_who_uses_his_key_for_a_run_that_it_announced_is_charged_once() -> None:
    ground = Ground()
    run = announced_by(ground, BOSS, RunTerms(budget_usd=ONE))
    ground.end(ground.admit(BOSS, run="night"), D("0.2"))
    assert ground.budgets.spent_usd(AccountId("key", "boss")) == D("0.2")
    assert ground.budgets.spent_usd(AccountId("run", run.token_id.decode())) == D("0.2")


def test_a_run_keeps_to_the_models_and_the_rate_of_the_key_that_announced_it() -> None:
    ground = Ground()
    caller = announced_by(ground, BOSS, RunTerms(models=("*",))).caller
    with pytest.raises(ModelNotAllowed, match="key 'boss'"):
        ground.admit(caller, UNPRICED, name="other", run="night")
    with pytest.raises(ModelNotAllowed):
        ground.admit(caller, UNPRICED, name="big", meant="other", run="night")
    with pytest.raises(ModelNotAllowed, match="models"):
        ground.admit(caller, name="big", run="night", chooser="models")
    ground.admit(caller, name="neutral", meant="big", run="night")
    for _ in range(2):
        ground.admit(caller, LOCAL, name="qwen", run="night")
    with pytest.raises(RateLimited, match="key 'boss'"):
        ground.admit(caller, LOCAL, name="qwen", run="night")


def test_a_run_goes_by_what_its_creator_may_now_and_ends_with_it() -> None:
    ground = Ground()
    caller = announced_by(ground, BOSS).caller
    ground.money = replace(ground.money, keys=(ScopedKey(replace(BOSS, budget=Budget(D(0), "day")), b""),))
    with pytest.raises(BudgetExceeded, match="day budget of key 'boss'"):
        ground.admit(caller, run="night")
    ground.money = replace(ground.money, keys=())
    with pytest.raises(Unauthorized, match="'boss'"):
        ground.admit(caller, run="night")


def test_a_token_whose_run_has_just_ended_is_bounded_by_nothing_and_refused() -> None:
    ground = Ground()
    caller = ground.runs.mint("night", RunTerms(budget_usd=D(0))).run.caller
    ground.runs.end("night")
    with pytest.raises(Unauthorized):
        ground.admit(caller, run="night")


def test_without_a_gate_everybody_may_do_everything() -> None:
    record = RequestRecord("r", 0.0, "", "d")
    asyncio.run(OpenGate().admit(Asking(record, with_budget("0"), FAR)))
    OpenGate().settled(record)
    assert record.key == "ci"
