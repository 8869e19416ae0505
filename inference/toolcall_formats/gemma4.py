"""Gemma 4: `<|tool_call>call:name{key:value,…}<tool_call|>`, strings between <|"|> tokens, keys bare."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.arguments import arguments_of
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_text import MAX_DEPTH, MAX_SCALAR_CHARS, Emit, escaped, number_or_word
from inference.toolcall_formats.literal_grammar import Notation, Writer
from inference.toolcall_formats.source import Markers, NotACall, Source, Steps
from inference.toolcall_formats.text_shapes import text_shapes

OPEN, CLOSE, QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
MAX_NAME_CHARS: Final = 256
_NAME: Final = re.compile(r"[^\s<>{}\[\]\"'():,|]+")
_KEY: Final = re.compile(r"[^<>{}\[\]:,\r\n]+")
_SCALAR: Final = re.compile(r"[-+.0-9A-Za-z]+")
_QUOTES: Final = Markers((QUOTE,))


class Gemma4:
    """A ToolFormat and its CallParser."""

    name = "gemma4"
    triggers = (OPEN,)
    markers = (OPEN, CLOSE, QUOTE)
    starts = (OPEN,)
    first_starts: tuple[str, ...] = ()
    owns_channels = False

    def detect(self, template: str) -> bool:
        return OPEN in template and QUOTE in template

    def parser(self, tools: Sequence[Tool]) -> Gemma4:
        return self

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        yield from source.space()
        yield from source.expect("call:")
        name = yield from source.run(_NAME, at_most=MAX_NAME_CHARS)
        if not name:
            raise NotACall
        yield from source.expect("{")
        sink.begin(name)
        yield from _members(source, sink.arguments, 0)
        sink.end()
        yield from source.space()
        yield from source.accept(CLOSE)

    def render(self, calls: Sequence[ToolCall]) -> str:
        return "".join(
            f"{OPEN}call:{call.name}{_written(arguments_of(call.arguments))}{CLOSE}" for call in calls
        )

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule("call", g.any_of(*(_tool_grammar(g, tool) for tool in tools)))
        return g.repeat(call, at_least=1) if parallel else call


def _members(source: Source, emit: Emit, depth: int) -> Steps[None]:
    """From behind the opening brace, up to and with the closing one."""
    before = "{"
    yield from source.space()
    while not (yield from source.accept("}")):
        key = yield from _key(source)
        yield from source.expect(":")
        yield from source.space()
        emit(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
        before = ", "
        yield from _value(source, emit, depth + 1)
        yield from source.space()
        if (yield from source.expect(",", "}")) == "}":
            break
        yield from source.space()
    emit("{}" if before == "{" else "}")


def _key(source: Source) -> Steps[str]:
    quoted = yield from source.accept(QUOTE, '"')
    key = yield from source.run(_KEY, at_most=MAX_NAME_CHARS)
    if quoted == QUOTE:
        yield from source.expect(QUOTE)
    key = key.strip().removesuffix('"') if quoted == '"' else key.strip()
    if not key:
        raise NotACall
    return key


def _value(source: Source, emit: Emit, depth: int) -> Steps[None]:
    if depth > MAX_DEPTH:
        raise NotACall
    match (yield from source.accept(QUOTE, "{", "[")):
        case "{":
            yield from _members(source, emit, depth)
        case "[":
            yield from _items(source, emit, depth)
        case "":
            word = number_or_word((yield from source.run(_SCALAR, at_most=MAX_SCALAR_CHARS)))
            if word is None:
                raise NotACall
            emit(word)
        case _:
            yield from _string(source, emit)


def _items(source: Source, emit: Emit, depth: int) -> Steps[None]:
    before = "["
    yield from source.space()
    while not (yield from source.accept("]")):
        emit(before)
        before = ", "
        yield from _value(source, emit, depth + 1)
        yield from source.space()
        if (yield from source.expect(",", "]")) == "]":
            break
        yield from source.space()
    emit("[]" if before == "[" else "]")


def _string(source: Source, emit: Emit) -> Steps[None]:
    emit('"')
    while True:
        piece = yield from source.before(_QUOTES)
        emit(escaped(piece.text))
        if piece.marker:
            emit('"')
            return
        if not piece.text:
            raise NotACall


def _written(value: object) -> str:
    match value:
        case str():
            return f"{QUOTE}{value}{QUOTE}"
        case dict():
            return "{" + ",".join(f"{key}:{_written(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_written, value)) + "]"
        case _:
            return json.dumps(value)


# --- grammar -------------------------------------------------------------------------------------


def _text(g: GrammarBuilder, schema: Mapping[str, Any]) -> str:
    shapes = text_shapes({**schema, "type": "string"}, schema)
    return g.seq(g.literal(QUOTE), g.text_until(QUOTE, shapes=shapes), g.literal(QUOTE))


_NOTATION: Final = Notation(key=lambda key: f"{key}:", written=_written, text=_text, roomy=False)


def _tool_grammar(g: GrammarBuilder, tool: Tool) -> str:
    members = Writer(g, _NOTATION, tool).members(tool.parameters, _NOTATION.key)
    return g.seq(g.literal(f"{OPEN}call:{tool.name}{{"), members, g.literal("}" + CLOSE))


GEMMA4: Final = Gemma4()
