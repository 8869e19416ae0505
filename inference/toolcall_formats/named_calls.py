"""Formats that write a call's name between markers, and behind it the arguments as a JSON object.

The families differ in the markers; each file of a family gives them in a `NamedCalls`, as the model
writes them, with their whitespace. Reading does not insist on the whitespace, nor on end markers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import ANY_OBJECT
from inference.toolcall_formats.json_text import json_value
from inference.toolcall_formats.source import SPACE, NotACall, Source, Steps
from inference.toolcall_formats.tagged_calls import MAX_NAME_CHARS, NAME, written

MAX_ASIDE_CHARS: Final = 200
_ASIDE: Final = re.compile(r"""[^\s<>{}\[\]"']+""")


def read_arguments(source: Source, sink: CallSink, *ends: str) -> Steps[None]:
    """An object; nothing at all before the end marker is a call without arguments."""
    yield from source.space()
    if (yield from source.peek()) == "{":
        yield from json_value(source, sink.arguments)
    else:
        if not ends or not (yield from source.accept(*ends)):
            raise NotACall
        sink.arguments("{}")
    sink.end()


@dataclass(frozen=True, slots=True)
class NamedCalls:
    """A ToolFormat and its CallParser.

    `asides`: markers between name and arguments that bring a text of no interest, such as an id.
    `prefix`: what the family writes before each name. `numbered`: what parts the name from the call's
    number, which follows it. `name_open`: the marker before the name, where an id comes first.
    """

    name: str
    call_open: str
    arguments_open: str
    call_close: str
    taught: Callable[[str], bool]
    section_open: str = ""
    section_close: str = ""
    between: str = ""
    asides: tuple[str, ...] = ()
    prefix: str = ""
    numbered: str = ""
    name_open: str = ""
    first_starts: tuple[str, ...] = ()
    owns_channels: bool = False

    @property
    def triggers(self) -> tuple[str, ...]:
        return ((self.section_open or self.call_open).strip(SPACE),)

    @property
    def starts(self) -> tuple[str, ...]:
        return tuple(mark.strip(SPACE) for mark in (self.section_open, self.call_open) if mark)

    @property
    def markers(self) -> tuple[str, ...]:
        ours = (self.name_open, self.arguments_open, self.call_close, self.section_close, *self.asides)
        return (*self.starts, *(mark.strip(SPACE) for mark in ours if mark.strip(SPACE)))

    def detect(self, template: str) -> bool:
        return self.taught(template)

    def parser(self, tools: Sequence[Tool]) -> NamedCalls:
        return self

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        call_open, call_close = self.call_open.strip(SPACE), self.call_close.strip(SPACE)
        section_close = self.section_close.strip(SPACE)
        if start != call_open:
            yield from source.space()
            yield from source.expect(call_open)
        while True:
            yield from self._name(source, sink)
            yield from read_arguments(source, sink, *((call_close,) if call_close else ()))
            yield from source.space()
            if call_close:
                yield from source.accept(call_close)
                yield from source.space()
            ends = (call_open, section_close) if section_close else (call_open,)
            if (yield from source.accept(*ends)) != call_open:
                return

    def _name(self, source: Source, sink: CallSink) -> Steps[None]:
        if self.name_open:
            yield from source.run(_ASIDE, at_most=MAX_ASIDE_CHARS)
            yield from source.expect(self.name_open)
        yield from source.space()
        name = yield from source.run(NAME, at_most=MAX_NAME_CHARS)
        if self.numbered:
            before, _, number = name.rpartition(self.numbered)
            name = before if number.isdigit() else name
        name = name.removeprefix(self.prefix)
        yield from source.space()
        arguments_open = self.arguments_open.strip(SPACE)
        while arguments_open:
            mark = yield from source.expect(arguments_open, *self.asides)
            if mark == arguments_open:
                break
            yield from source.run(_ASIDE, at_most=MAX_ASIDE_CHARS)
        if not name:
            raise NotACall
        sink.begin(name)

    def render(self, calls: Sequence[ToolCall]) -> str:
        rendered = (self._rendered(number, call) for number, call in enumerate(calls))
        return self.section_open + self.between.join(rendered) + self.section_close

    def _rendered(self, number: int, call: ToolCall) -> str:
        before = call.id + self.name_open if self.name_open else self.prefix
        after = f"{self.numbered}{number}" if self.numbered else ""
        arguments = call.arguments or "{}"
        return f"{self.call_open}{before}{call.name}{after}{self.arguments_open}{arguments}{self.call_close}"

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule("call", g.any_of(*(self._tool_grammar(g, tool) for tool in tools)))
        more = [g.repeat(g.seq(g.whitespace(), call) if self.between else call)] if parallel else []
        return g.seq(*written(g, self.section_open), call, *more, *written(g, self.section_close))

    def _tool_grammar(self, g: GrammarBuilder, tool: Tool) -> str:
        number = (
            [g.literal(self.numbered), g.json({"type": "integer", "minimum": 0})] if self.numbered else []
        )
        call_id = [g.text_until(self.name_open), g.literal(self.name_open)] if self.name_open else []
        return g.seq(
            *written(g, self.call_open),
            *call_id,
            g.literal(self.prefix + tool.name),
            *number,
            *written(g, self.arguments_open),
            g.json(tool.parameters or ANY_OBJECT),
            *written(g, self.call_close),
        )
