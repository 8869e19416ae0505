"""A whole Hotseat in the test's own event loop: real pool, real worker processes with scripted engines,
uvicorn on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import openai
import psutil
import uvicorn
import uvloop
from fastapi import FastAPI

from inference.device_sampler import DeviceSampler
from inference.engines.script import read_script
from inference.gpu import DeviceMemory
from inference.model_spec import ModelSpec
from inference.pool import PoolModel, PoolSettings, WorkerPool
from proxy.app import create_app
from proxy.config import (
    Config,
    Limits,
    ModelEntry,
    ProviderConfig,
    RouteConfig,
    ServerConfig,
    load_config,
)
from proxy.connection import uvicorn_config
from proxy.inventory import survey
from proxy.operation import operation
from proxy.reload import ConfigSource

T = TypeVar("T")

PATIENCE_S = 60.0
"""No test waits so long; a hanging one ends with the name of what it waited for."""


def run(main: Coroutine[Any, Any, T], patience_s: float = PATIENCE_S) -> T:
    """On the loop that production uses."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main, patience_s))


def workers() -> list[psutil.Process]:
    """Of every server in this process."""
    return children_that_run("inference.worker")


def children_that_run(module: str) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if module in child.cmdline()]


class StillMeter:
    """A device whose memory never changes: the pool goes by its estimates."""

    def device(self) -> DeviceMemory:
        return DeviceMemory(kind="cpu", name="test", total_bytes=2**33, free_bytes=2**32)

    def process_bytes(self, pid: int) -> int | None:
        return None

    def processes(self) -> None:
        return None


@dataclass(frozen=True)
class Setup:
    """What to serve. `models`: name -> script."""

    models: Mapping[str, str] = field(default_factory=lambda: {"echo": ""})
    gguf_files: Mapping[str, Path] = field(default_factory=dict)  # name -> a model for the real engine
    limits: Limits = field(default_factory=Limits)
    budget_bytes: int = 2**40
    slots: int = 2
    n_ctx: int = 4096
    embeddings: bool = False
    embedding_models: tuple[str, ...] = ()  # or only these
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    background: tuple[str, ...] = ()
    routes: Mapping[str, RouteConfig] = field(default_factory=dict)
    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    offline: bool = False


@dataclass(frozen=True)
class Rig:
    port: int
    app: FastAPI
    pool: WorkerPool
    http: aiohttp.ClientSession
    stack: contextlib.AsyncExitStack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def openai(self) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)
        return await self.stack.enter_async_context(client)

    async def get(self, path: str) -> Any:
        async with self.http.get(self.url + path) as response:
            return await response.json()

    async def post(self, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers. `body` bytes go as they are."""
        if not isinstance(body, bytes | None):
            body = json.dumps(body).encode()
        headers = {"content-type": "application/json"} if body is not None else {}
        async with self.http.post(self.url + path, data=body, headers=headers, **kwargs) as response:
            return response.status, await response.json(), response.headers

    async def chat(self, body: Mapping[str, Any], **kwargs: Any) -> tuple[int, Any, Mapping[str, str]]:
        return await self.post("/v1/chat/completions", question() | dict(body), **kwargs)

    async def model(self, name: str) -> Any:
        state = await self.get("/api/state")
        return next(model for model in state["models"] if model["name"] == name)

    async def until(self, name: str, condition: Callable[[Any], bool]) -> Any:
        """Until the model's state satisfies `condition`. Asks again: leases and queues are not announced."""
        while True:
            model = await self.model(name)
            if condition(model):
                return model


def question(text: str = "hello", model: str = "echo") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


@contextlib.asynccontextmanager
async def serving(
    directory: Path, setup: Setup = Setup(), sampler: DeviceSampler | None = None
) -> AsyncIterator[Rig]:
    entries = {name: _entry(directory, name, setup) for name in setup.models}
    entries |= {name: _real_entry(name, path, setup) for name, path in setup.gguf_files.items()}
    config = Config(
        path=directory / "models.toml",
        server=ServerConfig(api_keys=setup.api_keys, allowed_hosts=setup.allowed_hosts, limits=setup.limits),
        models=entries,
        roles=setup.roles,
        background=setup.background,
        routes=setup.routes,
        providers=setup.providers,
        offline=setup.offline,
    )
    models = [_pool_model(entry) for entry in entries.values()]
    async with _running(config, models, setup.budget_bytes, sampler) as rig:
        yield rig


@contextlib.asynccontextmanager
async def serving_file(
    path: Path, *, budget_bytes: int = 2**40, offline: bool = False, **environ: str
) -> AsyncIterator[Rig]:
    """What the file says, reloads and preloads included, as `hotseat serve` would."""
    environ = {"HOTSEAT_HOME": str(path.parent / "home"), **environ}
    read = partial(load_config, path, environ, offline=offline)
    source = ConfigSource(read, lambda config: survey(config, StillMeter().device()))
    config = read()
    models = [found.pool_model() for found in source.survey(config)]
    async with _running(config, models, budget_bytes, source=source) as rig:
        yield rig


@contextlib.asynccontextmanager
async def _running(
    config: Config,
    models: list[PoolModel],
    budget_bytes: int,
    sampler: DeviceSampler | None = None,
    source: ConfigSource | None = None,
) -> AsyncIterator[Rig]:
    limits = config.server.limits
    settings = PoolSettings(
        budget_bytes=budget_bytes,
        max_queue_per_model=limits.max_queue_per_model,
        max_queue_total=limits.max_queue_total,
        max_wait_s=limits.max_wait_s,
        load_timeout_s=limits.load_timeout_s,
        decode_stall_s=limits.decode_stall_s,
        stop_grace_s=1.0,
    )
    meter = StillMeter()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with WorkerPool(models, settings, meter) as pool:
        started = asyncio.Event()
        started.set()
        beside = operation(config, pool, meter, source)
        app = create_app(beside, pool, meter, sampler)
        server = uvicorn.Server(uvicorn_config(app, config.server, log_level="warning"))
        serving_task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with aiohttp.ClientSession() as http, contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(beside.running(pool, started))
                yield Rig(port, app, pool, http, stack)
        finally:
            app.state.stopping.set()
            server.should_exit = True
            await serving_task


def _entry(directory: Path, name: str, setup: Setup) -> ModelEntry:
    path = directory / f"{name}.toml"
    path.write_text(setup.models[name])
    spec = ModelSpec(
        name=name,
        path=str(path),
        engine="scripted",
        n_ctx=setup.n_ctx,
        slots=setup.slots,
        embeddings=setup.embeddings or name in setup.embedding_models,
        aliases=setup.aliases.get(name, ()),
    )
    return ModelEntry(spec=spec, source=str(path))


def _real_entry(name: str, path: Path, setup: Setup) -> ModelEntry:
    spec = ModelSpec(name=name, path=str(path), n_ctx=setup.n_ctx, slots=setup.slots, threads=1)
    return ModelEntry(spec=spec, source=str(path))


def _pool_model(entry: ModelEntry) -> PoolModel:
    if entry.spec.engine != "scripted":
        return PoolModel(entry.spec, estimated_bytes=Path(entry.spec.path).stat().st_size)
    return PoolModel(entry.spec, estimated_bytes=read_script(Path(entry.spec.path)).model.memory_bytes)


async def sse_events(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The data of each event, and each comment with its colon, as they come."""
    async for line in response.content:
        text = line.decode().rstrip("\n")
        if text.startswith("data: "):
            yield text.removeprefix("data: ")
        elif text.startswith(":"):
            yield text
