"""What a server of OpenAI's Responses answers: events, items, errors as types. Pure data, and how to read it.

Unknown fields are ignored: every server adds its own. Known ones must have their type.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from inference.chat import Usage
from proxy import openai_chunks
from proxy.openai_chunks import UNREADABLE, Logprob, TimingsBody, described
from proxy.upstream_errors import BadAnswer, Reported


class Part(msgspec.Struct):
    """Of a message, of reasoning or of its summary."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: list[Logprob] | None = None


class Item(msgspec.Struct):
    type: str = ""
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None
    content: list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None


class InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class UsageBody(msgspec.Struct):
    input_tokens: int | None = None
    input_tokens_details: InputDetails | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class IncompleteDetails(msgspec.Struct):
    reason: str | None = None


class ResponseBody(msgspec.Struct):
    """A response object: of an event of its lifecycle, or a whole answer."""

    status: str | None = None
    output: list[Item] | None = None
    usage: UsageBody | None = None
    error: Any = None
    incomplete_details: IncompleteDetails | None = None
    timings: TimingsBody | None = None  # another Hotseat's


class EventBody(msgspec.Struct):
    """`delta` is text in every event that is read. The last three are of an event "error"."""

    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    item: Item | None = None
    delta: Any = None
    logprobs: list[Logprob] | None = None
    response: ResponseBody | None = None
    error: Any = None
    message: Any = None
    code: Any = None


_events = msgspec.json.Decoder(EventBody)
_responses = msgspec.json.Decoder(ResponseBody)


def event_of(data: bytes) -> EventBody:
    """Raises BadAnswer."""
    try:
        return _events.decode(data)
    except UNREADABLE as error:
        raise BadAnswer(f"the stream holds what is no event of an answer: {error}") from error


def response_of(data: bytes) -> ResponseBody:
    """Raises BadAnswer."""
    try:
        return _responses.decode(data)
    except UNREADABLE as error:
        raise BadAnswer(f"the answer is no response: {error}") from error


def usage_of(usage: UsageBody) -> Usage:
    given = usage.input_tokens_details or InputDetails()
    made = usage.output_tokens_details or OutputDetails()
    return Usage(
        input_tokens=max(0, usage.input_tokens or 0),
        cached_tokens=max(0, given.cached_tokens or 0),
        cache_write_tokens=max(0, given.cache_write_tokens or 0),
        output_tokens=max(0, usage.output_tokens or 0),
        reasoning_tokens=max(0, made.reasoning_tokens or 0),
    )


# --- errors ------------------------------------------------------------------------------------

_STATUS: Final = {
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
}


def error_in(data: bytes, status: int, retry_after_s: float | None = None) -> Reported:
    """The error that a body with a status of 400 or more describes, whatever the body is."""
    return reported(described(data), status=status, retry_after_s=retry_after_s)


def error_event(data: bytes) -> Reported:
    """The error that an event named "error" describes: at its top, or under "error"."""
    try:
        body: Any = msgspec.json.decode(data)
    except UNREADABLE:
        body = data.decode("utf-8", "replace")
    if not isinstance(body, dict):
        return reported(body)
    error = body.get("error")
    return reported(body if error is None else error)


def reported(error: Any, *, status: int | None = None, retry_after_s: float | None = None) -> Reported:
    """OpenAI's error. In a stream its code stands for the status."""
    said = openai_chunks.reported(error, status=status, retry_after_s=retry_after_s)
    if said.status is None:
        said.status = _STATUS.get(said.code)
    return said
