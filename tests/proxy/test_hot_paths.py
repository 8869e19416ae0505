"""The short way to an endpoint: what it takes, and what it leaves to the router."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from proxy.hot_paths import HotPaths, split_run


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/v1/messages", ("", "/v1/messages")),
        ("/r/a.b/v1/messages", ("a.b", "/v1/messages")),
        ("/r/a/r/b/v1/messages", ("a", "/r/b/v1/messages")),
        ("/r//v1/messages", ("", "/r//v1/messages")),
        ("/r/a", ("a", "")),
        ("/rv1", ("", "/rv1")),
    ],
)
def test_a_run_in_the_path(path: str, parts: tuple[str, str]) -> None:
    assert split_run(path) == parts


def asked(method: str, path: str, kind: str = "http") -> tuple[str, Any]:
    """Who was asked, and with which parameters of the path."""
    seen: list[tuple[str, Any]] = []

    def named(name: str) -> Any:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append((name, scope.get("path_params")))

        return app

    async def nothing(*_: Any) -> Any: ...

    layer = HotPaths(named("router"), {"/v1/messages": named("messages")})
    asyncio.run(layer({"type": kind, "method": method, "path": path}, nothing, nothing))
    [answer] = seen
    return answer


def test_posts_go_straight_and_all_else_to_the_router() -> None:
    assert asked("POST", "/v1/messages") == ("messages", {})
    assert asked("POST", "/r/x/v1/messages") == ("messages", {"run": "x"})
    assert asked("GET", "/v1/messages") == ("router", None)
    assert asked("POST", "/v1/messages/") == ("router", None)
    assert asked("POST", "/r/x/r/y/v1/messages") == ("router", None)
    assert asked("", "", kind="lifespan") == ("router", None)
