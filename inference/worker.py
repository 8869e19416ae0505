"""The child process that owns one engine: `python -m inference.worker FD PARENT_PID ENGINE`.

FD is its end of a socket pair to the pool (messages.py). The engine's module is imported before
Hello, so that the baseline in Hello is what a worker of this kind costs with nothing loaded.

Two threads. The reader decodes what the pool says and prepares requests (template, tokens), so
that a long prompt costs running streams nothing until it is prefilled. The main thread loads the
engine, steps it, and is the only one that writes. Between them is one queue; a Cancel follows
its Generate through the same thread and the same queue, so it can never be lost to a race.

The process exists for its pool alone: end of file on the socket ends it at once, and so does the
death of the parent, even in the middle of a native call. Its exit is what frees the memory.
"""

from __future__ import annotations

import contextlib
import ctypes
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
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NoReturn, cast

import msgspec

from inference.chat import Embeddings, Finish
from inference.engines.base import Engine, LoadEngine, OnProgress
from inference.errors import EngineFault, ErrorInfo, HotseatError, LoadFailed
from inference.messages import (
    Cancel,
    Embed,
    FrameReader,
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
    ToWorker,
    frame,
    to_worker_decoder,
)
from inference.model_spec import EngineName, ModelSpec

ENGINE_MODULES: dict[EngineName, str] = {
    "llama-cpp-python": "inference.engines.llama",
    "scripted": "inference.engines.scripted",
}
RECEIVE_BYTES = 256 * 1024
PROGRESS_INTERVAL_S = 0.05
SAVE_DEADLINE_S = 3.0
"""How long saving KV snapshots may hold up a swap; less than the pool's stop_grace."""

MEMORY_CHECK_INTERVAL_S = 1.0
MEMORY_STEP_BYTES = 16 * 1024 * 1024
"""Growth of the resident set that the pool hears of."""

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


class Worker:
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._inbox: SimpleQueue[Item] = SimpleQueue()
        self._engine: Engine[object] | None = None  # set once by the main thread, before Ready
        self._running: set[int] = set()
        self._reported_rss_bytes = 0
        self._next_memory_check_s = 0.0

    def run(self, engine_name: EngineName) -> int:
        """From Hello to the exit code."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        try:
            load_engine = _import_engine(engine_name)
            self._send(Hello(pid=os.getpid(), rss_bytes=_rss_bytes()))
            engine = self._load(load_engine, self._awaited_spec())
        except HotseatError as error:
            if error.__cause__ is not None:  # else the message says it all
                traceback.print_exc()
            self._send(LoadError(error=error.info()))
            return EXIT_LOAD_FAILED
        try:
            return self._serve(engine)
        except Exception as error:  # noqa: BLE001 - the process border; the pool and stderr are told
            traceback.print_exc()
            self._tell_all(_fault(error))
            return EXIT_ENGINE_FAULT

    # --- main thread ---------------------------------------------------------------------------

    def _awaited_spec(self) -> ModelSpec:
        item = self._inbox.get()
        if isinstance(item, Load):
            return item.spec
        raise LoadFailed(f"the worker was told {type(item).__name__} before what to load")

    def _load(self, load_engine: LoadEngine, spec: ModelSpec) -> Engine[object]:
        try:
            engine = load_engine(spec, self._progress_reporter())
        except HotseatError:
            raise
        except Exception as error:
            raise LoadFailed(f"loading '{spec.name}' failed: {type(error).__name__}: {error}") from error
        gc.collect()
        gc.freeze()  # what was imported and loaded stays; later collections need not walk it
        rss_bytes = self._reported_rss_bytes = _rss_bytes()
        self._engine = engine
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

    def _serve(self, engine: Engine[object]) -> int:
        while True:
            wait_s = engine.wait_s()
            self._report_memory(is_idle=wait_s is None)
            for item in self._received(wait_s):
                match item:
                    case Submitted():
                        self._running.add(item.request_id)
                        engine.submit(item.job)
                    case Cancel():
                        self._running.discard(item.request_id)
                        engine.cancel(item.request_id)
                    case Output():
                        self._send(Outputs(outputs=[item]))
                    case Shutdown():
                        engine.save(time.monotonic() + SAVE_DEADLINE_S)
                        engine.close()
                        return 0
                    case Load():
                        raise EngineFault("the worker was told to load a second model")
            outputs = engine.step()
            if outputs:
                self._send(Outputs(outputs=outputs))
                for output in outputs:
                    if isinstance(output.event, Finish | Embeddings | ErrorInfo):
                        self._running.discard(output.request_id)

    def _received(self, wait_s: float | None) -> list[Item]:
        """All that has come; waits for the first no longer than `wait_s` (None: until it comes)."""
        items: list[Item] = []
        try:
            if wait_s != 0:
                items.append(self._inbox.get(timeout=wait_s))
            while True:
                items.append(self._inbox.get_nowait())
        except Empty:
            return items

    def _report_memory(self, *, is_idle: bool) -> None:
        """Now and then, and always before falling asleep: what a burst left behind would stay unseen."""
        now_s = time.monotonic()
        if now_s < self._next_memory_check_s and not is_idle:
            return
        self._next_memory_check_s = now_s + MEMORY_CHECK_INTERVAL_S
        rss_bytes = _rss_bytes() - (self._engine.archive_bytes if self._engine else 0)
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

    # --- reader thread -------------------------------------------------------------------------

    def _read(self) -> None:
        frames = FrameReader()
        try:
            while data := self._socket.recv(RECEIVE_BYTES):
                for body in frames.feed(data):
                    self._receive(to_worker_decoder.decode(body))
        except ConnectionError:
            pass  # the pool died with unread words of ours: the same end of file
        except Exception:  # noqa: BLE001 - the thread's border; the pool sees the exit code and stderr
            traceback.print_exc()
            _exit(EXIT_BROKEN_PROTOCOL)
        os._exit(0)

    def _receive(self, message: ToWorker) -> None:
        match message:
            case Generate() | Embed():
                self._inbox.put(self._prepared(message))
            case Shutdown() if self._engine is None:
                _exit(0)  # the main thread is inside a load and will not look for minutes
            case _:
                self._inbox.put(message)

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


def _rss_bytes() -> int:
    """Resident set of this process (without psutil: a worker imports little)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS; the highest, not the latest


if __name__ == "__main__":
    main(sys.argv)
