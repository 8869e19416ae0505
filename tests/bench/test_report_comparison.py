"""Who is better, dearer, slower; and several jobs as one."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from bench.power import ASSUMED, detectable_difference
from bench.reports.recomputed import report_of
from bench.results import Manifest, TrialResult
from tests.bench.report_results import job, not_run, report, result

TASKS = [f"t{number}" for number in range(1, 8)]


def suite(configuration: str, reward: float, **changes: Any) -> list[TrialResult]:
    return [result(configuration, task, reward=reward, **changes) for task in TASKS]


def test_a_sentence_for_every_pair_adjusted_by_holm() -> None:
    """Seven tasks that all differ the same way: p = 2 · 2^-7, times the number of pairs that are left."""
    found = report(*suite("a", 0.9), *suite("b", 0.5), *suite("c", 0.5))
    assert [(pair.comparison.a, pair.comparison.b, pair.comparison.outcome) for pair in found.pairs] == [
        ("a", "b", "better"),
        ("a", "c", "better"),
        ("b", "c", "no detectable difference"),
    ]
    assert found.pairs[0].comparison.p == pytest.approx(3 * 2**-6)
    assert found.pairs[0].sentence.startswith("a is better than b (+40.0 points")


def test_five_tasks_can_show_nothing_and_the_report_says_so() -> None:
    found = report(*suite("a", 1.0)[:5], *suite("b", 0.0)[:5])
    assert found.design is not None
    assert (found.design.tasks, found.design.attempts, found.design.by_assumed) == (5, 1, None)
    assert "no difference of rewards can be found, however large; that takes 6 tasks" in found.design.sentence
    assert found.pairs[0].comparison.outcome == "no detectable difference"
    assert found.pairs[0].detectable is None


def test_the_design_is_of_the_tasks_that_all_have_and_the_fewest_attempts() -> None:
    trials = suite("a", 0.5) + suite("a", 0.7, attempt=2) + suite("b", 0.5) + suite("b", 0.9, attempt=2)
    trials += [result("a", "t8"), result("b", "t1", attempt=3)]
    found = report(*trials).design
    assert found is not None
    assert (found.tasks, found.attempts) == (7, 2)
    assert found.by_assumed == detectable_difference(7, 2, ASSUMED)
    assert found.by_seen is not None
    assert f"{100 * found.by_seen:.0f} points as they varied here" in found.sentence


def test_no_spread_is_invented_where_all_came_out_alike() -> None:
    found = report(
        *suite("a", 0.5), *suite("a", 0.5, attempt=2), *suite("b", 0.5), *suite("b", 0.5, attempt=2)
    )
    assert found.design is not None
    assert found.design.by_seen is None
    assert found.pairs[0].detectable == detectable_difference(7, 2, ASSUMED)


def test_one_configuration_has_no_design() -> None:
    assert report(result()).design is None


def test_oracle_and_nop_compete_with_nobody() -> None:
    """Holm would make every other p larger for them."""
    oracle = Manifest(hotseat="0", harness="oracle", harness_version="")
    trials = suite("a", 0.9) + suite("b", 0.5) + suite("o", 1.0, manifest=oracle)[:3]
    found = report(*trials)
    assert [(pair.comparison.a, pair.comparison.b) for pair in found.pairs] == [("a", "b")]
    assert found.design is not None
    assert found.design.tasks == 7
    assert {point.configuration for map_ in found.maps for point in map_.points} == {"a", "b"}
    asked = report_of([job(trials)], [((0, "o"), (0, "a"))])
    assert [pair.comparison.a for pair in asked.pairs] == ["o"]


# --- ratios -------------------------------------------------------------------------------------------


def test_a_ratio_is_the_geometric_mean_over_tasks_with_a_t_interval() -> None:
    """2/1 and 8/1: ln 4 ± 12.706 · ln 2 (one degree of freedom)."""
    found = report(
        result("a", "t1", cost_usd=Decimal(2)),
        result("a", "t2", cost_usd=Decimal(8)),
        result("b", "t1", cost_usd=Decimal(1)),
        result("b", "t2", cost_usd=Decimal(1)),
    )
    ratio = next(ratio for ratio in found.ratios if ratio.measure == "cost")
    assert ratio.ratio == pytest.approx(4.0)
    assert ratio.interval is not None
    assert ratio.interval.low == pytest.approx(4 * math.exp(-12.7062 * math.log(2)), rel=1e-4)
    assert ratio.interval.high == pytest.approx(4 * math.exp(12.7062 * math.log(2)), rel=1e-4)
    assert ratio.sentence.startswith("a and b: no detectable difference in cost (4.00 ×, 95 % interval ")


def test_both_clocks_have_a_ratio_and_a_direction() -> None:
    found = report(*suite("a", 0.5, wall_s=30.0, waited_s=20.0), *suite("b", 0.5, wall_s=10.0, waited_s=5.0))
    said = {ratio.measure: ratio.sentence for ratio in found.ratios}
    assert said["wall"] == "a takes longer than b (3.00 ×, 95 % interval 3.00 to 3.00, 7 tasks)"
    assert said["active"] == "a is active for longer than b (2.00 ×, 95 % interval 2.00 to 2.00, 7 tasks)"
    assert said["cost"].startswith("a and b: no detectable difference in cost (1.00 ×")
    other = report(*suite("a", 0.5, wall_s=10.0), *suite("b", 0.5, wall_s=30.0))
    assert "a is faster than b (0.33 ×" in {r.measure: r.sentence for r in other.ratios}["wall"]


def test_an_unknown_cost_is_no_ratio() -> None:
    found = report(result("a", cost_usd=None), result("b"))
    cost = next(ratio for ratio in found.ratios if ratio.measure == "cost")
    assert (cost.ratio, cost.interval) == (None, None)
    assert cost.sentence == "a and b: no ratio of cost, a has 1 trial of unknown cost"


def test_no_cost_at_all_is_no_ratio() -> None:
    found = report(result("a"), result("b", cost_usd=Decimal(0)))
    cost = next(ratio for ratio in found.ratios if ratio.measure == "cost")
    assert cost.sentence == "a and b: no ratio of cost, b has trials of no cost at all"


def test_an_unknown_cost_at_a_task_that_only_one_has_does_not_matter() -> None:
    found = report(result("a"), result("a", "t2", cost_usd=None), result("b"))
    cost = next(ratio for ratio in found.ratios if ratio.measure == "cost")
    assert cost.ratio == 1.0


def test_one_task_gives_no_interval() -> None:
    wall = next(
        ratio for ratio in report(result("a", wall_s=20.0), result("b")).ratios if ratio.measure == "wall"
    )
    assert wall.ratio == pytest.approx(2.0)
    assert wall.interval is None
    assert wall.sentence == "a and b: 2.00 × the wall time, on one task, which gives no interval"


# --- several jobs -------------------------------------------------------------------------------------


def test_what_cannot_be_compared_is_said() -> None:
    found = report(result("a", "t1"), result("b", "t2"), not_run("c"))
    assert not found.pairs
    assert not found.ratios
    assert found.design is None
    said = "a and b cannot be compared: no task has trials of both that count."
    assert said in found.notes
    assert any(note.startswith("a and c cannot be compared") for note in found.notes)


def test_what_nothing_checked_is_no_success_and_is_compared_with_nobody() -> None:
    """A race without checks: whoever changed something has the reward 1."""
    unverified: dict[str, Any] = {"scores": {"unverified": 1.0}, "reward": 1.0}
    found = report(
        *(result(name, f"t{n}", **unverified) for name in "ab" for n in range(8)),
        result("b", "checked", reward=1.0),
    )
    a, b = found.configurations
    assert (a.reward, a.success.count, a.success.n, a.counted, a.pass_at) == (None, 0, 0, 0, {})
    assert (b.success.count, b.success.n, b.cost.per_success_usd) == (1, 1, Decimal("2.25"))
    assert a.excluded == {"unverified": 8}
    assert a.wall is not None  # how long it took is known all the same
    assert found.excluded[0].reasons == ("nothing checked what it made",)
    assert (found.pairs, found.ratios, found.design) == ((), (), None)
    assert "a and b cannot be compared: no task has trials of both that count." in found.notes
    assert {view.reward for view in found.trials if view.configuration == "a"} == {None}


def test_configurations_of_one_name_are_told_apart_by_their_jobs() -> None:
    found = report_of([job([result("a"), result("b")], "one"), job([result("a", reward=1.0)], "two")])
    assert [summary.name for summary in found.configurations] == ["b", "one/a", "two/a"]
    assert "More than one job has a configuration a: the job stands before the name." in found.notes
    assert found.title == "one, two"


def test_two_folders_of_one_name() -> None:
    found = report_of([job([result("a")], "x"), job([result("a")], "x")])
    assert [summary.name for summary in found.configurations] == ["x-2/a", "x/a"]


def test_versions_of_a_task_are_not_mixed() -> None:
    old, new = result("a", task_digest="1" * 64), result("b", task_digest="2" * 64, reward=1.0)
    found = report_of([job([old], "one"), job([new], "two")])
    assert [row.task for row in found.tasks] == ["t1 [11111111]", "t1 [22222222]"]
    assert "t1 has results of 2 versions of its files: they are not mixed, each is a task." in found.notes
    assert found.pairs == ()


def test_only_the_pairs_that_are_wanted() -> None:
    """Two pairs of seven tasks each: Holm multiplies the first by two, not by the six of all pairs."""
    before = job(suite("a", 0.5) + suite("b", 0.5), "before")
    after = job(suite("a", 0.9) + suite("b", 0.5), "after")
    found = report_of([before, after], [((1, "a"), (0, "a")), ((1, "b"), (0, "b"))])
    assert [(pair.comparison.a, pair.comparison.b) for pair in found.pairs] == [
        ("after/a", "before/a"),
        ("after/b", "before/b"),
    ]
    assert found.pairs[0].comparison.p == pytest.approx(2 * 2**-6)
    assert found.pairs[0].comparison.outcome == "better"
