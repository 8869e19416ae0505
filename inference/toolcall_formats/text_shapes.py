"""What a JSON Schema says of a value that is written as bare text: words, patterns, formats, lengths.

Where a string is allowed among other scalars, each kind is a shape of its own. Objects and lists beside
strings have none: any text may then come, as where nothing is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from inference.grammar_formats import FORMAT_PATTERNS
from inference.toolcall_formats.arguments import ANY, resolved, type_of

MAX_SHAPES: Final = 64
"""Alternatives; a schema with more is not followed."""
_MAX_DEPTH: Final = 6
_SCALARS: Final = frozenset({"string", "number", "boolean", "null"})
_NUMBERS: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_INTEGERS: Final = r"-?(?:0|[1-9][0-9]*)"


@dataclass(frozen=True, slots=True)
class TextShape:
    """Texts that match all of `patterns` somewhere, of so many characters; or one of `words`, if not None.

    Patterns are as grammar_pattern.engine_pattern writes them.
    """

    words: tuple[str, ...] | None = None
    patterns: tuple[str, ...] = ()
    shortest: int = 0
    longest: int | None = None

    @property
    def is_any(self) -> bool:
        return self == _ANY_TEXT


_ANY_TEXT: Final = TextShape()


@dataclass(frozen=True, slots=True)
class _Value:
    """What a schema says of a value. `values`: of an enum. `text`: of a string."""

    kinds: frozenset[str] = ANY
    integer: bool = False
    values: tuple[Any, ...] | None = None
    text: TextShape = _ANY_TEXT

    def both(self, other: _Value) -> _Value:
        values = self.values if other.values is None else other.values
        if self.values is not None and other.values is not None:
            values = tuple(value for value in self.values if value in other.values)
        ends = [end for end in (self.text.longest, other.text.longest) if end is not None]
        text = TextShape(
            patterns=(*self.text.patterns, *other.text.patterns),
            shortest=max(self.text.shortest, other.text.shortest),
            longest=min(ends, default=None),
        )
        return _Value(self.kinds & other.kinds, self.integer or other.integer, values, text)


def text_shapes(schema: object, root: Mapping[str, Any]) -> tuple[TextShape, ...]:
    """The shapes of a value's text. None at all: any text may come.

    `root`: the document that references point into.
    """
    values = _alternatives(schema, root, 0)
    if values is None:
        return ()
    shapes: list[TextShape] = []
    for value in values:
        if value.values is None and not value.kinds <= _SCALARS:
            return ()
        shapes += _shapes(value)
    return () if any(shape.is_any for shape in shapes) else tuple(shapes)


def _shapes(value: _Value) -> list[TextShape]:
    if value.values is not None:
        words = tuple(_word(item) for item in value.values if type_of(item) in value.kinds)
        texts = value.text if value.kinds <= {"string"} else _ANY_TEXT
        return [replace(texts, words=words)] if words else []
    shapes: list[TextShape] = []
    for kind in sorted(value.kinds):
        match kind:
            case "string":
                shapes.append(value.text)
            case "boolean":
                shapes.append(TextShape(words=("true", "false")))
            case "null":
                shapes.append(TextShape(words=("null",)))
            case _:
                shapes.append(TextShape(patterns=(f"^(?:{_INTEGERS if value.integer else _NUMBERS})$",)))
    return shapes


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _alternatives(schema: object, root: Mapping[str, Any], depth: int) -> list[_Value] | None:
    """None: too much to follow."""
    found = resolved(schema, root)
    if depth > _MAX_DEPTH:
        return None
    values = [_own(found)]
    branches = [found.get("anyOf"), found.get("oneOf"), *([one] for one in _list(found.get("allOf")))]
    for several in branches:
        if not isinstance(several, list) or not several:
            continue
        inner: list[_Value] = []
        for branch in several:
            alternatives = _alternatives(branch, root, depth + 1)
            if alternatives is None:
                return None
            inner += alternatives
        values = [value.both(other) for value in values for other in inner]
        if len(values) > MAX_SHAPES:
            return None
    return values


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _own(schema: Mapping[str, Any]) -> _Value:
    """Without what its branches say."""
    named = schema.get("type")
    names = [named] if isinstance(named, str) else _list(named)
    kinds = frozenset("number" if name == "integer" else name for name in names) or ANY
    values = _list(schema.get("enum")) or ([schema["const"]] if "const" in schema else None)
    pattern, longest = schema.get("pattern"), schema.get("maxLength")
    known = FORMAT_PATTERNS.get(str(schema.get("format")))
    patterns = [pattern] if isinstance(pattern, str) else []
    return _Value(
        kinds,
        integer="integer" in names and "number" not in names,
        values=None if values is None else tuple(values),
        text=TextShape(
            patterns=tuple(patterns if known is None else [*patterns, f"^(?:{known})$"]),
            shortest=int(schema.get("minLength", 0)),
            longest=None if longest is None else int(longest),
        ),
    )
