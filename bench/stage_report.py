"""The review of a job of stages as text for a terminal, as Markdown and as JSON. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from bench.reports.markdown import escaped
from bench.reports.tables import Column, Table, table_of
from bench.reports.terminal import DEFAULT_WIDTH, table_text
from bench.reports.words import NONE, UNKNOWN, count, plural, printable, seconds, usd
from bench.stage_review import CheckEnded, Review, StageReview

MAX_SAID_CHARS = 200

_TITLES = (
    "stage",
    "by",
    "=state",
    ">own",
    ">so far",
    ">broken",
    ">unverified",
    ">time",
    ">tokens",
    ">cost",
    ">tries",
)

_LEGEND = (
    "own, so far: checks that passed, of the stage and of all up to it; broken: checks that it made fail"
)


def to_text(review: Review, width: int = DEFAULT_WIDTH) -> str:
    parts = [f"STAGES OF {printable(review.record.title) or 'a specification'}", *_about(review), ""]
    parts += [table_text(_table(review), width), "", _LEGEND]
    if details := list(_details(review)):
        parts += ["", *details]
    return "\n".join([*parts, "", *_ending(review)]) + "\n"


def to_markdown(review: Review) -> str:
    table = _table(review)
    parts = [f"# Stages of {escaped(review.record.title) or 'a specification'}", ""]
    parts += [f"- {escaped(line)}" for line in _about(review)]
    parts += ["", *_markdown_table(table.columns, table.rows), "", escaped(_LEGEND), ""]
    parts += [f"- {escaped(line)}" for line in (*_details(review), *_ending(review))]
    return "\n".join(parts) + "\n"


def as_json(review: Review) -> dict[str, Any]:
    spent = review.spent
    return {
        "job": review.job,
        "title": review.record.title,
        "repository": review.record.repository,
        "head": review.record.head,
        "limits": list(review.record.limits),
        "state_file": review.record.state,
        "done": review.is_done,
        "stages": [_stage(review, one) for one in review.stages],
        "spent": {
            "tries": spent.tries,
            "redone": spent.redone,
            "usd": str(spent.usd),
            "unpriced": spent.unpriced,
            "wall_s": spent.wall_s,
            "input_tokens": spent.tokens.input,
            "output_tokens": spent.tokens.output,
        },
    }


# --- what is said ----------------------------------------------------------------------------------


def _about(review: Review) -> Iterator[str]:
    yield f"from {review.record.repository} at {review.record.head[:12]}; results: {review.job}"
    for limit in review.record.limits:
        yield f"note: {limit}"


def _table(review: Review) -> Table:
    return table_of("", _TITLES, [_row(one) for one in review.stages])


def _row(one: StageReview) -> tuple[str, ...]:
    stage, result = one.stage, one.result
    if result is None:
        blank = [NONE] * (len(_TITLES) - 4)
        return (f"{stage.number} {stage.name}", NONE, one.state, *blank, count(one.tries))
    return (
        f"{stage.number} {stage.name}",
        one.configuration,
        one.state if result.validity == "VALID" else f"{one.state}, INVALID",
        f"{one.own_passed}/{len(stage.checks)}",
        f"{one.passed}/{one.checked}",
        count(len(one.broken)),
        count(one.unverified),
        seconds(result.wall_s),
        f"{count(result.tokens.input)} / {count(result.tokens.output)}",
        usd(result.cost_usd) if result.run or result.cost_usd is not None else NONE,
        count(one.tries),
    )


def _details(review: Review) -> Iterator[str]:
    for one in review.stages:
        stage = f"stage {one.stage.number} ({one.stage.name})"
        if one.how_ended:
            yield printable(f"{stage}: its agent did not come to its end: {one.how_ended}")
        if one.result is not None:
            yield from (printable(f"{stage}: {finding}") for finding in one.result.findings)
        broken = {(end.stage, end.item) for end in one.broken}
        for end in one.ended:
            if not end.passed:
                yield printable(
                    f"{stage}: {_failed(review, one, end, is_broken=(end.stage, end.item) in broken)}"
                )
        if one.result is not None:
            for item in one.stage.items:
                if item.command is None:
                    yield printable(f"{stage}: unverified: {item.text}")


def _failed(review: Review, one: StageReview, end: CheckEnded, *, is_broken: bool) -> str:
    item = review.item(end)
    if end.stage == one.stage.number:
        what = "FAILED"
    else:
        what = f"BROKEN, of stage {end.stage}" if is_broken else f"still failing, of stage {end.stage}"
    how = "it took too long" if end.exit_code is None else f"exit code {end.exit_code}"
    said = next((line.strip() for line in reversed(end.said.splitlines()) if line.strip()), "")
    return f"{what}: {item.text} [{item.command}] {how}{f': {said[-MAX_SAID_CHARS:]}' if said else ''}"


def _ending(review: Review) -> Iterator[str]:
    spent = review.spent
    cost = usd(spent.usd) if spent.tries > spent.unpriced else UNKNOWN
    unpriced = f", and {plural(spent.unpriced, 'trial')} of unknown price"
    yield (
        f"spent: {plural(spent.tries, 'trial')}, {seconds(spent.wall_s)},"
        f" {count(spent.tokens.input)} tokens in and {count(spent.tokens.output)} out, {cost}"
        + (unpriced if spent.unpriced and spent.tries > spent.unpriced else "")
        + (f"; {spent.redone} of them done again" if spent.redone else "")
    )
    yield _next(review)


def _next(review: Review) -> str:
    bad = next((one for one in review.stages if one.state not in ("passed", "unverified", "not run")), None)
    left = next((one for one in review.stages if one.state == "not run"), None)
    if bad is not None and bad.state == "could not be run":
        return f"stage {bad.stage.number} could not be run: mend it, and use the same command with this --job"
    if bad is not None:
        on = ", or --go-on to go on from what it left" if left is not None else ""
        return f"stage {bad.stage.number} failed: --from {bad.stage.number} runs it again{on}"
    if left is not None:
        return f"stage {left.stage.number} is next: use the same command with this --job"
    unverified = sum(one.unverified for one in review.stages)
    rest = f"; {plural(unverified, 'item')} unverified: read them" if unverified else ""
    return (
        f"all stages passed their checks{rest}; to take their work over:"
        f" hotseat bench apply {shlex.quote(review.job)}"
    )


# --- forms -----------------------------------------------------------------------------------------


def _markdown_table(columns: tuple[Column, ...], rows: tuple[tuple[str, ...], ...]) -> list[str]:
    lines = ["| " + " | ".join(escaped(column.title) for column in columns) + " |"]
    lines.append("|" + "|".join(" ---: " if column.is_number else " --- " for column in columns) + "|")
    return lines + ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows]


def _stage(review: Review, one: StageReview) -> dict[str, Any]:
    result = one.result
    broken = {(end.stage, end.item) for end in one.broken}
    return {
        "number": one.stage.number,
        "name": one.stage.name,
        "state": one.state,
        "configuration": one.configuration or None,
        "tries": one.tries,
        "trial": result.trial if result else None,
        "outcome": result.outcome if result else None,
        "validity": result.validity if result else None,
        "own_passed": one.own_passed if result else None,
        "own_checks": len(one.stage.checks),
        "passed": one.passed if result else None,
        "checks": one.checked if result else None,
        "quality": one.quality,
        "broken": len(broken),
        "unverified": [item.text for item in one.stage.items if item.command is None],
        "wall_s": result.wall_s if result else None,
        "input_tokens": result.tokens.input if result else None,
        "output_tokens": result.tokens.output if result else None,
        "cost_usd": None if result is None or result.cost_usd is None else str(result.cost_usd),
        "energy_j": result.energy_j if result else None,
        "failed": [
            {
                "stage": end.stage,
                "item": review.item(end).text,
                "command": review.item(end).command,
                "exit_code": end.exit_code,
                "broken": (end.stage, end.item) in broken,
                "said": end.said,
            }
            for end in one.ended
            if not end.passed
        ],
    }
