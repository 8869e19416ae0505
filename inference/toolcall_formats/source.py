"""Text that arrives in pieces, read by generators that suspend until it decides.

A reader is a generator of `Steps[T]`: it yields when it needs more text and returns T. Whoever
drives it pushes text and resumes it; after `end()` no reader yields again. What is held back is at
most the beginning of a marker, so a token costs its own length, however long the answer is.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]

SPACE: Final = " \t\r\n"
_SPACES = re.compile(f"[{SPACE}]+")


class NotACall(Exception):
    """The text is not (or no longer, or not to its end) what the format writes."""


class Piece(NamedTuple):
    """Text that certainly precedes any marker, and the marker that ends it: "" if none did yet.

    Both are empty at the end of the text, and only there.
    """

    text: str
    marker: str


class Markers:
    """A set of literals to look for. Of two that begin at the same place, the longer one counts."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(dict.fromkeys(word for word in words if word))
        by_length = sorted(self.words, key=len, reverse=True)
        self._search = re.compile("|".join(map(re.escape, by_length)) or r"(?!)").search
        self._beginnings = frozenset(word[:n] for word in self.words for n in range(1, len(word)))
        self._longest = max(map(len, self._beginnings), default=0)
        firsts = "".join(sorted({re.escape(word[0]) for word in self.words}))
        self._may_begin = re.compile(f"[{firsts}]" if firsts else r"(?!)").search

    def search(self, text: str, start: int) -> re.Match[str] | None:
        return self._search(text, start)

    def held_from(self, text: str, start: int) -> int:
        """Where the longest tail of text[start:] begins that may be the beginning of a marker."""
        earliest = max(start, len(text) - self._longest)
        candidate = self._may_begin(text, earliest)
        while candidate is not None:
            if text[candidate.start() :] in self._beginnings:
                return candidate.start()
            candidate = self._may_begin(text, candidate.start() + 1)
        return len(text)


def _is_markup(text: str) -> bool:
    """Whether what a marker begins with, and was cut off, is more likely that than a word."""
    text = text.lstrip(SPACE)
    return bool(text) and not text[0].isalnum()


class Source:
    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._tape: list[str] | None = None
        self._tape_from = 0
        self.ended = False
        self.cut = False
        self.starved = False
        """Whether a reader wanted more text than there was when it ended."""

    # --- the writing end ---

    def push(self, text: str) -> None:
        if self._tape is not None:
            self._tape.append(self._text[self._tape_from : self._at])
        self._text = self._text[self._at :] + text
        self._at = self._tape_from = 0

    def end(self, *, cut: bool = False) -> None:
        """`cut`: not by whoever wrote it. The beginning of a marker is then nobody's text."""
        self.ended = True
        self.cut = cut

    # --- a tape of what was read, for a reader that may have to take it back ---

    def record(self) -> None:
        self._tape, self._tape_from = [], self._at

    def recorded(self) -> str:
        """What was read since."""
        return "" if self._tape is None else "".join(self._tape) + self._text[self._tape_from : self._at]

    def stop_recording(self) -> None:
        self._tape = None

    # --- the reading end ---

    @property
    def rest(self) -> str:
        """What has come and was not read."""
        return self._text[self._at :]

    @property
    def is_cut_off(self) -> bool:
        """Whether what was read last may lack its end."""
        return self.cut and self.starved

    def drop(self) -> None:
        """Takes all that has come."""
        self._at = len(self._text)

    def before(self, markers: Markers) -> Steps[Piece]:
        """The next certain text, and the marker after it (which is taken too)."""
        while True:
            text, start = self._text, self._at
            held = markers.held_from(text, start)
            if self.ended and not (self.cut and _is_markup(text[held:])):
                held = len(text)
            found = markers.search(text, start)
            # A match that a longer marker may still take over waits; so does one behind that place.
            if found is not None and (found.start() < held or held == len(text) or self.ended):
                self._at = found.end()
                return Piece(text[start : found.start()], found[0])
            if held > start or self.ended:
                self._at = held if held > start else len(text)
                return Piece(text[start:held], "")
            yield

    def peek(self) -> Steps[str]:
        """The next character, not taken; "" at the end."""
        while self._at >= len(self._text):
            if self.ended:
                self.starved = True
                return ""
            yield
        return self._text[self._at]

    def chunk(self, allowed: re.Pattern[str]) -> Steps[str]:
        """Takes what the pattern matches in the text there is; "" if the next character is another."""
        yield from self.peek()
        found = allowed.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def take(self, count: int) -> None:
        self._at += count

    def space(self) -> Steps[str]:
        """Takes whitespace."""
        return (yield from self.run(_SPACES))

    def accept(self, *words: str) -> Steps[str]:
        """Takes the longest of the words that comes next and returns it; "" if none does."""
        longest = max(map(len, words))
        while True:
            rest = self._text[self._at : self._at + longest]
            undecided = any(len(rest) < len(word) and word.startswith(rest) for word in words)
            if self.ended or not undecided:
                break
            yield
        if undecided and self.ended:
            self.starved = True
            if self.cut:
                self.drop()
                return ""
        best = max((word for word in words if rest.startswith(word)), key=len, default="")
        self.take(len(best))
        return best

    def expect(self, *words: str) -> Steps[str]:
        word = yield from self.accept(*words)
        if not word:
            raise NotACall
        return word

    def run(self, allowed: re.Pattern[str], *, at_most: int | None = None) -> Steps[str]:
        """Takes the longest run of allowed characters (a pattern of one or more), up to `at_most`."""
        parts: list[str] = []
        left = at_most
        while (piece := (yield from self.chunk(allowed))) != "":
            if left is not None and len(piece) >= left:
                self._at -= len(piece) - left
                parts.append(piece[:left])
                break
            left = None if left is None else left - len(piece)
            parts.append(piece)
        return "".join(parts)
