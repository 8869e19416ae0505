"""Drawings of a report, inline SVG: what is paid against what is got, and an interval in a cell. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.reports import words
from bench.reports.html_elements import Html, element, named
from bench.reports.html_style import COLOURS
from bench.reports.report import ConfigurationSummary, Mean
from bench.stats import Interval

WIDTH, HEIGHT = 520, 380
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 16, 46
LOG_FROM = 30
"""Amounts that differ by more than this are drawn on a logarithmic axis."""

CELL_WIDTH, CELL_HEIGHT = 120, 14
MAX_LABEL_STEPS = 12

_LABEL_HEIGHT, _LABEL_STEP = 15, 8
_LETTER = 7.8
_SHAPES = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True, slots=True)
class Point:
    """A configuration, at what it takes (x) and what it gets (y). `number`: its colour and shape."""

    name: str
    number: int
    x: float
    across: Interval
    y: float
    up: Interval


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


def cost_points(configurations: Sequence[ConfigurationSummary]) -> list[Point]:
    return [
        _at(c, number, c.cost.mean.value, c.cost.mean.interval, c.reward)
        for number, c in enumerate(configurations)
        if c.competes and c.cost.mean is not None and c.reward is not None
    ]


def time_points(configurations: Sequence[ConfigurationSummary]) -> list[Point]:
    """At the median of the active clock, with its middle half."""
    return [
        _at(c, number, c.active.median, Interval(c.active.low, c.active.high), c.reward)
        for number, c in enumerate(configurations)
        if c.competes and c.active is not None and c.reward is not None
    ]


def _at(found: ConfigurationSummary, number: int, x: float, across: Interval | None, reward: Mean) -> Point:
    """What has no interval has bars of no length."""
    up = reward.interval or Interval(reward.value, reward.value)
    return Point(found.name, number, x, across or Interval(x, x), reward.value, up)


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats: none gets as much for less, or more for as much. From the cheapest on."""
    return sorted(
        (point for point in points if not any(_beats(other, point) for other in points)),
        key=lambda point: (point.x, point.y),
    )


def _beats(a: Point, b: Point) -> bool:
    return a.x <= b.x and a.y >= b.y and (a.x < b.x or a.y > b.y)


# --- axes -----------------------------------------------------------------------------------------


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


def across_scale(points: Sequence[Point]) -> Scale:
    highest = max(max(point.x, point.across.high) for point in points)
    lows = [min(point.x, point.across.low) for point in points]
    if highest <= 0:
        return Scale(0.0, 1.0, LEFT, WIDTH - RIGHT)
    if min(lows) > 0 and highest / min(lows) > LOG_FROM:
        return Scale(10 ** math.floor(math.log10(min(lows))), highest * 1.6, LEFT, WIDTH - RIGHT, is_log=True)
    return Scale(0.0, highest * 1.12, LEFT, WIDTH - RIGHT)


# --- the scatter ----------------------------------------------------------------------------------


def scatter(
    points: Sequence[Point], title: str, unit: str, shown: Callable[[float], str], within: str
) -> Html:
    """`shown`: an amount in words. `within`: what the horizontal bars are."""
    across = across_scale(points)
    up = Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    front = pareto(points)
    svg = named(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "width": WIDTH,
            "height": HEIGHT,
            "class": "fits",
            "role": "img",
            "aria-label": described(points, front, title, shown),
        },
        *_axes(across, up, unit, shown),
        *_front(front, across, up),
        *(_point(point, across, up) for point in points),
        *_labels(points, across, up),
    )
    caption = (
        f"{title}. Vertical bars: 95 % interval of the mean reward; horizontal: {within}."
        f" Dashed: the Pareto front ({', '.join(point.name for point in front)})."
    )
    return element("figure", element("div", svg, class_="wide"), element("figcaption", caption))


def described(
    points: Sequence[Point], front: Sequence[Point], title: str, shown: Callable[[float], str]
) -> str:
    each = "; ".join(
        f"{point.name}: {shown(point.x)}, reward {point.y:.2f} ({words.interval(point.up)})"
        for point in points
    )
    return f"{title}. {each}. On the Pareto front: {', '.join(point.name for point in front)}."


def _axes(across: Scale, up: Scale, unit: str, shown: Callable[[float], str]) -> list[Html]:
    parts: list[Html] = []
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"{tick:.1f}", x=LEFT - 8, y=y + 4, text_anchor="end", class_="dim"))
    for tick in across.ticks():
        x = across.at(tick)
        parts.append(element("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="grid"))
        y = HEIGHT - BOTTOM + 18
        parts.append(element("text", shown(tick), x=x, y=y, text_anchor="middle", class_="dim"))
    scale = f"{unit}, logarithmic" if across.is_log else unit
    parts.append(
        element("text", f"{scale} →", x=WIDTH - RIGHT, y=HEIGHT - 8, text_anchor="end", class_="dim")
    )
    parts.append(
        named(
            "text",
            {"x": -TOP, "y": 13, "transform": "rotate(-90)", "text-anchor": "end", "class": "dim"},
            "mean reward →",
        )
    )
    bottom = HEIGHT - BOTTOM
    parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    return parts


def _front(front: Sequence[Point], across: Scale, up: Scale) -> list[Html]:
    """In steps: to get more than the cheaper one gets, one pays for the next."""
    path = ""
    for number, point in enumerate(front):
        x, y = across.at(point.x), up.at(point.y)
        path += f"M{x:.1f} {y:.1f}" if number == 0 else f"H{x:.1f}V{y:.1f}"
    return [element("path", d=path, class_="front")] if len(front) > 1 else []


def _point(point: Point, across: Scale, up: Scale) -> Html:
    x, y = across.at(point.x), up.at(point.y)
    left, right = across.at(point.across.low), across.at(point.across.high)
    low, high = up.at(point.up.low), up.at(point.up.high)
    return element(
        "g",
        element("line", x1=left, x2=right, y1=y, y2=y, class_="bar"),
        element("line", x1=x, x2=x, y1=low, y2=high, class_="bar"),
        _shape(point.number, x, y),
        class_=colour(point.number),
    )


def colour(number: int) -> str:
    return f"c{number % COLOURS}"


def _shape(number: int, x: float, y: float) -> Html:
    shape = _SHAPES[number % len(_SHAPES)]
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=6, class_="mark")
    if shape == "square":
        return element("rect", x=x - 5.5, y=y - 5.5, width=11, height=11, class_="mark")
    if shape == "triangle":
        return element("path", d=f"M{x:.1f} {y - 7:.1f}l7 13h-14z", class_="mark")
    return element("path", d=f"M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8z", class_="mark")


def _labels(points: Sequence[Point], across: Scale, up: Scale) -> list[Html]:
    """Beside its point, where no other point and no other label is; if there is no such place, above it."""
    taken = [box for point in points for box in _boxes(point, across, up)]
    parts = []
    for point in points:
        name = point.name if len(point.name) <= 30 else point.name[:29] + "…"
        width = _LETTER * len(name)
        places = _places(across.at(point.x), up.at(point.y), width)
        box = next((box for box in places if _is_free(box, taken)), places[0])
        taken.append(box)
        parts.append(element("text", name, x=box.left, y=box.bottom - 4, class_="name halo"))
    return parts


def _boxes(point: Point, across: Scale, up: Scale) -> tuple[Box, ...]:
    """Its mark and its two bars."""
    x, y = across.at(point.x), up.at(point.y)
    return (
        Box(x - 7, y - 7, x + 7, y + 7),
        Box(across.at(point.across.low), y - 1, across.at(point.across.high), y + 1),
        Box(x - 1, up.at(point.up.high), x + 1, up.at(point.up.low)),
    )


def _places(x: float, y: float, width: float) -> list[Box]:
    """Right and left of the vertical bar, above and below the horizontal one, nearest first."""
    found = []
    for step in range(MAX_LABEL_STEPS):
        for bottom in (y - 3 - step * _LABEL_STEP, y + 3 + _LABEL_HEIGHT + step * _LABEL_STEP):
            lefts = (x + 8, x - 8 - width, x - width / 2)
            found += [Box(left, bottom - _LABEL_HEIGHT, left + width, bottom) for left in lefts]
    return found


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    inside = (
        box.left >= LEFT + 2 and box.right <= WIDTH - 2 and box.top >= 0 and box.bottom <= HEIGHT - BOTTOM - 1
    )
    return inside and not any(box.overlaps(other) for other in taken)


# --- in a cell ------------------------------------------------------------------------------------


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
