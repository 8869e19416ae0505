"""What others have spent, for budgets: asked of the ledger in a thread, so that no event loop waits for it.

    never asked                  the request waits for the answer, WAIT_S at most; then 503, and the next one
                                 finds it, or waits again
    asked FRESH_S ago, or more   asked again, and the request goes on by what is known
    asked STALE_S ago, or more   asked again, and waited for; what is known will do where no answer comes

Others are the servers before this one and those beside it at the same ledger. What this one spends itself it
counts itself, exactly, and at once.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from inference.errors import HotseatError
from proxy.budgets import AccountId, Budgets, Limit
from proxy.errors import LedgerUnavailable

WAIT_S = 2.0
FRESH_S, STALE_S = 10.0, 60.0
RETRY_AFTER_S = 2.0

MAX_SHARE = 20
"""A question is put again after so many times as long as its answer took, or later."""

_log = logging.getLogger("hotseat.budgets")


class SpentBefore(Protocol):
    """What the ledger remembers of others than this server. Asked in a thread, by one at a time."""

    def spent_usd(self, *, key: str | None, since_s: float | None) -> Decimal:
        """Sum of what budgets are charged with, for attempts that began at `since_s` (epoch) or later. `key`
        None: of all. Blocks. Raises HotseatError."""


class _Reading:
    """Under way, or over. Must be made on the event loop."""

    def __init__(self, accounts: frozenset[AccountId], done: asyncio.Future[Mapping[AccountId, Decimal]]):
        self.accounts = accounts
        self.done = done

    @property
    def error(self) -> BaseException | None:
        return self.done.exception() if self.done.done() and not self.done.cancelled() else None


class SpentByOthers:
    """`before` None: no ledger is kept, and nobody knows of others. `clock` is monotonic."""

    def __init__(
        self,
        budgets: Budgets,
        before: SpentBefore | None,
        *,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budgets = budgets
        self._before = before
        self._wait_s = wait_s
        self._clock = clock
        self._reading: _Reading | None = None
        self._asked_at_s: dict[AccountId, float] = {}
        self._fresh_s = FRESH_S

    async def learn(self, limits: Sequence[Limit]) -> None:
        """Until it is known, lately enough, what others have spent of `limits`. Raises LedgerUnavailable."""
        if self._before is None:
            return
        asked = [limit.account for limit in limits if limit.account.kind != "run"]
        old = [account for account in asked if self._is_old(account)]
        if not old:
            return
        urgent = [account for account in old if self._is_urgent(account)]
        cause = await self._wait(urgent) if urgent else None
        if not urgent and self._reading is None:
            self._read(old)
        for limit in limits:
            if not self._budgets.is_known(limit.account):
                raise LedgerUnavailable(
                    f"what was spent of {limit.shown} before is not known yet: {cause}: ask again, or take a"
                    " local model",
                    retry_after_s=RETRY_AFTER_S,
                )

    def _age_s(self, account: AccountId) -> float:
        asked_at_s = self._asked_at_s.get(account)
        return float("inf") if asked_at_s is None else self._clock() - asked_at_s

    def _is_old(self, account: AccountId) -> bool:
        return not self._budgets.is_known(account) or self._age_s(account) >= self._fresh_s

    def _is_urgent(self, account: AccountId) -> bool:
        return not self._budgets.is_known(account) or self._age_s(account) >= max(STALE_S, self._fresh_s)

    async def _wait(self, urgent: Sequence[AccountId]) -> str:
        """Why there is no answer; "": there is one."""
        left = set(urgent)
        try:
            async with asyncio.timeout(self._wait_s):
                while left:
                    reading = self._reading or self._read(left)
                    await asyncio.wait([reading.done])
                    if reading.error is not None and not reading.accounts.isdisjoint(left):
                        return _said(reading.error)
                    left -= reading.accounts
        except TimeoutError:
            return f"the ledger has not answered within {self._wait_s:g} s"
        return ""

    def _read(self, accounts: Collection[AccountId]) -> _Reading:
        """In the background. One at a time: a ledger that does not answer holds up one thread."""
        wanted = frozenset(accounts)
        begun_s = self._clock()
        done = asyncio.get_running_loop().run_in_executor(None, self._ask, wanted)
        reading = self._reading = _Reading(wanted, done)
        done.add_done_callback(lambda _: self._file(reading, begun_s))
        return reading

    def _file(self, reading: _Reading, begun_s: float) -> None:
        self._reading = None
        self._forget()
        if reading.done.cancelled():
            return
        if (error := reading.error) is not None:
            if not isinstance(error, HotseatError):
                _log.error("what was spent before cannot be read", exc_info=error)
        else:
            for account, usd in reading.done.result().items():
                self._budgets.learned(account, usd)
        for account in reading.accounts:
            self._asked_at_s[account] = begun_s
        self._fresh_s = max(FRESH_S, MAX_SHARE * (self._clock() - begun_s))

    def _forget(self) -> None:
        """What was asked of days that are over."""
        today = self._budgets.today()
        for account in [a for a in self._asked_at_s if a.day is not None and a.day < today]:
            del self._asked_at_s[account]

    # --- in a thread -----------------------------------------------------------------------------

    def _ask(self, accounts: frozenset[AccountId]) -> Mapping[AccountId, Decimal]:
        assert self._before is not None
        return {
            account: self._before.spent_usd(
                key=account.name if account.kind == "key" else None,
                since_s=None if account.day is None else start_of(account.day),
            )
            for account in accounts
        }


def start_of(day: datetime.date) -> float:
    """Its first moment, epoch."""
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()


def _said(error: BaseException) -> str:
    return error.message if isinstance(error, HotseatError) else "it cannot be read, see the server's log"
