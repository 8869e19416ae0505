"""Tools and calls as chat templates expect them, or as text where they expect none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from inference.chat import Tool, ToolCall

SHORT_ID_CHARS: Final = 9
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"

_LISTS: Final = ("anyOf", "oneOf", "allOf")


class ToolText(Protocol):
    """Tools and calls in words, for a template that knows neither."""

    def instructions(self, tools: Sequence[Tool]) -> str:
        """What tools there are, and how to call them."""

    def render(self, calls: Sequence[ToolCall]) -> str:
        """Calls as the model would have written them."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a template reads an assistant's calls.

    `flat`: name and arguments beside the id, not only within `function`. `arguments_as_text`: JSON text,
    where an object would be shown in Python's notation. `no_text_is_none`: content is None beside calls,
    not "". `long_ids`: any id will do; else only nine letters and digits.
    """

    flat: bool = False
    arguments_as_text: bool = False
    no_text_is_none: bool = False
    long_ids: bool = True


NESTED: Final = CallForm()


def template_tools(
    tools: Sequence[Tool], *, empty_is_list: bool, described: bool
) -> list[dict[str, Any]] | None:
    return [_tool(tool, described=described) for tool in tools] or ([] if empty_is_list else None)


def functions_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """For templates that are given JSON text."""
    return json.dumps([tool["function"] for tool in tools], indent=4, ensure_ascii=False)


def _tool(tool: Tool, *, described: bool) -> dict[str, Any]:
    # Templates go through `parameters.properties`; a tool without parameters has none, but has the key.
    parameters: Any = tool.parameters or {"type": "object", "properties": {}}
    if described:
        parameters = _described(parameters)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _described(schema: Any) -> Any:
    """A copy in which every property has a type and a description."""
    if not isinstance(schema, dict):
        return schema
    copied = dict(schema)
    if isinstance(properties := schema.get("properties"), dict):
        copied["properties"] = {name: _property(value) for name, value in properties.items()}
    if "items" in schema:
        copied["items"] = _property(schema["items"])
    return copied


def _property(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return {"type": "string", "description": ""} if schema is True else schema
    return {"type": _type(schema), "description": ""} | _described(schema)


def _type(schema: Mapping[str, Any]) -> Any:
    for key in _LISTS:
        for choice in schema.get(key) or ():
            if isinstance(choice, dict) and isinstance(choice.get("type"), str):
                return choice["type"]
    return "string"


# --- calls ---------------------------------------------------------------------------------------


def template_call(call: ToolCall, form: CallForm) -> dict[str, Any]:
    said = {"name": call.name, "arguments": call.arguments if form.arguments_as_text else _arguments(call)}
    identified = {"id": call.id if form.long_ids else call_id(call.id), "type": "function", "function": said}
    return identified | said if form.flat else identified


def _arguments(call: ToolCall) -> Any:
    """An object; if it is none, what the client sent: a call that was cut off stays as it was written."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return call.arguments
    return arguments if isinstance(arguments, dict) else call.arguments


def call_id(given: str) -> str:
    """Nine letters and digits, the same for the same id; those that are, stay."""
    if len(given) == SHORT_ID_CHARS and given.isascii() and given.isalnum():
        return given
    number = int.from_bytes(hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    digits = ""
    while len(digits) < SHORT_ID_CHARS:
        number, digit = divmod(number, len(_DIGITS))
        digits += _DIGITS[digit]
    return digits


def result_text(name: str, text: str) -> str:
    """A tool's result for a template that knows none; `name` "" if the call is not known."""
    of = f' name="{name}"' if name else ""
    return f"<tool_response{of}>\n{text}\n</tool_response>"
