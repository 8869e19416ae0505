"""The plans that Hotseat ships."""

from __future__ import annotations

import tomllib

import pytest

from bench.plan import PLANS, load_plan, named_plan
from bench.results import MODELLESS

NAMES = [path.stem for path in PLANS.glob("*.toml")]


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_by_its_name(name: str) -> None:
    plan = named_plan(name)
    assert plan.name == name
    assert plan.cells()


def test_the_seven_combinations_of_2026_04() -> None:
    plan = named_plan("akita-2026-04", {"opus-4.7": "mine", "gpt-5.4": "mine"})
    shapes = [(one.harness, one.main, tuple(one.subagents.values())) for one in plan.configurations]
    assert shapes == [
        ("claude-code", "mine", ()),
        ("claude-code", "mine", ("sonnet-4.6",)),
        ("claude-code", "mine", ("haiku-4.5",)),
        ("opencode", "mine", ("glm-5.1",)),
        ("opencode", "mine", ("qwen3.6-35b-a3b",)),
        ("codex", "mine", ("mine",)),
        ("codex", "mine", ("mine",)),
    ]
    assert [dict(one.subagent_efforts) for one in plan.configurations[5:]] == [
        {"helper": "medium"},
        {"helper": "low"},
    ]


def test_the_demo_brings_every_model_that_it_names() -> None:
    plan = named_plan("demo")
    assert plan.config is not None
    served = tomllib.loads(plan.config.read_text())["models"]
    named = {model for one in plan.configurations for model in one.models}
    assert named == set(served)
    assert all((plan.config.parent / model["path"]).is_file() for model in served.values())


def test_the_free_plan_names_no_model_that_others_sell() -> None:
    asking = [
        one for one in load_plan(PLANS / "free-local.toml").configurations if one.harness not in MODELLESS
    ]
    assert {model for one in asking for model in one.models} == {"qwen3.6-35b-a3b", "glm-4.7-flash"}
