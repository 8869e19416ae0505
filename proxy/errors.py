"""Errors at the HTTP border: their status, their headers and their body in OpenAI's shape.

Other shapes, and which request gets which: error_shapes.py.

HotseatError              inference/errors.py draws the rest of the tree
├── HttpRefusal           client   turned away before a model was looked for; carries its status
│   ├── Unauthorized      401      ├── BodyTimeout          408
│   ├── Forbidden         403      ├── BodyTooLarge         413
│   ├── NoSuchPath        404      └── UnsupportedMedia     415
│   └── MethodNotAllowed  405
├── OfflineRefusal        client   403: a remote route under --offline
├── RouteNotServed        proxy    501: a remote route, which this version does not serve
├── BadServerAnswer       worker   502: a model's own server answered what is no answer
├── RequestTimedOut       proxy    504: the whole request took longer than limits.request_timeout_s
└── ClientGone            client   499 in the records; nobody is left to read it
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import msgspec

from inference.errors import HotseatError

DEFAULT_RETRY_AFTER_S = 2.0

HeaderList = list[tuple[bytes, bytes]]


class HttpRefusal(HotseatError):
    code = "bad_request"
    fault = "client"
    status: ClassVar[int] = 400
    headers: ClassVar[HeaderList] = []


class Unauthorized(HttpRefusal):
    code = "invalid_api_key"
    status = 401
    headers: ClassVar[HeaderList] = [(b"www-authenticate", b"Bearer")]


class Forbidden(HttpRefusal):
    code = "forbidden"
    status = 403


class NoSuchPath(HttpRefusal):
    code = "not_found"
    status = 404


class MethodNotAllowed(HttpRefusal):
    code = "method_not_allowed"
    status = 405


class BodyTimeout(HttpRefusal):
    code = "request_body_timeout"
    status = 408
    headers: ClassVar[HeaderList] = [(b"connection", b"close")]


class BodyTooLarge(HttpRefusal):
    code = "request_too_large"
    status = 413


class UnsupportedMedia(HttpRefusal):
    code = "unsupported_media_type"
    status = 415


class UnknownRequest(HotseatError):
    code = "request_not_found"
    fault = "client"


class OfflineRefusal(HotseatError):
    code = "offline"
    fault = "client"


class RouteNotServed(HotseatError):
    code = "route_not_served"
    fault = "proxy"


class BadServerAnswer(HotseatError):
    code = "bad_answer"
    fault = "worker"


class RequestTimedOut(HotseatError):
    code = "request_timeout"
    fault = "proxy"


class ClientGone(HotseatError):
    code = "client_gone"
    fault = "client"


_STATUS = {
    "invalid_request": 400,
    "config_error": 400,
    "context_length_exceeded": 400,
    "model_not_found": 404,
    "request_not_found": 404,
    "offline": 403,
    "client_gone": 499,
    "engine_fault": 500,
    "route_not_served": 501,
    "tokens_not_countable": 501,
    "worker_crashed": 502,
    "bad_answer": 502,
    "overloaded": 503,
    "shutting_down": 503,
    "model_unloaded": 503,
    "insufficient_memory": 503,
    "load_failed": 503,
    "invalid_model_file": 503,
    "worker_stalled": 504,
    "request_timeout": 504,
}

MAY_RETRY_LATER = frozenset({"overloaded", "shutting_down", "model_unloaded"})
_RETRY_IS_VAIN = frozenset(
    {
        "insufficient_memory",
        "load_failed",
        "invalid_model_file",
        "route_not_served",
        "engine_fault",
        "tokens_not_countable",
    }
)
"""SDKs repeat every 5xx by themselves; what a repetition cannot cure says so in x-should-retry."""

_TYPES = {401: "authentication_error", 403: "permission_error"}


def status_of(error: HotseatError) -> int:
    if isinstance(error, HttpRefusal):
        return error.status
    return _STATUS.get(error.code, 500)


def headers_of(error: HotseatError) -> HeaderList:
    """What the status needs beside it: Retry-After, WWW-Authenticate, x-should-retry, Connection."""
    headers = list(error.headers) if isinstance(error, HttpRefusal) else []
    if error.code in MAY_RETRY_LATER or error.retry_after_s is not None:
        seconds = DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(seconds))))
    elif error.code in _RETRY_IS_VAIN:
        headers.append((b"x-should-retry", b"false"))
    return headers


def unexpected(request_id: str) -> HotseatError:
    """What a client is told of an exception that nobody foresaw: the traceback is in the log, not here."""
    return HotseatError(f"internal error: the server's log has the details under request {request_id}")


def details_of(error: HotseatError, request_id: str) -> dict[str, Any]:
    """The stable "hotseat" object that is in errors of every shape."""
    details: dict[str, Any] = {"code": error.code, "fault": error.fault, "request_id": request_id}
    if error.n_tokens is not None:
        details["n_tokens"] = error.n_tokens
    if error.n_ctx is not None:
        details["n_ctx"] = error.n_ctx
    if error.retry_after_s is not None:
        details["retry_after_s"] = error.retry_after_s
    return details


def openai_error(error: HotseatError, request_id: str) -> dict[str, Any]:
    """The value of "error" in OpenAI's shape."""
    status = status_of(error)
    return {
        "message": _openai_message(error),
        "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
        "param": error.param,
        "code": error.code,
        "hotseat": details_of(error, request_id),
    }


def openai_body(error: HotseatError, request_id: str) -> bytes:
    return msgspec.json.encode({"error": openai_error(error, request_id)})


def _openai_message(error: HotseatError) -> str:
    """Harnesses start their compaction when they read OpenAI's own words for an overflow."""
    if error.code == "context_length_exceeded" and error.n_tokens is not None and error.n_ctx is not None:
        return (
            f"This model's maximum context length is {error.n_ctx} tokens. However, your messages "
            f"resulted in {error.n_tokens} tokens. Please reduce the length of the messages."
        )
    return error.message
