"""Which functions a patch calls: a rough measure of how alike two ways to do a task are. Pure.

Python is read by its grammar: hunk by hunk with the context, else line by line. Other languages, and Python
that is none, are read as words in front of a parenthesis: `by_words` says so. What the patch defines itself
is no API and is left out, whatever the candidates have called it.

    requests.get(…)   "requests.get", if the patch imports requests
    answer.json()     ".json", whatever the variable is called
    open(…)           "open"
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import dropwhile

from bench.patches import FileChange, Hunk, changes

MAX_READ_CHARS = 400_000
"""Of a patch: beyond it nothing is read, and the patch calls nothing that is known."""

MAX_LINE_CHARS = 2_000
"""Nobody has written a longer line: it is data, or made by a program."""

_PYTHON = (".py", ".pyi")
_PROSE = (".md", ".rst", ".txt", ".json", ".jsonl", ".csv", ".tsv", ".lock", ".svg", ".html", ".xml", ".log")
_STRING = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`)""")
_COMMENT = re.compile(r"(//|\s#|^#|--\s|/\*|^\s*\*).*$")
_CALL = re.compile(r"(?<![\w$])([A-Za-z_$][\w$]*+(?:(?:\.|::|->|\?\.)[A-Za-z_$][\w$]*+)*+)\s*+\(")
_DEFINED = re.compile(r"\b(?:def|function\*?|fn|func|class|sub|fun)\s+([A-Za-z_$][\w$]*)")
_JOINT = re.compile(r"\.|::|->|\?\.")
_NO_CALLS = frozenset(
    "if elif else for foreach while until switch match case catch except return function func fn fun def sub"
    " class typeof sizeof await async yield with and or not in is assert lambda super import unless when do"
    " try throw raise delete void".split()
)


@dataclass(frozen=True, slots=True)
class Calls:
    """`by_words`: some of it was read without a grammar."""

    names: frozenset[str]
    by_words: bool = False


@dataclass(slots=True)
class _Found:
    """What the files of a patch have called, imported and defined so far."""

    calls: set[tuple[str, ...]] = field(default_factory=set)
    imported: dict[str, str] = field(default_factory=dict)  # the name here -> the name there
    defined: set[str] = field(default_factory=set)
    by_words: bool = False

    def names(self) -> frozenset[str]:
        return frozenset(name for parts in self.calls if (name := self._name(parts)))

    def _name(self, parts: tuple[str, ...]) -> str:
        first, last = parts[0], parts[-1]
        if first in self.imported:
            return ".".join((self.imported[first], *parts[1:]))
        if last in self.defined:
            return ""
        return last if len(parts) == 1 else f".{last}"


def calls_of(patch: str) -> Calls:
    """Of the lines that it adds."""
    if len(patch) > MAX_READ_CHARS:
        return Calls(frozenset())
    found = _Found()
    for change in changes(patch):
        _read(change, found)
    return Calls(found.names(), found.by_words)


def _read(change: FileChange, found: _Found) -> None:
    path = change.path.lower()
    for hunk in change.hunks:
        if path.endswith(_PYTHON):
            _read_python(hunk, found)
        elif not path.endswith(_PROSE):
            _read_words(_added(hunk), found)


def _added(hunk: Hunk) -> list[str]:
    return [line[1:] for line in hunk.lines if line.startswith("+")]


# --- Python ---------------------------------------------------------------------------------------


def _read_python(hunk: Hunk, found: _Found) -> None:
    """With the context, so that a line within a statement is read as part of it: then only what stands on
    added lines counts."""
    after = [line for line in hunk.lines if line[0] in ("+", " ")]
    is_added = {number for number, line in enumerate(after, 1) if line[0] == "+"}
    tree = _parsed("\n".join(line[1:] for line in after))
    if tree is not None:
        _walk(tree, found, is_added)
        return
    for statement in _statements("\n".join(_added(hunk))):
        part = _parsed(statement)
        if part is None:
            _read_words(statement.splitlines(), found)
        else:
            _walk(part, found, None)


def _parsed(text: str) -> ast.Module | None:
    """None: it is no Python, or too deep for the parser."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in strings that are not ours
        try:
            return ast.parse(textwrap.dedent(text) + "\n")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _statements(text: str) -> Iterator[str]:
    """Logical lines, each made whole: the head of a block gets a body, and what belongs to the block before
    it (elif, except) stands alone."""
    for line in _logical_lines(text):
        bare = line.strip()
        if re.match(r"(else|finally)\b\s*:", bare):
            bare = bare.partition(":")[2].strip()
        elif bare.startswith("elif "):
            bare = bare[2:]
        elif re.match(r"except\b", bare):
            bare = f"try:\n    pass\n{bare}"
        if bare.startswith("@"):
            bare += "\ndef _(): pass"
        if bare.endswith(":"):
            bare += " pass"
        yield bare


def _logical_lines(text: str) -> list[str]:
    """As Python's tokenizer joins them; where it cannot read on, the rest as it stands."""
    physical = text.splitlines()
    found: list[str] = []
    begun = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(physical) + "\n").readline):
            if token.type == tokenize.NEWLINE:
                found.append("\n".join(_without_prelude(physical[begun : token.end[0]])))
                begun = token.end[0]
    except (tokenize.TokenError, SyntaxError):
        pass
    return found + physical[begun:]


def _without_prelude(lines: list[str]) -> list[str]:
    """The blank lines and comments before a statement are not part of it."""
    return list(dropwhile(lambda line: not line.strip() or line.lstrip().startswith("#"), lines))


def _walk(tree: ast.Module, found: _Found, is_added: set[int] | None) -> None:
    """`is_added`: the lines that count; None: all of them."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for name in names:
                    top = name.name.partition(".")[0]
                    found.imported[name.asname or top] = name.name if name.asname else top
            case ast.ImportFrom(module=module, names=names, level=level):
                for name in names:
                    found.imported[name.asname or name.name] = f"{'.' * level}{module or ''}.{name.name}"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.defined.add(name)
            case ast.Call(func=func) if is_added is None or (func.end_lineno or func.lineno) in is_added:
                if parts := _parts(func):
                    found.calls.add(parts)


def _parts(func: ast.expr) -> tuple[str, ...]:
    """a.b.c of a.b.c(…); of f().c(…) what is left is an unnamed thing's c."""
    parts: list[str] = []
    while isinstance(func, ast.Attribute):
        parts.append(func.attr)
        func = func.value
    if isinstance(func, ast.Name):
        parts.append(func.id)
    elif parts:
        parts.append("")
    return tuple(reversed(parts))


# --- anything else --------------------------------------------------------------------------------


def _read_words(lines: Iterable[str], found: _Found) -> None:
    for line in lines:
        if len(line) > MAX_LINE_CHARS:
            continue
        code = _COMMENT.sub("", _STRING.sub('""', line))
        found.defined.update(_DEFINED.findall(code))
        named = (tuple(_JOINT.split(name)) for name in _CALL.findall(_DEFINED.sub("", code)))
        calls = {parts for parts in named if parts[-1] not in _NO_CALLS}
        found.calls |= calls
        found.by_words = found.by_words or bool(calls)
