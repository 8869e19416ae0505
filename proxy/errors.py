"""Errors at the HTTP border: their status, their headers and their body in OpenAI's shape.

Other shapes, and which request gets which: error_shapes.py.

HotseatError              inference/errors.py draws the rest of the tree
├── HttpRefusal           client   turned away before a model was looked for; carries its status
│   ├── Unauthorized      401      ├── BodyTimeout          408
│   ├── Forbidden         403      ├── BodyTooLarge         413
│   ├── NoSuchPath        404      └── UnsupportedMedia     415
│   ├── MethodNotAllowed  405      └── NoWebSockets         426
├── ModelNotAllowed       client   403: not among the models of the caller's key
├── BudgetExceeded        client   402: it could cost more than is left of a budget
├── RateLimited           client   429: the caller's key may not ask so often
├── NoSuchRun             client   404: of DELETE /api/runs; of POST: RunTaken 409, TooManyRuns 429
├── OfflineRefusal        client   403: a remote route under --offline
├── NotLocal              client   400: what only a local model can do, asked of a remote route
├── ProviderKeyMissing    environment  503: no key is set for the provider of a route
├── ProviderError         provider 502: it failed, in a way of its own
│   ├── ProviderRejectedKey    502     ├── ProviderOverloaded     503
│   ├── ProviderUnpaid         402     ├── ProviderCoolingDown    503: it failed too often just now
│   ├── ProviderForbids        403     ├── ProviderSilent         504
│   ├── ProviderUnknownModel   404     ├── ProviderUnreachable    502
│   ├── ProviderRateLimit      429     └── ProviderBadAnswer      502
├── BadServerAnswer       worker   502: a model's own server answered what is no answer
├── LedgerUnavailable     environment  503: its database cannot be asked now
├── NoLedger              client   404: none is kept
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


class NoWebSockets(HttpRefusal):
    """What a client waits for that would rather have a WebSocket and takes HTTP instead: Codex does."""

    code = "no_websockets"
    status = 426
    headers: ClassVar[HeaderList] = [(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade")]


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


class ModelNotAllowed(HotseatError):
    code = "model_not_allowed"
    fault = "client"


class BudgetExceeded(HotseatError):
    code = "budget_exceeded"
    fault = "client"


class RateLimited(HotseatError):
    code = "rate_limited"
    fault = "client"


class NoSuchRun(HotseatError):
    code = "run_not_found"
    fault = "client"


class RunTaken(HotseatError):
    code = "run_taken"
    fault = "client"


class TooManyRuns(HotseatError):
    code = "too_many_runs"
    fault = "client"


class RecordingTaken(HotseatError):
    code = "recording_taken"
    fault = "client"


class NoSuchRecording(HotseatError):
    code = "recording_not_found"
    fault = "client"


class RecordingUnusable(HotseatError):
    code = "recording_unusable"
    fault = "environment"


class NotRecorded(HotseatError):
    """A run that replays asks what its recording does not have."""

    code = "not_recorded"
    fault = "client"


class OfflineRefusal(HotseatError):
    code = "offline"
    fault = "client"


class NotLocal(HotseatError):
    code = "not_local"
    fault = "client"


class ProviderKeyMissing(HotseatError):
    code = "provider_key_missing"
    fault = "environment"


class ProviderError(HotseatError):
    code = "provider_error"
    fault = "provider"


class ProviderRejectedKey(ProviderError):
    """Not 401: the client's own key was good, and harnesses would ask their user to log in."""

    code = "provider_rejected_key"


class ProviderUnpaid(ProviderError):
    code = "provider_unpaid"


class ProviderForbids(ProviderError):
    code = "provider_forbids"


class ProviderUnknownModel(ProviderError):
    code = "provider_unknown_model"


class ProviderRateLimit(ProviderError):
    code = "provider_rate_limit"


class ProviderOverloaded(ProviderError):
    code = "provider_overloaded"


class ProviderCoolingDown(ProviderOverloaded):
    code = "provider_cooling_down"


class ProviderSilent(ProviderError):
    code = "provider_silent"


class ProviderUnreachable(ProviderError):
    code = "provider_unreachable"


class ProviderBadAnswer(ProviderError):
    code = "provider_bad_answer"


class BadServerAnswer(HotseatError):
    code = "bad_answer"
    fault = "worker"


class RequestTimedOut(HotseatError):
    code = "request_timeout"
    fault = "proxy"


class LedgerUnavailable(HotseatError):
    code = "ledger_unavailable"
    fault = "environment"


class NoLedger(HotseatError):
    code = "no_ledger"
    fault = "client"


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
    "model_not_allowed": 403,
    "budget_exceeded": 402,
    "rate_limited": 429,
    "run_not_found": 404,
    "run_taken": 409,
    "too_many_runs": 429,
    "recording_taken": 409,
    "recording_not_found": 404,
    "recording_unusable": 503,
    "not_recorded": 404,
    "client_gone": 499,
    "engine_fault": 500,
    "tokens_not_countable": 501,
    "not_local": 400,
    "provider_unpaid": 402,
    "provider_forbids": 403,
    "provider_unknown_model": 404,
    "provider_rate_limit": 429,
    "provider_error": 502,
    "provider_rejected_key": 502,
    "provider_unreachable": 502,
    "provider_bad_answer": 502,
    "provider_key_missing": 503,
    "provider_overloaded": 503,
    "provider_cooling_down": 503,
    "provider_silent": 504,
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
    "ledger_unavailable": 503,
    "no_ledger": 404,
}

MAY_RETRY_LATER = frozenset(
    {
        "overloaded",
        "shutting_down",
        "model_unloaded",
        "provider_rate_limit",
        "provider_overloaded",
        "provider_cooling_down",
    }
)
_RETRY_IS_VAIN = frozenset(
    {
        "insufficient_memory",
        "load_failed",
        "invalid_model_file",
        "engine_fault",
        "tokens_not_countable",
        "provider_key_missing",
        "provider_rejected_key",
        "provider_unpaid",
        "budget_exceeded",
        "too_many_runs",
        "recording_taken",
        "recording_unusable",
    }
)
"""SDKs repeat every 5xx by themselves; what a repetition cannot cure says so in x-should-retry."""

_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}


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
