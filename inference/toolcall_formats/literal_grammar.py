"""Grammars of arguments in notations that are almost JSON: keys, strings and words of their own.

The schema is followed into objects, lists, alternatives and references, to a depth; below it any value
of the kind may come, as far as the notation has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.chat import Tool
from inference.toolcall_formats.arguments import ANY, allowed_types, resolved
from inference.toolcall_formats.base import GrammarBuilder

MAX_DEPTH: Final = 6


@dataclass(frozen=True, slots=True)
class Notation:
    """`key`, `written`: an object's key with what parts it from its value, and a scalar, as literals.
    `text`: any string that a schema describes.
    """

    key: Callable[[str], str]
    written: Callable[[object], str]
    text: Callable[[GrammarBuilder, Mapping[str, Any]], str]
    roomy: bool
    """Whether whitespace may follow a comma."""


def in_any_selection(g: GrammarBuilder, values: Mapping[str, str], must: Sequence[str], comma: str) -> str:
    """The values in order, those in `must` always, commas between them."""
    required = [key for key in values if key in must]
    optional = [key for key in values if key not in must]
    if required:
        first, *others = (values[key] for key in required)
        parts = [first, *(g.seq(comma, value) for value in others)]
        return g.seq(*parts, *(g.optional(g.seq(comma, values[key])) for key in optional))
    chains = [
        g.seq(values[key], *(g.optional(g.seq(comma, values[later])) for later in optional[n + 1 :]))
        for n, key in enumerate(optional)
    ]
    return g.optional(g.any_of(*chains)) if chains else g.literal("")


class Writer:
    """One tool's parameters in one notation."""

    def __init__(self, g: GrammarBuilder, notation: Notation, tool: Tool) -> None:
        self._g = g
        self._notation = notation
        self._root = tool.parameters
        self.comma = g.seq(g.literal(","), g.whitespace()) if notation.roomy else g.literal(",")

    def members(self, schema: Mapping[str, Any], key: Callable[[str], str], depth: int = 0) -> str:
        """An object's members, without its braces. `key` writes a key."""
        g, fields, required = self._g, schema.get("properties"), schema.get("required")
        if not isinstance(fields, Mapping):
            return g.literal("")
        values = {
            name: g.seq(g.literal(key(name)), self.value(field, depth + 1)) for name, field in fields.items()
        }
        return in_any_selection(g, values, required if isinstance(required, list) else (), self.comma)

    def value(self, schema: object, depth: int = 0) -> str:
        g, found = self._g, resolved(schema, self._root)
        choices = found.get("enum", [found["const"]] if "const" in found else None)
        if isinstance(choices, list) and choices:
            return g.any_of(*(g.literal(self._notation.written(choice)) for choice in choices))
        for keyword in ("anyOf", "oneOf"):
            branches = found.get(keyword)
            if isinstance(branches, list) and branches and depth < MAX_DEPTH:
                return g.any_of(*(self.value(branch, depth + 1) for branch in branches))
        kinds = allowed_types(found, self._root)
        if kinds == ANY or depth >= MAX_DEPTH:
            kinds = kinds - {"object", "array"} or ANY - {"object", "array"}
        return g.any_of(*(self._of_kind(kind, found, depth) for kind in sorted(kinds)))

    def _of_kind(self, kind: str, schema: Mapping[str, Any], depth: int) -> str:
        g, written = self._g, self._notation.written
        match kind:
            case "string":
                return self._notation.text(g, schema)
            case "boolean":
                return g.any_of(g.literal(written(True)), g.literal(written(False)))
            case "null":
                return g.literal(written(None))
            case "object":
                return g.seq(g.literal("{"), self.members(schema, self._notation.key, depth), g.literal("}"))
            case "array":
                item = self.value(schema.get("items", {}), depth + 1)
                more = g.repeat(g.seq(self.comma, item))
                return g.seq(g.literal("["), g.optional(g.seq(item, more)), g.literal("]"))
            case _:
                integer = schema.get("type") == "integer"
                bounds = {key: schema[key] for key in _BOUNDS if key in schema}
                return g.json({"type": "integer" if integer else "number", **bounds})


_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
