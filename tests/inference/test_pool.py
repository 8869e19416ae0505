"""WorkerPool with real worker processes and the scripted engine."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from inference.chat import EmbeddingRequest, Finish, TextDelta
from inference.errors import (
    EngineFault,
    HotseatError,
    InsufficientMemory,
    InvalidModelFile,
    LoadFailed,
    Overloaded,
    ShuttingDown,
    UnknownModel,
    Unloaded,
    WorkerCrashed,
    WorkerStalled,
)
from inference.gpu import DeviceMemory
from inference.model_spec import ModelSpec
from inference.pool import PoolEvent, PoolModel, PoolSettings, WorkerPool
from inference.pool_state import EVENT_BUFFER, Subscriber
from tests.inference.pooling import (
    BOTH,
    MIB,
    ONE,
    SIZE,
    TIMEOUT_S,
    Meter,
    Models,
    NoGpu,
    ask,
    chat,
    exhaust,
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


# --- answering ---------------------------------------------------------------------------------


@pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
def test_a_lease_loads_the_model_and_answers(models: Models, uv: bool) -> None:
    models.add("a", "[load]\nseconds = 0.05")

    async def main() -> None:
        async with models.pool() as pool:
            assert state_of(pool, "a").state == "unloaded"
            async with pool.lease("a") as lease:
                events = [event async for event in lease.generate(chat())]
                assert text_of(events) == "You said: hello there"
                assert isinstance(events[-1], Finish)
                assert lease.load_s >= 0.05
                assert 0.0 <= lease.queue_s < lease.load_s
                assert state_of(pool, "a").leases == 1
            state = state_of(pool, "a")
            assert (state.state, state.leases, state.error) == ("ready", 0, None)
            assert state.facts is not None
            assert state.facts.architecture == "scripted"
            async with pool.lease("a") as lease:
                assert lease.load_s == 0.0

    run(main, uv=uv)


def test_embeddings(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool() as pool, pool.lease("a") as lease:
            embeddings = await lease.embed(EmbeddingRequest(model="a", inputs=("x", "y", "z")))
            assert len(embeddings.vectors) == 3

    run(main)


def test_eight_streams_each_get_their_own_answer(models: Models) -> None:
    models.add("a", slots=4)

    async def main() -> None:
        async with models.pool() as pool:
            answers = await asyncio.gather(*(ask(pool, "a", f"number {i}") for i in range(8)))
            assert answers == [f"You said: number {i}" for i in range(8)]

    run(main)


def test_what_the_model_refuses_is_raised_and_the_lease_lives(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool() as pool, pool.lease("a") as lease:
            with pytest.raises(HotseatError, match="n_ctx") as caught:
                await exhaust(lease.generate(chat("word " * 10000)))
            assert caught.value.code == "context_length_exceeded"
            assert text_of([e async for e in lease.generate(chat())]) == "You said: hello there"

    run(main)


def test_unknown_and_unavailable_models_start_nothing(models: Models) -> None:
    spec = ModelSpec(name="gone", path="/nowhere", engine="scripted")
    models.models.append(PoolModel(spec, SIZE, InvalidModelFile("the file is missing: download it")))

    async def main() -> None:
        async with models.pool() as pool:
            with pytest.raises(UnknownModel):
                await ask(pool, "nobody")
            with pytest.raises(InvalidModelFile, match="download it"):
                await ask(pool, "gone")
            assert state_of(pool, "gone").error == "the file is missing: download it"
            assert not worker_pids()

    run(main)


# --- swapping ----------------------------------------------------------------------------------


def test_room_for_one_swaps_and_counts(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool(budget=ONE) as pool:
            for expected_swaps, name in enumerate("abab"):
                assert await ask(pool, name) == "You said: hello there"
                assert pool.state().swaps == expected_swaps
                assert [m.name for m in pool.state().models if m.state == "ready"] == [name]
                assert len(worker_pids()) == 1

    run(main)


def test_room_for_both_never_swaps(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool(budget=BOTH) as pool:
            await asyncio.gather(*(ask(pool, name) for name in "abab"))
            assert pool.state().swaps == 0
            assert [m.state for m in pool.state().models] == ["ready", "ready"]

    run(main)


def test_fault_23_a_stream_is_drained_before_its_model_is_evicted(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        settings = PoolSettings(ONE, max_wait_s=0.0)
        async with models.pool(settings) as pool, pool.events() as events:
            async with pool.lease("a") as lease:
                stream = await started(lease, "hello there")
                other = asyncio.create_task(ask(pool, "b"))
                await asyncio.sleep(0)
                assert state_of(pool, "a").state == "unloading"
                assert state_of(pool, "b").queued == 1
                assert isinstance([event async for event in stream][-1], Finish)
                assert not other.done()
            assert await other == "You said: hello there"
            kinds = [
                (await next_kind(events, kind)).model
                for kind in ("loading", "ready", "unloading", "unloaded", "loading", "ready")
            ]
            assert kinds == ["a", "a", "a", "a", "b", "b"]

    run(main)


def test_traffic_on_one_model_ages_until_the_timer_lets_the_other_in(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool(PoolSettings(ONE, max_wait_s=0.2)) as pool:
            is_over = False

            async def hammer() -> None:
                while not is_over:
                    await ask(pool, "a")

            await ask(pool, "a")
            clients = [asyncio.create_task(hammer()) for _ in range(3)]
            await asyncio.sleep(0)
            async with pool.lease("b") as lease:
                assert lease.queue_s >= 0.15
            is_over = True
            await asyncio.gather(*clients)

    run(main)


def test_a_waiter_comes_of_age_although_nothing_happens(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool(PoolSettings(ONE, max_wait_s=0.05)) as pool:
            async with pool.lease("a"):
                other = asyncio.create_task(ask(pool, "b"))
                await asyncio.sleep(0)
                assert state_of(pool, "a").state == "ready"
                while state_of(pool, "a").state == "ready":  # noqa: ASYNC110 - nobody is told; the state changes
                    await asyncio.sleep(0)
            await other

    run(main)


def test_a_model_too_large_is_refused_and_nobody_leaves(models: Models) -> None:
    models.add("a")
    models.add("big")
    models.models[1] = PoolModel(models.models[1].spec, 10 * BOTH)

    async def main() -> None:
        async with models.pool() as pool:
            await ask(pool, "a")
            with pytest.raises(InsufficientMemory, match="budget is 200 MiB"):
                await ask(pool, "big")
            assert state_of(pool, "a").state == "ready"

    run(main)


# --- measuring ---------------------------------------------------------------------------------


def test_without_a_gpu_the_worker_measures_what_the_load_took(models: Models) -> None:
    models.add("a", f"[load]\nallocate_bytes = {32 * MIB}")

    async def main() -> None:
        async with models.pool() as pool:
            await pool.load("a")
            measured = state_of(pool, "a").measured_bytes
            assert measured is not None
            assert 32 * MIB <= measured < 48 * MIB

    run(main)


class LateMeter(NoGpu):
    """Looks at a process as late as a busy server would: what is there by then counts as its beginning."""

    def process_bytes(self, pid: int) -> int:
        process = psutil.Process(pid)
        now_s = time.monotonic()
        until_s, at_first = now_s + 0.3, process.memory_info().rss
        while now_s < until_s and process.memory_info().rss < at_first + 32 * MIB:
            now_s = time.monotonic()
        return int(process.memory_info().rss)


def test_a_load_begins_after_its_process_was_measured(models: Models) -> None:
    models.add("a", f"[load]\nallocate_bytes = {32 * MIB}")

    async def main() -> None:
        async with WorkerPool(models.models, PoolSettings(BOTH), LateMeter()) as pool:
            await pool.load("a")
            measured = state_of(pool, "a").measured_bytes
            assert measured is not None
            assert measured >= 32 * MIB

    run(main)


@pytest.mark.parametrize(("at_hello", "at_ready", "measured"), [(10, 70, 60), (None, 70, 70), (10, 5, 0)])
def test_the_meter_is_asked_at_hello_and_at_ready(
    models: Models, at_hello: int | None, at_ready: int, measured: int
) -> None:
    models.add("a")

    async def main() -> None:
        meter = Meter(at_hello, at_ready)
        async with WorkerPool(models.models, PoolSettings(BOTH), meter) as pool:
            await pool.load("a")
            assert state_of(pool, "a").measured_bytes == measured
            assert meter.pids == set(worker_pids())

    run(main)


class Container:
    """A GPU whose driver knows processes by other numbers."""

    def __init__(self, *free_bytes: int) -> None:
        self.free_bytes = list(free_bytes)

    def device(self) -> DeviceMemory:
        return DeviceMemory(kind="cuda", name="test", total_bytes=2**40, free_bytes=self.free_bytes.pop(0))

    def process_bytes(self, pid: int) -> int | None:
        return None

    def processes(self) -> None:
        return None


def test_on_a_gpu_that_does_not_know_the_process_the_device_is_measured(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async with WorkerPool(
            models.models, PoolSettings(BOTH), Container(SIZE + 650, SIZE + 650, SIZE + 400)
        ) as pool:
            await pool.load("a")
            assert state_of(pool, "a").measured_bytes == 250

    run(main)


@pytest.mark.parametrize(("free_after", "measured"), [(650, 250), (899, None)])
def test_on_a_gpu_less_than_the_weights_is_no_measurement(
    models: Models, free_after: int, measured: int | None
) -> None:
    """Somebody else freed memory during the load."""
    models.add("a")
    models.models[0] = PoolModel(models.models[0].spec, 300, least_bytes=200)

    async def main() -> None:
        settings = PoolSettings(BOTH, measured_wins=True)
        async with WorkerPool(models.models, settings, Container(900, 900, free_after)) as pool:
            await pool.load("a")
            state = state_of(pool, "a")
            assert state.measured_bytes == measured
            assert state.footprint_bytes == (measured or 300)
            assert state.footprint_origin == ("measured" if measured else "estimate")

    run(main)


def test_each_number_is_shown_with_its_origin(models: Models) -> None:
    models.add("a")
    models.models[0] = PoolModel(models.models[0].spec, SIZE, dry_run_bytes=SIZE - 5, measured_bytes=SIZE + 5)

    async def main() -> None:
        async with WorkerPool(models.models, PoolSettings(BOTH), Meter(10, 70)) as pool:
            state = state_of(pool, "a")
            assert (state.estimated_bytes, state.dry_run_bytes) == (SIZE, SIZE - 5)
            assert (state.measured_bytes, state.measured_at_s) == (SIZE + 5, None)
            assert (state.footprint_bytes, state.footprint_origin) == (SIZE + 5, "measured")
            pool.note_failed_dry_run("a", "no tensor")
            assert state_of(pool, "a").dry_run_error == "no tensor"
            pool.correct("a", SIZE - 7)
            assert state_of(pool, "a").dry_run_error is None
            await pool.load("a")
            state = state_of(pool, "a")
            assert (state.measured_bytes, state.measured_at_s is not None) == (60, True)
            assert (state.footprint_bytes, state.footprint_origin) == (SIZE - 7, "dry run")

    run(main)


def test_growth_after_the_load_is_taken_into_account(models: Models) -> None:
    models.add("a")
    spec = models.models[0].spec
    roomy = ModelSpec(name="a", path=spec.path, engine="scripted", n_ctx=4_000_000)
    models.models[0] = PoolModel(roomy, SIZE)

    async def main() -> None:
        async with models.pool() as pool:
            await pool.load("a")
            before = state_of(pool, "a").measured_bytes
            await ask(pool, "a", "".join(f"{i} " for i in range(1_500_000)))
            await ask(pool, "a")  # its answer comes after the report
            after = state_of(pool, "a").measured_bytes
            assert before is not None
            assert after is not None
            assert after >= before + 16 * MIB

    run(main)


# --- going away --------------------------------------------------------------------------------


def test_a_stream_closed_midway_frees_its_slot(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool, pool.lease("a") as lease:
            stream = await started(lease, "stall")
            await stream.aclose()
            assert text_of([e async for e in lease.generate(chat())]) == "You said: hello there"

    run(main)


def test_a_client_cancelled_midway_frees_lease_and_slot(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool:
            speaking = asyncio.Event()

            async def client() -> None:
                async with pool.lease("a") as lease:
                    async for event in lease.generate(chat("stall")):
                        if isinstance(event, TextDelta):
                            speaking.set()

            task = asyncio.create_task(client())
            await speaking.wait()
            task.cancel()
            assert await ask(pool, "a") == "You said: hello there"
            assert state_of(pool, "a").leases == 0

    run(main)


def test_a_stream_that_was_not_closed_ends_with_its_lease(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool:
            async with pool.lease("a") as lease:
                stream = await started(lease, "stall")
            assert await ask(pool, "a") == "You said: hello there"
            with pytest.raises(HotseatError, match="lease ended"):
                await exhaust(stream)
            with pytest.raises(RuntimeError, match="lease is over"):
                await anext(lease.generate(chat()))

    run(main)


def test_a_client_gone_while_queued_leaves_the_queue(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool:
            async with pool.lease("a"):
                gone, patient = (asyncio.create_task(ask(pool, "a")) for _ in range(2))
                await asyncio.sleep(0)
                assert state_of(pool, "a").queued == 2
                gone.cancel()
                await asyncio.wait([gone])
                assert state_of(pool, "a").queued == 1
            assert await patient == "You said: hello there"

    run(main)


def test_a_client_gone_at_the_moment_of_its_grant_gives_the_lease_back(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool:
            async with pool.lease("a"):
                gone = asyncio.create_task(ask(pool, "a"))
                await asyncio.sleep(0)
            gone.cancel()  # granted by the line above, and not yet resumed
            await asyncio.wait([gone])
            assert gone.cancelled()
            assert state_of(pool, "a").leases == 0
            assert await ask(pool, "a") == "You said: hello there"

    run(main)


def test_a_load_outlives_the_client_that_asked_for_it(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool() as pool, pool.events() as events:
            client = asyncio.create_task(ask(pool, "a"))
            await next_kind(events, "loading")
            client.cancel()
            await next_kind(events, "ready")
            assert state_of(pool, "a").state == "ready"

    run(main)


def test_a_full_queue_refuses_at_once(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool(PoolSettings(BOTH, max_queue_per_model=1)) as pool:
            async with pool.lease("a"):
                patient = asyncio.create_task(ask(pool, "a"))
                await asyncio.sleep(0)
                with pytest.raises(Overloaded) as caught:
                    await ask(pool, "a")
                assert caught.value.retry_after_s == 1.0
            await patient

    run(main)


# --- dying -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "sign"), [("die", "SIGKILL"), ("abort", "SIGABRT")])
def test_a_worker_that_dies_midway_is_told_and_restarted(models: Models, word: str, sign: str) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool() as pool, pool.events() as events:
            async with pool.lease("a") as lease:
                bystander = await started(lease, "stall")
                stream = await started(lease, word)
                for told in (stream, bystander):
                    with pytest.raises(WorkerCrashed, match=sign):
                        await exhaust(told)
                with pytest.raises(WorkerCrashed, match=sign):
                    await anext(lease.generate(chat()))
            assert state_of(pool, "a").state == "failed"
            assert sign in (state_of(pool, "a").error or "")
            assert sign in (await next_kind(events, "crashed")).detail
            assert await ask(pool, "a") == "You said: hello there"
            assert state_of(pool, "a").error is None

    run(main)


def test_a_worker_killed_from_outside_is_restarted_for_those_who_wait(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool:
            async with pool.lease("a") as lease:
                stream = await started(lease, "stall")
                patient = asyncio.create_task(ask(pool, "a"))
                await asyncio.sleep(0)
                (pid,) = worker_pids()
                os.kill(pid, signal.SIGKILL)
                with pytest.raises(WorkerCrashed, match="SIGKILL"):
                    await exhaust(stream)
            assert await patient == "You said: hello there"
            assert worker_pids() != [pid]

    run(main)


def test_an_engine_fault_is_told_as_such_and_ends_the_worker(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool() as pool, pool.events() as events:
            with pytest.raises(EngineFault, match="the device is lost"):
                await ask(pool, "a", "break")
            crashed = await next_kind(events, "crashed")
            assert "the device is lost" in crashed.detail
            assert any("Traceback" in line for line in pool.log_tail("a"))
            assert await ask(pool, "a") == "You said: hello there"

    run(main)


def test_a_failed_load_tells_every_waiter_the_cause_and_the_next_request_tries_again(models: Models) -> None:
    models.add(
        "a",
        "[load]\nstderr = 'ggml: cannot allocate 9 GiB'\nfail = 'the engine refused it'\nonce_file = 'once'",
    )

    async def main() -> None:
        async with models.pool() as pool:
            results = await asyncio.gather(*(ask(pool, "a") for _ in range(3)), return_exceptions=True)
            for result in results:
                assert isinstance(result, LoadFailed)
                assert "the engine refused it" in result.message
                assert "ggml: cannot allocate 9 GiB" in result.message
            assert state_of(pool, "a").state == "failed"
            assert "ggml: cannot allocate 9 GiB" in (state_of(pool, "a").error or "")
            assert pool.log_tail("a") == ["ggml: cannot allocate 9 GiB"]
            assert await ask(pool, "a") == "You said: hello there"

    run(main)


@pytest.mark.parametrize(("fault", "sign"), [("kill", "SIGKILL"), ("abort", "SIGABRT")])
def test_a_worker_that_dies_loading_is_told_by_signal_and_last_words(
    models: Models, fault: str, sign: str
) -> None:
    models.add("a", f"[load]\nfault = '{fault}'\nstderr = 'ggml_assert failed: ne0 == 4'")

    async def main() -> None:
        async with models.pool() as pool:
            with pytest.raises(LoadFailed, match=sign) as caught:
                await pool.load("a")
            assert "ggml_assert failed: ne0 == 4" in caught.value.message
            assert state_of(pool, "a").state == "failed"

    run(main)


def test_a_load_without_progress_is_ended(models: Models) -> None:
    models.add("a", "[load]\nfault = 'hang'")

    async def main() -> None:
        async with models.pool(PoolSettings(BOTH, load_timeout_s=0.5)) as pool:
            with pytest.raises(WorkerStalled, match="no progress"):
                await pool.load("a")
            assert not worker_pids()

    run(main)


def test_a_load_with_progress_may_take_longer_than_the_timeout(models: Models) -> None:
    models.add("a", "[load]\nseconds = 1.2\nprogress_steps = 12")

    async def main() -> None:
        async with models.pool(PoolSettings(BOTH, load_timeout_s=0.8)) as pool:
            await pool.load("a")

    run(main)


def test_a_worker_that_cannot_be_started_is_a_failed_load(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool() as pool:
            monkeypatch.setattr(sys, "executable", "/nowhere/python")
            with pytest.raises(LoadFailed, match="cannot be started"):
                await pool.load("a")
            monkeypatch.undo()
            await pool.load("a")

    run(main)


FAKE = """#!{python}
import os, subprocess, sys, time
fd = int(sys.argv[-3])
{act}
"""
NONSENSE = r"os.write(fd, b'\x04\0\0\0GET '); time.sleep(1000)"
DEAF = "os.close(fd); time.sleep(1000)"
SURVIVED = """child = subprocess.Popen(["sleep", "1000"], start_new_session=True, pass_fds=[fd])
os.write(2, b"left behind: %d" % child.pid)
"""


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (NONSENSE, "cannot be understood"),
        (DEAF, "closed its connection"),
        (SURVIVED, "exit code 0 while loading"),
    ],
    ids=["nonsense", "deaf", "survived by a grandchild that holds socket and stderr"],
)
def test_a_worker_that_misbehaves_is_ended(
    models: Models, monkeypatch: pytest.MonkeyPatch, act: str, cause: str
) -> None:
    models.add("a")
    fake = models.folder / "fake"
    fake.write_text(FAKE.format(python=sys.executable, act=act))
    fake.chmod(0o700)

    async def main() -> None:
        async with models.pool() as pool:
            monkeypatch.setattr(sys, "executable", str(fake))
            with pytest.raises(HotseatError, match=cause):
                await pool.load("a")
            monkeypatch.undo()
            for line in pool.log_tail("a"):
                os.kill(int(line.removeprefix("left behind: ")), signal.SIGKILL)
            assert not worker_pids()

    run(main)


# --- by request --------------------------------------------------------------------------------


def test_load_and_unload_by_request(models: Models) -> None:
    models.add("a")
    models.add("b")

    async def main() -> None:
        async with models.pool(PoolSettings(BOTH, stop_grace_s=10 * TIMEOUT_S)) as pool:
            await asyncio.gather(pool.load("a"), pool.load("a"), pool.load("b"))
            assert len(worker_pids()) == 2
            await pool.unload("a")
            assert [m.state for m in pool.state().models] == ["unloaded", "ready"]
            await pool.unload_all()
            assert not worker_pids()
            await pool.unload("a")
            with pytest.raises(UnknownModel):
                await pool.unload("nobody")

    run(main)


def test_unload_drains_streams_and_sends_waiters_away(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool:
            async with pool.lease("a") as lease:
                stream = await started(lease, "hello there")
                waiter = asyncio.create_task(ask(pool, "a"))
                await asyncio.sleep(0)
                unload = asyncio.create_task(pool.unload("a"))
                with pytest.raises(Unloaded):
                    await waiter
                assert isinstance([event async for event in stream][-1], Finish)
                assert not unload.done()
            await unload
            assert state_of(pool, "a").state == "unloaded"

    run(main)


def test_unload_ends_a_hung_load(models: Models) -> None:
    models.add("a", "[load]\nfault = 'hang'\nseconds = 0.2\nprogress_steps = 2")

    async def main() -> None:
        async with models.pool() as pool, pool.events() as events:
            waiter = asyncio.create_task(ask(pool, "a"))
            await next_kind(events, "progress")
            assert (state_of(pool, "a").state, state_of(pool, "a").progress) == ("loading", 0.5)
            await pool.unload("a")
            with pytest.raises(Unloaded):
                await waiter

    run(main)


# --- closing -----------------------------------------------------------------------------------


def test_drain_waits_for_streams_and_lets_nobody_in(models: Models) -> None:
    models.add("a", slots=1)

    async def main() -> None:
        async with models.pool() as pool:
            async with pool.lease("a") as lease:
                stream = await started(lease, "hello there")
                waiter = asyncio.create_task(ask(pool, "a"))
                await asyncio.sleep(0)
                drained = asyncio.create_task(pool.drain(20.0))
                with pytest.raises(ShuttingDown):
                    await waiter
                with pytest.raises(ShuttingDown):
                    await ask(pool, "a")
                assert isinstance([event async for event in stream][-1], Finish)
                assert not drained.done()
            await drained

    run(main)


def test_drain_gives_up_in_time(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async with models.pool() as pool, pool.lease("a"):
            await pool.drain(0.05)
            assert state_of(pool, "a").leases == 1

    run(main)


@pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
def test_leaving_the_pool_ends_streams_waiters_and_hung_workers(models: Models, uv: bool) -> None:
    models.add("a")
    models.add("hung", "[load]\nfault = 'hang'\nseconds = 0.2\nprogress_steps = 2")

    async def main() -> None:
        async def stalled() -> None:
            async with pool.lease("a") as lease:
                await started(lease, "hang")
                speaking.set()
                await exhaust(lease.generate(chat("stall")))

        speaking = asyncio.Event()
        pool = models.pool(PoolSettings(BOTH, stop_grace_s=0.2))
        async with pool.events() as events:
            async with pool:
                stream = asyncio.create_task(stalled())
                await speaking.wait()
                waiter = asyncio.create_task(pool.load("hung"))
                await next_kind(events, "progress")
            assert not worker_pids()
            assert [event.kind async for event in events][-1] == "unloaded", "and then the news end"
        for task in (stream, waiter):
            with pytest.raises(ShuttingDown):
                await task

    run(main, uv=uv)


def test_an_error_inside_the_pool_ends_its_workers_too(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async def owner() -> None:
            async with models.pool() as pool:
                await pool.load("a")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await owner()
        assert not worker_pids()

    run(main)


def test_cancelling_the_pool_while_it_closes_kills_what_is_left(models: Models) -> None:
    models.add("a")

    async def main() -> None:
        async def owner() -> None:
            async with models.pool(PoolSettings(BOTH, stop_grace_s=20.0)) as pool, pool.lease("a") as lease:
                await started(lease, "hang")
                speaking.set()

        speaking = asyncio.Event()
        task = asyncio.create_task(owner())
        await speaking.wait()
        task.cancel()  # the worker hangs, and would be given 20 s of grace
        await asyncio.wait([task], timeout=5.0)
        assert task.cancelled()
        assert not worker_pids()

    run(main)


PARENT = """
import asyncio, sys
from inference.gpu import DeviceMemory
from inference.model_spec import ModelSpec
from inference.pool import PoolModel, PoolSettings, WorkerPool

class NoGpu:
    def device(self):
        return DeviceMemory(kind="cpu", name="test", total_bytes=1, free_bytes=1)
    def process_bytes(self, pid):
        return None

async def main():
    specs = [ModelSpec(name=path, path=path, engine="scripted") for path in sys.argv[1:]]
    pool = WorkerPool([PoolModel(spec, 1) for spec in specs], PoolSettings(2**30), NoGpu())
    async with pool, pool.events() as events:
        await pool.load(specs[0].name)
        hung = asyncio.create_task(pool.load(specs[1].name))
        async for event in events:
            if event.kind == "progress" and event.model == specs[1].name:
                print("here", flush=True)

asyncio.run(main())
"""


def test_workers_die_with_their_parent_even_if_it_is_killed(models: Models) -> None:
    models.add("a")
    models.add("hung", "[load]\nfault = 'hang'\nseconds = 0.2\nprogress_steps = 2")
    paths = [model.spec.path for model in models.models]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *paths], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "here\n"
        workers = [os.pidfd_open(child.pid) for child in psutil.Process(parent.pid).children()]
        assert len(workers) == 2
        parent.kill()
    for pidfd in workers:
        ended, _, _ = select.select([pidfd], [], [], 10.0)
        os.close(pidfd)
        assert ended, "an orphan"


# --- news --------------------------------------------------------------------------------------


def test_a_slow_subscriber_is_told_what_it_missed() -> None:
    async def main() -> None:
        subscriber = Subscriber()
        for number in range(EVENT_BUFFER + 3):
            subscriber.push(PoolEvent("progress", "a", 0.0, str(number)))
        subscriber.close()
        events = [event async for event in subscriber.read()]
        assert (events[0].kind, events[0].detail) == ("missed", "3 events")
        assert [event.detail for event in events[1:]] == [str(n) for n in range(3, EVENT_BUFFER + 3)]

    run(main)


def test_a_failed_load_is_news(models: Models) -> None:
    models.add("a", "[load]\nfail = 'no such tensor'")

    async def main() -> None:
        async with models.pool() as pool, pool.events() as events:
            with pytest.raises(LoadFailed):
                await pool.load("a")
            assert "no such tensor" in (await next_kind(events, "failed")).detail

    run(main)
