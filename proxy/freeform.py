r"""Free text that a model passes as the one parameter of a function, read while it is being written. Pure.

The arguments `{"input": "*** Begin Patch\n…"}` come in pieces of any size; FreeformText gives the text
inside as soon as it is certain. Models do not always keep to the parameter, and what they meant matters
more than the form: another single string counts as the text, and so does anything that is no JSON.
"""

from __future__ import annotations

import json
import re
from typing import Final, Literal

import msgspec

_OPENING: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_OPENING_BEGUN: Final = re.compile(r'\s*(?:\{\s*(?:"(?:i(?:n(?:p(?:u(?:t(?:"\s*(?::\s*)?)?)?)?)?)?)?)?)?')
"""Every beginning of an opening."""

_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_PIECE: Final = re.compile(rf'[^"\\]+|{_PAIR}|\\u[0-9a-fA-F]{{4}}|\\.|\\', re.DOTALL)
_BEGUN: Final = re.compile(
    r"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?)?)?"
)
"""An escape that more text may change: cut off, or half of a surrogate pair."""

_LONGEST_ESCAPE: Final = 12


class FreeformText:
    """The free text of one call. What `feed` and `finish` return, joined, is the text."""

    def __init__(self) -> None:
        self._raw = ""
        self._state: Literal["before", "inside", "after", "other"] = "before"
        self.is_whole = False
        """The text has ended by itself."""

    def feed(self, arguments: str) -> str:
        self._raw += arguments
        if self._state == "before":
            self._open()
        return self._take(last=False) if self._state == "inside" else ""

    def finish(self) -> str:
        """No more arguments come."""
        if self._state == "inside":
            return self._take(last=True)
        if self._state == "after":
            return ""
        self._state = "after"
        text, self.is_whole = _meant(self._raw)
        return text

    def _open(self) -> None:
        opening = _OPENING.match(self._raw)
        if opening:
            self._raw = self._raw[opening.end() :]
            self._state = "inside"
        elif not _OPENING_BEGUN.fullmatch(self._raw):
            self._state = "other"  # told at the end, from the whole

    def _take(self, *, last: bool) -> str:
        said: list[str] = []
        place = 0
        while place < len(self._raw):
            if self._raw[place] == '"':
                self._state, self.is_whole = "after", True
                break
            rest = self._raw[place : place + _LONGEST_ESCAPE]
            if not last and _BEGUN.fullmatch(rest):
                break
            piece = _PIECE.match(self._raw, place)
            assert piece is not None
            said.append(_unescaped(piece.group()))
            place = piece.end()
        self._raw = self._raw[place:]
        return "".join(said)


def _unescaped(piece: str) -> str:
    """What is no escape of JSON stands for itself, and half a surrogate pair for the unknown character."""
    if not piece.startswith("\\"):
        return piece
    try:
        text: str = json.loads(f'"{piece}"')
    except json.JSONDecodeError:
        return piece
    return "\ufffd" if "\ud800" <= text <= "\udfff" else text


def _meant(arguments: str) -> tuple[str, bool]:
    """The text in arguments of another form, and whether they are whole."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return arguments, False
    if isinstance(value, str):
        return value, True
    if isinstance(value, dict):
        if isinstance(value.get("input"), str):
            return value["input"], True
        texts = [text for text in value.values() if isinstance(text, str)]
        if len(texts) == 1 == len(value):
            return texts[0], True
    return arguments, True


def arguments_of(text: str) -> str:
    """The arguments that a model would have written to say `text`."""
    return msgspec.json.encode({"input": text}).decode()
