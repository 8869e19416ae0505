"""ReasoningMemory: what a model thought, kept for clients that do not send it back. Pure.

Most clients drop the reasoning of earlier answers, and templates of reasoning models want it: without
it the model repeats its thoughts between tool calls, and the cached prefix ends at the last answer.

An answer is found again by a digest of the model, a scope that the caller chooses, the message before
it, and the answer's own text and calls. Whitespace at the ends of texts, the order of JSON keys, text as
string or as parts, and call ids (which dialects rewrite) do not count. The message before it keeps
"Done." in one conversation apart from "Done." in another.

Bounded in bytes and entries; the least recently used goes first.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from inference.chat import Message, TextPart, ToolCall

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_ENTRIES: Final = 20_000
ENTRY_OVERHEAD_BYTES: Final = 200
"""Of the digest and its place in the table, so that many short thoughts are bounded too."""


class ReasoningMemory:
    def __init__(self, *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def remember(self, request: Sequence[Message], answer: Message, *, model: str, scope: str = "") -> None:
        """`request`: the messages that `answer` answered. An answer without reasoning is not kept."""
        if not answer.reasoning:
            return
        key = _key(request[-1] if request else None, answer, model, scope)
        reasoning = answer.reasoning.encode("utf-8", "surrogatepass")
        self._forget(key)
        if _cost(reasoning) > self._max_bytes or self._max_entries < 1:
            return
        self._entries[key] = reasoning
        self._held_bytes += _cost(reasoning)
        while self._held_bytes > self._max_bytes or len(self._entries) > self._max_entries:
            self._forget(next(iter(self._entries)))

    def restore(self, messages: Sequence[Message], *, model: str, scope: str = "") -> tuple[Message, ...]:
        """The messages, with reasoning where the client dropped what is remembered."""
        before: Message | None = None
        restored: list[Message] = []
        for message in messages:
            restored.append(self._restored(before, message, model, scope))
            before = message
        return tuple(restored)

    def _restored(self, before: Message | None, message: Message, model: str, scope: str) -> Message:
        if message.role != "assistant" or message.reasoning or not self._entries:
            return message
        key = _key(before, message, model, scope)
        reasoning = self._entries.get(key)
        if reasoning is None:
            return message
        self._entries.move_to_end(key)
        return msgspec.structs.replace(message, reasoning=reasoning.decode("utf-8", "surrogatepass"))

    def _forget(self, key: bytes) -> None:
        reasoning = self._entries.pop(key, None)
        if reasoning is not None:
            self._held_bytes -= _cost(reasoning)


def _cost(reasoning: bytes) -> int:
    return len(reasoning) + ENTRY_OVERHEAD_BYTES


def _key(before: Message | None, answer: Message, model: str, scope: str) -> bytes:
    said = [model, scope, _said(before) if before is not None else None, _said(answer)]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).digest()


def _said(message: Message) -> list[object]:
    calls = [[call.name, _canonical(call)] for call in message.tool_calls]
    return [message.role, _text(message), calls]


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        parts = [message.content]
    else:
        parts = [part.text if isinstance(part, TextPart) else part.url for part in message.content]
    return "\n".join(stripped for part in parts if (stripped := part.strip()))


def _canonical(call: ToolCall) -> str:
    try:
        return json.dumps(json.loads(call.arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return call.arguments
