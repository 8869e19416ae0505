"""Fault 36: with --offline, a remote model is refused before any socket opens, by whatever name it is asked
for, in every dialect, and through fallbacks too. Loopback fakes stand where the providers would be, so that
a connection is seen twice over: by the guard, and by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.proxy.remote_rig import HELLO, remote
from tests.proxy.rig import run
from tests.proxy.sockets import connections

ROLES = '[roles]\nmain = "sonnet"\nsmall = "flash"\nbackground = ["claude-haiku-*"]\n'
NAMES = [
    "sonnet",
    "flash",
    "glm",
    "glm-coding",
    "glm-messages",
    "main",
    "small",
    "background",
    "claude-haiku-9",
]
DIALECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": HELLO}),
    "streamed": ("/v1/chat/completions", {"messages": HELLO, "stream": True}),
    "messages": ("/v1/messages", {"messages": HELLO, "max_tokens": 9}),
    "count": ("/v1/messages/count_tokens", {"messages": HELLO}),
    "responses": ("/v1/responses", {"input": "hello"}),
    "completions": ("/v1/completions", {"prompt": "hello"}),
    "embeddings": ("/v1/embeddings", {"input": "hello"}),
    "run": ("/r/one/v1/chat/completions", {"messages": HELLO}),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_fault_36_remote_models_are_refused(tmp_path: Path, dialect: str) -> None:
    async def main() -> None:
        path, fields = DIALECTS[dialect]
        async with remote(tmp_path, offline=True, more=ROLES) as far:
            with connections() as seen:
                for name in NAMES:
                    status, answer, _ = await far.rig.post(path, {"model": name, **fields})
                    assert status == 403, (name, answer)
                    if dialect not in ("messages", "count"):
                        assert answer["error"]["code"] == "offline"
                    assert answer["error"]["hotseat"]["code"] == "offline"
            assert {port for _, port in seen} <= {far.rig.port}
            assert not far.openrouter.asked
            assert not far.zai.asked

    run(main())


def test_fault_36_fallbacks_open_nothing_either(tmp_path: Path) -> None:
    """A list of remote and local names: without the net only the local one is there."""

    async def main() -> None:
        async with remote(tmp_path, offline=True) as far:
            with connections() as seen:
                told = [await far.chat(name) for name in ("careful", "local-at-last")]
            assert {port for _, port in seen} <= {far.rig.port}
            assert not far.openrouter.asked
            assert not far.zai.asked
            for status, answer, _ in told:
                assert (status, answer["error"]["code"]) == (403, "offline")

    run(main())


def test_fault_36_the_guard_sees_what_is_not_refused(tmp_path: Path) -> None:
    """Else the tests above would show nothing."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            with connections() as seen:
                assert (await far.chat("sonnet"))[0] == 200
                assert (await far.chat("glm"))[0] == 200
            assert {far.openrouter.port, far.zai.port} <= {port for _, port in seen}

    run(main())


def test_fault_36_local_models_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path, offline=True) as far:
            assert (await far.chat("echo"))[0] == 200
            client, theirs = await far.openai(), await far.anthropic()
            with pytest.raises(openai.PermissionDeniedError):
                await client.chat.completions.create(model="sonnet", messages=HELLO)
            with pytest.raises(anthropic.PermissionDeniedError):
                await theirs.messages.create(model="sonnet", messages=HELLO, max_tokens=9)

    run(main())
