"""A report as plain text for a terminal of any width. Pure."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Container, Sequence
from itertools import zip_longest

from bench.reports.report import Report
from bench.reports.sections import sections
from bench.reports.tables import Column, Section, Table
from bench.reports.words import printable

DEFAULT_WIDTH = 100
MIN_WIDTH = 40
MIN_CELL, MIN_WRAPPED = 12, 24
"""No text is cut shorter, or wrapped narrower, to make a table fit: beyond that, rows become lists."""

_GAP = "  "


def to_terminal(report: Report, width: int = DEFAULT_WIDTH, only: Container[str] | None = None) -> str:
    """`only`: the keys of the sections that are wanted."""
    width = max(width, MIN_WIDTH)
    chosen = [section for section in sections(report) if only is None or section.key in only]
    return "\n".join(section_text(section, width) for section in chosen)


def section_text(section: Section, width: int) -> str:
    parts = [section.title.upper(), *(_wrapped(line, width) for line in section.lines)]
    for table in section.tables:
        parts += ["", table_text(table, width)]
    return "\n".join(parts) + "\n"


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(printable(line), width, initial_indent="", subsequent_indent="  ")


def table_text(table: Table, width: int) -> str:
    rows = [tuple(printable(cell) for cell in row) for row in table.rows]
    titles = tuple(printable(column.title) for column in table.columns)
    widths = _fitted(table.columns, [titles, *rows], width)
    if widths is None:
        return "\n".join(_as_list(titles, row, width) for row in rows)
    return "\n".join(_row(table.columns, row, widths) for row in (titles, *rows))


def _fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """The widest texts give way first; numbers never do. None: it cannot be made to fit."""
    widths = [max(columns_of(row[place]) for row in rows) for place in range(len(columns))]
    least = [MIN_WRAPPED if column.is_whole else MIN_CELL for column in columns]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        texts = [
            place
            for place, column in enumerate(columns)
            if not column.is_number and widths[place] > least[place]
        ]
        widest = max(texts, key=lambda place: widths[place], default=None)
        if widest is None:
            return None
        widths[widest] -= 1
    return widths


def _row(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    """On as many lines as its texts that must not be cut take."""
    stacks = [
        _broken(cell, width) if column.is_whole and not column.is_number else [_cut(cell, width)]
        for column, cell, width in zip(columns, cells, widths, strict=True)
    ]
    lines = zip_longest(*stacks, fillvalue="")
    return "\n".join(_line(columns, line, widths) for line in lines)


def _broken(text: str, width: int) -> list[str]:
    """Wide letters are counted twice for it, so that no line is too long."""
    if columns_of(text) <= width:
        return [text]
    return textwrap.wrap(text, width if text.isascii() else width // 2) or [""]


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        _padded(cell, width, is_right=column.is_number)
        for column, cell, width in zip(columns, cells, widths, strict=True)
    ]
    return _GAP.join(padded).rstrip()


def _padded(text: str, width: int, *, is_right: bool) -> str:
    space = " " * (width - columns_of(text))
    return space + text if is_right else text + space


def _cut(text: str, width: int) -> str:
    """In the middle: what tells names apart is often at their end, as in migrate-30(n=15)."""
    if columns_of(text) <= width:
        return text
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while columns_of(head) + 1 + columns_of(tail) > width:
        head, tail = (head[:-1], tail) if columns_of(head) > columns_of(tail) else (head, tail[1:])
    return f"{head}…{tail}"


def _as_list(titles: Sequence[str], row: Sequence[str], width: int) -> str:
    """The first cell, and below it the others by their titles."""
    lines = [_cut(row[0], width)]
    for title, cell in zip(titles[1:], row[1:], strict=True):
        lines.append(textwrap.fill(f"{title}: {cell}", width, initial_indent="  ", subsequent_indent="    "))
    return "\n".join(lines)


def columns_of(text: str) -> int:
    """What it takes on a terminal: wide letters two, marks that sit on another none."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)
