"""What is said before a job begins: how many trials, what they can find out, what they may cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from statistics import fmean

from bench.plan import Cell, Plan
from bench.power import MIN_TASKS, TrialCost, detectable_difference, estimate
from bench.progress import spell
from bench.results import TrialResult


def forecast(plan: Plan, cells: Sequence[Cell], finished: Mapping[str, TrialResult]) -> list[str]:
    """Lines for a person."""
    left = len(cells) - len(finished)
    counts = {"configuration": len(plan.configurations), "task": len(plan.tasks), "attempt": plan.attempts}
    sizes = " x ".join(_counted(count, word) for word, count in counts.items())
    lines = [f"{_counted(len(cells), 'trial')}: {sizes}, {plan.parallel} at once"]
    if finished:
        lines.append(f"{len(finished)} of them are finished, {left} are left")
    if len(plan.configurations) > 1:
        lines.append(_detectable(detectable_difference(len(plan.tasks), plan.attempts), plan))
    return [*lines, *_costs(plan, cells, finished)]


def _detectable(difference: float | None, plan: Plan) -> str:
    if difference is None:
        return (
            f"with {_counted(len(plan.tasks), 'task')} no difference between two configurations can be shown,"
            f" however large: that takes {MIN_TASKS} tasks or more"
        )
    return (
        f"a true difference of {difference:.2f} in mean reward between two configurations is found with a"
        " chance of 80 % (assuming the usual spread of attempts)"
    )


def _costs(plan: Plan, cells: Sequence[Cell], finished: Mapping[str, TrialResult]) -> list[str]:
    left = [cell for cell in cells if cell.trial not in finished]
    costs = {
        one.name: _mean_cost(result for result in finished.values() if result.configuration == one.name)
        for one in plan.configurations
    }
    each = len(left) // max(1, len(plan.configurations))
    made = estimate(costs, each, plan.parallel)
    lines = []
    if len(made.unknown) < len(costs):
        lines.append(f"about ${made.usd:.2f} and {spell(made.wall_s)} by the trials that are finished")
    most = "no bound (caps.usd)" if plan.caps.usd is None else f"${plan.caps.usd * len(left):.2f}"
    longest = spell(plan.caps.wall_s * len(left) / plan.parallel)
    return [*lines, f"at the most, by the plan's caps: {most} and {longest}"]


def _mean_cost(results: Iterable[TrialResult]) -> TrialCost:
    """None where nothing is known; a run on local models has no price, and costs nothing but energy."""
    known = [result for result in results if result.outcome != "infrastructure"]
    if not known:
        return TrialCost(None, None)
    usd = sum((result.cost_usd or Decimal(0) for result in known), Decimal(0)) / len(known)
    return TrialCost(usd, fmean(result.wall_s + result.overhead_s + result.verifier_s for result in known))


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
