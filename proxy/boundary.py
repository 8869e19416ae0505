"""The outermost ASGI layer: a request id for everything, and a typed answer to every failure."""

from __future__ import annotations

import itertools
import logging
import os

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.errors import HotseatError
from proxy.error_shapes import error_body, id_header
from proxy.errors import ClientGone, HeaderList, headers_of, status_of, unexpected

REQUEST_ID = "hotseat.request_id"
"""Key of the scope: the request's id, a str."""

ANSWER_HEADERS = "hotseat.headers"
"""Key of the scope: headers that the answer should carry even if it is an error."""

_log = logging.getLogger("hotseat.request")


class RequestIds:
    """Unique between server starts, and free: a random prefix and a counter."""

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._counter = itertools.count(1)

    def next(self) -> str:
        return f"{self._prefix}{next(self._counter):06x}"


class Boundary:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = self._ids.next()
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            if not started:
                started = True
                message = _with_id(message, scope["path"], request_id)
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except ClientGone:
            return
        except HotseatError as error:
            failure = error
        except Exception:  # noqa: BLE001  (the request border)
            _log.exception("request %s: %s %s", request_id, scope["method"], repr(scope["path"][:200]))
            failure = unexpected(request_id)
        else:
            return
        if started:
            _log.error("request %s failed after its answer had begun; the connection is cut", request_id)
        else:
            await _answer(failure, scope, watched_send)


def _with_id(start: Message, path: str, request_id: str) -> Message:
    return {**start, "headers": [*start["headers"], (id_header(path), request_id.encode())]}


async def send_json(send: Send, body: bytes, headers: HeaderList, status: int = 200) -> None:
    """A whole answer."""
    start = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


async def _answer(error: HotseatError, scope: Scope, send: Send) -> None:
    request_id = scope[REQUEST_ID]
    known: HeaderList = scope.get(ANSWER_HEADERS, [])
    headers = [(b"x-hotseat-request-id", request_id.encode()), *known, *headers_of(error)]
    await send_json(send, error_body(scope["path"], error, request_id), headers, status_of(error))
