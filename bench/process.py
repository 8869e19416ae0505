"""One harness, run to its end or to the end of our patience: its whole process tree, its output in files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from bench.watch import Caps, Watch, Why, Wire

MAX_OUTPUT_BYTES = 256 * 2**20
LOOK_INTERVAL_S = 1.0
"""How often the wire is asked. A cap can be overrun by what happens in between."""

TERMINATION_GRACE_S = 3.0


class WireReader(Protocol):
    async def wire(self) -> Wire:
        """What the proxy knows of the run now."""


@dataclass(frozen=True, slots=True)
class Command:
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    stdin: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """`exit_code` negative: the signal. None: it was still there when we gave up on it."""

    why: Why
    exit_code: int | None
    wall_s: float


async def run(command: Command, stdout: Path, stderr: Path, caps: Caps, reader: WireReader) -> Ended:
    """Cancelling it ends the process tree too."""
    begun_s = time.monotonic()
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            cwd=command.cwd,
            env=dict(command.env),
            stdin=asyncio.subprocess.DEVNULL if command.stdin is None else asyncio.subprocess.PIPE,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        await _tell(process, command.stdin)
        why = await _watched(process, (stdout, stderr), caps, reader, begun_s)
    finally:
        await _end_tree(process)
    return Ended(why, process.returncode, time.monotonic() - begun_s)


async def _tell(process: asyncio.subprocess.Process, text: str | None) -> None:
    if text is None or process.stdin is None:
        return
    with contextlib.suppress(OSError):  # it need not listen
        process.stdin.write(text.encode())
        await process.stdin.drain()
    process.stdin.close()


async def _watched(
    process: asyncio.subprocess.Process,
    outputs: Sequence[Path],
    caps: Caps,
    reader: WireReader,
    begun_s: float,
) -> Why:
    """Until it ends, or must be ended; why."""
    watch = Watch(caps)
    ending = asyncio.ensure_future(process.wait())
    try:
        while True:
            left_s = caps.wall_s - (time.monotonic() - begun_s)
            await asyncio.wait([ending], timeout=max(0.0, min(LOOK_INTERVAL_S, left_s)))
            if ending.done():
                return "exited"
            if sum(path.stat().st_size for path in outputs) > MAX_OUTPUT_BYTES:
                return "output"
            watch.saw(await reader.wire(), time.monotonic() - begun_s)
            if (why := watch.verdict(time.monotonic() - begun_s)) is not None:
                return why
    finally:
        ending.cancel()


async def _end_tree(process: asyncio.subprocess.Process) -> None:
    """Its process group, and what has left the group but still descends from it."""
    strays = _descendants(process.pid) if process.returncode is None else []
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERMINATION_GRACE_S):
                await process.wait()
    _signal_group(process.pid, signal.SIGKILL)  # whoever is left of it, also after an end of its own
    for stray in strays:
        with contextlib.suppress(psutil.Error):
            stray.kill()
    await process.wait()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
