"""A report as Markdown with tables (GitHub's). Pure."""

from __future__ import annotations

import re

from bench.reports.report import Report
from bench.reports.sections import sections
from bench.reports.tables import Section, Table
from bench.reports.words import printable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def to_markdown(report: Report) -> str:
    return "\n".join(
        section_markdown(section, is_first=number == 0) for number, section in enumerate(sections(report))
    )


def section_markdown(section: Section, *, is_first: bool = False) -> str:
    parts = [f"{'#' if is_first else '##'} {escaped(section.title)}", ""]
    parts += [f"- {escaped(line)}" for line in section.lines]
    for table in section.tables:
        parts += ["", *_table(table)]
    return "\n".join(parts) + "\n"


def _table(table: Table) -> list[str]:
    lines = ["| " + " | ".join(escaped(column.title) for column in table.columns) + " |"]
    lines.append("|" + "|".join(" ---: " if column.is_number else " --- " for column in table.columns) + "|")
    lines += ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in table.rows]
    return lines


def escaped(text: str) -> str:
    """What comes from outside stays text: no markup, no link, no HTML, no second line."""
    return _SPECIAL.sub(r"\\\1", printable(text)).replace("://", ":\\//")
