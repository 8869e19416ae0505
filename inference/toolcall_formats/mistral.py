"""Mistral: up to Nemo a list of JSON objects behind [TOOL_CALLS], since Small 3.2 a name and [ARGS].

Either is read where the other was taught: the two differ in the first character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import JsonCalls, read_objects
from inference.toolcall_formats.named_calls import NamedCalls
from inference.toolcall_formats.source import Source, Steps

_START: Final = "[TOOL_CALLS]"

_LIST: Final = JsonCalls(
    name="mistral-list",
    open=_START,
    close="",
    taught=lambda template: _START in template and "[ARGS]" not in template,
)
_NAMED: Final = NamedCalls(
    name="mistral",
    call_open=_START,
    arguments_open="[ARGS]",
    call_close="",
    asides=("[CALL_ID]",),
    taught=lambda template: _START in template and "[ARGS]" in template,
)


class _Parser:
    starts = (_START,)
    first_starts: tuple[str, ...] = ()
    owns_channels = False

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        yield from source.space()
        if (yield from source.peek()) in ("[", "{"):
            yield from read_objects(source, sink, "")
        else:
            yield from _NAMED.read(start, source, sink)


@dataclass(frozen=True, slots=True)
class Mistral:
    """A ToolFormat: `taught` decides what is written, both are read."""

    taught: JsonCalls | NamedCalls

    @property
    def name(self) -> str:
        return self.taught.name

    @property
    def triggers(self) -> tuple[str, ...]:
        return (_START,)

    @property
    def markers(self) -> tuple[str, ...]:
        return _NAMED.markers

    def detect(self, template: str) -> bool:
        return self.taught.detect(template)

    def parser(self, tools: Sequence[Tool]) -> _Parser:
        return _Parser()

    def render(self, calls: Sequence[ToolCall]) -> str:
        return self.taught.render(calls)

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        return self.taught.grammar(g, tools, parallel=parallel)


MISTRAL_LIST: Final = Mistral(_LIST)
MISTRAL: Final = Mistral(_NAMED)
