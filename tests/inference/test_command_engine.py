"""The command engine with a real server process: loads, readiness, ends, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from inference.command_line import filled_in, placeholders_in
from inference.engines.command import CommandEngine, load
from inference.engines.health_probe import probe
from inference.engines.server_process import ServerProcess
from inference.errors import EngineFault, HotseatError, LoadFailed, WorkerStalled
from inference.model_spec import ModelSpec
from inference.pool import PoolModel, PoolSettings, WorkerPool
from inference.process_tree import descendants_rss_bytes
from tests.inference.pooling import NoGpu

MIB = 2**20
SERVER = str(Path(__file__).parents[1] / "fake_model_server.py")
PATIENCE_S = 40.0
ENDS_WITHIN_S = 10.0


def command(folder: Path, *options: str) -> tuple[str, ...]:
    return (sys.executable, SERVER, "--port", "{port}", "--folder", str(folder), *options)


def spec(folder: Path, *options: str, **fields: Any) -> ModelSpec:
    told: dict[str, Any] = {"name": "m", "path": "", "command": command(folder, *options)}
    return ModelSpec(engine="command", **(told | fields))


@contextlib.contextmanager
def loaded(model: ModelSpec) -> Iterator[CommandEngine]:
    engine = load(model, lambda fraction: None)
    try:
        yield engine
    finally:
        engine.close()


def gone(pid: int) -> None:
    """Returns when the process has ended, whether or not its parent has buried it."""
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as process:
        ended, _, _ = select.select([process], [], [], ENDS_WITHIN_S)
        assert ended, f"process {pid} still runs"


# --- in this process: loading and ending -----------------------------------------------------------


def test_a_ready_server_says_where_it_listens_and_who_it_is(tmp_path: Path) -> None:
    with loaded(spec(tmp_path, n_ctx=512, slots=3)) as engine:
        facts = engine.facts
        assert facts.server_pid is not None
        assert facts.base_url is not None
        port = int(facts.base_url.removeprefix("http://127.0.0.1:"))
        assert (facts.n_ctx, facts.slots) == (512, 3)
        assert probe(port, "/health", 5.0).is_ready
        assert engine.step() == []
    gone(facts.server_pid)


def test_the_server_is_told_what_it_is_for_and_no_secret_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    report = tmp_path / "report"
    options = ("--report", str(report), "--health", "/{n_ctx}/{slots}/{n_ctx_total}/{name}/{path}")
    env = {"LISTEN": "at {port}", "JSON": '{"a": 1}'}
    model = spec(tmp_path, *options, path="x.gguf", n_ctx=64, health_path="/64/2/128/m/x.gguf", env=env)
    with loaded(model) as engine:
        told = json.loads(report.read_text())
        port = str(engine.facts.base_url).rpartition(":")[2]
    assert told["env"]["LISTEN"] == f"at {port}"
    assert told["env"]["JSON"] == '{"a": 1}'
    assert "PYTHONPATH" not in told["env"]
    assert told["argv"][:2] == ["--port", port]


def test_a_server_that_is_slow_to_be_ready_is_asked_until_it_is(tmp_path: Path) -> None:
    progress: list[float] = []
    engine = load(spec(tmp_path, "--unready", "5"), progress.append)
    engine.close()
    assert len(progress) <= 3  # only news is progress: not listening, 503


def test_a_hung_health_check_does_not_hold_up_the_next_one(tmp_path: Path) -> None:
    """llama-swap: a health check that hangs wedges everything behind it."""
    begun_s = time.monotonic()
    with loaded(spec(tmp_path, "--hang", "2", health_timeout_s=0.2)):
        pass
    assert time.monotonic() - begun_s > 0.4


def test_a_dripping_health_check_ends_at_its_deadline(tmp_path: Path) -> None:
    with loaded(spec(tmp_path, "--drip", "1", health_timeout_s=0.3)):
        pass


def test_a_server_that_dies_in_a_health_check_is_noticed_at_once(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"the server of 'm' ended with exit code 8 while loading"):
        load(spec(tmp_path, "--die-when-asked", health_timeout_s=30.0), lambda fraction: None)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="'no-such-server' cannot be started: No such file"):
        load(spec(tmp_path, command=("no-such-server",)), lambda fraction: None)


def test_an_unknown_placeholder_is_a_failed_load(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"unknown placeholder \{prot\}"):
        load(spec(tmp_path, "{prot}"), lambda fraction: None)


def test_a_server_that_ends_while_ready_is_a_fault(tmp_path: Path) -> None:
    with loaded(spec(tmp_path)) as engine:
        assert engine.facts.server_pid is not None
        os.kill(engine.facts.server_pid, signal.SIGKILL)
        gone(engine.facts.server_pid)
        with pytest.raises(EngineFault, match=r"the server of 'm' died of SIGKILL"):
            engine.step()


def test_a_deaf_server_is_killed_with_all_it_has_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    os.mkfifo(child)  # read to its end when the server is deaf and has its child
    argv = [word.replace("{port}", "0") for word in command(tmp_path, "--deaf", "--child", str(child))]
    server = ServerProcess(argv, os.environ)
    pid = int(child.read_text())
    server.stop([], os.environ, grace_s=0.2)
    assert server.exit_code() == -signal.SIGKILL
    gone(pid)


def test_a_stop_command_is_asked_first(tmp_path: Path) -> None:
    note = tmp_path / "stopped"
    script = 'echo "$1" > "$2"; kill "$1"'
    with loaded(spec(tmp_path, stop_command=("sh", "-c", script, "sh", "{pid}", str(note)))) as engine:
        pid = engine.facts.server_pid
    assert note.read_text().strip() == str(pid)


def test_a_stop_command_that_fails_is_followed_by_sigterm(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with loaded(spec(tmp_path, stop_command=("false",))) as engine:
        pid = engine.facts.server_pid
    assert pid is not None
    gone(pid)
    assert "stop_command failed" in capfd.readouterr().err


def test_memory_counts_the_whole_tree(tmp_path: Path) -> None:
    before = descendants_rss_bytes(os.getpid())
    with loaded(spec(tmp_path, "--child", str(tmp_path / "child"))) as engine:
        grown = descendants_rss_bytes(os.getpid()) - before
        assert engine.facts.server_pid is not None
        server = psutil.Process(engine.facts.server_pid)
        assert grown > server.memory_info().rss + 2 * MIB


@pytest.mark.parametrize(
    ("text", "found", "result"),
    [
        ("--port={port}", {"port"}, "--port=8080"),
        ('{"a": {"b": 1}}', set(), '{"a": {"b": 1}}'),
        ("{{port}} {{ messages }} {}", set(), "{{port}} {{ messages }} {}"),
        ("{port}{port}", {"port"}, "80808080"),
    ],
)
def test_placeholders_are_words_in_single_braces(text: str, found: set[str], result: str) -> None:
    assert placeholders_in([text]) == found
    assert filled_in(text, {"port": "8080"}) == result


def test_nothing_that_is_not_http_counts_as_ready() -> None:
    def answer(listener: socket.socket, data: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(data)

    for data in (b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.1 302 Found\r\n\r\n", b"x" * 5000):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=answer, args=(listener, data))
            thread.start()
            assert not probe(listener.getsockname()[1], "/health", 5.0).is_ready, data
            thread.join()


# --- in a worker of a pool -------------------------------------------------------------------------


SETTINGS = PoolSettings(budget_bytes=2**32, stop_grace_s=5.0)


@contextlib.asynccontextmanager
async def pool_of(*models: ModelSpec, settings: PoolSettings = SETTINGS) -> AsyncIterator[WorkerPool]:
    listed = [PoolModel(model, 100 * MIB) for model in models]
    async with asyncio.timeout(PATIENCE_S), WorkerPool(listed, settings, NoGpu()) as pool:
        yield pool


def server_pid(pool: WorkerPool) -> int:
    facts = pool.state().models[0].facts
    assert facts is not None
    assert facts.server_pid is not None
    return facts.server_pid


def test_a_lease_says_where_the_server_is_and_its_memory_is_measured(tmp_path: Path) -> None:
    async def main() -> int:
        async with pool_of(spec(tmp_path)) as pool:
            async with pool.lease("m") as lease:
                assert lease.base_url is not None
                assert probe(int(lease.base_url.rpartition(":")[2]), "/health", 5.0).is_ready
            state = pool.state().models[0]
            assert state.measured_bytes is not None
            assert state.measured_bytes > 5 * MIB
            return server_pid(pool)

    gone(asyncio.run(main()))


def test_fault_17_a_server_that_dies_at_load_is_quoted_to_all_who_wait(tmp_path: Path) -> None:
    async def main() -> list[BaseException | None]:
        async with pool_of(spec(tmp_path, "--die", "cannot find tensor 17")) as pool:
            return await asyncio.gather(*(pool.load("m") for _ in range(3)), return_exceptions=True)

    for error in asyncio.run(main()):
        assert isinstance(error, LoadFailed)
        assert "ended with exit code 7 while loading" in error.message
        assert "cannot find tensor 17" in error.message


def test_a_health_check_that_never_succeeds_ends_at_the_load_timeout(tmp_path: Path) -> None:
    model = spec(tmp_path, health_path="/wrong", health_timeout_s=0.2)

    async def main() -> int:
        async with pool_of(model, settings=replace(SETTINGS, load_timeout_s=1.0)) as pool:
            with pytest.raises(WorkerStalled, match=r"no progress for 1 s.*/wrong.*status 404"):
                await pool.load("m")
            return 0

    asyncio.run(main())


def test_a_crash_while_ready_ends_the_worker_and_the_next_lease_starts_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with pool_of(spec(tmp_path)) as pool, pool.events() as events:
            await pool.load("m")
            first = server_pid(pool)
            os.kill(first, signal.SIGKILL)
            async for event in events:
                if event.kind == "crashed":
                    assert "died of SIGKILL" in event.detail
                    break
            async with pool.lease("m"):
                assert server_pid(pool) != first

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_orphan_when_the_worker_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    child = tmp_path / "child"

    async def main() -> None:
        async with pool_of(spec(tmp_path, "--deaf", "--child", str(child))) as pool:
            await pool.load("m")
            server = server_pid(pool)
            worker = psutil.Process(server).ppid()
            os.kill(worker, number)
            await asyncio.to_thread(gone, server)
            await asyncio.to_thread(gone, int(child.read_text()))

    asyncio.run(main())


def test_a_load_that_is_given_up_leaves_no_server(tmp_path: Path) -> None:
    report = tmp_path / "report"
    os.mkfifo(report)  # read to its end when the server has started

    async def main() -> None:
        model = spec(tmp_path, "--report", str(report), "--hang", "1000", health_timeout_s=30.0)
        async with pool_of(model) as pool:
            waiting = asyncio.create_task(pool.load("m"))
            await asyncio.to_thread(report.read_text)
            with contextlib.suppress(HotseatError):
                await pool.unload("m")
            with contextlib.suppress(HotseatError):
                await waiting

    asyncio.run(main())
    for process in psutil.process_iter(["cmdline"]):
        if str(report) in (process.info["cmdline"] or []):
            gone(process.pid)
