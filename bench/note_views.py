"""The knowledge log in words, tables and JSON. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from bench.note_entries import SHORT_CHARS, NotedConfiguration, Retraction, stamp
from bench.note_explanation import Claim, Explanation
from bench.note_rollup import Average, Reading, Rolled
from bench.note_standing import NotedTrial, Withdrawn
from bench.note_suggestion import MAX_HALVINGS, MIN_TRIALS, Compared, Suggestion
from bench.power import MIN_TASKS
from bench.reports import words
from bench.reports.tables import Table, table_of
from bench.results import UNVERIFIED

FORMAT = 1
DATE_CHARS = 10

Whereabouts = Callable[[NotedTrial], str]


# --- trials ----------------------------------------------------------------------------------------


def trials_table(trials: Sequence[NotedTrial], withdrawn: Sequence[Withdrawn]) -> Table:
    """The newest first."""
    rows = [(trial, "") for trial in trials]
    rows += [(one.trial, "; ".join(_taken_back(found) for found in one.retractions)) for one in withdrawn]
    rows.sort(key=lambda row: (-row[0].entry.at_s, row[0].ids))
    return table_of(
        "noted trials",
        ["=entry", "=date", "task", "configuration", ">reward", ">cost", "tags", "=said"],
        [
            (
                trial.ids[0][:SHORT_CHARS],
                _date(trial),
                trial.entry.task.label,
                trial.configuration.name,
                reward_words(trial),
                words.usd(trial.entry.cost_usd),
                " ".join(trial.tags),
                "; ".join(part for part in (taken_back, said(trial)) if part),
            )
            for trial, taken_back in rows
        ],
    )


def said(trial: NotedTrial) -> str:
    return "; ".join(
        f"{one.by}: {one.note}" if one.by and one.note else one.by or one.note for one in trial.remarks
    )


def reward_words(trial: NotedTrial) -> str:
    """What does not count says why."""
    outcome = trial.outcome
    if outcome.counts:
        return words.reward(outcome.reward)
    if outcome.validity == "VALID" and outcome.is_unverified:
        return UNVERIFIED
    return outcome.word if outcome.reward is None else outcome.validity


def _taken_back(retraction: Retraction) -> str:
    by = f" by {retraction.by}" if retraction.by else ""
    why = f": {retraction.why}" if retraction.why else ""
    return f"TAKEN BACK{by}{why}"


def _date(trial: NotedTrial) -> str:
    return trial.entry.at[:DATE_CHARS]


def configuration_words(what: NotedConfiguration) -> str:
    parts = [f"{what.harness} {what.version}".strip(), f"main {what.main}"]
    if what.small != what.main:
        parts.append(f"small {what.small}")
    for name, agent in sorted(what.subagents.items()):
        parts.append(f"{name} = {agent.model}" + (f" ({agent.effort})" if agent.effort else ""))
    if what.effort:
        parts.append(f"effort {what.effort}")
    if what.context:
        parts.append(f"context {what.context:,}")
    if what.native_names:
        parts.append("models by their own names")
    return ", ".join([*parts, f"delegation {what.policy}", f"[{what.sha[:SHORT_CHARS]}]"])


# --- roll-up ---------------------------------------------------------------------------------------


def half_life_words(reading: Reading) -> str:
    if reading.half_life_s is None:
        return "age does not matter"
    days = reading.half_life_s / 86_400
    return f"half-life {days:g} days" if days >= 1 else f"half-life {24 * days:g} hours"


def rollup_table(rows: Sequence[Rolled]) -> Table:
    return table_of(
        "what it adds up to",
        [
            "configuration",
            ">reward",
            ">95 %",
            ">trials",
            ">tasks",
            ">today",
            ">cost",
            ">wall",
            ">energy",
            ">newest",
        ],
        [
            (
                row.label,
                words.reward(row.mean),
                words.interval(row.interval),
                f"{row.trials} of {row.trials + row.left_out}" if row.left_out else f"{row.trials}",
                f"{row.tasks}",
                today_words(row),
                _average(row.cost_usd, row.trials, lambda mean: words.usd(Decimal(repr(mean)))),
                _average(row.wall_s, row.trials, words.seconds),
                _average(row.energy_j, row.trials, words.joules),
                stamp(row.newest_s)[:DATE_CHARS],
            )
            for row in rows
        ],
    )


def from_words(row: Rolled) -> str:
    made = f"{words.plural(row.trials, 'trial')} of {words.plural(row.tasks, 'task')}"
    return f"{made}, {row.left_out} left out" if row.left_out else made


def today_words(row: Rolled) -> str:
    """How many of its sample it is worth."""
    size = row.effective_tasks if row.sample == "tasks" else row.effective_trials
    return f"{size:.1f} {row.sample}"


def _average(found: Average | None, of: int, spelled: Callable[[float], str]) -> str:
    if found is None:
        return words.UNKNOWN if of else words.NONE
    return spelled(found.mean) + (f" ({found.known} of {of})" if found.known < of else "")


def _claim(row: Rolled) -> str:
    if row.mean is None:
        return f"{row.label}: nothing counts ({from_words(row)})"
    bounds = f"95 % interval {words.interval(row.interval)}"
    return (
        f"{row.label}: mean reward {words.reward(row.mean)} ({bounds}), from {from_words(row)},"
        f" worth {today_words(row)} today"
    )


def claim_lines(claim: Claim) -> list[str]:
    kinds = dict.fromkeys(configuration_words(trial.configuration) for trial in claim.behind)
    return [_claim(claim.rolled), *(f"  {kind}" for kind in kinds), *note_lines(claim.rolled)]


def note_lines(row: Rolled) -> list[str]:
    return [f"  {row.label}: {note}" for note in row.notes]


def explained_table(claim: Claim, reading: Reading, whereabouts: Whereabouts) -> Table:
    return table_of(
        "the trials behind it",
        ["=entry", "=date", "=job/trial", ">reward", ">weight", ">cost", ">wall", "=evidence", "=said"],
        [
            (
                trial.ids[0][:SHORT_CHARS],
                _date(trial),
                f"{trial.entry.evidence.job}/{trial.entry.evidence.trial}",
                reward_words(trial),
                f"{reading.weight(trial):.2f}" if trial.outcome.counts else words.NONE,
                words.usd(trial.entry.cost_usd),
                words.seconds(trial.entry.wall_s),
                whereabouts(trial),
                said(trial),
            )
            for trial in claim.behind
        ],
    )


# --- suggestion ------------------------------------------------------------------------------------


def suggestion_lines(found: Suggestion, labels: Mapping[str, str]) -> list[str]:
    lines = [_verdict(found, labels)]
    best = found.contenders[0].key if found.contenders else None
    lines += [_comparison(one, found, labels) for one in found.compared if one.a == best]
    if found.others and found.verdict != "one tried":
        names = ", ".join(row.label for row in found.others)
        least = f"{MIN_TRIALS} trials" if found.is_one_task else f"{MIN_TASKS} tasks"
        lines.append(f"Tried too seldom to be compared, on fewer than {least}: {names}.")
    if found.too_old:
        trials = words.plural(found.too_old, "trial")
        lines.append(f"Left out as too old: {trials}, more than {MAX_HALVINGS:g} half-lives.")
    return lines


def _verdict(found: Suggestion, labels: Mapping[str, str]) -> str:
    if found.verdict == "none":
        return f"There is no evidence: nothing in the log counts on {found.basis}."
    if found.verdict == "one tried":
        [row] = (*found.contenders, *found.others)
        return f"Only {row.label} has been tried on {found.basis}: there is nothing to compare it with."
    if found.named is not None:
        rivals = words.plural(len(found.contenders) - 1, "other configuration")
        return f"{labels[found.named]}: better on {found.basis} than {rivals} tried there."
    text = f"There is not enough evidence on {found.basis} to tell the best apart."
    if found.cheapest is not None:
        text += f" Of those to which none is better, {labels[found.cheapest]} costs least."
    return text


def _comparison(one: Compared, found: Suggestion, labels: Mapping[str, str]) -> str:
    unit = "trial" if found.is_one_task else "task"
    pair = f"{labels[one.a]} less {labels[one.b]}"
    if one.difference is None:
        return f"{pair}: they have no task in common."
    points = f"{100 * one.difference:+.1f} points"
    if one.p is None:
        return (
            f"{pair}: {points} on {words.plural(one.n, unit)} in common: fewer than {MIN_TASKS} show nothing."
        )
    return f"{pair}: {points}, p = {one.p:.3f}, {words.plural(one.n, unit)}."


# --- JSON ------------------------------------------------------------------------------------------


def rolled_json(row: Rolled) -> dict[str, Any]:
    return {
        "subject": row.subject,
        "configuration": row.label,
        "sha": row.key,
        "versions": list(row.versions),
        "trials": row.trials,
        "left_out": row.left_out,
        "tasks": row.tasks,
        "effective_trials": row.effective_trials,
        "effective_tasks": row.effective_tasks,
        "mean_reward": row.mean,
        "interval": None if row.interval is None else [row.interval.low, row.interval.high],
        "interval_over": row.sample,
        "cost_usd": _average_json(row.cost_usd),
        "wall_s": _average_json(row.wall_s),
        "energy_j": _average_json(row.energy_j),
        "newest": stamp(row.newest_s),
        "oldest": stamp(row.oldest_s),
        "notes": list(row.notes),
    }


def _average_json(found: Average | None) -> dict[str, Any] | None:
    return None if found is None else {"mean": found.mean, "known": found.known}


def trial_json(trial: NotedTrial) -> dict[str, Any]:
    return {
        "ids": list(trial.ids),
        "tags": list(trial.tags),
        "remarks": [{"by": one.by, "note": one.note} for one in trial.remarks],
        **trial.entry.model_dump(mode="json", exclude={"format", "kind", "by", "note"}),
    }


def withdrawn_json(one: Withdrawn) -> dict[str, Any]:
    return {
        **trial_json(one.trial),
        "retractions": [{"id": found.id, **found.model_dump(mode="json")} for found in one.retractions],
    }


def explanation_json(found: Explanation, reading: Reading, whereabouts: Whereabouts) -> dict[str, Any]:
    return {
        "claims": [
            {
                **rolled_json(claim.rolled),
                "behind": [
                    {**trial_json(trial), "weight": reading.weight(trial), "result": whereabouts(trial)}
                    for trial in claim.behind
                ],
            }
            for claim in found.claims
        ],
        "withdrawn": [withdrawn_json(one) for one in found.withdrawn],
    }


def reading_json(reading: Reading) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "now": stamp(reading.now_s),
        "half_life_s": reading.half_life_s,
        "any_version": reading.any_version,
    }


def suggestion_json(found: Suggestion, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "configuration": None if found.named is None else labels[found.named],
        "sha": found.named,
        "cheapest": None if found.cheapest is None else labels[found.cheapest],
        "basis": found.basis,
        "contenders": [rolled_json(row) for row in found.contenders],
        "others": [rolled_json(row) for row in found.others],
        "compared": [
            {
                "a": labels[one.a],
                "b": labels[one.b],
                "difference": one.difference,
                "p": one.p,
                "n": one.n,
            }
            for one in found.compared
        ],
        "too_old": found.too_old,
    }
