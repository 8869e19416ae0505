"""What a fake provider answers, before it goes on the wire: texts, tokens, prices, and the two dialects
that providers speak (Chat Completions and Messages), as whole bodies and as frames of a stream. Pure.

Every word is a token, and nothing is random: the same request is answered and billed the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

import msgspec

CREATED = 1_790_000_000
MESSAGE_OVERHEAD = 4
_PIECE = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")
_encoder = msgspec.json.Encoder(decimal_format="number")


def encoded(value: Any) -> bytes:
    """JSON in which a Decimal is a number with all of its digits."""
    return _encoder.encode(value)


# --- tokens and money --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tokens:
    """`input` holds the cached and the written ones, `output` the reasoning."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token. Cached and written tokens cost this instead of `prompt`."""

    prompt: Decimal
    completion: Decimal
    cached: Decimal = Decimal(0)
    cache_write: Decimal = Decimal(0)

    def of_prompt(self, tokens: Tokens) -> Decimal:
        plain = tokens.input - tokens.cached - tokens.cache_write
        return plain * self.prompt + tokens.cached * self.cached + tokens.cache_write * self.cache_write

    def of_completion(self, tokens: Tokens) -> Decimal:
        return tokens.output * self.completion

    def of(self, tokens: Tokens) -> Decimal:
        return self.of_prompt(tokens) + self.of_completion(tokens)


def number(amount: Decimal) -> Decimal:
    """As providers print it: no zeros at the end, an exponent below a millionth ("3.5E-7")."""
    return amount.normalize() if amount else Decimal(0)


# --- what is said ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str
    id: str = "call_0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says. `text` None: "you said: " and the last words of the user; `tokens` None: as
    counted; `finish_reason` "": stop, or tool_calls. `extra` is added to the top of each JSON object."""

    text: str | None = None
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""
    cached: int = 0
    cache_write: int = 0
    tokens: Tokens | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer with everything decided: what the dialects write."""

    id: str
    model: str
    text: str
    reasoning: str
    calls: tuple[ToolCall, ...]
    finish_reason: str
    tokens: Tokens
    cost: Decimal
    price: Price
    extra: Mapping[str, Any]


def said(answer: Answer, body: Mapping[str, Any], number_: int, price: Price, *, may_reason: bool) -> Said:
    text = f"you said: {last_words(body)}" if answer.text is None else answer.text
    reasoning = answer.reasoning if may_reason else ""
    tokens = answer.tokens or Tokens(
        input=n_prompt_tokens(body),
        output=len(pieces(reasoning))
        + len(pieces(text))
        + sum(1 + len(pieces(call.arguments)) for call in answer.calls),
        cached=answer.cached,
        cache_write=answer.cache_write,
        reasoning=len(pieces(reasoning)),
    )
    return Said(
        id=f"gen-{CREATED}-{number_:020d}",
        model=str(body.get("model", "")),
        text=text,
        reasoning=reasoning,
        calls=answer.calls,
        finish_reason=answer.finish_reason or ("tool_calls" if answer.calls else "stop"),
        tokens=tokens,
        cost=price.of(tokens),
        price=price,
        extra=answer.extra,
    )


def pieces(text: str) -> list[str]:
    """Words with the space before them; together they are the text."""
    return _PIECE.findall(text)


def last_words(body: Mapping[str, Any]) -> str:
    """The last user message's text."""
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user":
            return " ".join(_texts(message.get("content")))
    return ""


def n_prompt_tokens(body: Mapping[str, Any]) -> int:
    parts = [body.get("system"), *(message.get("content") for message in body.get("messages") or [])]
    words = sum(len(text.split()) for part in parts for text in _texts(part))
    return words + MESSAGE_OVERHEAD * len(body.get("messages") or [])


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    blocks = content if isinstance(content, list) else []
    return [block["text"] for block in blocks if isinstance(block, dict) and "text" in block]


# --- frames of a stream ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. `made`: how many output tokens there are when it is sent."""

    data: Any
    event: str = ""
    kind: Literal["words", "usage", "done"] = "words"
    made: int = 0

    def encode(self, newline: bytes) -> bytes:
        data = self.data.encode() if isinstance(self.data, str) else encoded(self.data)
        name = b"event: " + self.event.encode() + newline if self.event else b""
        return name + b"data: " + data + newline + newline


@dataclass(frozen=True, slots=True)
class ChatShape:
    """What one provider's Chat Completions have that another's do not."""

    top: Callable[[Said], Mapping[str, Any]]
    choice: Callable[[str | None], Mapping[str, Any]]
    """By the finish_reason."""
    reasoning: Callable[[str], Mapping[str, Any]]
    """The fields of a message or a delta that hold this piece of it."""
    usage: Callable[[Said], Mapping[str, Any]]
    usage_apart: bool
    """Whether usage comes in a chunk after the one with the finish_reason, or in that."""
    ids: Callable[[Said], Mapping[str, Any]]


def chat_body(said: Said, shape: ChatShape) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": said.text if said.text or not said.calls else None,
    }
    if said.reasoning:
        message |= shape.reasoning(said.reasoning)
    if said.calls:
        message["tool_calls"] = [_call(index, call) for index, call in enumerate(said.calls)]
    reason = said.finish_reason
    choice = {"index": 0, "message": message, "finish_reason": reason, **shape.choice(reason)}
    head = {**shape.ids(said), "object": "chat.completion", "created": CREATED, "model": said.model}
    return {**head, **shape.top(said), **said.extra, "choices": [choice], "usage": shape.usage(said)}


def chat_frames(said: Said, shape: ChatShape) -> list[Frame]:
    head = {**shape.ids(said), "object": "chat.completion.chunk", "created": CREATED, "model": said.model}
    top = {**head, **shape.top(said), **said.extra}

    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": reason}
        return {**top, "choices": [choice | dict(shape.choice(reason))]}

    deltas = _chat_deltas(said, shape)
    frames = [Frame(chunk(delta), made=made) for made, delta in enumerate(deltas, 1)]
    made = said.tokens.output
    last = chunk({"content": ""}, said.finish_reason)
    if shape.usage_apart:
        usage = chunk({"content": ""}) | {"usage": shape.usage(said)}
        frames += [Frame(last, made=made), Frame(usage, kind="usage", made=made)]
    else:
        frames.append(Frame(last | {"usage": shape.usage(said)}, kind="usage", made=made))
    return [*frames, Frame("[DONE]", kind="done", made=made)]


def _chat_deltas(said: Said, shape: ChatShape) -> Iterator[Mapping[str, Any]]:
    for piece in pieces(said.reasoning):
        yield {"content": "", **shape.reasoning(piece)}
    for piece in pieces(said.text):
        yield {"content": piece}
    for index, call in enumerate(said.calls):
        yield {"content": None, "tool_calls": [_call(index, replace(call, arguments=""))]}
        for piece in pieces(call.arguments):
            yield {"tool_calls": [{"index": index, "type": "function", "function": {"arguments": piece}}]}


def _call(index: int, call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": index, "id": call.id, "type": "function", "function": function}


# --- Messages ----------------------------------------------------------------------------------

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
SIGNATURE = "c2lnbmVkIGJ5IGEgZmFrZQ=="


@dataclass(frozen=True, slots=True)
class MessagesShape:
    usage: Callable[[Said], Mapping[str, Any]]
    opening_usage: Callable[[Said], Mapping[str, Any]]
    top: Callable[[Said], Mapping[str, Any]]


def messages_body(said: Said, shape: MessagesShape) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if said.reasoning:
        content.append({"type": "thinking", "thinking": said.reasoning, "signature": SIGNATURE})
    if said.text:
        content.append({"type": "text", "text": said.text})
    for call in said.calls:
        arguments = msgspec.json.decode(call.arguments)
        content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
    return {
        **_message_head(said, shape),
        "content": content,
        "stop_reason": _stop_reason(said),
        "stop_sequence": None,
        "usage": shape.usage(said),
    }


def messages_frames(said: Said, shape: MessagesShape) -> list[Frame]:
    opening = {
        **_message_head(said, shape),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": shape.opening_usage(said),
    }
    frames = [_event({"type": "message_start", "message": opening}), _event({"type": "ping"})]
    made = 0
    for index, (block, deltas) in enumerate(_blocks(said)):
        frames.append(
            _event({"type": "content_block_start", "index": index, "content_block": block}, made=made)
        )
        for delta in deltas:
            made += 1
            frames.append(_event({"type": "content_block_delta", "index": index, "delta": delta}, made=made))
        frames.append(_event({"type": "content_block_stop", "index": index}, made=made))
    made = said.tokens.output
    end = {"stop_reason": _stop_reason(said), "stop_sequence": None}
    last = {"type": "message_delta", "delta": end, "usage": shape.usage(said)}
    frames.append(_event(last, kind="usage", made=made))
    return [*frames, _event({"type": "message_stop"}, kind="done", made=made)]


def _message_head(said: Said, shape: MessagesShape) -> dict[str, Any]:
    head = {"id": f"msg_{said.id}", "type": "message", "role": "assistant", "model": said.model}
    return {**head, **shape.top(said), **said.extra}


def _blocks(said: Said) -> Iterator[tuple[dict[str, Any], Sequence[dict[str, Any]]]]:
    if said.reasoning:
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(said.reasoning)]
        signed = {"type": "signature_delta", "signature": SIGNATURE}
        yield {"type": "thinking", "thinking": "", "signature": ""}, [*thoughts, signed]
    if said.text:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(said.text)]
        yield {"type": "text", "text": ""}, deltas
    for call in said.calls:
        parts = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(call.arguments)]
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, parts


def _stop_reason(said: Said) -> str:
    return _STOP_REASONS.get(said.finish_reason, said.finish_reason)


def _event(
    data: dict[str, Any], *, kind: Literal["words", "usage", "done"] = "words", made: int = 0
) -> Frame:
    return Frame(data, event=data["type"], kind=kind, made=made)
