"""The section on what judges chose, side by side. Pure."""

from __future__ import annotations

from dataclasses import replace

from bench.reports.report import Report
from bench.reports.tables import Section, Table
from bench.selection.views import selection_sections


def selection(report: Report) -> Section | None:
    """One section of all jobs and fields: what each decided, and its tables under its name."""
    lines: list[str] = []
    tables: list[Table] = []
    for file in report.selections:
        head, *fields = selection_sections(file)
        lines += head.lines
        for field in fields:
            lines += [f"{field.title}: {field.lines[0]}", *field.lines[1:]]
            tables += [replace(table, caption=f"{field.title}. {table.caption}") for table in field.tables]
    return Section("selection", "Selection", tuple(lines), tuple(tables)) if lines else None
