"""Two models and a server with room for one of them: scripted, or the two demo models."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import click

from benchkit.peers import demo_model
from benchkit.servers import hotseat

SCRIPTED_BYTES = 100_000_000
SCRIPTED_BUDGET = 150_000_000
REAL_BUDGET = 400_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """Of both scripted models."""

    load_s: float = 0.0
    first_token_s: float = 0.0
    tokens: int = 1
    tokens_per_s: float | None = None

    def script(self) -> str:
        rate = f"tokens_per_second = {self.tokens_per_s}\n" if self.tokens_per_s else ""
        return (
            f"[model]\nmemory_bytes = {SCRIPTED_BYTES}\n[load]\nseconds = {self.load_s}\n"
            f"[defaults]\nfirst_token_s = {self.first_token_s}\n{rate}"
            f'[[turn]]\ntext = "word "\nrepeat = {self.tokens}\n'
        )


@dataclass(frozen=True, slots=True)
class Settings:
    slots: int = 1
    max_wait_s: float = 10.0
    max_queue: int = 64


Serving = Callable[[Settings], AbstractAsyncContextManager[str]]
"""Starts a server with the models a and b; yields its URL."""


def limits(settings: Settings) -> str:
    return (
        f"[server.limits]\nmax_wait = {settings.max_wait_s}\nmax_queue_per_model = {settings.max_queue}\n"
        '[memory]\ndevice = "cpu"\nkv_store = false\n'
    )


@contextlib.asynccontextmanager
async def scripted(pace: Pace, settings: Settings) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.toml"
        path.write_text(pace.script(), encoding="utf-8")
        models = "".join(
            f'[models.{name}]\nengine = "scripted"\npath = "{path}"\nn_ctx = 8192\nslots = {settings.slots}\n'
            for name in ("a", "b")
        )
        async with hotseat(limits(settings) + models, "--budget", str(SCRIPTED_BUDGET)) as url:
            yield url


REAL = {"a": ("smollm2", 2048), "b": ("gemma3", 512)}
"""Demo model and n_ctx."""


def real_paths() -> dict[str, Path] | None:
    try:
        return {name: demo_model(demo) for name, (demo, _) in REAL.items()}
    except click.ClickException:
        return None


@contextlib.asynccontextmanager
async def real(paths: dict[str, Path], settings: Settings) -> AsyncIterator[str]:
    models = "".join(
        f'[models.{name}]\npath = "{path}"\nn_ctx = {REAL[name][1]}\nslots = {settings.slots}\n'
        for name, path in paths.items()
    )
    async with hotseat(limits(settings) + models, "--budget", str(REAL_BUDGET)) as url:
        yield url
