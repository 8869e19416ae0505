"""Errors in the shape of the API that was called. Pure.

Most failures come before a dialect has seen anything (a wrong key, a body that is too large, no such
path), so the path decides. Everything that is not Anthropic's Messages speaks OpenAI's shape.

The status is the same in both. A full queue is 503 and not Anthropic's own 529: Claude Code was seen
to wait as long as Retry-After says on a 503, SDKs repeat both alike, and the command line treats 529
as trouble of a hosted service, for which it has limits of its own.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from inference.errors import HotseatError
from proxy.errors import MAY_RETRY_LATER, details_of, openai_body, status_of

_MESSAGES = re.compile(r"(?:/r/[^/]*)?/v1/messages(?:/|$)")

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


def error_body(path: str, error: HotseatError, request_id: str) -> bytes:
    """The JSON body of a whole answer to a request for `path`."""
    if _MESSAGES.match(path):
        return anthropic_body(error, request_id)
    return openai_body(error, request_id)


def id_header(path: str) -> bytes:
    """Where the SDK that speaks to `path` looks for a request's id, to show it in its errors."""
    return b"request-id" if _MESSAGES.match(path) else b"x-request-id"


def anthropic_body(error: HotseatError, request_id: str) -> bytes:
    return msgspec.json.encode(anthropic_error(error, request_id))


def anthropic_error(error: HotseatError, request_id: str) -> dict[str, Any]:
    """Also the data of an error event in a stream, where no status tells what it is."""
    details = details_of(error, request_id)
    if error.param is not None:
        details["param"] = error.param
    return {
        "type": "error",
        "error": {"type": _type_of(error), "message": _message(error), "hotseat": details},
        "request_id": request_id,
    }


def _type_of(error: HotseatError) -> str:
    status = status_of(error)
    if error.code in MAY_RETRY_LATER and status != 429:
        return "overloaded_error"
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def _message(error: HotseatError) -> str:
    """Claude Code starts its compaction when it reads Anthropic's own words for an overflow."""
    if error.code != "context_length_exceeded":
        return error.message
    if error.n_tokens is None or error.n_ctx is None:
        return f"prompt is too long: {error.message}"
    return f"prompt is too long: {error.n_tokens} tokens > {error.n_ctx} maximum"
