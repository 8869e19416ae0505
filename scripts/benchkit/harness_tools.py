"""Tools as coding harnesses offer them: 30 names and schemas, without the descriptions.

Two thirds are Claude Code's, the rest opencode's and Codex's. Keywords in them: type, properties, required,
items, enum, const, anyOf, allOf, additionalProperties, propertyNames, minimum, maximum, exclusiveMinimum,
minLength, maxLength, maxItems, pattern, format.
"""

from __future__ import annotations

import json
from pathlib import Path

from inference.chat import Tool

_DATA = Path(__file__).with_suffix(".json")


def harness_tools(*, described: bool = False) -> tuple[Tool, ...]:
    """The tools; `described`: with as much description as harnesses send, a kilobyte for each."""
    description = "What the tool does and when to use it. " * 25 if described else ""
    return tuple(
        Tool(name=tool["name"], description=description, parameters=tool["parameters"])
        for tool in json.loads(_DATA.read_text())
    )
