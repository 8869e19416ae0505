"""A race's plan out of what somebody says: read again by the same code that reads all plans."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import PlanError
from bench.plan import Plan, load_plan
from bench.race_plan import MAX_PARALLEL, RacePlan, label_parts, plan_text, task_named

BASE = """name = "mine"
seed = 5
attempts = 4
parallel = 2
config = "models.toml"
policy = "encouraged"
caps = { wall = "2m", idle = "1m", requests = 9, usd = "1.50" }
tasks = ["smoke"]

[configurations.right]
harness = "opencode"
main = "a\\"b"
small = "c"
subagents = { helper = { model = "d", effort = "low" } }
effort = "high"

[configurations."v1.5"]
harness = "codex"
main = "e"
policy = "required"

[models]
e = "f"
d = "g"
"""


def raced(folder: Path, entrants: Sequence[str], base: str | None = None, **more: Any) -> Plan:
    folder.mkdir(exist_ok=True)
    plan = None
    if base is not None:
        (folder / "models.toml").write_text("")
        (folder / "base.toml").write_text(base)
        plan = load_plan(folder / "base.toml")
    job = folder / "job"
    job.mkdir(exist_ok=True)
    text = plan_text(RacePlan("race-smoke", more.pop("task", "smoke"), entrants, **more), plan)
    (job / "plan.toml").write_text(text)
    return load_plan(job / "plan.toml")


def test_configurations_are_read_from_words(tmp_path: Path) -> None:
    words = ["opencode:qwen3.6", "codex:org/glm-4.7:flash+tiny@low", "claude:big", "nop"]
    plan = raced(tmp_path, words)
    found = {one.name: one for one in plan.configurations}
    assert list(found) == ["opencode-qwen3.6", "codex-org-glm-4.7-flash+tiny-low", "claude-big", "nop"]
    codex = found["codex-org-glm-4.7-flash+tiny-low"]
    assert (codex.harness, codex.main, codex.small, codex.effort) == (
        "codex",
        "org/glm-4.7:flash",
        "org/glm-4.7:flash",
        "low",
    )
    assert dict(codex.subagents) == {"helper": "tiny"}
    assert found["claude-big"].harness == "claude-code"
    assert found["opencode-qwen3.6"].subagents == {}
    assert (plan.attempts, plan.parallel, len(plan.cells())) == (1, 4, 4)


def test_as_many_at_once_as_there_are_within_bounds(tmp_path: Path) -> None:
    assert raced(tmp_path, [f"codex:m{n}" for n in range(12)]).parallel == MAX_PARALLEL
    assert raced(tmp_path, ["nop"], parallel=3).parallel == 3


def test_a_plans_configurations_bring_all_that_is_theirs(tmp_path: Path) -> None:
    plan = raced(tmp_path, ["v1.5", "right"], BASE)
    before = {one.name: one for one in load_plan(tmp_path / "base.toml").configurations}
    assert {one.name: one for one in plan.configurations} == before
    assert [one.name for one in plan.configurations] == ["v1.5", "right"]
    assert (plan.seed, plan.config) == (5, tmp_path / "models.toml")
    assert (plan.caps.wall_s, plan.caps.requests, plan.caps.usd) == (120.0, 9, Decimal("1.50"))
    assert (plan.attempts, plan.parallel) == (1, 2)


def test_a_part_of_a_plan_and_words_beside_it(tmp_path: Path) -> None:
    """[models] of what is left out would be complained of."""
    plan = raced(tmp_path, ["right", "claude:e"], BASE)
    assert [one.main for one in plan.configurations] == ['a"b', "f"]
    assert raced(tmp_path, ["v1.5"], BASE).configurations[0].main == "f"


def test_no_words_are_all_of_a_plan(tmp_path: Path) -> None:
    assert [one.name for one in raced(tmp_path, [], BASE).configurations] == ["right", "v1.5"]
    with pytest.raises(PlanError, match="--with: say who races"):
        raced(tmp_path, [])


def test_bounds_are_those_of_the_command_line(tmp_path: Path) -> None:
    plan = raced(tmp_path, [], BASE, wall="7m", usd="0.25", parallel=1)
    assert (plan.caps.wall_s, plan.caps.usd, plan.caps.requests, plan.parallel) == (
        420.0,
        Decimal("0.25"),
        9,
        1,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["qwen3.6"], "expected HARNESS:MODEL"),
        (["aider:x"], "opencode, codex or claude-code"),
        (["codex:"], "expected HARNESS:MODEL"),
        (["codex:a+"], "expected HARNESS:MODEL"),
        (["codex:a@"], "expected HARNESS:MODEL"),
        (["codex:+a"], "expected HARNESS:MODEL"),
        (["nop:a"], "expected HARNESS:MODEL"),
        (["codex:a", "codex:a"], "is there twice"),
        (["codex:a/b", "codex:a:b"], "is there twice"),
    ],
)
def test_words_that_say_too_little_are_named(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        raced(tmp_path, words)


def test_an_unknown_name_is_told_what_the_plan_has(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"'wrong'.*the plan has right, v1\.5"):
        raced(tmp_path, ["wrong"], BASE)


def test_a_task_may_have_parameters(tmp_path: Path) -> None:
    assert task_named("smoke") == "smoke"
    asked = task_named("migrate-30(n=5)")
    assert asked == {"name": "migrate-30", "n": 5}
    assert label_parts(asked) == ("migrate-30", {"n": 5})
    assert raced(tmp_path, ["nop"], task=asked).tasks[0].label == "migrate-30(n=5)"
    assert label_parts(task_named("smoke")) == ("smoke", {})
    assert task_named("./here") == str(Path("here").absolute())
    for wrong in ("a(b", "a(b)", "(n=1)"):
        with pytest.raises(PlanError, match="expected"):
            task_named(wrong)


@given(st.text(min_size=1, max_size=20).filter(lambda text: not set(text) & set("+@,")))
def test_any_model_name_arrives_as_it_was(model: str) -> None:
    import tomllib

    if any(0xD800 <= ord(char) < 0xE000 for char in model):
        return
    text = plan_text(RacePlan("race", "smoke", ["codex:" + model]), None)
    (configuration,) = tomllib.loads(text)["configurations"].values()
    assert configuration["main"] == model
