"""Dry runs of models, each in a short-lived process: the exact sizes of buffers that a load will make.

Nothing here raises for a bad file: a dry run that crashes, hangs or is refused is a NoDryRun with
the reason, and the estimate stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from inference.buffer_sizes import Buffer
from inference.model_spec import ModelSpec
from inference.worker_log import LogTail
from inference.worker_process import worker_environment

TIMEOUT_S = 20
"""For a process that needs 0.3 to 0.8 s on an idle machine, and is niced."""

MAX_ANSWER_BYTES = 64 * 1024
_LOG_LINES = 50
_CHUNK_BYTES = 8192
_MODULE = "inference.engines.llama_dry_run"

_buffers_decoder = msgspec.json.Decoder(tuple[Buffer, ...])


@dataclass(frozen=True, slots=True)
class NoDryRun:
    """`reason` is for people: the engine's own words where it had any."""

    reason: str


async def dry_run(
    spec: ModelSpec, *, timeout_s: int = TIMEOUT_S, command: Sequence[str] | None = None
) -> tuple[Buffer, ...] | NoDryRun:
    """The buffers of `spec`'s context. Cancelling it ends the process.

    `command` stands in for the interpreter and module that are run.
    """
    argv = [*(command or (sys.executable, "-P", "-m", _MODULE)), msgspec.json.encode(spec).decode()]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            str(timeout_s),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=worker_environment(os.environ),
            start_new_session=True,
        )
    except OSError as error:
        return NoDryRun(f"the process cannot be started: {error}")
    log = LogTail(_LOG_LINES)
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _heard(process, log)
    except TimeoutError:
        return NoDryRun(f"no answer within {timeout_s} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        status = await process.wait()
    return _judged(answer, status, log)


async def _heard(process: asyncio.subprocess.Process, log: LogTail) -> bytes:
    """What it printed, until it has ended. Bounded; more than that is read and dropped."""
    assert process.stdout is not None
    assert process.stderr is not None
    answer = bytearray()

    async def read(stream: asyncio.StreamReader, *, is_answer: bool) -> None:
        while data := await stream.read(_CHUNK_BYTES):
            if not is_answer:
                log.feed(data)
            elif len(answer) <= MAX_ANSWER_BYTES:
                answer.extend(data)

    await asyncio.gather(read(process.stdout, is_answer=True), read(process.stderr, is_answer=False))
    await process.wait()
    log.end()
    return bytes(answer)


def _judged(answer: bytes, status: int, log: LogTail) -> tuple[Buffer, ...] | NoDryRun:
    if status != 0:
        return NoDryRun(log.cause() or _end(status))
    if len(answer) > MAX_ANSWER_BYTES:
        return NoDryRun(f"it printed more than {MAX_ANSWER_BYTES} bytes")
    try:
        return _buffers_decoder.decode(answer)
    except msgspec.DecodeError as error:
        return NoDryRun(f"its answer cannot be read: {error}")


def _end(status: int) -> str:
    if status > 0:
        return f"it ended with exit code {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"it died of {name}"
