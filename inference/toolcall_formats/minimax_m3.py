"""MiniMax M3: every tag behind the namespace `]<]minimax[>[`, parameters named by their tags.

Objects are written as tags within tags, lists as `<item>` tags; all else is bare text, typed by the
schema. What is null is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.arguments import (
    ValueWriter,
    allowed_types,
    arguments_of,
    declared,
    resolved,
)
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.source import Markers, NotACall, Source, Steps
from inference.toolcall_formats.tagged_calls import MAX_NAME_CHARS, NAME
from inference.toolcall_formats.text_shapes import text_shapes

NS: Final = "]<]minimax[>["
OPEN, CLOSE = f"{NS}<tool_call>", f"{NS}</tool_call>"
INVOKE, INVOKE_CLOSE = f'{NS}<invoke name="', f"{NS}</invoke>"
ITEM: Final = "item"
MAX_DEPTH: Final = 20
"""Of values within values that are read."""
MAX_WRITTEN_DEPTH: Final = 6
"""Of those whose schema a grammar follows; within them JSON may come."""
_KEY: Final = re.compile(r"[^<>/\r\n][^<>\r\n]*")


@dataclass(frozen=True, slots=True)
class _Place:
    """The schema of a value, and the document that its references point into."""

    schema: object
    root: Mapping[str, Any]

    @property
    def allowed(self) -> frozenset[str]:
        return allowed_types(self.schema, self.root)

    def property(self, key: str) -> _Place:
        found = (one["properties"][key] for one in self._branches() if key in _mapping(one, "properties"))
        return _Place(next(found, True), self.root)

    def item(self) -> _Place:
        found = (one["items"] for one in self._branches() if "items" in one)
        return _Place(next(found, True), self.root)

    def _branches(self, schema: object = None, depth: int = 0) -> Iterator[Mapping[str, Any]]:
        """The schemas that say something of this value."""
        found = resolved(self.schema if depth == 0 else schema, self.root)
        yield found
        for key in ("anyOf", "oneOf", "allOf") if depth < MAX_WRITTEN_DEPTH else ():
            for branch in found.get(key) or ():
                yield from self._branches(branch, depth + 1)


def _mapping(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = schema.get(key)
    return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class _Parser:
    """A CallParser."""

    tools: Mapping[str, Tool]
    starts: tuple[str, ...] = (OPEN, INVOKE)
    first_starts: tuple[str, ...] = ()
    owns_channels: bool = False

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        if start == OPEN:
            yield from source.space()
            yield from source.expect(INVOKE)
        while True:
            yield from self._call(source, sink)
            yield from source.space()
            if (yield from source.accept(INVOKE, CLOSE)) != INVOKE:
                return

    def _call(self, source: Source, sink: CallSink) -> Steps[None]:
        name = yield from source.run(NAME, at_most=MAX_NAME_CHARS)
        if not name:
            raise NotACall
        yield from source.expect('">')
        sink.begin(name)
        schema = self.tools[name].parameters if name in self.tools else {}
        yield from source.space()
        tag = yield from source.expect(f"{NS}<", INVOKE_CLOSE)
        if tag == INVOKE_CLOSE:
            sink.arguments("{}")
        else:
            yield from _members(_Place(schema, schema), INVOKE_CLOSE, source, sink, 0)
        sink.end()


def _members(place: _Place, close: str, source: Source, sink: CallSink, depth: int) -> Steps[None]:
    """An object's, from behind the first one's `NS<`, up to and with `close`."""
    before = "{"
    tag = ""
    while tag != close:
        key = yield from source.run(_KEY, at_most=MAX_NAME_CHARS)
        if not key:
            raise NotACall
        yield from source.expect(">")
        sink.arguments(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
        before = ", "
        yield from _value(place.property(key), f"{NS}</{key}>", source, sink, depth + 1)
        yield from source.space()
        tag = yield from source.expect(close, f"{NS}<")
    sink.arguments("}")


def _items(place: _Place, close: str, source: Source, sink: CallSink, depth: int) -> Steps[None]:
    """A list's, from behind the first `<item>`, up to and with `close`."""
    before, tag = "[", ""
    while tag != close:
        sink.arguments(before)
        before = ", "
        yield from _value(place.item(), f"{NS}</{ITEM}>", source, sink, depth + 1)
        yield from source.space()
        tag = yield from source.expect(close, f"{NS}<{ITEM}>")
    sink.arguments("]")


def _value(place: _Place, close: str, source: Source, sink: CallSink, depth: int) -> Steps[None]:
    """Up to and with `close`."""
    if depth > MAX_DEPTH:
        raise NotACall
    allowed = place.allowed
    nested = allowed & {"object", "array"}
    space = ""
    if nested:
        space = yield from source.space()
    tag = yield from source.accept(close, *((f"{NS}<",) if nested else ()))
    if tag == f"{NS}<":
        is_item = "array" in allowed and (yield from source.accept(f"{ITEM}>"))
        yield from (_items if is_item else _members)(place, close, source, sink, depth)
    elif tag and "string" not in allowed and nested:
        sink.arguments("{}" if "object" in nested else "[]")
    else:
        writer = ValueWriter(allowed, sink.arguments)
        writer.add(space)
        while not tag:
            piece = yield from source.before(Markers((close,)))
            writer.add(piece.text)
            tag = piece.marker
            if not tag and not piece.text:
                raise NotACall
        writer.end()


class MiniMaxM3:
    """A ToolFormat."""

    name = "minimax-m3"
    triggers = (OPEN,)
    markers = (NS, OPEN, CLOSE)

    def detect(self, template: str) -> bool:
        return NS in template and "<tool_call>" in template

    def parser(self, tools: Sequence[Tool]) -> _Parser:
        return _Parser({tool.name: tool for tool in tools})

    def render(self, calls: Sequence[ToolCall]) -> str:
        written = (
            f'{INVOKE}{call.name}">{_object(arguments_of(call.arguments))}{INVOKE_CLOSE}\n' for call in calls
        )
        return f"{OPEN}\n{''.join(written)}{CLOSE}"

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule("call", g.any_of(*(_tool_grammar(g, tool) for tool in tools)))
        one = g.seq(g.whitespace(), call)
        calls = g.repeat(one, at_least=1) if parallel else one
        return g.seq(g.literal(OPEN), calls, g.whitespace(), g.literal(CLOSE))


def _written(value: object) -> str:
    match value:
        case str():
            return value
        case dict():
            return _object(value)
        case list():
            return "".join(f"{NS}<{ITEM}>{_written(item)}{NS}</{ITEM}>" for item in value)
        case _:
            return json.dumps(value)


def _object(value: Mapping[str, object]) -> str:
    return "".join(f"{NS}<{key}>{_written(item)}{NS}</{key}>" for key, item in value.items())


# --- grammar -------------------------------------------------------------------------------------


def _tool_grammar(g: GrammarBuilder, tool: Tool) -> str:
    place = _Place(tool.parameters, tool.parameters)
    members = _members_grammar(g, place, 0)
    return g.seq(g.literal(f'{INVOKE}{tool.name}">'), members, g.whitespace(), g.literal(INVOKE_CLOSE))


def _members_grammar(g: GrammarBuilder, place: _Place, depth: int) -> str:
    """In the schema's order, those that are not required left out or not."""
    found = resolved(place.schema, place.root)
    required = found.get("required")
    parts: list[str] = []
    for key in _mapping(found, "properties"):
        member = g.seq(g.whitespace(), _element(g, key, place.property(key), depth))
        is_required = isinstance(required, list) and key in required
        parts.append(member if is_required else g.optional(member))
    return g.seq(*parts)


def _element(g: GrammarBuilder, name: str, place: _Place, depth: int) -> str:
    close = f"{NS}</{name}>"
    return g.seq(g.literal(f"{NS}<{name}>"), _value_grammar(g, close, place, depth + 1))


def _value_grammar(g: GrammarBuilder, close: str, place: _Place, depth: int) -> str:
    """With its end tag, which free text and it are one with."""
    found, allowed = resolved(place.schema, place.root), place.allowed
    if "string" in allowed:  # then any text is one
        return g.seq(g.text_until(close, shapes=text_shapes(place.schema, place.root)), g.literal(close))
    branches = found.get("anyOf") or found.get("oneOf")
    if isinstance(branches, list) and depth < MAX_WRITTEN_DEPTH:
        several = (_value_grammar(g, close, _Place(branch, place.root), depth + 1) for branch in branches)
        return g.any_of(*several)
    alternatives: list[str] = []
    for kind in sorted(allowed):
        if kind == "object" and _mapping(found, "properties") and depth < MAX_WRITTEN_DEPTH:
            alternatives.append(g.seq(_members_grammar(g, place, depth), g.whitespace()))
        elif kind == "array" and "items" in found and depth < MAX_WRITTEN_DEPTH:
            item = g.seq(g.whitespace(), _element(g, ITEM, place.item(), depth))
            most, least = found.get("maxItems"), int(found.get("minItems", 0))
            several_items = g.repeat(item, at_least=least, at_most=None if most is None else int(most))
            alternatives.append(g.seq(several_items, g.whitespace()))
        else:
            alternatives.append(
                g.json({**_with_definitions(found, place.root), "type": declared(found, kind)})
            )
    return g.seq(g.any_of(*alternatives), g.literal(close))


def _with_definitions(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return {**shared, **schema}


MINIMAX_M3: Final = MiniMaxM3()
