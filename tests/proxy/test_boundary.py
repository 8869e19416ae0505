"""The outermost layer: whatever happens inside, the client gets one typed answer and no secrets."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.errors import Overloaded
from proxy.boundary import ANSWER_HEADERS, REQUEST_ID, Boundary, RequestIds
from proxy.errors import ClientGone

SECRET = "hunter2"


def answer_of(app: ASGIApp, path: str = "/x\nforged line") -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(Boundary(app)(scope, receive, send))
    return sent


def raising(error: Exception, *, after_start: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[ANSWER_HEADERS] = [(b"x-hotseat-model", b"m")]
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


def test_unexpected_exception(caplog: pytest.LogCaptureFixture) -> None:
    start, body = answer_of(raising(ZeroDivisionError(SECRET)))
    headers = dict(start["headers"])
    error = json.loads(body["body"])["error"]
    assert start["status"] == 500
    assert (error["code"], error["type"], error["hotseat"]["fault"]) == (
        "internal_error",
        "server_error",
        "proxy",
    )
    assert SECRET not in body["body"].decode()
    request_id = headers[b"x-hotseat-request-id"].decode()
    assert request_id in error["message"]
    [record] = caplog.records
    assert request_id in record.getMessage()
    assert "\n" not in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_typed_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    start, body = answer_of(raising(Overloaded("full", retry_after_s=3)))
    headers = dict(start["headers"])
    assert (start["status"], headers[b"retry-after"], headers[b"x-hotseat-model"]) == (503, b"3", b"m")
    assert int(headers[b"content-length"]) == len(body["body"])
    assert not caplog.records


@pytest.mark.parametrize("error", [Overloaded("x"), ValueError("x")])
def test_nothing_is_added_to_an_answer_that_has_begun(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(answer_of(raising(error, after_start=True))) == 1
    assert "after its answer had begun" in caplog.text


def test_nobody_to_answer() -> None:
    assert answer_of(raising(ClientGone("gone"))) == []


def test_ids_do_not_repeat() -> None:
    ids = RequestIds()
    assert len({ids.next() for _ in range(1000)} | {RequestIds().next() for _ in range(1000)}) == 2000


def test_every_request_has_an_id() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope[REQUEST_ID]

    answer_of(app)


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": scope[REQUEST_ID].encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/messages", b"request-id"),
        ("/r/run-1/v1/messages/count_tokens", b"request-id"),
        ("/v1/responses", b"x-request-id"),
        ("/health", b"x-request-id"),
    ],
)
def test_every_answer_has_its_id_where_the_sdks_look_for_it(path: str, name: bytes) -> None:
    start, body, end = answer_of(fine, path)
    assert start["headers"] == [(b"a", b"b"), (name, body["body"])]
    assert "headers" not in end
    failed, _ = answer_of(raising(Overloaded("full")), path)
    headers = dict(failed["headers"])
    assert headers[name] == headers[b"x-hotseat-request-id"]
