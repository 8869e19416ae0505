"""One worker process as the pool holds it: start it, hear its last words, be sure that it is gone.

`run()` lives as long as the process: it spawns it, sends Load, and returns when the process is
reaped, with the reason if it ended unasked. Cancelling `run()` kills the process.

A worker that owes words and has none for too long is ended too: a load without progress, or
requests without a sign of life. The worker gives those only between two steps of its engine, so
this finds a stopped process, a native call that never returns and a loop that computes nothing,
and leaves alone a slow machine whose steps end within the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

import inference
from inference.errors import ErrorInfo, LoadFailed, WorkerCrashed, WorkerStalled
from inference.messages import FromWorker, Hello, Load, LoadError, Ready, Shutdown
from inference.model_spec import EngineName, ModelSpec
from inference.process_ending import ending
from inference.worker_link import WorkerLink
from inference.worker_log import LogTail

TERM_GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""
EXIT_AFTER_EOF_S = 1.0
"""How long a process may outlive its socket."""
LAST_WORDS_S = 1.0
"""How long socket and stderr may outlive the process (a grandchild may hold them)."""
LOOKS = 8
"""How often a watch looks within its limit; a worker may be silent for one look more, and is ended
between 9/8 and 10/8 of the limit: it gives its signs every eighth, and may begin a step before one."""

_ALLOWED_NAMES = frozenset({"PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR"})
_ALLOWED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "GGML_", "LLAMA_", "OMP_", "HOTSEAT_")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)

_HINTS = {
    signal.SIGILL: "the engine was built for another CPU: build it with GGML_NATIVE=OFF",
    signal.SIGKILL: "killed from outside, often by the kernel for lack of memory",
}


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker may know of our environment: no key ever, and where `inference` is."""
    allowed = {
        name: value
        for name, value in environ.items()
        if (name in _ALLOWED_NAMES or name.startswith(_ALLOWED_PREFIXES)) and not _SECRET.search(name)
    }
    package_root = str(Path(inference.__path__[0]).parent)
    search_path = [package_root, *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    return allowed | {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(search_path)),
        "GGML_NO_BACKTRACE": "1",  # a GGML abort would attach gdb and hang for seconds
    }


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    load_timeout_s: float  # without any progress
    stop_grace_s: float  # before SIGTERM
    decode_stall_s: float = 120.0  # with requests, without a word


class SilenceWatch:
    """Whether a worker that owes words has been silent for longer than `limit_s`. Pure.

    It counts looks and reads no clock: when this process itself was held up, or the machine slept,
    that is one look and not a silence of the worker.
    """

    def __init__(self, limit_s: float) -> None:
        self.interval_s = limit_s / LOOKS
        self._heard = 0
        self._is_owed = False
        self._silent_looks = 0

    def look(self, *, is_owed: bool, heard: int) -> bool:
        """To be called every `interval_s`. `heard` grows with each word."""
        goes_on = is_owed and self._is_owed and heard == self._heard
        self._silent_looks = self._silent_looks + 1 if goes_on else 0
        self._is_owed, self._heard = is_owed, heard
        return self._silent_looks > LOOKS


class _StderrReader(asyncio.Protocol):
    def __init__(self, log: LogTail) -> None:
        self._log = log
        self.has_ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._log.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._log.end()
        self.has_ended.set()


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    exited: asyncio.Task[int]
    stderr: _StderrReader
    stderr_transport: asyncio.ReadTransport

    async def exits_within(self, timeout_s: float) -> bool:
        done, _ = await asyncio.wait({self.exited}, timeout=timeout_s)
        return bool(done)

    def signal_group(self, number: signal.Signals) -> None:
        """Also what the process has left behind in its group, if it is gone itself (a moment ago: its
        number is not in use again)."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS has the latter for the dead
            os.killpg(self.process.pid, number)


class WorkerProcess:
    """A process of one engine. It may be started before it is known what it will load: `assign` says it.

    `on_message` hears Hello, LoadProgress, Ready and Memory; requests go through `link`. `served_s` is
    known when it has ended: how long after Ready that was; None if it never was ready.
    """

    def __init__(self, engine: EngineName, limits: WorkerLimits, log: LogTail) -> None:
        self._engine = engine
        self._limits = limits
        self._spec: ModelSpec | None = None
        self._on_message: Callable[[FromWorker], None] | None = None
        self._hello: Hello | None = None
        self._is_spawned = False
        self.has_begun = False  # it has said something of the load that it was assigned
        self.log = log
        self._must_end = asyncio.Event()
        self.link = WorkerLink(self._receive, self._break, on_lost=self._must_end.set)
        self._is_broken = False  # no use in asking it politely
        self._stop_reason: ErrorInfo | None = None
        self._failure: ErrorInfo | None = None  # known before the process ended
        self._last_words: ErrorInfo | None = None
        self._watch = SilenceWatch(limits.load_timeout_s)
        self._next_look: asyncio.TimerHandle | None = None
        self._ready_at_s: float | None = None
        self.served_s: float | None = None

    async def run(self) -> ErrorInfo | None:
        """From spawn to reaped. Why it ended, or None if `stop` had asked for it."""
        try:
            child = await self._spawn()
        except OSError as error:
            self._last_words = LoadFailed(f"the worker of {self._name} cannot be started: {error}").info()
            return self._last_words
        try:
            self._is_spawned = True
            self._tell()
            await self._until_over(child)
            self._stop_looking()
            await self._end(child)
        finally:
            self._stop_looking()
            if self._ready_at_s is not None:
                self.served_s = asyncio.get_running_loop().time() - self._ready_at_s
            await self._bury(child)
            verdict = self._verdict(child.exited.result())
            self._last_words = self._stop_reason or verdict
        return None if self._stop_reason else verdict

    def tell_requests(self) -> None:
        """Tell its requests why they will not be answered: when it has ended, and all others know of it."""
        self.link.fail(self._last_words or self._ended("its owner was cancelled"))

    def assign(self, spec: ModelSpec, on_message: Callable[[FromWorker], None]) -> None:
        """Have it load `spec`, once."""
        self._spec, self._on_message = spec, on_message
        self._tell()

    def _tell(self) -> None:
        """Pass on Hello and then what to load, as soon as both are there: in between the process is
        measured, and it must not have begun to load by then."""
        if not self._is_spawned or self._spec is None or self._on_message is None:
            return
        self._look_again_later()
        if self._hello is None or self._stop_reason is not None:
            return
        self._on_message(self._hello)
        sign_of_life_s = self._limits.decode_stall_s / LOOKS
        self.link.send(Load(spec=self._spec, sign_of_life_s=sign_of_life_s))

    @property
    def is_ending(self) -> bool:
        """It has died, closed its connection, or was told to end."""
        return self._must_end.is_set()

    @property
    def _name(self) -> str:
        return f"'{self._spec.name}'" if self._spec else f"engine '{self._engine}'"

    def stop(self, reason: ErrorInfo) -> None:
        """Have it ended, politely first. `reason` is what requests still running will be told."""
        self._stop_reason = self._stop_reason or reason
        self._must_end.set()

    # --- life and death ------------------------------------------------------------------------

    async def _spawn(self) -> _Child:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as parents_copies, contextlib.ExitStack() as on_failure:
            ours, theirs = socket.socketpair()
            on_failure.enter_context(ours)
            parents_copies.enter_context(theirs)
            read_fd, write_fd = os.pipe()
            stderr_pipe = on_failure.enter_context(os.fdopen(read_fd, "rb", buffering=0))
            parents_copies.callback(os.close, write_fd)
            process = await asyncio.create_subprocess_exec(
                # -P: never import from the working directory. faulthandler: a crash in native code
                # leaves the Python line that called it in the log.
                *(sys.executable, "-P", "-X", "faulthandler", "-m", "inference.worker"),
                *(str(theirs.fileno()), str(os.getpid()), self._engine),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_fd,
                stderr=write_fd,
                pass_fds=(theirs.fileno(),),
                env=worker_environment(os.environ),
                start_new_session=True,
            )
            on_failure.callback(process.kill)
            ours.setblocking(False)
            await loop.create_unix_connection(lambda: self.link, sock=ours)
            transport, stderr = await loop.connect_read_pipe(lambda: _StderrReader(self.log), stderr_pipe)
            on_failure.pop_all()
        return _Child(process, asyncio.create_task(process.wait()), stderr, transport)

    async def _until_over(self, child: _Child) -> None:
        told = asyncio.create_task(self._must_end.wait())
        try:
            await asyncio.wait({child.exited, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()

    async def _end(self, child: _Child) -> None:
        """Shutdown, TERM, KILL: each when the one before was not heard."""
        if self._stop_reason is not None:
            self.link.send(Shutdown())
        if not self._is_broken:
            patience_s = EXIT_AFTER_EOF_S if self._stop_reason is None else self._limits.stop_grace_s
            if await child.exits_within(patience_s):
                return
            self._failure = self._failure or self._ended("it closed its connection and did not exit")
        child.signal_group(signal.SIGTERM)
        child.signal_group(signal.SIGCONT)  # a stopped process hears no SIGTERM
        await child.exits_within(TERM_GRACE_S)

    async def _bury(self, child: _Child) -> None:
        """Nothing of the process is left when this returns, even if `run` was cancelled.

        What it said last is still in the pipes when it is gone: both are read to their end.
        """
        child.signal_group(signal.SIGKILL)
        await asyncio.wait({child.exited})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self.link.is_lost.wait()
                await child.stderr.has_ended.wait()
        child.stderr_transport.close()
        self.link.disconnect()
        await child.stderr.has_ended.wait()
        await self.link.is_lost.wait()

    def _verdict(self, returncode: int) -> ErrorInfo:
        """Why it ended: what it said itself, else what its death and its log say."""
        if self._failure is None:
            end = f"the worker of {self._name} {ending(returncode, _HINTS)}"
            is_load = self._ready_at_s is None
            error = LoadFailed(f"{end} while loading") if is_load else WorkerCrashed(end)
            failure = error.info()
        else:
            failure = self._failure
        words = self.log.cause(besides=failure.message)
        if not words:
            return failure
        return msgspec.structs.replace(failure, message=f"{failure.message}; its last words: {words}")

    # --- what it says --------------------------------------------------------------------------

    def _receive(self, message: FromWorker) -> None:
        self.has_begun |= self._spec is not None and not isinstance(message, Hello)
        if isinstance(message, LoadError):
            self._failure = message.error
            return
        if isinstance(message, Ready):
            self._ready_at_s = asyncio.get_running_loop().time()
            self._watch = SilenceWatch(self._limits.decode_stall_s)
            self._look_again_later()
        if isinstance(message, Hello):
            self._hello = message
            self._tell()
        elif self._stop_reason is None and self._on_message is not None:
            self._on_message(message)

    def _break(self, why: str) -> None:
        self._failure = self._ended(why)
        self._is_broken = True
        self._must_end.set()

    def _ended(self, why: str) -> ErrorInfo:
        return WorkerCrashed(f"the worker of {self._name} was ended: {why}").info()

    # --- a worker that says nothing --------------------------------------------------------------

    def _look_again_later(self) -> None:
        self._stop_looking()
        self._next_look = asyncio.get_running_loop().call_later(self._watch.interval_s, self._look)

    def _stop_looking(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def _look(self) -> None:
        is_owed = self._ready_at_s is None or self.link.is_owed_words
        if not self._watch.look(is_owed=is_owed, heard=self.link.frames_heard):
            self._look_again_later()
            return
        self._failure = WorkerStalled(self._silence()).info()
        self._is_broken = True
        self._must_end.set()

    def _silence(self) -> str:
        if self._ready_at_s is None:
            return (
                f"loading {self._name} made no progress for {self._limits.load_timeout_s:g} s "
                "(load_timeout_s) and was ended"
            )
        return (
            f"the worker of {self._name} said nothing for {self._limits.decode_stall_s:g} s "
            f"(decode_stall_s) with {self.link.open_requests} requests open and was ended: if it was only "
            "slow, lower n_batch or raise decode_stall_s"
        )
