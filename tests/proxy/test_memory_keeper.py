"""Dry runs in the background, and what is known of memory from one run to the next."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.buffer_sizes import Buffer
from inference.dry_run import NoDryRun
from inference.gpu import DeviceMemory
from inference.memory_records import LoadMeasured, MemoryRecord, MemoryRecords
from inference.model_spec import ModelSpec
from inference.pool import PoolSettings, WorkerPool
from proxy.config import Config, ModelEntry
from proxy.inventory import Surveyed, memory_records, survey
from proxy.memory_keeper import MemoryKeeper
from tests.inference import gguf_models
from tests.proxy.rig import StillMeter, run

HOST = DeviceMemory("cpu", "test", 2**33, 2**32)
GPU = DeviceMemory("cuda", "test", 2**33, 2**32)
BUFFERS = (Buffer("CPU", "compute", 7 * 2**20), Buffer("CUDA0", "compute", 9 * 2**20))


class Engine:
    """Makes dry runs: answers are set by model, `asked` is who was asked for."""

    def __init__(self, **answers: tuple[Buffer, ...] | NoDryRun) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.running = 0
        self.done = asyncio.Event()

    async def __call__(self, spec: ModelSpec) -> tuple[Buffer, ...] | NoDryRun:
        assert self.running == 0  # one at a time
        self.running += 1
        self.asked.append(spec.name)
        await asyncio.sleep(0)
        self.running -= 1
        if len(self.asked) == len(self.answers):
            self.done.set()
        return self.answers[spec.name]


def config_of(folder: Path, *names: str) -> Config:
    """GGUF files of two sizes; "script" is a scripted model."""
    entries = {}
    for number, name in enumerate(names):
        if name == "script":
            path = folder / "script.toml"
            path.write_text("[model]\nmemory_bytes = 1000\n")
            spec = ModelSpec(name=name, path=str(path), engine="scripted")
        else:
            model = gguf_models.llama(layers=1 + number)
            path = gguf_models.write(model, folder / f"{name}.gguf")
            spec = ModelSpec(name=name, path=str(path))
        entries[name] = ModelEntry(spec=spec, source=str(path))
    return Config(path=folder / "models.toml", models=entries, models_dir=folder / "home" / "models")


@contextlib.asynccontextmanager
async def kept(
    config: Config,
    engine: Engine,
    *,
    device: DeviceMemory = HOST,
    started: bool = True,
) -> AsyncIterator[WorkerPool]:
    """A pool and its keeper, as `serve` puts them together."""
    surveyed = survey(config, device)
    models = [found.pool_model() for found in surveyed]
    signal = asyncio.Event()
    if started:
        signal.set()
    settings = PoolSettings(2**40, measured_wins=device.kind == "cuda")
    async with WorkerPool(models, settings, StillMeter()) as pool:
        keeper = MemoryKeeper(pool, surveyed, memory_records(config), run_dry=engine)
        async with keeper.keeping(signal):
            yield pool


def found(config: Config, name: str, device: DeviceMemory = HOST) -> Surveyed:
    return next(one for one in survey(config, device) if one.entry.spec.name == name)


async def corrected(pool: WorkerPool, name: str) -> int:
    """Its dry run, once the pool has heard of it."""
    while True:
        state = next(model for model in pool.state().models if model.name == name)
        if state.dry_run_bytes is not None:
            return state.dry_run_bytes
        await asyncio.sleep(0)


def test_dry_runs_correct_the_pool_and_are_not_made_again(tmp_path: Path) -> None:
    config = config_of(tmp_path, "a", "script", "b")

    async def main() -> None:
        engine = Engine(a=BUFFERS, b=BUFFERS)
        async with kept(config, engine) as pool:
            assert pool.state().models[0].footprint_origin == "estimate"
            bytes_of_b = await corrected(pool, "b")
            assert engine.asked == ["a", "b"]
            estimate = found(config, "b").estimate
            assert estimate is not None
            expected = dataclasses.replace(estimate, compute_bytes=7 * 2**20, output_bytes=0)
            assert bytes_of_b == expected.total_bytes
            state = pool.state().models[2]
            assert (state.footprint_bytes, state.footprint_origin) == (bytes_of_b, "dry run")
        again = Engine()
        async with kept(config, again) as pool:
            assert pool.state().models[2].dry_run_bytes == bytes_of_b
            assert again.asked == []

    run(main())


def test_another_context_length_needs_a_dry_run_of_its_own(tmp_path: Path) -> None:
    config = config_of(tmp_path, "a")

    async def main() -> None:
        async with kept(config, Engine(a=BUFFERS)) as pool:
            await corrected(pool, "a")
        entry = config.models["a"]
        longer = dataclasses.replace(
            entry, spec=ModelSpec(name="a", path=entry.spec.path, n_ctx=entry.spec.n_ctx * 2)
        )
        engine = Engine(a=BUFFERS)
        async with kept(dataclasses.replace(config, models={"a": longer}), engine) as pool:
            await corrected(pool, "a")
            assert engine.asked == ["a"]

    run(main())


def test_a_reload_brings_dry_runs_of_what_is_new(tmp_path: Path) -> None:
    before, after = config_of(tmp_path, "a", "b"), config_of(tmp_path, "a", "b", "c")
    longer = dataclasses.replace(
        after.models["b"], spec=ModelSpec(name="b", path=after.models["b"].spec.path, n_ctx=777)
    )
    after = dataclasses.replace(after, models={**after.models, "b": longer})

    async def main() -> None:
        engine = Engine(a=BUFFERS, b=BUFFERS, c=BUFFERS)
        surveyed = survey(before, HOST)
        async with WorkerPool(
            [one.pool_model() for one in surveyed], PoolSettings(2**40), StillMeter()
        ) as pool:
            keeper = MemoryKeeper(pool, surveyed, memory_records(before), run_dry=engine)
            started = asyncio.Event()
            started.set()
            async with keeper.keeping(started):
                short = await corrected(pool, "b")
                surveyed = survey(after, HOST)
                await pool.reconfigure([one.pool_model() for one in surveyed])
                keeper.adopt(surveyed)
                await corrected(pool, "c")
                assert engine.asked == ["a", "b", "b", "c"]
                assert await corrected(pool, "b") < short  # of another context length now
        assert found(after, "b").record.buffers == BUFFERS

    run(main())


def test_none_is_made_before_the_server_answers(tmp_path: Path) -> None:
    config = config_of(tmp_path, "a")

    async def main() -> None:
        engine = Engine(a=BUFFERS)
        async with kept(config, engine, started=False):
            for _ in range(10):
                await asyncio.sleep(0)
        assert engine.asked == []

    run(main())


@pytest.mark.parametrize(
    ("device", "answer", "why"),
    [
        (HOST, NoDryRun("GGML_ASSERT(x) failed"), "GGML_ASSERT(x) failed"),
        (GPU, (Buffer("CPU", "compute", 7),), "offloads nothing"),
    ],
)
def test_without_a_dry_run_the_estimate_stands_and_it_is_tried_again(
    tmp_path: Path,
    device: DeviceMemory,
    answer: tuple[Buffer, ...] | NoDryRun,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    config = config_of(tmp_path, "a", "b")

    async def main() -> None:
        engine = Engine(a=answer, b=BUFFERS)
        async with kept(config, engine, device=device) as pool:
            await corrected(pool, "b")
            state = pool.state().models[0]
            assert (state.dry_run_bytes, state.footprint_origin) == (None, "estimate")
            assert why in (state.dry_run_error or "")
        again = Engine(a=BUFFERS)
        async with kept(config, again, device=device) as pool:
            await corrected(pool, "a")
            assert again.asked == ["a"]
            assert pool.state().models[0].dry_run_error is None

    run(main())
    assert f"no dry run of 'a', its estimate stands: {why}" in caplog.text.replace("this engine build ", "")


def test_on_a_gpu_its_own_buffers_count(tmp_path: Path) -> None:
    config = config_of(tmp_path, "a")
    one = found(config, "a", GPU)
    assert one.estimate is not None
    expected = dataclasses.replace(one.estimate, compute_bytes=9 * 2**20)
    assert one.bytes_by(BUFFERS) == expected.total_bytes


def test_what_a_load_took_is_known_to_the_next_run(tmp_path: Path) -> None:
    config = config_of(tmp_path, "script")

    async def main() -> None:
        async with kept(config, Engine()) as pool:
            await pool.load("script")
            await pool.unload("script")
            await pool.load("script")
            last = pool.state().models[0]
        record = found(config, "script").record
        first, second = record.loads
        assert first.at_s < second.at_s
        assert (second.n_bytes, second.at_s) == (last.measured_bytes, last.measured_at_s)
        assert (record.model, record.device) == ("script", "host")
        async with kept(config, Engine()) as pool:
            state = pool.state().models[0]
            assert state.measured_bytes == record.measured_bytes
            assert state.measured_at_s is None
        assert found(config, "script").record == record  # nothing was loaded: nothing new

    run(main())


class SlowDisk(MemoryRecords):
    """Writes when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, warn=lambda text: None)
        self.may_write = threading.Event()
        self.is_asked = threading.Event()
        self.written: list[str] = []

    def write(self, key: str, record: MemoryRecord) -> None:
        self.is_asked.set()
        assert self.may_write.wait(60.0)
        self.written.append(record.model)


def test_the_end_waits_for_what_is_being_written(tmp_path: Path) -> None:
    config = config_of(tmp_path, "a")

    async def main() -> None:
        surveyed = survey(config, HOST)
        disk = SlowDisk(tmp_path)
        answering = asyncio.Event()
        answering.set()
        async with WorkerPool([surveyed[0].pool_model()], PoolSettings(2**40), StillMeter()) as pool:
            keeper = MemoryKeeper(pool, surveyed, disk, run_dry=Engine(a=BUFFERS))

            async def keep() -> None:
                async with keeper.keeping(answering):
                    await asyncio.to_thread(disk.is_asked.wait, 60.0)

            keeping = asyncio.create_task(keep())
            await asyncio.wait({keeping}, timeout=0.2)
            assert not keeping.done()
            disk.may_write.set()
            await keeping
            assert disk.written == ["a"]

    run(main())


def test_a_disk_that_takes_nothing_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(tmp_path, "a", "script")
    (tmp_path / "home").write_text("")

    async def main() -> None:
        async with kept(config, Engine(a=BUFFERS)) as pool:
            await corrected(pool, "a")
            await pool.load("script")

    run(main())
    assert caplog.text.count("cannot be recorded") == 1


def test_a_file_that_is_replaced_is_another_model(tmp_path: Path) -> None:
    config = config_of(tmp_path, "a")
    key = found(config, "a").key
    gguf_models.write(gguf_models.llama(layers=3), tmp_path / "a.gguf")
    assert key != found(config, "a").key


def test_records_of_a_script_have_no_dry_run(tmp_path: Path) -> None:
    config = config_of(tmp_path, "script")
    one = found(config, "script")
    records: MemoryRecords = memory_records(config)
    assert one.key is not None
    record = dataclasses.replace(one, record=one.record.with_load(LoadMeasured(7, 1.0))).record
    records.write(one.key, record)
    assert found(config, "script").footprint.n_bytes == 1000  # a host's measurement only raises
    assert found(config, "script").record.measured_bytes == 7
