"""What others have spent: asked in a thread, waited for where it must be known, never by the event loop."""

from __future__ import annotations

import asyncio
import datetime
import logging
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from proxy.budgets import AccountId, Budgets, Limit
from proxy.errors import LedgerUnavailable, headers_of, status_of
from proxy.spent_before import FRESH_S, MAX_SHARE, STALE_S, SpentByOthers, start_of

D = Decimal
ONE = D(1)
DAY = datetime.date(2026, 11, 1)
KEY = Limit(AccountId("key", "ci"), D(5), "the total budget of key 'ci'")
SERVER = Limit(AccountId("server", "", DAY), D(5), "the day budget of the server")
RUN = Limit(AccountId("run", "id"), D(5), "the budget of run 'r'")
PATIENCE_S = 30.0


@dataclass
class Remembered:
    """A ledger that answers when it may."""

    usd: Decimal = ONE
    error: Exception | None = None
    asked: list[tuple[str | None, float | None]] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    most_at_once: int = 0
    _at_once: int = 0

    def __post_init__(self) -> None:
        self.may_answer.set()

    def spent_usd(self, *, key: str | None, since_s: float | None) -> Decimal:
        self.asked.append((key, since_s))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        assert self.may_answer.wait(PATIENCE_S)
        self._at_once -= 1
        if self.error is not None:
            raise self.error
        return self.usd


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class Told(Budgets):
    def __init__(self, *, remembers: bool, clock: Callable[[], float]) -> None:
        super().__init__(remembers=remembers, clock=clock)
        self.was_told = asyncio.Event()

    def learned(self, account_id: AccountId, others_usd: Decimal) -> None:
        super().learned(account_id, others_usd)
        self.was_told.set()


class World:
    def __init__(self, *, wait_s: float = PATIENCE_S) -> None:
        self.ledger = Remembered()
        self.clock = Clock()
        self.budgets = Told(remembers=True, clock=lambda: start_of(DAY) + 3600)
        self.others = SpentByOthers(self.budgets, self.ledger, wait_s=wait_s, clock=self.clock)

    def spent(self, limit: Limit = KEY) -> Decimal:
        return self.budgets.spent_usd(limit.account)

    async def until_spent(self, usd: Decimal) -> None:
        """What is asked in the background."""
        async with asyncio.timeout(PATIENCE_S):
            while self.spent() != usd:
                await self.budgets.was_told.wait()
                self.budgets.was_told.clear()


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_the_first_request_waits_until_it_is_known() -> None:
    async def main() -> None:
        world = World()
        await world.others.learn([KEY, SERVER, RUN])
        assert (world.spent(KEY), world.spent(SERVER), world.spent(RUN)) == (D(1), D(1), D(0))
        assert sorted(world.ledger.asked, key=str) == [("ci", None), (None, start_of(DAY))]

    run(main())


def test_those_that_come_at_once_ask_once() -> None:
    async def main() -> None:
        world = World()
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(world.others.learn([KEY]))
        assert world.ledger.asked == [("ci", None)]

    run(main())


def test_two_keys_at_once_are_asked_for_one_after_the_other() -> None:
    async def main() -> None:
        world = World()
        other = Limit(AccountId("key", "other"), D(1), "o")
        async with asyncio.TaskGroup() as group:
            for limit in (KEY, other, SERVER, KEY):
                group.create_task(world.others.learn([limit]))
        assert world.spent(other) == world.spent(SERVER) == 1
        assert (len(world.ledger.asked), world.ledger.most_at_once) == (3, 1)

    run(main())


def test_a_ledger_that_does_not_answer_holds_up_nobody() -> None:
    """It held the event loop for as long as it was locked: every stream of the server stood still."""

    async def main() -> None:
        world = World(wait_s=0.02)
        world.ledger.may_answer.clear()
        for _ in range(3):
            with pytest.raises(LedgerUnavailable, match="not known yet") as caught:
                await world.others.learn([KEY])
            assert status_of(caught.value) == 503
            assert (b"retry-after", b"2") in headers_of(caught.value)
        assert len(world.ledger.asked) == 1, "one thread waits, whoever comes"
        world.ledger.may_answer.set()
        await world.until_spent(D(1))
        await world.others.learn([KEY])
        assert len(world.ledger.asked) == 1

    run(main())


def test_what_went_wrong_is_said_and_tried_again() -> None:
    async def main() -> None:
        world = World()
        world.ledger.error = LedgerUnavailable("the ledger cannot be asked now: database is locked")
        for _ in range(2):
            with pytest.raises(LedgerUnavailable, match=r"total budget of key 'ci'.*database is locked"):
                await world.others.learn([KEY])
        world.ledger.error = None
        await world.others.learn([KEY])
        assert world.spent() == 1
        assert len(world.ledger.asked) == 3

    run(main())


def test_what_nobody_foresaw_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        world = World()
        world.ledger.error = ValueError("a secret detail")
        with caplog.at_level(logging.ERROR), pytest.raises(LedgerUnavailable) as caught:
            await world.others.learn([KEY])
        assert "a secret detail" in caplog.text
        assert "a secret detail" not in caught.value.message

    run(main())


def test_another_servers_spending_is_seen_after_a_while() -> None:
    async def main() -> None:
        world = World()
        await world.others.learn([KEY])
        world.ledger.usd = D(3)
        world.clock.now_s = FRESH_S - 0.1
        await world.others.learn([KEY])
        assert len(world.ledger.asked) == 1
        world.clock.now_s = FRESH_S
        world.ledger.may_answer.clear()
        await world.others.learn([KEY])
        assert world.spent() == 1, "meanwhile it goes on by what is known"
        await world.others.learn([KEY])
        world.ledger.may_answer.set()
        await world.until_spent(D(3))
        assert len(world.ledger.asked) == 2

    run(main())


def test_who_comes_after_a_long_time_waits_for_what_is_true_now() -> None:
    async def main() -> None:
        world = World()
        await world.others.learn([KEY])
        world.ledger.usd = D(3)
        world.clock.now_s = STALE_S
        await world.others.learn([KEY])
        assert world.spent() == 3

    run(main())


@pytest.mark.parametrize("is_silent", [True, False])
def test_what_was_known_once_will_do(is_silent: bool) -> None:
    async def main() -> None:
        world = World(wait_s=0.02)
        await world.others.learn([KEY])
        world.clock.now_s = STALE_S
        world.ledger.error = LedgerUnavailable("locked")
        if is_silent:
            world.ledger.may_answer.clear()
        await world.others.learn([KEY])
        assert world.spent() == 1
        world.ledger.may_answer.set()

    run(main())


def test_a_slow_ledger_is_asked_less_often() -> None:
    async def main() -> None:
        world = World()
        world.ledger.may_answer.clear()
        first = asyncio.create_task(world.others.learn([KEY]))
        await asyncio.sleep(0)
        world.clock.now_s = took_s = 4.0
        world.ledger.may_answer.set()
        await first
        world.clock.now_s = MAX_SHARE * took_s - 0.1
        await world.others.learn([KEY])
        assert len(world.ledger.asked) == 1
        world.clock.now_s = MAX_SHARE * took_s
        await world.others.learn([KEY])
        assert len(world.ledger.asked) == 2

    run(main())


def test_a_day_that_ended_while_it_was_asked_for_is_answered_all_the_same() -> None:
    """It was asked for again and again, as fast as the disk would go."""

    async def main() -> None:
        world = World()
        yesterday = Limit(AccountId("server", "", DAY - datetime.timedelta(days=1)), D(5), "a day budget")
        await world.others.learn([yesterday])
        assert len(world.ledger.asked) == 1
        assert world.spent(yesterday) == 1

    run(main())


def test_without_a_ledger_nobody_is_asked() -> None:
    async def main() -> None:
        budgets = Budgets()
        await SpentByOthers(budgets, None).learn([KEY, SERVER, RUN])
        assert budgets.shortage(D(5), [KEY, SERVER, RUN]) is None

    run(main())
