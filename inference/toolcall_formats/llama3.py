"""Llama 3.1 to 3.3: a bare JSON object, which is the whole answer, or behind <|python_tag|>.

No marker says that it is a call, so only an object with a name and parameters is one, and only at the
beginning. Calls of built-in tools come as `name.call(key="value")` behind <|python_tag|>.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import json_call_grammar, read_objects
from inference.toolcall_formats.json_text import json_value
from inference.toolcall_formats.python_calls import read_arguments
from inference.toolcall_formats.source import NotACall, Source, Steps

PYTHON_TAG: Final = "<|python_tag|>"
MAX_NAME_CHARS: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]+")


class Llama3:
    """A ToolFormat and its CallParser."""

    name = "llama3"
    triggers = ('{"name": "',)
    markers = (PYTHON_TAG,)
    starts = (PYTHON_TAG,)
    first_starts = ("{",)
    owns_channels = False

    def detect(self, template: str) -> bool:
        return "<|start_header_id|>" in template and '{"name": function name, "parameters":' in template

    def parser(self, tools: Sequence[Tool]) -> Llama3:
        return self

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        return tuple(map(_opening, tools))

    def exact_parser(self, tools: Sequence[Tool]) -> ExactLlama3:
        return ExactLlama3(tools)

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        if start == "{":
            yield from read_objects(source, sink, "", bare=True, opened="{")
            return
        yield from source.space()
        if (yield from source.peek()) in ("{", "["):
            yield from read_objects(source, sink, "")
            return
        name = yield from source.run(_NAME, at_most=MAX_NAME_CHARS)
        if not name.endswith(".call"):
            raise NotACall
        yield from source.expect("(")
        yield from read_arguments(source, sink, name.removesuffix(".call"))

    def render(self, calls: Sequence[ToolCall]) -> str:
        return "; ".join(
            f'{{"name": {json.dumps(call.name)}, "parameters": {call.arguments or "{}"}}}' for call in calls
        )

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule("call", json_call_grammar(g, tools, "name", "parameters"))
        return g.seq(call, g.repeat(g.seq(g.literal("; "), call))) if parallel else call


class ExactLlama3:
    """A CallParser of what `Llama3.grammar` allows of these tools."""

    starts: tuple[str, ...] = ()
    owns_channels = False

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._names = {_opening(tool): tool.name for tool in tools}
        self.first_starts = tuple(self._names)

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        while start:
            sink.begin(self._names[start])
            yield from json_value(source, sink.arguments)
            sink.end()
            yield from source.space()
            yield from source.expect("}")
            if not (yield from source.accept(";")):
                return
            yield from source.space()
            start = yield from source.expect(*self._names)


def _opening(tool: Tool) -> str:
    return f'{{"name": {json.dumps(tool.name)}, "parameters": '


LLAMA3: Final = Llama3()
