"""Formats that write a call as a JSON object with its name and its arguments.

The families differ in the markers around the objects, in the names of the keys, and in whether the
objects stand in a list; each file of a family says so with `JsonCalls`. Reading is lenient about
what surrounds the objects: a list or none, commas, semicolons or newlines between them, a missing
end marker. A call is announced when its arguments begin, and complete when they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_text import json_value, loads, small_value
from inference.toolcall_formats.source import SPACE, NotACall, Source, Steps

NAME_KEYS: Final = frozenset({"name", "tool_name"})
ARGUMENT_KEYS: Final = frozenset({"arguments", "parameters", "args"})
MAX_NAME_CHARS: Final = 256
ANY_OBJECT: Final[dict[str, Any]] = {"type": "object"}


class _Call:
    """One object's call: arguments that come before the name wait for it."""

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._waiting: list[str] = []
        self._begun = False
        self._complete = False
        self.name = ""

    def named(self, name: object) -> None:
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_CHARS:
            raise NotACall
        self.name = name.strip()
        if self._waiting:
            self._begin()
            self._sink.arguments("".join(self._waiting))
            self._end_if_complete()

    def _begin(self) -> None:
        self._begun = True
        self._sink.begin(self.name)

    def arguments_begin(self) -> None:
        if self._complete:
            raise NotACall  # twice
        if self.name:
            self._begin()

    def arguments(self, fragment: str) -> None:
        if self._begun:
            self._sink.arguments(fragment)
        else:
            self._waiting.append(fragment)

    def arguments_end(self) -> None:
        self._complete = True
        self._end_if_complete()

    def _end_if_complete(self) -> None:
        if self._complete and self._begun:
            self._sink.end()

    def object_end(self, *, bare: bool) -> None:
        """`bare`: no marker says that this object is a call, so a name alone makes none."""
        if not self.name or (bare and not self._complete):
            raise NotACall
        if not self._complete:
            self._begin()
            self._sink.arguments("{}")
            self._sink.end()


def read_object(source: Source, sink: CallSink, *, bare: bool = False, opened: bool = False) -> Steps[None]:
    """One object. `opened`: its brace was taken."""
    call = _Call(sink)
    if not opened:
        yield from source.expect("{")
    yield from _members(source, call)
    call.object_end(bare=bare)


def _members(source: Source, call: _Call) -> Steps[None]:
    """What follows an opening brace, up to and with the closing one."""
    yield from source.space()
    if (yield from source.accept("}")):
        return
    while True:
        if (yield from source.peek()) != '"':
            raise NotACall
        key = yield from small_value(source)
        yield from source.space()
        yield from source.expect(":")
        yield from source.space()
        yield from _member(source, call, key)
        yield from source.space()
        if (yield from source.expect(",", "}")) == "}":
            return
        yield from source.space()


def _member(source: Source, call: _Call, key: str) -> Steps[None]:
    if key in ARGUMENT_KEYS:
        yield from read_arguments(source, call)
    elif key in NAME_KEYS:
        call.named((yield from small_value(source)))
    elif key == "function":  # OpenAI's own shape, or the name
        if (yield from source.accept("{")):
            yield from _members(source, call)
        else:
            call.named((yield from small_value(source)))
    else:
        yield from small_value(source)


def read_arguments(source: Source, call: _Call) -> Steps[None]:
    """An object; or, as some models write it, the JSON text of one in a string; null is none."""
    match (yield from source.peek()):
        case "{":
            call.arguments_begin()
            yield from json_value(source, call.arguments)
        case '"' | "n":
            written = yield from small_value(source)
            call.arguments_begin()
            call.arguments(_unwrapped(written))
        case _:
            raise NotACall
    call.arguments_end()


def _unwrapped(written: object) -> str:
    if not isinstance(written, str) or not written.strip():
        return "{}"
    try:
        return written if isinstance(loads(written), dict) else json.dumps(written, ensure_ascii=False)
    except ValueError:
        return json.dumps(written, ensure_ascii=False)


def read_objects(
    source: Source, sink: CallSink, close: str, *, bare: bool = False, opened: str = ""
) -> Steps[None]:
    """One or several objects, in a list or not, and the end marker (if it is there).

    `opened`: the brace or bracket with which they begin, if it was taken.
    """
    yield from source.space()
    in_list = opened == "[" or (not opened and bool((yield from source.accept("["))))
    yield from source.space()
    if not (in_list and (yield from source.accept("]"))):
        yield from read_object(source, sink, bare=bare, opened=opened == "{")
        while (yield from _another(source)):
            yield from read_object(source, sink, bare=bare)
    if close:
        yield from source.space()
        yield from source.accept(close)


def _another(source: Source) -> Steps[bool]:
    yield from source.space()
    separator = yield from source.accept(",", ";", "]")
    if separator == "]":
        return False
    yield from source.space()
    return (yield from source.peek()) == "{"


@dataclass(frozen=True, slots=True)
class JsonObjects:
    """CallParser for these formats."""

    starts: tuple[str, ...]
    close: str = ""
    first_starts: tuple[str, ...] = ()
    owns_channels: bool = False

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        yield from read_objects(source, sink, self.close)


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """A ToolFormat. `open` and `close` are as the model writes them, with their whitespace.

    `each`: every call has its own markers. `in_list`: the objects stand in a list, even one of one.
    `also_starts`: markers that are read like `open`. `taught`: whether a template teaches this format.
    """

    name: str
    open: str
    close: str
    taught: Callable[[str], bool]
    each: bool = False
    in_list: bool = True
    separator: str = ", "
    name_key: str = "name"
    arguments_key: str = "arguments"
    also_starts: tuple[str, ...] = ()

    @property
    def triggers(self) -> tuple[str, ...]:
        return (self.open.strip(SPACE),)

    @property
    def markers(self) -> tuple[str, ...]:
        found = (self.open.strip(SPACE), self.close.strip(SPACE), *self.also_starts)
        return tuple(marker for marker in found if marker)

    def detect(self, template: str) -> bool:
        return self.taught(template)

    def parser(self, tools: Sequence[Tool]) -> JsonObjects:
        return JsonObjects((self.open.strip(SPACE), *self.also_starts), self.close.strip(SPACE))

    def render(self, calls: Sequence[ToolCall]) -> str:
        objects = [
            f'{{"{self.name_key}": {json.dumps(call.name, ensure_ascii=False)}, '
            f'"{self.arguments_key}": {call.arguments or "{}"}}}'
            for call in calls
        ]
        if self.each:
            return "\n".join(self.open + one + self.close for one in objects)
        body = self.separator.join(objects)
        return self.open + (f"[{body}]" if self.in_list else body) + self.close

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule("call", json_call_grammar(g, tools, self.name_key, self.arguments_key))
        opening, closing = _written(g, self.open), _written(g, self.close)
        if self.each:
            one = g.seq(*opening, call, *closing)
            return g.seq(one, g.repeat(g.seq(g.whitespace(), one))) if parallel else one
        separator = self.separator.strip(SPACE)
        between = [g.literal(separator)] if separator else []
        more = [g.repeat(g.seq(*between, g.whitespace(), call))] if parallel else []
        body = [g.literal("["), call, *more, g.literal("]")] if self.in_list else [call, *more]
        return g.seq(*opening, *body, *closing)


def json_call_grammar(g: GrammarBuilder, tools: Sequence[Tool], name_key: str, arguments_key: str) -> str:
    """Any one of the tools' calls, as an object."""
    return g.any_of(
        *(
            g.seq(
                g.literal(f'{{"{name_key}": {json.dumps(tool.name)}, "{arguments_key}": '),
                g.json(tool.parameters or ANY_OBJECT),
                g.literal("}"),
            )
            for tool in tools
        )
    )


def _written(g: GrammarBuilder, marker: str) -> list[str]:
    """A marker, and room where the family writes whitespace around it."""
    bare = marker.strip(SPACE)
    if not bare:
        return []
    before = [g.whitespace()] if marker[0] in SPACE else []
    after = [g.whitespace()] if marker[-1] in SPACE else []
    return [*before, g.literal(bare), *after]
