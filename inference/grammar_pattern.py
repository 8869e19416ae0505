r"""Regular expressions of JSON Schema (ECMA 262) as the grammar engine reads them (Rust's `regex` syntax).

The two agree but for a few things: Rust knows set operations inside brackets, gives `\<` and `\>` a
meaning, and wants a brace that counts nothing escaped. Look-around and back-references have no grammar.
"""

from __future__ import annotations

import re
from typing import Final

MAX_PATTERN: Final = 1000
"""Characters; the engine bounds what a pattern may expand to."""

MAX_ALTERNATIVES: Final = 64
"""Into which groups with anchors are spread out."""

_ANYTHING: Final = "(?s:.*)"
_ANCHORS: Final = ("^", "$")

_PIECE: Final = re.compile(
    r"\\(?:[pP]\{[^}]*\}|u\{[0-9A-Fa-f]+\}|.)|\(\?(?:<[A-Za-z_]\w*>|:)?|\{\d+(?:,\d*)?\}|.", re.DOTALL
)
_REPEATS: Final = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}")
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
    anchors, which the engine does not know. None: it has some that are neither at an end of an alternative
    nor in a group that is.
    """
    alternatives = _spread(_pieces(pattern))
    if alternatives is None:
        return None
    whole = [_whole(alternative) for alternative in alternatives]
    return None if None in whole else "|".join(f"(?:{one})" for one in whole)


def _pieces(pattern: str) -> list[str]:
    """Characters, escapes, counts, brackets of groups; and classes, each as one."""
    pieces: list[str] = []
    in_class = False
    for match in _PIECE.finditer(pattern):
        if in_class:
            pieces[-1] += match.group()
        else:
            pieces.append(match.group())
        in_class = match.group() != "]" if in_class else match.group() == "["
    return pieces


def _spread(pieces: list[str]) -> list[list[str]] | None:
    """The alternatives of a pattern, none of which has a group with anchors: `(^|,)a` is `^a` or `,a`.
    None: a group with anchors is repeated, or there are too many alternatives."""
    done: list[list[str]] = []
    pending = _alternatives(pieces)
    while pending:
        alternative = pending.pop(0)
        group = _group_with_anchors(alternative)
        if group is None:
            done.append(alternative)
            continue
        start, end = group
        after = alternative[end + 1 :]
        if after and _REPEATS.fullmatch(after[0]):
            return None
        inner = _alternatives(alternative[start + 1 : end])
        pending = [[*alternative[:start], *one, *after] for one in inner] + pending
        if len(done) + len(pending) > MAX_ALTERNATIVES:
            return None
    return done


def _alternatives(pieces: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    depth = 0
    for piece in pieces:
        depth += piece.startswith("(") - (piece == ")")
        if piece == "|" and depth == 0:
            found.append([])
        else:
            found[-1].append(piece)
    return found


def _group_with_anchors(pieces: list[str]) -> tuple[int, int] | None:
    """Where the first one begins and ends."""
    depth = start = 0
    has_anchor = False
    for at, piece in enumerate(pieces):
        if piece.startswith("("):
            start, has_anchor = (start, has_anchor) if depth else (at, False)
            depth += 1
        elif piece == ")":
            depth -= 1
            if depth == 0 and has_anchor:
                return start, at
        elif piece in _ANCHORS:
            has_anchor = True
    return None


def _whole(alternative: list[str]) -> str | None:
    start, end = 0, len(alternative)
    while start < end and alternative[start] == "^":
        start += 1
    while end > start and alternative[end - 1] == "$":
        end -= 1
    body = alternative[start:end]
    if any(piece in _ANCHORS for piece in body):
        return None
    before = "" if start else _ANYTHING
    after = "" if end < len(alternative) else _ANYTHING
    return f"{before}(?:{''.join(body)}){after}"


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
