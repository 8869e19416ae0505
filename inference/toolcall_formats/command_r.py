"""Command R and R+: `Action:` and a list of JSON objects in a ```json block.

Their tool-use template always asks for such a list; `directly-answer` in it means none of the tools.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import ANY_OBJECT, read_objects
from inference.toolcall_formats.source import Source, Steps

ACTION: Final = "Action:"
FENCE: Final = "```"
NO_TOOL: Final = "directly-answer"
_OPEN: Final = f"{ACTION}\n{FENCE}json\n[\n"


class _WithoutNoTool:
    """A CallSink that passes on all but calls of NO_TOOL."""

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._is_muted = False

    def begin(self, name: str) -> None:
        self._is_muted = name == NO_TOOL
        if self._is_muted:
            self._sink.boundary()
        else:
            self._sink.begin(name)

    def arguments(self, fragment: str) -> None:
        if not self._is_muted:
            self._sink.arguments(fragment)

    def end(self) -> None:
        if not self._is_muted:
            self._sink.end()

    def boundary(self) -> None:
        self._sink.boundary()

    def text(self, text: str) -> None:
        self._sink.text(text)

    def reasoning(self, text: str) -> None:
        self._sink.reasoning(text)


class CommandR:
    """A ToolFormat and its CallParser."""

    name = "command-r"
    triggers = (f"{_OPEN}    {{",)
    markers: tuple[str, ...] = ()
    starts = (f"{ACTION} {FENCE}json", f"{ACTION}\n{FENCE}json", f"{ACTION}{FENCE}json")
    first_starts: tuple[str, ...] = ()
    owns_channels = False

    def triggers_for(self, tools: Sequence[Tool]) -> tuple[str, ...]:
        return tuple(_OPEN + _call_open(tool.name) for tool in tools)

    def detect(self, template: str) -> bool:
        return ACTION in template and f"`{NO_TOOL}`" in template

    def parser(self, tools: Sequence[Tool]) -> CommandR:
        return self

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        yield from read_objects(source, _WithoutNoTool(sink), FENCE)

    def render(self, calls: Sequence[ToolCall]) -> str:
        objects = (f"{_call_open(call.name)}{call.arguments or '{}'}\n    }}" for call in calls)
        return _OPEN + ",\n".join(objects) + f"\n]{FENCE}"

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule("call", g.any_of(*(_tool_grammar(g, tool) for tool in tools)))
        more = [g.repeat(g.seq(g.literal(",\n"), call))] if parallel else []
        return g.seq(g.literal(_OPEN), call, *more, g.whitespace(), g.literal(f"]{FENCE}"))


def _call_open(name: str) -> str:
    return f'    {{\n        "tool_name": {json.dumps(name, ensure_ascii=False)},\n        "parameters": '


def _tool_grammar(g: GrammarBuilder, tool: Tool) -> str:
    arguments = g.json(tool.parameters or ANY_OBJECT)
    return g.seq(g.literal(_call_open(tool.name)), arguments, g.whitespace(), g.literal("}"))


COMMAND_R: Final = CommandR()
