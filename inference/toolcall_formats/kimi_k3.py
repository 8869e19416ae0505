"""Kimi K3: sections of tags, `<|open|>name key="value"<|sep|>` to `<|close|>name<|sep|>`.

Calls stand in a section `tools`, each with its number; each argument is a tag that says its type. A call may
have all of them as one JSON object in a tag `json` instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.arguments import (
    ANY,
    STRING,
    ParameterTypes,
    ValueWriter,
    allowed_types,
    arguments_of,
    declared,
    properties,
    schema_of,
    type_of,
    value_text,
)
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_text import json_value
from inference.toolcall_formats.source import Markers, NotACall, Source, Steps
from inference.toolcall_formats.text_shapes import text_shapes

SEP: Final = "<|sep|>"
TOOLS_OPEN, TOOLS_CLOSE = f"<|open|>tools{SEP}", f"<|close|>tools{SEP}"
CALL_OPEN, CALL_CLOSE = '<|open|>call tool="', f"<|close|>call{SEP}"
ARGUMENT_OPEN, ARGUMENT_CLOSE = '<|open|>argument key="', f"<|close|>argument{SEP}"
JSON_OPEN, JSON_CLOSE = "<|open|>json", f"<|close|>json{SEP}"
MAX_ATTRIBUTES_CHARS: Final = 300
_VALUE: Final = re.compile(r'[^"<>\r\n]+')
_ATTRIBUTES: Final = re.compile(r"[^<]+")
_TYPE: Final = re.compile(r'\btype="(\w+)"')
_CLOSERS: Final = Markers((ARGUMENT_CLOSE,))


@dataclass(frozen=True, slots=True)
class _Parser:
    """A CallParser."""

    types: ParameterTypes
    starts: tuple[str, ...] = (TOOLS_OPEN, CALL_OPEN)
    first_starts: tuple[str, ...] = ()
    owns_channels: bool = False

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        if start == TOOLS_OPEN:
            yield from source.space()
            yield from source.expect(CALL_OPEN)
        while True:
            yield from self._call(source, sink)
            yield from source.space()
            if (yield from source.accept(CALL_OPEN, TOOLS_CLOSE)) != CALL_OPEN:
                return

    def _call(self, source: Source, sink: CallSink) -> Steps[None]:
        name, _ = yield from _attributes(source)
        sink.begin(name)
        yield from source.space()
        tag = yield from source.expect(ARGUMENT_OPEN, JSON_OPEN, CALL_CLOSE)
        if tag == JSON_OPEN:
            yield from source.run(_ATTRIBUTES, at_most=MAX_ATTRIBUTES_CHARS)
            yield from source.expect(SEP)
            yield from source.space()
            yield from json_value(source, sink.arguments)
            sink.end()
            yield from source.space()
            yield from source.accept(JSON_CLOSE)
            yield from source.space()
            yield from source.accept(CALL_CLOSE)
            return
        before = "{"
        while tag == ARGUMENT_OPEN:
            key, says = yield from _attributes(source)
            sink.arguments(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
            allowed = self.types.allowed(name, key)
            yield from _value(source, allowed & says or allowed, sink)
            before = ", "
            yield from source.space()
            tag = yield from source.expect(ARGUMENT_OPEN, CALL_CLOSE)
        sink.arguments("{}" if before == "{" else "}")
        sink.end()


def _attributes(source: Source) -> Steps[tuple[str, frozenset[str]]]:
    """The rest of a tag whose first attribute's value began: that value, and the types that another says."""
    value = yield from source.run(_VALUE, at_most=MAX_ATTRIBUTES_CHARS)
    if not value:
        raise NotACall
    yield from source.expect('"')
    others = yield from source.run(_ATTRIBUTES, at_most=MAX_ATTRIBUTES_CHARS)
    yield from source.expect(SEP)
    found = _TYPE.search(others)
    says = frozenset({found[1]}) & ANY if found else ANY
    return value.replace("&quot;", '"').replace("&amp;", "&"), says


def _value(source: Source, allowed: frozenset[str], sink: CallSink) -> Steps[None]:
    writer = ValueWriter(allowed, sink.arguments)
    while True:
        piece = yield from source.before(_CLOSERS)
        writer.add(piece.text)
        if piece.marker:
            writer.end()
            return
        if not piece.text:
            raise NotACall


class KimiK3:
    """A ToolFormat."""

    name = "kimi-k3"
    triggers = (TOOLS_OPEN,)
    markers = (TOOLS_OPEN, TOOLS_CLOSE)

    def detect(self, template: str) -> bool:
        return "'<|open|>'" in template and "'<|sep|>'" in template

    def parser(self, tools: Sequence[Tool]) -> _Parser:
        return _Parser(ParameterTypes.of(tools))

    def render(self, calls: Sequence[ToolCall]) -> str:
        written = "".join(_rendered(call, number) for number, call in enumerate(calls, 1))
        return f"{TOOLS_OPEN}{written}{TOOLS_CLOSE}"

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule("call", g.any_of(*(_tool_grammar(g, tool) for tool in tools)))
        calls = g.repeat(call, at_least=1) if parallel else call
        return g.seq(g.literal(TOOLS_OPEN), calls, g.literal(TOOLS_CLOSE))


def _rendered(call: ToolCall, number: int) -> str:
    arguments = "".join(
        f'{ARGUMENT_OPEN}{_escaped(key)}" type="{type_of(value)}"{SEP}{value_text(value)}{ARGUMENT_CLOSE}'
        for key, value in arguments_of(call.arguments).items()
    )
    return f'{CALL_OPEN}{_escaped(call.name)}" index="{number}"{SEP}{arguments}{CALL_CLOSE}'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;")


def _tool_grammar(g: GrammarBuilder, tool: Tool) -> str:
    required = tool.parameters.get("required")
    number = g.json({"type": "integer", "minimum": 1})
    parts = [g.literal(f'{CALL_OPEN}{_escaped(tool.name)}" index="'), number, g.literal(f'"{SEP}')]
    for key in properties(tool):
        argument = _argument_grammar(g, tool, key)
        is_required = isinstance(required, list) and key in required
        parts.append(argument if is_required else g.optional(argument))
    return g.seq(*parts, g.literal(CALL_CLOSE))


def _argument_grammar(g: GrammarBuilder, tool: Tool, key: str) -> str:
    """One alternative for each type that the value may have."""
    schema = schema_of(tool, key)
    found = schema if isinstance(schema, Mapping) else {}
    allowed = allowed_types(schema, tool.parameters)
    alternatives: list[str] = []
    for kind in sorted(allowed):
        opening = g.literal(f'{ARGUMENT_OPEN}{_escaped(key)}" type="{kind}"{SEP}')
        if kind == "string":
            only = found if allowed == STRING else {"type": "string", "allOf": [found]}
            value = g.text_until(ARGUMENT_CLOSE, shapes=text_shapes(only, tool.parameters))
        else:
            value = g.json({**found, "type": declared(found, kind)})
        alternatives.append(g.seq(opening, value, g.literal(ARGUMENT_CLOSE)))
    return g.any_of(*alternatives)


KIMI_K3: Final = KimiK3()
