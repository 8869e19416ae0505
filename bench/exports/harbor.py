"""A job as Harbor keeps one: its config, its result and those of its trials, and its tasks. Pure.

config.json                 what `harbor run --config` would run again, on the exported tasks
result.json                 totals
TRIAL/config.json           result.json: reward, tokens, times
TRIAL/agent/trajectory.json see atif.py
tasks/NAME/                 a task with its seed and parameters written into it
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from bench.errors import TaskError
from bench.exports.atif import iso
from bench.results import NodeTotals, TrialResult

_SPACE = uuid.UUID("5f3c1c0e-6d0f-5a3b-9a57-0c7e5d5f6a10")
_GENERATES = re.compile(r"^RUN .*generate\.py.*$", re.MULTILINE)
_VERIFIER_ENV = re.compile(r"^\s*\[verifier\.env\]", re.MULTILINE)

Parameters = Mapping[str, int | str]


# --- tasks ---------------------------------------------------------------------------------------


def task_name(task: str, seed: int, parameters: Parameters) -> str:
    """A folder's: every seed and every choice of parameters is a task of its own there."""
    chosen = "".join(f"-{name}{value}" for name, value in sorted(parameters.items()))
    return f"{task}{chosen}-seed{seed}"


def fixed_task_file(text: str, seed: int, parameters: Parameters) -> str:
    """task.toml whose checks know the seed and the parameters. Raises TaskError."""
    if _VERIFIER_ENV.search(text):
        raise TaskError("task.toml has a [verifier.env] of its own: it cannot be exported")
    chosen = {"HOTSEAT_SEED": seed} | {f"HOTSEAT_{name.upper()}": value for name, value in parameters.items()}
    lines = "".join(f'{name} = "{value}"\n' for name, value in chosen.items())
    return f"{text.rstrip()}\n\n[verifier.env]\n{lines}"


def fixed_dockerfile(text: str, seed: int, parameters: Parameters) -> str:
    """A Dockerfile whose generator is given them. Raises TaskError where it is not called as expected."""

    def fixed(found: re.Match[str]) -> str:
        line = found[0]
        for name, value in {"seed": seed, **parameters}.items():
            line, n_found = re.subn(rf"(--{re.escape(name)}[ =])\S+", rf"\g<1>{value}", line)
            if n_found != 1:
                raise TaskError(f"environment/Dockerfile: expected --{name} once in {found[0]!r}")
        return line

    return _GENERATES.sub(fixed, text)


# --- trials --------------------------------------------------------------------------------------


def trial_config(result: TrialResult, task: str, job_folder: str) -> dict[str, Any]:
    return {
        "task": {"path": f"tasks/{task}", "source": result.job},
        "trial_name": result.trial,
        "trials_dir": job_folder,
        "agent": _agent(result),
        "job_id": job_id(result.job),
    }


def trial_result(result: TrialResult, task: str, job_folder: str) -> dict[str, Any]:
    finished_at = result.started_at + result.overhead_s + result.wall_s
    made: dict[str, Any] = {
        "id": str(uuid.uuid5(_SPACE, f"{result.job}/{result.trial}")),
        "task_name": task,
        "trial_name": result.trial,
        "trial_uri": f"{job_folder}/{result.trial}",
        "task_id": {"path": f"tasks/{task}"},
        "source": result.job,
        "task_checksum": result.task_digest,
        "config": trial_config(result, task, job_folder),
        "agent_info": _agent_info(result),
        "agent_result": _agent_result(result),
        "started_at": iso(result.started_at),
        "finished_at": iso(finished_at + result.verifier_s),
        "agent_execution": _timing(result.started_at + result.overhead_s, finished_at),
        "verifier": _timing(finished_at, finished_at + result.verifier_s),
    }
    if result.verified_reward is not None:
        made["verifier_result"] = {"rewards": {**result.scores, "reward": result.reward}}
    if result.validity == "INVALID" or result.outcome != "scored":
        made["exception_info"] = {
            "exception_type": _EXCEPTIONS.get(result.outcome, "InvalidTrial"),
            "exception_message": "; ".join((*result.invalid_because, result.error)).strip("; ")
            or result.why_ended,
            "exception_traceback": "",
            "occurred_at": iso(finished_at),
        }
    return made


_EXCEPTIONS: Mapping[str, str] = {
    "agent-failed": "AgentFailed",
    "timed-out": "AgentTimeoutError",
    "capped": "AgentCapped",
    "verifier-failed": "VerifierFailed",
    "infrastructure": "InfrastructureFailed",
}


def _agent(result: TrialResult) -> dict[str, Any]:
    model = _main_model(result)
    return {"name": result.manifest.harness} | ({"model_name": model} if model else {})


def _agent_info(result: TrialResult) -> dict[str, Any]:
    model, upstream = _main_model(result), next((node.upstream for node in _mains(result)), "")
    info = {"name": result.manifest.harness, "version": result.manifest.harness_version or "unknown"}
    return info | ({"model_info": {"name": model, "provider": upstream or None}} if model else {})


def _mains(result: TrialResult) -> list[NodeTotals]:
    return [node for node in result.nodes if node.role == "main"]


def _main_model(result: TrialResult) -> str:
    return next((node.model for node in _mains(result)), "")


def _agent_result(result: TrialResult) -> dict[str, Any]:
    """As counted on the wire, sub-agents included."""
    tokens = result.tokens
    return {
        "n_input_tokens": tokens.input,
        "n_cache_tokens": tokens.cached,
        "n_output_tokens": tokens.output,
        "cost_usd": _number(result.cost_usd),
        "model_usage": {model: _usage(nodes) for model, nodes in _by_model(result).items()},
        "metadata": {
            "configuration": result.configuration,
            "policy": result.policy,
            "seed": result.seed,
            "validity": result.validity,
            "delegations": result.delegations,
            "exact_cost_usd": None if result.cost_usd is None else f"{result.cost_usd:f}",
        },
    }


def _by_model(result: TrialResult) -> dict[str, list[NodeTotals]]:
    found: dict[str, list[NodeTotals]] = {}
    for node in result.nodes:
        found.setdefault(node.model, []).append(node)
    return found


def _usage(nodes: Sequence[NodeTotals]) -> dict[str, Any]:
    costs = [node.cost_usd for node in nodes]
    known = [cost for cost in costs if cost is not None]
    return {
        "n_input_tokens": sum(node.tokens.input for node in nodes),
        "n_cache_tokens": sum(node.tokens.cached for node in nodes),
        "n_output_tokens": sum(node.tokens.output for node in nodes),
        "cost_usd": _number(sum(known, Decimal(0))) if len(known) == len(costs) else None,
    }


def _number(cost_usd: Decimal | None) -> float | None:
    return None if cost_usd is None else float(cost_usd)


def _timing(started_at: float, finished_at: float) -> dict[str, str]:
    return {"started_at": iso(started_at), "finished_at": iso(finished_at)}


# --- the job -------------------------------------------------------------------------------------


def job_id(job: str) -> str:
    return str(uuid.uuid5(_SPACE, job))


def job_config(job: str, results: Sequence[TrialResult], tasks: Iterable[str]) -> dict[str, Any]:
    """Who is to work on what, once for each attempt. Where Hotseat is, and the key, go into `env` of the
    agents by hand: they are not in an export."""
    agents = {str(_agent(result)): _agent(result) for result in results}
    return {
        "job_name": job,
        "n_attempts": max((result.attempt for result in results), default=1),
        "agents": list(agents.values()),
        "tasks": [{"path": f"tasks/{task}", "source": job} for task in tasks],
    }


def job_result(job: str, results: Sequence[TrialResult]) -> dict[str, Any]:
    begins = [result.started_at for result in results]
    ends = [r.started_at + r.overhead_s + r.wall_s + r.verifier_s for r in results]
    costs = [result.cost_usd for result in results]
    known = [cost for cost in costs if cost is not None]
    return {
        "id": job_id(job),
        "started_at": iso(min(begins, default=0.0)),
        "finished_at": iso(max(ends, default=0.0)),
        "n_total_trials": len(results),
        "stats": {
            "n_completed_trials": len(results),
            "n_errored_trials": sum(_is_errored(result) for result in results),
            "evals": {key: _eval(group) for key, group in _groups(job, results).items()},
            "n_input_tokens": sum(result.tokens.input for result in results),
            "n_cache_tokens": sum(result.tokens.cached for result in results),
            "n_output_tokens": sum(result.tokens.output for result in results),
            "cost_usd": _number(sum(known, Decimal(0))) if known else None,
        },
    }


def _is_errored(result: TrialResult) -> bool:
    return result.validity == "INVALID" or result.outcome != "scored"


def _groups(job: str, results: Sequence[TrialResult]) -> dict[str, list[TrialResult]]:
    """Named as Harbor names them: agent, model, data set."""
    found: dict[str, list[TrialResult]] = {}
    for result in results:
        parts = (result.manifest.harness, _main_model(result), job)
        found.setdefault("__".join(part for part in parts if part), []).append(result)
    return found


def _eval(results: Sequence[TrialResult]) -> dict[str, Any]:
    scored = [result for result in results if result.verified_reward is not None]
    rewards: dict[str, list[str]] = {}
    exceptions: dict[str, list[str]] = {}
    for result in scored:
        rewards.setdefault(str(float(result.reward or 0.0)), []).append(result.trial)
    for result in results:
        if _is_errored(result):
            kind = _EXCEPTIONS.get(result.outcome, "InvalidTrial")
            exceptions.setdefault(kind, []).append(result.trial)
    mean = sum(result.reward or 0.0 for result in scored) / len(scored) if scored else None
    return {
        "n_trials": len(scored),
        "n_errors": sum(_is_errored(result) for result in results),
        "metrics": [] if mean is None else [{"mean": mean}],
        "reward_stats": {"reward": rewards} if rewards else {},
        "exception_stats": exceptions,
    }
