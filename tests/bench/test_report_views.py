"""A report as terminal text, Markdown and JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.reports.json_report import from_json, to_json
from bench.reports.markdown import escaped, to_markdown
from bench.reports.report import Report
from bench.reports.tables import Column, Table
from bench.reports.terminal import columns_of, table_text, to_terminal
from bench.reports.words import printable, seconds, usd
from bench.results import Claimed, Gap
from tests.bench.report_results import HELPER, node, not_run, report, result

GOLDEN = Path(__file__).parent / "report_golden.txt"


def small() -> Report:
    """Two configurations, two tasks, two attempts: one INVALID, one not run, one of unknown cost."""
    claimed = Claimed(tokens={"input": Gap(wire=200, claimed=100), "output": Gap(wire=20, claimed=None)})
    helped = {"nodes": (node(), HELPER), "delegations": 1, "brief_chars": (40,), "claimed": claimed}
    return report(
        result("helped", "t1", 1, reward=1.0, **helped),
        result("helped", "t1", 2, reward=0.5, **helped),
        result("helped", "t2", 1, reward=1.0, wall_s=100.0, findings=("read ../hidden",)),
        result("helped", "t2", 2, validity="INVALID", invalid_because=("a sub-agent was never answered",)),
        result("solo", "t1", 1, reward=0.0, cost_usd=None),
        result("solo", "t1", 2, reward=0.5, energy_j=40.0),
        result("solo", "t2", 1, reward=0.25),
        not_run("solo", "t2", 2),
        plan="demo",
        planned=9,
        machine="Linux, 2 CPUs",
    )


def test_the_terminal_shows_a_small_job_as_it_did() -> None:
    assert to_terminal(small(), 100) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = to_terminal(small(), width).splitlines()
    assert max(columns_of(line) for line in lines) <= width
    assert all(
        reason in to_terminal(small(), 400) for reason in ("a sub-agent was never answered", "no server")
    )


def test_only_some_sections() -> None:
    shown = to_terminal(small(), 100, only=("verdicts",))
    assert shown.startswith("COMPARISONS\n")
    assert "TASKS" not in shown


def test_no_results_on_a_terminal() -> None:
    assert to_terminal(report(), 80) == (
        "REPORT\nJob j: 0 trials\nThere are no results: no trial has come to its end.\n"
    )


TEXTS = Table(
    "c",
    (Column("name"), Column("n", True, True)),
    (("a-long-name-of-something", "1"), ("日本語のなまえ", "22")),
)


def test_long_texts_give_way_and_numbers_do_not() -> None:
    assert table_text(TEXTS, 20) == ("name               n\na-long-n…mething   1\n日本語のなまえ    22")


def test_a_table_that_cannot_fit_is_a_list() -> None:
    wide = Table("c", (Column("name"), Column("why", False, True)), (("x", "one two three four five six"),))
    assert table_text(wide, 20) == "x\n  why: one two three\n    four five six"


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(), st.integers(40, 120))
def test_any_name_keeps_to_the_width_and_moves_no_cursor(name: str, why: str, width: int) -> None:
    trials = [result(name or "x", invalid_because=(why,), validity="INVALID"), result("b")]
    text = to_terminal(report(*trials), width)
    assert all(char.isprintable() for char in text if char != "\n")


# --- Markdown -------------------------------------------------------------------------------------------


def test_markdown_has_every_table() -> None:
    text = to_markdown(small())
    assert text.startswith("# Report\n\n- Job j, plan demo: 8 of 9 trials; Linux, 2 CPUs\n")
    assert "| helped | 3 of 4 | 0.88 |" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_markdown_takes_nothing_from_a_name() -> None:
    name = "a|b `c` <img src=x> [l](javascript:x) **d** \n# e"
    line = next(line for line in to_markdown(report(result(name))).splitlines() if line.startswith("| a"))
    assert r"a\|b \`c\` \<img src=x\> \[l\](javascript:x) \*\*d\*\*  \# e" in line
    assert "://" not in escaped("see http://example.org")


# --- JSON -----------------------------------------------------------------------------------------------


def test_json_and_back() -> None:
    found = small()
    assert from_json(to_json(found)) == found
    assert from_json(to_json(report())) == report()


def test_json_has_a_version_and_exact_money() -> None:
    exact = Decimal("0.1234567890123456789")
    document = json.loads(to_json(report(result(cost_usd=exact, reward=1.0))))
    assert (document["kind"], document["format"]) == ("hotseat-bench-report", 1)
    assert document["configurations"][0]["cost"]["total_usd"] == "0.1234567890123456789"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not JSON"),
        ("[]", "expected a JSON object of the kind"),
        ('{"kind": "x"}', "expected a JSON object of the kind"),
        ('{"kind": "hotseat-bench-report", "format": 2}', "format 2: this version of Hotseat reads 1"),
        ('{"kind": "hotseat-bench-report", "format": 1}', "title"),
    ],
)
def test_json_that_is_no_report(text: str, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        from_json(text)


# --- words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (None, "unknown"),
        ("0", "$0"),
        ("0.00000025", "$0.00000025"),
        ("0.2", "$0.20"),
        ("0.12345", "$0.123"),
        ("0.9999", "$1.00"),
        ("5.125", "$5.12"),
        ("12345.6", "$12,345.60"),
    ],
)
def test_dollars(amount: str | None, said: str) -> None:
    assert usd(None if amount is None else Decimal(amount)) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 s"),
        (0.04, "40 ms"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119.6, "2 min 00 s"),
        (3725, "62 min 05 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(value: float, said: str) -> None:
    assert seconds(value) == said


def test_what_a_terminal_obeys_is_a_space() -> None:
    assert printable("a\x1b[31mb\u202ec\nd") == "a [31mb c d"
