"""Patches as git writes them, read: which files they touch, and what they change beside comments. Pure.

A patch is data of somebody who is not trusted: nothing here applies one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pygments import lex
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_for_filename
from pygments.token import Comment, String
from pygments.util import ClassNotFound

_FILE = re.compile(r'^diff --git (?:"?a/(?P<before>.*?)"?) (?:"?b/(?P<after>.*?)"?)$')
_HUNK = re.compile(r"^@@ -\d+(?:,(?P<removed>\d+))? \+\d+(?:,(?P<added>\d+))? @@")
_HEADERS = (
    "new file mode",
    "deleted file mode",
    "rename from",
    "rename to",
    "Binary files",
    "GIT binary patch",
)
MAX_LEXED_CHARS = 200_000
"""Of one side of a hunk: a longer one keeps its comments."""

_NO_COMMENTS = (Comment.Hashbang, Comment.Preproc, Comment.PreprocFile)
"""What lexers count as comments and a program is changed by."""


@dataclass(slots=True)
class Hunk:
    """Its lines with the mark in front: a space, + or -."""

    lines: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FileChange:
    """`path`: afterwards, or before if it is gone. `headers`: what happened to the file as a whole."""

    path: str
    headers: list[str] = field(default_factory=list)
    hunks: list[Hunk] = field(default_factory=list)


def changes(patch: str) -> list[FileChange]:
    """File by file. Lines that belong to none are left out."""
    found: list[FileChange] = []
    removed = added = 0
    for line in patch.split("\n"):
        if removed > 0 or added > 0:
            found[-1].hunks[-1].lines.append(line or " ")
            removed -= line[:1] in ("-", " ", "")
            added -= line[:1] in ("+", " ", "")
        elif match := _FILE.match(line):
            found.append(FileChange(match["after"]))
        elif found and (match := _HUNK.match(line)):
            removed, added = int(match["removed"] or 1), int(match["added"] or 1)
            found[-1].hunks.append(Hunk())
        elif found and line.startswith(_HEADERS):
            found[-1].headers.append(line)
    return found


def files_touched(patch: str) -> frozenset[str]:
    return frozenset(change.path for change in changes(patch))


def without_comments(patch: str, *, with_context: bool = False) -> str:
    """The changed lines of each file without comments and docstrings, and without lines that then say
    nothing: what the change does, and not what its author says of it. Places are left out, and context too
    unless it is wanted; then hunks are told apart.

    A hunk is read on its own: one that begins inside a comment or a string may be read wrongly.
    """
    parts: list[str] = []
    for change in sorted(changes(patch), key=lambda change: change.path):
        parts += [f"--- {change.path}", *change.headers]
        lexer = _lexer(change.path)
        for hunk in change.hunks:
            parts += ["@@"] if with_context else []
            parts += _changed(hunk, lexer, with_context)
    return "\n".join(parts) + ("\n" if parts else "")


def _changed(hunk: Hunk, lexer: Lexer | None, with_context: bool) -> Iterator[str]:
    """Each side is lexed as a whole: what was there before, and what is there now."""
    stripped = {
        mark: iter(_code([line[1:] for line in hunk.lines if line[0] in (mark, " ")], lexer)) for mark in "-+"
    }
    for line in hunk.lines:
        mark = line[0]
        if mark == " ":
            before, _ = (next(side) for side in stripped.values())
            if with_context and before.strip():
                yield mark + before
        elif mark in stripped and (code := next(stripped[mark])).strip():
            yield mark + code


def _code(lines: Sequence[str], lexer: Lexer | None) -> list[str]:
    """As many lines, without their comments."""
    text = "\n".join(lines).replace("\r", "")  # a lexer would make lines of them
    if lexer is None or len(text) > MAX_LEXED_CHARS:
        return list(lines)
    kept: list[str] = []
    for kind, token in lex(text, lexer):
        is_said = not {Comment, String.Doc}.isdisjoint(kind.split()) and kind not in _NO_COMMENTS
        kept.append("\n" * token.count("\n") if is_said else token)
    code = [line.rstrip() for line in "".join(kept).split("\n")]
    return [*code, *[""] * len(lines)][: len(lines)]


def _lexer(path: str) -> Lexer | None:
    try:
        return get_lexer_for_filename(path, stripnl=False, ensurenl=True, stripall=False)
    except ClassNotFound:
        return None
