"""Calls written as a list of Python calls with keyword arguments: `[f(a=1, b="x"), g()]`.

Llama 4 and the pythonic Llama 3 write them bare, at the beginning of an answer; LFM2 between markers.
Literals become JSON on their way; strings are passed on as they come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.arguments import arguments_of
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_text import MAX_DEPTH, MAX_SCALAR_CHARS, Emit, escaped, number_or_word
from inference.toolcall_formats.literal_grammar import Notation, Writer
from inference.toolcall_formats.source import NotACall, Source, Steps

MAX_NAME_CHARS: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]+")
_SCALAR: Final = re.compile(r"[-+.0-9A-Za-z_]+")
_HEX: Final = re.compile(r"[0-9A-Fa-f]")
_SIMPLE_ESCAPES: Final = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0", "\n": "",
    "\\": "\\", "'": "'", '"': '"',
}  # fmt: skip
_HEX_DIGITS: Final = {"x": 2, "u": 4, "U": 8}
_PLAIN: Final = {quote: re.compile(rf"[^{quote}\\]+") for quote in ("'", '"')}
_QUOTES: Final = ('"""', "'''", '"', "'")


def read_calls(source: Source, sink: CallSink) -> Steps[None]:
    """Calls and commas, up to and with the closing bracket."""
    while True:
        yield from source.space()
        yield from _call(source, sink)
        yield from source.space()
        if (yield from source.expect(",", "]")) == "]":
            return


def _call(source: Source, sink: CallSink) -> Steps[None]:
    name = yield from source.run(_NAME, at_most=MAX_NAME_CHARS)
    if not name or name[0].isdigit():
        raise NotACall
    yield from source.expect("(")
    yield from read_arguments(source, sink, name)


def read_arguments(source: Source, sink: CallSink, name: str) -> Steps[None]:
    """From behind the parenthesis. Only a keyword, or none at all, makes it a call."""
    yield from source.space()
    if (yield from source.accept(")")):
        sink.begin(name)
        sink.arguments("{}")
        sink.end()
        return
    key = yield from _key(source)
    sink.begin(name)
    before = "{"
    while key:
        sink.arguments(f"{before}{json.dumps(key)}: ")
        before = ", "
        yield from python_value(source, sink.arguments)
        yield from source.space()
        key = ""
        if (yield from source.expect(",", ")")) == ",":
            yield from source.space()
            key = "" if (yield from source.accept(")")) else (yield from _key(source))
    sink.arguments("}")
    sink.end()


def _key(source: Source) -> Steps[str]:
    key = yield from source.run(_NAME, at_most=MAX_NAME_CHARS)
    yield from source.space()
    yield from source.expect("=")
    yield from source.space()
    if not key:
        raise NotACall
    return key


def python_value(source: Source, emit: Emit, depth: int = 0) -> Steps[None]:
    """Takes one literal; `emit` gets it as JSON."""
    if depth > MAX_DEPTH:
        raise NotACall
    quote = yield from source.accept(*_QUOTES)
    if quote:
        yield from _string(source, emit, quote)
        return
    match (yield from source.accept("[", "(", "{")):
        case "{":
            yield from _items(source, emit, "{}", "}", depth)
        case "[":
            yield from _items(source, emit, "[]", "]", depth)
        case "(":
            yield from _items(source, emit, "[]", ")", depth)
        case _:
            word = number_or_word((yield from source.run(_SCALAR, at_most=MAX_SCALAR_CHARS)))
            if word is None:
                raise NotACall
            emit(word)


def _items(source: Source, emit: Emit, brackets: str, close: str, depth: int) -> Steps[None]:
    before = brackets[0]
    yield from source.space()
    while not (yield from source.accept(close)):
        emit(before)
        before = ", "
        if close == "}":
            quote = yield from source.expect(*_QUOTES)
            yield from _string(source, emit, quote)
            yield from source.space()
            yield from source.expect(":")
            yield from source.space()
            emit(": ")
        yield from python_value(source, emit, depth + 1)
        yield from source.space()
        if (yield from source.expect(",", close)) == close:
            break
        yield from source.space()
    emit(brackets if before == brackets[0] else brackets[1])


def _string(source: Source, emit: Emit, quote: str) -> Steps[None]:
    plain = _PLAIN[quote[0]]
    emit('"')
    while True:
        text = yield from source.chunk(plain)
        if text:
            emit(escaped(text))
        elif (yield from source.accept(quote)):
            emit('"')
            return
        elif (yield from source.accept("\\")):
            emit(escaped((yield from _escape(source))))
        elif (yield from source.accept(quote[0])):
            emit(escaped(quote[0]))  # one or two quotes inside a triple-quoted string
        else:
            raise NotACall


def _escape(source: Source) -> Steps[str]:
    char = yield from source.peek()
    if not char:
        raise NotACall
    source.take(1)
    if char in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[char]
    if char not in _HEX_DIGITS:
        return "\\" + char
    digits = yield from source.run(_HEX, at_most=_HEX_DIGITS[char])
    if source.is_cut_off:
        raise NotACall
    code = int(digits, 16) if len(digits) == _HEX_DIGITS[char] else -1
    is_character = 0 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF
    return chr(code) if is_character else f"\\{char}{digits}"


def python_literal(value: object) -> str:
    """A JSON value as Python writes it, strings in double quotes."""
    match value:
        case None | bool():
            return str(value)
        case dict():
            items = (f"{python_literal(key)}: {python_literal(item)}" for key, item in value.items())
            return "{" + ", ".join(items) + "}"
        case list():
            return "[" + ", ".join(map(python_literal, value)) + "]"
        case str():
            return f'"{escaped(value)}"'
        case _:
            return json.dumps(value)


@dataclass(frozen=True, slots=True)
class PythonParser:
    """CallParser for these formats. Without a marker a list is calls only at the beginning."""

    starts: tuple[str, ...]
    first_starts: tuple[str, ...]
    close: str
    owns_channels: bool = False

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        if start != "[":
            yield from source.space()
            yield from source.expect("[")
        yield from read_calls(source, sink)
        if self.close:
            yield from source.space()
            yield from source.accept(self.close)


@dataclass(frozen=True, slots=True)
class PythonCalls:
    """A ToolFormat. `open` "" is a bare list."""

    name: str
    open: str
    close: str
    taught: Callable[[str], bool]
    also_starts: tuple[str, ...] = ()

    @property
    def triggers(self) -> tuple[str, ...]:
        return (self.open or "[",)

    @property
    def markers(self) -> tuple[str, ...]:
        return tuple(mark for mark in (self.open, self.close, *self.also_starts) if mark)

    def detect(self, template: str) -> bool:
        return self.taught(template)

    def parser(self, tools: Sequence[Tool]) -> PythonParser:
        starts = tuple(mark for mark in (self.open, *self.also_starts) if mark)
        return PythonParser(starts, () if self.open else ("[",), self.close)

    def render(self, calls: Sequence[ToolCall]) -> str:
        written = (
            f"{call.name}("
            + ", ".join(
                f"{key}={python_literal(value)}" for key, value in arguments_of(call.arguments).items()
            )
            + ")"
            for call in calls
        )
        return f"{self.open}[{', '.join(written)}]{self.close}"

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule("call", g.any_of(*(_tool_grammar(g, tool) for tool in tools)))
        more = [g.repeat(g.seq(g.literal(","), g.whitespace(), call))] if parallel else []
        opening = [g.literal(self.open)] if self.open else []
        closing = [g.literal(self.close)] if self.close else []
        return g.seq(*opening, g.literal("["), call, *more, g.literal("]"), *closing)


def _text(g: GrammarBuilder, schema: Mapping[str, Any]) -> str:
    """In double quotes, with JSON's escapes: all of them but \\/ are Python's too."""
    bounds = ("minLength", "maxLength", "pattern", "format", "allOf")
    return g.json({"type": "string", **{key: schema[key] for key in bounds if key in schema}})


_NOTATION: Final = Notation(
    key=lambda key: f"{python_literal(key)}: ", written=python_literal, text=_text, roomy=True
)


def _tool_grammar(g: GrammarBuilder, tool: Tool) -> str:
    members = Writer(g, _NOTATION, tool).members(tool.parameters, lambda key: f"{key}=")
    return g.seq(g.literal(f"{tool.name}("), members, g.literal(")"))


LLAMA_PYTHONIC: Final = PythonCalls(
    name="llama-pythonic",
    open="",
    close="",
    also_starts=("<|python_start|>",),
    taught=lambda template: "[func_name1(" in template,
)
LFM2: Final = PythonCalls(
    name="lfm2",
    open="<|tool_call_start|>",
    close="<|tool_call_end|>",
    taught=lambda template: any(
        mark in template for mark in ("<|tool_call_start|>", "<|tool_list_start|>", '"List of tools: ')
    ),
)
