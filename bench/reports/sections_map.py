"""The sections on choosing: what a configuration costs for what it gets, and where candidates agree. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.convergence import Alike, Convergence, Fork
from bench.reports import words
from bench.reports.cost_map import AXES
from bench.reports.report import Axis, CostMap, MapPoint, Mean, Report, Worth
from bench.reports.tables import Section, Table, table_of
from bench.reports.worth import amount, price_words
from bench.stats import Interval

UNITS: Mapping[Axis, str] = {"usd": "dollars", "s": "active seconds", "j": "joules"}
_AMOUNTS: Mapping[Axis, str] = {"usd": "$ a trial", "s": "active", "j": "energy"}
MAX_FORKS = 40
MAX_AGREEMENTS = 60
"""Rows of a table that is read by people. JSON has all."""

_HOW_TO_READ_A_MAP = (
    "Means over the tasks at which all have trials that count, with 95 % intervals. Beaten: another gets as"
    " much or more for as much or less; clearly, if the intervals of both differences say so. Each is asked"
    " about against the best of those that take less."
)
_HOW_TO_READ_AGREEMENT = (
    "Agreement proves nothing: models share mistakes. Only checks say what is right. Entropy: of clusters, 0"
    " all alike, 1 each alone. Files, calls: what two candidates share of what either has, mean over pairs."
)


def cost_map(report: Report) -> Section | None:
    if not any(found.points or found.unplaced for found in report.maps):
        return None
    asked = [found for found in report.maps if not found.tag and found.worth]
    return map_section(report.maps, asked[:1])


def map_section(maps: Sequence[CostMap], told: Sequence[CostMap]) -> Section:
    """`told`: the maps whose questions are answered in sentences too."""
    lines = [_HOW_TO_READ_A_MAP]
    for found in maps:
        if not found.tag or len(maps) <= len(AXES):
            lines += _missing(found)
    lines += [f"By {UNITS[found.axis]}: {worth.sentence}" for found in told for worth in found.worth]
    tables = [
        _points(axis, maps) for axis in AXES if any(found.points for found in maps if found.axis == axis)
    ]
    if any(found.worth for found in maps):
        tables.append(_worth(maps))
    return Section("map", "What it costs, what it gets", tuple(lines), tuple(tables))


def _missing(found: CostMap) -> Iterator[str]:
    unit = UNITS[found.axis]
    if found.points and len(found.tasks) < found.tasks_in_all:
        yield f"By {unit}: over {len(found.tasks)} of {words.plural(found.tasks_in_all, 'task')}"
    absent: dict[str, list[str]] = {}
    for one in found.unplaced:
        absent.setdefault(one.why, []).append(one.configuration)
    for why, names in absent.items():
        yield f"Not on the map by {unit}: {', '.join(names)} ({why})"


def _points(axis: Axis, maps: Sequence[CostMap]) -> Table:
    rows = [_point(found, point) for found in maps if found.axis == axis for point in found.points]
    titles = ["configuration", "tasks", ">reward", ">95 %", f">{_AMOUNTS[axis]}", ">95 %", "=beaten by"]
    caption = f"Reward against {UNITS[axis]} of a trial; whom nobody beats is on the Pareto front"
    return table_of(caption, titles, rows)


def _point(found: CostMap, point: MapPoint) -> tuple[str, ...]:
    by = (f"{one.by} (clearly)" if one.is_clear else one.by for one in point.beaten)
    return (
        point.configuration,
        _tasks(found),
        words.reward(point.reward.value),
        words.interval(point.reward.interval),
        amount(found.axis, point.amount.value),
        _between(found.axis, point.amount),
        ", ".join(by) or "nobody: on the front",
    )


def _tasks(found: CostMap) -> str:
    return f"{found.tag or 'all'} ({len(found.tasks)})"


def _between(axis: Axis, mean: Mean) -> str:
    if mean.interval is None:
        return words.NONE
    return f"{amount(axis, mean.interval.low)}–{amount(axis, mean.interval.high)}"


def _worth(maps: Sequence[CostMap]) -> Table:
    rows = [_worth_row(found, worth) for found in maps for worth in found.worth]
    titles = ["this", "over", "tasks", ">points (95 %)", ">more a trial", "=a point costs"]
    caption = (
        "Is it worth it? Points of reward (of 100) for what it takes more than the other; paired by task"
    )
    return table_of(caption, titles, rows)


def _worth_row(found: CostMap, worth: Worth) -> tuple[str, ...]:
    return (
        worth.dear,
        worth.cheap,
        _tasks(found),
        f"{worth.points:+.1f}{_bounds(worth.points_interval)}",
        amount(found.axis, worth.extra),
        _answer(found.axis, worth),
    )


def _bounds(found: Interval) -> str:
    """One trial has none."""
    return f" ({found.low:+.1f} to {found.high:+.1f})" if found.low < found.high else ""


def _answer(axis: Axis, worth: Worth) -> str:
    if worth.answer == "more for more":
        return price_words(axis, worth)
    if worth.answer == "no more for more":
        return "it gets less"
    return "not known" if worth.at_least is None else f"not known; {amount(axis, worth.at_least)} at best"


# --- agreement ----------------------------------------------------------------------------------------------


def convergence(report: Report) -> Section | None:
    """Of those that had somebody to agree with."""
    found = [one for one in report.convergence if one.kind != "alone"]
    if not found:
        return None
    lines = [
        _HOW_TO_READ_AGREEMENT,
        *(f"{one.task}, {one.where}: {one.sentence}" for one in _worth_reading(found)),
        *_left_out(found),
    ]
    if any(one.calls_by_words for one in found):
        lines.append("*: calls were read as words in front of parentheses, without a grammar.")
    forks = [(one, fork) for one in found for fork in one.forks]
    tables = (_agreements(found), _forks(forks)) if forks else (_agreements(found),)
    return Section("convergence", "Agreement", tuple(lines), tables)


def _worth_reading(found: Sequence[Convergence]) -> list[Convergence]:
    """Those that ask for something to be done come first, and where there are many, alone."""
    wanting = [one for one in found if one.kind in ("underspecified", "shared misconception")]
    others = [one for one in found if one not in wanting]
    return (wanting + others)[: max(len(wanting), MAX_AGREEMENTS // 4)]


def _left_out(found: Sequence[Convergence]) -> Iterable[str]:
    return (f"{one.task}, {one.where}: left out: {who}" for one in found for who in one.left_out)


def _agreements(found: Sequence[Convergence]) -> Table:
    titles = ["task", "of", ">n", "alike by", ">largest", ">entropy", ">files", ">calls", "=what it is"]
    rows = [_agreement(one) for one in found[:MAX_AGREEMENTS]]
    more = (
        f"; {len(found) - MAX_AGREEMENTS} more are in the JSON report" if len(found) > MAX_AGREEMENTS else ""
    )
    caption = (
        f"How far candidates agree: several configurations at an attempt, or one at several attempts{more}"
    )
    return table_of(caption, titles, rows)


def _agreement(one: Convergence) -> tuple[str, ...]:
    calls = _alike(one.calls) + ("*" if one.calls_by_words and one.calls.pairs else "")
    return (
        one.task,
        one.where,
        str(one.n),
        one.basis,
        f"{len(one.groups[0].members)} of {one.n}",
        f"{one.entropy:.2f}",
        _alike(one.files),
        calls,
        one.kind,
    )


def _alike(found: Alike) -> str:
    return words.NONE if found.mean is None else f"{found.mean:.2f}"


def _forks(forks: Sequence[tuple[Convergence, Fork]]) -> Table:
    more = f"; {len(forks) - MAX_FORKS} more are in the JSON report" if len(forks) > MAX_FORKS else ""
    rows = [
        (one.task, one.where, fork.probe, side.words, ", ".join(side.members), fork.question or words.NONE)
        for one, fork in forks[:MAX_FORKS]
        for side in fork.sides
    ]
    titles = ["task", "of", "=probe", "=outcome", "=who", "=question to ask"]
    return table_of(f"Decision forks: probes to which candidates answered differently{more}", titles, rows)
