"""What is said before a job begins."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

pytest.importorskip("statsmodels")

from bench.forecast import forecast
from bench.plan import Plan, load_plan
from bench.results import Manifest, TrialResult

PLAN = """
name = "p"
attempts = 4
parallel = 2
caps = { wall = "10m", usd = "0.50" }
tasks = ["smoke"]
[configurations.a]
harness = "oracle"
[configurations.b]
harness = "nop"
"""


FEW = (
    "with 1 task no difference between two configurations can be shown, however large: that takes 6 tasks"
    " or more"
)


def plan_of(folder: Path) -> Plan:
    (folder / "p.toml").write_text(PLAN)
    return load_plan(folder / "p.toml")


def result(plan: Plan, index: int, usd: str) -> TrialResult:
    cell = plan.cells()[index]
    return TrialResult(
        job="j",
        trial=cell.trial,
        run="r",
        task="smoke",
        task_digest="",
        configuration=cell.configuration.name,
        attempt=1,
        seed=1,
        policy="native",
        started_at=0.0,
        outcome="scored",
        why_ended="exited",
        validity="VALID",
        reward=1.0,
        wall_s=50.0,
        waited_s=0.0,
        overhead_s=5.0,
        verifier_s=5.0,
        cost_usd=Decimal(usd),
        manifest=Manifest(hotseat="", harness="", harness_version=""),
    )


def test_of_a_plan_of_which_nothing_is_known(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert forecast(plan, plan.cells(), {}) == [
        "8 trials: 2 configurations x 1 task x 4 attempts, 2 at once",
        FEW,
        "at the most, by the plan's caps: $4.00 and 40 min",
    ]


def test_of_one_that_was_begun(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finished = {one.trial: one for one in (result(plan, 0, "0.10"), result(plan, 1, "0.30"))}
    lines = forecast(plan, plan.cells(), finished)
    assert lines[1] == "2 of them are finished, 6 are left"
    assert lines[3] == "about $1.20 and 3 min by the trials that are finished"
    assert lines[4] == "at the most, by the plan's caps: $3.00 and 30 min"


def test_many_tasks_can_find_something_out(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    many = Plan(
        name="p",
        seed=1,
        attempts=5,
        parallel=1,
        caps=plan.caps,
        tasks=plan.tasks * 10,
        configurations=plan.configurations,
    )
    (line,) = [line for line in forecast(many, plan.cells(), {}) if "true difference" in line]
    assert line.startswith("a true difference of 0.1")
