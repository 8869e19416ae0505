"""What drawings of a report share, inline SVG: scales, boxes, colours, and an interval in a cell. Pure."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from bench.reports.html_elements import Html, element, named
from bench.reports.html_style import COLOURS
from bench.stats import Interval

CELL_WIDTH, CELL_HEIGHT = 120, 14
_LETTER, _WIDE_LETTER = 7.8, 14.0
"""Of a bold name in 12 px, at its widest: a measure for what has no font at hand."""


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def is_within(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True, slots=True)
class Scale:
    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        if self.is_log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.is_log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        step = nice_step(self.high - self.low)
        return [step * number for number in range(int(self.high / step + 1e-9) + 1)]


def nice_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, four to eight of them in the span."""
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def colour(number: int) -> str:
    return f"c{number % COLOURS}"


def text_width(text: str) -> float:
    return sum(_WIDE_LETTER if unicodedata.east_asian_width(char) in "WF" else _LETTER for char in text)


def interval_mark(value: float, found: Interval, number: int) -> Html:
    """A mean in 0..1 and its interval. The cell says both in words: this is for the eye alone."""
    scale = Scale(0.0, 1.0, 4, CELL_WIDTH - 4)
    middle = CELL_HEIGHT / 2
    return named(
        "svg",
        {
            "viewBox": f"0 0 {CELL_WIDTH} {CELL_HEIGHT}",
            "width": CELL_WIDTH,
            "height": CELL_HEIGHT,
            "aria-hidden": "true",
            "class": colour(number),
        },
        element("line", x1=scale.at(0), x2=scale.at(1), y1=middle, y2=middle, class_="grid"),
        element("line", x1=scale.at(found.low), x2=scale.at(found.high), y1=middle, y2=middle, class_="bar"),
        element("circle", cx=scale.at(value), cy=middle, r=4, class_="mark"),
    )
