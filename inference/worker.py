"""The child process that owns one engine: `python -m inference.worker FD PARENT_PID ENGINE`.

FD is its end of a socket pair to the pool (messages.py). The engine's module is imported before
Hello, so that the baseline in Hello is what a worker of this kind costs with nothing loaded.

Two threads. The main thread loads the engine, steps it, and is the only one that writes. While it
does, the reader decodes what the pool says and prepares requests (template, tokens), so that a
long prompt costs running streams nothing until it is prefilled; while nothing runs, the main
thread reads and prepares itself (worker_inbox.py).

A worker that has requests is never silent for long while its engine moves: SignsOfLife. Only the
main thread gives them, between two steps, so a step that does not return is silence. The pool
ends a worker that is silent for too long (worker_process.py).

The process exists for its pool alone: end of file on the socket ends it at once, and so does the
death of the parent, even in the middle of a native call. Its exit is what frees the memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import functools
import gc
import importlib
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import NoReturn, cast

import msgspec

from inference.chat import Embeddings, Finish
from inference.engines.base import Engine, LoadEngine, OnProgress
from inference.errors import EngineFault, ErrorInfo, HotseatError, LoadFailed
from inference.messages import (
    Alive,
    Cancel,
    Embed,
    FromWorker,
    Generate,
    Hello,
    Load,
    LoadError,
    LoadProgress,
    Memory,
    Output,
    Outputs,
    Ready,
    Shutdown,
    frame,
    to_worker_decoder,
)
from inference.model_spec import EngineName, ModelSpec
from inference.process_tree import descendants_rss_bytes
from inference.worker_inbox import Inbox

ENGINE_MODULES: dict[EngineName, str] = {
    "llama-cpp-python": "inference.engines.llama",
    "scripted": "inference.engines.scripted",
    "command": "inference.engines.command",
    "xllamacpp": "inference.engines.command",
}
PROGRESS_INTERVAL_S = 0.05
LONG_STEP_S = 0.001
"""Steps that take longer than this are worth a thread that reads meanwhile: waking it costs a tenth of it."""

SAVE_DEADLINE_S = 3.0
"""How long saving KV snapshots may hold up a swap; less than the pool's stop_grace."""

MEMORY_CHECK_INTERVAL_S = 1.0
MEMORY_STEP_BYTES = 16 * 1024 * 1024
"""Growth of the resident set that the pool hears of."""

MAX_SILENT_STEPS = 100_000
"""Steps in a row that may say nothing and still count as life: more than any answer holds back."""

EXIT_LOAD_FAILED = 3
EXIT_ENGINE_FAULT = 4
EXIT_BROKEN_PROTOCOL = 5

PR_SET_PDEATHSIG = 1


class Submitted:
    """A prepared job on its way to the main thread."""

    __slots__ = ("job", "request_id")

    def __init__(self, request_id: int, job: object) -> None:
        self.request_id = request_id
        self.job = job


Item = Load | Submitted | Output | Cancel | Shutdown


def main(argv: list[str]) -> NoReturn:
    fd, parent_pid, engine_name = int(argv[1]), int(argv[2]), cast(EngineName, argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # writing gigabytes of core would delay the exit
    _die_with_parent(parent_pid)
    faulthandler.register(signal.SIGTERM, chain=True)  # where it hung goes to stderr, then it dies of it
    worker = Worker(socket.socket(fileno=fd))
    try:
        code = worker.run(engine_name)
    except Exception:  # noqa: BLE001 - the process border
        traceback.print_exc()
        code = EXIT_ENGINE_FAULT
    _exit(code)


def _exit(code: int) -> NoReturn:
    """End without interpreter shutdown: native libraries and the reader thread need no farewell."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends. Elsewhere the socket's end must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(0)


class SignsOfLife:
    """When a worker that has requests and nothing to say tells that its engine moves. Pure.

    A step without output is life: text is held back, or a long input is being embedded. But not
    without end: an engine that computes nothing and asks for the next step at once is a dead
    loop, and has used up its silent steps long before the pool's patience ends.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._next_s = 0.0
        self._silent_steps = 0

    def spoke(self, now_s: float) -> None:
        """The engine said something: no other sign is needed for a while."""
        self._next_s = now_s + self.interval_s
        self._silent_steps = 0

    def stepped(self, now_s: float) -> bool:
        """The engine made a step and said nothing. Whether a sign is due."""
        self._silent_steps += 1
        if now_s < self._next_s or self._silent_steps > MAX_SILENT_STEPS:
            return False
        self._next_s = now_s + self.interval_s
        return True


class Worker:
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._inbox: Inbox[Item] = Inbox(connection, self._receive)
        self._engine: Engine[object] | None = None  # set once by the main thread, before Ready
        self._running: set[int] = set()
        self._reported_rss_bytes = 0
        self._next_memory_check_s = 0.0

    def run(self, engine_name: EngineName) -> int:
        """From Hello to the exit code."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        try:
            load_engine = _import_engine(engine_name)
            self._send(Hello(pid=os.getpid(), rss_bytes=_rss_bytes(None)))
            told = self._awaited_load()
            self._inbox.lend()  # a Shutdown must end a load
            engine = self._load(load_engine, told.spec)
        except HotseatError as error:
            if error.__cause__ is not None:  # else the message says it all
                traceback.print_exc()
            self._send(LoadError(error=error.info()))
            return EXIT_LOAD_FAILED
        try:
            return self._serve(engine, SignsOfLife(told.sign_of_life_s))
        except Exception as error:  # noqa: BLE001 - the process border; the pool and stderr are told
            traceback.print_exc()
            self._tell_all(_fault(error))
            return EXIT_ENGINE_FAULT

    # --- main thread ---------------------------------------------------------------------------

    def _awaited_load(self) -> Load:
        (item, *_) = self._take(None)
        if isinstance(item, Load):
            return item
        raise LoadFailed(f"the worker was told {type(item).__name__} before what to load")

    def _take(self, wait_s: float | None) -> list[Item]:
        with _border():
            return self._inbox.take(wait_s)

    def _load(self, load_engine: LoadEngine, spec: ModelSpec) -> Engine[object]:
        try:
            engine = load_engine(spec, self._progress_reporter())
        except HotseatError:
            raise
        except Exception as error:
            raise LoadFailed(f"loading '{spec.name}' failed: {type(error).__name__}: {error}") from error
        gc.collect()
        gc.freeze()  # what was imported and loaded stays; later collections need not walk it
        self._engine = engine
        rss_bytes = self._reported_rss_bytes = _rss_bytes(engine)
        self._send(Ready(facts=msgspec.structs.replace(engine.facts, rss_bytes=rss_bytes)))
        return engine

    def _progress_reporter(self) -> OnProgress:
        """Pushes load progress, no more often than anybody can see."""
        next_s = 0.0

        def report(fraction: float) -> None:
            nonlocal next_s
            now_s = time.monotonic()
            if now_s >= next_s:
                next_s = now_s + PROGRESS_INTERVAL_S
                self._send(LoadProgress(fraction=fraction))

        return report

    def _serve(self, engine: Engine[object], signs: SignsOfLife) -> int:
        steps_are_long = True
        while True:
            wait_s = engine.wait_s()
            self._report_memory(is_idle=wait_s is None)
            for item in self._take(wait_s and min(wait_s, signs.interval_s)):
                match item:
                    case Submitted():
                        self._running.add(item.request_id)
                        engine.submit(item.job)
                    case Cancel():
                        self._running.discard(item.request_id)
                        engine.cancel(item.request_id)
                        self._send(Alive())  # WorkerLink.is_owed_words says why
                    case Output():
                        self._send(Outputs(outputs=[item]))
                    case Shutdown():
                        engine.save(time.monotonic() + SAVE_DEADLINE_S)
                        engine.close()
                        return 0
                    case Load():
                        raise EngineFault("the worker was told to load a second model")
            if steps_are_long:
                self._inbox.lend()
            started_s = time.monotonic()
            outputs = engine.step()
            now_s = time.monotonic()
            if self._running:
                steps_are_long = now_s - started_s >= LONG_STEP_S
            if outputs:
                self._send(Outputs(outputs=outputs))
                signs.spoke(now_s)
                for output in outputs:
                    if isinstance(output.event, Finish | Embeddings | ErrorInfo):
                        self._running.discard(output.request_id)
            elif self._running and signs.stepped(now_s):
                self._send(Alive())

    def _report_memory(self, *, is_idle: bool) -> None:
        """Now and then, and always before falling asleep: what a burst left behind would stay unseen."""
        now_s = time.monotonic()
        if now_s < self._next_memory_check_s and not is_idle:
            return
        self._next_memory_check_s = now_s + MEMORY_CHECK_INTERVAL_S
        rss_bytes = _rss_bytes(self._engine) - (self._engine.archive_bytes if self._engine else 0)
        if rss_bytes >= self._reported_rss_bytes + MEMORY_STEP_BYTES:
            self._reported_rss_bytes = rss_bytes
            self._send(Memory(rss_bytes=rss_bytes))

    def _tell_all(self, error: ErrorInfo) -> None:
        self._send(Outputs(outputs=[Output(request_id, error) for request_id in sorted(self._running)]))

    def _send(self, message: FromWorker) -> None:
        try:
            self._socket.sendall(frame(message))
        except OSError:
            _exit(0)  # nobody listens any more

    # --- reader thread, and the main thread while nothing runs -----------------------------------

    def _read(self) -> None:
        with _border():
            self._inbox.read_when_lent()

    def _receive(self, body: bytes) -> Item:
        message = to_worker_decoder.decode(body)
        match message:
            case Generate() | Embed():
                return self._prepared(message)
            case Shutdown() if self._engine is None:
                _exit(0)  # the main thread is inside a load and will not look for minutes
            case _:
                return message

    def _prepared(self, message: Generate | Embed) -> Submitted | Output:
        if self._engine is None:
            raise EngineFault("the worker was asked before it was ready")
        try:
            return Submitted(message.request_id, self._engine.prepare(message))
        except HotseatError as error:
            return Output(message.request_id, error.info())
        except Exception as error:  # noqa: BLE001 - the request's border: others go on
            traceback.print_exc()
            return Output(message.request_id, _fault(error))


@contextlib.contextmanager
def _border() -> Iterator[None]:
    """The end of the socket ends the process, and so does what cannot be understood: the pool sees
    the exit code and stderr."""
    try:
        yield
    except (EOFError, ConnectionError):  # the pool may have died with unread words of ours
        os._exit(0)
    except Exception:  # noqa: BLE001 - the border of both threads
        traceback.print_exc()
        _exit(EXIT_BROKEN_PROTOCOL)


def _import_engine(name: EngineName) -> LoadEngine:
    try:
        return cast(LoadEngine, importlib.import_module(ENGINE_MODULES[name]).load)
    except Exception as error:
        raise LoadFailed(
            f"engine '{name}' cannot be imported: {type(error).__name__}: {error}: "
            "`hotseat doctor` says what is missing"
        ) from error


def _fault(error: Exception) -> ErrorInfo:
    if isinstance(error, HotseatError):
        return error.info()
    return EngineFault(f"the engine failed: {type(error).__name__}: {error}").info()


def _rss_bytes(engine: Engine[object] | None) -> int:
    """Resident set of this process, and of the server that its engine has started, if it has: to look
    for one costs a file for every thread. (Without psutil: a worker imports little.)"""
    statm = _statm()
    if statm is not None:
        own_bytes = int(os.pread(statm, 256, 0).split()[1]) * resource.getpagesize()
        has_server = engine is not None and engine.facts.server_pid is not None
        return own_bytes + (descendants_rss_bytes(os.getpid()) if has_server else 0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS; the highest, not the latest


@functools.cache
def _statm() -> int | None:
    """A descriptor, kept: to open the file for each look would cost more than a small step. None: there is no
    such file here."""
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    main(sys.argv)
