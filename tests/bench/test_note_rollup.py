"""The roll-up: numbers that can be worked out by hand, and the same ones in any order."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.note_entries import Entry, retraction
from bench.note_explanation import explain
from bench.note_rollup import DAY_S, NO_TAG, Average, Reading, Rolled, half_life_s, roll_up
from bench.note_standing import standing
from bench.note_views import rolled_json
from bench.results import Manifest
from bench.stats import Interval, wilson
from tests.bench.noted_trials import NOW_S, noted, settings_by_model
from tests.bench.report_results import not_run

READING = Reading(NOW_S, half_life_s=100 * DAY_S)
TWO = settings_by_model("a", "b")


def rolled(*entries: Entry, reading: Reading = READING, tag: str | None = None) -> list[Rolled]:
    return list(roll_up(standing(entries), reading, tag))


def test_the_mean_is_over_tasks_however_often_each_was_tried() -> None:
    [row] = rolled(
        noted(task="t1", reward=1.0, number=1),
        noted(task="t1", reward=1.0, number=2),
        noted(task="t1", reward=1.0, number=3),
        noted(task="t2", reward=0.0),
    )
    assert (row.mean, row.trials, row.tasks, row.sample) == (0.5, 4, 2, "tasks")
    assert row.interval == wilson(1, 2)
    assert (row.effective_trials, row.effective_tasks) == (4, 2)


def test_of_a_single_task_the_trials_are_the_sample() -> None:
    [row] = rolled(
        *(noted(reward=reward, number=i) for i, reward in enumerate((1.0, 1.0, 0.5, 0.5), start=1))
    )
    assert (row.mean, row.sample) == (0.75, "trials")
    assert row.interval == wilson(3, 4)


def test_a_trial_weighs_half_after_a_half_life_and_a_quarter_after_two() -> None:
    [row] = rolled(noted(reward=1.0, age_days=100), noted(reward=0.0, age_days=200, number=2))
    assert row.mean == pytest.approx(2 / 3)
    assert row.effective_trials == pytest.approx(0.75)
    assert row.effective_tasks == pytest.approx(0.5)


def test_old_evidence_makes_the_interval_wider_and_leaves_the_mean() -> None:
    trials = [noted(task=f"t{i}", reward=1.0, age_days=100) for i in range(10)]
    [old] = rolled(*trials)
    [ageless] = rolled(*trials, reading=Reading(NOW_S, half_life_s=None))
    assert (old.mean, ageless.mean) == (1.0, 1.0)
    assert old.interval == wilson(5, 5)
    assert ageless.interval == wilson(10, 10)


def test_a_task_weighs_as_its_newest_trial() -> None:
    [row] = rolled(
        noted(task="t1", reward=1.0),
        noted(task="t1", reward=1.0, age_days=400, number=2),
        noted(task="t2", reward=0.0, age_days=100),
    )
    assert row.mean == pytest.approx(1 / 1.5)
    assert row.effective_tasks == pytest.approx(1.5)


def test_trials_as_old_as_the_hills_have_a_mean_and_say_nothing() -> None:
    reading = Reading(NOW_S, half_life_s=60.0)
    [row] = rolled(
        noted(reward=0.75, age_days=9000), noted(reward=0.25, age_days=9000, number=2), reading=reading
    )
    assert (row.mean, row.interval, row.effective_trials) == (0.5, Interval(0.0, 1.0), 0.0)


def test_a_trial_from_the_future_weighs_one_and_is_named() -> None:
    [row] = rolled(noted(age_days=-30), noted(age_days=-0.5, number=2))
    assert row.effective_trials == 2
    assert row.notes == ("1 of its trials say that they are from the future: a clock was wrong",)


def test_what_does_not_count_is_counted_as_left_out() -> None:
    invalid = noted(number=2, reward=1.0, validity="INVALID", invalid_because=("x",))
    failed = noted(number=3, reward=None, outcome="verifier-failed")
    [row] = rolled(noted(reward=0.5, number=1), invalid, failed)
    assert (row.mean, row.trials, row.left_out) == (0.5, 1, 2)
    [nothing] = rolled(invalid)
    assert (nothing.mean, nothing.interval, nothing.left_out) == (None, None, 1)


def test_costs_that_are_not_known_are_not_nothing() -> None:
    [row] = rolled(
        noted(cost_usd=Decimal("0.10"), energy_j=None, number=1),
        noted(cost_usd=Decimal("0.30"), energy_j=None, number=2),
        noted(cost_usd=None, energy_j=None, number=3),
    )
    assert row.cost_usd is not None
    assert row.cost_usd.mean == pytest.approx(0.2)
    assert row.cost_usd.known == 2
    assert row.wall_s == Average(10.0, 3)
    assert row.energy_j is None


def test_one_name_of_two_things_is_told_apart_and_two_names_of_one_are_joined() -> None:
    rows = rolled(noted("a", setting=TWO["a"]), noted("a", setting=TWO["b"], number=2, reward=1.0))
    assert [row.label for row in rows] == [f"a [{row.key[:10]}]" for row in rows]
    assert len({row.key for row in rows}) == 2
    [row] = rolled(noted("mine"), noted("yours"))
    assert row.label == "mine/yours"


def test_versions_of_the_harness_are_one_if_that_is_wanted() -> None:
    entries = [
        noted(number=int(version), manifest=Manifest(hotseat="0", harness="codex", harness_version=version))
        for version in ("1", "2")
    ]
    assert len(rolled(*entries)) == 2
    [row] = rolled(*entries, reading=Reading(NOW_S, any_version=True))
    assert (row.versions, row.trials) == (("1", "2"), 2)


def test_other_files_under_one_model_name_are_named() -> None:
    entries = [
        noted(
            number=i,
            manifest=Manifest(hotseat="0", harness="codex", harness_version="1", models={"big": sha}),
        )
        for i, sha in enumerate(("aa", "bb", ""), start=1)
    ]
    [row] = rolled(*entries)
    assert row.notes == ("big: 2 different files or versions of it are mixed here",)


def test_tags_are_rows_of_their_own_and_none_is_one_too() -> None:
    rows = rolled(noted(tags=("x", "y")), noted(task="t2", tags=()))
    assert [row.subject for row in rows] == [NO_TAG, "x", "y"]
    assert [row.subject for row in rolled(noted(tags=("x", "y")), tag="y")] == ["y"]


def test_the_same_task_with_other_files_is_another() -> None:
    [row] = rolled(noted(reward=1.0), noted(reward=0.0, number=2, task_digest="f" * 64))
    assert row.tasks == 2


def test_explain_shows_the_trials_behind_and_what_was_taken_back() -> None:
    gone = noted("a", reward=0.0, number=3)
    trials = [noted("a", number=1, age_days=5), noted("a", number=2), noted("b", setting=TWO["b"])]
    found = standing([*trials, gone, retraction(gone.id, "wrong checks", "", NOW_S)])
    explained = explain(found, "python", READING, "a")
    [claim] = explained.claims
    assert claim.rolled == next(row for row in roll_up(found, READING, "python") if row.label == "a")
    assert [trial.entry for trial in claim.behind] == [trials[1], trials[0]]
    assert [one.trial.entry for one in explained.withdrawn] == [gone]
    assert explain(found, "t1", READING, claim.rolled.key[:12]).claims[0].behind == claim.behind
    assert explain(found, "t9", READING).claims == ()
    assert explain(found, "python", READING, claim.rolled.key[:5]).claims == ()


def test_a_short_name_is_not_taken_for_the_beginning_of_a_hash() -> None:
    entries = [noted(name, setting=setting) for name, setting in TWO.items()]
    called = entries[1].configuration.sha[:8]
    renamed = noted(called, setting=TWO["a"], number=5)
    found = standing([*entries, renamed])
    [claim] = explain(found, "python", READING, called).claims
    assert [trial.entry for trial in claim.behind] == [renamed]


def test_a_task_is_found_with_its_parameters_and_without() -> None:
    found = standing(
        [noted(task="m(n=5)", tags=()), noted(task="m(n=15)", tags=()), noted(task="mx", tags=())]
    )
    assert explain(found, "m", READING).claims[0].rolled.tasks == 2
    assert explain(found, "m(n=5)", READING).claims[0].rolled.tasks == 1


@pytest.mark.parametrize(
    ("text", "expected"), [("90d", 90 * DAY_S), ("12h", 43_200.0), ("1.5w", 10.5 * DAY_S), ("none", None)]
)
def test_half_lives(text: str, expected: float | None) -> None:
    assert half_life_s(text) == expected


@pytest.mark.parametrize("text", ["", "90", "-1d", "0d", "d", "1e3d", "9" * 20 + "d", "nope"])
def test_what_is_no_half_life_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='expected a time such as "90d"'):
        half_life_s(text)


# --- merging ------------------------------------------------------------------------------------------


def many() -> list[Entry]:
    """What two people and a mishap leave: sevenths and tenths, so that sums in another order differ."""
    trials = [
        noted(
            name,
            task,
            ((7 * attempt + len(name + task)) % 11) / 10.7,
            number=attempt,
            age_days=13.7 * attempt,
            setting=TWO[name],
            cost_usd=Decimal(attempt) / 7,
            energy_j=attempt / 3,
            by=by,
        )
        for name in ("a", "b")
        for task in ("t1", "t2", "t3")
        for attempt in (1, 2, 3)
        for by in ("ann", "bob")
    ]
    back = retraction(trials[4].id, "wrong", "bob", NOW_S)
    undone = retraction(retraction(trials[9].id, "wrong", "", NOW_S).id, "right", "", NOW_S)
    return [*trials, back, retraction(trials[9].id, "wrong", "", NOW_S), undone]


def as_text(entries: list[Entry]) -> str:
    shown: list[dict[str, Any]] = [rolled_json(row) for row in rolled(*entries)]
    return json.dumps(shown)


MANY = many()
EXPECTED = as_text(MANY)


@settings(max_examples=40)
@given(st.permutations(MANY), st.lists(st.sampled_from(MANY), max_size=10))
def test_order_and_repetition_change_no_digit(shuffled: list[Entry], again: list[Entry]) -> None:
    assert as_text([*shuffled, *again]) == EXPECTED


def test_the_check_above_can_fail() -> None:
    assert as_text(MANY[2:]) != EXPECTED
    assert not_run().counts is False
