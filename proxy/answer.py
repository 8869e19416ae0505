"""A whole answer, gathered from its events: what a response without streaming is made of. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from inference.chat import (
    ChatEvent,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)


@dataclass(frozen=True, slots=True)
class Served:
    """Which request this is and who answered it: the envelope that every dialect puts around an answer."""

    request_id: str
    model: str
    created_s: int


@dataclass(frozen=True, slots=True)
class Waits:
    """What a request waited for before its model could begin, in seconds."""

    queue_s: float = 0.0
    load_s: float = 0.0


NO_WAITS = Waits()


@dataclass(slots=True)
class Answer:
    """Add every event in order. `finish` stays None until the last one."""

    events: list[ChatEvent] = field(default_factory=list)
    finish: Finish | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _signatures: list[str] = field(default_factory=list)
    _calls: dict[int, _Call] = field(default_factory=dict)

    def add(self, event: ChatEvent) -> None:
        self.events.append(event)
        match event:
            case TextDelta():
                self._text.append(event.text)
                self.logprobs.extend(event.logprobs)
            case ReasoningDelta():
                self._reasoning.append(event.text)
                if event.signature:
                    self._signatures.append(event.signature)
            case ToolCallDelta():
                self._calls.setdefault(event.index, _Call()).add(event)
            case Finish():
                self.finish = event
            case _:
                assert_never(event)

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def reasoning_signature(self) -> str:
        """Of all of it: what several thoughts are signed with vouches for none of the whole."""
        return self._signatures[0] if len(self._signatures) == 1 else ""

    @property
    def tool_calls(self) -> list[ToolCall]:
        return [call.whole() for _, call in sorted(self._calls.items())]


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, delta: ToolCallDelta) -> None:
        self.id = self.id or delta.id
        self.name = self.name or delta.name
        self.arguments.append(delta.arguments)

    def whole(self) -> ToolCall:
        return ToolCall(id=self.id, name=self.name, arguments="".join(self.arguments))
