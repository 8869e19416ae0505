"""JSON values as they are generated: passed on piece by piece, and valid when they are complete.

Models write JSON with two slips that would make the whole call useless, and both are mended on the
way: raw control characters in strings (a newline in a file's content) and backslashes that escape
nothing (a regular expression). Python's True, False and None are written as JSON's. Anything else
that JSON does not know ends the value with NotACall, at the character that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from inference.toolcall_formats.source import NotACall, Source, Steps

MAX_DEPTH: Final = 200
MAX_SCALAR_CHARS: Final = 400
"""A number or word of more characters is no number or word."""
MAX_SMALL_CHARS: Final = 20_000
"""Of a value that is read whole (a name, an id, what is skipped)."""

Emit = Callable[[str], None]

_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_SCALAR = re.compile(r"[-+.0-9A-Za-z]+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_HEX = re.compile(r"[0-9A-Fa-f]")
_WORDS = {word: word.lower() for word in ("true", "false", "null", "True", "False")} | {"None": "null"}


def escaped(text: str) -> str:
    """As it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def number_or_word(text: str) -> str | None:
    """The JSON of a scalar as a model writes it, or None."""
    return text if _NUMBER.fullmatch(text) else _WORDS.get(text)


def loads(text: str) -> Any:
    """Strict: NaN and Infinity are no JSON. Raises ValueError, for text nested too deeply too."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def json_value(source: Source, emit: Emit) -> Steps[None]:
    """Takes one value, without whitespace around it. `emit` gets its text in pieces, as it comes."""
    closers: list[str] = []
    while True:
        yield from _opening(source, emit, closers)
        while True:  # behind a complete value
            if not closers:
                return
            emit((yield from source.space()))
            mark = yield from source.expect(",", closers[-1])
            emit(mark)
            if mark == ",":
                emit((yield from source.space()))
                if closers[-1] == "}":
                    yield from _key(source, emit)
                break
            closers.pop()


def _opening(source: Source, emit: Emit, closers: list[str]) -> Steps[None]:
    """Up to the end of the first complete value: a scalar, a string, or an empty container."""
    while True:
        match (yield from source.peek()):
            case '"':
                yield from _string(source, emit)
                return
            case "{" | "[" as bracket:
                source.take(1)
                emit(bracket)
                closers.append("}" if bracket == "{" else "]")
                if len(closers) > MAX_DEPTH:
                    raise NotACall
                emit((yield from source.space()))
                if (yield from source.peek()) == closers[-1]:
                    source.take(1)
                    emit(closers.pop())
                    return
                if bracket == "{":
                    yield from _key(source, emit)
            case _:
                emit((yield from _scalar(source)))
                return


def _key(source: Source, emit: Emit) -> Steps[None]:
    if (yield from source.peek()) != '"':
        raise NotACall
    yield from _string(source, emit)
    emit((yield from source.space()))
    emit((yield from source.expect(":")))
    emit((yield from source.space()))


def _scalar(source: Source) -> Steps[str]:
    word = number_or_word((yield from source.run(_SCALAR, at_most=MAX_SCALAR_CHARS)))
    if word is None:
        raise NotACall
    return word


def _string(source: Source, emit: Emit) -> Steps[None]:
    source.take(1)
    emit('"')
    while True:
        plain = yield from source.chunk(_PLAIN)
        if plain:
            emit(plain)
            continue
        char = yield from source.peek()
        if not char:
            raise NotACall
        source.take(1)
        if char == '"':
            emit(char)
            return
        emit((yield from _escape(source)) if char == "\\" else escaped(char))


def _escape(source: Source) -> Steps[str]:
    """What follows a backslash; never half of it."""
    char = yield from source.peek()
    if not char:
        raise NotACall
    if char == "u":
        source.take(1)
        digits = yield from _hex_digits(source)
        if source.is_cut_off:
            raise NotACall
        return "\\u" + digits if len(digits) == 4 else "\\\\u" + digits
    if char in '"\\/bfnrt':
        source.take(1)
        return "\\" + char
    if char == "'":
        source.take(1)
        return char
    return "\\\\"


def _hex_digits(source: Source) -> Steps[str]:
    digits = ""
    while len(digits) < 4:
        char = yield from source.peek()
        if not _HEX.match(char):
            break
        source.take(1)
        digits += char
    return digits


def small_value(source: Source) -> Steps[Any]:
    """Takes one value and returns it decoded. Raises NotACall if it is large."""
    parts: list[str] = []
    room = MAX_SMALL_CHARS

    def collect(fragment: str) -> None:
        nonlocal room
        room -= len(fragment)
        if room >= 0:
            parts.append(fragment)

    yield from json_value(source, collect)
    if room < 0:
        raise NotACall
    try:
        return loads("".join(parts))
    except ValueError as error:
        raise NotACall from error


def mended(text: str) -> str | None:
    """The whole text as one JSON value, mended as above; None if it is none."""
    source = Source()
    source.push(text)
    source.end()
    parts: list[str] = []
    try:
        for _ in json_value(source, parts.append):
            break
    except NotACall:
        return None
    return None if source.rest else "".join(parts)
