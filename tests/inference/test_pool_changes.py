"""A pool whose configuration, device or neighbours change while it serves. Real worker processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from inference.chat import Finish
from inference.errors import InsufficientMemory, UnknownModel
from inference.gpu import DeviceMemory, DeviceProcess
from inference.pool import PoolModel, PoolSettings, WorkerPool
from tests.inference.pooling import (
    BOTH,
    ONE,
    SIZE,
    Models,
    NoGpu,
    ask,
    chat,
    next_kind,
    run,
    started,
    state_of,
    text_of,
    worker_pids,
)


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def with_slots(model: PoolModel, slots: int) -> PoolModel:
    return PoolModel(msgspec.structs.replace(model.spec, slots=slots), model.estimated_bytes)


# --- reconfigure -------------------------------------------------------------------------------


def test_an_unchanged_model_keeps_its_process_and_its_stream(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool() as pool, pool.lease("a") as lease:
            stream = await started(lease, "hello there")
            pids = worker_pids()
            a, _ = models.models
            pinned = PoolModel(msgspec.structs.replace(a.spec, pinned=True, idle_unload_s=60.0), SIZE)
            report = await pool.reconfigure([pinned])
            assert (report.kept, report.changed, report.removed) == (("a",), (), ("b",))
            assert isinstance([event async for event in stream][-1], Finish)
            assert worker_pids() == pids
            assert state_of(pool, "a").pinned

    run(main)


def test_a_changed_model_finishes_its_stream_and_its_waiters_get_the_new_one(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool:
            async with pool.lease("a") as lease:
                stream = await started(lease, "hello there")
                waiter = asyncio.create_task(ask(pool, "a"))
                await asyncio.sleep(0)
                before = worker_pids()
                report = await pool.reconfigure([with_slots(models.models[0], 3)])
                assert report.changed == ("a",)
                assert isinstance([event async for event in stream][-1], Finish)
            assert await waiter == "You said: hello there"
            assert state_of(pool, "a").slots == 3
            assert worker_pids() != before
            facts = state_of(pool, "a").facts
            assert facts is not None
            assert facts.slots == 3

    run(main)


def test_a_removed_model_in_use_finishes_and_is_gone(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool() as pool, pool.events() as events:
            async with pool.lease("a") as lease:
                stream = await started(lease, "hello there")
                report = await pool.reconfigure(models.models[1:])
                assert report.removed == ("a",)
                with pytest.raises(UnknownModel):
                    await ask(pool, "a")
                assert [model.name for model in pool.state().models] == ["b"]
                assert isinstance([event async for event in stream][-1], Finish)
            await next_kind(events, "unloaded")
            assert not worker_pids()
            assert await ask(pool, "b") == "You said: hello there"

    run(main)


def test_a_model_changed_during_its_load_is_loaded_anew(models: Models) -> None:
    models.add("a", "[load]\nseconds = 60")

    async def main() -> None:
        async with models.pool() as pool, pool.events() as events:
            waiter = asyncio.create_task(ask(pool, "a"))
            await next_kind(events, "progress")
            path = Path(models.models[0].spec.path)
            quick = path.with_name("quick.toml")
            quick.write_text("")
            changed = PoolModel(msgspec.structs.replace(models.models[0].spec, path=str(quick)), SIZE)
            await pool.reconfigure([changed])
            assert await waiter == "You said: hello there"

    run(main)


# --- lanes -------------------------------------------------------------------------------------


def test_an_exclusive_lease_is_alone(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool() as pool:
            await pool.load("a")
            await pool.load("b")
            async with pool.lease("a", "exclusive") as lease:
                other = asyncio.create_task(ask(pool, "b"))
                assert text_of([event async for event in lease.generate(chat())]) == "You said: hello there"
                assert state_of(pool, "b").queued == 1
                assert not other.done()
            assert await other == "You said: hello there"

    run(main)


# --- memory of the device ----------------------------------------------------------------------


class SharedGpu(NoGpu):
    """A GPU on which a game holds everything until it ends."""

    def __init__(self) -> None:
        self.free_bytes = SIZE // 2
        self.asked = asyncio.Event()

    def device(self) -> DeviceMemory:
        self.asked.set()
        return DeviceMemory("cuda", "test", 2**40, self.free_bytes)

    def processes(self) -> tuple[DeviceProcess, ...]:  # type: ignore[override]
        ours = DeviceProcess(2, "hotseat", SIZE, is_foreign=False)
        return ours, DeviceProcess(4242, "game", 3 * 2**30, is_foreign=True)


def test_fault_19_a_load_waits_for_a_process_that_gives_its_memory_back(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        gpu = SharedGpu()
        async with WorkerPool(models.models, PoolSettings(BOTH), gpu) as pool:
            waiter = asyncio.create_task(ask(pool, "a"))
            await gpu.asked.wait()
            assert not worker_pids()
            gpu.free_bytes = 2**40
            assert await waiter == "You said: hello there"
            assert pool.state().swaps == 0

    run(main)


def test_fault_19_a_load_is_refused_by_the_name_and_bytes_of_who_holds_the_memory(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        settings = PoolSettings(BOTH, memory_wait_s=0.1)
        async with WorkerPool(models.models, settings, SharedGpu()) as pool:
            with pytest.raises(InsufficientMemory, match=r"process 4242 \(game, 3.0 GiB\)") as caught:
                await ask(pool, "a")
            assert "hotseat" not in caught.value.message
            assert caught.value.retry_after_s
            assert state_of(pool, "a").state == "failed"

    run(main)


def test_fault_20_memory_that_does_not_come_back_after_an_unload_is_an_error_and_no_load(
    models: Models,
) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        gpu = SharedGpu()
        gpu.free_bytes = 2**40
        async with WorkerPool(models.models, PoolSettings(ONE, memory_wait_s=0.1), gpu) as pool:
            assert await ask(pool, "a") == "You said: hello there"
            gpu.free_bytes = SIZE // 4  # the driver keeps what the process of a has left
            with pytest.raises(InsufficientMemory, match="the device has 16 MiB free"):
                await ask(pool, "b")
            assert not worker_pids()

    run(main)


# --- rolling back ------------------------------------------------------------------------------


def test_who_left_for_a_load_that_failed_is_back_without_being_asked(models: Models) -> None:
    models.add("a")
    models.add("broken", "[load]\nfail = 'no such tensor'")

    async def main() -> None:
        async with models.pool(budget=ONE) as pool, pool.events() as events:
            await pool.load("a")
            await next_kind(events, "ready")
            with pytest.raises(Exception, match="no such tensor"):
                await ask(pool, "broken")
            assert (await next_kind(events, "ready")).model == "a"

    run(main)
