"""The client's half of Anthropic Messages: requests to bodies, answers to ChatEvents. Pure.

For Anthropic itself, for the providers and servers that speak like it, and for another Hotseat. What is
sent: messages_request.py. Shapes of what comes back, and its errors: anthropic_events.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    Timings,
    ToolCallDelta,
    Usage,
)
from proxy.anthropic_events import (
    Block,
    Delta,
    EventBody,
    MessageBody,
    UsageBody,
    error_event,
    event_of,
    finish_reason,
    larger_usage,
    message_of,
    reported,
    usage_of,
)
from proxy.event_feed import EventFeed, unended
from proxy.messages_request import MessagesTerms, messages_body
from proxy.openai_chunks import TimingsBody, timings_of
from proxy.signatures import signed_by
from proxy.sse_reader import MAX_EVENT_BYTES, SseEvent
from proxy.upstream_errors import BadAnswer, UpstreamError

PATH: Final = "/v1/messages"
VERSION: Final = "2023-06-01"
"""Of the dialect, for the header anthropic-version."""

MAX_BLOCKS: Final = 4096
TERMS: Final = MessagesTerms()

_json = msgspec.json.Encoder()


def encode_request(
    request: ChatRequest, model: str, terms: MessagesTerms = TERMS, *, stream: bool = True
) -> bytes:
    """The body that asks for `request` under the name that the other side knows. Raises InvalidRequest naming
    what the dialect cannot carry."""
    return _json.encode(messages_body(request, model, terms, stream=stream))


# --- streamed answers --------------------------------------------------------------------------


class StreamDecoder:
    """The bytes of one streamed answer in, ChatEvents out: `feed` each piece, then `end`.

    The last event is Finish, once. Raises Reported for an error that the stream tells of, and BadAnswer
    for what is no answer; a stream without its message_stop is one of these. What came in the same piece
    before an error is handed over first: look at `error` after each piece. What comes after message_stop
    is not looked at. `author`: see signatures.py.
    """

    def __init__(self, author: str = "", max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._feed = EventFeed(self._event, unended("a message_stop"), max_event_bytes)
        self._blocks = _Blocks(author)
        self._usage = UsageBody()
        self._timings: TimingsBody | None = None
        self._reason: FinishReason | None = None
        self._stop_sequence = ""

    @property
    def is_done(self) -> bool:
        return self._feed.is_done

    @property
    def error(self) -> UpstreamError | None:
        return self._feed.error

    def feed(self, data: bytes) -> list[ChatEvent]:
        return self._feed.feed(data)

    def end(self) -> list[ChatEvent]:
        """The stream is over. Nothing new if message_stop was seen."""
        return self._feed.end()

    def _event(self, event: SseEvent) -> list[ChatEvent]:
        if event.name == "error":
            raise error_event(event.data)
        if event.data == b"[DONE]":
            return []  # another dialect's, sent by gateways
        body = event_of(event.data)
        match body.type:
            case "content_block_delta":
                return self._blocks.add(body.index, body.delta or Delta())
            case "content_block_start":
                if body.content_block is None:
                    raise BadAnswer("a content block begins without saying what it is")
                return self._blocks.begin(body.index, body.content_block)
            case "content_block_stop":
                return self._blocks.end(body.index)
            case "message_start":
                if isinstance(body.message, MessageBody):
                    self._usage = larger_usage(self._usage, body.message.usage)
            case "message_delta":
                self._message_delta(body)
            case "message_stop":
                return [*self._blocks.end_all(), self._finish()]
            case "error":
                raise reported(body.error if body.error is not None else body.message)
            case _:  # a ping, or what is new
                if body.error is not None:
                    raise reported(body.error)
        return []

    def _message_delta(self, body: EventBody) -> None:
        self._usage = larger_usage(self._usage, body.usage)
        self._timings = body.timings or self._timings
        delta = body.delta or Delta()
        if delta.stop_reason is not None:
            self._reason = finish_reason(delta.stop_reason, delta.stop_details)
            self._stop_sequence = delta.stop_sequence or ""

    def _finish(self) -> Finish:
        if self._reason is None:
            raise BadAnswer("the answer ended without a stop_reason")
        return _finish(self._reason, self._stop_sequence, usage_of(self._usage), timings_of(self._timings))


def _finish(reason: FinishReason, stop_sequence: str, usage: Usage, timings: Timings) -> Finish:
    return Finish(
        reason=reason,
        usage=usage,
        timings=timings,
        stop_sequence=stop_sequence if reason == "stop" else "",
    )


@dataclass(slots=True)
class _Open:
    """A block that has not ended. `call`: which of the calls it is."""

    block: Block
    call: int = -1
    has_pieces: bool = False
    signature: str = ""


class _Blocks:
    """Content blocks to ChatEvents. Kinds of block that are not known say nothing: none was asked for."""

    def __init__(self, author: str) -> None:
        self._author = author
        self._open: dict[int, _Open] = {}
        self._n_begun = 0
        self._n_calls = 0

    def begin(self, index: int, block: Block) -> list[ChatEvent]:
        if index in self._open:
            raise BadAnswer(f"content block {index} began twice")
        self._n_begun += 1
        if self._n_begun > MAX_BLOCKS:
            raise BadAnswer(f"the answer has more than {MAX_BLOCKS} content blocks")
        begun = self._open[index] = _Open(block)
        match block.type:
            case "text" if block.text:
                return [TextDelta(text=block.text)]
            case "thinking":
                begun.signature = block.signature or ""
                return [ReasoningDelta(text=block.thinking)] if block.thinking else []
            case "tool_use":
                begun.call = self._n_calls
                self._n_calls += 1
                return [ToolCallDelta(index=begun.call, id=block.id, name=block.name)]
        return []

    def add(self, index: int, delta: Delta) -> list[ChatEvent]:
        open_ = self._open.get(index)
        if open_ is None:
            raise BadAnswer(f"content block {index} goes on without having begun")
        match delta.type:
            case "text_delta" if delta.text:
                return [TextDelta(text=delta.text)]
            case "thinking_delta" if delta.thinking:
                return [ReasoningDelta(text=delta.thinking)]
            case "signature_delta":
                open_.signature += delta.signature or ""
            case "input_json_delta" if delta.partial_json and open_.call >= 0:
                open_.has_pieces = True
                return [ToolCallDelta(index=open_.call, arguments=delta.partial_json)]
        return []

    def end(self, index: int) -> list[ChatEvent]:
        open_ = self._open.pop(index, None)
        if open_ is None:
            raise BadAnswer(f"content block {index} ended without having begun")
        if open_.signature:
            return [ReasoningDelta(text="", signature=signed_by(self._author, open_.signature))]
        if open_.call >= 0 and not open_.has_pieces:
            return [ToolCallDelta(index=open_.call, arguments=_arguments(open_.block.input))]
        return []

    def end_all(self) -> list[ChatEvent]:
        """Some servers do not say that the last block has ended."""
        return [event for index in list(self._open) for event in self.end(index)]


def _arguments(given: msgspec.Raw) -> str:
    """Of a call whose input came whole, or not at all: a call without arguments has none to stream."""
    text = bytes(given).decode() if given else ""
    return "{}" if text in ("", "null") else text


# --- whole answers -----------------------------------------------------------------------------


def decode_response(data: bytes, author: str = "") -> list[ChatEvent]:
    """An answer that was not streamed, as its events: the last one is Finish. Raises BadAnswer, and Reported
    for an error inside a good status."""
    body = message_of(data)
    blocks = _Blocks(author)
    events: list[ChatEvent] = []
    for index, block in enumerate(body.content or ()):
        events += [*blocks.begin(index, block), *blocks.end(index)]
    if body.stop_reason is None:
        raise BadAnswer("the answer has no stop_reason")
    reason = finish_reason(body.stop_reason, body.stop_details)
    usage = usage_of(body.usage or UsageBody())
    return [*events, _finish(reason, body.stop_sequence or "", usage, timings_of(body.timings))]
