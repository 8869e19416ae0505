"""A report as one HTML file: nothing is fetched, nothing is run, everything from outside is escaped. Pure.

The policy in its head forbids scripts and any resource that is not in the file, should escaping ever fail.
"""

from __future__ import annotations

from bench.reports import words
from bench.reports.html_elements import Html, element, named
from bench.reports.html_figures import colour, interval_mark
from bench.reports.html_style import STYLE
from bench.reports.html_trials import trials_part
from bench.reports.map_figure import figure, title_of
from bench.reports.report import CostMap, Report, TaskCell
from bench.reports.sections import sections
from bench.reports.tables import Section, Table

_SAYING = ("verdicts", "map", "convergence", "selection")
"""Sections whose sentences are what they are there for."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def to_html(report: Report) -> str:
    first, *rest = sections(report)
    parts = [(section.key, section.title, _section(section, report)) for section in rest]
    if report.trials:
        parts.append(("trials", "Trials", _part("trials", "Trials", trials_part(report))))  # the longest
    body = element(
        "body",
        _hatching(),
        element("header", *_header(first, report), _contents([(key, title) for key, title, _ in parts])),
        element("main", *(part for _, _, part in parts)),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        named("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"Hotseat benchmark: {report.title}"),
        element("style", Html(STYLE)),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def _hatching() -> Html:
    """Defined once: every timeline draws its waits with it."""
    line = element("path", d="M0 6L6 0", stroke="currentColor", stroke_width=1, opacity=0.7)
    pattern = named(
        "pattern", {"id": "hatch", "width": 6, "height": 6, "patternUnits": "userSpaceOnUse"}, line
    )
    return named("svg", {"width": 0, "height": 0, "aria-hidden": "true"}, element("defs", pattern))


def _header(first: Section, report: Report) -> list[Html]:
    told = [line for line in first.lines if line not in report.notes]
    parts = [element("h1", f"Benchmark {report.title}"), *(element("p", line) for line in told)]
    if report.notes:
        notes = [element("p", note) for note in report.notes]
        parts.append(element("div", *notes, class_="notes", role="note"))
    return parts


def _contents(parts: list[tuple[str, str]]) -> Html:
    links = [element("a", title, href=f"#{key}") for key, title in parts]
    return element("nav", *links, aria_label="Sections")


def _part(key: str, title: str, *children: Html) -> Html:
    return element("section", element("h2", title, id=key), *children, aria_labelledby=key)


def _section(section: Section, report: Report) -> Html:
    lines = [element("li", line) for line in section.lines]
    kind = "lines verdicts" if section.key in _SAYING else "lines"
    parts = [element("ul", *lines, class_=kind)] if lines else []
    if section.key == "rewards":
        parts = [*(_drawn(table, report) for table in section.tables), *parts]
    elif section.key == "map":
        parts = [*_figures(report), *parts, *(_drawn(table, report) for table in section.tables)]
    elif section.key == "tasks":
        parts = [_task_table(report)]
    else:
        parts += [_drawn(table, report) for table in section.tables]
    return _part(section.key, section.title, *parts)


# --- tables ---------------------------------------------------------------------------------------


def _drawn(table: Table, report: Report) -> Html:
    numbers = {found.name: number for number, found in enumerate(report.configurations)}
    head = element(
        "tr",
        *(
            element("th", column.title, scope="col", class_="num" if column.is_number else False)
            for column in table.columns
        ),
    )
    rows = []
    for row in table.rows:
        dot = [element("span", class_=f"dot {colour(numbers[row[0]])}")] if row[0] in numbers else []
        cells = [element("th", *dot, row[0], scope="row")]
        for column, cell in zip(table.columns[1:], row[1:], strict=True):
            kind = "num" if column.is_number else "text" if len(cell) > 24 else "bare"
            cells.append(element("td", cell, class_=kind))
        rows.append(element("tr", *cells))
    return _scrolling(table.caption, head, rows)


def _scrolling(caption: str, head: Html, rows: list[Html]) -> Html:
    """A table that is too wide scrolls by itself, by keyboard too; the page never does."""
    table = element("table", element("caption", caption), element("thead", head), element("tbody", *rows))
    return named("div", {"class": "wide", "tabindex": 0, "role": "region", "aria-label": caption}, table)


def _task_table(report: Report) -> Html:
    names = [found.name for found in report.configurations]
    head = element("tr", *(element("th", title, scope="col") for title in ("task", *names)))
    rows = []
    for task in report.tasks:
        found = {cell.configuration: cell for cell in task.cells}
        tags = [element("span", f" {', '.join(task.tags)}", class_="small")] if task.tags else []
        cells = [_task_cell(found.get(name), number) for number, name in enumerate(names)]
        rows.append(element("tr", element("th", task.task, *tags, scope="row"), *cells))
    caption = (
        "Mean reward of each task and configuration, its 95 % interval (Wilson; from 0 on the left to 1 on"
        " the right) and the trials that count"
    )
    return _scrolling(caption, head, rows)


def _task_cell(cell: TaskCell | None, number: int) -> Html:
    if cell is None:
        return element("td", words.NONE)
    if cell.reward is None or cell.interval is None:
        return element("td", element("span", f"0 of {cell.trials} count", class_="bad"))
    n = f"n {cell.counted}" if cell.counted == cell.trials else f"n {cell.counted} of {cell.trials}"
    scores = ", ".join(f"{name} {score:.2f}" for name, score in cell.scores.items())
    return element(
        "td",
        element("strong", f"{cell.reward:.2f} "),
        element("span", f"{words.interval(cell.interval)}, {n}", class_="small whole"),
        interval_mark(cell.reward, cell.interval, number),
        *([element("span", scores, class_="small cell")] if scores else []),
    )


# --- figures --------------------------------------------------------------------------------------


def _figures(report: Report) -> list[Html]:
    """Those of all tasks, and for each tag a fold with its own."""
    numbers = {found.name: number for number, found in enumerate(report.configurations)}
    by_tag: dict[str, list[CostMap]] = {}
    for found in report.maps:
        if any(point.amount.value for point in found.points):
            by_tag.setdefault(found.tag, []).append(found)
    parts = []
    for tag, maps in by_tag.items():
        drawn = element("div", *(figure(one, numbers, title_of(one)) for one in maps), class_="figures")
        head = element("summary", f"Tasks tagged {tag}")
        inside = element("div", drawn, class_="inside")
        parts.append(element("details", head, inside) if tag else drawn)
    return parts
