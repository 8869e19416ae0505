"""Pools of real worker processes with the scripted engine, and what their tests say of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from pathlib import Path

import psutil
import uvloop

from inference.chat import ChatRequest, Message, TextDelta
from inference.gpu import DeviceMemory
from inference.messages import GenerateEvent
from inference.model_spec import ModelSpec
from inference.pool import Lease, ModelState, PoolEvent, PoolModel, PoolSettings, WorkerPool

MIB = 2**20
SIZE = 64 * MIB
ONE = 100 * MIB
BOTH = 200 * MIB
TIMEOUT_S = 30.0

SCRIPT = """
[[turn]]
match.user_contains = "stall"
text = "one two three four"
fault = { kind = "stall", after_chunks = 2 }

[[turn]]
match.user_contains = "die"
text = "one two three four"
fault = { kind = "kill", after_chunks = 2 }

[[turn]]
match.user_contains = "abort"
text = "one two three four"
fault = { kind = "abort", after_chunks = 2 }

[[turn]]
match.user_contains = "break"
text = "one two three four"
fault = { kind = "engine_fault", after_chunks = 2, message = "the device is lost" }

[[turn]]
match.user_contains = "hang"
text = "one two three four"
fault = { kind = "hang", after_chunks = 2 }
"""


class NoGpu:
    """A meter that leaves measuring to the workers."""

    def device(self) -> DeviceMemory:
        return DeviceMemory(kind="cpu", name="test", total_bytes=2**34, free_bytes=2**34)

    def process_bytes(self, pid: int) -> int | None:
        return None

    def processes(self) -> None:
        return None


class Meter(NoGpu):
    """Says what it is told to say, call by call."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.pids: set[int] = set()

    def process_bytes(self, pid: int) -> int | None:
        self.pids.add(pid)
        return self.answers.pop(0)


def open_files() -> set[str]:
    links = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.add(f"{entry.name} {os.readlink(entry)}")
    return {link for link in links if "/proc/" not in link}


def run(main: Callable[[], Coroutine[None, None, None]], *, uv: bool = False) -> None:
    """Run to the end; afterwards no process, no file and no task is left."""

    async def bounded() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    if uv:
        uvloop.new_event_loop().close()  # the first one opens a pipe for the whole process
    files = open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uv else None) as runner:
        runner.run(bounded())
    assert not psutil.Process().children(recursive=True)
    assert open_files() == files


class Models:
    """Scripts on disk, and pools made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: list[PoolModel] = []

    def add(self, name: str, script: str = SCRIPT, *, slots: int = 2, pinned: bool = False) -> None:
        path = self.folder / f"{name}.toml"
        path.write_text(script)
        spec = ModelSpec(name=name, path=str(path), engine="scripted", slots=slots, pinned=pinned)
        self.models.append(PoolModel(spec, SIZE))

    def pool(self, settings: PoolSettings | None = None, *, budget: int = BOTH) -> WorkerPool:
        return WorkerPool(self.models, settings or PoolSettings(budget, stop_grace_s=2.0), NoGpu())


def chat(text: str = "hello there") -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role="user", content=text),))


def text_of(events: list[GenerateEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def ask(pool: WorkerPool, model: str, text: str = "hello there") -> str:
    async with pool.lease(model) as lease:
        return text_of([event async for event in lease.generate(chat(text))])


async def started(lease: Lease, text: str) -> AsyncGenerator[GenerateEvent, None]:
    """A stream that has said something."""
    stream = lease.generate(chat(text))
    async for event in stream:
        if isinstance(event, TextDelta):
            return stream
    raise AssertionError("the stream ended")


async def exhaust(stream: AsyncGenerator[GenerateEvent, None]) -> None:
    async for _ in stream:
        pass


def state_of(pool: WorkerPool, name: str) -> ModelState:
    return next(model for model in pool.state().models if model.name == name)


def worker_pids() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


async def next_kind(events: AsyncIterator[PoolEvent], *kinds: str) -> PoolEvent:
    async for event in events:
        if event.kind in kinds:
            return event
    raise AssertionError("the events ended")
