"""A trial as a trajectory in ATIF (Agent Trajectory Interchange Format, v1.7). Pure.

The steps are the requests of the ledger: who asked whom, when, with how many tokens, for how much. What
models wrote is not kept by Hotseat, so the messages are empty but for the prompts and the last word of a
phase. A sub-agent is a trajectory within that of its parent, referred to by the step before it began.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bench.evidence import Row, cost_of
from bench.results import TrialResult

SCHEMA = "ATIF-v1.7"
_NOTES = (
    "Made by Hotseat from requests counted on the wire. What models wrote is not kept: messages are empty but"
    " for the prompts and the last answer of each phase. Prompts of later phases stand at the beginning."
)


@dataclass(frozen=True, slots=True)
class Said:
    """In one phase: the prompt, and the harness's last word; "" where it is not known."""

    prompt: str
    final_text: str = ""


def trajectory(result: TrialResult, rows: Sequence[Row], phases: Sequence[Said]) -> dict[str, Any]:
    asked = sorted((row for row in rows if row.is_asked), key=lambda row: row.started_at)
    subagents = _by_node(row for row in asked if row.role == "subagent")
    own = [row for row in asked if row.node not in subagents]
    steps = [_user(phase.prompt) for phase in phases] or [_user("")]
    steps += [_agent(row) for row in own]
    texts = [phase.final_text for phase in phases if phase.final_text]
    if texts and own:
        steps[-1]["message"] = texts[-1]
    inner = [_subagent(result, node, subagents) for node in subagents if _is_outer(node, subagents)]
    _refer(steps, [None] * (len(steps) - len(own)) + [row.started_at for row in own], inner, subagents)
    made: dict[str, Any] = {
        "schema_version": SCHEMA,
        "session_id": result.run,
        "trajectory_id": result.trial,
        "agent": _who(result, _model_of(own)),
        "steps": _numbered(steps),
        "notes": _NOTES,
        "final_metrics": _final(own, asked, len(steps)),
        "extra": _extra(result),
    }
    return made | ({"subagent_trajectories": inner} if inner else {})


def _by_node(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.node, []).append(row)
    return found


def _is_outer(node: str, subagents: Mapping[str, Sequence[Row]]) -> bool:
    """Whether its parent is no sub-agent. Of a circle of parents, which headers could claim, the one that
    worked first is."""
    seen = [node]
    while (parent := subagents[seen[-1]][0].parent_node) in subagents:
        if parent in seen:
            return node == next(each for each in subagents if each in seen[seen.index(parent) :])
        seen.append(parent)
    return len(seen) == 1


def _subagent(result: TrialResult, node: str, subagents: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    rows = subagents[node]
    rest = {name: found for name, found in subagents.items() if name != node}  # no circle of parents
    inner = [_subagent(result, name, rest) for name in rest if rest[name][0].parent_node == node]
    steps = [_agent(row) for row in rows]
    _refer(steps, [row.started_at for row in rows], inner, subagents)
    made: dict[str, Any] = {
        "schema_version": SCHEMA,
        "session_id": result.run,
        "trajectory_id": node,
        "agent": _who(result, _model_of(rows)),
        "steps": _numbered(steps),
        "final_metrics": _final(rows, rows, len(steps)),
    }
    return made | ({"subagent_trajectories": inner} if inner else {})


def _refer(
    steps: list[dict[str, Any]],
    began: Sequence[float | None],
    inner: Sequence[Mapping[str, Any]],
    subagents: Mapping[str, Sequence[Row]],
) -> None:
    """From the last step that had begun when the sub-agent did, else from the first."""
    for each in inner:
        node = each["trajectory_id"]
        first_at = subagents[node][0].started_at
        before = [i for i, at in enumerate(began) if at is not None and at <= first_at]
        step = steps[before[-1] if before else 0]
        reference = {"subagent_trajectory_ref": [{"trajectory_id": node}]}
        step.setdefault("observation", {"results": []})["results"].append(reference)


def _numbered(steps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"step_id": number, **step} for number, step in enumerate(steps, start=1)]


def _user(prompt: str) -> dict[str, Any]:
    return {"source": "user", "message": prompt}


def _agent(row: Row) -> dict[str, Any]:
    extra: dict[str, Any] = {"request_id": row.request_id, "role": row.role, "tool_calls": row.tool_calls}
    if not row.is_answered:
        extra |= {"status": row.status, "code": row.code}
    return {
        "source": "agent",
        "timestamp": iso(row.started_at),
        "model_name": row.model or row.requested_model,
        "message": "",
        "llm_call_count": 1,
        "metrics": {
            "prompt_tokens": row.input_tokens,
            "completion_tokens": row.output_tokens,
            "cached_tokens": row.cached_tokens,
            **_money(row.cost_usd, "cost_usd"),
            "extra": {"reasoning_tokens": row.reasoning_tokens} | _exact(row.cost_usd),
        },
        "extra": extra,
    }


def _final(own: Sequence[Row], all_rows: Sequence[Row], n_steps: int) -> dict[str, Any]:
    """Tokens of its own steps; money of its sub-agents too, as ATIF wants both."""
    cost_usd = cost_of(all_rows)
    return {
        "total_prompt_tokens": sum(row.input_tokens for row in own),
        "total_completion_tokens": sum(row.output_tokens for row in own),
        "total_cached_tokens": sum(row.cached_tokens for row in own),
        **_money(cost_usd, "total_cost_usd"),
        "total_steps": n_steps,
        "extra": _exact(cost_usd),
    }


def _money(cost_usd: Decimal | None, name: str) -> dict[str, float]:
    return {} if cost_usd is None else {name: float(cost_usd)}


def _exact(cost_usd: Decimal | None) -> dict[str, str]:
    """To the last digit, which a float has not."""
    return {} if cost_usd is None else {"exact_cost_usd": f"{cost_usd:f}"}


def _who(result: TrialResult, model: str) -> dict[str, Any]:
    found = {"name": result.manifest.harness, "version": result.manifest.harness_version or "unknown"}
    return found | ({"model_name": model} if model else {})


def _model_of(rows: Sequence[Row]) -> str:
    """Of its own turns, not of titles."""
    turns = [row for row in rows if row.role in ("main", "subagent")] or rows
    return turns[0].model or turns[0].requested_model if turns else ""


def _extra(result: TrialResult) -> dict[str, Any]:
    return {
        "job": result.job,
        "task": result.task,
        "task_digest": result.task_digest,
        "configuration": result.configuration,
        "attempt": result.attempt,
        "seed": result.seed,
        "policy": result.policy,
        "outcome": result.outcome,
        "validity": result.validity,
        "reward": result.verified_reward,
    }


def iso(at_s: float) -> str:
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).isoformat()
