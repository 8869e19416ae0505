"""What a server of Anthropic's dialect answers: events and errors as types. Pure data, and how to read it.

Unknown fields are ignored: every server adds its own. Known ones must have their type.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from inference.chat import FinishReason, Usage
from proxy.error_signs import UNPAID_STATUS, signs_of
from proxy.openai_chunks import MAX_MESSAGE_CHARS, UNREADABLE, TimingsBody, described
from proxy.upstream_errors import BadAnswer, Reported

NO_INPUT: Final = msgspec.Raw(b"")


class Block(msgspec.Struct):
    """A content block: as it begins in a stream, or whole. `input` as it was written."""

    type: str
    id: str = ""
    name: str = ""
    input: msgspec.Raw = NO_INPUT
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None


class Delta(msgspec.Struct):
    """Of a block, or of the message in the end."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None


class OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class UsageBody(msgspec.Struct):
    """Cached tokens beside the others, not among them."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class MessageBody(msgspec.Struct):
    """The message of a message_start, or a whole answer."""

    type: str = ""
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    usage: UsageBody | None = None
    timings: TimingsBody | None = None  # another Hotseat's
    error: Any = None


class EventBody(msgspec.Struct):
    """`message` is text in the errors of some."""

    type: str = ""
    index: int = 0
    message: MessageBody | str | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: UsageBody | None = None
    timings: TimingsBody | None = None
    error: Any = None


_events = msgspec.json.Decoder(EventBody)
_messages = msgspec.json.Decoder(MessageBody)


def event_of(data: bytes) -> EventBody:
    """Raises BadAnswer."""
    try:
        return _events.decode(data)
    except UNREADABLE as error:
        raise BadAnswer(f"the stream holds what is no event of an answer: {error}") from error


def message_of(data: bytes) -> MessageBody:
    """Raises BadAnswer, and Reported for an error inside a good status."""
    try:
        body = _messages.decode(data)
    except UNREADABLE as error:
        raise BadAnswer(f"the answer is no message: {error}") from error
    if body.error is not None or body.type == "error":
        raise reported(body.error)
    return body


# --- counts ------------------------------------------------------------------------------------


def larger_usage(known: UsageBody, said: UsageBody | None) -> UsageBody:
    """Counts are cumulative: they are never added, and the larger one holds. A nought where more was known is
    silence: some servers count the prompt in the first event and only the answer in the last."""
    if said is None:
        return known
    details = [usage.output_tokens_details or OutputDetails() for usage in (known, said)]
    return UsageBody(
        input_tokens=_larger(known.input_tokens, said.input_tokens),
        cache_creation_input_tokens=_larger(
            known.cache_creation_input_tokens, said.cache_creation_input_tokens
        ),
        cache_read_input_tokens=_larger(known.cache_read_input_tokens, said.cache_read_input_tokens),
        output_tokens=_larger(known.output_tokens, said.output_tokens),
        output_tokens_details=OutputDetails(_larger(*(of.thinking_tokens for of in details))),
    )


def _larger(*counts: int | None) -> int | None:
    return max((count for count in counts if count is not None), default=None)


def usage_of(usage: UsageBody) -> Usage:
    """The prompt is the sum of what was computed, read from the cache and written to it."""
    computed, read, written = (
        max(0, count or 0)
        for count in (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    )
    details = usage.output_tokens_details or OutputDetails()
    return Usage(
        input_tokens=computed + read + written,
        cached_tokens=read,
        cache_write_tokens=written,
        output_tokens=max(0, usage.output_tokens or 0),
        reasoning_tokens=max(0, details.thinking_tokens or 0),
    )


# --- ends --------------------------------------------------------------------------------------

_FINISH_REASONS: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}

_NO_ENDS: Final = {
    "refusal": "the provider's safety rules ended the answer",
    "pause_turn": "the provider paused the answer for a tool of its own, and none was asked for",
}


def finish_reason(said: str, details: Any) -> FinishReason:
    """Raises Reported where the reason is none of a good end. `details`: the message's stop_details."""
    reason = _FINISH_REASONS.get(said)
    if reason is not None:
        return reason
    explanation = details.get("explanation") if isinstance(details, dict) else None
    why = explanation if isinstance(explanation, str) and explanation else _NO_ENDS.get(said, "")
    text = f"the answer was ended with stop_reason {said[:64]!r}" + (f": {_one_line(why)}" if why else "")
    raise Reported(text, code=said if said in _NO_ENDS else "")


# --- errors ------------------------------------------------------------------------------------

_STATUS: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def error_in(data: bytes, status: int, retry_after_s: float | None = None) -> Reported:
    """The error that a body with a status of 400 or more describes, whatever the body is."""
    return reported(described(data), status=status, retry_after_s=retry_after_s)


def error_event(data: bytes) -> Reported:
    """The error that an event in the middle of a stream describes."""
    try:
        body: Any = msgspec.json.decode(data)
    except UNREADABLE:
        body = data.decode("utf-8", "replace")
    return reported(body.get("error", body) if isinstance(body, dict) else body)


def reported(error: Any, *, status: int | None = None, retry_after_s: float | None = None) -> Reported:
    """The value of "error": {"type", "message"}, or text. In a stream the type stands for the status."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message") or fields.get("detail")
    text = message if isinstance(message, str) and message.strip() else "no reason was given"
    codes = [code for code in (fields.get("type"), fields.get("code")) if isinstance(code, str) and code]
    signs = signs_of(text, codes, fields)
    if status is None and codes:
        status = _STATUS.get(codes[0])
    return Reported(
        _one_line(text),
        status=UNPAID_STATUS if signs.is_unpaid else status,
        code=codes[0] if codes else "",
        param=_param(fields),
        retry_after_s=signs.retry_after_s if retry_after_s is None else retry_after_s,
        is_overflow=signs.is_overflow,
        n_tokens=signs.n_tokens,
        n_ctx=signs.n_ctx,
    )


def _param(fields: dict[str, Any]) -> str | None:
    """Anthropic names the field in the text only; another Hotseat in its details."""
    details = fields.get("hotseat")
    param = details.get("param") if isinstance(details, dict) else None
    return param if isinstance(param, str) else None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MAX_MESSAGE_CHARS]
