"""A client's JSON Schema made ready for the grammar engine: bounded, cut to what is enforced, self-contained.

Owns the limits on schemas and says by name what breaks one. Annotations go (they are most of a tool's
bytes), local `$ref`s become definitions of their own, so that any part of a schema can stand in another
one. What the engine cannot enforce is refused where the client asked for `strict`; else it is left out
and named in `notes`: a harness cannot change the schema of a tool it did not write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from inference.errors import InvalidRequest
from inference.grammar_formats import FORMAT_PATTERNS
from inference.grammar_pattern import engine_pattern

Schema = dict[str, Any] | bool

MAX_DEPTH: Final = 40
"""Schemas within schemas. The engine's JSON parser gives up at 128 brackets; two come per level."""

MAX_NODES: Final = 4000
"""Subschemas of one schema. Harness tools have up to 40; each costs some ten microseconds to compile."""

MAX_BYTES: Final = 128 * 1024
"""JSON text of one schema without annotations. 400 KB of enum took 66 ms to compile."""

MAX_PROPERTIES: Final = 400
"""Of one object. 1000 optional ones took 110 ms to compile and 8 ms for one mask."""

MAX_ROW: Final = 800
"""Properties that may come at one place, all alternatives together: each is four items of a parser's row."""

MAX_MULTIPLE: Final = 10_000
"""Largest `multipleOf`, counted in its last decimal place: each remainder is a state; 99991: 1.1 s."""

DEFINITIONS: Final = "#/$defs/"

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})
_COUNTS: Final = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
)  # fmt: skip
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_ONE: Final = ("items", "additionalProperties")
_MANY: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties")
_IN_PLACE: Final = frozenset({"anyOf", "oneOf", "allOf", "$ref"})
_UNENFORCED: Final = (
    "not", "if", "contains", "minContains", "maxContains", "uniqueItems", "dependentRequired",
    "dependentSchemas", "dependencies", "propertyNames", "unevaluatedProperties", "unevaluatedItems",
    "$dynamicRef", "$recursiveRef",
)  # fmt: skip
_WITHOUT_EFFECT: Final[dict[str, tuple[Any, ...]]] = {
    "not": (False,),
    "uniqueItems": (False,),
    "propertyNames": (True, {}, {"type": "string"}),
    "unevaluatedProperties": (True, {}),
    "unevaluatedItems": (True, {}),
    "minContains": (0,),
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """`schema` refers to nothing but `definitions`, by "#/$defs/NAME". `notes`: what is not enforced.
    `strict`: all of it must be.
    """

    param: str
    schema: Schema
    definitions: Mapping[str, Schema]
    notes: tuple[str, ...]
    strict: bool = False


def prepare(schema: Any, param: str, *, strict: bool, closed: bool = False, prefix: str = "d") -> Prepared:
    """Make a schema ready, or raise InvalidRequest naming `param`.

    `closed`: an object that names its properties and says nothing of others takes no others; without it a
    small model at its wits' end invents properties for ever. `prefix` begins the definitions' names.
    """
    walk = _Walk(root=schema, param=param, strict=strict, closed=closed, prefix=prefix)
    ready = walk.visit(schema, "", 0, fresh=True)
    while walk.pending:  # definitions refer to definitions; each is visited once
        name, pointer, target = walk.pending.pop()
        walk.definitions[name] = walk.visit(target, pointer, 1, fresh=False)
    _check_size([ready, walk.definitions], param)
    _check_rows(ready, walk.definitions, param)
    return Prepared(param, ready, walk.definitions, tuple(walk.notes), strict)


def with_definitions(schema: Schema, definitions: Mapping[str, Schema]) -> dict[str, Any]:
    """The schema as a document of its own: with those definitions that it needs, and no others."""
    root: dict[str, Any] = dict(schema) if isinstance(schema, Mapping) else {} if schema else {"enum": []}
    needed: dict[str, Schema] = {}
    pending = list(_names(root))
    while pending:
        name = pending.pop()
        if name not in needed:
            needed[name] = definitions[name]
            pending += _names(needed[name])
    return {**root, "$defs": needed} if needed else root


def _parts(schema: Any) -> Iterator[Any]:
    """The subschemas of a prepared schema, one level down."""
    for key, value in schema.items() if isinstance(schema, Mapping) else ():
        if key in _ONE:
            yield value
        elif key in _MANY:
            yield from value
        elif key in _NAMED:
            yield from value.values()


def _names(schema: Any) -> Iterator[str]:
    """Names of the definitions referred to anywhere in a prepared schema."""
    if isinstance(schema, Mapping) and "$ref" in schema:
        yield schema["$ref"].removeprefix(DEFINITIONS)
    for part in _parts(schema):
        yield from _names(part)


def _check_size(schema: Any, param: str) -> None:
    try:
        size = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode("utf-8"))
    except (ValueError, RecursionError) as error:  # NaN, lone surrogates, constants nested without end
        raise InvalidRequest(f"{param}: the schema is not plain JSON: {error}", param=param) from error
    if size > MAX_BYTES:
        raise InvalidRequest(
            f"{param}: the schema has {size} bytes without its descriptions, limit {MAX_BYTES}: simplify it",
            param=param,
        )


def _check_rows(schema: Schema, definitions: Mapping[str, Schema], param: str) -> None:
    """Refuse a schema with a place at which more may come than the parser keeps track of."""
    widths: dict[str, int] = {}  # of definitions

    def width(node: Any) -> int:
        if not isinstance(node, Mapping):
            return 0
        found = len(node.get("properties", ()))
        found += sum(width(branch) for key in ("anyOf", "oneOf", "allOf") for branch in node.get(key, ()))
        if "$ref" in node:
            name = node["$ref"].removeprefix(DEFINITIONS)
            if name not in widths:
                widths[name] = 0  # a definition within itself adds nothing
                widths[name] = width(definitions[name])
            found += widths[name]
        return found

    pending: list[Any] = [schema, *definitions.values()]
    while pending:
        node = pending.pop()
        if width(node) > MAX_ROW:
            raise InvalidRequest(
                f"{param}: the schema is too large: more than {MAX_ROW} properties of all alternatives may "
                "come at one place: simplify it",
                param=param,
            )
        pending += _parts(node)


@dataclass(slots=True)
class _Walk:
    root: Any
    param: str
    strict: bool
    closed: bool
    prefix: str
    n_nodes: int = 0
    notes: list[str] = field(default_factory=list)
    definitions: dict[str, Schema] = field(default_factory=dict)
    pending: list[tuple[str, str, Any]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # by pointer

    def visit(self, node: Any, where: str, depth: int, *, fresh: bool) -> Schema:
        """The enforced part of a subschema. `fresh`: no other schema describes the same value."""
        self.n_nodes += 1
        if depth > MAX_DEPTH or self.n_nodes > MAX_NODES:
            raise InvalidRequest(
                f"{self.param}: the schema is too {'deep' if depth > MAX_DEPTH else 'large'} at "
                f"{where or '#'}: at most {MAX_DEPTH} levels and {MAX_NODES} subschemas: simplify it",
                param=self.param,
            )
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            self.refuse(where, f"is {type(node).__name__}, expected a schema object")
            return {}
        found = self.assertions(node, where)
        self.reference(node, where, found)
        fresh = fresh and not ("allOf" in node or "$ref" in node)
        self.applicators(node, where, depth, found, fresh=fresh)
        for key in _UNENFORCED:
            if key in node and node[key] not in _WITHOUT_EFFECT.get(key, ()):
                self.refuse(f"{where}/{key}", "cannot be enforced")
        if self.closed and fresh and "properties" in found and _may_close(found):
            found["additionalProperties"] = False
        return found

    def refuse(self, where: str, why: str) -> None:
        """Say no to what was asked for strictly; else note it and go on without."""
        if self.strict:
            raise InvalidRequest(
                f"{self.param}: {where or '#'} {why}: leave it out, or ask without strict", param=self.param
            )
        if len(self.notes) < 20:
            self.notes.append(f"{self.param}: {where or '#'} {why}"[:300])

    def assertions(self, node: Mapping[str, Any], where: str) -> dict[str, Any]:
        """What a schema says of its own value. The order of keywords stays: it orders properties."""
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key in ("const", "enum", "type", "pattern", "format", "required", "multipleOf"):
                wrong = _WRONG[key](value)
            elif key in _COUNTS:
                wrong = None if _is_count(value) else "is not a count"
            elif key in _BOUNDS:
                wrong = None if _is_number(value) else "is not a number"
            elif key in _ONE or key in _MANY or key in _NAMED:
                found[key] = None  # its place in the order; applicators() fills it
                continue
            else:
                continue
            if wrong is not None:
                self.refuse(f"{where}/{key}", wrong)
            elif key == "pattern":
                pattern = engine_pattern(value)
                if pattern is None:
                    self.refuse(
                        f"{where}/{key}", "uses what a grammar cannot express (look-around, \\b, \\1)"
                    )
                else:
                    found[key] = pattern
            elif key != "format" or value in FORMAT_PATTERNS:  # other formats are annotations
                found[key] = value
        return found

    def applicators(
        self, node: Mapping[str, Any], where: str, depth: int, found: dict[str, Any], *, fresh: bool
    ) -> None:
        alone = fresh and not found.keys() & {"properties", "patternProperties", "required"}
        for key in list(found):
            if found[key] is not None or key in ("const", "enum"):
                continue
            value, at = node[key], f"{where}/{key}"
            ready: Any = None
            if key == "items" and isinstance(value, list):  # draft 4 to 7
                key = "prefixItems"
                del found["items"]
            if key in _ONE and isinstance(value, Mapping | bool):
                ready = self.visit(value, at, depth + 1, fresh=True)
            elif key in _MANY and isinstance(value, list) and value:
                whole = alone if key != "prefixItems" else True
                ready = [self.visit(v, f"{at}/{i}", depth + 1, fresh=whole) for i, v in enumerate(value)]
            elif key in _NAMED and isinstance(value, Mapping):
                ready = self.named(key, value, at, depth)
            else:
                self.refuse(at, "is malformed")
            if ready is None:
                found.pop(key, None)
            else:
                found[key] = ready

    def named(self, key: str, value: Mapping[str, Any], at: str, depth: int) -> dict[str, Any]:
        if len(value) > MAX_PROPERTIES:
            raise InvalidRequest(
                f"{self.param}: {at} has {len(value)} entries, limit {MAX_PROPERTIES}: simplify it",
                param=self.param,
            )
        ready: dict[str, Any] = {}
        for name, sub in value.items():
            pattern = engine_pattern(name) if key == "patternProperties" else name
            if pattern is None:
                self.refuse(f"{at}/{name}", "is a pattern that a grammar cannot express")
            else:
                ready[pattern] = self.visit(sub, f"{at}/{name}", depth + 1, fresh=True)
        return ready

    def reference(self, node: Mapping[str, Any], where: str, found: dict[str, Any]) -> None:
        pointer = node.get("$ref")
        if pointer is None:
            return
        if not isinstance(pointer, str) or not self.resolve(pointer):
            self.refuse(f"{where}/$ref", "does not point into this schema")
            return
        found["$ref"] = DEFINITIONS + self.names[pointer]

    def resolve(self, pointer: str) -> bool:
        """Whether a pointer leads somewhere; its target will then become a definition."""
        if pointer in self.names:
            return True
        if pointer != "#" and not pointer.startswith("#/"):
            return False
        target = self.root
        for step in pointer.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping) and step in target:
                target = target[step]
            elif isinstance(target, list) and step.isdecimal() and int(step[:9]) < len(target):
                target = target[int(step[:9])]
            else:
                return False
        name = self.names[pointer] = f"{self.prefix}{len(self.names)}"
        self.pending.append((name, pointer, target))
        return True


def _may_close(found: Mapping[str, Any]) -> bool:
    says_more = found.keys() & (_IN_PLACE | {"additionalProperties", "patternProperties"})
    return not says_more and set(found.get("required", ())).issubset(found["properties"])


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return _is_number(value) and 0 <= value < 2**31 and value == int(value)


def _wrong_type(value: Any) -> str | None:
    names = value if isinstance(value, list) else [value]
    unknown = [name for name in names if not isinstance(name, str) or name not in _TYPES]
    return f"names no JSON type: {str(unknown[0])[:60]!r}" if unknown else None if names else "is empty"


def _wrong_required(value: Any) -> str | None:
    is_list = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return None if is_list else "is not a list of names"


def _wrong_multiple(value: Any) -> str | None:
    if not _is_number(value) or value <= 0:
        return "is not a positive number"
    digits = f"{value:.10f}".rstrip("0").replace(".", "")
    return None if int(digits) <= MAX_MULTIPLE else f"is too fine to count, limit {MAX_MULTIPLE}"


def _wrong_text(value: Any) -> str | None:
    return None if isinstance(value, str) else "is not a string"


_WRONG: Final = {
    "const": lambda _value: None,
    "enum": lambda value: None if isinstance(value, list) and value else "is not a list of values",
    "type": _wrong_type,
    "pattern": _wrong_text,
    "format": _wrong_text,
    "required": _wrong_required,
    "multipleOf": _wrong_multiple,
}
