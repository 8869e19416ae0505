"""The plan "race-demo": what its scripts and judges say to the questions that a selection asks."""

from __future__ import annotations

import asyncio
import tomllib
from itertools import permutations
from pathlib import Path

import pytest

from bench.behaviour import Behaviour, read_behaviour
from bench.plan import PLANS, named_plan
from bench.selection.prompts import (
    Note,
    Prompt,
    Ranking,
    Shown,
    comparison_prompt,
    note_prompt,
    read_note,
    read_ranking,
)
from bench.task import named_task, prepare
from bench.task_check import SEED, solve
from bench.verifier import verify
from inference.chat import ChatRequest, Message, TextPart
from inference.engines.script import read_script
from inference.engines.script_answers import answer, candidates, scene

TASK = named_task("fork-spec")
ROOM_CHARS = 100_000
RIGHT, SUBTLE = "oracle", "filters"


def behaviour(solution: str, root: Path) -> Behaviour:
    """What the task's checks saw one of its solutions do."""

    async def main() -> None:
        for name in ("app", "home", "logs"):
            (root / name).mkdir(parents=True)
        prepare(TASK, root / "app", SEED)
        await solve(TASK, TASK.solutions()[solution], root, SEED)
        await verify(TASK, root / "app", root / "logs", SEED)

    asyncio.run(main())
    found = read_behaviour(root / "logs" / "verifier" / "behaviour.json")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def behaviours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Behaviour]:
    return {name: behaviour(name, tmp_path_factory.mktemp(name)) for name in TASK.solutions()}


@pytest.fixture(scope="module")
def shown(behaviours: dict[str, Behaviour]) -> dict[str, Shown]:
    return {
        name: Shown(
            (TASK.solutions()[name] / "expenses.py").read_text(),
            tuple((probe.name, probe.input, probe.output) for probe in found.probes),
        )
        for name, found in behaviours.items()
    }


def said(judge: str, prompt: Prompt) -> str:
    """What the scripted model answers."""
    script = read_script(PLANS / "race-demo" / f"{judge}.toml")
    messages = (
        Message(role="system", content=(TextPart(text=prompt.system),)),
        Message(role="user", content=(TextPart(text=prompt.user),)),
    )
    found = candidates(script, scene(ChatRequest(model=judge, messages=messages)))[0]
    return answer(script.turn[found.number], found.captures).text


def ranking(judge: str, order: tuple[str, ...], shown: dict[str, Shown]) -> Ranking:
    prompt = comparison_prompt("the task", [shown[name] for name in order], [None] * len(order), ROOM_CHARS)
    found = read_ranking(said(judge, prompt), len(order))
    assert found is not None
    return found


def note(judge: str, one: Shown) -> Note:
    found = read_note(said(judge, note_prompt("the task", one, ROOM_CHARS)))
    assert found is not None
    return found


def test_it_brings_its_models_and_judges() -> None:
    plan = named_plan("race-demo")
    assert plan.config is not None
    served = tomllib.loads(plan.config.read_text())["models"]
    named = {model for one in plan.configurations for model in one.models}
    assert named | {"judge-perfect", "judge-first"} == set(served)
    assert all((plan.config.parent / model["path"]).is_file() for model in served.values())
    assert [(one.name, one.harness) for one in plan.configurations] == [
        ("right", "opencode"),
        ("subtle", "codex"),
        ("failing", "claude-code"),
    ]


def test_readings_are_those_that_the_task_declares(behaviours: dict[str, Behaviour]) -> None:
    (fork,) = TASK.forks
    readings = {name: {probe.reading for probe in found.probes} for name, found in behaviours.items()}
    assert readings == {
        "oracle": {fork.readings[0]},
        "filters": {"filter"},
        "refuses": {"refuse"},
        "ignores": {"other"},
        "mixes": {"restrict", "filter"},
        "forgets": {"restrict", "other"},
    }
    assert set(fork.readings) == {"restrict", "filter", "refuse"}
    assert {probe.question for found in behaviours.values() for probe in found.probes} == {fork.question}


@pytest.mark.parametrize("order", list(permutations((RIGHT, SUBTLE, "refuses"))), ids=" ".join)
def test_the_perfect_judge_finds_the_right_one_wherever_it_stands(
    order: tuple[str, ...], shown: dict[str, Shown]
) -> None:
    found = ranking("judge-perfect", order, shown)
    assert (found.verdict, found.ranking) == ("ranked", ("ABC"[order.index(RIGHT)],))
    assert f"Candidate {found.ranking[0]} cuts" in found.reason


@pytest.mark.parametrize("other", ["filters", "refuses", "ignores", "mixes", "forgets"])
def test_the_perfect_judge_is_right_beside_every_wrong_solution(other: str, shown: dict[str, Shown]) -> None:
    assert ranking("judge-perfect", (RIGHT, other), shown).ranking == ("A",)
    assert ranking("judge-perfect", (other, RIGHT), shown).ranking == ("B",)


def test_the_perfect_judge_says_if_nobody_is_right(shown: dict[str, Shown]) -> None:
    assert ranking("judge-perfect", ("filters", "mixes"), shown).verdict == "none"


def test_alone_the_subtly_wrong_one_looks_better(shown: dict[str, Shown]) -> None:
    right, subtle = note("judge-perfect", shown[RIGHT]), note("judge-perfect", shown[SUBTLE])
    assert (right.score, subtle.score) == (6, 9)
    assert right.problems
    assert not subtle.problems
    assert note("judge-perfect", shown["refuses"]).score < right.score


@pytest.mark.parametrize("order", [(RIGHT, SUBTLE), (SUBTLE, RIGHT), (SUBTLE, "mixes", RIGHT)])
def test_the_other_judge_takes_whoever_comes_first(order: tuple[str, ...], shown: dict[str, Shown]) -> None:
    assert ranking("judge-first", order, shown).ranking == ("A",)
    assert len({note("judge-first", shown[name]).score for name in order}) == 1
