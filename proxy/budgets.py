"""What was spent of which budget, and what is held for requests under way. Pure: one owner, one event loop.

    shortage    before the request leaves: would spent + held + the most it may cost exceed a budget?
    hold        if not: that much is held until it has ended, in every account that it falls under
    settle      then: what was held is given back, what it is charged with is spent
    learned     what others have spent: earlier servers, and those that share the ledger (spent_before.py)

Accounts are kept for everybody, with a budget or without: one that is set while requests run counts them,
and what was spent since the start. A budget is overrun only by what requests cost beyond what was held for
them: by at most the sum of that over the requests that were under way together when it was used up. Nothing
new leaves from then on.

Days are UTC's. A request counts for the day on which it was admitted.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Literal

import msgspec

from proxy.errors import LedgerUnavailable
from proxy.prices import day_of

ZERO = Decimal(0)
DAY_S = 86400

EXACT = Context(prec=120)
"""A believed cost has 49 digits at most: no sum of such is rounded, and what was held goes back whole."""

KEPT_DAYS = datetime.timedelta(days=1)
"""After its end a day is kept for so long: a clock that is set back a little finds it as it was."""

Kind = Literal["key", "run", "server"]


class AccountId(msgspec.Struct, frozen=True):
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
    """`others_usd` None: not known yet."""

    others_usd: Decimal | None
    own_usd: Decimal = ZERO
    held_usd: Decimal = ZERO
    n_held: int = 0


class _Hold(msgspec.Struct, frozen=True):
    usd: Decimal
    accounts: tuple[AccountId, ...]


class Budgets:
    """`remembers`: a ledger knows what others have spent; without one every budget is whole at the start.
    `clock`: epoch."""

    def __init__(self, *, remembers: bool = False, clock: Callable[[], float] = time.time) -> None:
        self._remembers = remembers
        self._clock = clock
        self._accounts: dict[AccountId, _Account] = {}
        self._holds: dict[str, _Hold] = {}
        self._day_number, self._today = -1, day_of(0)
        self._day = self.today()

    def today(self) -> datetime.date:
        now_s = self._clock()
        number = int(now_s // DAY_S)
        if number != self._day_number:
            self._day_number, self._today = number, day_of(now_s)
        return self._today

    def shortage(self, usd: Decimal, limits: Sequence[Limit]) -> Shortage | None:
        """What `usd` more would exceed. Hold them before anything is awaited: else two requests may both take
        what is left. Raises LedgerUnavailable where it is not known what others have spent."""
        for limit in limits:
            account = self._account(limit.account)
            if account.others_usd is None:
                message = f"what was spent of {limit.shown} before is not known yet: ask again"
                raise LedgerUnavailable(message, retry_after_s=1.0)
            spent = EXACT.add(account.own_usd, account.others_usd)
            left_usd = EXACT.subtract(EXACT.subtract(limit.usd, spent), account.held_usd)
            if usd > left_usd:
                return Shortage(limit, max(left_usd, ZERO))
        return None

    def hold(self, request_id: str, usd: Decimal, accounts: Sequence[AccountId]) -> None:
        self._forget_old_days()
        self._holds[request_id] = _Hold(usd, tuple(accounts))
        for account_id in accounts:
            account = self._account(account_id)
            account.n_held += 1
            if usd:
                account.held_usd = EXACT.add(account.held_usd, usd)

    def settle(self, request_id: str, charged_usd: Decimal) -> None:
        """The request has ended. Nothing happens for one that nothing is held for."""
        hold = self._holds.pop(request_id, None)
        if hold is None:
            return
        for account_id in hold.accounts:
            account = self._accounts[account_id]
            account.n_held -= 1
            if hold.usd:
                account.held_usd = EXACT.subtract(account.held_usd, hold.usd)
            if charged_usd:
                account.own_usd = EXACT.add(account.own_usd, charged_usd)

    def is_known(self, account: AccountId) -> bool:
        return self._account(account).others_usd is not None

    def learned(self, account_id: AccountId, others_usd: Decimal) -> None:
        """From the ledger: what others have spent by now. It never becomes less: rows expire."""
        account = self._account(account_id)
        account.others_usd = max(others_usd, account.others_usd or ZERO)

    def spent_usd(self, account_id: AccountId) -> Decimal:
        """As far as it is known."""
        account = self._account(account_id)
        return EXACT.add(account.own_usd, account.others_usd or ZERO)

    def held_usd(self, account: AccountId) -> Decimal:
        return self._account(account).held_usd

    def keep_runs(self, ids: Iterable[str]) -> None:
        """Forget all other runs, but those with requests under way."""
        kept = set(ids)
        self._forget(lambda account: account.kind == "run" and account.name not in kept)

    def _account(self, account_id: AccountId) -> _Account:
        account = self._accounts.get(account_id)
        if account is None:
            begins_at_zero = account_id.kind == "run" or not self._remembers
            account = self._accounts[account_id] = _Account(ZERO if begins_at_zero else None)
        return account

    def _forget_old_days(self) -> None:
        today = self.today()
        if today != self._day:
            self._day = today
            self._forget(lambda account: account.day is not None and account.day < today - KEPT_DAYS)

    def _forget(self, is_old: Callable[[AccountId], bool]) -> None:
        for account_id in [a for a, account in self._accounts.items() if not account.n_held and is_old(a)]:
            del self._accounts[account_id]
