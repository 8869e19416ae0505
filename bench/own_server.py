"""A Hotseat that a plan brings along: started for a job, with the plan's own models, and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import BinaryIO

from bench.errors import ProxyError

LEASH = Path(__file__).with_name("leash.py")
START_S = 120.0
END_S = 40.0
LOG = "serve.log"
LOG_TAIL_CHARS = 500
_BANNER = "Hotseat serves "


@contextlib.asynccontextmanager
async def own_server(config: Path, folder: Path, environ: Mapping[str, str]) -> AsyncIterator[str]:
    """Its address, once it answers. Its log goes to `folder`; models and ledger are where the user's other
    servers have them. Raises ProxyError."""
    log = folder / LOG
    with await asyncio.to_thread(_log, folder) as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(LEASH)),
            *(sys.executable, "-m", "proxy.cli", "serve", "--config", str(config), "--port", "0"),
            env={**environ, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C is for the job, which ends it when the trials have ended
        )
    try:
        yield await _address(process, log)
    finally:
        await _end(process)


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    """From the first line that it prints."""
    assert process.stdout is not None
    line = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
    first = line.decode(errors="replace").strip()
    if not first.startswith(_BANNER):
        last = (await asyncio.to_thread(_tail, log)) or [first or "it said nothing"]
        raise ProxyError(f"the plan's own server did not start: {last[-1]}: see {log}")
    return first.removeprefix(_BANNER).split(",")[0].strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Its leash is let go."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _log(folder: Path) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / LOG).open("ab")


def _tail(log: Path) -> list[str]:
    return log.read_bytes()[-LOG_TAIL_CHARS:].decode(errors="replace").strip().splitlines()
