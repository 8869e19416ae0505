"""Entries: the same thing is the same line, and no other line is taken for an entry."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.note_entries import (
    MAX_LINE_BYTES,
    Newer,
    Retraction,
    Strange,
    line_of,
    read_line,
    retraction,
    stamp,
    trial_entry,
)
from bench.results import Manifest
from tests.bench.noted_trials import NOW_S, SETTING, changed, noted
from tests.bench.report_results import result


def why(line: bytes) -> str:
    found = read_line(line)
    assert isinstance(found, Strange)
    return found.why


@given(
    reward=st.none() | st.floats(0, 1),
    cost=st.none() | st.decimals(0, 1000, places=12),
    energy=st.none() | st.floats(0, 1e12),
    note=st.text(max_size=40),
    age=st.floats(0, 9000),
)
def test_what_is_written_is_read_again(
    reward: float | None, cost: Decimal | None, energy: float | None, note: str, age: float
) -> None:
    entry = noted(reward=reward, cost_usd=cost, energy_j=energy, note=note, age_days=age)
    line = line_of(entry)
    assert b"\n" not in line
    found = read_line(line + b"\r\n")
    assert found == entry
    assert not isinstance(found, Newer | Strange)
    assert (found.id, line_of(found)) == (entry.id, line)


def test_an_entry_of_a_result_is_the_same_whenever_it_is_made() -> None:
    assert line_of(noted(by="ann")) == line_of(noted(by="ann"))
    assert noted(by="ann").id != noted(by="bob").id
    assert noted(reward=0.25).id != noted(reward=0.5).id


def test_a_retraction_is_read_again() -> None:
    entry = retraction(noted().id, "the checks were wrong", "ann", NOW_S + 0.9)
    assert entry.at == "2027-01-15T08:00:00Z"
    found = read_line(line_of(entry))
    assert isinstance(found, Retraction)
    assert found == entry
    with pytest.raises(BenchError, match="retracts: String should match"):
        retraction("abc", "", "", NOW_S)


def test_every_byte_that_is_cut_off_or_changed_shows() -> None:
    line = line_of(noted(note="Grüße"))
    for place in range(len(line)):
        assert isinstance(read_line(line[:place]), Strange), place
        other = b"0" if line[place : place + 1] != b"0" else b"1"
        assert isinstance(read_line(line[:place] + other + line[place + 1 :]), Strange), place


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"<<<<<<< HEAD", "conflict marker"),
        (b"=======", "conflict marker"),
        (b"[1]", "no JSON object"),
        (b"hello", "not JSON"),
        (b'{"a": 1, "a": 2}', "stands in it twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1e999}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 30_000, "not JSON"),
        (b'{"format": 1}', "its id is not that of its content"),
        (b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}', "bytes, more than 65536"),
    ],
)
def test_other_lines_say_what_is_wrong_with_them(line: bytes, said: str) -> None:
    assert said in why(line)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "rumour"}, "kind: expected one of trial, retraction, found 'rumour'"),
        ({"format": 0}, "format"),
        ({"format": True}, "not written as Hotseat writes them"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2027-1-5T08:00:00Z"}, "expected a date as"),
        ({"wall_s": -1.0}, "wall_s"),
        ({"wall_s": 10}, "not written as Hotseat writes them"),
        ({"wall_s": "10.0"}, "wall_s"),
        ({"cost_usd": "-1"}, "cost_usd"),
        ({"cost_usd": "1E-999999"}, "cost_usd"),
        ({"note": "x" * 5000}, "note"),
    ],
)
def test_content_that_is_none_of_ours_is_named_by_its_key(changes: dict[str, Any], said: str) -> None:
    assert said in why(changed(line_of(noted()), **changes))


def test_an_entry_must_agree_with_itself() -> None:
    content = json.loads(line_of(noted()))
    swapped = content["configuration"] | {"main": "better"}
    assert "it is not that of the configuration" in why(changed(line_of(noted()), configuration=swapped))
    counting = content["outcome"] | {"validity": "INVALID"}
    assert "counts: expected true of what is VALID" in why(changed(line_of(noted()), outcome=counting))


def test_what_nothing_checked_is_noted_without_a_reward_and_does_not_count() -> None:
    entry = noted(reward=1.0, scores={"unverified": 1.0})
    assert (entry.outcome.counts, entry.outcome.reward) == (False, None)
    assert read_line(line_of(entry)) == entry
    counting = json.loads(line_of(entry))["outcome"] | {"counts": True, "reward": 1.0}
    assert "was checked, and of nothing else" in why(changed(line_of(entry), outcome=counting))


def test_a_line_of_a_later_version_is_told_from_a_damaged_one() -> None:
    line = changed(line_of(noted()), format=2, kind="opinion")
    found = read_line(line)
    assert isinstance(found, Newer)
    assert (found.format, found.line) == (2, line)
    assert isinstance(read_line(line.replace(b"opinion", b"rumours")), Strange)


def test_a_configuration_is_what_it_is_and_not_its_name() -> None:
    first, second = noted("a").configuration, noted("b").configuration
    assert (first.name, second.name) == ("a", "b")
    assert first.sha == second.sha
    others = [
        replace(SETTING, harness="opencode"),
        replace(SETTING, main="bigger"),
        replace(SETTING, small="tiny"),
        replace(SETTING, effort="high"),
        replace(SETTING, context=16384),
        replace(SETTING, native_names=True),
        replace(SETTING, subagents={}),
        replace(SETTING, subagents={"helper": ("small", "low")}),
    ]
    shas = {noted("a", setting=other).configuration.sha for other in others}
    shas.add(noted("a", policy="required").configuration.sha)
    assert len(shas - {first.sha}) == len(others) + 1


def test_versions_of_a_harness_are_told_apart_unless_that_is_not_wanted() -> None:
    old, new = (
        noted(manifest=Manifest(hotseat="0", harness="codex", harness_version=version)).configuration
        for version in ("1", "2")
    )
    assert old.sha != new.sha
    assert old.sha_of_any_version == new.sha_of_any_version


def test_what_cannot_be_noted_is_named_by_its_trial() -> None:
    with pytest.raises(BenchError, match=r"t1-a-1: it cannot be noted: tags\.0"):
        trial_entry(result(), "0" * 64, SETTING, tags=["two words"])
    with pytest.raises(BenchError, match="t1-a-1: it cannot be noted: by"):
        trial_entry(result(), "0" * 64, SETTING, by="x" * 300)
    with pytest.raises(BenchError, match="t1-a-1: it cannot be noted"):
        trial_entry(result(started_at=float("inf")), "0" * 64, SETTING)


def test_a_score_that_is_no_number_is_left_out() -> None:
    entry = trial_entry(result(scores={"a": float("nan"), "b": 0.5}), "0" * 64, SETTING)
    assert entry.outcome.scores == {"b": 0.5}


def test_dates_are_cut_off_to_seconds() -> None:
    assert stamp(0.99) == "1970-01-01T00:00:00Z"
