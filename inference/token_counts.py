"""How many tokens a prompt has, by the vocabulary of its model's file: no weights, no load, no swap.

A helper process reads the file's vocabulary and chat template and nothing else, answers line by line
and stays a while for the next question; a client that asks once asks two dozen times. There is one
at a time: another model's question replaces it. A model that is resident is asked no differently:
its worker has better things to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from types import TracebackType
from typing import Final, Self

import msgspec

from inference.chat import ChatRequest, Wire
from inference.errors import ErrorInfo, HotseatError, Overloaded, WorkerCrashed, WorkerStalled, from_info
from inference.model_spec import ModelSpec
from inference.worker_process import worker_environment

TIMEOUT_S: Final = 30.0
"""For one answer, and if need be a start, which takes 0.3 to 0.8 s on an idle machine; 200 KB take 0.1 s."""

IDLE_S: Final = 60.0
MAX_WAITING: Final = 64
_MODULE = "inference.engines.token_count"


class Counted(Wire):
    n_tokens: int


class TokensNotCountable(HotseatError):
    code = "tokens_not_countable"
    fault = "environment"


answer_decoder: msgspec.json.Decoder[Counted | ErrorInfo] = msgspec.json.Decoder(Counted | ErrorInfo)


def can_count(spec: ModelSpec) -> bool:
    """Whether there is a file to read the vocabulary from: a server with a command may have none."""
    return spec.engine == "scripted" or spec.path.endswith(".gguf")


class TokenCounter:
    """Leaving its block ends the helper."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, idle_s: float = IDLE_S) -> None:
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._one_at_a_time = asyncio.Lock()  # protects the helper: a question, then its answer
        self._waiting = 0
        self._process: asyncio.subprocess.Process | None = None
        self._spec: ModelSpec | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Of the helper, if one lives."""
        return self._process.pid if self._process is not None else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def count(self, spec: ModelSpec, request: ChatRequest) -> int:
        """Raises HotseatError: what a load of the model or the request itself would raise, or
        TokensNotCountable, WorkerCrashed, WorkerStalled, Overloaded."""
        if not can_count(spec):
            raise TokensNotCountable(
                f"{spec.name!r} is answered by a server of its own, and its entry names no GGUF file whose"
                " vocabulary could be read: add path to it in models.toml, or do not ask for counts"
            )
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} token counts are waiting already", retry_after_s=2.0)
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                answer = await self._ask(spec, request)
        finally:
            self._waiting -= 1
        if isinstance(answer, ErrorInfo):
            raise from_info(answer)
        return answer.n_tokens

    async def _ask(self, spec: ModelSpec, request: ChatRequest) -> Counted | ErrorInfo:
        """Whatever goes wrong, a cancellation too, ends the helper: its next line would answer another."""
        self._hold()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._answer(spec, request)
        except TimeoutError as error:
            await self._end()
            raise WorkerStalled(f"counting tokens took longer than {self._timeout_s:g} s") from error
        except BaseException:
            await self._end()
            raise
        self._idle_timer = asyncio.get_running_loop().call_later(self._idle_s, self._kill)
        return answer

    async def _answer(self, spec: ModelSpec, request: ChatRequest) -> Counted | ErrorInfo:
        """A helper that was there before may be gone by now, which only its silence tells: then a new one
        is asked."""
        process = self._process
        line = b""
        if process is not None and self._spec == spec:
            line = await _line(process, request)
        if not line:
            process = await self._started(spec)
            line = await _line(process, request)
        assert process is not None
        if not line:
            raise WorkerCrashed(f"the process that counts tokens ended with {_status(await process.wait())}")
        try:
            return answer_decoder.decode(line)
        except msgspec.DecodeError as error:
            raise WorkerCrashed("the process that counts tokens answered no JSON") from error

    async def _started(self, spec: ModelSpec) -> asyncio.subprocess.Process:
        await self._end()
        # A GPU would be of no use, and a CUDA context takes memory that belongs to models.
        environment = worker_environment(os.environ) | {"CUDA_VISIBLE_DEVICES": ""}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            _MODULE,
            msgspec.json.encode(spec).decode(),
            str(int(self._timeout_s)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        self._spec = spec
        return self._process

    def _hold(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _end(self) -> None:
        self._hold()
        if (process := self._process) is None:
            return
        self._kill()
        self._process = self._spec = None
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def _line(process: asyncio.subprocess.Process, request: ChatRequest) -> bytes:
    """The answer, b"" from a process that is gone."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):  # its last word, if it had one, is there to read
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        await process.stdin.drain()
    return await process.stdout.readline()


def _status(status: int) -> str:
    return f"exit code {status}" if status >= 0 else f"signal {-status}"
