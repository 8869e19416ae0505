"""Which tool-call format a chat template goes with, and tools told in words where it cannot show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from inference.chat import Tool, ToolCall
from inference.template_messages import Shape
from inference.toolcall_formats import detect_format
from inference.toolcall_formats.base import ToolFormat
from inference.toolcall_formats.generic import GENERIC, instructions

_EXAMPLE = ToolCall(id="call_1", name="the_function", arguments='{"argument": "value"}')


@dataclass(frozen=True, slots=True)
class ToolTeller:
    """The ToolText of one format: what the model is told to write is what will be read.

    `all_told`: tools, calls and results are told even where the template knows some, because nothing
    here could read what it teaches.
    """

    format: ToolFormat
    all_told: bool

    def instructions(self, tools: Sequence[Tool]) -> str:
        if self.format is GENERIC:
            return instructions(tools)
        # The model has learnt the format, and its template leaves the tools to the system message.
        described = "\n".join(_described(tool) for tool in tools)
        return (
            "# Tools\n\n"
            "You can call these functions. Each line describes one: its name, what it does, and the JSON "
            f"Schema of its arguments.\n\n<tools>\n{described}\n</tools>\n\n"
            "To call a function, write its name and arguments in exactly this form, and nothing after it:\n\n"
            f"{self.format.render([_EXAMPLE])}"
        )

    def render(self, calls: Sequence[ToolCall]) -> str:
        return self.format.render(calls)


def _described(tool: Tool) -> str:
    told = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return json.dumps(told, ensure_ascii=False)


def tool_teller(source: str, shape: Shape, forced: ToolFormat | None = None) -> ToolTeller:
    """For a template of this source and shape. `forced`: the format that its owner says it has."""
    if forced is None and not shape.tools and shape.calls == "text":
        return ToolTeller(GENERIC, all_told=True)
    found = forced or detect_format(source)
    return ToolTeller(found, all_told=found is GENERIC)
