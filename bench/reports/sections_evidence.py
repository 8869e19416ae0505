"""The sections on what it took and whether to believe it: money, agents, validity, claims, manifest. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bench.reports import words
from bench.reports.joining import DIGEST_CHARS
from bench.reports.report import ClaimRow, ConfigurationSummary, NodeRow, Quartiles, Report
from bench.reports.tables import ROLE_WORDS, Section, at_upstream, table_of

MAX_EXCLUDED = 200

# --- what it took ---------------------------------------------------------------------------------


def money(report: Report) -> Section | None:
    if not report.configurations:
        return None
    tables = (
        table_of(
            "Dollars and tokens of all trials",
            ["configuration", ">cost", ">a success", ">input", ">cached", ">output", ">reasoning"],
            [_took(c) for c in report.configurations],
        ),
        table_of(
            "Requests and the machine, over all trials",
            [
                "configuration",
                ">requests",
                ">failed",
                ">tool calls",
                ">swaps",
                ">VRAM",
                ">energy",
                ">overhead",
            ],
            [_worked(c) for c in report.configurations],
        ),
    )
    lines = [
        "Of all trials, those that do not count too. overhead: Hotseat's own, median of trials that count."
    ]
    for found in report.configurations:
        cost = found.cost
        if cost.unknown_trials:
            lines.append(
                f"{found.name}: the cost of {words.plural(cost.unknown_trials, 'trial')} is not known; the"
                f" others cost {words.usd(cost.known_usd)}"
            )
        if found.energy is not None and found.energy.known_trials < found.trials:
            lines.append(
                f"{found.name}: energy was read in {found.energy.known_trials} of {found.trials} trials"
            )
        if found.replayed:
            lines.append(
                f"{found.name}: {found.replayed} of {found.trials} trials are replays: recordings answered"
                " for providers, for nothing, and at another speed"
            )
        if found.neighbours and found.peak_vram_bytes is not None:
            lines.append(
                f"{found.name}: VRAM is of the whole device, with up to"
                f" {words.plural(found.neighbours, 'other trial')} at once; its own models took"
                f" {words.gibibytes(found.models_vram_bytes)} at most"
            )
    return Section("money", "Cost, tokens, machine", tuple(lines), tables)


def _took(found: ConfigurationSummary) -> tuple[str, ...]:
    tokens = found.tokens
    return (
        found.name,
        words.usd(found.cost.total_usd),
        words.usd(found.cost.per_success_usd) if found.cost.per_success_usd is not None else words.NONE,
        words.count(tokens.input),
        words.percent(found.cached_share),
        words.count(tokens.output),
        words.count(tokens.reasoning),
    )


def _worked(found: ConfigurationSummary) -> tuple[str, ...]:
    return (
        found.name,
        words.count(found.requests),
        words.count(found.failed_requests),
        words.count(found.tool_calls),
        words.count(found.swaps),
        words.gibibytes(found.peak_vram_bytes),
        words.joules(found.energy.joules) if found.energy is not None else words.UNKNOWN,
        words.seconds(found.overhead.median if found.overhead else None),
    )


def agents(report: Report) -> Section | None:
    if not report.nodes:
        return None
    who = ["configuration", "role", "model"]
    tables = (
        table_of(
            "Agents by role and model, counted on the wire",
            [*who, ">agents", ">trials", ">requests", ">failed", ">busy", ">waited"],
            [(*_who(row), *_did(row)) for row in report.nodes],
        ),
        table_of(
            "Their tokens and cost",
            [*who, ">input", ">cached", ">output", ">reasoning", ">cost"],
            [(*_who(row), *_used(row)) for row in report.nodes],
        ),
    )
    return Section("agents", "Who worked, on the wire", tuple(_agent_lines(report)), tables)


def _agent_lines(report: Report) -> Iterable[str]:
    for found in report.configurations:
        told, gave = found.delegations.brief_chars, found.delegations.return_chars
        if told is not None:
            yield f"{found.name}: sub-agents were told {_chars(told)}"
        if gave is not None:
            yield f"{found.name}: sub-agents gave back {_chars(gave)}"
        if found.delegations.parallel_s:
            lasted = words.seconds(found.delegations.parallel_s)
            yield f"{found.name}: two agents or more at once for {lasted}"


def _chars(found: Quartiles) -> str:
    half = f"{found.low:,.0f}–{found.high:,.0f}"
    return f"{found.median:,.0f} characters (median of {found.n}, middle half {half})"


def _who(row: NodeRow) -> tuple[str, ...]:
    return row.configuration, ROLE_WORDS[row.role], at_upstream(row.model, row.upstream)


def _did(row: NodeRow) -> tuple[str, ...]:
    return (
        words.count(row.agents),
        words.count(row.trials),
        words.count(row.requests),
        words.count(row.failed_requests),
        words.seconds(row.busy_s),
        words.seconds(row.waited_s),
    )


def _used(row: NodeRow) -> tuple[str, ...]:
    return (
        words.count(row.tokens.input),
        words.percent(row.tokens.cached / row.tokens.input if row.tokens.input else None),
        words.count(row.tokens.output),
        words.count(row.tokens.reasoning),
        words.usd(row.cost_usd),
    )


# --- whether to believe it ------------------------------------------------------------------------


def validity(report: Report) -> Section | None:
    if not report.configurations:
        return None
    total = len(report.trials)
    lines = [f"{total - len(report.excluded):,} of {words.plural(total, 'trial')} count."]
    for found in report.configurations:
        ended = ", ".join(f"{number} {outcome}" for outcome, number in found.outcomes.items())
        left_out = ", ".join(f"{number} {kind}" for kind, number in found.excluded.items())
        lines.append(f"{found.name}: {ended}; left out: {left_out or 'none'}")
    if len(report.excluded) > MAX_EXCLUDED:
        lines.append(f"The first {MAX_EXCLUDED} of {len(report.excluded):,} that were left out:")
    rows = [
        (found.task, found.configuration, str(found.attempt), found.kind, "; ".join(found.reasons))
        for found in report.excluded[:MAX_EXCLUDED]
    ]
    titles = ["task", "configuration", ">attempt", "why", "=in its words"]
    tables = (table_of("Trials that do not count", titles, rows),) if rows else ()
    return Section("validity", "Validity", tuple(lines), tables)


def claims(report: Report) -> Section | None:
    rows = [_claim(row) for row in report.claims if row.trials or row.silent]
    if not rows:
        return None
    titles = ["harness", "of", ">on the wire", ">it says", ">its share", ">trials", ">not equal", ">silent"]
    line = (
        "Sums over the trials in which the harness says something; silent: those in which it does not. Every"
        " other number of this report is of the wire."
    )
    table = table_of("What harnesses say of themselves, against the wire", titles, rows)
    return Section("claims", "Harnesses' own words against the wire", (line,), (table,))


def _claim(row: ClaimRow) -> tuple[str, ...]:
    is_money = row.what == "usd"
    said = row.trials > 0
    wire = words.usd(row.wire) if is_money else words.count(int(row.wire))
    claimed = words.usd(row.claimed) if is_money else words.count(int(row.claimed))
    share = words.percent(float(row.claimed / row.wire)) if said and row.wire else words.NONE
    return (
        f"{row.harness} {row.version}".strip(),
        "cost" if is_money else f"{row.what} tokens" if row.what != "delegations" else row.what,
        wire if said else words.NONE,
        claimed if said else words.NONE,
        share,
        words.count(row.trials),
        words.count(row.differing),
        words.count(row.silent),
    )


def anchors(report: Report) -> Section | None:
    if not report.anchors:
        return None
    rows = [(row.what, row.harness, row.published, row.here) for row in report.anchors]
    line = "One published run of each, on one task: no samples. Here: minutes at the median, dollars a trial."
    table = table_of("April 2026 beside these results", ["of", "harness", "=published", "=here"], rows)
    return Section("anchors", "Anchors: the published combinations", (line,), (table,))


def manifest(report: Report) -> Section | None:
    if not report.manifests:
        return None
    every = {found.name for found in report.configurations}
    trials: dict[tuple[str, str], int] = {}
    holders: dict[tuple[str, str], list[str]] = {}
    for row in report.manifests:
        for value, number in row.values:
            trials[row.key, value] = trials.get((row.key, value), 0) + number
            holders.setdefault((row.key, value), []).append(row.configuration)
    keys = list(dict.fromkeys(row.key for row in report.manifests))
    rows = [
        (key, value, "all" if set(names) == every else ", ".join(names), str(trials[key, value]))
        for (key, value), names in sorted(holders.items(), key=lambda item: keys.index(item[0][0]))
    ]
    rows += [(f"task: {task.task}", task.digest[:DIGEST_CHARS], "all", "") for task in report.tasks]
    split = sorted({f"{row.configuration} ({row.key})" for row in report.manifests if len(row.values) > 1})
    said = f"Not the same in all of its trials: {', '.join(split)}." if split else ""
    lines = (said or "The same in all trials of a configuration.", "Hashes by their first digits.")
    table = table_of("What the numbers depend on", ["what", "=value", "configurations", ">trials"], rows)
    return Section("manifest", "Manifest", lines, (table,))
