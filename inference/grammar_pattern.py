r"""Regular expressions of JSON Schema (ECMA 262) as the grammar engine reads them (Rust's `regex` syntax).

The two agree but for a few things: Rust knows set operations inside brackets, gives `\<` and `\>` a
meaning, and wants a brace that counts nothing escaped. Look-around and back-references have no grammar.
"""

from __future__ import annotations

import re
from typing import Final

MAX_PATTERN: Final = 1000
"""Characters; the engine bounds what a pattern may expand to."""

_START, _END, _ANYTHING = "\x02", "\x03", "(?s:.*)"

_PIECE: Final = re.compile(
    r"\\(?:[pP]\{[^}]*\}|u\{[0-9A-Fa-f]+\}|.)|\(\?(?:<[A-Za-z_]\w*>|:)?|\{\d+(?:,\d*)?\}|.", re.DOTALL
)
_NAMED_GROUP: Final = re.compile(r"\(\?<[A-Za-z_]\w*>")
_INEXPRESSIBLE: Final = re.compile(r"\\[bB1-9kc]")


def engine_pattern(pattern: str) -> str | None:
    """The pattern in the engine's syntax; None if no grammar expresses it or it is too long."""
    if len(pattern) > MAX_PATTERN:
        return None
    out: list[str] = []
    in_class = False
    for match in _PIECE.finditer(pattern):
        piece = match.group()
        translated = _in_class(piece, out) if in_class else _outside(piece)
        if translated is None:
            return None
        if in_class and piece == "]":
            in_class = False
        elif not in_class and piece == "[":
            in_class = True
        out.append(translated)
    return None if in_class else "".join(out)


def engine_match(pattern: str) -> str | None:
    """For a pattern in the engine's syntax, one that matches the whole of what has it somewhere, without the
    anchors, which the engine does not know. None: it has them within."""
    alternatives = [""]
    depth, in_class = 0, False
    for match in _PIECE.finditer(pattern):
        piece = match.group()
        if in_class:
            in_class = piece != "]"
        elif piece == "[":
            in_class = True
        elif piece.startswith("("):
            depth += 1
        elif piece == ")":
            depth -= 1
        elif piece == "|" and depth == 0:
            alternatives.append("")
            continue
        elif piece == "$" and depth == 0:
            piece = _END
        elif piece in ("^", "$"):
            if depth or alternatives[-1]:
                return None
            piece = _START
        alternatives[-1] += piece
    whole = [_whole(alternative) for alternative in alternatives]
    return None if None in whole else "|".join(f"(?:{one})" for one in whole)


def _whole(alternative: str) -> str | None:
    body = alternative.removeprefix(_START).removesuffix(_END)
    if _END in body:
        return None
    before = "" if alternative.startswith(_START) else _ANYTHING
    after = "" if alternative.endswith(_END) else _ANYTHING
    return f"{before}(?:{body}){after}"


def _outside(piece: str) -> str | None:
    if piece.startswith("(?") and not (piece == "(?:" or _NAMED_GROUP.fullmatch(piece)):
        return None
    if _INEXPRESSIBLE.fullmatch(piece):
        return None
    if piece in ("\\<", "\\>"):
        return piece[1]
    if piece in ("{", "}"):
        return "\\" + piece
    return "\\x00" if piece == "\\0" else piece


def _in_class(piece: str, out: list[str]) -> str | None:
    """Inside brackets: `[` and a doubled `&`, `-` or `~` mean themselves."""
    if piece == "\\b":
        return "\\x08"
    if _INEXPRESSIBLE.fullmatch(piece):
        return None
    if piece in ("\\<", "\\>"):
        return piece[1]
    if piece == "[" or (piece in ("&", "~", "-") and out and out[-1] == piece):
        return "\\" + piece
    return "\\x00" if piece == "\\0" else piece
