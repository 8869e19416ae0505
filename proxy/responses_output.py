"""An answer as the items of a Responses response, and the stream events that tell of them. Pure.

One ResponseOutput takes the ChatEvents of one answer in order. Streaming or not, the items are made here
once, so both say the same.

An item of text or reasoning ends when something else begins. Calls end with the answer, together: until
then their pieces may come in any order, and a client that runs a call the moment it is done (Codex does)
must not run one of an answer that fails later. A call that was cut off at the length limit never becomes
done for the same reason: it only stands in the response, as incomplete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from inference.chat import ChatEvent, Finish, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta
from proxy.openai_body import logprob_object
from proxy.responses_calls import CallItem, Item, Status, WireEvent, call_item, wire_event
from proxy.responses_input import seal
from proxy.responses_tools import ToolBook


@dataclass(frozen=True, slots=True)
class ReasoningShape:
    """How a client wants to see reasoning: as the summary it asked for, which is all of it, or as it is.
    `sealed`: also in the form that gives it back to the model when the client sends it again."""

    as_summary: bool
    sealed: bool


@dataclass(slots=True)
class ResponseOutput:
    answer_id: str
    tools: ToolBook
    shape: ReasoningShape
    _items: list[_AnyItem] = field(default_factory=list)
    _open: _Text | _Reasoning | None = None
    _calls: dict[int, CallItem] = field(default_factory=dict)
    _last: _AnyItem | None = None
    _done: list[_AnyItem] = field(default_factory=list)

    @property
    def items(self) -> list[Item]:
        """All of them, as they are."""
        return [item.value for item in self._items]

    @property
    def done_items(self) -> list[Item]:
        """Those that were told as done."""
        return [item.value for item in self._done]

    def add(self, event: ChatEvent) -> list[WireEvent]:
        match event:
            case TextDelta():
                return self._text(event)
            case ReasoningDelta():
                return self._reasoning(event)
            case ToolCallDelta():
                return self._call(event)
            case Finish():
                return self._finish(cut=event.reason == "length")
            case _:
                assert_never(event)

    def _text(self, delta: TextDelta) -> list[WireEvent]:
        if not delta.text and not delta.logprobs:
            return []
        told: list[WireEvent] = []
        item = self._open
        if not isinstance(item, _Text):
            item = _Text(self._id("msg"), len(self._items))
            told = self._begin(item)
        self._last = item
        return told + item.add(delta)

    def _reasoning(self, delta: ReasoningDelta) -> list[WireEvent]:
        if not delta.text and not delta.signature:
            return []
        told: list[WireEvent] = []
        item = self._open
        if not isinstance(item, _Reasoning) or item.is_signed:
            item = _Reasoning(self._id("rs"), len(self._items), self.shape)
            told = self._begin(item)
        self._last = item
        return told + item.add(delta)

    def _call(self, delta: ToolCallDelta) -> list[WireEvent]:
        item = self._calls.get(delta.index)
        told = self._close_open()
        if item is None:
            item = call_item(self.tools.find(delta.name), delta, self.answer_id, len(self._items))
            self._calls[delta.index] = item
            self._items.append(item)
            told += item.begin()
        self._last = item
        return told + item.add(delta.arguments)

    def _finish(self, *, cut: bool) -> list[WireEvent]:
        """What was being written when the limit came is incomplete."""
        ending: list[_AnyItem] = [*self._calls.values()]
        if self._open is not None:
            ending.append(self._open)
        told: list[WireEvent] = []
        for item in sorted(ending, key=lambda item: item.place):
            is_cut = cut and item is self._last and not item.is_whole
            told += self._close(item, "incomplete" if is_cut else "completed")
        self._open = None
        return told

    def _begin(self, item: _Text | _Reasoning) -> list[WireEvent]:
        told = self._close_open()
        self._open = item
        self._items.append(item)
        return told + item.begin()

    def _close_open(self) -> list[WireEvent]:
        item, self._open = self._open, None
        return self._close(item, "completed") if item is not None else []

    def _close(self, item: _AnyItem, status: Status) -> list[WireEvent]:
        told = item.end(status)
        if isinstance(item, CallItem) and status == "incomplete":
            return [event for event in told if event["type"].endswith(".delta")]
        self._done.append(item)
        return [*told, wire_event("output_item.done", output_index=item.place, item=item.value)]

    def _id(self, kind: str) -> str:
        return f"{kind}_{self.answer_id}_{len(self._items)}"


# --- text and reasoning ------------------------------------------------------------------------


class _Text:
    """An assistant message: one part of text."""

    is_whole = False

    def __init__(self, item_id: str, place: int) -> None:
        self.place = place
        self._where = {"item_id": item_id, "output_index": place, "content_index": 0}
        self._id = item_id
        self._texts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._status: Status = "in_progress"

    @property
    def value(self) -> Item:
        content = [self._part()] if self._texts or self._logprobs else []
        return {
            "id": self._id,
            "type": "message",
            "status": self._status,
            "role": "assistant",
            "content": content,
        }

    def begin(self) -> list[WireEvent]:
        return [
            wire_event("output_item.added", output_index=self.place, item=self.value),
            wire_event("content_part.added", **self._where, part=self._part()),
        ]

    def add(self, delta: TextDelta) -> list[WireEvent]:
        logprobs = _logprobs(delta.logprobs)
        self._texts.append(delta.text)
        self._logprobs += logprobs
        return [wire_event("output_text.delta", **self._where, delta=delta.text, logprobs=logprobs)]

    def end(self, status: Status) -> list[WireEvent]:
        self._status = status
        part = self._part()
        return [
            wire_event("output_text.done", **self._where, text=part["text"], logprobs=self._logprobs),
            wire_event("content_part.done", **self._where, part=part),
        ]

    def _part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": "".join(self._texts),
            "annotations": [],
            "logprobs": list(self._logprobs),
        }


def _logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [logprob_object(token) for token in tokens]


class _Reasoning:
    """Reasoning: one part, in `summary` or in `content`."""

    is_whole = False

    def __init__(self, item_id: str, place: int, shape: ReasoningShape) -> None:
        self.place = place
        self._id = item_id
        self._shape = shape
        index = "summary_index" if shape.as_summary else "content_index"
        self._where = {"item_id": item_id, "output_index": place, index: 0}
        self._part_kind = "reasoning_summary_part" if shape.as_summary else "content_part"
        self._text_kind = "reasoning_summary_text" if shape.as_summary else "reasoning_text"
        self._texts: list[str] = []
        self._signature = ""
        self._status: Status = "in_progress"

    @property
    def is_signed(self) -> bool:
        """The thought has ended: what comes now is another one."""
        return self._signature != ""

    @property
    def value(self) -> Item:
        parts = [self._part()] if self._texts else []
        is_sealed = self._shape.sealed and self._status != "in_progress"
        return {
            "id": self._id,
            "type": "reasoning",
            "status": self._status,
            "summary": parts if self._shape.as_summary else [],
            "content": [] if self._shape.as_summary else parts,
            "encrypted_content": seal("".join(self._texts), self._signature) if is_sealed else None,
        }

    def begin(self) -> list[WireEvent]:
        return [
            wire_event("output_item.added", output_index=self.place, item=self.value),
            wire_event(f"{self._part_kind}.added", **self._where, part=self._part()),
        ]

    def add(self, delta: ReasoningDelta) -> list[WireEvent]:
        self._signature = delta.signature
        if not delta.text:
            return []
        self._texts.append(delta.text)
        return [wire_event(f"{self._text_kind}.delta", **self._where, delta=delta.text)]

    def end(self, status: Status) -> list[WireEvent]:
        self._status = status
        part = self._part()
        return [
            wire_event(f"{self._text_kind}.done", **self._where, text=part["text"]),
            wire_event(f"{self._part_kind}.done", **self._where, part=part),
        ]

    def _part(self) -> dict[str, Any]:
        kind = "summary_text" if self._shape.as_summary else "reasoning_text"
        return {"type": kind, "text": "".join(self._texts)}


_AnyItem = _Text | _Reasoning | CallItem
