"""A model's vocabulary as grammars see it: what each token stands for, and how text can be spelt.

Text is bytes here, since a token may end within a character. Markup stands for its name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from inference.grammar_lark import split_markup

MAX_REMEMBERED: Final = 1000
"""Markers: formats have few, but some are names of tools."""


@dataclass(frozen=True)
class Vocabulary:
    """What each token stands for: text as bytes; markup by its name. `eog`: tokens that end a generation.

    `control`: markup by name. A name that two tokens share means the first.
    """

    pieces: tuple[bytes, ...]
    control: Mapping[str, int]
    eog: frozenset[int]
    _containing: dict[bytes, list[int]] = field(default_factory=dict)  # by marker

    @cached_property
    def markup(self) -> dict[str, int | None]:
        """`control` as LarkBuilder wants it: None for what ends a generation."""
        return {name: None if token in self.eog else token for name, token in self.control.items()}

    @cached_property
    def text_tokens(self) -> dict[bytes, int]:
        control = {*self.control.values(), *self.eog}
        return {piece: t for t, piece in enumerate(self.pieces) if piece and t not in control}

    @cached_property
    def _ordered(self) -> list[bytes]:
        return sorted(self.text_tokens)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.text_tokens), default=1)

    def beginning_with(self, text: bytes) -> Iterator[int]:
        """Tokens of text that begin with `text` and go on."""
        at = bisect_left(self._ordered, text)
        while at < len(self._ordered) and self._ordered[at].startswith(text):
            if len(self._ordered[at]) > len(text):
                yield self.text_tokens[self._ordered[at]]
            at += 1

    def containing(self, text: bytes) -> list[int]:
        """Tokens of text that have `text` in them and go on after it."""
        if text not in self._containing:
            if len(self._containing) >= MAX_REMEMBERED:
                self._containing.clear()
            found = [t for piece, t in self.text_tokens.items() if text in piece and not piece.endswith(text)]
            self._containing[text] = found
        return self._containing[text]

    def spell(self, data: bytes) -> list[int] | None:
        """Some tokens that together are `data`, longest first; None if there are none."""
        tokens: list[int] = []
        while data:
            sizes = range(min(self._longest, len(data)), 0, -1)
            size = next((size for size in sizes if data[:size] in self.text_tokens), 0)
            if not size:
                return None
            tokens.append(self.text_tokens[data[:size]])
            data = data[size:]
        return tokens

    def spell_markup(self, data: bytes) -> list[int] | None:
        """As `spell`; names of markup become the markup."""
        text = data.decode("utf-8", "surrogateescape")
        tokens: list[int] = []
        for part in split_markup(text, self.control):
            token = self.control.get(part)
            spelt = self.spell(part.encode("utf-8", "surrogateescape")) if token is None else [token]
            if spelt is None:
                return None
            tokens += spelt
        return tokens
