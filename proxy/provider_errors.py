"""What a provider's failure is to our client, and whether to ask again. Pure.

Its words go on, in the caller's dialect and without its headers; where its own key stands in them it is
taken out. Whose fault: the request's own for what the request says wrongly, else the provider's.
"""

from __future__ import annotations

from typing import Any

from inference.errors import ContextLengthExceeded, HotseatError, InvalidRequest
from proxy.error_signs import signs_of
from proxy.errors import (
    ProviderBadAnswer,
    ProviderError,
    ProviderForbids,
    ProviderOverloaded,
    ProviderRateLimit,
    ProviderRejectedKey,
    ProviderSilent,
    ProviderUnknownModel,
    ProviderUnpaid,
    ProviderUnreachable,
)
from proxy.openai_chunks import MAX_MESSAGE_CHARS, described, reported
from proxy.redaction import Redaction
from proxy.retry_policy import Failure
from proxy.upstream_errors import BadAnswer, Broken, Reported, Silent, Unreachable, Untrusted, UpstreamError

MAX_DETAIL_CHARS = 500
MAX_PARAM_CHARS = 200

_REQUESTS_FAULT = frozenset({400, 413, 415, 422})
_SAFE_TO_REPEAT = frozenset({429, 500, 502, 503, 504, 529})
_OVERLOADED = frozenset({503, 529})
_NAMED_STATUS = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "api_error": 500,
    "server_error": 500,
}
"""Errors inside an answer have no status: their type says as much."""


class ProviderReported(Reported):
    """`codes`: every code and type that the error carries, as text. `is_vain`: no patience cures it."""

    def __init__(self, said: Reported, codes: frozenset[str], *, is_vain: bool) -> None:
        super().__init__(
            said.message,
            status=said.status,
            code=said.code,
            param=said.param,
            retry_after_s=said.retry_after_s,
            is_overflow=said.is_overflow,
            n_tokens=said.n_tokens,
            n_ctx=said.n_ctx,
        )
        self.codes = codes
        self.is_vain = is_vain


def reported_by_body(
    data: bytes, status: int, retry_after_s: float | None, vain_codes: frozenset[str]
) -> ProviderReported:
    """The error of a whole answer with a status of 400 or more, whatever its body is."""
    error = described(data)
    return _with_codes(reported(error, status=status, retry_after_s=retry_after_s), error, vain_codes)


def reported_inside(error: Any, vain_codes: frozenset[str]) -> ProviderReported:
    """An error in an answer that had a good status: the value of its "error"."""
    said = reported(error)
    found = _with_codes(said, error, vain_codes)
    if found.status is None:
        named = {_NAMED_STATUS[code] for code in found.codes if code in _NAMED_STATUS}
        found.status = min(named) if named else None
    return found


def _with_codes(said: Reported, error: Any, vain_codes: frozenset[str]) -> ProviderReported:
    fields = error if isinstance(error, dict) else {}
    codes = frozenset(
        str(fields[name]) for name in ("code", "type") if isinstance(fields.get(name), str | int)
    )
    if detail := _detail(fields):
        said.message = f"{said.message}: {detail}"[:MAX_MESSAGE_CHARS]
    is_vain = bool(codes & vain_codes) or signs_of(said.message, codes, fields).is_unpaid
    return ProviderReported(said, codes, is_vain=is_vain)


def _detail(fields: dict[str, Any]) -> str:
    """OpenRouter's own message is often "Provider returned error", and what that one said stands below."""
    metadata = fields.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return " ".join(raw.split())[:MAX_DETAIL_CHARS] if isinstance(raw, str) else ""


# --- for the client ----------------------------------------------------------------------------


def client_error(error: UpstreamError, provider: str, redaction: Redaction) -> HotseatError:
    """What our client is told."""
    message = redaction.text(error.message)
    match error:
        case Reported():
            param = redaction.text(error.param)[:MAX_PARAM_CHARS] if error.param else None
            return _reported(error, message, param, provider)
        case Unreachable():
            return ProviderUnreachable(f"{provider} is not reachable: {message}")
        case Broken():
            return ProviderError(f"{provider} broke off: {message}")
        case Silent():
            return ProviderSilent(f"{provider} gave no sign of life: {message}")
        case _:
            return ProviderBadAnswer(f"{provider} gave an answer of no use: {message}")


def _reported(error: Reported, message: str, param: str | None, provider: str) -> HotseatError:
    status, retry_after_s = error.status, error.retry_after_s
    if error.is_overflow:
        return ContextLengthExceeded(message, n_tokens=error.n_tokens, n_ctx=error.n_ctx)
    if status == 402 or (isinstance(error, ProviderReported) and error.is_vain):
        return ProviderUnpaid(f"{provider} refuses for want of balance or quota: {message}")
    if status in _REQUESTS_FAULT:
        return InvalidRequest(f"{provider} refused the request: {message}", param=param)
    if status == 401:
        return ProviderRejectedKey(f"{provider} rejected the key that this server has for it: {message}")
    if status == 403:
        return ProviderForbids(f"{provider} forbids this: {message}")
    if status == 404:
        return ProviderUnknownModel(f"{provider} does not know the model or the path: {message}")
    if status == 429:
        return ProviderRateLimit(f"{provider} limits the rate: {message}", retry_after_s=retry_after_s)
    if status in _OVERLOADED:
        return ProviderOverloaded(f"{provider} is overloaded: {message}", retry_after_s=retry_after_s)
    if status in (408, 504):
        return ProviderSilent(f"{provider} ran out of time: {message}")
    shown = "" if status is None else f" with status {status}"
    return ProviderError(f"{provider} failed{shown}: {message}")


# --- for the policy ----------------------------------------------------------------------------


def failure_of(error: UpstreamError) -> Failure:
    """A connection that broke, or silence, may have been a generation that is charged for: not repeated."""
    match error:
        case Reported(is_overflow=True):
            return Failure()
        case ProviderReported(is_vain=True):
            return Failure(may_move=True)
        case Reported(status=status) if status in _REQUESTS_FAULT:
            return Failure()
        case Reported(status=status) if status in _SAFE_TO_REPEAT:
            return Failure(may_repeat=True, may_move=True, counts=True, retry_after_s=error.retry_after_s)
        case Reported(status=status) if status is not None and status < 500:
            return Failure(may_move=True)
        case Untrusted():
            return Failure(may_move=True, counts=True)
        case Unreachable():
            return Failure(may_repeat=True, may_move=True, counts=True)
        case Reported() | Broken() | Silent() | BadAnswer():
            return Failure(may_move=True, counts=True)
        case _:
            return Failure()
