"""Maps of reward against dollars, seconds and joules, and what one more point of reward costs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from bench.reports.cost_map import maps_of_tag
from bench.reports.joining import joined
from bench.reports.json_report import from_json, to_json
from bench.reports.markdown import to_markdown
from bench.reports.report import Axis, CostMap, Mean, Report
from bench.reports.terminal import to_terminal
from bench.reports.words import joules
from bench.reports.worth import Rival, price, ratio_of_means
from bench.results import Manifest, TrialResult
from tests.bench.report_results import job, not_run, report, result

TASKS = tuple(f"t{n}" for n in range(1, 9))


def suite(
    name: str, reward: float, usd: float | None = 1.0, tasks: tuple[str, ...] = TASKS, **about: Any
) -> list[TrialResult]:
    cost = None if usd is None else Decimal(str(usd))
    return [result(name, task, reward=reward, cost_usd=cost, **about) for task in tasks]


def the(axis: Axis, found: Report, tag: str = "") -> CostMap:
    return next(one for one in found.maps if (one.axis, one.tag) == (axis, tag))


def places(found: CostMap) -> dict[str, tuple[float, float]]:
    return {point.configuration: (point.amount.value, point.reward.value) for point in found.points}


# --- points -----------------------------------------------------------------------------------------------


def test_a_point_is_the_mean_over_tasks_of_what_counts() -> None:
    """t1: (1 + 3) / 2 = 2 dollars; t2: 4. A trial that is no evidence is not on the map."""
    found = report(
        result("a", "t1", 1, reward=1.0, cost_usd=Decimal(1), energy_j=10.0, wall_s=9.0, waited_s=4.0),
        result("a", "t1", 2, reward=0.0, cost_usd=Decimal(3), energy_j=30.0, wall_s=9.0, waited_s=4.0),
        result("a", "t2", 1, reward=1.0, cost_usd=Decimal(4), energy_j=40.0, wall_s=9.0, waited_s=4.0),
        not_run("a", "t2", 2),
    )
    assert places(the("usd", found)) == {"a": (3.0, 0.75)}
    assert places(the("s", found)) == {"a": (5.0, 0.75)}
    assert places(the("j", found)) == {"a": (30.0, 0.75)}
    assert the("usd", found).points[0].amount.n == 3


def test_all_points_are_of_the_same_tasks() -> None:
    """The one that was spared the dear task would look cheap."""
    found = the("usd", report(*suite("a", 0.5), result("a", "dear", cost_usd=Decimal(99)), *suite("b", 0.5)))
    assert places(found) == {"a": (1.0, 0.5), "b": (1.0, 0.5)}
    assert (len(found.tasks), found.tasks_in_all) == (8, 9)


def test_who_has_few_of_the_tasks_is_left_out_rather_than_the_tasks() -> None:
    found = the("usd", report(*suite("a", 0.5), *suite("b", 0.5), *suite("few", 0.5, tasks=TASKS[:3])))
    assert len(found.tasks) == 8
    assert [(one.configuration, one.why) for one in found.unplaced] == [
        ("few", "it has trials that count at 3 of 8 tasks")
    ]


def test_what_is_not_known_is_said_and_not_drawn() -> None:
    found = report(*suite("a", 0.5), *suite("b", 0.5, None), not_run("c"))
    assert list(places(the("usd", found))) == ["a"]
    assert [(one.configuration, one.why) for one in the("usd", found).unplaced] == [
        ("b", "cost is known of 0 of 8 trials"),
        ("c", "no trial of it counts"),
    ]
    assert {one.why for one in the("j", found).unplaced} == {
        "energy is known of 0 of 8 trials",
        "no trial of it counts",
    }
    assert list(places(the("s", found))) == ["a", "b"]


def test_what_asks_no_model_is_on_no_map() -> None:
    oracle = Manifest(hotseat="0", harness="oracle", harness_version="")
    assert report(*suite("o", 1.0, manifest=oracle)).maps == ()
    assert list(places(the("usd", report(*suite("o", 1.0, manifest=oracle), *suite("a", 0.5))))) == ["a"]


def test_what_nothing_checked_is_on_no_map() -> None:
    assert report(*suite("a", 1.0, scores={"unverified": 1.0})).maps == ()


def test_nobody_has_a_task_in_common() -> None:
    found = the("usd", report(*suite("a", 0.5, tasks=TASKS[:4]), *suite("b", 0.5, tasks=TASKS[4:])))
    assert (found.points, found.front, found.worth) == ((), (), ())
    assert len(found.unplaced) == 2


# --- tags -------------------------------------------------------------------------------------------------


def test_each_tag_of_several_tasks_has_its_maps() -> None:
    """ "py" is all of them, "one" is a single task, and two tags of the same tasks are one."""
    trials = [
        result(
            "a",
            task,
            tags=("py", *(("bugs", "old") if task < "t4" else ()), *(("one",) if task == "t8" else ())),
        )
        for task in TASKS
    ]
    found = report(*trials)
    assert [(one.tag, one.axis, len(one.tasks)) for one in found.maps] == [
        (tag, axis, n) for tag, n in (("", 8), ("bugs, old", 3)) for axis in ("usd", "s", "j")
    ]
    trials_there = joined([job(trials)]).trials
    assert [one.tasks for one in maps_of_tag(trials_there, "one", 0)][:1] == [("t8",)]
    assert maps_of_tag(trials_there, "none", 0) == ()
    assert maps_of_tag(trials_there, "", 0)[0] == the("usd", found)


# --- the front --------------------------------------------------------------------------------------------


def test_the_front_has_whom_nobody_beats_and_the_others_are_named_with_who_does() -> None:
    found = the(
        "usd",
        report(
            *suite("dear", 0.9, 9.0),
            *suite("worse", 0.8, 9.0),
            *suite("cheap", 0.2, 1.0),
            *suite("twin", 0.2, 1.0),
            *suite("idle", 0.1, 2.0),
        ),
    )
    beaten = {point.configuration: [one.by for one in point.beaten] for point in found.points}
    assert beaten == {"dear": [], "worse": ["dear"], "cheap": [], "twin": [], "idle": ["cheap", "twin"]}
    assert found.front == ("cheap", "twin", "dear")


def test_beaten_clearly_is_so_within_the_intervals_of_both() -> None:
    sure = report(*suite("a", 0.9, 1.0), *suite("b", 0.5, 2.0))
    assert [[one.is_clear for one in point.beaten] for point in the("usd", sure).points] == [[], [True]]
    noisy = [
        result(name, task, reward=reward, cost_usd=Decimal(usd))
        for name, usd, rewards in (("a", 1, (0, 1) * 4), ("b", 2, (1, 0, 1, 0, 1, 0, 0, 0)))
        for task, reward in zip(TASKS, rewards, strict=True)
    ]
    assert [[one.is_clear for one in point.beaten] for point in the("usd", report(*noisy)).points] == [
        [],
        [False],
    ]
    few = report(*suite("a", 0.9, 1.0, TASKS[:5]), *suite("b", 0.5, 2.0, TASKS[:5]))
    assert [[one.is_clear for one in point.beaten] for point in the("usd", few).points] == [[], [False]]


# --- is it worth it? --------------------------------------------------------------------------------------


def test_a_point_costs_the_extra_dollars_by_the_extra_points() -> None:
    """50 points for 2 dollars: 4 cents each."""
    [worth] = the("usd", report(*suite("cheap", 0.25, 1.0), *suite("dear", 0.75, 3.0))).worth
    assert (worth.dear, worth.cheap, worth.answer) == ("dear", "cheap", "more for more")
    assert (worth.points, worth.extra, worth.tasks, worth.n_dear, worth.n_cheap) == (50.0, 2.0, 8, 8, 8)
    assert worth.per_point == pytest.approx(0.04)
    assert worth.sentence == (
        "Is dear worth it where cheap would do? It gets more: +50.0 points for $2.00 more a trial; p = 0.008,"
        " 8 tasks, 8 and 8 trials. A point costs $0.04 (95 % $0.04 to $0.04)."
    )


def test_what_cannot_be_told_is_not_known() -> None:
    few = the("usd", report(*suite("cheap", 0.25, 1.0, TASKS[:5]), *suite("dear", 0.75, 3.0, TASKS[:5])))
    [worth] = few.worth
    assert (worth.answer, worth.per_point, worth.at_least) == ("not known", None, None)
    assert "Not known: +50.0 points for" in worth.sentence
    assert "fewer than 6 tasks can show none" in worth.sentence
    [alike] = the("usd", report(*suite("cheap", 0.5, 1.0), *suite("dear", 0.5, 3.0))).worth
    assert (alike.answer, alike.per_point) == ("not known", None)


def test_where_it_is_not_known_the_better_end_says_what_a_point_costs_at_least() -> None:
    rewards = {"cheap": (0.5,) * 8, "dear": (0.9, 0.1, 0.9, 0.5, 0.9, 0.1, 0.5, 0.9)}
    trials = [
        result(name, task, reward=reward, cost_usd=Decimal(1 if name == "cheap" else 3))
        for name, found in rewards.items()
        for task, reward in zip(TASKS, found, strict=True)
    ]
    [worth] = the("usd", report(*trials)).worth
    assert worth.answer == "not known"
    assert worth.at_least == pytest.approx(2 / worth.points_interval.high)
    assert "At the better end of that interval a point costs $" in worth.sentence


def test_less_for_more_is_no() -> None:
    [worth] = the("usd", report(*suite("cheap", 0.75, 1.0), *suite("dear", 0.25, 3.0))).worth
    assert worth.answer == "no more for more"
    assert worth.sentence.startswith("Is dear worth it where cheap would do? No, it gets less: -50.0 points")


def test_each_is_asked_about_against_the_best_of_those_that_take_less() -> None:
    found = the(
        "usd",
        report(*suite("a", 0.1, 1.0), *suite("b", 0.5, 2.0), *suite("c", 0.4, 3.0), *suite("d", 0.9, 4.0)),
    )
    assert [(worth.dear, worth.cheap) for worth in found.worth] == [("b", "a"), ("c", "b"), ("d", "b")]


def test_p_is_adjusted_for_all_questions_of_a_map() -> None:
    """Exact p of eight tasks that all go one way: 2/256, times the two questions."""
    found = the("usd", report(*suite("a", 0.1, 1.0), *suite("b", 0.5, 2.0), *suite("c", 0.9, 3.0)))
    assert [worth.p for worth in found.worth] == [pytest.approx(4 / 256)] * 2


def test_the_same_amount_is_no_question() -> None:
    assert the("usd", report(*suite("a", 0.1, 0.0), *suite("b", 0.9, 0.0))).worth == ()


def test_a_false_price_is_rare() -> None:
    """Two that are alike in reward: with 5 % allowed, 40 suites seldom give more than 6."""
    dice = random.Random(5)
    wrong = 0
    for _ in range(40):
        trials = [
            result(name, task, reward=dice.choice((0.0, 1.0)), cost_usd=Decimal(usd))
            for name, usd in (("cheap", 1), ("dear", 2))
            for task in TASKS
        ]
        [worth] = maps_of_tag(joined([job(trials)]).trials, "", 0)[0].worth
        wrong += worth.answer != "not known"
    assert wrong <= 6


def rival(name: str, rewards: list[float], amounts: list[float]) -> Rival:
    mean = Mean(0.0, None, len(rewards), len(rewards))
    tasks = [f"t{n}" for n in range(len(rewards))]
    return Rival(
        name,
        {task: [reward] for task, reward in zip(tasks, rewards, strict=True)},
        {task: [amount] for task, amount in zip(tasks, amounts, strict=True)},
        mean,
        mean,
    )


@pytest.mark.parametrize("n", [6, 12])
def test_the_interval_of_a_price_holds_the_true_one(n: int) -> None:
    """True price: 0.10 dollars for a point. 400 samples: within 0.95 ± 0.03; the percentile bootstrap held it
    in 0.85 of those of 6 tasks, and in 0.91 of 12."""
    generator = np.random.default_rng(3)
    samples = [(generator.normal(3, 1, n), generator.normal(30, 10, n)) for _ in range(400)]
    found = [ratio_of_means(extras, gains) for extras, gains in samples]
    held = np.mean([one is None or one.holds(0.1) for one in found])
    assert 0.92 <= held <= 0.98
    assert sum(one is None for one in found) < 20


@pytest.mark.parametrize("n", [6, 12])
def test_the_interval_of_what_is_paid_more_holds_the_true_one(n: int) -> None:
    dice = random.Random(4)
    held = 0
    for sample in range(200):
        extras = [dice.gauss(3.0, 1.0) for _ in range(n)]
        held += price(
            rival("d", extras, extras), rival("c", [0.0] * n, [0.0] * n), sample
        ).extra_interval.holds(3)
    assert 182 <= held <= 198


def test_fiellers_interval_by_hand() -> None:
    """Two pairs: t = 12.706; with s_aa = 2, s_bb = s_ab = 0 it is b/a ± t·√(s_aa/2)/a."""
    found = ratio_of_means(np.array([99.0, 101.0]), np.array([50.0, 50.0]))
    assert found is not None
    assert found.low == pytest.approx(2 - 12.706 / 50, abs=1e-4)
    assert found.high == pytest.approx(2 + 12.706 / 50, abs=1e-4)
    assert ratio_of_means(np.array([1.0]), np.array([1.0])) is None


def test_rewards_and_amounts_are_of_the_same_tasks() -> None:
    """Where the reward is what was paid for, a point always costs the same: were they taken apart, not."""
    gains = [0.1, 0.9, 0.2, 0.8, 0.4, 0.6]
    found = price(rival("d", gains, [100 * gain for gain in gains]), rival("c", [0.0] * 6, [0.0] * 6), 1)
    assert found.per_point == pytest.approx(1.0)
    assert found.per_point_interval is not None
    assert found.per_point_interval.low == pytest.approx(1.0)
    assert found.per_point_interval.high == pytest.approx(1.0)


def test_a_price_without_an_upper_end_has_none() -> None:
    found = price(rival("d", [0.9, 0.1] * 4, [2.0] * 8), rival("c", [0.5] * 8, [1.0] * 8), 1)
    assert (found.per_point_interval, found.extra) == (None, 1.0)


# --- how it is said ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [lambda found: to_terminal(found, 110), to_markdown])
def test_every_form_has_the_map_and_the_answer(written: Callable[[Report], str]) -> None:
    tags = {"tags": ("bugs",)}
    trials = suite("cheap", 0.25, 1.0) + suite("dear", 0.75, 3.0)
    trials += [
        *suite("cheap", 0.25, 1.0, ("u1", "u2"), **tags),
        *suite("dear", 0.75, 3.0, ("u1", "u2"), **tags),
    ]
    text = written(report(*trials, *suite("blind", 0.5, None)))
    for said in (
        "Is dear worth it where cheap would do? It gets more",
        "bugs (2)",
        "$0.04",
        "nobody: on the front",
    ):
        assert said in text.replace("\\", "").replace("\n  ", " "), said
    assert "Not on the map by dollars: blind (cost is known of 0 of 8 trials)" in text.replace("\\", "")


def test_json_has_all_of_it() -> None:
    found = report(*suite("cheap", 0.25, 1.0), *suite("dear", 0.75, 3.0))
    assert from_json(to_json(found)).maps == found.maps
    assert all(math.isfinite(worth.p) for one in found.maps for worth in one.worth)


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0 J"), (0.042, "0.042 J"), (9.4, "9.4 J"), (40, "40 J"), (7200, "2.0 Wh")]
)
def test_joules(value: float, said: str) -> None:
    assert joules(value) == said
