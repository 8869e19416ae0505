"""Arguments that are written as bare text between tags, typed by the tool's JSON Schema.

A string parameter is a string even where its text looks like a number, and its content is passed on
as it comes. Everything else is decided when the value ends: what the schema allows and the text is
valid JSON for, else a string, so that what was streamed is always valid JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.chat import Tool
from inference.toolcall_formats.json_text import escaped, loads, mended
from inference.toolcall_formats.source import SPACE

ANY: Final = frozenset({"string", "number", "boolean", "object", "array", "null"})
STRING: Final = frozenset({"string"})
MAX_REFERENCES: Final = 20

_JSON_BEGINS: Final = frozenset("{[-0123456789tfnTFN") | frozenset(SPACE)
_TYPE_BY_FIRST_CHAR: Final = {
    "{": "object", "[": "array", '"': "string", "t": "boolean", "f": "boolean", "n": "null",
}  # fmt: skip
_DEFINITIONS: Final = ("$defs", "definitions")

Emit = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ParameterTypes:
    """The JSON types that each tool's schema allows for each parameter. Unknown: any."""

    _properties: Mapping[str, Mapping[str, frozenset[str]]]

    @classmethod
    def of(cls, tools: Sequence[Tool]) -> ParameterTypes:
        return cls(
            {
                tool.name: {
                    key: allowed_types(schema, tool.parameters) for key, schema in properties(tool).items()
                }
                for tool in tools
            }
        )

    def allowed(self, tool: str, parameter: str) -> frozenset[str]:
        return self._properties.get(tool, {}).get(parameter, ANY)


def properties(tool: Tool) -> Mapping[str, Any]:
    found = tool.parameters.get("properties")
    return found if isinstance(found, Mapping) else {}


def schema_of(tool: Tool, parameter: str) -> Any:
    """The parameter's schema, with the definitions that it may refer to."""
    schema = properties(tool)[parameter]
    shared = {key: tool.parameters[key] for key in _DEFINITIONS if key in tool.parameters}
    return {**shared, **schema} if isinstance(schema, Mapping) and shared else schema


def allowed_types(schema: object, root: Mapping[str, Any], left: int = MAX_REFERENCES) -> frozenset[str]:
    """The JSON types a value of this schema may have ("integer" counts as "number")."""
    if not isinstance(schema, Mapping) or left == 0:
        return ANY
    allowed = ANY
    if isinstance(schema.get("$ref"), str):
        allowed &= allowed_types(_referred(schema["$ref"], root), root, left - 1)
    declared = schema.get("type")
    if isinstance(declared, str):
        allowed &= {_type_name(declared)}
    elif isinstance(declared, list):
        allowed &= {_type_name(name) for name in declared if isinstance(name, str)}
    if "const" in schema:
        allowed &= {type_of(schema["const"])}
    if isinstance(schema.get("enum"), list):
        allowed &= {type_of(value) for value in schema["enum"]}
    for keyword in ("anyOf", "oneOf"):
        branches = schema.get(keyword)
        if isinstance(branches, list) and branches:
            allowed &= frozenset().union(*(allowed_types(branch, root, left - 1) for branch in branches))
    if isinstance(schema.get("allOf"), list):
        for branch in schema["allOf"]:
            allowed &= allowed_types(branch, root, left - 1)
    return allowed or ANY


def resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema with what its `$ref` refers to, if it has one."""
    for _ in range(MAX_REFERENCES):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        found = _referred(reference, root)
        others = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**found, **others} if isinstance(found, Mapping) else others
    return {}


def _referred(reference: str, root: Mapping[str, Any]) -> object:
    here: object = root
    for step in reference.removeprefix("#").split("/")[1:]:
        here = here.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(here, Mapping) else None
    return here


def _type_name(name: str) -> str:
    return "number" if name == "integer" else name


def type_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"


def declared(schema: Mapping[str, Any], kind: str) -> str:
    """A type as the schema names it: what counts as "number" may be its "integer"."""
    named = schema.get("type")
    names = named if isinstance(named, list) else [named]
    return "integer" if kind == "number" and "integer" in names and "number" not in names else kind


class ValueWriter:
    """Turns one bare value, given in pieces, into JSON text. `trim`: one newline at each end is layout.

    A string is on its way as soon as it can be nothing else.
    """

    def __init__(self, allowed: frozenset[str], emit: Emit) -> None:
        self._allowed = allowed
        self._emit = emit
        self._parts: list[str] = []
        self._undecided = not allowed <= STRING
        if not self._undecided:
            emit('"')

    def add(self, text: str) -> None:
        if not text:
            return
        if not self._undecided:
            self._emit(escaped(text))
            return
        self._parts.append(text)
        if "string" in self._allowed and not self._may_be_other():
            self._undecided = False
            self._emit('"' + escaped("".join(self._parts)))

    def _may_be_other(self) -> bool:
        if self._allowed <= {"string", "null"}:
            text = "".join(self._parts)
            return len(text) <= len("null") and ("null".startswith(text) or "None".startswith(text))
        return self._parts[0][0] in _JSON_BEGINS

    def end(self) -> None:
        if not self._undecided:
            self._emit('"')
            return
        self._emit(bare_to_json("".join(self._parts), self._allowed))


def bare_to_json(text: str, allowed: frozenset[str]) -> str:
    """The JSON of a bare value: as written, where that is JSON of an allowed type; else a string."""
    written = mended(text.strip(SPACE))
    if written is None:
        return json.dumps(text, ensure_ascii=False)
    found = _TYPE_BY_FIRST_CHAR.get(written[0], "number")
    if "string" in allowed and (found == "string" or found not in allowed):
        return json.dumps(text, ensure_ascii=False)  # quotes, if any, are content
    return written


def value_text(value: object) -> str:
    """A value as such formats write it: strings bare, all else JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def arguments_of(arguments: str) -> dict[str, Any]:
    """A finished call's arguments. What is no object has no parameters."""
    try:
        decoded = loads(arguments or "{}")
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
