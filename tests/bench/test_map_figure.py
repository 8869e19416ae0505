"""Drawings of a map: nothing lies on a name, and a file of its own needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.reports.html_figures import Box, Scale, text_width
from bench.reports.map_figure import WIDTH, figure, standalone, title_of
from bench.reports.report import Axis, CostMap, MapPoint, Mean
from bench.stats import Interval

SVG = "{http://www.w3.org/2000/svg}"
AXES: tuple[Axis, ...] = ("usd", "s", "j")
AMOUNTS = st.one_of(
    st.just(0.0), st.floats(1e-7, 1e6), st.floats(0.9, 1.1), st.sampled_from((0.25, 5.0, 3600.0))
)


def point(name: str, amount: float, reward: float = 0.5, spread: float = 0.1) -> MapPoint:
    around = Interval(amount * (1 - spread), amount * (1 + spread))
    sure = Interval(max(0.0, reward - spread), min(1.0, reward + spread))
    return MapPoint(name, Mean(amount, around, 8, 4), Mean(reward, sure, 8, 4), ())


def of(*points: MapPoint, axis: Axis = "usd") -> CostMap:
    return CostMap("", axis, ("t",), 1, points, tuple(one.configuration for one in points[:2]), (), ())


def numbers(found: CostMap) -> dict[str, int]:
    return {one.configuration: number for number, one in enumerate(found.points)}


def drawn(found: CostMap) -> ElementTree.Element:
    return ElementTree.fromstring(standalone(found, numbers(found), title_of(found)))


def boxes_of_texts(svg: ElementTree.Element) -> Iterator[tuple[str, Box]]:
    """But of the axis title, which is turned."""
    for parent in svg.iter():
        moved = (
            float(parent.get("transform", "translate(0 0)").split()[-1].rstrip(")"))
            if parent.tag == f"{SVG}g"
            else 0.0
        )
        for text in parent.findall(f"{SVG}text"):
            if text.get("transform"):
                continue
            words = text.text or ""
            x, y = float(text.get("x", "")), float(text.get("y", "")) + moved
            width = text_width(words)
            left = x - {"middle": width / 2, "end": width}.get(text.get("text-anchor", ""), 0.0)
            yield words, Box(left, y - 11, left + width, y + 3)


def marks_of(svg: ElementTree.Element) -> Iterator[Box]:
    plot = next(group for group in svg.iter(f"{SVG}g") if group.get("transform"))
    moved = float(plot.get("transform", "").split()[-1].rstrip(")"))
    for circle in plot.iter(f"{SVG}circle"):
        x, y = float(circle.get("cx", "")), float(circle.get("cy", "")) + moved
        yield Box(x - 6, y - 6, x + 6, y + 6)
    for line in plot.iter(f"{SVG}line"):
        if line.get("class") == "bar":
            x1, x2, y1, y2 = (float(line.get(key, "")) for key in ("x1", "x2", "y1", "y2"))
            yield Box(min(x1, x2), min(y1, y2) + moved, max(x1, x2), max(y1, y2) + moved)


def check(found: CostMap) -> None:
    svg = drawn(found)
    texts = list(boxes_of_texts(svg))
    for place, (one, box) in enumerate(texts):
        for other, other_box in texts[place + 1 :]:
            assert not box.overlaps(other_box), (one, other)
        assert box.right <= WIDTH + 1, one
        assert box.bottom <= float(svg.get("height", "")), one
    names = {one.configuration for one in found.points}
    for mark in marks_of(svg):
        assert not [one for one, box in texts if one in names and box.overlaps(mark)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(AMOUNTS, st.floats(0, 1), st.floats(0, 0.5), st.integers(1, 30)), min_size=1, max_size=9
    ),
    st.sampled_from(AXES),
)
def test_no_text_lies_on_another_or_on_a_mark(
    given_points: list[tuple[float, float, float, int]], axis: Axis
) -> None:
    points = [
        point(f"{number}{'n' * length}"[:30], amount, reward, spread)
        for number, (amount, reward, spread, length) in enumerate(given_points)
    ]
    check(of(*points, axis=axis))


def test_twelve_points_in_one_place_all_have_their_names() -> None:
    found = of(*(point(f"a-rather-long-name-{n}", 1.0) for n in range(12)))
    check(found)
    assert {one.configuration for one in found.points} <= {words for words, _ in boxes_of_texts(drawn(found))}


def leaders(found: CostMap) -> int:
    return sum(line.get("class") == "leader" for line in drawn(found).iter(f"{SVG}line"))


def test_a_name_that_is_nearer_to_another_point_has_a_line_to_its_own() -> None:
    assert leaders(of(point("a", 1.0, 0.2), point("b", 2.0, 0.8))) == 0
    crowd = ((1.19, 0.61), (1.24, 0.64), (1.22, 0.64))
    assert leaders(of(*(point(f"name-{n}", amount, reward) for n, (amount, reward) in enumerate(crowd)))) == 1


def test_where_no_room_is_left_names_stand_in_a_list_below() -> None:
    """Bars over the whole plot."""
    found = of(*(point(f"configuration-number-{n:03}", 1.0 + n, 0.02 * n, 1.0) for n in range(50)))
    check(found)
    texts = [words for words, _ in boxes_of_texts(drawn(found))]
    below = [words for words in texts if ", reward " in words]
    assert below
    for one in found.points:
        assert [words for words in texts if words.startswith(one.configuration)], one.configuration
    assert float(drawn(found).get("height", "")) > float(drawn(of(point("a", 1.0))).get("height", "")) + 10


def test_a_wide_script_takes_more_room() -> None:
    check(of(*(point("日本語のなまえ" + str(n), 1.0 + n / 10, 0.5) for n in range(5))))
    assert text_width("日本") > text_width("ab")


@pytest.mark.parametrize(
    ("axis", "amount", "said"),
    [
        ("usd", 0.00000025, "dollars a trial"),
        ("s", 90.0, "50 s"),
        ("s", 700.0, "10 min"),
        ("s", 90_000.0, "20 h"),
        ("j", 900.0, "500 J"),
        ("j", 9000.0, "2 Wh"),
    ],
)
def test_an_axis_counts_in_what_suits_its_amounts(axis: Axis, amount: float, said: str) -> None:
    assert any(
        words.startswith(said) for words, _ in boxes_of_texts(drawn(of(point("a", amount), axis=axis)))
    )


def test_amounts_far_apart_have_a_logarithmic_axis() -> None:
    words = [words for words, _ in boxes_of_texts(drawn(of(point("a", 0.004), point("b", 0.2))))]
    assert "dollars a trial, logarithmic →" in words
    assert {"$0.001", "$0.01", "$0.1"} <= set(words)


def test_what_costs_nothing_is_drawn() -> None:
    check(of(point("free", 0.0), point("also", 0.0)))


def test_the_front_is_a_staircase() -> None:
    found = of(point("a", 1.0, 0.2), point("b", 2.0, 0.8))
    path = next(one for one in drawn(found).iter(f"{SVG}path") if one.get("class") == "front")
    assert re.fullmatch(r"M[\d.]+ [\d.]+H[\d.]+V[\d.]+", path.get("d", ""))


def test_a_file_of_its_own_needs_nothing_and_suits_light_and_dark() -> None:
    hostile = "</text><script>alert(1)</script>&\"'<a href='http://x'>"
    text = standalone(of(point(hostile, 1.0)), {hostile: 0}, hostile)
    svg = ElementTree.fromstring(text)
    assert {element.tag.removeprefix(SVG) for element in svg.iter()} <= {
        "svg", "title", "style", "rect", "text", "g", "line", "path", "circle"
    }  # fmt: skip
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text.replace("http://x", "")) == []
    assert "prefers-color-scheme: dark" in text
    assert svg.get("aria-label")
    assert "@import" not in text
    assert "url(" not in text


def test_the_figure_of_a_page_says_in_words_what_it_shows() -> None:
    found = of(point("a", 1.0, 0.25), point("b", 2.0, 0.75))
    text = figure(found, numbers(found), title_of(found))
    assert "a: $1.00, reward 0.25 (0.15–0.35); b: $2.00, reward 0.75 (0.65–0.85)" in text
    assert "the Pareto front (a, b)" in text


def test_ticks_without_room_have_no_label() -> None:
    scale = Scale(0.0, 1.0, 0.0, 100.0)
    assert len(scale.ticks()) == 6
    svg = drawn(of(point("a", 2.3e-7)))
    labels = [words for words, _ in boxes_of_texts(svg) if words.startswith("$")]
    assert labels
    check(of(point("a", 2.3e-7)))
