"""Results of a job that never ran: rewards drawn by seed, for tests of reports and for their picture.

    python tests/bench/simulated_job.py FOLDER

writes one into FOLDER, with rows, as a real one lies there.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.evidence import (
    Expected,
    Row,
    cost_of,
    delegations_of,
    gaps,
    nodes_of,
    parallel_s,
    reasons_against,
    waited_s,
)
from bench.results import Claimed, Manifest, Role, Tokens, TrialResult, write_result

BEGUN_AT = 1_790_000_000.0
TASKS = (
    "bugfix-5",
    "katas-12",
    "migrate-30(n=5)",
    "migrate-30(n=15)",
    "novel-api",
    "research-impl",
    "smoke",
    "write-tests",
)
MANY_FILES = ("migrate", "research")
ATTEMPTS = 5


@dataclass(frozen=True)
class Contender:
    name: str
    harness: str
    version: str
    skill: float
    main: str
    helper: str
    dollars_per_million: str
    delegates: float  # chance


CONTENDERS = (
    Contender("alone", "codex", "0.169.0", 0.64, "remote-large", "local-medium", "2.2", 0.0),
    Contender("helped", "claude-code", "2.1.330", 0.72, "remote-large", "local-medium", "2.2", 0.6),
    Contender("thrifty", "opencode", "1.18.33", 0.68, "remote-small", "local-medium", "0.9", 0.8),
    Contender("local", "opencode", "1.18.33", 0.42, "local-medium", "local-tiny", "0.04", 0.4),
)


def simulated(
    seed: int = 1,
    contenders: Sequence[Contender] = CONTENDERS,
    tasks: Sequence[str] = TASKS,
    attempts: int = ATTEMPTS,
) -> list[tuple[TrialResult, list[Row]]]:
    """The verdict of the gate is the real one: one trial's sub-agent was never answered."""
    dice = random.Random(seed)
    ease = {task: dice.uniform(-0.15, 0.3) for task in tasks}
    return [
        _trial(dice, contender, task, ease[task], attempt)
        for contender in contenders
        for task in tasks
        for attempt in range(1, attempts + 1)
    ]


def _trial(
    dice: random.Random, contender: Contender, task: str, ease: float, attempt: int
) -> tuple[TrialResult, list[Row]]:
    trial = f"{task}-{contender.name}-{attempt}".translate(str.maketrans("(=)", "___"))
    if dice.random() < 0.015:
        return _broken(contender, task, attempt, trial), []
    rows = _rows(dice, contender)
    expected = Expected(contender.main, contender.main, (contender.helper,))
    reasons = reasons_against(rows, expected, names={})
    wire = sum((row.tokens for row in rows), Tokens())
    steps = round(4 * min(1.0, max(0.0, dice.gauss(contender.skill + ease, 0.2))))
    says = {
        "input": wire.input // 6,
        "cached": wire.cached // 6,
        "output": wire.output // 4,
        "reasoning": None,
    }
    wall_s = max(row.ended_at for row in rows) - BEGUN_AT + 1.5
    result = TrialResult(
        **_identity(contender, task, attempt, trial),
        run=f"r-{trial}",
        outcome="scored" if dice.random() < 0.95 else "timed-out",
        why_ended="exited",
        validity="INVALID" if reasons else "VALID",
        invalid_because=reasons,
        findings=("read ../secret.txt",) if dice.random() < 0.01 else (),
        reward=steps / 4,
        scores={"behaviour": steps / 4, "style": round(dice.random(), 2)},
        wall_s=wall_s,
        waited_s=waited_s(rows),
        overhead_s=dice.uniform(0.2, 0.6),
        verifier_s=dice.uniform(0.5, 2),
        nodes=nodes_of(rows, BEGUN_AT),
        delegations=delegations_of(rows),
        brief_chars=(dice.randrange(200, 900),) if delegations_of(rows) else (),
        return_chars=(dice.randrange(100, 4000),) if delegations_of(rows) else (),
        parallel_s=parallel_s(rows),
        swaps=dice.randrange(3),
        peak_vram_bytes=22 * 2**30 + dice.randrange(2**30),
        energy_j=dice.uniform(2e3, 2e4) if contender.name == "local" else None,
        cost_usd=cost_of(rows),
        claimed=Claimed(
            tokens=gaps(wire, says),
            cost_usd=(cost_of(rows) or Decimal(0)) * 3,
            delegations=delegations_of(rows),
        ),
        manifest=Manifest(
            hotseat="0.1.0",
            harness=contender.harness,
            harness_version=contender.version,
            engine="llama.cpp b9999",
            models={contender.helper: "ab" * 32},
            prompt_sha="cd" * 32,
            system_sha={"main": "12" * 32},
            tools_sha={"main": "34" * 32},
            context={contender.main: 131072},
            price_book="book:2026-11-01",
            isolation="bubblewrap, loopback only",
            cache="warm",
            slots={contender.helper: 2},
        ),
    )
    return result, rows


def _identity(contender: Contender, task: str, attempt: int, trial: str) -> dict[str, Any]:
    return {
        "job": "simulated",
        "trial": trial,
        "task": task,
        "task_digest": (task.encode().hex() + "0" * 64)[:64],
        "tags": ("python", "many-files") if task.startswith(MANY_FILES) else ("python",),
        "configuration": contender.name,
        "attempt": attempt,
        "seed": attempt,
        "policy": "native",
        "started_at": BEGUN_AT,
    }


def _broken(contender: Contender, task: str, attempt: int, trial: str) -> TrialResult:
    said = "the server at http:8080 does not answer: start it with `hotseat serve`"
    return TrialResult(
        **_identity(contender, task, attempt, trial),
        run="",
        outcome="infrastructure",
        why_ended="infrastructure",
        error=said,
        validity="INVALID",
        invalid_because=(f"it could not be run: {said}",),
        reward=None,
        wall_s=0.0,
        waited_s=0.0,
        overhead_s=0.4,
        verifier_s=0.0,
        manifest=Manifest(hotseat="0.1.0", harness=contender.harness, harness_version=contender.version),
    )


def _rows(dice: random.Random, contender: Contender) -> list[Row]:
    rows: list[Row] = []
    now_s = 1.0

    def ask(node: str, parent: str, role: Role, model: str, at_s: float, status: int = 200) -> float:
        waits_s = dice.choice((0.0, 0.0, 0.3, 4.0)) if model.startswith("local") else 0.0
        answers_s = dice.uniform(2, 9)
        tokens = dice.randrange(4000, 24000)
        rows.append(
            Row(
                request_id=f"q{len(rows)}",
                started_at=BEGUN_AT + at_s,
                ended_at=BEGUN_AT + at_s + waits_s + answers_s,
                node=node,
                parent_node=parent,
                role=role,
                harness=contender.harness,
                model=model,
                upstream="local" if model.startswith("local") else "openrouter",
                status=status,
                code="" if status == 200 else "model_not_found",
                queue_s=waits_s / 4,
                load_s=waits_s * 3 / 4,
                input_tokens=tokens if status == 200 else 0,
                cached_tokens=int(tokens * 0.8) if status == 200 else 0,
                output_tokens=dice.randrange(80, 900) if status == 200 else 0,
                tool_calls=1,
                cost_usd=Decimal(contender.dollars_per_million) * tokens / 10**6 if status == 200 else None,
                price_source="book:2026-11-01",
            )
        )
        return at_s + waits_s + answers_s

    ask("title", "main", "auxiliary", contender.main, 0.4)
    for _ in range(dice.randrange(2, 5)):
        now_s = ask("main", "", "main", contender.main, now_s) + dice.uniform(0.1, 1.0)
    if dice.random() < contender.delegates:
        ends = [now_s]
        for helper in range(dice.randrange(1, 3)):
            at_s = now_s + 0.2 * helper
            status = 404 if dice.random() < 0.03 else 200
            for _ in range(dice.randrange(1, 4)):
                at_s = ask(f"helper-{helper}", "main", "subagent", contender.helper, at_s, status) + 0.2
            ends.append(at_s)
        now_s = max(ends)
    for _ in range(dice.randrange(1, 4)):
        now_s = ask("main", "", "main", contender.main, now_s) + dice.uniform(0.1, 1.0)
    return rows


def write_job(folder: Path, trials: Sequence[tuple[TrialResult, list[Row]]], plan: str = "simulated") -> None:
    for result, rows in trials:
        kept = folder / "trials" / result.trial
        kept.mkdir(parents=True)
        (kept / "rows.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
        write_result(kept, result)
    about = {
        "format": 1,
        "job": folder.name,
        "plan": plan,
        "began_at": BEGUN_AT,
        "cells": [result.trial for result, _ in trials],
        "machine": {"system": "Linux", "cpus": 16},
    }
    (folder / "job.json").write_text(json.dumps(about))


if __name__ == "__main__":
    write_job(Path(sys.argv[1]), simulated())
