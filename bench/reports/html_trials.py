"""One trial as HTML: who delegated to whom, and when each of them was answered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.reports import words
from bench.reports.html_elements import Html, element, joined, named
from bench.reports.html_figures import Scale, colour, nice_step
from bench.reports.report import Report, Span, TrialView
from bench.reports.tables import ROLE_WORDS, at_upstream
from bench.results import NodeTotals, Role

MAX_DRAWN = 200
MAX_LANES = 40
LOCAL = "local"
"""The upstream of models that this machine runs."""

WIDTH, NAMES, LANE = 900, 250, 22
_TOP, _BOTTOM = 6, 26
_NAME_CHARS = 36
_MIN_WIDTH = 0.8


def trials_part(report: Report) -> Html:
    """Those that do not count first, then in their order."""
    order = sorted(report.trials, key=lambda trial: trial.is_counted)[:MAX_DRAWN]
    models = sorted({node.model for trial in report.trials for node in trial.nodes})
    numbers = {model: number for number, model in enumerate(models)}
    left = len(report.trials) - len(order)
    parts: list[Html] = [
        element(
            "p",
            "Of each trial: its agents, as a tree of who was sent out by whom, and its requests in time."
            " Solid: an answer is on its way; hatched: waiting for a queue or a load; outlined: it failed."
            " A colour is a model. Those that do not count come first.",
        )
    ]
    if left:
        parts.append(element("p", f"The other {words.plural(left, 'trial')} are in the JSON report."))
    parts += [_trial(trial, numbers, is_open=place == 0) for place, trial in enumerate(order)]
    return joined(parts)


def _trial(trial: TrialView, numbers: dict[str, int], *, is_open: bool) -> Html:
    inside: list[Html] = []
    said = [text for text in (*trial.invalid_because, trial.error, *trial.findings) if text]
    if said:
        inside.append(element("p", "; ".join(said), class_="bad"))
    if trial.nodes:
        inside += [_tree(trial.nodes, numbers), timeline(trial, numbers)]
    else:
        inside.append(element("p", "No request of it reached the proxy."))
    return named("details", {"open": is_open}, _headline(trial), element("div", *inside, class_="inside"))


def _headline(trial: TrialView) -> Html:
    mark = element(
        "span",
        words.reward(trial.reward)
        if trial.is_counted
        else trial.validity
        if trial.validity == "INVALID"
        else "no verified reward",
        class_="good" if trial.is_counted else "bad",
    )
    rest = (
        f" · {trial.outcome} · {words.seconds(trial.wall_s)} ({words.seconds(trial.active_s)} active)"
        f" · {words.usd(trial.cost_usd)} · {words.plural(trial.delegations, 'delegation')}"
    )
    name = f"{trial.task} · {trial.configuration} · attempt {trial.attempt}"
    return element("summary", element("span", name, class_="name"), mark, rest)


# --- the tree -------------------------------------------------------------------------------------


def called(nodes: Sequence[NodeTotals]) -> dict[tuple[str, Role], str]:
    """Agents in words, those of a role numbered if there are several: the tree and the timeline agree."""
    agents = list(dict.fromkeys((node.node, node.role) for node in nodes))
    names: dict[tuple[str, Role], str] = {}
    for agent in agents:
        alike = [other for other in agents if other[1] == agent[1]]
        word = ROLE_WORDS[agent[1]]
        names[agent] = f"{word} {alike.index(agent) + 1}" if len(alike) > 1 else word
    return names


def _tree(nodes: Sequence[NodeTotals], numbers: dict[str, int]) -> Html:
    """Agents below who sent them out. Who names a parent that is not there, or itself, stands at the top."""
    groups: dict[str, list[NodeTotals]] = {}
    for node in nodes:
        groups.setdefault(node.node, []).append(node)
    shown: set[str] = set()
    names = called(nodes)
    tops = [name for name in groups if _parent(groups[name]) not in set(groups) - {name}]
    items = [_branch(name, groups, numbers, names, shown) for name in tops]
    items += [_branch(name, groups, numbers, names, shown) for name in groups if name not in shown]  # circles
    return element("ul", *items, class_="tree")


def _parent(group: Sequence[NodeTotals]) -> str:
    return next((node.parent_node for node in group if node.parent_node), "")


def _branch(
    name: str,
    groups: dict[str, list[NodeTotals]],
    numbers: dict[str, int],
    names: dict[tuple[str, Role], str],
    shown: set[str],
) -> Html:
    shown.add(name)
    below = []
    for child, group in groups.items():
        if child not in shown and _parent(group) == name:
            below.append(_branch(child, groups, numbers, names, shown))
    lines = [element("div", *_node(node, names[node.node, node.role], numbers)) for node in groups[name]]
    return element("li", *lines, *([element("ul", *below)] if below else []))


def _node(node: NodeTotals, name: str, numbers: dict[str, int]) -> list[Html]:
    tokens = node.tokens
    failed = f", {node.failed_requests:,} failed" if node.failed_requests else ""
    facts = (
        f"{words.plural(node.requests, 'request')}{failed} · {tokens.input:,} in ({tokens.cached:,} cached),"
        f" {tokens.output:,} out · {words.plural(node.tool_calls, 'tool call')} · {words.usd(node.cost_usd)}"
        f" · {words.seconds(node.busy_s)} busy, {words.seconds(node.waited_s)} waiting"
    )
    return [
        element("span", name, class_=f"role {colour(numbers[node.model])}"),
        element("strong", at_upstream(node.model, node.upstream)),
        element("span", f" {facts}", class_="small"),
    ]


# --- the timeline ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lane:
    """`is_whole`: its requests are not known one by one, only from when to when there were some."""

    name: str
    model: str
    spans: tuple[Span, ...]
    is_whole: bool = False


def timeline(trial: TrialView, numbers: dict[str, int]) -> Html:
    lanes = lanes_of(trial)
    drawn = lanes[:MAX_LANES]
    end_s = max([trial.wall_s, *(span.end_s for lane in drawn for span in lane.spans), 0.001])
    scale = Scale(0.0, end_s, NAMES, WIDTH - 12)
    height = _TOP + LANE * len(drawn) + _BOTTOM
    svg = named(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH} {height}",
            "width": WIDTH,
            "height": height,
            "role": "img",
            "aria-label": _described(trial, drawn),
        },
        *_time_axis(scale, height),
        *(part for place, lane in enumerate(drawn) for part in _lane(lane, place, scale, numbers)),
    )
    more = f" {len(lanes) - len(drawn)} more lanes are not drawn." if len(lanes) > len(drawn) else ""
    known = (
        "" if trial.spans else " Its requests are not known one by one: bars go from the first to the last."
    )
    caption = element("figcaption", f"Seconds since the harness was started.{known}{more}")
    return element("figure", element("div", svg, class_="wide"), caption)


def lanes_of(trial: TrialView) -> list[Lane]:
    """An agent on a model has a lane; below them, each model of this machine: when it was at work, for whom
    ever, and when it was waited for."""
    names = called(trial.nodes)
    if not trial.spans:
        return [_whole(node, names[node.node, node.role]) for node in trial.nodes]
    agents: dict[tuple[str, Role, str], list[Span]] = {}
    local: dict[str, list[Span]] = {}
    for span in trial.spans:
        agents.setdefault((span.node, span.role, span.model), []).append(span)
        if span.upstream == LOCAL:
            local.setdefault(span.model, []).append(span)
    lanes = [
        Lane(f"{names.get((node, role), ROLE_WORDS[role])} · {model}", model, tuple(spans))
        for (node, role, model), spans in agents.items()
    ]
    return lanes + [Lane(f"this machine · {model}", model, tuple(spans)) for model, spans in local.items()]


def _whole(node: NodeTotals, name: str) -> Lane:
    span = Span(
        node.node, node.role, node.model, node.upstream, node.first_s, node.first_s, node.last_s, True
    )
    return Lane(f"{name} · {node.model}", node.model, (span,), is_whole=True)


def _described(trial: TrialView, lanes: Iterable[Lane]) -> str:
    each = "; ".join(
        f"{lane.name}: {words.plural(len(lane.spans), 'span')} from {words.seconds(lane.spans[0].start_s)}"
        f" to {words.seconds(max(span.end_s for span in lane.spans))}"
        for lane in lanes
    )
    return f"Timeline of {trial.task}, {trial.configuration}, attempt {trial.attempt}. {each}"


def _time_axis(scale: Scale, height: int) -> list[Html]:
    parts = []
    step = nice_step(scale.high)
    for number in range(int(scale.high / step + 1e-9) + 1):
        x = scale.at(step * number)
        parts.append(element("line", x1=x, x2=x, y1=_TOP, y2=height - _BOTTOM + 4, class_="grid"))
        label = words.seconds(step * number) if number else "0"
        parts.append(element("text", label, x=x, y=height - 8, text_anchor="middle", class_="dim"))
    return parts


def _lane(lane: Lane, place: int, scale: Scale, numbers: dict[str, int]) -> list[Html]:
    y = _TOP + LANE * place
    name = lane.name if len(lane.name) <= _NAME_CHARS else lane.name[: _NAME_CHARS - 1] + "…"
    bars: list[Html] = []
    for kind, start_s, end_s in pieces(lane):
        left = scale.at(start_s)
        width = max(_MIN_WIDTH, scale.at(end_s) - left)
        bars.append(element("rect", x=left, y=y + 4, width=width, height=LANE - 8, class_=kind))
    return [
        element("text", name, x=NAMES - 8, y=y + 15, text_anchor="end"),
        element("g", *bars, class_=colour(numbers.get(lane.model, 0))),
    ]


def pieces(lane: Lane) -> list[tuple[str, float, float]]:
    """(kind, from, to): kinds are classes of the style sheet."""
    found: list[tuple[str, float, float]] = []
    for span in lane.spans:
        if lane.is_whole:
            found.append(("span", span.start_s, span.end_s))
            continue
        if span.answers_s > span.start_s:
            found.append(("waits", span.start_s, span.answers_s))
        if span.end_s > span.answers_s or span.answers_s == span.start_s:
            found.append(("busy" if span.is_answered else "failed", span.answers_s, span.end_s))
    return found
