"""A cost-performance map drawn as SVG: in the page of a report, or as a file that stands alone. Pure.

No label lies on another, on a mark or on a bar: a name stands beside its point, else where the nearest room
is, with a line to it, else in a list below. The list says in words what colours and shapes say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.reports import words
from bench.reports.html_elements import Html, element, joined, named
from bench.reports.html_figures import Box, Scale, colour, text_width
from bench.reports.html_style import SVG_STYLE
from bench.reports.report import Axis, CostMap, MapPoint
from bench.reports.worth import amount
from bench.stats import Interval

WIDTH, HEIGHT = 520, 380
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 16, 46
PLOT = Box(LEFT + 2, TOP - 12, WIDTH - 2, HEIGHT - BOTTOM - 1)
LOG_FROM = 30
"""Amounts that differ by more than this are drawn on a logarithmic axis."""

HEAD, LINE = 44, 18
MAX_NAME_CHARS = 30
MAX_LABEL_STEPS = 5
_LABEL_HEIGHT, _LABEL_STEP, _GRID_STEP = 15, 8, 8
_TICK_GAP = 10
_SHAPES = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True, slots=True)
class _Unit:
    """What an axis counts in, by how large its amounts are."""

    name: str
    size: float
    suffix: str = ""
    prefix: str = ""

    def words(self, value: float) -> str:
        return f"{self.prefix}{f'{value:,.10f}'.rstrip('0').rstrip('.')}{self.suffix}"


_UNITS: Mapping[Axis, tuple[tuple[float, _Unit], ...]] = {
    "usd": ((0.0, _Unit("dollars a trial", 1, prefix="$")),),
    "s": (
        (0.0, _Unit("active time of a trial", 1, " s")),
        (240.0, _Unit("active time of a trial", 60, " min")),
        (4 * 3600.0, _Unit("active time of a trial", 3600, " h")),
    ),
    "j": ((0.0, _Unit("energy of a trial", 1, " J")), (3600.0, _Unit("energy of a trial", 3600, " Wh"))),
}


_TITLES: Mapping[Axis, str] = {
    "usd": "Cost of a trial",
    "s": "Active time of a trial",
    "j": "Energy of a trial",
}


@dataclass(frozen=True, slots=True)
class _Placed:
    """A point in the drawing. `number`: its colour and shape."""

    point: MapPoint
    number: int
    x: float
    y: float
    across: tuple[float, float]
    up: tuple[float, float]

    @property
    def name(self) -> str:
        name = self.point.configuration
        return name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - 1] + "…"

    def boxes(self) -> tuple[Box, ...]:
        """Its mark and its two bars."""
        return (
            Box(self.x - 8, self.y - 8, self.x + 8, self.y + 8),
            Box(self.across[0], self.y - 2, self.across[1], self.y + 2),
            Box(self.x - 2, self.up[1], self.x + 2, self.up[0]),
        )


@dataclass(frozen=True, slots=True)
class _Drawing:
    body: tuple[Html, ...]
    height: int
    """From the top of the plot to the end of the list below it."""


def figure(found: CostMap, numbers: Mapping[str, int], title: str) -> Html:
    """For the page: its style sheet has the colours. `numbers`: of configurations, for colour and shape."""
    drawing = _drawing(found, numbers)
    svg = named(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH} {drawing.height}",
            "width": WIDTH,
            "height": drawing.height,
            "class": "fits",
            "role": "img",
            "aria-label": described(found, title),
        },
        *drawing.body,
    )
    said = f"{title}. {_caption(found)}"
    return element("figure", element("div", svg, class_="wide"), element("figcaption", said))


def standalone(found: CostMap, numbers: Mapping[str, int], title: str) -> str:
    """A file of its own: light and dark, no script, no font, nothing fetched."""
    drawing = _drawing(found, numbers)
    height = HEAD + drawing.height + LINE
    trials, tasks = sum(point.reward.n for point in found.points), words.plural(len(found.tasks), "task")
    front = f"Dashed: the Pareto front. Bars: 95 %. {words.plural(trials, 'trial')}, {tasks}."
    svg = named(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height}",
            "width": WIDTH,
            "height": height,
            "role": "img",
            "aria-label": described(found, title),
        },
        element("title", title),
        element("style", Html(SVG_STYLE)),
        element("rect", width=WIDTH, height=height, class_="page"),
        element("text", _cut(title, WIDTH - 24), x=12, y=20, class_="name"),
        element("text", _cut(front, WIDTH - 24), x=12, y=37, class_="dim"),
        named("g", {"transform": f"translate(0 {HEAD})"}, *drawing.body),
    )
    return f"{svg}\n"


def _cut(text: str, width: float) -> str:
    while text_width(text) > width:
        text = text.rstrip("…")[:-1] + "…"
    return text


def title_of(found: CostMap) -> str:
    of = f", tasks tagged {found.tag}" if found.tag else ""
    return f"{_TITLES[found.axis]} against reward{of}"


def described(found: CostMap, title: str) -> str:
    """All that the drawing shows."""
    each = "; ".join(
        f"{point.configuration}: {amount(found.axis, point.amount.value)}, reward {point.reward.value:.2f}"
        f" ({words.interval(point.reward.interval)})"
        for point in found.points
    )
    return f"{title}. {each}. On the Pareto front: {', '.join(found.front)}."


def _caption(found: CostMap) -> str:
    return (
        "Bars: 95 % intervals of the means, where there is one. Dashed: the Pareto front"
        f" ({', '.join(found.front)})."
    )


# --- the plot ---------------------------------------------------------------------------------------------


def _drawing(found: CostMap, numbers: Mapping[str, int]) -> _Drawing:
    highest = max((_around(point)[1] for point in found.points), default=0.0)
    unit = [unit for least, unit in _UNITS[found.axis] if highest >= least][-1]
    across = across_scale([_in_unit(_around(point), unit) for point in found.points])
    up = Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    placed = [_place(point, numbers[point.configuration], unit, across, up) for point in found.points]
    labels, unlabelled = _labels(placed)
    below = [_listed(found.axis, one, HEIGHT + LINE * (line + 1)) for line, one in enumerate(unlabelled)]
    front = [one for name in found.front for one in placed if one.point.configuration == name]
    body = (
        *_axes(across, up, unit),
        *_front(front),
        *(_mark(one) for one in placed),
        *labels,
        *below,
    )
    return _Drawing(body, HEIGHT + LINE * len(below) + (LINE // 2 if below else 0))


def _around(point: MapPoint) -> tuple[float, float]:
    found = point.amount.interval or Interval(point.amount.value, point.amount.value)
    return min(found.low, point.amount.value), max(found.high, point.amount.value)


def _in_unit(bounds: tuple[float, float], unit: _Unit) -> tuple[float, float]:
    return bounds[0] / unit.size, bounds[1] / unit.size


def across_scale(bounds: Sequence[tuple[float, float]]) -> Scale:
    highest = max((high for _, high in bounds), default=0.0)
    lowest = min((low for low, _ in bounds), default=0.0)
    if highest <= 0:
        return Scale(0.0, 1.0, LEFT, WIDTH - RIGHT)
    if lowest > 0 and highest / lowest > LOG_FROM:
        return Scale(10 ** math.floor(math.log10(lowest)), highest * 1.6, LEFT, WIDTH - RIGHT, is_log=True)
    return Scale(0.0, highest * 1.12, LEFT, WIDTH - RIGHT)


def _place(point: MapPoint, number: int, unit: _Unit, across: Scale, up: Scale) -> _Placed:
    low, high = _in_unit(_around(point), unit)
    sure = point.reward.interval or Interval(point.reward.value, point.reward.value)
    return _Placed(
        point=point,
        number=number,
        x=across.at(point.amount.value / unit.size),
        y=up.at(point.reward.value),
        across=(across.at(low), across.at(high)),
        up=(up.at(sure.low), up.at(sure.high)),
    )


def _axes(across: Scale, up: Scale, unit: _Unit) -> list[Html]:
    parts: list[Html] = []
    bottom = HEIGHT - BOTTOM
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"{tick:.1f}", x=LEFT - 8, y=y + 4, text_anchor="end", class_="dim"))
    for tick, label in ticks_of(across, unit):
        x = across.at(tick)
        parts.append(element("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="grid"))
        if label:
            parts.append(element("text", label, x=x, y=bottom + 18, text_anchor="middle", class_="dim"))
    scale = f"{unit.name}, logarithmic" if across.is_log else unit.name
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
    parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    return parts


def ticks_of(across: Scale, unit: _Unit) -> Iterator[tuple[float, str]]:
    """With their labels; "" where there is no room for one beside the one before, or within the drawing."""
    free_from = 0.0
    for tick in across.ticks():
        label = unit.words(tick)
        x, half = across.at(tick), text_width(label) / 2
        if x - half < free_from or x + half > WIDTH:
            yield tick, ""
        else:
            free_from = x + half + _TICK_GAP
            yield tick, label


def _front(front: Sequence[_Placed]) -> list[Html]:
    """In steps: to get more than the cheaper one gets, one pays for the next."""
    path = ""
    for number, one in enumerate(front):
        path += f"M{one.x:.1f} {one.y:.1f}" if number == 0 else f"H{one.x:.1f}V{one.y:.1f}"
    return [element("path", d=path, class_="front")] if len(front) > 1 else []


def _mark(one: _Placed) -> Html:
    return element(
        "g",
        element("line", x1=one.across[0], x2=one.across[1], y1=one.y, y2=one.y, class_="bar"),
        element("line", x1=one.x, x2=one.x, y1=one.up[0], y2=one.up[1], class_="bar"),
        _shape(one.number, one.x, one.y),
        class_=colour(one.number),
    )


def _shape(number: int, x: float, y: float) -> Html:
    shape = _SHAPES[number % len(_SHAPES)]
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=6, class_="mark")
    if shape == "square":
        return element("rect", x=x - 5.5, y=y - 5.5, width=11, height=11, class_="mark")
    if shape == "triangle":
        return element("path", d=f"M{x:.1f} {y - 7:.1f}l7 13h-14z", class_="mark")
    return element("path", d=f"M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8z", class_="mark")


# --- names ------------------------------------------------------------------------------------------------


def _labels(placed: Sequence[_Placed]) -> tuple[list[Html], list[_Placed]]:
    """And the points for whose names there was no room."""
    taken = [box for one in placed for box in one.boxes()]
    parts: list[Html] = []
    left_over: list[_Placed] = []
    too_wide = math.inf  # where there was no room for a name, there is none for one as wide
    for one in placed:
        width = text_width(one.name)
        places = _places(one) if width < too_wide else ()
        box = next((box for box in places if _is_free(box, taken)), None)
        if box is None:
            too_wide = min(too_wide, width)
            left_over.append(one)
            continue
        taken.append(box)
        parts.append(_label(one, box, placed))
    return parts, left_over


def _label(one: _Placed, box: Box, placed: Sequence[_Placed]) -> Html:
    """With a line to its point, if that is far or another is nearer."""
    name = element("text", one.name, x=box.left, y=box.bottom - 4, class_="name halo")
    away = _distance(one, box)
    if away <= 2 * _LABEL_HEIGHT and away <= min(_distance(other, box) for other in placed):
        return name
    end_x, end_y = _nearest(one, box)
    return joined([element("line", x1=one.x, y1=one.y, x2=end_x, y2=end_y, class_="leader"), name])


def _nearest(one: _Placed, box: Box) -> tuple[float, float]:
    return min(max(one.x, box.left), box.right), min(max(one.y, box.top), box.bottom)


def _distance(one: _Placed, box: Box) -> float:
    x, y = _nearest(one, box)
    return math.hypot(x - one.x, y - one.y)


def _places(one: _Placed) -> Iterator[Box]:
    """Right and left of the vertical bar, above and below the horizontal; then anywhere, nearest first."""
    width = text_width(one.name)
    for step in range(MAX_LABEL_STEPS):
        for bottom in (one.y - 3 - step * _LABEL_STEP, one.y + 3 + _LABEL_HEIGHT + step * _LABEL_STEP):
            for left in (one.x + 8, one.x - 8 - width, one.x - width / 2):
                yield Box(left, bottom - _LABEL_HEIGHT, left + width, bottom)
    yield from sorted(
        (
            Box(left, top, left + width, top + _LABEL_HEIGHT)
            for left in range(int(PLOT.left), int(PLOT.right - width), _GRID_STEP)
            for top in range(int(PLOT.top) + 1, int(PLOT.bottom) - _LABEL_HEIGHT, _GRID_STEP)
        ),
        key=lambda box: math.hypot((box.left + box.right) / 2 - one.x, (box.top + box.bottom) / 2 - one.y),
    )


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    return box.is_within(PLOT) and not any(box.overlaps(other) for other in taken)


def _listed(axis: Axis, one: _Placed, y: float) -> Html:
    said = f"{one.name}: {amount(axis, one.point.amount.value)}, reward {one.point.reward.value:.2f}"
    mark = element("g", _shape(one.number, LEFT + 8.0, y - 4.0), class_=colour(one.number))
    return joined([mark, element("text", said, x=LEFT + 22, y=y, class_="name")])
