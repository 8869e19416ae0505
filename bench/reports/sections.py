"""All sections of a report in their order; here those on jobs, configurations, pairs and tasks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.reports import sections_evidence as evidence
from bench.reports import sections_map as choosing
from bench.reports import words
from bench.reports.report import ConfigurationSummary, Measure, Ratio, Report, TaskCell
from bench.reports.sections_selection import selection
from bench.reports.tables import Section, Table, table_of

MAX_KS = 3
"""More columns of pass@k than this say less."""


def sections(report: Report) -> list[Section]:
    """Those that have something to say."""
    made: tuple[Callable[[Report], Section | None], ...] = (
        _overview,
        _rewards,
        choosing.cost_map,
        _verdicts,
        _tasks,
        choosing.convergence,
        selection,
        evidence.money,
        evidence.agents,
        evidence.validity,
        evidence.claims,
        evidence.anchors,
        evidence.manifest,
    )
    return [section for make in made if (section := make(report)) is not None]


# --- jobs and configurations ----------------------------------------------------------------------


def _overview(report: Report) -> Section:
    lines = []
    for job in report.jobs:
        plan = f", plan {job.plan}" if job.plan else ""
        planned = f" of {job.planned:,}" if job.planned is not None else ""
        machine = f"; {job.machine}" if job.machine else ""
        word = "trial" if (job.finished if job.planned is None else job.planned) == 1 else "trials"
        lines.append(f"Job {job.name}{plan}: {job.finished:,}{planned} {word}{machine}")
    return Section("overview", "Report", (*lines, *report.notes))


def _rewards(report: Report) -> Section | None:
    if not report.configurations:
        return None
    titles = [
        "configuration", ">n", ">reward", ">95 %", ">solved", ">95 %", ">$ a trial", ">wall", ">active",
        ">delegated",
    ]  # fmt: skip
    table = table_of(
        "Rewards, costs and clocks by configuration", titles, [_reward_row(c) for c in report.configurations]
    )
    return Section("rewards", "Configurations", tuple(_reward_lines(report)), (table, _passes(report)))


def _passes(report: Report) -> Table:
    """For the k that some configuration tried every task often enough for."""
    ks = sorted({k for found in report.configurations for k in found.pass_at if k > 1})
    ks = [k for k in ks if k != 3] if len(ks) > MAX_KS else ks
    titles = ["configuration", "harness", "policy"]
    rows = [
        (
            found.name,
            f"{found.harness} {', '.join(found.harness_versions)}".strip(),
            ", ".join(found.policies),
            *(words.percent(found.pass_at.get(k)) for k in ks),
            *(words.percent(found.pass_power.get(k)) for k in ks),
        )
        for found in report.configurations
    ]
    caption = (
        "Treatments, and the chance that one of k attempts is a success (pass@k) or all of them are (pass^k)"
        if ks
        else "Treatments"
    )
    return table_of(caption, [*titles, *(f">pass@{k}" for k in ks), *(f">pass^{k}" for k in ks)], rows)


def _reward_row(found: ConfigurationSummary) -> tuple[str, ...]:
    mean, solved, share = found.reward, found.success, found.delegations.share
    return (
        found.name,
        f"{found.counted} of {found.trials}",
        words.reward(mean.value if mean else None),
        words.interval(mean.interval if mean else None),
        f"{solved.count} of {solved.n}",
        words.percents(solved.interval) if solved.n else words.NONE,
        _cost_of_a_trial(found),
        words.seconds(found.wall.median if found.wall else None),
        words.seconds(found.active.median if found.active else None),
        f"{share.count} of {share.n}",
    )


def _cost_of_a_trial(found: ConfigurationSummary) -> str:
    if found.cost.total_usd is None:
        return words.UNKNOWN
    return words.usd(found.cost.total_usd / found.trials)


def _reward_lines(report: Report) -> Iterable[str]:
    yield (
        "n: trials that count, of all. reward: mean over tasks, interval by hierarchical bootstrap (Wilson"
        " for one task, or where all are alike). solved: reward 1, Wilson. wall, active: medians; active"
        " leaves out waits for loads, swaps and queues."
    )
    for found in report.configurations:
        yield from _about(found)


def _about(found: ConfigurationSummary) -> Iterable[str]:
    if found.reward_if_excluded is not None:
        left_out = found.trials - found.counted
        bounds = found.reward_if_excluded
        yield (
            f"{found.name}: {words.plural(left_out, 'trial')} left out; the reward would be"
            f" {bounds.low:.2f} if worth 0 each, {bounds.high:.2f} if worth 1"
        )
    share, exact = found.delegations.share, found.delegations.exact_upper
    if not found.competes:
        yield f"{found.name}: it asks no model, and is compared with nobody: it checks the tasks"
    elif share.n and exact is not None:
        yield (
            f"{found.name}: no delegation in {words.plural(share.n, 'valid trial')}; 95 % upper bound"
            f" {words.percent(share.interval.high)} (Wilson), {words.percent(exact)} (Clopper-Pearson)"
        )
    elif share.n:
        yield (
            f"{found.name}: {words.plural(found.delegations.total, 'sub-agent')} answered, in {share.count}"
            f" of {words.plural(share.n, 'valid trial')} (95 % {words.percents(share.interval)})"
        )
    for finding in found.findings:
        yield f"{found.name}: finding in {words.plural(finding.trials, 'trial')}: {finding.text}"


# --- comparisons ----------------------------------------------------------------------------------


def _verdicts(report: Report) -> Section | None:
    if not report.pairs and report.design is None:
        return None
    lines = [pair.sentence for pair in report.pairs]
    if len(report.pairs) == 1:
        lines += [ratio.sentence for ratio in report.ratios]
    if report.design is not None:
        lines.append(report.design.sentence)
    if len(report.pairs) > 1:
        lines.append(
            f"p is adjusted for {len(report.pairs)} comparisons (Holm). Intervals, those of the ratios too,"
            " are not."
        )
    return Section("verdicts", "Comparisons", tuple(lines), (_ratio_table(report),) if report.ratios else ())


def _ratio_table(report: Report) -> Table:
    """A row for each pair: the reward, and how many times as much the first takes."""
    found = {(ratio.a, ratio.b, ratio.measure): ratio for ratio in report.ratios}
    measures: tuple[Measure, ...] = ("cost", "wall", "active")
    rows = []
    for pair in report.pairs:
        a, b = pair.comparison.a, pair.comparison.b
        detectable = words.NONE if pair.detectable is None else f"{100 * pair.detectable:.0f}"
        points = f"{100 * pair.comparison.difference:+.1f}"
        ratios = [_ratio(found.get((a, b, measure))) for measure in measures]
        rows.append((a, b, points, detectable, *ratios))
    titles = ["this", "against", ">points", ">finds", ">cost ×", ">wall ×", ">active ×"]
    caption = (
        "Difference of rewards in points; finds: the smallest that these trials find 4 times in 5; how many"
        " times as much the first takes, with 95 % intervals"
    )
    return table_of(caption, titles, rows)


def _ratio(found: Ratio | None) -> str:
    if found is None or found.ratio is None:
        return words.NONE
    if found.interval is None:
        return f"{words.factor(found.ratio)} (no interval)"
    bounds = f"{words.factor(found.interval.low)}–{words.factor(found.interval.high)}"
    return f"{words.factor(found.ratio)} ({bounds})"


def _tasks(report: Report) -> Section | None:
    if not report.tasks:
        return None
    names = [found.name for found in report.configurations]
    rows = []
    for task in report.tasks:
        cells = {cell.configuration: cell for cell in task.cells}
        rows.append((task.task, *(_cell(cells.get(name)) for name in names)))
    titles = ["task", *(f">{name}" for name in names)]
    caption = "Mean reward (95 % interval, Wilson) and how many trials count"
    return Section("tasks", "Tasks", (f"{caption}.",), (table_of(caption, titles, rows),))


def _cell(cell: TaskCell | None) -> str:
    if cell is None:
        return words.NONE
    if cell.reward is None:
        return f"none of {cell.trials}"
    n = str(cell.counted) if cell.counted == cell.trials else f"{cell.counted}/{cell.trials}"
    return f"{cell.reward:.2f} ({words.interval(cell.interval)}) {n}"
