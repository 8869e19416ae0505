"""Servers under measurement, each a process of its own that is ended with its group, always."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import aiohttp

from benchkit.figures import note

ROOT = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 120.0

# A benchmark ended by `timeout` or a CI limit cleans up as after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running(
    name: str,
    argv: Sequence[str],
    base_url: str,
    environ: Mapping[str, str] | None = None,
    *,
    health: str = "/health",
) -> AsyncIterator[str]:
    """Run a server until the block ends. Yields its base URL once GET `health` answers 200."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **(environ or {})},
        )
        try:
            await _healthy(base_url + health, process)
            yield base_url
        except Exception:
            log.seek(0)
            note(f"{name} said:\n" + log.read().decode("utf-8", "replace")[-2000:])
            raise
        finally:
            await _end(process)


async def _healthy(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_DEADLINE_S), aiohttp.ClientSession() as session:
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"server ended with {process.returncode} before it was healthy")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@contextlib.asynccontextmanager
async def hotseat(models_toml: str, *options: str) -> AsyncIterator[str]:
    """`hotseat serve` with a configuration, and a ledger unless that says otherwise, of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "models.toml"
        ledger = "" if "[ledger]" in models_toml else f'[ledger]\npath = "{folder}/state/ledger.sqlite3"\n'
        config.write_text(models_toml + "\n" + ledger, encoding="utf-8")
        command = Path(sys.executable).parent / "hotseat"
        argv = [str(command), "serve", "--config", str(config), "--port", str(port), *options]
        async with running("hotseat", argv, f"http://127.0.0.1:{port}") as url:
            yield url


@contextlib.asynccontextmanager
async def llama_server(binary: Path, model: Path, *options: str) -> AsyncIterator[str]:
    """The peer: llama.cpp's own server, with web UI and logging off."""
    port = free_port()
    argv = [str(binary), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), *options]
    async with running("llama-server", argv, f"http://127.0.0.1:{port}") as url:
        yield url
