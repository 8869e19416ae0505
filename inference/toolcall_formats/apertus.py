"""Apertus: a list of objects whose one key is the tool's name and whose value is its arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import ANY_OBJECT
from inference.toolcall_formats.json_text import json_value, small_value
from inference.toolcall_formats.source import NotACall, Source, Steps

OPEN, CLOSE = "<|tools_prefix|>", "<|tools_suffix|>"


class Apertus:
    """A ToolFormat and its CallParser."""

    name = "apertus"
    triggers = (OPEN,)
    markers = (OPEN, CLOSE)
    starts = (OPEN,)
    first_starts: tuple[str, ...] = ()
    owns_channels = False

    def detect(self, template: str) -> bool:
        return OPEN in template

    def parser(self, tools: Sequence[Tool]) -> Apertus:
        return self

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        yield from source.space()
        yield from source.expect("[")
        mark = ","
        while mark == ",":
            yield from source.space()
            yield from self._call(source, sink)
            yield from source.space()
            mark = yield from source.expect(",", "]")
        yield from source.space()
        yield from source.accept(CLOSE)

    def _call(self, source: Source, sink: CallSink) -> Steps[None]:
        yield from source.expect("{")
        yield from source.space()
        name = yield from small_value(source)
        yield from source.space()
        yield from source.expect(":")
        yield from source.space()
        if not isinstance(name, str) or not name or (yield from source.peek()) != "{":
            raise NotACall
        sink.begin(name)
        yield from json_value(source, sink.arguments)
        sink.end()
        yield from source.space()
        yield from source.expect("}")

    def render(self, calls: Sequence[ToolCall]) -> str:
        objects = (f"{{{json.dumps(call.name)}: {call.arguments or '{}'}}}" for call in calls)
        return f"{OPEN}[{', '.join(objects)}]{CLOSE}"

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        one = (
            g.seq(
                g.literal(f"{{{json.dumps(tool.name)}: "),
                g.json(tool.parameters or ANY_OBJECT),
                g.literal("}"),
            )
            for tool in tools
        )
        call = g.rule("call", g.any_of(*one))
        more = [g.repeat(g.seq(g.literal(","), g.whitespace(), call))] if parallel else []
        return g.seq(g.literal(f"{OPEN}["), call, *more, g.literal(f"]{CLOSE}"))


APERTUS: Final = Apertus()
