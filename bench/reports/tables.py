"""What every form of a report is made of, before it is drawn: sections of sentences and tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.results import Role

Key = Literal[
    "overview",
    "rewards",
    "map",
    "verdicts",
    "convergence",
    "tasks",
    "money",
    "agents",
    "trials",
    "validity",
    "claims",
    "anchors",
    "manifest",
    "selection",
    "calibration",
]
ROLE_WORDS: dict[Role, str] = {
    "main": "main",
    "subagent": "sub-agent",
    "auxiliary": "auxiliary",
    "unattributed": "unattributed",
}


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    is_number: bool = False
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    key: Key
    title: str
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def table_of(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A title that begins with > is of numbers, one that begins with = of text that must not be cut."""
    columns = tuple(Column(title.lstrip(">="), title.startswith(">"), title[0] in ">=") for title in titles)
    return Table(caption, columns, tuple(tuple(row) for row in rows))


def at_upstream(model: str, upstream: str) -> str:
    return f"{model or 'no model'} @ {upstream}" if upstream else model or "no model"
