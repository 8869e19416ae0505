"""A selection and a calibration in sections of sentences and tables, as reports have them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from bench.reports.tables import Section, Table, table_of
from bench.reports.words import NONE, count, interval, percent, percents, plural, reward, seconds, usd
from bench.selection.calibration import ASKED, Calibration, Worth
from bench.selection.prompts import Note
from bench.selection.record import Selection, SelectionFile, Standing


def selection_sections(file: SelectionFile) -> list[Section]:
    """One for the judge, and one for each field."""
    chosen = sum(one.decision in ("chosen", "unanimous") for one in file.selections)
    cost = _sum(one.asked.cost_usd for one in file.selections)
    fields = plural(len(file.selections), "field")
    lines = [f"judge {file.judge}, run {file.run}: {fields}, {chosen} decided; {usd(cost)} by the ledger"]
    if file.bias is not None and file.bias.fields:
        lines.append(file.bias.sentence())
    return [
        Section("selection", "Selection", tuple(lines)),
        *(_selection(one) for one in file.selections),
    ]


def _selection(found: Selection) -> Section:
    title = f"{found.task}, attempt {found.attempt}: {_decision(found)}"
    tables = [_standings(found)]
    if any(one.note is not None for one in found.standings):
        tables.append(_notes(found))
    if found.orders:
        tables.append(_orders(found))
    return Section("selection", title, tuple(_lines(found)), tuple(tables))


def _decision(found: Selection) -> str:
    match found.decision:
        case "chosen" | "unanimous":
            return f"{found.configuration}"
        case "tie":
            return "a tie, nothing is chosen"
        case "abstained":
            return "no choice, the judge abstains"


def _lines(found: Selection) -> Iterable[str]:
    yield found.why
    if (surprise := _surprise(found)) is not None:
        yield surprise
    for reason in found.reasons[:1]:  # those of all orders stand with them
        yield f"because, in the judge's words: {reason}"
    if found.agreement is not None:
        n = sum(one.is_compared for one in found.standings)
        yield (
            f"position consistency: two orders put the same candidate first in {percent(found.agreement)} of"
            f" pairs (a judge that chooses at random: {percent(1 / n)})"
        )
    clusters = {one.cluster for one in found.standings if one.cluster is not None}
    by = "what they do on the probes" if found.basis == "behaviour" else "the changes they made"
    yield f"{plural(len(clusters), 'cluster')} by {by}; one of each is compared"
    asked = found.asked
    if asked.questions:
        yield (
            f"asked {plural(asked.questions, 'question')}: {count(asked.input_tokens)} tokens in,"
            f" {count(asked.output_tokens)} out, {usd(asked.cost_usd)}, {seconds(asked.seconds)}"
        )
    yield from (f"note: {problem}" for problem in asked.problems)


def _surprise(found: Selection) -> str | None:
    """Where notes on each alone would have chosen somebody else."""
    scored = [(one.note.score, one) for one in found.standings if one.note is not None]
    if found.decision != "chosen" or len(scored) < 2:
        return None
    top = max(score for score, _ in scored)
    best = [one for score, one in scored if score == top]
    if any(one.trial == found.trial for one in best):
        return None
    own = next((score for score, one in scored if one.trial == found.trial), None)
    names = ", ".join(one.configuration for one in best)
    return (
        f"alone, each was noted otherwise: {names} had {top:g} of 10 and {found.configuration}"
        f" {NONE if own is None else f'{own:g}'}; seen side by side, the judge chose {found.configuration}"
    )


def _standings(found: Selection) -> Table:
    n = len(found.orders)
    return table_of(
        "The candidates",
        ("configuration", "cluster", ">checks", ">patch", ">score alone", ">first", "=outcome"),
        [
            (
                one.configuration,
                NONE if one.cluster is None else str(one.cluster + 1),
                percent(one.checks),
                f"{count(one.patch_chars)} chars",
                NONE if one.note is None else f"{one.note.score:g}",
                f"{one.firsts} of {n}" if one.is_compared and n else NONE,
                _outcome(found, one),
            )
            for one in found.standings
        ],
    )


def _outcome(found: Selection, one: Standing) -> str:
    if one.trial == found.trial:
        return "CHOSEN"
    if one.left_out:
        return one.left_out
    if not one.is_compared:
        return "stood for by another of its cluster"
    return "compared"


def _notes(found: Selection) -> Table:
    return table_of(
        "What the judge noted of each alone",
        ("configuration", ">score", "=for it", "=against it"),
        [
            (
                one.configuration,
                f"{one.note.score:g}",
                "; ".join(one.note.strengths) or NONE,
                _against(one.note),
            )
            for one in found.standings
            if one.note is not None
        ],
    )


def _against(note: Note) -> str:
    unmet = [f"{one.met}: {one.criterion}" for one in note.criteria if one.met != "yes"]
    return "; ".join([*note.problems, *unmet]) or NONE


def _orders(found: Selection) -> Table:
    names = {one.trial: one.configuration for one in found.standings}
    return table_of(
        "The orders in which they were shown",
        ("=shown as A, B, …", "=ranked, the best first", "=reason"),
        [
            (
                ", ".join(names[trial] for trial in one.order),
                " > ".join(names[trial] for trial in one.ranking) or one.said,
                one.reason or NONE,
            )
            for one in found.orders
        ],
    )


def _sum(costs: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


# --- calibration -------------------------------------------------------------------------------------


def calibration_sections(found: Calibration) -> list[Section]:
    tasks = plural(len({one.task for one in found.examined}), "task")
    lines = [
        f"truth: {found.truth}; {plural(len(found.examined), 'field')} of {tasks}; run {found.run}",
        found.bias.sentence(),
        *(comparison.sentence() for comparison in found.against_random),
        *(f"left out: {one}" for one in found.left_out),
        *(f"note: {one}" for one in found.problems),
    ]
    if all(worth.method != "best single" for worth in found.worths):
        lines.append("best single: not known, it takes configurations that were tried on other tasks")
    tables = (_worths(found.worths), _spending(found.worths))
    return [
        Section("calibration", f"Calibration of {found.judge}", tuple(lines), tables),
        Section("calibration", "Advice", (found.advice,)),
    ]


def _worths(worths: Iterable[Worth]) -> Table:
    return table_of(
        "What each method chooses is worth",
        ("method", ">n", ">reward", ">95 %", ">best", ">95 %", ">ties", ">abstained", ">agreement"),
        [
            (
                worth.method,
                str(worth.fields),
                reward(worth.reward),
                interval(worth.interval),
                percent(worth.right),
                percents(worth.right_interval),
                str(worth.ties) if worth.method in ASKED else NONE,
                str(worth.abstentions) if worth.method in ASKED else NONE,
                percent(worth.agreement),
            )
            for worth in worths
        ],
    )


def _spending(worths: Iterable[Worth]) -> Table:
    return table_of(
        "What one selection takes",
        ("method", ">questions", ">tokens", ">cost", ">time"),
        [
            (
                worth.method,
                str(worth.spent.questions),
                count(worth.spent.tokens),
                usd(worth.spent.cost_usd),
                seconds(worth.spent.seconds),
            )
            for worth in worths
            if worth.method in ASKED
        ],
    )
