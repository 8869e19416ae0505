"""What a caller may ask for, decided before anything leaves: models, how often, and for how much.

`admit` raises what the caller is told; `settled` is told of every request that has ended. What a request
may cost at most is known only roughly beforehand: a token for every BYTES_PER_TOKEN of its body, and as much
output as it asks for, at the dearest rate of its route's model in the price book.
"""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from proxy.budgets import EXACT, AccountId, Budgets, Limit
from proxy.callers import OWNER, Caller
from proxy.charges import charge_of
from proxy.errors import BudgetExceeded, ModelNotAllowed, RateLimited, Unauthorized
from proxy.money_config import MoneyConfig
from proxy.prices import LOCAL, REPLAY, most_usd
from proxy.rates import Rate, TokenBucket
from proxy.request_log import RequestRecord
from proxy.routing import Route, matches
from proxy.run_tokens import Run, RunTokens

BYTES_PER_TOKEN = 3
"""Of a body in JSON. Prose has four and more, code three to four: this is on the dear side."""

ASSUMED_INPUT_TOKENS, ASSUMED_OUTPUT_TOKENS = 32_000, 32_000
"""Of a request that does not say: 32,000 is what Claude Code asks for, and more than nearly every answer."""

MAX_SHOWN_MODELS = 8


class Gate(Protocol):
    async def admit(self, asking: Asking) -> None:
        """Raises HotseatError before anything leaves: call it once, right before the first attempt."""

    def settled(self, record: RequestRecord) -> None: ...


class Asking(msgspec.Struct, frozen=True):
    """What is asked, by whom, of whom. `body_bytes`, `max_output_tokens`: what it may cost follows from them;
    None: not known. `is_free`: nobody is paid for it, whoever answers. `chooser`: see PassedRequest. `meant`:
    the name of the model that was asked for, where the run has its own for it."""

    record: RequestRecord
    caller: Caller
    route: Route
    body_bytes: int | None = None
    max_output_tokens: int | None = None
    is_free: bool = False
    chooser: str = ""
    meant: str = ""

    @property
    def name(self) -> str:
        return self.meant or self.record.requested_model


class OpenGate:
    """Everybody may do everything."""

    async def admit(self, asking: Asking) -> None:
        asking.record.key, asking.record.payer = asking.caller.name, asking.caller.payer

    def settled(self, record: RequestRecord) -> None:
        return


class Remembers(Protocol):
    """spent_before.SpentByOthers."""

    async def learn(self, limits: Sequence[Limit]) -> None: ...


class MoneyGate:
    """`money`: the configuration of now. `clock` is monotonic, for rates."""

    def __init__(
        self,
        money: Callable[[], MoneyConfig],
        budgets: Budgets,
        others: Remembers,
        runs: RunTokens,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._money = money
        self._budgets = budgets
        self._others = others
        self._runs = runs
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._run_requests: Counter[str] = Counter()

    async def admit(self, asking: Asking) -> None:
        record, caller, route = asking.record, asking.caller, asking.route
        record.key, record.payer = caller.name, caller.payer
        run = self._runs.get(record.run) if record.run else None
        payer = caller if caller.run is None else self._payer(caller, run)
        today = self._budgets.today()
        check_model(payer, asking.name, route.model)
        if run is not None:
            _check_model(run.terms.models, record.requested_model, route.model, f"run {run.name!r}")
        if asking.chooser:
            _check_chooser(payer, run, asking.chooser)
        usd = record.assumed_usd = self._most_usd(asking, today)
        limits = [] if usd is None else _limits(self._money(), payer, run, today)
        await self._others.learn(limits)
        # No await from here on: what is left is another request's as soon as it is not held.
        if payer.rate is not None:
            self._check_rate(payer, payer.rate)
        if run is not None:
            self._check_count(run)
        if usd is not None:
            self._check_budgets(usd, limits)
        self._budgets.hold(record.request_id, usd or Decimal(0), _accounts(payer, run, today))
        if run is not None:
            self._run_requests[_id_of(run)] += 1

    def settled(self, record: RequestRecord) -> None:
        self._budgets.settle(record.request_id, spent_on(record))

    def key_names(self) -> frozenset[str]:
        """Spending is remembered by them, and by the names of runs."""
        return frozenset(key.caller.name for key in self._money().keys)

    def keep_runs(self, runs: Iterable[Run]) -> None:
        """Forget what others did."""
        ids = {_id_of(run) for run in runs}
        self._budgets.keep_runs(ids)
        for other in [run for run in self._run_requests if run not in ids]:
            del self._run_requests[other]

    def _payer(self, caller: Caller, run: Run | None) -> Caller:
        """Whose limits hold for a run's token: it does not get round those of the key that announced it."""
        if run is None:
            raise Unauthorized("the run has ended or expired: announce it again")
        if not caller.creator:
            return OWNER
        for key in self._money().keys:
            if key.caller.name == caller.creator:
                return key.caller
        raise Unauthorized(f"the key {caller.creator!r} announced this run, and is none of this server's now")

    def _check_rate(self, caller: Caller, rate: Rate) -> None:
        bucket = self._buckets.get(caller.name)
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[caller.name] = TokenBucket(rate, self._clock)
        wait_s = bucket.take()
        if wait_s > 0:
            raise RateLimited(
                f"key {caller.name!r} may ask {rate.count} times in {rate.per_s:g} s:"
                f" try again in {wait_s:.1f} s",
                retry_after_s=wait_s,
            )

    def _check_count(self, run: Run) -> None:
        most = run.terms.max_requests
        if most is not None and self._run_requests[_id_of(run)] >= most:
            raise BudgetExceeded(
                f"run {run.name!r} has had all of its {most} requests: announce another run for more"
            )

    def _most_usd(self, asking: Asking, today: datetime.date) -> Decimal | None:
        """One attempt at the dearest of those who may be asked. None: nobody is paid, or they are all of this
        machine, and what their energy costs is seen when it was used."""
        if asking.is_free or asking.record.price_source == REPLAY:
            return None
        body_bytes, max_output_tokens = asking.body_bytes, asking.max_output_tokens
        inputs = ASSUMED_INPUT_TOKENS if body_bytes is None else -(-body_bytes // BYTES_PER_TOKEN)
        outputs = ASSUMED_OUTPUT_TOKENS if max_output_tokens is None else max_output_tokens
        money = self._money()
        costs = []
        for asked in (asking.route, *asking.route.fallbacks):
            if asked.upstream != LOCAL:
                entry = money.book.find(asked.upstream, asked.model, today)
                costs.append(money.reserve_usd if entry is None else most_usd(entry, inputs, outputs))
        return max(costs, default=None)

    def _check_budgets(self, usd: Decimal, limits: Sequence[Limit]) -> None:
        """A model of this machine goes on when a budget is used up: it costs no provider's money."""
        short = self._budgets.shortage(usd, limits)
        if short is not None:
            raise BudgetExceeded(
                f"this request may cost up to {_shown(usd)}, and {_shown(short.left_usd)} is left of"
                f" {short.limit.shown} of {_shown(short.limit.usd)}: raise it, ask for fewer tokens"
                " (max_tokens), or take a local model"
            )


def spent_on(record: RequestRecord) -> Decimal:
    """All that a request that has ended is charged with, over its attempts."""
    total = charge_of(record, record.attempt, record.assumed_usd).usd
    for attempt in record.attempts:
        total = EXACT.add(total, charge_of(attempt, attempt.number, record.assumed_usd).usd)
    return total


def _accounts(payer: Caller, run: Run | None, today: datetime.date) -> list[AccountId]:
    """All that a request falls under, whether there is a budget today or only after a reload."""
    accounts = [AccountId("server", "", today)]
    if payer.name:
        accounts += [AccountId("key", payer.name, today), AccountId("key", payer.name)]
    if run is not None:
        accounts.append(AccountId("run", _id_of(run)))
    return accounts


def _limits(money: MoneyConfig, payer: Caller, run: Run | None, today: datetime.date) -> list[Limit]:
    limits = []
    if payer.budget is not None:
        is_daily = payer.budget.per == "day"
        account = AccountId("key", payer.name, today if is_daily else None)
        shown = f"the {payer.budget.per} budget of key {payer.name!r}"
        limits.append(Limit(account, payer.budget.usd, shown))
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


def _check_chooser(payer: Caller, run: Run | None, field: str) -> None:
    """Whoever is held to a list of models could leave it by that."""
    if payer.models is not None or (run is not None and run.terms.models is not None):
        message = f"{field}: who may use some models only may not have a provider choose: leave it out"
        raise ModelNotAllowed(message, param=field)


def _check_model(allowed: tuple[str, ...] | None, requested: str, model: str, who: str) -> None:
    if allowed is None or may_ask(allowed, requested) or may_ask(allowed, model):
        return
    shown = ", ".join(allowed[:MAX_SHOWN_MODELS]) + (", …" if len(allowed) > MAX_SHOWN_MODELS else "")
    raise ModelNotAllowed(f"{who} may not use the model {requested!r}: choose one of {shown}", param="model")
