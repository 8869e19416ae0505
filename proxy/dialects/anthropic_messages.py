"""Anthropic Messages: bodies to ChatRequests, ChatEvents to events and responses. Pure.

Which fields are taken, harmless or refused: messages_body.py. What a body asks of a conversation is
decoded by messages_prompt.py; this module knows what is asked of the answer, and how it is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import msgspec

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    ReasoningDelta,
    Sampling,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.errors import HotseatError
from proxy import strict_json
from proxy.answer import Answer, Served, Waits
from proxy.error_shapes import anthropic_body
from proxy.errors import BadServerAnswer
from proxy.messages_body import UNSUPPORTED, MessagesBody, PromptBody
from proxy.messages_prompt import prompt_request
from proxy.openai_body import refuse_unsupported, timings_object

NAME = "messages"

SIGNATURE = "aG90c2VhdA=="
"""Of a thinking block whose author signed nothing: clients keep it, and it vouches for nothing."""


# --- decode ------------------------------------------------------------------------------------


class MessagesCall(msgspec.Struct, frozen=True):
    """A decoded body: what is asked of the model, and how the answer should look."""

    request: ChatRequest
    stream: bool


def decode_request(raw: bytes) -> MessagesCall:
    """Raises InvalidRequest naming the field."""
    body = strict_json.decode(raw, MessagesBody)
    refuse_unsupported(body, UNSUPPORTED)
    request = msgspec.structs.replace(
        prompt_request(body),
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p, top_k=body.top_k),
        max_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences or ()),
    )
    return MessagesCall(request=request, stream=bool(body.stream))


def decode_count(raw: bytes) -> ChatRequest:
    """The body of count_tokens: the prompt whose tokens are to be counted. Raises InvalidRequest."""
    body = strict_json.decode(raw, PromptBody)
    refuse_unsupported(body, UNSUPPORTED)
    return prompt_request(body)


# --- encode ------------------------------------------------------------------------------------

_json = msgspec.json.Encoder()


def encode_error(error: HotseatError, request_id: str) -> bytes:
    return anthropic_body(error, request_id)


def encode_count(n_tokens: int) -> bytes:
    return _json.encode({"input_tokens": n_tokens})


def encode_response(
    call: MessagesCall, answer: Answer, finish: Finish, served: Served, waits: Waits
) -> bytes:
    """Raises BadServerAnswer for a call whose arguments are no JSON object."""
    content: list[dict[str, Any]] = []
    if answer.reasoning or answer.reasoning_signature:
        signature = answer.reasoning_signature or SIGNATURE
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": signature})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    for index, made in enumerate(answer.tool_calls):
        given = _input(made)
        if given is not None:
            id_ = made.id or _call_id(served, index)
            content.append({"type": "tool_use", "id": id_, "name": made.name, "input": given})
        elif finish.reason != "length":
            raise BadServerAnswer(f"the model called {made.name!r} with arguments that are no JSON object")
        # else it was cut in the middle of the call: what is left of it is none
    return _json.encode(
        {
            **_envelope(served),
            "content": content,
            **_stopped(finish),
            "usage": usage_object(finish.usage),
            "timings": timings_object(finish, waits),
        }
    )


def usage_object(usage: Usage) -> dict[str, Any]:
    """Anthropic counts cached tokens beside the others; the prompt is the sum of the three."""
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def _envelope(served: Served) -> dict[str, Any]:
    return {
        "id": f"msg_{served.request_id}",
        "type": "message",
        "role": "assistant",
        "model": served.model,
    }


_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def _stopped(finish: Finish) -> dict[str, Any]:
    if finish.reason == "stop" and finish.stop_sequence:
        return {"stop_reason": "stop_sequence", "stop_sequence": finish.stop_sequence}
    return {"stop_reason": _STOP_REASONS[finish.reason], "stop_sequence": None}


def _input(call: ToolCall) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _call_id(served: Served, index: int) -> str:
    """For a model's own server that gave none: results are told apart by it."""
    return f"toolu_{served.request_id}_{index}"


def _event(name: bytes, value: Any) -> bytes:
    return b"event: " + name + b"\ndata: " + _json.encode(value) + b"\n\n"


_PING = _event(b"ping", {"type": "ping"})


class StreamEncoder:
    """ChatEvents in, the bytes of their events out. One per response.

    Content comes as numbered blocks, one open at a time. The middle of an event is the same within a
    block, so it is made once; a token then costs one JSON string. Neighbouring pieces of text become
    one event: a client that reads slowly gets fewer and larger ones.
    """

    def __init__(self, call: MessagesCall, served: Served) -> None:
        self._served = served
        self._usage = Usage()  # as far as it is known before the answer
        self._index = -1  # of the block that was opened last
        self._open: str | int | None = None  # "text", "thinking", or a call's own index
        self._begun_calls: set[int] = set()
        self._head = b""  # of the open block's deltas, up to the string

    def count_prompt(self, n_tokens: int, n_cached: int) -> None:
        """The prompt is read: of use if the message has not begun, as it has where that took long."""
        self._usage = Usage(input_tokens=n_tokens, cached_tokens=n_cached)

    def begin(self) -> bytes:
        """The message's start, with the prompt's count if it is known already. Clients take the counts from
        message_delta."""
        message = {
            **_envelope(self._served),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_object(self._usage),
        }
        return _event(b"message_start", {"type": "message_start", "message": message})

    def keep_alive(self) -> bytes:
        return _PING

    def encode(self, events: Iterable[ChatEvent], waits: Waits) -> bytes:
        """The events of `events`; after a Finish also message_delta and message_stop. Raises BadServerAnswer
        if calls come in each other's way."""
        chunks: list[bytes] = []
        pending: list[str] = []
        kind: str | int | None = None  # of what is pending
        for event in events:
            match event:
                case TextDelta():
                    said: str | int = "text"
                    text = event.text
                case ReasoningDelta():
                    said, text = "thinking", event.text
                case ToolCallDelta():
                    said, text = event.index, event.arguments
                case Finish():
                    chunks.append(self._flushed(kind, pending))
                    chunks.append(self._finish(event, waits))
                    kind = None
                    continue
                case _:
                    assert_never(event)
            if said != kind:
                chunks.append(self._flushed(kind, pending))
                kind = said
            if isinstance(event, ToolCallDelta) and event.index not in self._begun_calls:
                chunks.append(self._begin_call(event))
            pending.append(text)
            if isinstance(event, ReasoningDelta) and event.signature:
                chunks.append(self._flushed(kind, pending))
                chunks.append(self._end_thought(event.signature))
                kind = None
        chunks.append(self._flushed(kind, pending))
        return b"".join(chunks)

    def error(self, error: HotseatError, request_id: str) -> bytes:
        """The last event of an answer that failed: no stop reason, no message_stop."""
        return b"event: error\ndata: " + encode_error(error, request_id) + b"\n\n"

    def _flushed(self, kind: str | int | None, pending: list[str]) -> bytes:
        """What is pending as one delta of its block, which is opened if need be."""
        text = "".join(pending)
        pending.clear()
        if kind is None or not text:
            return b""
        opening = b"" if kind == self._open else self._begin_block(kind)
        return opening + self._head + _json.encode(text) + b"}}\n\n"

    def _begin_block(self, kind: str | int) -> bytes:
        if kind == "text":
            return self._next_block(kind, {"type": "text", "text": ""}, b"text_delta", b"text")
        if kind == "thinking":
            block = {"type": "thinking", "thinking": "", "signature": ""}
            return self._next_block(kind, block, b"thinking_delta", b"thinking")
        raise BadServerAnswer("the model went on with a tool call after it had begun something else")

    def _begin_call(self, delta: ToolCallDelta) -> bytes:
        self._begun_calls.add(delta.index)
        id_ = delta.id or _call_id(self._served, delta.index)
        block = {"type": "tool_use", "id": id_, "name": delta.name, "input": {}}
        return self._next_block(delta.index, block, b"input_json_delta", b"partial_json")

    def _next_block(self, kind: str | int, block: dict[str, Any], delta: bytes, field: bytes) -> bytes:
        closing = self._close_block()
        self._open = kind
        self._index += 1
        self._head = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%s","%s":' % (self._index, delta, field)
        )
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return closing + _event(b"content_block_start", start)

    def _end_thought(self, signature: str) -> bytes:
        """It may be all that there is of a thought: some authors show none."""
        opening = b"" if self._open == "thinking" else self._begin_block("thinking")
        return opening + self._close_block(signature)

    def _close_block(self, signed_with: str = SIGNATURE) -> bytes:
        if self._open is None:
            return b""
        signature = b""
        if self._open == "thinking":
            signed = {"type": "signature_delta", "signature": signed_with}
            signature = _event(
                b"content_block_delta",
                {"type": "content_block_delta", "index": self._index, "delta": signed},
            )
        self._open = None
        stop = {"type": "content_block_stop", "index": self._index}
        return signature + _event(b"content_block_stop", stop)

    def _finish(self, finish: Finish, waits: Waits) -> bytes:
        end = {
            "type": "message_delta",
            "delta": _stopped(finish),
            "usage": usage_object(finish.usage),
            "timings": timings_object(finish, waits),
        }
        stop = _event(b"message_stop", {"type": "message_stop"})
        return self._close_block() + _event(b"message_delta", end) + stop
