"""Expressions in the grammar engine's notation, a dialect of Lark: the GrammarBuilder of tool-call formats.

Text that one token of the vocabulary stands for alone as markup is written as that token; all else is
bytes, however the model cuts them into tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.grammar_pattern import engine_match
from inference.grammar_schema import Schema, with_definitions
from inference.toolcall_formats.text_shapes import TextShape

JSON_SPACE: Final = r"[ \n\r\t]{1,32}"
"""Between JSON tokens. Bounded: without it a small model writes newlines until its tokens are used up.
A line of ten levels of two fits."""

MAX_COUNTED: Final = 10_000
MAX_SHORTEST: Final = 200
"""Characters of bare text that are counted; each is a state. At least 1000 took 45 ms for one step, at most
100 000 more states than the engine keeps."""

_HEADER: Final = '%llguidance {"no_forcing": true}'
"""Without it only the canonical tokens of a fixed text may come, and a mask needs the model's tokenizer."""

_UNTIL: Final = re.compile(r'\x00(\d+)\x00(?:\s*(?P<text>"(?:[^"\\]|\\.)*")|\s*(?P<token><\[\d+\]>))?')


class LarkBuilder:
    """Implements toolcall_formats.base.GrammarBuilder. One for each grammar; ends with `document`.

    `control`: the vocabulary's markup tokens by their text; None for those that end a generation, which
    may come exactly where the grammar may end, and are no part of it. `shaped` False: all text is free.
    """

    def __init__(
        self,
        control: Mapping[str, int | None],
        definitions: Mapping[str, Schema],
        *,
        shaped: bool = True,
    ) -> None:
        self._control = control
        self._definitions = definitions
        self._shaped = shaped
        self.notes: list[str] = []
        """What is not enforced."""
        self._rules: dict[str, str] = {}
        self._schemas: dict[str, str] = {}  # rule by JSON text: the same schema is compiled once
        self._untils: list[_Until] = []

    def literal(self, text: str) -> str:
        parts: list[str] = []
        for piece in split_markup(text, self._control):
            token = self._control.get(piece, -1)
            if token is not None:
                parts.append(_quoted(piece) if token < 0 else f"<[{token}]>")
        return " ".join(parts) or '""'

    def json(self, schema: Mapping[str, Any], *, strict: bool = False) -> str:
        """`strict`: an error where `oneOf` would have to be taken for `anyOf`."""
        options = {
            "whitespace_pattern": JSON_SPACE,
            "coerce_one_of": not strict,
            "json_allow_general_unicode_escapes": True,  # as many a model's training data have them
        }
        document = {**with_definitions(dict(schema), self._definitions), "x-guidance": options}
        text = json.dumps(document, ensure_ascii=False)
        if text not in self._schemas:
            self._schemas[text] = self.rule("json", f"%json {text}")
        return self._schemas[text]

    def text_until(self, *ends: str, shapes: Sequence[TextShape] = ()) -> str:
        """Text of one of `shapes`, or any. A literal that begins with one of `ends` must follow, as the next
        part of a `seq`."""
        if shapes and not self._shaped:
            self.notes.append("nothing is enforced of bare text")
        body, may_be_empty = self._shapes(shapes) if self._shaped else ("", True)
        self._untils.append(_Until(ends, body, may_be_empty))
        return f"\x00{len(self._untils) - 1}\x00"

    def _shapes(self, shapes: Sequence[TextShape]) -> tuple[str, bool]:
        """The shapes as a lexeme, and whether it may be empty. "": any text."""
        written: list[str] = []
        for shape in shapes:
            patterns = [engine_match(pattern) for pattern in shape.patterns]
            parts = [f"/{_slashed(pattern)}/" for pattern in patterns if pattern is not None]
            if None in patterns:
                self.notes.append("a pattern with anchors within it is not enforced on bare text")
            if shape.longest is not None and shape.longest > MAX_COUNTED:
                self.notes.append(f"maxLength {shape.longest} is not enforced on bare text")
            if shape.shortest > MAX_SHORTEST:
                self.notes.append(f"minLength {shape.shortest} is enforced on bare text up to {MAX_SHORTEST}")
            shortest = min(shape.shortest, MAX_SHORTEST)
            longest = "" if shape.longest is None or shape.longest > MAX_COUNTED else shape.longest
            if shortest or longest != "":
                parts.append(f"/(?s:.{{{shortest},{longest}}})/")
            if shape.words is not None:
                parts.append(f"( {' | '.join(map(_quoted, shape.words))} )")
            if not parts:
                return "", True
            written.append(" & ".join(parts))
        return " | ".join(f"( {one} )" for one in written), any(map(_may_be_empty, shapes))

    def seq(self, *parts: str) -> str:
        return " ".join(parts) or '""'

    def any_of(self, *parts: str) -> str:
        return f"( {' | '.join(parts)} )"

    def optional(self, part: str) -> str:
        return f"( {part} )?"

    def repeat(self, part: str, *, at_least: int = 0, at_most: int | None = None) -> str:
        return f"( {part} ){{{at_least},{'' if at_most is None else at_most}}}"

    def whitespace(self) -> str:
        return "SPACE?"

    def rule(self, name: str, expression: str) -> str:
        base = re.sub(r"[^a-z0-9_]", "_", name.lower()) or "r"
        unique = f"{base}_{len(self._rules)}"
        self._rules[unique] = expression
        return unique

    def document(self, start: str) -> str:
        """The whole grammar, whose texts are what `start` describes."""
        lines = [f"start: {start}", *(f"{name}: {rule}" for name, rule in self._rules.items())]
        lexemes = [r"SPACE: /[ \n\r\t]{1,8}/", "TEXT: /(?s:.*)/"]
        body = [_UNTIL.sub(lambda match: self._resolve(match, lexemes), line) for line in lines]
        return "\n".join([_HEADER, *lexemes, *body, ""])

    def _resolve(self, match: re.Match[str], lexemes: list[str]) -> str:
        """Free text with the literal behind it, as one lexeme: the lexer does not go back for an end."""
        until = self._untils[int(match[1])]
        ends = until.ends
        if match["token"]:
            return f"{self._before_token(until, lexemes)} {match['token']}"
        text = json.loads(match["text"]) if match["text"] else ""
        end = max((end for end in ends if end and text.startswith(end)), key=len, default="")
        if not end:
            raise ValueError(f"text_until{ends} must be followed by a literal that begins with one of them")
        number = len(lexemes)
        body = "TEXT"
        # What has a shape would go on to a later end, if it were not told.
        if others := [_quoted(other) for other in ends if other != end or until.body]:
            lexemes.append(f"HAS_{number}: TEXT ({' | '.join(others)}) TEXT")
            lexemes.append(f"TEXT_{number}: ({until.body or 'TEXT'}) & ~HAS_{number}")
            body = f"TEXT_{number}"
        lexemes.append(f"until_{number}[lazy]: {body} {_quoted(end)}")
        rest = text[len(end) :]
        return f"until_{number} {_quoted(rest) if rest else ''}"

    def _before_token(self, until: _Until, lexemes: list[str]) -> str:
        """A token ends text by itself; but no lexeme is empty."""
        if not until.body:
            return "TEXT?"
        name = f"TEXT_{len(lexemes)}"
        lexemes.append(f"{name}: ({until.body}) & /(?s:.+)/")
        return f"{name}?" if until.may_be_empty else name


@dataclass(frozen=True, slots=True)
class _Until:
    ends: tuple[str, ...]
    body: str
    may_be_empty: bool


def _may_be_empty(shape: TextShape) -> bool:
    """In doubt, no."""
    if shape.shortest or (shape.words is not None and "" not in shape.words):
        return False
    try:
        return all(re.search(pattern, "") for pattern in shape.patterns)
    except re.error:
        return False


def _slashed(pattern: str) -> str:
    """As it stands between slashes."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"/": "\\/", "\n": "\\n", "\r": "\\r"}.get(piece, piece) for piece in pieces)


def split_markup(text: str, control: Mapping[str, int | None]) -> list[str]:
    """The text cut at whatever the vocabulary has as one markup token."""
    known = sorted((name for name in control if name and name in text), key=len, reverse=True)
    if not known:
        return [text] if text else []
    return [piece for piece in re.split(f"({'|'.join(map(re.escape, known))})", text) if piece]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # which the lexer does not take
