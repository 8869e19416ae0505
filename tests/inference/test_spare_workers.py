"""Processes kept ready for the next load: taken, replaced, and gone with the pool."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from inference.pool import PoolSettings
from tests.inference.pooling import BOTH, ONE, Models, ask, run, state_of, worker_pids


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def settings(budget: int) -> PoolSettings:
    return PoolSettings(budget, spare_workers=True)


async def spare_beside(*known: int) -> int:
    """The process that is there besides those that are known."""
    while not (others := set(worker_pids()) - set(known)):  # noqa: ASYNC110 - no event tells of a process
        await asyncio.sleep(0.02)
    (spare,) = others
    return spare


def test_a_load_takes_the_process_that_is_ready_and_another_follows(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool(settings(ONE)) as pool:
            first = await spare_beside()
            assert await ask(pool, "a") == "You said: hello there"
            assert worker_pids() == [first]
            second = await spare_beside(first)
            assert await ask(pool, "b") == "You said: hello there"
            assert worker_pids() == [second]
            facts = state_of(pool, "b")
            assert facts.measured_bytes is None or facts.measured_bytes >= 0

    run(main)


def test_a_spare_process_that_has_died_is_no_obstacle(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool(settings(BOTH)) as pool:
            spare = await spare_beside()
            os.kill(spare, signal.SIGKILL)
            while worker_pids():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
            assert await ask(pool, "a") == "You said: hello there"

    run(main)


def test_a_pool_that_closes_while_a_spare_process_starts_leaves_nothing(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool(settings(BOTH)):
            await spare_beside()

    run(main)


def test_without_models_to_load_nothing_is_kept(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool(settings(BOTH)) as pool:
            spare = await spare_beside()
            await pool.load("a")
            await pool.reconfigure(models.models)
            assert worker_pids() == [spare]

    run(main)
