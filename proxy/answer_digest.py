"""A digest of what an answer says and calls, by which a loop is seen: equal answers have equal digests, and
nothing can be read from one. Pure, and made for requests of runs only.

Text and calls count; thoughts, ids and how the answer was cut do not. Arguments that are JSON are compared
as such. A provider's stream is read in its own dialect, beside whatever else is done with it: what cannot
be read there has no digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from inference.chat import ChatEvent, Finish, ReasoningDelta, TextDelta, ToolCallDelta
from proxy.answer_meters import Meter
from proxy.openai_chunks import UNREADABLE
from proxy.providers import DialectName
from proxy.sse_reader import SseEvent

DIGEST_CHARS = 16
_json = msgspec.json.Encoder(order="sorted")


@dataclass(slots=True)
class AnswerDigest:
    """Add what comes in order; `hexdigest` when it has ended."""

    _text: Any = field(default_factory=hashlib.sha256)
    _calls: dict[int | str, _Call] = field(default_factory=dict)

    def add(self, events: Iterable[ChatEvent]) -> None:
        for event in events:
            match event:
                case TextDelta():
                    self.text(event.text)
                case ToolCallDelta():
                    self.call(event.index, event.name, event.arguments)
                case ReasoningDelta() | Finish():
                    pass
                case _:
                    assert_never(event)

    def text(self, text: str) -> None:
        self._text.update(text.encode("utf-8", "surrogatepass"))

    def call(self, index: int | str, name: str, arguments: str) -> None:
        """A piece of one."""
        call = self._calls.setdefault(index, _Call())
        call.name = call.name or name
        call.arguments.append(arguments)

    def hexdigest(self) -> str:
        whole = hashlib.sha256(self._text.digest())
        for call in self._calls.values():
            for part in (call.name, _plain("".join(call.arguments))):
                data = part.encode("utf-8", "surrogatepass")
                whole.update(b"%d:" % len(data) + data)
        return whole.hexdigest()[:DIGEST_CHARS]


@dataclass(slots=True)
class _Call:
    name: str = ""
    arguments: list[str] = field(default_factory=list)


def _plain(arguments: str) -> str:
    try:
        return _json.encode(msgspec.json.decode(arguments)).decode()
    except UNREADABLE:
        return arguments


# --- a provider's own dialect --------------------------------------------------------------------


class DigestingMeter:
    """`meter`, with a digest of what passes. `sha` "": it said nothing that could be read."""

    def __init__(self, meter: Meter, dialect: DialectName) -> None:
        self.seen = meter.seen
        self._meter = meter
        self._digest: AnswerDigest | None = AnswerDigest() if dialect in _READERS else None
        self._read = _READERS.get(dialect)

    @property
    def sha(self) -> str:
        return "" if self._digest is None else self._digest.hexdigest()

    def event(self, event: SseEvent) -> None:
        self._meter.event(event)
        data = event.data.strip()
        if data and data != b"[DONE]":
            self._add(data)

    def whole(self, body: bytes) -> None:
        self._meter.whole(body)
        self._add(body)

    def _add(self, data: bytes) -> None:
        if self._digest is None or self._read is None:
            return
        try:
            self._read(data, self._digest)
        except UNREADABLE:
            self._digest = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ChatCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _ChatMessage(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ChatCall] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _ChatMessage | None = None
    message: _ChatMessage | None = None


class _Chat(msgspec.Struct):
    choices: list[_Choice] | None = None


_chats = msgspec.json.Decoder(_Chat)


def _read_chat(data: bytes, digest: AnswerDigest) -> None:
    for choice in _chats.decode(data).choices or ():
        said = choice.delta or choice.message
        if choice.index or said is None:
            continue
        digest.text(said.content or "")
        for position, call in enumerate(said.tool_calls or ()):
            key = position if call.index is None else call.index
            function = call.function or _Function()
            digest.call(key, function.name or "", function.arguments or "")


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"")


class _BlockDelta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""


class _Messages(msgspec.Struct):
    type: str = ""
    index: int = 0
    content: list[_Block] | None = None
    content_block: _Block | None = None
    delta: _BlockDelta | None = None


_messages = msgspec.json.Decoder(_Messages)


def _read_messages(data: bytes, digest: AnswerDigest) -> None:
    """A streamed call's `input` is empty where it begins, and comes as text."""
    said = _messages.decode(data)
    for position, block in enumerate(said.content or ()):
        digest.text(block.text)
        if block.type == "tool_use":
            digest.call(position, block.name, bytes(block.input).decode())
    if said.content_block is not None:
        digest.text(said.content_block.text)
        if said.content_block.type == "tool_use":
            digest.call(said.index, said.content_block.name, "")
    if said.delta is not None:
        digest.text(said.delta.text)
        if said.delta.type == "input_json_delta":
            digest.call(said.index, "", said.delta.partial_json)


class _Part(msgspec.Struct):
    text: str = ""
    refusal: str = ""


class _OutputItem(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None
    name: str = ""
    arguments: str = ""
    input: str = ""


class _Responses(msgspec.Struct):
    """An event, or a whole answer."""

    type: str = ""
    output_index: int = 0
    item: _OutputItem | None = None
    output: list[_OutputItem] | None = None


_responses = msgspec.json.Decoder(_Responses)


def _read_responses(data: bytes, digest: AnswerDigest) -> None:
    """A stream's items, when each is whole."""
    said = _responses.decode(data)
    for position, item in enumerate(said.output or ()):
        _add_item(item, position, digest)
    if said.type == "response.output_item.done" and said.item is not None:
        _add_item(said.item, said.output_index, digest)


def _add_item(item: _OutputItem, index: int, digest: AnswerDigest) -> None:
    if item.type == "message":
        for part in item.content or ():
            digest.text(part.text or part.refusal)
    elif item.type in ("function_call", "custom_tool_call"):
        digest.call(index, item.name, item.arguments or item.input)


_READERS: Mapping[DialectName, Callable[[bytes, AnswerDigest], None]] = {
    "chat-completions": _read_chat,
    "anthropic-messages": _read_messages,
    "responses": _read_responses,
}
