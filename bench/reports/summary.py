"""What each configuration came to: one ConfigurationSummary, and one TaskCell for each of its tasks. Pure.

Rewards are of trials that count; clocks of these, and of those that only lack checks; money and tokens are
of all; delegations are of VALID trials, because a sub-agent that could not answer makes a trial INVALID and
is no "0 delegations".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

import numpy as np

from bench.reports.joining import Trial
from bench.reports.report import (
    ConfigurationSummary,
    Cost,
    Delegations,
    Energy,
    Excluded,
    Finding,
    Kind,
    Mean,
    Quartiles,
    Share,
    TaskCell,
    TaskRow,
)
from bench.results import MODELLESS, Role, Tokens, TrialResult
from bench.stats import (
    Interval,
    clopper_pearson,
    mean_reward,
    pass_at_k,
    pass_power_k,
    suite_interval,
    wilson,
)

SUCCESS = 1.0
UNCHECKED = "nothing checked what it made"
KS = (1, 2, 3, 5, 10)


def summarise(trials: Iterable[Trial], seed: int) -> tuple[ConfigurationSummary, ...]:
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.configuration, []).append(trial)
    return tuple(_summary(name, group, seed) for name, group in sorted(groups.items()))


def counted(trials: Iterable[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.result.counts]


def suite_of(trials: Iterable[Trial]) -> dict[str, list[float]]:
    """Rewards by task, of trials that count."""
    suite: dict[str, list[float]] = {}
    for trial in trials:
        if trial.result.counts and trial.result.reward is not None:
            suite.setdefault(trial.task, []).append(trial.result.reward)
    return suite


def cost_of(result: TrialResult) -> Decimal | None:
    is_free = result.cost_usd is None and result.manifest.harness in MODELLESS and not result.nodes
    return Decimal(0) if is_free else result.cost_usd


def _summary(name: str, trials: Sequence[Trial], seed: int) -> ConfigurationSummary:
    results = [trial.result for trial in trials]
    evidence = [result for result in results if result.counts]
    timed = [result for result in results if result.ended]
    successes = sum(_is_success(result) for result in evidence)
    tokens = sum((result.tokens for result in results), Tokens())
    nodes = [node for result in results for node in result.nodes]
    return ConfigurationSummary(
        name=name,
        harness=", ".join(sorted({result.manifest.harness for result in results})),
        harness_versions=_distinct(result.manifest.harness_version for result in results),
        policies=_distinct(result.policy for result in results),
        models=_models(results),
        trials=len(results),
        valid=sum(result.validity == "VALID" for result in results),
        counted=len(evidence),
        excluded=dict(Counter(kind for result in results if (kind := _kind(result)) is not None)),
        outcomes=dict(sorted(Counter(result.outcome for result in results).items())),
        reward=reward_mean(suite_of(trials), seed),
        reward_if_excluded=_if_excluded(trials),
        success=Share(successes, len(evidence), wilson(successes, len(evidence))),
        pass_at=_over_tasks(trials, pass_at_k),
        pass_power=_over_tasks(trials, pass_power_k),
        cost=_cost(trials, successes, seed),
        wall=quartiles([result.wall_s for result in timed]),
        active=quartiles([result.active_s for result in timed]),
        overhead=quartiles([result.overhead_s for result in timed]),
        tokens=tokens,
        cached_share=tokens.cached / tokens.input if tokens.input else None,
        requests=sum(node.requests for node in nodes),
        failed_requests=sum(node.failed_requests for node in nodes),
        tool_calls=sum(node.tool_calls for node in nodes),
        delegations=_delegations(results),
        swaps=sum(result.swaps for result in results),
        peak_vram_bytes=max(
            (r.peak_vram_bytes for r in results if r.peak_vram_bytes is not None), default=None
        ),
        energy=_energy(results),
        findings=_findings(results),
        neighbours=max((result.neighbours for result in results), default=0),
        models_vram_bytes=max(
            (r.models_vram_bytes for r in results if r.models_vram_bytes is not None), default=None
        ),
        replayed=sum(bool(result.manifest.replay) for result in results),
    )


def _is_success(result: TrialResult) -> bool:
    return result.reward is not None and result.reward >= SUCCESS


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({word for word in words if word}))


def _models(results: Iterable[TrialResult]) -> dict[Role, tuple[str, ...]]:
    found: dict[Role, set[str]] = {}
    for result in results:
        for node in result.nodes:
            found.setdefault(node.role, set()).add(node.model)
    return {role: tuple(sorted(models)) for role, models in sorted(found.items())}


# --- rewards --------------------------------------------------------------------------------------


def reward_mean(suite: dict[str, list[float]], seed: int) -> Mean | None:
    if not suite:
        return None
    n = sum(len(rewards) for rewards in suite.values())
    return Mean(mean_reward(suite), _reward_interval(suite, seed), n, len(suite))


def _reward_interval(suite: dict[str, list[float]], seed: int) -> Interval:
    """By the hierarchical bootstrap. Where it has nothing to draw from (one task, or rewards that are all
    alike) it would say that all is certain: Wilson's interval is said instead, of attempts or of tasks."""
    if len(suite) == 1:
        [rewards] = suite.values()
        return wilson(sum(rewards), len(rewards))
    found = suite_interval(suite, seed)
    return found if found.low < found.high else wilson(mean_reward(suite) * len(suite), len(suite))


def _if_excluded(trials: Sequence[Trial]) -> Interval | None:
    """None: nothing was left out."""
    if not trials or all(trial.result.counts for trial in trials):
        return None
    bounds = []
    for worth in (0.0, 1.0):
        suite: dict[str, list[float]] = {}
        for trial in trials:
            kept = trial.result.reward if trial.result.counts else None
            suite.setdefault(trial.task, []).append(worth if kept is None else kept)
        bounds.append(mean_reward(suite))
    return Interval(*bounds)


def _over_tasks(trials: Iterable[Trial], chance: Callable[[int, int, int], float]) -> dict[int, float]:
    """The mean over tasks, for each k that every task was tried often enough for."""
    outcomes = [[reward >= SUCCESS for reward in rewards] for rewards in suite_of(trials).values()]
    fewest = min((len(found) for found in outcomes), default=0)
    return {
        k: float(np.mean([chance(len(found), sum(found), k) for found in outcomes]))
        for k in KS
        if k <= fewest
    }


# --- money, time, energy --------------------------------------------------------------------------


def _cost(trials: Sequence[Trial], successes: int, seed: int) -> Cost:
    """What a success costs takes in every trial: failures and INVALID ones were paid for on the way to it."""
    costs = [cost_of(trial.result) for trial in trials]
    known = [cost for cost in costs if cost is not None]
    total = sum(known, Decimal(0))
    is_known = len(known) == len(costs)
    return Cost(
        total_usd=total if is_known else None,
        known_usd=total,
        unknown_trials=len(costs) - len(known),
        mean=_mean_cost(counted(trials), seed),
        per_success_usd=total / successes if is_known and successes else None,
    )


def _mean_cost(evidence: Sequence[Trial], seed: int) -> Mean | None:
    suite: dict[str, list[float]] = {}
    for trial in evidence:
        cost = cost_of(trial.result)
        if cost is None:
            return None
        suite.setdefault(trial.task, []).append(float(cost))
    if not suite:
        return None
    n = len(evidence)
    return Mean(mean_reward(suite), suite_interval(suite, seed) if n > 1 else None, n, len(suite))


def quartiles(values: Sequence[float]) -> Quartiles | None:
    if not values:
        return None
    low, median, high = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return Quartiles(low, median, high, len(values))


def _energy(results: Iterable[TrialResult]) -> Energy | None:
    known = [result.energy_j for result in results if result.energy_j is not None]
    return Energy(sum(known), len(known)) if known else None


# --- what they did --------------------------------------------------------------------------------


def _delegations(results: Iterable[TrialResult]) -> Delegations:
    valid = [result for result in results if result.validity == "VALID"]
    delegating = sum(result.delegations > 0 for result in valid)
    exact = clopper_pearson(0, len(valid)).high if valid and not delegating else None
    return Delegations(
        share=Share(delegating, len(valid), wilson(delegating, len(valid))),
        exact_upper=exact,
        total=sum(result.delegations for result in valid),
        brief_chars=quartiles([float(chars) for result in valid for chars in result.brief_chars]),
        return_chars=quartiles([float(chars) for result in valid for chars in result.return_chars]),
        parallel_s=sum(result.parallel_s for result in valid),
    )


def _findings(results: Iterable[TrialResult]) -> tuple[Finding, ...]:
    counts = Counter(text for result in results for text in set(result.findings))
    return tuple(Finding(text, trials) for text, trials in sorted(counts.items()))


# --- task by task ---------------------------------------------------------------------------------


def task_rows(trials: Sequence[Trial]) -> tuple[TaskRow, ...]:
    """Every task, with a cell for every configuration that was to try it."""
    rows = []
    for task in sorted({trial.task for trial in trials}):
        tried = [trial for trial in trials if trial.task == task]
        rows.append(
            TaskRow(
                task=task,
                digest=tried[0].result.task_digest,
                tags=tried[0].result.tags,
                cells=tuple(
                    _cell(name, [trial.result for trial in tried if trial.configuration == name])
                    for name in sorted({trial.configuration for trial in tried})
                ),
            )
        )
    return tuple(rows)


def _cell(configuration: str, results: Sequence[TrialResult]) -> TaskCell:
    evidence = [result for result in results if result.counts]
    rewards = [result.reward for result in evidence if result.reward is not None]
    return TaskCell(
        configuration=configuration,
        trials=len(results),
        counted=len(evidence),
        successes=sum(_is_success(result) for result in evidence),
        reward=float(np.mean(rewards)) if rewards else None,
        interval=wilson(sum(rewards), len(rewards)) if rewards else None,
        scores=_mean_scores(evidence),
    )


def _mean_scores(results: Iterable[TrialResult]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for result in results:
        for name, score in result.scores.items():
            found.setdefault(name, []).append(score)
    return {name: float(np.mean(scores)) for name, scores in sorted(found.items())}


# --- what was left out ----------------------------------------------------------------------------


def exclusions(trials: Iterable[Trial]) -> tuple[Excluded, ...]:
    found = []
    for trial in trials:
        kind = _kind(trial.result)
        if kind is not None:
            found.append(_excluded(trial, kind))
    return tuple(found)


def _kind(result: TrialResult) -> Kind | None:
    if result.counts:
        return None
    if result.outcome == "infrastructure":
        return "infrastructure"
    if result.reward is None:
        return "verifier-failed"
    return "INVALID" if result.validity == "INVALID" else "unverified"


def _excluded(trial: Trial, kind: Kind) -> Excluded:
    result = trial.result
    said = (result.error,) if kind == "verifier-failed" and result.error else ()
    said = (UNCHECKED,) if kind == "unverified" else said
    return Excluded(
        trial=result.trial,
        task=trial.task,
        configuration=trial.configuration,
        attempt=result.attempt,
        kind=kind,
        reasons=(*said, *result.invalid_because) or ("no reason was given",),
        reward=result.verified_reward,
        cost_usd=cost_of(result),
    )
