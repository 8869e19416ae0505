"""What a caller may ask for, decided before anything leaves: models, how often, and for how much.

`admit` raises what the caller is told; `settled` is told of every request that has ended. What a request
may cost at most is known only roughly beforehand: a token for every BYTES_PER_TOKEN of its body, and as much
output as it asks for, at the dearest rate of its route's model in the price book.
"""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Protocol

from proxy.budgets import AccountId, Budgets, Limit
from proxy.callers import Caller
from proxy.errors import BudgetExceeded, ModelNotAllowed, RateLimited
from proxy.money_config import MoneyConfig
from proxy.prices import LOCAL, REPLAY, attempt_price, most_usd
from proxy.rates import TokenBucket
from proxy.request_log import RequestRecord
from proxy.routing import Route, matches
from proxy.run_tokens import Run, RunTokens

BYTES_PER_TOKEN = 3
"""Of a body in JSON. Prose has four and more, code three to four: this is on the dear side."""

ASSUMED_INPUT_TOKENS, ASSUMED_OUTPUT_TOKENS = 32_000, 32_000
"""Of a request that does not say: 32,000 is what Claude Code asks for, and more than nearly every answer."""

MAX_SHOWN_MODELS = 8


class Gate(Protocol):
    def admit(
        self,
        record: RequestRecord,
        caller: Caller,
        route: Route,
        *,
        body_bytes: int | None = None,
        max_output_tokens: int | None = None,
        chooser: str = "",
    ) -> None:
        """Raises HotseatError before anything leaves: call it once, right before the first attempt.
        `body_bytes`, `max_output_tokens`: what it may cost follows from them; None: not known. `chooser`:
        see PassedRequest."""

    def settled(self, record: RequestRecord) -> None: ...


class OpenGate:
    """Everybody may do everything."""

    def admit(
        self,
        record: RequestRecord,
        caller: Caller,
        route: Route,
        *,
        body_bytes: int | None = None,
        max_output_tokens: int | None = None,
        chooser: str = "",
    ) -> None:
        record.key = caller.name

    def settled(self, record: RequestRecord) -> None:
        return


class MoneyGate:
    """`money`: the configuration of now. `clock` is monotonic, for rates."""

    def __init__(
        self,
        money: Callable[[], MoneyConfig],
        budgets: Budgets,
        runs: RunTokens,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._money = money
        self._budgets = budgets
        self._runs = runs
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._run_requests: Counter[str] = Counter()

    def admit(
        self,
        record: RequestRecord,
        caller: Caller,
        route: Route,
        *,
        body_bytes: int | None = None,
        max_output_tokens: int | None = None,
        chooser: str = "",
    ) -> None:
        record.key = caller.name
        run = self._runs.get(record.run) if record.run else None
        check_model(caller, record.requested_model, route.model)
        if run is not None:
            _check_model(run.terms.models, record.requested_model, route.model, f"run {run.name!r}")
        _check_chooser(caller, run, chooser)
        self._check_rate(caller)
        if run is not None:
            self._check_count(run)
        is_free = record.price_source == REPLAY
        most_usd = None if is_free else self._most_usd(route, body_bytes, max_output_tokens)
        self._hold(record, caller, run, most_usd)
        if run is not None:
            self._run_requests[_id_of(run)] += 1

    def settled(self, record: RequestRecord) -> None:
        self._budgets.settle(record.request_id, spent_on(record, self._money()))

    def key_names(self) -> frozenset[str]:
        """Spending is remembered by them, and by the names of runs."""
        return frozenset(key.caller.name for key in self._money().keys)

    def keep_runs(self, runs: Iterable[Run]) -> None:
        """Forget what others did."""
        ids = {_id_of(run) for run in runs}
        self._budgets.keep_runs(ids)
        for other in [run for run in self._run_requests if run not in ids]:
            del self._run_requests[other]

    def _check_rate(self, caller: Caller) -> None:
        if caller.rate is None:
            return
        bucket = self._buckets.get(caller.name)
        if bucket is None or bucket.rate != caller.rate:
            bucket = self._buckets[caller.name] = TokenBucket(caller.rate, self._clock)
        wait_s = bucket.take()
        if wait_s > 0:
            raise RateLimited(
                f"key {caller.name!r} may ask {caller.rate.count} times in {caller.rate.per_s:g} s:"
                f" try again in {wait_s:.1f} s",
                retry_after_s=wait_s,
            )

    def _check_count(self, run: Run) -> None:
        most = run.terms.max_requests
        if most is not None and self._run_requests[_id_of(run)] >= most:
            raise BudgetExceeded(
                f"run {run.name!r} has had all of its {most} requests: announce another run for more"
            )

    def _most_usd(
        self, route: Route, body_bytes: int | None, max_output_tokens: int | None
    ) -> Decimal | None:
        """The dearest of those who may be asked. None: they are all of this machine, and what their energy
        costs is seen when it was used."""
        inputs = ASSUMED_INPUT_TOKENS if body_bytes is None else -(-body_bytes // BYTES_PER_TOKEN)
        outputs = ASSUMED_OUTPUT_TOKENS if max_output_tokens is None else max_output_tokens
        money, today = self._money(), self._budgets.today()
        costs = []
        for asked in (route, *route.fallbacks):
            if asked.upstream != LOCAL:
                entry = money.book.find(asked.upstream, asked.model, today)
                costs.append(money.reserve_usd if entry is None else most_usd(entry, inputs, outputs))
        return max(costs, default=None)

    def _hold(self, record: RequestRecord, caller: Caller, run: Run | None, usd: Decimal | None) -> None:
        """A model of this machine goes on when a budget is used up: it costs no provider's money."""
        limits = _limits(self._money(), caller, run, self._budgets.today())
        short = None if usd is None else self._budgets.shortage(usd, limits)
        if limits and short is None:
            self._budgets.hold(record.request_id, usd or Decimal(0), limits)
        if short is not None:
            raise BudgetExceeded(
                f"this request may cost up to {_shown(usd)}, and {_shown(short.left_usd)} is left of"
                f" {short.limit.shown} of {_shown(short.limit.usd)}: raise it, ask for fewer tokens"
                " (max_tokens), or take a local model"
            )


def spent_on(record: RequestRecord, money: MoneyConfig) -> Decimal | None:
    """All that a request cost, over its attempts. None: some of it is not known. What a recording answered
    costs nobody anything."""
    total = Decimal(0)
    for attempt in record.attempts:
        if attempt.upstream != LOCAL and attempt.price_source != REPLAY:
            cost_usd = attempt_price(attempt, money.book).cost_usd
            if cost_usd is None:
                return None
            total += cost_usd
    if record.price_source == REPLAY:
        return total
    if record.cost_usd is None:
        return None if record.attempt else total
    return total + record.cost_usd


def _limits(money: MoneyConfig, caller: Caller, run: Run | None, today: datetime.date) -> list[Limit]:
    limits = []
    if caller.budget is not None:
        is_daily = caller.budget.per == "day"
        account = AccountId("key", caller.name, today if is_daily else None)
        shown = f"the {caller.budget.per} budget of key {caller.name!r}"
        limits.append(Limit(account, caller.budget.usd, shown))
    if run is not None and run.terms.budget_usd is not None:
        shown = f"the budget of run {run.name!r}"
        limits.append(Limit(AccountId("run", _id_of(run)), run.terms.budget_usd, shown))
    if money.usd_per_day is not None:
        limits.append(
            Limit(AccountId("server", "", today), money.usd_per_day, "the day budget of the server")
        )
    return limits


def _shown(usd: Decimal | None) -> str:
    return f"${(usd or Decimal(0)).normalize():f}"


def _id_of(run: Run) -> str:
    return run.token_id.decode()


def may_ask(allowed: tuple[str, ...] | None, name: str) -> bool:
    return allowed is None or any(matches(pattern, name) for pattern in allowed)


def check_model(caller: Caller, requested: str, model: str) -> None:
    """Either the name asked for is allowed, or the one that it means. Raises ModelNotAllowed."""
    _check_model(caller.models, requested, model, f"key {caller.name!r}")


def _check_chooser(caller: Caller, run: Run | None, field: str) -> None:
    """Whoever is held to a list of models could leave it by that."""
    is_held = caller.models is not None or (run is not None and run.terms.models is not None)
    if field and is_held:
        message = f"{field}: who may use some models only may not have a provider choose: leave it out"
        raise ModelNotAllowed(message, param=field)


def _check_model(allowed: tuple[str, ...] | None, requested: str, model: str, who: str) -> None:
    if allowed is None or may_ask(allowed, requested) or may_ask(allowed, model):
        return
    shown = ", ".join(allowed[:MAX_SHOWN_MODELS]) + (", …" if len(allowed) > MAX_SHOWN_MODELS else "")
    raise ModelNotAllowed(f"{who} may not use the model {requested!r}: choose one of {shown}", param="model")
