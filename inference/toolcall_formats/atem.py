"""Muse: ATEM tags, each block behind a header that names the recipient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.source import Source, Steps
from inference.toolcall_formats.tagged_calls import MAX_NAME_CHARS, NAME, TaggedCalls, TaggedParser, Tags

_RECIPIENT: Final = " to="


def _atem(template: str) -> bool:
    return "<atem:function_calls>" in template


_ATEM_TAGS: Final = TaggedCalls(
    name="atem",
    tags=Tags(
        section_open="<atem:function_calls>\n",
        call_open='<atem:invoke name="',
        name_end='">\n',
        key_open='<atem:parameter name="',
        key_ends=(('">', None),),
        value_open="",
        value_close="</atem:parameter>\n",
        call_close="</atem:invoke>",
        section_close="\n</atem:function_calls>",
    ),
    taught=_atem,
)


@dataclass(frozen=True, slots=True)
class _AtemParser:
    """The tags, and the header ` to=name<|message|>` that Muse writes before them."""

    tags: TaggedParser
    first_starts: tuple[str, ...] = ()
    owns_channels: bool = False

    @property
    def starts(self) -> tuple[str, ...]:
        return (*self.tags.starts, _RECIPIENT)

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        if start == _RECIPIENT:
            yield from source.run(NAME, at_most=MAX_NAME_CHARS)
            yield from source.expect("<|message|>")
            yield from source.space()
            start = yield from source.expect(*self.tags.starts)
        yield from self.tags.read(start, source, sink)


@dataclass(frozen=True, slots=True)
class Atem:
    """A ToolFormat."""

    name: str = "atem"
    triggers: tuple[str, ...] = _ATEM_TAGS.triggers
    markers: tuple[str, ...] = (*_ATEM_TAGS.markers, "<|message|>")

    def detect(self, template: str) -> bool:
        return _atem(template)

    def parser(self, tools: Sequence[Tool]) -> _AtemParser:
        return _AtemParser(_ATEM_TAGS.parser(tools))

    def render(self, calls: Sequence[ToolCall]) -> str:
        return _ATEM_TAGS.render(calls)

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        return _ATEM_TAGS.grammar(g, tools, parallel=parallel)


ATEM: Final = Atem()
