"""The HTML report: whole, self-contained, and deaf to what names say."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.reports.evidence_rows import spans_of
from bench.reports.html import to_html
from bench.reports.html_figures import Scale, nice_step
from bench.reports.html_trials import MAX_DRAWN, lanes_of, pieces
from bench.reports.joining import JobResults
from bench.reports.recomputed import report_of
from bench.reports.report import JobInfo, Report, Span
from bench.results import NodeTotals
from tests.bench.report_results import HELPER, node, not_run, report, result
from tests.bench.simulated_job import CONTENDERS, simulated
from tests.bench.test_report_views import small

TAGS = set(
    "html head meta title style body header main nav section h1 h2 p div span strong ul li a table caption"
    " thead tbody tr th td figure figcaption details summary"
    " svg g defs pattern path line rect circle text".split()
)
HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;<svg/onload=x>"


class Page(HTMLParser):
    """Fails where a tag is not closed in its place, or is not one that a report has."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), names
        assert not [name for name in names if name.startswith("on") or name in ("src", "style")]
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def full() -> Report:
    """With spans, as the command reads them."""
    trials = simulated(seed=2, contenders=CONTENDERS[2:], tasks=("t1", "t2"), attempts=2)
    spans = {result.trial: spans_of(rows, result) for result, rows in trials}
    return report_of([JobResults(JobInfo("sim"), tuple(result for result, _ in trials), spans)])


@pytest.mark.parametrize("found", [report(), report(result()), report(not_run()), small(), full()])
def test_every_page_is_whole_and_needs_nothing_else(found: Report) -> None:
    text = to_html(found)
    page = Page(text)
    assert re.findall(r"https?://|@import|url\((?!#hatch\))|<script|<link|<iframe", text) == []
    assert all((link["href"] or "").startswith("#") for link in page.all("a"))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {(link["href"] or "")[1:] for link in page.all("a")} <= ids
    policy = next(meta for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy["content"])
    assert "prefers-color-scheme: dark" in text


def test_every_figure_and_table_can_be_read_without_seeing_it() -> None:
    page = Page(to_html(full()))
    for attributes in page.all("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


def test_what_names_say_is_text() -> None:
    nodes = (node(model=HOSTILE, upstream=HOSTILE, node=HOSTILE), HELPER)
    trial = result(HOSTILE, HOSTILE, nodes=nodes, findings=(HOSTILE,), tags=(HOSTILE,), scores={HOSTILE: 1.0})
    bad = result(
        HOSTILE, HOSTILE, 2, validity="INVALID", invalid_because=(HOSTILE,), error=HOSTILE, nodes=nodes
    )
    text = to_html(report(trial, bad, result("b", HOSTILE), name=HOSTILE, plan=HOSTILE, machine=HOSTILE))
    page = Page(text)
    assert "<script" not in text
    assert "<img" not in text
    assert page.text.count(HOSTILE) >= 10


@settings(max_examples=40, deadline=None)
@given(st.text(), st.text(), st.text())
def test_any_text_leaves_the_page_whole(name: str, model: str, said: str) -> None:
    nodes = (node(model=model, node=name, parent_node=said),)
    trial = result(name, said, nodes=nodes, error=said, validity="INVALID", invalid_because=(said,))
    Page(to_html(report(trial, result(name, said, 2, nodes=nodes))))


def test_invalid_trials_come_first_and_the_rest_is_counted() -> None:
    trials = [result(attempt=n) for n in range(1, MAX_DRAWN + 3)]
    trials.append(result(attempt=999, validity="INVALID", invalid_because=("main never answered",)))
    page = Page(to_html(report(*trials)))
    assert len(page.all("details")) == MAX_DRAWN
    assert "The other 3 trials are in the JSON report." in page.text
    start = page.text.index("attempt 999")
    assert start < page.text.index("attempt 1 ")


# --- the tree and the timeline ------------------------------------------------------------------------------


def tree_of(*nodes: NodeTotals) -> str:
    text = to_html(report(result(nodes=nodes)))
    start = text.index('<ul class="tree">')
    return re.sub(r"<(?!/?(ul|li)\b)[^>]*>", "", text[start : text.index("<figure", start)])


def test_sub_agents_stand_below_who_sent_them() -> None:
    grandchild = HELPER.model_copy(update={"node": "g", "parent_node": "h", "model": "tiny"})
    found = tree_of(node(), HELPER, grandchild)
    order = [found.index(word) for word in ("big", "small", "tiny")]
    assert order == sorted(order)
    assert found.count("<ul>") == 2


@pytest.mark.parametrize("parents", [{"m": "m", "h": "h"}, {"m": "h", "h": "m"}, {"m": "gone", "h": "gone"}])
def test_a_tree_that_is_none_still_shows_everybody_once(parents: dict[str, str]) -> None:
    found = tree_of(node(parent_node=parents["m"]), HELPER.model_copy(update={"parent_node": parents["h"]}))
    assert (found.count("big @ local"), found.count("small @ local")) == (1, 1)


def test_requests_have_lanes_by_agent_and_by_model_of_this_machine() -> None:
    spans = (
        Span("m", "main", "far", "openrouter", 0.0, 0.0, 2.0, True),
        Span("h", "subagent", "near", "local", 1.0, 1.5, 3.0, True),
        Span("h", "subagent", "near", "local", 3.0, 3.0, 4.0, False),
    )
    found = result(nodes=(node(), HELPER))
    trial = report_of([JobResults(JobInfo("j"), (found,), {"t1-a-1": spans})]).trials[0]
    lanes = lanes_of(trial)
    assert [lane.name for lane in lanes] == ["main · far", "sub-agent · near", "this machine · near"]
    assert pieces(lanes[1]) == [("waits", 1.0, 1.5), ("busy", 1.5, 3.0), ("failed", 3.0, 4.0)]


def test_several_sub_agents_are_numbered_in_the_order_of_their_first_requests() -> None:
    second = HELPER.model_copy(update={"node": "h2"})
    trial = report(result(nodes=(node(), HELPER, second, HELPER.model_copy(update={"model": "big"})))).trials[
        0
    ]
    names = [lane.name for lane in lanes_of(trial)]
    assert names == ["main · big", "sub-agent 1 · small", "sub-agent 2 · small", "sub-agent 1 · big"]


def test_without_rows_a_lane_is_from_the_first_request_to_the_last() -> None:
    trial = report(result(nodes=(node(), HELPER))).trials[0]
    assert [(lane.name, pieces(lane)) for lane in lanes_of(trial)] == [
        ("main · big", [("span", 0.5, 3.0)]),
        ("sub-agent · small", [("span", 0.5, 3.0)]),
    ]


def test_rows_are_on_the_clock_of_their_nodes() -> None:
    trial, rows = next(found for found in simulated(seed=3, attempts=1) if found[0].delegations)
    spans = spans_of(rows, trial)
    assert min(span.start_s for span in spans) == pytest.approx(min(node.first_s for node in trial.nodes))
    assert max(span.end_s for span in spans) == pytest.approx(max(node.last_s for node in trial.nodes))
    waited = sum(span.answers_s - span.start_s for span in spans if span.role == "subagent")
    assert waited == pytest.approx(sum(row.waited_s for row in rows if row.role == "subagent"))


# --- figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("span", "step"), [(1.0, 0.2), (0.4, 0.1), (7.0, 2.0), (26.0, 10.0), (3e-7, 1e-7)])
def test_ticks_are_round(span: float, step: float) -> None:
    assert nice_step(span) == pytest.approx(step)


def test_a_logarithmic_axis() -> None:
    scale = Scale(0.01, 10.0, 0.0, 300.0, is_log=True)
    assert [scale.at(tick) for tick in scale.ticks()] == pytest.approx([0.0, 100.0, 200.0, 300.0])


def test_what_has_no_known_cost_is_named_beside_the_figure() -> None:
    page = Page(to_html(report(result("a"), result("b", cost_usd=None))))
    assert "Not on the map by dollars: b (cost is known of 0 of 1 trial)" in page.text
