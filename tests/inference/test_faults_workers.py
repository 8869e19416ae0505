"""Faults of worker processes by the number that the fault list gives them, with real processes.

Elsewhere, under a name that says what happens:
12  test_pool: a_stream_closed_midway_frees_its_slot, a_client_cancelled_midway_frees_lease_and_slot
14  test_pool: a_worker_that_dies_midway_is_told_and_restarted, a_worker_killed_from_outside_…
16  test_pool: a_worker_that_misbehaves_is_ended (while it loads); test_worker_link: another_language_…
17  test_pool: a_failed_load_tells_every_waiter_the_cause_…, a_worker_that_dies_loading_is_told_by_…
20  test_pool: leaving_the_pool_ends_streams_waiters_and_hung_workers
23  test_pool: a_stream_is_drained_before_its_model_is_evicted, unload_drains_streams_…
39  test_pool: workers_die_with_their_parent_even_if_it_is_killed (in a load); test_worker: a hung load, a
    hung step and an idle worker end with their socket
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import psutil
import pytest
import uvloop

from inference.chat import ChatRequest, Finish, Message, TextDelta
from inference.errors import ErrorInfo, ShuttingDown, WorkerStalled
from inference.messages import Event, FromWorker, Hello, Ready
from inference.model_spec import ModelSpec
from inference.worker_link import Stream
from inference.worker_log import LogTail
from inference.worker_process import WorkerLimits, WorkerProcess

TIMEOUT_S = 30.0
STALL_S = 0.8
LIMITS = WorkerLimits(load_timeout_s=20.0, stop_grace_s=5.0, decode_stall_s=STALL_S)
SHUTDOWN = ShuttingDown("over").info()

SCRIPT = """
[load]
stderr = "cuda: device 0 fell off the bus"

[[turn]]
match.user_contains = "slowly"
text = "one two three four"
tokens_per_second = 0.01

[[turn]]
match.user_contains = "late"
text = "at last"
first_token_s = 2.0

[[turn]]
match.user_contains = "forget"
text = "one two three four"
fault = { kind = "stall", after_chunks = 2 }

[[turn]]
match.user_contains = "hang"
text = "one two three four"
fault = { kind = "hang", after_chunks = 2 }
"""


def run(main: Callable[[], Coroutine[None, None, None]], *, uv: bool = False) -> None:
    """Run to the end; afterwards no process is left, not even a zombie."""

    async def bounded() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uv else None) as runner:
        runner.run(bounded())
    assert not psutil.Process().children(recursive=True)


class Held:
    """A worker process while it is being run."""

    def __init__(self, spec: ModelSpec, limits: WorkerLimits) -> None:
        self.process = WorkerProcess(spec.engine, limits, LogTail(100))
        self.process.assign(spec, self.hear)
        self.pid = 0
        self.ready = asyncio.Event()
        self._end = asyncio.create_task(self._run())

    async def _run(self) -> ErrorInfo | None:
        error = await self.process.run()
        self.process.tell_requests()
        return error

    def hear(self, message: FromWorker) -> None:
        match message:
            case Hello():
                self.pid = message.pid
            case Ready():
                self.ready.set()

    async def ended(self) -> ErrorInfo | None:
        return await asyncio.shield(self._end)

    async def opened(self, text: str) -> Stream:
        """A stream that has said something."""
        stream = self.open(text)
        while not isinstance(await heard(stream), TextDelta):
            pass
        return stream

    def open(self, text: str) -> Stream:
        return self.process.link.open(ChatRequest(model="m", messages=(Message(role="user", content=text),)))


async def heard(stream: Stream) -> Event:
    await stream.wait()
    return stream.events.popleft()


async def last_word(stream: Stream) -> Event:
    while not isinstance(event := await heard(stream), Finish | ErrorInfo):
        pass
    return event


@contextlib.asynccontextmanager
async def worker(
    folder: Path, script: str = SCRIPT, *, limits: WorkerLimits = LIMITS, slots: int = 4
) -> AsyncIterator[Held]:
    path = folder / "script.toml"
    path.write_text(script)
    spec = ModelSpec(name="m", path=str(path), engine="scripted", slots=slots)
    held = Held(spec, limits)
    try:
        yield held
    finally:
        held.process.stop(SHUTDOWN)
        await held.ended()


def is_gone(pidfd: int) -> bool:
    ended, _, _ = select.select([pidfd], [], [], 10.0)
    os.close(pidfd)
    return bool(ended)


# --- 12, 14 --------------------------------------------------------------------------------------


def test_fault_12_a_cancelled_stream_frees_its_slot_and_is_known_to_be_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path, slots=1) as held:
            await held.ready.wait()
            stream = await held.opened("slowly")
            held.process.link.close(stream)
            owed_before = held.process.link.is_owed_words
            assert isinstance(await last_word(held.open("hello")), Finish)
            owed_after = held.process.link.is_owed_words
            assert (owed_before, owed_after) == (True, False), "the worker has said that it knows"
            assert not stream.events

    run(main)


def test_fault_14_a_killed_worker_tells_all_its_streams_and_how_long_it_served(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as held:
            await held.ready.wait()
            streams = [await held.opened("slowly") for _ in range(3)]
            os.kill(held.pid, signal.SIGKILL)
            for stream in streams:
                error = await last_word(stream)
                assert isinstance(error, ErrorInfo)
                assert error.code == "worker_crashed"
                assert "SIGKILL" in error.message
            await held.ended()
            assert held.process.served_s is not None
            assert 0.0 < held.process.served_s < TIMEOUT_S

    run(main)


def test_fault_14_a_worker_that_was_never_ready_has_not_served(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path, "[load]\nfault = 'kill'") as held:
            error = await held.ended()
            assert error is not None
            assert error.code == "load_failed"
            assert held.process.served_s is None

    run(main)


# --- 15 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["SIGSTOP", "hang", "forget"])
def test_fault_15_a_worker_that_stalls_is_ended_and_every_stream_told(
    tmp_path: Path, how: str, uv: bool
) -> None:
    """Stopped; in a native call that never returns; well, but without a thought for its requests."""

    async def main() -> None:
        async with worker(tmp_path) as held:
            await held.ready.wait()
            streams = [await held.opened("slowly")] if how != "forget" else []
            if how == "SIGSTOP":
                os.kill(held.pid, signal.SIGSTOP)
            else:
                streams.append(await held.opened(how))
            for stream in streams:
                error = await last_word(stream)
                assert isinstance(error, ErrorInfo)
                assert error.code == WorkerStalled.code
                assert f"nothing for {STALL_S:g} s (decode_stall_s)" in error.message
                assert "cuda: device 0 fell off the bus" in error.message
            assert not psutil.pid_exists(held.pid)
            with pytest.raises(WorkerStalled):
                held.open("hello")
            if how == "hang":
                assert any("script_faults.py" in line for line in held.process.log.lines()), "where it hung"
        async with worker(tmp_path) as held:
            await held.ready.wait()
            assert isinstance(await last_word(held.open("hello")), Finish)

    run(main, uv=uv)


def test_fault_15_clients_that_give_up_and_come_back_do_not_hide_a_stalled_worker(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as held:
            await held.ready.wait()
            assert isinstance(await last_word(held.open("hello")), Finish)
            os.kill(held.pid, signal.SIGSTOP)
            held.process.link.close(held.open("hello"))
            assert held.process.link.open_requests == 0
            error = await held.ended()
            assert error is not None
            assert error.code == WorkerStalled.code

    run(main)


def test_fault_15_a_worker_that_moves_or_has_nothing_to_do_is_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with worker(tmp_path) as held:
            await held.ready.wait()
            late = held.open("late")  # more than twice the limit without a word for its client
            assert isinstance(await last_word(late), Finish)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(held.ended(), 2 * STALL_S)

    run(main)


# --- 16, 17 --------------------------------------------------------------------------------------

FAKE = """#!{python}
import os, signal, socket, subprocess, sys, time
from inference.messages import Hello, ModelFacts, Output, Outputs, Ready, frame
from inference.chat import Finish, TextDelta, Usage

connection = socket.socket(fileno=int(sys.argv[-3]))

def child():
    subprocess.Popen(["sleep", "1000"])

def greet():
    connection.sendall(frame(Hello(pid=os.getpid(), rss_bytes=1)))
    connection.recv(65536)
    facts = ModelFacts(architecture="fake", n_ctx=1, n_ctx_train=1, n_vocab=1, slots=1, engine_build="",
                       has_chat_template=False, rss_bytes=1)
    connection.sendall(frame(Ready(facts=facts)))

{act}
"""
HALF = "frame(Outputs(outputs=[Output(1, TextDelta(text='half a truth'))]))[:-4]"
WORD = "frame(Outputs(outputs=[Output(1, TextDelta(text='a word'))]))"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have `act` run in the place of a worker."""

    def write(act: str) -> None:
        path = tmp_path / "fake"
        path.write_text(FAKE.format(python=sys.executable, act=act))
        path.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(path))

    return write


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (r"b'\x0f\0\0\0HTTP/1.1 200 OK'", "cannot be understood"),
        (r"b'\x06\0\0\0{\"id\":'", "cannot be understood"),
        (r"b'\xff\xff\xff\xff'", "cannot be understood"),
        (f"{WORD} + {HALF}", "exit code 0"),
        (WORD, "exit code 0"),
        ("b''", "exit code 0"),
    ],
    ids=["another language", "half a JSON", "absurd length", "half a frame", "no last word", "nothing"],
)
def test_fault_16_an_answer_that_is_none_ends_in_a_typed_error(
    tmp_path: Path, fake: Callable[[str], None], answer: str, cause: str
) -> None:
    fake(f"greet(); connection.recv(65536); connection.sendall({answer})")

    async def main() -> None:
        async with worker(tmp_path) as held:
            await held.ready.wait()
            error = await last_word(held.open("hello"))
            assert isinstance(error, ErrorInfo)
            assert error.code == "worker_crashed"
            assert cause in error.message

    run(main)


@pytest.mark.parametrize("fault", ["fault = 'hang'", "fail = 'no such tensor'", "fault = 'abort'"])
def test_fault_17_a_load_that_fails_in_any_way_tells_its_words(tmp_path: Path, fault: str) -> None:
    async def main() -> None:
        script = f"[load]\nstderr = 'ggml: cannot allocate 9 GiB'\n{fault}"
        limits = WorkerLimits(load_timeout_s=1.0, stop_grace_s=5.0)
        async with worker(tmp_path, script, limits=limits) as held:
            error = await held.ended()
            assert error is not None
            assert error.code == ("worker_stalled" if "hang" in fault else "load_failed")
            assert "ggml: cannot allocate 9 GiB" in error.message

    run(main)


# --- 20 ------------------------------------------------------------------------------------------

STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); child(); greet(); time.sleep(1000)"
OBEDIENT = "child(); greet(); connection.recv(65536)"
DYING = "child(); greet(); connection.recv(65536); os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize("act", [STUBBORN, OBEDIENT, DYING], ids=["ignores SIGTERM", "exits", "is killed"])
def test_fault_20_nothing_is_left_of_a_workers_process_group(
    tmp_path: Path, fake: Callable[[str], None], act: str
) -> None:
    """Memory is given back by the exit of all who hold it: the child does not listen to SIGTERM either."""
    fake(act)

    async def main() -> None:
        limits = WorkerLimits(load_timeout_s=20.0, stop_grace_s=0.1)
        async with worker(tmp_path, limits=limits) as held:
            await held.ready.wait()
            (child,) = psutil.Process(held.pid).children()
            members = [os.pidfd_open(held.pid), os.pidfd_open(child.pid)]
            held.process.stop(SHUTDOWN)
            assert await held.ended() is None
            assert all(is_gone(pidfd) for pidfd in members)

    run(main)


# --- 39 ------------------------------------------------------------------------------------------

PARENT = """
import asyncio, sys
from inference.chat import ChatRequest, Message, TextDelta
from inference.messages import LoadProgress, Ready
from inference.model_spec import ModelSpec
from inference.worker_log import LogTail
from inference.worker_process import WorkerLimits, WorkerProcess

async def main():
    path, word = sys.argv[1:]
    heard = asyncio.Queue()
    spec = ModelSpec(name="m", path=path, engine="scripted")
    process = WorkerProcess("scripted", WorkerLimits(600.0, 5.0), LogTail(10))
    process.assign(spec, heard.put_nowait)
    owner = asyncio.create_task(process.run())
    awaited = Ready if word else LoadProgress
    while not isinstance(await heard.get(), awaited):
        pass
    if word:
        stream = process.link.open(ChatRequest(model="m", messages=(Message(role="user", content=word),)))
        event = None
        while not isinstance(event, TextDelta):
            await stream.wait()
            event = stream.events.popleft()
    print("here", flush=True)
    await owner

asyncio.run(main())
"""


@pytest.mark.parametrize("word", ["", "slowly", "hang"], ids=["load", "decode", "hung decode"])
def test_fault_39_a_worker_dies_with_its_parent(tmp_path: Path, word: str) -> None:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT if word else "[load]\nseconds = 1000\nprogress_steps = 10000")
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), word], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "here\n"
        (child,) = psutil.Process(parent.pid).children()
        orphan = os.pidfd_open(child.pid)
        parent.kill()
    assert is_gone(orphan)
