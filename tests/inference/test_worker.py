"""The worker process, spoken to directly: what it says, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from inference.chat import ChatRequest, EmbeddingRequest, Embeddings, Finish, Message, TextDelta
from inference.errors import ErrorInfo
from inference.messages import (
    Alive,
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
    Outputs,
    Ready,
    Shutdown,
    ToWorker,
    frame,
    from_worker_decoder,
)
from inference.model_spec import ModelSpec
from inference.worker import (
    EXIT_BROKEN_PROTOCOL,
    EXIT_ENGINE_FAULT,
    EXIT_LOAD_FAILED,
    MAX_SILENT_STEPS,
    MEMORY_STEP_BYTES,
    SignsOfLife,
)
from inference.worker_process import worker_environment

TIMEOUT_S = 20.0
SCRIPT = """
[[turn]]
match.user_contains = "stall"
text = "one two three four"
fault = { kind = "stall", after_chunks = 2 }

[[turn]]
match.user_contains = "hang"
text = "one two three four"
fault = { kind = "hang", after_chunks = 2 }

[[turn]]
match.user_contains = "break"
text = "one two three four"
fault = { kind = "engine_fault", after_chunks = 1, message = "the device is lost" }
"""


class Spoken:
    """A worker process at the other end of a socket."""

    def __init__(self, engine: str = "scripted", parent_pid: int | None = None) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(TIMEOUT_S)
        self.frames = FrameReader()
        self.pending: list[FromWorker] = []
        parent = str(parent_pid or os.getpid())
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "inference.worker", str(theirs.fileno()), parent, engine],
                pass_fds=(theirs.fileno(),),
                env=worker_environment(os.environ),
                stderr=subprocess.PIPE,
                start_new_session=True,
            )

    def say(self, *messages: ToWorker) -> None:
        self.socket.sendall(b"".join(frame(message) for message in messages))

    def hear(self) -> FromWorker | None:
        """The next message; None at the end of file."""
        while not self.pending:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.pending = [from_worker_decoder.decode(body) for body in self.frames.feed(data)]
        return self.pending.pop(0)

    def load(self, path: Path, *, slots: int = 2, n_ctx: int = 4096, sign_of_life_s: float = 1.0) -> Ready:
        assert isinstance(self.hear(), Hello)
        spec = ModelSpec(name="m", path=str(path), engine="scripted", slots=slots, n_ctx=n_ctx)
        self.say(Load(spec=spec, sign_of_life_s=sign_of_life_s))
        while isinstance(message := self.hear(), LoadProgress):
            pass
        assert isinstance(message, Ready)
        return message

    def outputs_until_last_word(self, request_id: int) -> list[object]:
        events: list[object] = []
        while True:
            message = self.hear()
            if isinstance(message, Memory | Alive):
                continue
            assert isinstance(message, Outputs), message
            events += [output.event for output in message.outputs if output.request_id == request_id]
            if events and isinstance(events[-1], Finish | ErrorInfo | Embeddings):
                return events

    def exit_code(self) -> int:
        return self.process.wait(TIMEOUT_S)

    def close(self) -> str:
        self.socket.close()
        self.process.kill()
        _, stderr = self.process.communicate(timeout=TIMEOUT_S)
        return bytes(stderr).decode()


@pytest.fixture
def worker() -> Iterator[Spoken]:
    spoken = Spoken()
    yield spoken
    spoken.close()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    return path


def ask(request_id: int, text: str) -> Generate:
    request = ChatRequest(model="m", messages=(Message(role="user", content=text),))
    return Generate(request_id=request_id, request=request)


def test_from_hello_to_an_answer(worker: Spoken, script: Path) -> None:
    ready = worker.load(script)
    assert ready.facts.architecture == "scripted"
    assert ready.facts.rss_bytes > 0
    worker.say(ask(7, "hello there"))
    events = worker.outputs_until_last_word(7)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == "You said: hello there"
    assert isinstance(events[-1], Finish)


def test_embeddings(worker: Spoken, script: Path) -> None:
    worker.load(script)
    worker.say(Embed(request_id=1, request=EmbeddingRequest(model="m", inputs=("a", "b"))))
    (embeddings,) = worker.outputs_until_last_word(1)
    assert isinstance(embeddings, Embeddings)
    assert len(embeddings.vectors) == 2


def test_progress_is_pushed_but_not_for_every_tensor(worker: Spoken, tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text("[load]\nprogress_steps = 10000")
    assert isinstance(worker.hear(), Hello)
    worker.say(Load(spec=ModelSpec(name="m", path=str(path), engine="scripted")))
    fractions = []
    while isinstance(message := worker.hear(), LoadProgress):
        fractions.append(message.fraction)
    assert isinstance(message, Ready)
    assert fractions == sorted(fractions)
    assert 1 <= len(fractions) < 1000


def test_cancel_right_behind_its_request_wins(worker: Spoken, script: Path) -> None:
    worker.load(script, slots=1)
    worker.say(ask(1, "stall"), Cancel(request_id=1), ask(2, "hello"))
    assert isinstance(worker.outputs_until_last_word(2)[-1], Finish), "the only slot was freed"


def test_a_request_the_model_cannot_answer_is_refused_and_the_worker_lives(
    worker: Spoken, script: Path
) -> None:
    worker.load(script)
    worker.say(ask(1, "word " * 10000))
    (error,) = worker.outputs_until_last_word(1)
    assert isinstance(error, ErrorInfo)
    assert error.code == "context_length_exceeded"
    worker.say(ask(2, "hello"))
    assert isinstance(worker.outputs_until_last_word(2)[-1], Finish)


def test_an_engine_beyond_repair_is_told_to_all_and_ends_the_process(worker: Spoken, script: Path) -> None:
    worker.load(script, slots=3)
    worker.say(ask(1, "stall"), ask(3, "stall"), Cancel(request_id=3), ask(2, "break"))
    last_words: dict[int, ErrorInfo] = {}
    while (heard := worker.hear()) is not None:
        if isinstance(heard, Outputs):
            for output in heard.outputs:
                if isinstance(output.event, ErrorInfo):
                    last_words[output.request_id] = output.event
    assert {request_id: error.code for request_id, error in last_words.items()} == {
        1: "engine_fault",
        2: "engine_fault",
    }, "and not 3, which nobody waits for"
    assert "the device is lost" in last_words[1].message
    assert worker.exit_code() == EXIT_ENGINE_FAULT
    assert "Traceback" in worker.close()


def test_a_load_that_fails_is_told_and_ends_the_process(worker: Spoken, tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text("[load]\nfail = 'out of memory'")
    assert isinstance(worker.hear(), Hello)
    worker.say(Load(spec=ModelSpec(name="m", path=str(path), engine="scripted")))
    while isinstance(message := worker.hear(), LoadProgress):
        pass
    assert isinstance(message, LoadError)
    assert (message.error.code, message.error.message) == ("load_failed", "out of memory")
    assert worker.exit_code() == EXIT_LOAD_FAILED


def test_an_engine_that_cannot_be_imported_is_a_failed_load() -> None:
    worker = Spoken(engine="no-such-engine")
    try:
        message = worker.hear()
        assert isinstance(message, LoadError)
        assert "no-such-engine" in message.error.message
        assert worker.exit_code() == EXIT_LOAD_FAILED
    finally:
        worker.close()


def test_end_of_file_ends_it_at_once(worker: Spoken, script: Path) -> None:
    worker.load(script)
    worker.say(ask(1, "stall"))
    assert worker.hear() is not None
    worker.socket.shutdown(socket.SHUT_WR)
    assert worker.exit_code() == 0


def test_end_of_file_ends_it_in_a_step_that_hangs(worker: Spoken, script: Path) -> None:
    """Also when steps have been so short that nobody reads beside them."""
    worker.load(script)
    for request_id in range(1, 6):
        worker.say(ask(request_id, "hello"))
        assert isinstance(worker.outputs_until_last_word(request_id)[-1], Finish)
    worker.say(ask(6, "hang"))
    assert isinstance(worker.hear(), Outputs)
    worker.socket.shutdown(socket.SHUT_WR)
    assert worker.exit_code() == 0


@pytest.mark.parametrize("farewell", ["end of file", "shutdown"])
def test_a_hung_load_does_not_keep_it(worker: Spoken, tmp_path: Path, farewell: str) -> None:
    path = tmp_path / "script.toml"
    path.write_text("[load]\nfault = 'hang'\nprogress_steps = 2")
    assert isinstance(worker.hear(), Hello)
    worker.say(Load(spec=ModelSpec(name="m", path=str(path), engine="scripted")))
    assert isinstance(worker.hear(), LoadProgress)
    if farewell == "shutdown":
        worker.say(Shutdown())
    else:
        worker.socket.shutdown(socket.SHUT_WR)
    assert worker.exit_code() == 0


def test_sigterm_ends_one_that_hangs_and_tells_where(worker: Spoken, script: Path) -> None:
    worker.load(script)
    worker.say(ask(1, "hang"))
    assert isinstance(worker.hear(), Outputs)
    wait_until_still(worker.process.pid)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.exit_code() == -signal.SIGTERM
    assert "script_faults.py" in worker.close()


def wait_until_still(pid: int) -> None:
    """Until it has not been on a processor for a tenth of a second: it hangs where it is to hang."""
    switches, since_s = 0, time.monotonic()
    while time.monotonic() - since_s < 0.1:
        if (now := psutil.Process(pid).num_ctx_switches().voluntary) != switches:
            switches, since_s = now, time.monotonic()


def test_a_cancel_is_answered(worker: Spoken, script: Path) -> None:
    worker.load(script)
    worker.say(ask(1, "stall"))
    while (heard := worker.hear()) != Alive():
        assert isinstance(heard, Outputs)
        worker.say(Cancel(request_id=1))


def test_it_gives_signs_of_life_while_it_waits_for_its_next_step(worker: Spoken, tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text("[defaults]\nfirst_token_s = 0.5")
    worker.load(path, sign_of_life_s=0.05)
    worker.say(ask(1, "hello"))
    assert isinstance(worker.hear(), Outputs)
    assert worker.hear() == Alive()
    assert worker.hear() == Alive()
    assert isinstance(worker.outputs_until_last_word(1)[-1], Finish)


def test_signs_of_life_are_given_when_there_was_no_other() -> None:
    signs = SignsOfLife(2.0)
    signs.spoke(10.0)
    assert [signs.stepped(now_s) for now_s in (10.5, 11.5, 12.0, 12.5, 14.0)] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_a_loop_that_computes_nothing_runs_out_of_signs() -> None:
    signs = SignsOfLife(1.0)
    assert sum(signs.stepped(float(step)) for step in range(2 * MAX_SILENT_STEPS)) == MAX_SILENT_STEPS
    signs.spoke(0.0)
    assert signs.stepped(1.0)


def test_shutdown_is_obeyed_with_requests_running(worker: Spoken, script: Path) -> None:
    worker.load(script)
    worker.say(ask(1, "stall"), Shutdown())
    assert worker.exit_code() == 0
    assert worker.close() == ""


def test_ctrl_c_belongs_to_the_parent(worker: Spoken, script: Path) -> None:
    worker.load(script)
    worker.process.send_signal(signal.SIGINT)
    worker.say(ask(1, "hello"))
    assert isinstance(worker.outputs_until_last_word(1)[-1], Finish)


def test_another_language_ends_it_with_a_trace(worker: Spoken, script: Path) -> None:
    worker.load(script)
    worker.socket.sendall(b"\x04\0\0\0GET ")
    assert worker.exit_code() == EXIT_BROKEN_PROTOCOL
    assert "Traceback" in worker.close()


def test_a_request_before_the_model_is_refused(worker: Spoken) -> None:
    assert isinstance(worker.hear(), Hello)
    worker.say(ask(1, "hello"))
    assert worker.exit_code() == EXIT_BROKEN_PROTOCOL


def test_a_worker_whose_parent_is_already_gone_does_not_start() -> None:
    worker = Spoken(parent_pid=1)
    try:
        assert worker.hear() is None
        assert worker.exit_code() == 0
    finally:
        worker.close()


def test_ready_tells_what_the_load_took(worker: Spoken, tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(f"[load]\nallocate_bytes = {32 * 2**20}")
    hello = worker.hear()
    assert isinstance(hello, Hello)
    worker.say(Load(spec=ModelSpec(name="m", path=str(path), engine="scripted")))
    while isinstance(message := worker.hear(), LoadProgress):
        pass
    assert isinstance(message, Ready)
    assert message.facts.rss_bytes >= hello.rss_bytes + 32 * 2**20


def test_growth_after_the_load_is_reported(worker: Spoken, tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.touch()
    ready = worker.load(path, n_ctx=4_000_000)
    worker.say(ask(1, "".join(f"{i} " for i in range(1_500_000))))
    while not isinstance(message := worker.hear(), Memory):
        assert isinstance(message, Outputs)
    assert message.rss_bytes >= ready.facts.rss_bytes + MEMORY_STEP_BYTES


def test_a_worker_gets_no_secret_and_finds_its_package() -> None:
    environment = worker_environment(
        {
            "PATH": "/bin",
            "LC_ALL": "C",
            "CUDA_VISIBLE_DEVICES": "0",
            "HOTSEAT_CUDA": "1",
            "HOTSEAT_API_KEYS": "k1",
            "LLAMA_AUTH_TOKEN": "t",
            "OPENROUTER_API_KEY": "k2",
            "AWS_PROFILE": "x",
            "PYTHONPATH": "/elsewhere",
        }
    )
    python_path = environment.pop("PYTHONPATH").split(os.pathsep)
    assert (Path(python_path[0]) / "inference" / "worker.py").exists()
    assert python_path[1:] == ["/elsewhere"]
    assert environment == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "0",
        "HOTSEAT_CUDA": "1",
        "GGML_NO_BACKTRACE": "1",
    }
