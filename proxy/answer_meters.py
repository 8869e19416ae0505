"""What a provider's answer says of itself: tokens, cost, why it ended, whether it failed. Pure.

A meter reads beside whatever else is done with the bytes, in the provider's own dialect. It takes the
numbers as they are written: a cost keeps every digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from inference.chat import Usage
from proxy.anthropic_events import UsageBody, larger_usage
from proxy.anthropic_events import usage_of as counted
from proxy.openai_chunks import UNREADABLE, usage_of
from proxy.openai_chunks import UsageBody as OpenAIUsage
from proxy.provider_errors import reported_inside
from proxy.providers import DialectName, ProviderKind
from proxy.sse_reader import SseEvent
from proxy.upstream_errors import BadAnswer

OTHER_REASON = "other"
_REASONS = frozenset(
    "stop length tool_calls function_call content_filter refusal pause_turn error sensitive".split()
)
"""What goes into records. A provider may say anything there: its words, or our key, are not kept."""


@dataclass(slots=True)
class Seen:
    """So far. `usage` None: it said nothing of it. `is_done`: the answer is whole, and nothing follows.
    `has_end`: it said why it ended. `is_bare_usage`: the last event was nothing but the count."""

    usage: Usage | None = None
    cost_usd: Decimal | None = None
    finish_reason: str = ""
    tool_calls: int = 0
    has_end: bool = False
    is_done: bool = False
    is_bare_usage: bool = False


class Meter(Protocol):
    seen: Seen

    def event(self, event: SseEvent) -> None:
        """Raises Reported for an error that it tells of, BadAnswer for what is none of this dialect."""

    def whole(self, body: bytes) -> None:
        """The answer that was not streamed. Raises as `event` does."""


def meter_for(dialect: DialectName, kind: ProviderKind) -> Meter:
    return _METERS[dialect](kind)


def _known(reason: str) -> str:
    reason = "length" if reason == "max_output_tokens" else reason
    return reason if reason in _REASONS else OTHER_REASON


def _decoded(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    """An object with a field of an unexpected type is the client's to judge, and nothing is read from it."""
    try:
        return decoder.decode(data)
    except UNREADABLE as error:
        try:
            msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        except UNREADABLE:
            raise BadAnswer(f"what came is not an answer in this dialect: {error}") from error
        return decoder.type()


# --- OpenAI's ----------------------------------------------------------------------------------


class _ChatUsage(OpenAIUsage):
    cost: Decimal | None = None


class _CallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None


class _ChatDelta(msgspec.Struct):
    tool_calls: list[_CallDelta] | None = None


class _ChatChoice(msgspec.Struct):
    finish_reason: str | None = None
    delta: _ChatDelta | None = None
    message: _ChatDelta | None = None


class _ChatAnswer(msgspec.Struct):
    choices: list[_ChatChoice] | None = None
    usage: _ChatUsage | None = None
    error: Any = None


_chat_answers = msgspec.json.Decoder(_ChatAnswer)


@dataclass(slots=True)
class ChatMeter:
    """Chat Completions and Completions, whose envelopes are the same, and Embeddings, which have no end."""

    kind: ProviderKind
    needs_end: bool = True
    seen: Seen = field(default_factory=Seen)
    _calls: set[int | str] = field(default_factory=set)

    def event(self, event: SseEvent) -> None:
        data = event.data.strip()
        self.seen.is_bare_usage = False
        if data == b"[DONE]":
            if not self.seen.has_end:
                raise BadAnswer("the answer ended without a finish_reason")
            self.seen.is_done = True
        elif data:
            answer = self._read(data, is_error=event.name == "error")
            self.seen.is_bare_usage = answer.usage is not None and not answer.choices

    def whole(self, body: bytes) -> None:
        answer = self._read(body, is_error=False)
        if self.needs_end and not answer.choices:
            raise BadAnswer("the answer has no choices")
        self.seen.is_done = True

    def _read(self, data: bytes, *, is_error: bool) -> _ChatAnswer:
        answer: _ChatAnswer = _decoded(_chat_answers, data)
        if answer.error is not None or is_error:
            raise reported_inside(answer.error, self.kind.vain_codes)
        if answer.usage is not None:
            self.seen.usage = usage_of(answer.usage, None)
            if self.kind.reports_cost and answer.usage.cost is not None:
                self.seen.cost_usd = answer.usage.cost
        for choice in answer.choices or ():
            self._choice(choice)
        return answer

    def _choice(self, choice: _ChatChoice) -> None:
        said = choice.delta or choice.message
        for call in (said.tool_calls if said else None) or ():
            key = call.index if call.index is not None else call.id
            if key is not None:
                self._calls.add(key)
        self.seen.tool_calls = len(self._calls)
        if choice.finish_reason is not None:
            self.seen.has_end = True
            self.seen.finish_reason = _known(choice.finish_reason)


# --- OpenAI's Responses ------------------------------------------------------------------------


class _CachedDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _ReasoningDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _ResponsesUsage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _CachedDetails | None = None
    output_tokens_details: _ReasoningDetails | None = None
    cost: Decimal | None = None


class _Item(msgspec.Struct):
    type: str = ""


class _Incomplete(msgspec.Struct):
    reason: str = ""


class _Response(msgspec.Struct):
    status: str = ""
    usage: _ResponsesUsage | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    output: list[_Item] | None = None


class _ResponsesEvent(msgspec.Struct):
    type: str = ""
    response: _Response | None = None
    item: _Item | None = None
    error: Any = None
    code: Any = None
    message: Any = None


_responses = msgspec.json.Decoder(_Response)
_responses_events = msgspec.json.Decoder(_ResponsesEvent)
_CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call"})


@dataclass(slots=True)
class ResponsesMeter:
    kind: ProviderKind
    seen: Seen = field(default_factory=Seen)

    def event(self, event: SseEvent) -> None:
        data = event.data.strip()
        if not data or data == b"[DONE]":
            return
        said: _ResponsesEvent = _decoded(_responses_events, data)
        if said.type == "error" or event.name == "error":
            error = said.error if said.error is not None else {"code": said.code, "message": said.message}
            raise reported_inside(error, self.kind.vain_codes)
        if said.type == "response.output_item.done" and said.item and said.item.type in _CALLS:
            self.seen.tool_calls += 1
        if said.response is not None and said.type in _RESPONSE_ENDS:
            self._ended(said.response)

    def whole(self, body: bytes) -> None:
        response: _Response = _decoded(_responses, body)
        self.seen.tool_calls = sum(item.type in _CALLS for item in response.output or ())
        self._ended(response)

    def _ended(self, response: _Response) -> None:
        if response.usage is not None:
            self._count(response.usage)
        if response.status == "failed" or response.error is not None:
            self.seen.is_done = True
            raise reported_inside(response.error, self.kind.vain_codes)
        self.seen.has_end = self.seen.is_done = True
        if response.incomplete_details is not None:
            self.seen.finish_reason = _known(response.incomplete_details.reason)
        else:
            self.seen.finish_reason = "tool_calls" if self.seen.tool_calls else "stop"

    def _count(self, usage: _ResponsesUsage) -> None:
        cached = usage.input_tokens_details or _CachedDetails()
        reasoning = usage.output_tokens_details or _ReasoningDetails()
        self.seen.usage = Usage(
            input_tokens=max(0, usage.input_tokens),
            cached_tokens=max(0, cached.cached_tokens or 0),
            cache_write_tokens=max(0, cached.cache_write_tokens or 0),
            output_tokens=max(0, usage.output_tokens),
            reasoning_tokens=max(0, reasoning.reasoning_tokens or 0),
        )
        if self.kind.reports_cost and usage.cost is not None:
            self.seen.cost_usd = usage.cost


_RESPONSE_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


# --- Anthropic's -------------------------------------------------------------------------------


class _MessagesUsage(UsageBody):
    cost: Decimal | None = None


class _MessageEnd(msgspec.Struct):
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    type: str = ""
    usage: _MessagesUsage | None = None
    stop_reason: str | None = None
    content: list[_Item] | None = None
    error: Any = None


class _MessagesEvent(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    content_block: _Item | None = None
    delta: _MessageEnd | None = None
    usage: _MessagesUsage | None = None
    error: Any = None


_messages = msgspec.json.Decoder(_Message)
_messages_events = msgspec.json.Decoder(_MessagesEvent)
_STOP_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}


@dataclass(slots=True)
class MessagesMeter:
    """Counts come in pieces and never become less: the prompt's at the start, the answer's at the end. A
    provider may say nought of the prompt at the end, or of all of it at the start."""

    kind: ProviderKind
    seen: Seen = field(default_factory=Seen)
    _usage: UsageBody = field(default_factory=UsageBody)

    def event(self, event: SseEvent) -> None:
        data = event.data.strip()
        if not data:
            return
        said: _MessagesEvent = _decoded(_messages_events, data)
        if said.type == "error" or event.name == "error":
            raise reported_inside(said.error, self.kind.vain_codes)
        if said.message is not None and said.message.usage is not None:
            self._count(said.message.usage)
        if (
            said.type == "content_block_start"
            and said.content_block
            and said.content_block.type == "tool_use"
        ):
            self.seen.tool_calls += 1
        if said.usage is not None:
            self._count(said.usage)
        if said.type == "message_delta" and said.delta is not None:
            self._stopped(said.delta.stop_reason)
        if said.type == "message_stop":
            if not self.seen.has_end:
                raise BadAnswer("the message stopped without a stop_reason")
            self.seen.is_done = True

    def whole(self, body: bytes) -> None:
        message: _Message = _decoded(_messages, body)
        if message.type == "error" or message.error is not None:
            raise reported_inside(message.error, self.kind.vain_codes)
        if message.content is None:
            raise BadAnswer("the answer has no content")
        if message.usage is not None:
            self._count(message.usage)
        self.seen.tool_calls = sum(block.type == "tool_use" for block in message.content)
        self._stopped(message.stop_reason)
        self.seen.is_done = True

    def _stopped(self, reason: str | None) -> None:
        if reason is not None:
            self.seen.has_end = True
            self.seen.finish_reason = _known(_STOP_REASONS.get(reason, reason))

    def _count(self, usage: _MessagesUsage) -> None:
        self._usage = larger_usage(self._usage, usage)
        self.seen.usage = counted(self._usage)
        if self.kind.reports_cost and usage.cost is not None:
            self.seen.cost_usd = usage.cost or self.seen.cost_usd or usage.cost


_METERS: Mapping[DialectName, Callable[[ProviderKind], Meter]] = {
    "chat-completions": ChatMeter,
    "completions": ChatMeter,
    "embeddings": lambda kind: ChatMeter(kind, needs_end=False),
    "responses": ResponsesMeter,
    "anthropic-messages": MessagesMeter,
}
