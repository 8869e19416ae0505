"""Functionary 3.2: `>>>recipient`, newline, and what is for it: text for `all`, a JSON object for a tool.

The prompt ends with the first `>>>` (frames.py). In text it is a Python prompt as well, so behind the
beginning only a known recipient counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import ANY_OBJECT
from inference.toolcall_formats.json_text import json_value
from inference.toolcall_formats.source import NotACall, Source, Steps
from inference.toolcall_formats.tagged_calls import MAX_NAME_CHARS, NAME

TO: Final = ">>>"
TO_ALL: Final = f"{TO}all\n"
_LINE_END: Final = re.compile(r"[ \t\r]*\n")


class _Parser:
    """A CallParser. Text is told from calls here, so it reads answers without tools too."""

    first_starts = (TO,)
    owns_channels = True

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._names = {_to(tool.name): tool.name for tool in tools}
        self.starts = (TO_ALL, *self._names)

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        if start == TO_ALL:
            sink.boundary()
            return
        name = self._names.get(start, "")
        if not name:
            name = yield from source.run(NAME, at_most=MAX_NAME_CHARS)
            line_end = yield from source.chunk(_LINE_END)
            if not line_end or (yield from source.peek()) != "{":
                if source.is_cut_off:
                    raise NotACall
                sink.text(name + line_end)  # the prompt's own marker is not the model's text
                return
        sink.begin(name)
        yield from source.space()
        yield from json_value(source, sink.arguments)
        sink.end()


class Functionary32:
    """A ToolFormat. With `triggers_for`, since only a known recipient makes a call."""

    name = "functionary-3.2"
    triggers = (TO,)
    markers = (TO_ALL.strip(),)

    def triggers_for(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        return tuple(_to(tool.name) for tool in tools)

    def detect(self, template: str) -> bool:
        return f"{TO}all" in template

    def parser(self, tools: Sequence[Tool]) -> _Parser:
        return _Parser(tools)

    def render(self, calls: Sequence[ToolCall]) -> str:
        return "".join(f"{_to(call.name)}{call.arguments or '{}'}" for call in calls)

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        one = [
            g.seq(g.literal(_to(tool.name)), g.json(tool.parameters or ANY_OBJECT), g.whitespace())
            for tool in tools
        ]
        call = g.rule("call", g.any_of(*one))
        return g.repeat(call, at_least=1) if parallel else call


def _to(name: str) -> str:
    return f"{TO}{name}\n"


FUNCTIONARY_3_2: Final = Functionary32()
