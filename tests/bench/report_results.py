"""Results with round numbers, from which a report's numbers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from bench.reports.joining import JobResults
from bench.reports.recomputed import report_of
from bench.reports.report import JobInfo, Report
from bench.results import Manifest, NodeTotals, Tokens, TrialResult


def node(**changes: Any) -> NodeTotals:
    given: dict[str, Any] = {
        "node": "m",
        "parent_node": "",
        "role": "main",
        "model": "big",
        "upstream": "local",
        "requests": 2,
        "failed_requests": 0,
        "tokens": Tokens(input=100, cached=60, output=10, reasoning=4),
        "tool_calls": 1,
        "cost_usd": Decimal("0.25"),
        "first_s": 0.5,
        "last_s": 3.0,
        "busy_s": 2.0,
        "waited_s": 0.25,
    }
    return NodeTotals(**(given | changes))


HELPER = node(node="h", parent_node="m", role="subagent", model="small")


def result(configuration: str = "a", task: str = "t1", attempt: int = 1, **changes: Any) -> TrialResult:
    given: dict[str, Any] = {
        "job": "j",
        "trial": f"{task}-{configuration}-{attempt}",
        "run": "r",
        "task": task,
        "task_digest": task.encode().hex().ljust(64, "0"),
        "configuration": configuration,
        "attempt": attempt,
        "seed": 5,
        "policy": "native",
        "started_at": 1.0,
        "outcome": "scored",
        "why_ended": "exited",
        "validity": "VALID",
        "reward": 0.5,
        "wall_s": 10.0,
        "waited_s": 4.0,
        "overhead_s": 0.2,
        "verifier_s": 0.1,
        "nodes": (node(),),
        "cost_usd": Decimal("0.25"),
        "manifest": Manifest(hotseat="0", harness="codex", harness_version="1"),
    }
    return TrialResult(**(given | changes))


def not_run(
    configuration: str = "a", task: str = "t1", attempt: int = 1, error: str = "no server"
) -> TrialResult:
    return result(
        configuration,
        task,
        attempt,
        outcome="infrastructure",
        validity="INVALID",
        invalid_because=(f"it could not be run: {error}",),
        error=error,
        reward=None,
        nodes=(),
        cost_usd=None,
        wall_s=0.0,
        waited_s=0.0,
    )


def job(results: Sequence[TrialResult], name: str = "j", **about: Any) -> JobResults:
    return JobResults(JobInfo(name, finished=len(results), **about), tuple(results))


def report(*results: TrialResult, **about: Any) -> Report:
    return report_of([job(results, **about)])
