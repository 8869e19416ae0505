"""Request bodies: bytes in, typed values out, or an InvalidRequest that names the field.

Stricter than JSON libraries are by default. Refused: duplicate keys, NaN and Infinity, numbers
beyond 64 bits, invalid UTF-8, lone surrogates, a byte order mark, deep nesting, unknown fields.

msgspec and not pydantic, as elsewhere at the border, because pydantic takes duplicate keys: it
reads a body of 48 KB with 30 tools in 0.20 ms, this module in 0.26 (0.40 if the client writes
blanks) with all of the above checked.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from inference.errors import InvalidRequest

MAX_VALUES = 2**20
"""Commas and brackets in a body. `[[],[],…` takes twenty times its length in memory, so sizes alone
are no bound; prose and code of this many commas fit no context."""

MAX_DEPTH = 64
"""Tool schemas nest to about 30. Far below the interpreter's recursion limit, so that whatever is
accepted here can also be encoded for a worker and walked by a template."""

T = TypeVar("T")


def decode(raw: bytes, type_: type[T]) -> T:
    """`raw` as a `type_` (a msgspec.Struct). Raises InvalidRequest."""
    value = loads(raw)
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object")
    return convert(value, type_)


def convert(value: Any, type_: type[T], where: str = "") -> T:
    """A value that `loads` made, as a `type_`. `where` it stands, for errors. Raises InvalidRequest."""
    try:
        return msgspec.convert(value, type_, strict=True)
    except msgspec.ValidationError as error:
        raise _named(str(error), where) from error


def loads(raw: bytes) -> Any:
    """Any JSON value, strictly. Raises InvalidRequest.

    No JSON parser in C here reports duplicate keys, and a pass in Python costs more than all else
    (370 µs of 48 KB). So: if the value encodes to the very bytes that came, white space between
    them aside, nothing was dropped. Clients that escape more than they must take the slow pass.
    """
    if len(raw) > MAX_VALUES and sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise InvalidRequest(f"the body holds more than {MAX_VALUES} values")
    try:
        value = msgspec.json.decode(raw)
        encoded = msgspec.json.encode(value)
        if encoded != raw and encoded != msgspec.json.format(raw, indent=-1):
            _DUPLICATE_FINDER.decode(raw.decode())
    except RecursionError as error:
        raise _too_deep() from error
    except InvalidRequest:
        raise
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {_first_line(error)}") from error
    _check_values(value)
    return value


def _check_values(value: Any) -> None:
    """Depth and integers, breadth first: no recursion, each value looked at once."""
    level = [[value]]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for node in level:
            for child in node:
                kind = type(child)
                if kind is dict:
                    deeper.append(child.values())
                elif kind is list:
                    deeper.append(child)
                elif kind is int and not -(2**63) <= child < 2**64:
                    raise InvalidRequest(f"the body holds an integer beyond 64 bits: {str(child)[:24]}…")
        if not deeper:
            return
        level = deeper
    raise _too_deep()


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"the body is nested deeper than {MAX_DEPTH} levels")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({key for key, _ in pairs}) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidRequest(f"the body has the key {key[:64]!r} twice", param=key[:64])
            seen.add(key)


_DUPLICATE_FINDER = json.JSONDecoder(object_pairs_hook=_unique)


_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$", re.DOTALL)
_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<field>[^`]*)`", re.DOTALL)


def _named(message: str, where: str) -> InvalidRequest:
    """msgspec's message with its path taken out: "Expected `int`, got `str` - at `$.top_k`"."""
    path = _PATH.search(message)
    if path:
        inner = path["path"]
        where = f"{where}.{inner}" if where and not inner.startswith("[") else where + inner
    what = message[: path.start()] if path else message
    field = _FIELD.match(what)
    if field:
        where = f"{where}.{field['field']}" if where else field["field"]
        what = "unknown field" if "unknown" in what else "this field is required"
    where = where[:200]
    return InvalidRequest(f"{where}: {what[:300]}" if where else what[:300], param=where or None)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
