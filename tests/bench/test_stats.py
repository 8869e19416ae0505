"""Statistics by known values, and by what they promise: over many simulated suites."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from bench.power import (
    MIN_TASKS,
    Spread,
    TrialCost,
    detectable_difference,
    estimate,
    spread_of,
    tasks_needed,
)
from bench.stats import (
    Suite,
    clopper_pearson,
    difference_interval,
    holm,
    mean_reward,
    paired_permutation,
    pass_at_k,
    pass_power_k,
    ratio_interval,
    suite_interval,
    wilson,
)
from bench.verdicts import Comparison, compare_all

TASKS, ATTEMPTS = 10, 5


def suite(
    generator: np.random.Generator, better_by: float = 0.0, tasks: int = TASKS
) -> dict[str, tuple[float, ...]]:
    """Graded rewards: tasks of all difficulties, attempts that differ by about a quarter."""
    levels = np.random.default_rng(7).uniform(0.2, 0.8, size=tasks)
    return {
        f"task-{index}": tuple(np.clip(level + better_by + generator.normal(0, 0.25, ATTEMPTS), 0, 1))
        for index, level in enumerate(levels)
    }


def test_none_of_seven_is_not_nought() -> None:
    assert wilson(0, 7).low == 0
    assert wilson(0, 7).high == pytest.approx(0.354, abs=0.001)
    assert clopper_pearson(0, 7).high == pytest.approx(0.410, abs=0.001)
    assert wilson(7, 7).high == 1
    assert wilson(0, 0).high == clopper_pearson(0, 0).high == 1


def test_wilson_by_its_formula() -> None:
    n, x, z = 20, 13, 1.959964
    centre = (x + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(x * (n - x) / n + z * z / 4)
    assert wilson(x, n).low == pytest.approx(centre - half, abs=1e-6)
    assert wilson(x, n).high == pytest.approx(centre + half, abs=1e-6)


def test_pass_at_k_and_pass_power_k() -> None:
    assert pass_at_k(5, 2, 1) == pass_power_k(5, 2, 1) == pytest.approx(0.4)
    assert pass_at_k(5, 2, 2) == pytest.approx(1 - 3 / 10)
    assert pass_power_k(5, 2, 2) == pytest.approx(1 / 10)
    assert pass_at_k(5, 0, 5) == 0
    assert pass_power_k(5, 4, 5) == 0
    with pytest.raises(ValueError, match="k = 6"):
        pass_at_k(5, 2, 6)


def test_the_permutation_test_is_exact() -> None:
    """Six tasks, all better: two of the 64 ways to flip signs are as extreme."""
    a = {f"t{i}": (0.5 + 0.1 * i,) for i in range(6)}
    b = {f"t{i}": (0.2,) for i in range(6)}
    assert paired_permutation(a, b, 0) == pytest.approx(2 / 64)
    assert paired_permutation(b, a, 0) == pytest.approx(2 / 64)
    assert paired_permutation(a, a, 0) == 1


def test_many_tasks_are_sampled_and_never_give_nought() -> None:
    a, b = ({f"t{i}": (value,) for i in range(40)} for value in (0.9, 0.1))
    assert 0 < paired_permutation(a, b, 0) < 0.001


def test_only_tasks_that_both_have_are_compared() -> None:
    assert paired_permutation({"x": (1.0,), "y": (0.0,)}, {"x": (1.0,)}, 0) == 1
    with pytest.raises(ValueError, match="no task in common"):
        paired_permutation({"x": (1.0,)}, {"y": (1.0,)}, 0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_a_task_tried_more_often_counts_no_more() -> None:
    assert mean_reward({"often": (1.0,) * 9, "once": (0.0,)}) == 0.5


def test_ratios_of_costs() -> None:
    a: Suite = {"x": (2.0, 2.0), "y": (8.0,)}
    b: Suite = {"x": (1.0,), "y": (2.0, 2.0)}
    ratio, interval = ratio_interval(a, b)
    assert ratio == pytest.approx(math.sqrt(8))
    assert interval.low < 2 < 4 < interval.high
    assert ratio_interval({"x": (2.0,)}, {"x": (1.0,)})[1].high == math.inf


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """95 % is what they aim at; few tasks make a bootstrap a little narrow. 300 suites of 20 tasks."""
    generator = np.random.default_rng(3)
    held = 0
    for number in range(300):
        drawn = {f"t{i}": tuple(generator.normal(0.5, 0.1) + generator.normal(0, 0.2, 3)) for i in range(20)}
        held += suite_interval(drawn, number).holds(0.5)
    assert 0.88 <= held / 300 <= 0.99


def test_a_against_a_has_at_most_five_percent_winners() -> None:
    generator = np.random.default_rng(11)
    winners = 0
    for number in range(200):
        pair = {"a": suite(generator), "b": suite(generator)}
        winners += compare_all(pair, number)[0].outcome != "no detectable difference"
    assert winners <= 10


def test_four_alike_have_at_most_five_percent_suites_with_a_winner() -> None:
    """Six comparisons: without Holm it would be about a fifth."""
    generator = np.random.default_rng(12)
    suites = 0
    for number in range(40):
        alike = {name: suite(generator) for name in "abcd"}
        suites += any(c.outcome != "no detectable difference" for c in compare_all(alike, number))
    assert suites <= 3


def test_a_difference_as_large_as_detectable_is_found_as_often_as_promised() -> None:
    generator = np.random.default_rng(13)
    spread = Spread(attempt_sd=0.25, effect_sd=0.0)
    difference = detectable_difference(TASKS, ATTEMPTS, spread)
    assert difference is not None
    found = 0
    for number in range(150):
        levels = generator.uniform(0.3, 0.5, size=TASKS)
        draw = [generator.normal(0, 0.25, (TASKS, ATTEMPTS)) for _ in "ab"]
        a = {f"t{i}": tuple(levels[i] + difference + draw[0][i]) for i in range(TASKS)}
        b = {f"t{i}": tuple(levels[i] + draw[1][i]) for i in range(TASKS)}
        found += compare_all({"a": a, "b": b}, number)[0].outcome == "better"
    assert 0.68 <= found / 150 <= 0.92


def test_too_few_tasks_can_show_nothing() -> None:
    assert detectable_difference(MIN_TASKS - 1, 5) is None
    a, b = ({f"t{i}": (value,) * 3 for i in range(MIN_TASKS - 1)} for value in (1.0, 0.0))
    [comparison] = compare_all({"a": a, "b": b})
    assert comparison.outcome == "no detectable difference"
    assert f"fewer than {MIN_TASKS} tasks can show none" in comparison.sentence()


def test_tasks_needed_and_detectable_difference_agree() -> None:
    for difference in (0.05, 0.1, 0.3):
        needed = tasks_needed(difference, 5)
        assert needed is not None
        found = detectable_difference(needed, 5)
        assert found is not None
        assert found <= difference
        if needed > MIN_TASKS:
            larger = detectable_difference(needed - 1, 5)
            assert larger is not None
            assert larger > difference
    assert tasks_needed(0.0, 5) is None
    assert tasks_needed(1e-7, 5) is None
    assert tasks_needed(0.9, 5, Spread(0.01, 0.0)) == MIN_TASKS


def test_spread_is_measured_from_results() -> None:
    generator = np.random.default_rng(5)
    a, b = suite(generator, tasks=200), suite(generator, tasks=200)
    spread = spread_of(a, b)
    assert spread.attempt_sd == pytest.approx(0.23, abs=0.03)  # clipped at 0 and 1
    assert spread.effect_sd < 0.08
    assert not spread.is_assumed


def comparison(better_by: float) -> Comparison:
    generator = np.random.default_rng(2)
    return compare_all({"new": suite(generator, better_by), "old": suite(generator)})[0]


def test_sentences() -> None:
    assert comparison(0.3).sentence().startswith("new is better than old (+")
    assert comparison(-0.3).sentence().startswith("new is worse than old (-")
    alike = comparison(0.01).sentence()
    assert alike.startswith("new and old: no detectable difference")
    assert "would need" in alike
    (once,) = compare_all({"new": {"t": (1.0,)}, "old": {"t": (0.0,)}})
    assert "(+100.0 points, one trial each, p = 1.000, 1 task; fewer than" in once.sentence()
    (twice,) = compare_all({"new": {"t": (1.0, 1.0)}, "old": {"t": (0.0, 0.5)}})
    assert "95 % interval +50.0 to +100.0" in twice.sentence()


def test_the_interval_of_a_difference_is_paired() -> None:
    """Tasks of all difficulties: unpaired, their spread alone would hide a difference of 0.05."""
    a = {f"t{i}": (i / 20 + 0.05,) for i in range(20)}
    b = {f"t{i}": (i / 20,) for i in range(20)}
    interval = difference_interval(a, b, 0)
    assert interval.low == pytest.approx(0.05)
    assert interval.high == pytest.approx(0.05)


def test_what_a_plan_will_cost() -> None:
    costs = {"a": TrialCost(Decimal("0.25"), 60.0), "b": TrialCost(None, 30.0)}
    plan = estimate(costs, trials_of_each=10, parallel=2)
    assert (plan.trials, plan.usd, plan.wall_s, plan.unknown) == (20, Decimal("2.50"), 300.0, ("b",))
