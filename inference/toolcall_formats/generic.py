"""For templates that know no tools: JSON objects in <tool_call> tags, and the words that ask for them.

`instructions` belongs in the system message. Small models forget the tags, so an answer that begins
with the object itself, with a list of them, or with a ```json block of one, is a call as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import ANY_OBJECT, JsonCalls, read_objects
from inference.toolcall_formats.source import Source, Steps

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FENCES: Final = ("```json", "```")
_WRITTEN: Final = JsonCalls(
    name="generic", open=f"{_OPEN}\n", close=f"\n{_CLOSE}", each=True, in_list=False, taught=lambda _: True
)


class Generic:
    """A ToolFormat and its CallParser."""

    name = "generic"
    triggers = (_OPEN,)
    markers = (_OPEN, _CLOSE)
    starts = (_OPEN,)
    first_starts = ("{", "[", "```json")
    owns_channels = False

    def detect(self, template: str) -> bool:
        return True

    def parser(self, tools: Sequence[Tool]) -> Generic:
        return self

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        match start:
            case "<tool_call>":
                yield from source.space()
                yield from source.accept(*_FENCES)
                yield from read_objects(source, sink, "```")
                yield from source.space()
                yield from source.accept(_CLOSE)
            case "```json":
                yield from read_objects(source, sink, "```", bare=True)
            case _:
                yield from read_objects(source, sink, _CLOSE, bare=True, opened=start)

    def render(self, calls: Sequence[ToolCall]) -> str:
        return _WRITTEN.render(calls)

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        return _WRITTEN.grammar(g, tools, parallel=parallel)


def instructions(tools: Sequence[Tool]) -> str:
    """What a system message says of the tools to a model whose template does not."""
    described = "\n".join(
        json.dumps(
            {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or ANY_OBJECT,
            },
            ensure_ascii=False,
        )
        for tool in tools
    )
    return (
        "# Tools\n\n"
        "You can call these functions. Each line describes one: its name, what it does, and the JSON "
        "Schema of its arguments.\n\n"
        f"<tools>\n{described}\n</tools>\n\n"
        "To call a function, answer with its name and arguments as a JSON object between these tags, "
        "and nothing after them:\n\n"
        f'{_OPEN}\n{{"name": "the function\'s name", "arguments": {{"argument": "value"}}}}\n{_CLOSE}\n\n'
        "Several calls are several such blocks. The results will be given to you in the next message. "
        "Answer without tags where no function is needed."
    )


GENERIC: Final = Generic()
