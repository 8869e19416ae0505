"""What was spent of which budget, and what is held for requests under way. One owner, one event loop.

    shortage    before the request leaves: would spent + held + the most it may cost exceed a budget?
    hold        if not: that much is held until it has ended
    settle      then: what was held is given back, what it cost is spent

A budget is overrun only by what requests cost beyond what was held for them: by at most the sum of that over
the requests that were under way together when it was used up. Nothing new leaves from then on. What a
request took that nobody can price is what was held for it.

Days are UTC's. A request counts for the day on which it was admitted.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from proxy.prices import day_of

ZERO = Decimal(0)

Kind = Literal["key", "run", "server"]


class SpentBefore(Protocol):
    """What the ledger remembers of the time before this server's start. Asked on the event loop, once for
    each account."""

    def spent_usd(self, *, key: str | None, since_s: float | None) -> Decimal:
        """Sum of the known costs of attempts that began at `since_s` (epoch) or later. `key` None: of all."""


class NothingBefore:
    """Without a ledger every budget is whole when the server starts."""

    def spent_usd(self, *, key: str | None, since_s: float | None) -> Decimal:
        return ZERO


@dataclass(frozen=True, slots=True)
class AccountId:
    """`name`: of the key; the id of an announced run, which always begins at zero; "" of the server. `day`
    None: for all time."""

    kind: Kind
    name: str
    day: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget that a request falls under. `shown` names it in errors: "today's budget of key 'ci'"."""

    account: AccountId
    usd: Decimal
    shown: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """The first limit that a request could exceed."""

    limit: Limit
    left_usd: Decimal


@dataclass(slots=True)
class _Account:
    spent_usd: Decimal
    held_usd: Decimal = ZERO
    n_held: int = 0


@dataclass(frozen=True, slots=True)
class _Hold:
    usd: Decimal
    accounts: tuple[AccountId, ...]


class Budgets:
    """`clock`: epoch."""

    def __init__(self, before: SpentBefore | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._before: SpentBefore = before or NothingBefore()
        self._clock = clock
        self._accounts: dict[AccountId, _Account] = {}
        self._holds: dict[str, _Hold] = {}
        self._day = self.today()

    def today(self) -> datetime.date:
        return day_of(self._clock())

    def shortage(self, usd: Decimal, limits: Sequence[Limit]) -> Shortage | None:
        """What `usd` more would exceed. Hold them before anything is awaited: else two requests may both take
        what is left."""
        for limit in limits:
            account = self._account(limit.account)
            left_usd = limit.usd - account.spent_usd - account.held_usd
            if usd > left_usd:
                return Shortage(limit, max(left_usd, ZERO))
        return None

    def hold(self, request_id: str, usd: Decimal, limits: Sequence[Limit]) -> None:
        self._forget_old_days()
        self._holds[request_id] = _Hold(usd, tuple(limit.account for limit in limits))
        for limit in limits:
            account = self._account(limit.account)
            account.held_usd += usd
            account.n_held += 1

    def settle(self, request_id: str, cost_usd: Decimal | None) -> None:
        """The request has ended. None: it cost something, and nobody knows what. Nothing happens for a
        request that nothing is held for."""
        hold = self._holds.pop(request_id, None)
        if hold is None:
            return
        for account_id in hold.accounts:
            account = self._accounts[account_id]
            account.held_usd -= hold.usd
            account.n_held -= 1
            account.spent_usd += hold.usd if cost_usd is None else cost_usd

    def spent_usd(self, account: AccountId) -> Decimal:
        return self._account(account).spent_usd

    def held_usd(self, account: AccountId) -> Decimal:
        return self._account(account).held_usd

    def keep_runs(self, ids: Iterable[str]) -> None:
        """Forget all other runs, but those with requests under way."""
        kept = set(ids)
        self._forget(lambda account: account.kind == "run" and account.name not in kept)

    def _account(self, account_id: AccountId) -> _Account:
        account = self._accounts.get(account_id)
        if account is None:
            account = self._accounts[account_id] = _Account(self._spent_before(account_id))
        return account

    def _spent_before(self, account_id: AccountId) -> Decimal:
        if account_id.kind == "run":
            return ZERO
        key = account_id.name if account_id.kind == "key" else None
        since_s = None if account_id.day is None else start_of(account_id.day)
        return self._before.spent_usd(key=key, since_s=since_s)

    def _forget_old_days(self) -> None:
        today = self.today()
        if today != self._day:
            self._day = today
            self._forget(lambda account: account.day is not None and account.day < today)

    def _forget(self, is_old: Callable[[AccountId], bool]) -> None:
        for account_id in [a for a, account in self._accounts.items() if not account.n_held and is_old(a)]:
            del self._accounts[account_id]


def start_of(day: datetime.date) -> float:
    """Its first moment, epoch."""
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()
