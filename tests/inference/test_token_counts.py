"""Counting tokens without loading: one helper process, which never outlives its counter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from inference.chat import ChatRequest, Message
from inference.engines.script_answers import prompt
from inference.errors import LoadFailed, Overloaded, WorkerCrashed, WorkerStalled
from inference.model_spec import ModelSpec
from inference.token_counts import MAX_WAITING, TokenCounter, TokensNotCountable

SCRIPTED = ModelSpec(name="m", path="m.toml", engine="scripted", n_ctx=64)


def asked(text: str = "hello") -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role="user", content=text),))


def counting(
    main: Callable[[TokenCounter], Awaitable[None]], *, timeout_s: float = 30.0, idle_s: float = 60.0
) -> None:
    async def run() -> None:
        async with TokenCounter(timeout_s=timeout_s, idle_s=idle_s) as counter:
            await main(counter)
            pid = counter.pid
        assert pid is None or not psutil.pid_exists(pid)

    asyncio.run(run())


def test_one_helper_answers_many() -> None:
    async def main(counter: TokenCounter) -> None:
        texts = ["hello", "a much longer text " * 100, "line\nbreak"]
        counts = await asyncio.gather(*(counter.count(SCRIPTED, asked(text)) for text in texts))
        assert counts == [prompt(asked(text)).n_tokens for text in texts]
        pid = counter.pid
        await counter.count(SCRIPTED, asked())
        assert counter.pid == pid

    counting(main)


def test_another_model_replaces_it() -> None:
    async def main(counter: TokenCounter) -> None:
        await counter.count(SCRIPTED, asked())
        first = counter.pid
        assert first is not None
        await counter.count(ModelSpec(name="n", path="n.toml", engine="scripted"), asked())
        assert counter.pid != first
        assert not psutil.pid_exists(first)

    counting(main)


def test_a_helper_that_died_is_started_again() -> None:
    async def main(counter: TokenCounter) -> None:
        expected = await counter.count(SCRIPTED, asked())
        assert counter.pid is not None
        os.kill(counter.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(counter.count(SCRIPTED, asked()))
        await asyncio.sleep(0)
        os.kill(counter.pid, signal.SIGKILL)
        assert await waiting == expected

    counting(main)


def test_a_helper_that_dies_at_once() -> None:
    async def main(counter: TokenCounter) -> None:
        waiting = asyncio.create_task(counter.count(SCRIPTED, asked()))
        while counter.pid is None:  # noqa: ASYNC110 - nothing tells of a start
            await asyncio.sleep(0)
        os.kill(counter.pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashed, match="signal 9"):
            await waiting
        assert await counter.count(SCRIPTED, asked()) > 0

    counting(main)


def test_a_cancelled_question_gives_nobody_its_answer() -> None:
    async def main(counter: TokenCounter) -> None:
        await counter.count(SCRIPTED, asked())
        first = counter.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        task = asyncio.create_task(counter.count(SCRIPTED, asked("long " * 1000)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not psutil.pid_exists(first)
        assert await counter.count(SCRIPTED, asked()) == prompt(asked()).n_tokens

    counting(main)


def test_a_helper_that_hangs() -> None:
    async def main(counter: TokenCounter) -> None:
        with pytest.raises(WorkerStalled, match=r"0\.01 s"):
            await counter.count(SCRIPTED, asked())
        assert counter.pid is None

    counting(main, timeout_s=0.01)


def until_dead(pid: int) -> None:
    """Without taking its exit status from the loop."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_it_leaves_when_nobody_asks() -> None:
    async def main(counter: TokenCounter) -> None:
        await counter.count(SCRIPTED, asked())
        assert counter.pid is not None
        await asyncio.to_thread(until_dead, counter.pid)
        assert await counter.count(SCRIPTED, asked()) > 0

    counting(main, idle_s=0.01)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    async def main(counter: TokenCounter) -> None:
        path = tmp_path / "broken.gguf"
        path.write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 16)
        for _ in range(2):
            with pytest.raises(LoadFailed, match=r"broken\.gguf"):
                await counter.count(ModelSpec(name="m", path=str(path)), asked())

    counting(main)


def test_a_server_without_a_file() -> None:
    async def main(counter: TokenCounter) -> None:
        with pytest.raises(TokensNotCountable, match=r"add path"):
            await counter.count(ModelSpec(name="m", path="", engine="command"), asked())
        assert counter.pid is None

    counting(main)


def test_too_many_questions() -> None:
    async def main(counter: TokenCounter) -> None:
        asking = [counter.count(SCRIPTED, asked()) for _ in range(MAX_WAITING + 1)]
        results = await asyncio.gather(*asking, return_exceptions=True)
        refused = [result for result in results if isinstance(result, Overloaded)]
        assert len(refused) == 1
        assert len(set(map(str, results))) == 2

    counting(main)
