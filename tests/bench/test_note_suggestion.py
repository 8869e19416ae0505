"""Suggestions: what can be told from a log, and when it must be said that nothing can."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from bench.note_entries import Entry
from bench.note_rollup import Reading, labels_of
from bench.note_standing import standing
from bench.note_suggestion import MIN_TRIALS, Suggestion, Wanted, suggest
from bench.note_views import suggestion_lines
from bench.power import MIN_TASKS
from tests.bench.noted_trials import DAY_S, NOW_S, noted, settings_by_model

READING = Reading(NOW_S, half_life_s=90 * DAY_S)
KNOWN = settings_by_model("a", "b", "c", "d")
TASK = ("t1", "7431".ljust(64, "0"))
PYTHON = Wanted(("python",))


def on_tasks(name: str, rewards: list[float], cost: str | None = "0.25", **about: object) -> list[Entry]:
    return [
        noted(
            name,
            f"t{place}",
            reward,
            setting=KNOWN[name],
            cost_usd=None if cost is None else Decimal(cost),
            **about,  # type: ignore[arg-type]
        )
        for place, reward in enumerate(rewards, start=1)
    ]


def on_one(name: str, rewards: list[float], **about: object) -> list[Entry]:
    return [
        noted(name, "t1", reward, number=number, setting=KNOWN[name], **about)  # type: ignore[arg-type]
        for number, reward in enumerate(rewards, start=1)
    ]


def asked(
    entries: list[Entry], wanted: Wanted = PYTHON, reading: Reading = READING
) -> tuple[Suggestion, str | None, str | None, str]:
    """With the names of what is named and of what is cheapest, and the text."""
    found = standing(entries)
    labels = labels_of(found, reading)
    suggestion = suggest(found, wanted, reading)
    named, cheapest = suggestion.named, suggestion.cheapest
    text = "\n".join(suggestion_lines(suggestion, labels))
    return suggestion, named and labels[named], cheapest and labels[cheapest], text


def test_no_evidence_is_said() -> None:
    found, named, _, text = asked(on_tasks("a", [1.0]), Wanted(("cobol",)))
    assert (found.verdict, named) == ("none", None)
    assert text == "There is no evidence: nothing in the log counts on tasks tagged cobol."
    assert asked([], Wanted(("x",), TASK))[0].basis == "t1"


def test_what_does_not_count_is_no_evidence() -> None:
    invalid = noted("a", reward=1.0, validity="INVALID", invalid_because=("x",))
    assert asked([invalid])[0].verdict == "none"


def test_one_that_was_tried_alone_is_said_and_not_suggested() -> None:
    found, named, _, text = asked(on_tasks("a", [1.0] * 10))
    assert (found.verdict, named) == ("one tried", None)
    assert text == "Only a has been tried on tasks tagged python: there is nothing to compare it with."


def test_the_better_of_two_is_named_with_what_shows_it() -> None:
    found, named, _, text = asked(on_tasks("b", [0.5] * 8) + on_tasks("a", [1.0] * 8))
    assert (found.verdict, named) == ("named", "a")
    assert found.compared[0].p == pytest.approx(2 / 2**8)
    assert text == (
        "a: better on tasks tagged python than 1 other configuration tried there.\n"
        "a less b: +50.0 points, p = 0.008, 8 tasks."
    )


def test_fewer_tasks_than_can_show_anything_name_nothing() -> None:
    few = MIN_TASKS - 1
    found, named, _, text = asked(on_tasks("a", [1.0] * few) + on_tasks("b", [0.0] * few))
    assert (found.verdict, named) == ("not told apart", None)
    assert "Tried too seldom to be compared, on fewer than 6 tasks: a, b." in text
    assert asked(on_tasks("a", [1.0] * MIN_TASKS) + on_tasks("b", [0.0] * MIN_TASKS))[1] == "a"


def test_tasks_count_and_not_the_attempts_at_them() -> None:
    often = [
        noted(name, f"t{task}", reward, number=attempt, setting=KNOWN[name])
        for name, reward in (("a", 1.0), ("b", 0.0))
        for task in range(3)
        for attempt in range(1, 10)
    ]
    found = asked(list(often))[0]
    assert (found.verdict, found.contenders, len(found.others)) == ("not told apart", (), 2)


def test_the_best_must_be_better_than_each() -> None:
    """b cannot be told from a; c is worse than both: neither a nor b is named, and the cheaper is said."""
    a = [0.9, 0.8, 1.0, 0.9, 0.7, 0.9, 1.0, 0.8, 0.9, 1.0]
    b = [0.8, 0.9, 0.9, 1.0, 0.8, 0.8, 0.9, 0.9, 0.8, 1.0]
    entries = (
        on_tasks("a", a, cost="1.00") + on_tasks("b", b, cost="0.10") + on_tasks("c", [0.1] * 10, cost="0")
    )
    found, named, cheapest, text = asked(entries)
    assert (found.verdict, named, cheapest) == ("not told apart", None, "b")
    assert "Of those to which none is better, b costs least." in text


def test_the_cheapest_is_not_said_where_a_cost_is_not_known_or_the_same() -> None:
    a, b = [0.9, 0.8, 1.0, 0.9, 0.7, 0.9], [0.8, 0.9, 0.9, 1.0, 0.8, 0.8]
    assert asked(on_tasks("a", a, cost=None) + on_tasks("b", b))[2] is None
    assert asked(on_tasks("a", a) + on_tasks("b", b))[2] is None
    assert asked(on_tasks("a", a, cost="0.2") + on_tasks("b", b))[2] == "a"
    assert asked(on_tasks("a", a, cost="0.2") + on_tasks("b", b) + on_tasks("c", a, cost=None))[2] is None


def test_better_than_one_that_is_better_is_not_better() -> None:
    """a has the highest mean and is beaten by nobody; b is better than c; a and c cannot be told apart."""
    entries = on_tasks("a", [1.0] * 6 + [0.0] * 4, cost="3") + on_tasks("b", [0.5] * 10, cost="2")
    found, named, cheapest, _ = asked(entries + on_tasks("c", [0.1] * 10, cost="1"))
    assert [(one.p or 1) < 0.05 for one in found.compared] == [False, False, True]
    assert (named, cheapest) == (None, "b")


def test_a_contender_that_tried_other_tasks_leaves_it_open() -> None:
    elsewhere: list[Entry] = [noted("c", f"u{place}", 0.0, setting=KNOWN["c"]) for place in range(MIN_TASKS)]
    found, named, _, text = asked(on_tasks("a", [1.0] * 8) + on_tasks("b", [0.0] * 8) + elsewhere)
    assert (found.verdict, named) == ("not told apart", None)
    assert "a less c: they have no task in common." in text


def test_the_task_itself_goes_before_its_tags() -> None:
    """On the other tasks b is better by far; on this one a."""
    elsewhere = on_tasks("b", [0.0, *[1.0] * 8]) + on_tasks("a", [1.0, *[0.0] * 8])
    here: list[Entry] = [
        noted(name, "t1", reward, number=number, setting=KNOWN[name])
        for name, reward in (("a", 1.0), ("b", 0.0))
        for number in range(1, MIN_TRIALS + 1)
    ]
    found, named, _, _ = asked(elsewhere + here, Wanted(("python",), TASK))
    assert (found.basis, named) == ("t1 itself", "a")
    found, named, _, _ = asked(elsewhere, Wanted(("python",), TASK))
    assert (found.basis, named) == ("tasks tagged python", "b")


def test_trials_of_one_task_are_permuted() -> None:
    found, named, _, text = asked(on_one("a", [1.0] * 4) + on_one("b", [0.0] * 4), Wanted((), TASK))
    assert named == "a"
    assert found.compared[0].p == pytest.approx(2 / 70)
    assert "p = 0.029, 8 trials." in text
    three = asked(on_one("a", [1.0] * 3) + on_one("b", [0.0] * 3), Wanted((), TASK))
    assert three[0].verdict == "not told apart"


def test_many_trials_of_one_task_are_permuted_by_drawing() -> None:
    entries = on_one("a", [1.0] * 20) + on_one("b", [0.0] * 20)
    assert asked(entries, Wanted((), TASK))[0].compared[0].p == pytest.approx(1 / 4001)


def test_tags_together_go_before_one_and_the_rare_before_the_common() -> None:
    rare, common = ("python", "xml"), ("python",)
    entries: list[Entry] = []
    for place in range(8):
        for name, on_rare in (("a", 1.0), ("b", 0.0)):
            entries.append(noted(name, f"r{place}", on_rare, setting=KNOWN[name], tags=rare))
            entries.append(noted(name, f"c{place}", 1 - on_rare, setting=KNOWN[name], tags=common))
    assert asked(entries, Wanted(("python", "xml")))[0].basis == "tasks tagged python, xml"
    found, named, _, _ = asked(entries, Wanted(("python", "xml", "cobol")))
    assert (found.basis, named) == ("tasks tagged xml", "a")


def test_too_old_is_left_out_and_said() -> None:
    old = on_tasks("a", [1.0] * 8, age_days=300) + on_tasks("b", [0.0] * 8, age_days=300)
    found, _, _, text = asked(old)
    assert (found.verdict, found.too_old) == ("none", 16)
    assert "Left out as too old: 16 trials, more than 3 half-lives." in text
    assert asked(old, reading=Reading(NOW_S, None))[1] == "a"


def test_older_differences_weigh_less() -> None:
    """Eight tasks of long ago speak for b, eight of today for a; unweighed it would be a draw."""
    entries: list[Entry] = []
    for place in range(8):
        for name, new in (("a", 1.0), ("b", 0.0)):
            entries.append(noted(name, f"n{place}", new, setting=KNOWN[name]))
            entries.append(noted(name, f"o{place}", 1 - new, setting=KNOWN[name], age_days=260))
    weighed = asked(entries)[0].compared[0].difference
    ageless = asked(entries, reading=Reading(NOW_S, None))[0].compared[0].difference
    assert weighed == pytest.approx((8 - 8 * 0.5 ** (260 / 90)) / (8 + 8 * 0.5 ** (260 / 90)))
    assert ageless == pytest.approx(0.0)


def test_chance_alone_is_seldom_suggested() -> None:
    """Two configurations that are alike, 200 logs: at most 5 in 100 name one, and a bit for luck."""
    dice = random.Random(7)
    named = 0
    for _ in range(200):
        entries: list[Entry] = []
        for name in ("a", "b"):
            entries += on_tasks(name, [dice.random() for _ in range(8)])
        named += asked(entries)[1] is not None
    assert 0 < named <= 18


def test_the_more_are_compared_the_more_it_takes() -> None:
    """2/64 is enough for one comparison, and not for three."""
    two = on_tasks("a", [1.0] * 6) + on_tasks("b", [0.0] * 6)
    assert asked(two)[1] == "a"
    found, named, _, _ = asked(two + on_tasks("c", [0.0] * 6))
    assert named is None
    assert found.compared[0].p == pytest.approx(6 / 64)


def test_order_changes_nothing() -> None:
    entries = on_tasks("a", [0.9, 0.7, 0.3, 0.8, 1.0, 0.6, 0.77]) + on_tasks(
        "b", [0.1, 0.3, 0.2, 0.7, 0.6, 0.5, 0.1]
    )
    expected = asked(entries)
    for seed in range(5):
        random.Random(seed).shuffle(entries)
        assert asked(entries) == expected
