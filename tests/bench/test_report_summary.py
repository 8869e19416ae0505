"""Every number of a report's summary, worked out by hand."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from bench.reports.report import Finding, NodeRow, Quartiles
from bench.reports.sections import sections
from bench.results import Claimed, Gap, Manifest, Tokens
from bench.stats import Interval
from tests.bench.report_results import HELPER, job, node, not_run, report, result

Z = 1.959964


def wilson(share: float, n: int) -> tuple[Any, Any]:
    """As in Wilson 1927."""
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return pytest.approx(middle - half, abs=1e-6), pytest.approx(middle + half, abs=1e-6)


# --- rewards ------------------------------------------------------------------------------------


def test_the_mean_is_of_tasks_and_not_of_trials() -> None:
    found = report(
        result(reward=1.0),
        result(attempt=2, reward=0.5),
        result(attempt=3, reward=0.0),
        result(task="t2", reward=1.0),
    )
    mean = found.configurations[0].reward
    assert mean is not None
    assert (mean.value, mean.n, mean.tasks) == (0.75, 4, 2)


def test_the_interval_of_two_tasks_that_never_vary_is_from_one_to_the_other() -> None:
    """The bootstrap draws 0, 1/2 or 1 with chances of 1/4, 1/2, 1/4."""
    mean = report(result(reward=0.0), result(task="t2", reward=1.0)).configurations[0].reward
    assert mean is not None
    assert (mean.value, mean.interval) == (0.5, Interval(0.0, 1.0))


def test_solved_is_a_reward_of_one() -> None:
    [found] = report(
        *(result(attempt=n, reward=r) for n, r in enumerate((1.0, 0.99, 1.0, 0.0), 1))
    ).configurations
    assert (found.success.count, found.success.n) == (2, 4)
    assert (found.success.interval.low, found.success.interval.high) == wilson(0.5, 4)


def test_pass_at_k_and_pass_power_k_are_means_over_tasks() -> None:
    """t1: 1 of 3, t2: 2 of 3. pass@2: 1 - C(2,2)/C(3,2) = 2/3, and 1; pass^2: 0, and C(2,2)/C(3,2) = 1/3."""
    trials = [result(attempt=n, reward=r) for n, r in enumerate((1.0, 0.5, 0.0), 1)]
    trials += [result(task="t2", attempt=n, reward=r) for n, r in enumerate((1.0, 1.0, 0.0), 1)]
    [found] = report(*trials).configurations
    assert found.pass_at == {1: pytest.approx(0.5), 2: pytest.approx(5 / 6), 3: 1.0}
    assert found.pass_power == {1: pytest.approx(0.5), 2: pytest.approx(1 / 6), 3: 0.0}


def test_no_k_is_larger_than_the_attempts_that_count() -> None:
    [found] = report(result(), result(attempt=2), not_run(attempt=3), result(task="t2")).configurations
    assert set(found.pass_at) == {1}


def test_no_interval_says_that_all_is_certain() -> None:
    """One attempt, or two tasks alike: the bootstrap would draw the same again and again."""
    [once] = report(result(reward=1.0)).configurations
    assert once.reward is not None
    assert once.reward.interval is not None
    assert (once.reward.interval.low, once.reward.interval.high) == wilson(1.0, 1)
    [twice] = report(result(reward=1.0), result(task="t2", attempt=1, reward=1.0)).configurations
    assert twice.reward is not None
    assert twice.reward.interval is not None
    assert (twice.reward.interval.low, twice.reward.interval.high) == wilson(1.0, 2)


# --- what does not count ----------------------------------------------------------------------------


def test_what_does_not_count_is_counted_and_shown() -> None:
    found = report(
        result(reward=1.0),
        result(attempt=2, reward=0.0, validity="INVALID", invalid_because=("main never answered",)),
        not_run(attempt=3),
        result(attempt=4, reward=None, outcome="verifier-failed", error="test.sh: exit code 3"),
        result(
            attempt=5,
            reward=None,
            outcome="verifier-failed",
            error="x",
            validity="INVALID",
            invalid_because=("y",),
        ),
    )
    [summary] = found.configurations
    assert (summary.trials, summary.valid, summary.counted) == (5, 2, 1)
    assert summary.excluded == {"INVALID": 1, "infrastructure": 1, "verifier-failed": 2}
    assert summary.outcomes == {"infrastructure": 1, "scored": 2, "verifier-failed": 2}
    assert summary.reward is not None
    assert (summary.reward.value, summary.reward.n) == (1.0, 1)
    assert [(e.attempt, e.kind, e.reasons) for e in found.excluded] == [
        (2, "INVALID", ("main never answered",)),
        (3, "infrastructure", ("it could not be run: no server",)),
        (4, "verifier-failed", ("test.sh: exit code 3",)),
        (5, "verifier-failed", ("x", "y")),
    ]
    assert found.notes == ("Left out: 4 of 5 trials, see Validity.",)
    assert (found.tasks[0].cells[0].trials, found.tasks[0].cells[0].counted) == (5, 1)


def test_what_the_reward_would_be_with_what_was_left_out() -> None:
    """t1: 1 counts and one does not; t2: 0.5. Worth 0: (0.5 + 0.5)/2, worth 1: (1 + 0.5)/2."""
    [found] = report(result(reward=1.0), not_run(attempt=2), result(task="t2", reward=0.5)).configurations
    assert found.reward_if_excluded == Interval(0.5, 0.75)
    [whole] = report(result()).configurations
    assert whole.reward_if_excluded is None


def test_an_invalid_trial_is_no_trial_without_a_delegation() -> None:
    valid = [result(attempt=n) for n in range(1, 8)]
    invalid = result(attempt=8, validity="INVALID", invalid_because=("a sub-agent was never answered (404)",))
    [found] = report(*valid, invalid).configurations
    assert (found.delegations.share.count, found.delegations.share.n) == (0, 7)


# --- delegations ------------------------------------------------------------------------------------


def test_no_delegation_of_seven_has_both_upper_bounds() -> None:
    """Wilson: z²/(n+z²) = 35 %. Clopper-Pearson: 1 - 0.025^(1/7) = 41 %."""
    [found] = report(*(result(attempt=n) for n in range(1, 8))).configurations
    assert found.delegations.share.interval.high == pytest.approx(Z**2 / (7 + Z**2), abs=1e-6)
    assert found.delegations.exact_upper == pytest.approx(1 - 0.025 ** (1 / 7))
    assert round(found.delegations.share.interval.high, 2) == 0.35
    assert round(found.delegations.exact_upper or 0, 2) == 0.41


def test_delegations_are_trials_with_one_and_sub_agents_in_all() -> None:
    [found] = report(
        result(delegations=2, brief_chars=(100, 300), return_chars=(10,), parallel_s=1.5),
        result(attempt=2),
        result(attempt=3, delegations=1, brief_chars=(200,), return_chars=(30,), parallel_s=2.0),
    ).configurations
    told = found.delegations
    assert (told.share.count, told.share.n, told.total, told.exact_upper) == (2, 3, 3, None)
    assert told.brief_chars == Quartiles(150.0, 200.0, 250.0, 3)
    assert told.return_chars == Quartiles(15.0, 20.0, 25.0, 2)
    assert told.parallel_s == 3.5


# --- money, clocks, tokens --------------------------------------------------------------------------


def test_money_is_summed_to_the_last_digit_over_all_trials() -> None:
    exact = Decimal("0.1234567890123456789")
    [found] = report(
        result(cost_usd=exact, reward=1.0),
        result(attempt=2, cost_usd=exact, validity="INVALID", invalid_because=("x",)),
    ).configurations
    assert found.cost.total_usd == found.cost.known_usd == Decimal("0.2469135780246913578")
    assert found.cost.unknown_trials == 0
    assert found.cost.per_success_usd == found.cost.total_usd
    assert found.cost.mean is not None
    assert found.cost.mean.value == pytest.approx(0.123456789)
    assert (found.cost.mean.n, found.cost.mean.interval) == (1, None)


def test_one_unknown_cost_makes_the_sum_unknown_and_says_so() -> None:
    [found] = report(result(reward=1.0), result(attempt=2, cost_usd=None, reward=1.0)).configurations
    assert (found.cost.total_usd, found.cost.per_success_usd, found.cost.mean) == (None, None, None)
    assert (found.cost.known_usd, found.cost.unknown_trials) == (Decimal("0.25"), 1)


def test_a_success_costs_what_the_failures_cost_too() -> None:
    [found] = report(result(reward=1.0), result(attempt=2, reward=0.0)).configurations
    assert found.cost.per_success_usd == Decimal("0.50")
    [never] = report(result(reward=0.0)).configurations
    assert never.cost.per_success_usd is None


def test_an_oracle_costs_nothing_because_it_asks_nobody() -> None:
    oracle = Manifest(hotseat="0", harness="oracle", harness_version="")
    [found] = report(result(manifest=oracle, nodes=(), cost_usd=None)).configurations
    assert found.cost.total_usd == 0


def test_both_clocks_are_medians_of_trials_that_count() -> None:
    [found] = report(
        result(wall_s=10.0, waited_s=4.0),
        result(attempt=2, wall_s=20.0, waited_s=0.0),
        result(attempt=3, wall_s=60.0, waited_s=59.0),
        not_run(attempt=4),
    ).configurations
    assert found.wall == Quartiles(15.0, 20.0, 40.0, 3)
    assert found.active == Quartiles(3.5, 6.0, 13.0, 3)


def test_tokens_requests_and_the_cached_share() -> None:
    [found] = report(result(nodes=(node(), HELPER)), result(attempt=2)).configurations
    assert found.tokens == Tokens(input=300, cached=180, output=30, reasoning=12)
    assert found.cached_share == 0.6
    assert (found.requests, found.failed_requests, found.tool_calls) == (6, 0, 3)
    [silent] = report(result(nodes=())).configurations
    assert silent.cached_share is None


def test_the_machine() -> None:
    [found] = report(
        result(swaps=2, peak_vram_bytes=5, energy_j=10.5, findings=("read ../x", "wrote tests/")),
        result(attempt=2, swaps=1, peak_vram_bytes=9, findings=("read ../x",)),
        result(attempt=3, energy_j=1.5),
    ).configurations
    assert (found.swaps, found.peak_vram_bytes) == (3, 9)
    assert found.energy is not None
    assert (found.energy.joules, found.energy.known_trials) == (12.0, 2)
    assert found.findings == (Finding("read ../x", 2), Finding("wrote tests/", 1))
    [none] = report(result()).configurations
    assert (none.energy, none.peak_vram_bytes) == (None, None)


def test_a_machine_that_was_shared_and_answers_that_were_replayed_are_said() -> None:
    tape = result().manifest.model_copy(update={"replay": "friday-smoke"})
    found = report(
        result(peak_vram_bytes=9 * 2**30, neighbours=1, models_vram_bytes=2 * 2**30),
        result(attempt=2, neighbours=3, manifest=tape),
    )
    [one] = found.configurations
    assert (one.neighbours, one.models_vram_bytes, one.replayed) == (3, 2 * 2**30, 1)
    lines = "\n".join(line for section in sections(found) for line in section.lines)
    assert "1 of 2 trials are replays" in lines
    assert "with up to 3 other trials at once; its own models took 2.0 GiB at most" in lines
    keys = {row.key for row in found.manifests}
    assert "providers" in keys


# --- tasks, nodes, claims ---------------------------------------------------------------------------


def test_a_cell_has_the_wilson_interval_of_its_mean_reward() -> None:
    found = report(
        *(result(attempt=n, reward=r, scores={"style": r / 2}) for n, r in enumerate((1.0, 0.5, 0.6), 1)),
        result(configuration="b", reward=1.0, tags=("python",)),
        result(configuration="b", task="t2"),
    )
    assert [row.task for row in found.tasks] == ["t1", "t2"]
    a, b = found.tasks[0].cells
    assert (a.configuration, a.successes) == ("a", 1)
    assert a.reward == pytest.approx(0.7)
    assert a.interval is not None
    assert (a.interval.low, a.interval.high) == wilson(0.7, 3)
    assert a.scores == {"style": pytest.approx(0.35)}
    assert (b.configuration, b.successes) == ("b", 1)
    assert [cell.configuration for cell in found.tasks[1].cells] == ["b"]


def test_a_cell_of_which_nothing_counts_has_no_reward() -> None:
    cell = report(not_run()).tasks[0].cells[0]
    assert (cell.trials, cell.counted, cell.reward, cell.interval) == (1, 0, None, None)


def test_agents_are_added_up_by_role_and_model() -> None:
    nodes = (
        node(),
        HELPER,
        HELPER.model_copy(update={"node": "h2", "cost_usd": None}),
        node(node="?", role="unattributed"),
    )
    found = report(result(nodes=nodes), result(attempt=2, nodes=(node(), HELPER)), result(configuration="b"))
    assert [(row.configuration, row.role, row.trials, row.agents) for row in found.nodes] == [
        ("a", "main", 2, 2),
        ("a", "subagent", 2, 3),
        ("a", "unattributed", 1, 1),
        ("b", "main", 1, 1),
    ]
    assert found.nodes[0] == NodeRow(
        configuration="a",
        role="main",
        model="big",
        upstream="local",
        trials=2,
        agents=2,
        requests=4,
        failed_requests=0,
        tool_calls=2,
        tokens=Tokens(input=200, cached=120, output=20, reasoning=8),
        cost_usd=Decimal("0.50"),
        busy_s=4.0,
        waited_s=0.5,
    )
    assert found.nodes[1].cost_usd is None


def test_claims_are_compared_over_the_trials_that_make_them() -> None:
    """The third trial says nothing of its input: its wire is not in the sum either."""

    def claimed(**gaps: Gap) -> Claimed:
        return Claimed(tokens=gaps, cost_usd=Decimal("1.5") if "input" in gaps else None, delegations=1)

    found = report(
        result(claimed=claimed(input=Gap(wire=13200, claimed=2200))),
        result(attempt=2, claimed=claimed(input=Gap(wire=100, claimed=100)), delegations=1),
        result(attempt=3, claimed=Claimed(tokens={"input": Gap(wire=7, claimed=None)})),
        not_run(attempt=4),
    )
    rows = {row.what: row for row in found.claims}
    assert list(rows) == ["input", "cached", "output", "reasoning", "delegations", "usd"]
    taken = rows["input"]
    assert (taken.harness, taken.version) == ("codex", "1")
    assert (int(taken.wire), int(taken.claimed)) == (13300, 2300)
    assert (taken.trials, taken.differing, taken.silent) == (2, 1, 1)
    assert (rows["cached"].trials, rows["cached"].silent) == (0, 3)
    assert (int(rows["delegations"].wire), int(rows["delegations"].claimed)) == (1, 2)
    assert rows["delegations"].differing == 1
    assert (rows["usd"].wire, rows["usd"].claimed, rows["usd"].trials) == (Decimal("0.50"), Decimal("3.0"), 2)


def test_a_manifest_with_two_values_shows_both() -> None:
    newer = Manifest(
        hotseat="0", harness="codex", harness_version="2", context={"big": 4096}, models={"big": "ab" * 32}
    )
    rows = {row.key: row.values for row in report(result(), result(attempt=2, manifest=newer)).manifests}
    assert rows["harness"] == (("codex 1", 1), ("codex 2", 1))
    assert rows["Hotseat"] == (("0", 2),)
    assert rows["model: big"] == (("abababababab", 1),)
    assert "engine" not in rows


# --- jobs ---------------------------------------------------------------------------------------------


def test_no_results_are_a_report_too() -> None:
    found = report()
    assert not found.configurations
    assert not found.pairs
    assert not found.tasks
    assert not found.trials
    assert found.notes == ("There are no results: no trial has come to its end.",)


def test_a_job_that_is_not_finished_says_so() -> None:
    assert report(result(), planned=3).notes == ("j is not finished: 1 trial of 3 have a result",)


def test_anchors_stand_beside_the_plan_that_repeats_them() -> None:
    claude = Manifest(hotseat="0", harness="claude-code", harness_version="2")
    trials = [result("solo", manifest=claude, wall_s=660.0), result("gpt", wall_s=90.0, cost_usd=None)]
    assert report(*trials).anchors == ()
    rows = {(row.what, row.harness): row for row in report(*trials, plan="akita-2026-04").anchors}
    assert rows["trials with a delegation", "all"].published == "0 of 7 (95 % upper bound 35–41 %)"
    assert rows["trials with a delegation", "all"].here == "0 of 2 trials (0 %)"
    assert rows["minutes", "claude-code"].published == "11.0 / 10.1 / 14.7"
    assert rows["minutes", "claude-code"].here == "solo 11.0"
    assert rows["dollars", "claude-code"].here == "solo $0.25"
    assert rows["dollars", "codex"].here == "gpt unknown"
    assert rows["minutes", "opencode"].here == "–"


def test_the_same_results_give_the_same_report() -> None:
    trials = [result(attempt=n, reward=n / 7) for n in range(1, 6)] + [result(configuration="b", reward=0.9)]
    assert report(*trials) == report(*reversed(trials))


def test_the_job_is_named() -> None:
    assert job([result()], "friday").info.name == report(result(), name="friday").title == "friday"
