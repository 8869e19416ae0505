"""opencode's configuration and stream."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.harnesses.base import Claim, Recipe
from bench.harnesses.opencode import OpenCode
from tests.bench.harness_setups import HELPER, HOME, setup

RECORDINGS = Path(__file__).parents[1] / "recordings" / "transcripts"


def config(recipe: Recipe) -> dict[str, Any]:
    assert recipe.env["OPENCODE_CONFIG"] == str(HOME / "opencode.json")
    read: dict[str, Any] = json.loads(recipe.files[HOME / "opencode.json"])
    return read


def test_the_configuration_names_every_model_with_its_limits() -> None:
    read = config(OpenCode().interactive(setup()))
    provider = read["provider"]["hotseat"]
    limits = {name: model["limit"] for name, model in provider["models"].items()}
    assert limits == {
        "big": {"context": 131_072, "output": 32_000},
        "org/Qwen 3.6": {"context": 65_536, "output": 16_384},
        "helper": {"context": 32_768, "output": 8192},
        "tiny": {"context": 4096, "output": 1024},
    }
    assert (read["model"], read["small_model"]) == ("hotseat/big", "hotseat/tiny")
    assert read["enabled_providers"] == ["hotseat"]
    assert provider["options"]["baseURL"] == "http://127.0.0.1:8080/v1"
    assert provider["options"]["apiKey"] == "{env:HOTSEAT_API_KEY}"
    assert provider["options"]["headerTimeout"] is False
    assert "permission" not in read


def test_sub_agents_and_their_tools() -> None:
    limited = dataclasses.replace(HELPER, name="reader", tools=("read", "grep"))
    agents = config(OpenCode().interactive(setup(subagents=(HELPER, limited))))["agent"]
    assert agents["helper"] == {
        "mode": "subagent",
        "description": 'Small "chores"',
        "model": "hotseat/helper",
        "prompt": "You are small.\nBe brief.",
    }
    assert agents["reader"]["permission"] == {"*": "deny", "read": "allow", "grep": "allow"}


def test_effort_is_the_main_models_and_only_when_asked_for() -> None:
    models = config(OpenCode().headless(setup(effort="high"), "x"))["provider"]["hotseat"]["models"]
    assert {name for name, model in models.items() if "options" in model} == {"big"}
    assert models["big"]["options"] == {"reasoningEffort": "high"}
    assert "reasoningEffort" not in json.dumps(config(OpenCode().headless(setup(), "x")))


def test_headless_asks_nobody_and_the_small_model_for_no_title() -> None:
    recipe = OpenCode().headless(setup(), "x")
    assert recipe.argv[:4] == ("opencode", "run", "--format", "json")
    assert "--title" in recipe.argv
    assert "--auto" in recipe.argv
    assert config(recipe)["permission"] == "allow"
    assert recipe.env["OPENCODE_DISABLE_PROJECT_CONFIG"] == "1"
    assert "OPENCODE_DISABLE_PROJECT_CONFIG" not in OpenCode().interactive(setup()).env  # AGENTS.md counts


def test_no_package_is_fetched() -> None:
    recipe = OpenCode().interactive(setup())
    directory = Path(recipe.env["XDG_CONFIG_HOME"]) / "opencode"
    manifest, lock = (
        json.loads(recipe.seeds[directory / name]) for name in ("package.json", "package-lock.json")
    )
    assert lock["packages"][""]["dependencies"] == manifest["dependencies"]
    assert any(path.parent == directory / "node_modules" for path in recipe.seeds)
    assert recipe.env["OPENCODE_DISABLE_MODELS_FETCH"] == "1"


def test_a_run_that_delegated() -> None:
    transcript = OpenCode().parse((RECORDINGS / "opencode_work.jsonl").read_text().splitlines())
    assert transcript.final_text == "All done."
    assert transcript.session_id == "ses_dfebd65adffeacAkJUOGncL2PK"
    assert transcript.claimed == Claim(8524 + 41 + 8524 + 8639, 8524, 28 + 3 + 36 + 3, 3)
    assert transcript.claimed_cost_usd == Decimal(0)
    assert (transcript.tool_calls, transcript.delegations) == (2, 1)
    assert (transcript.errors, transcript.is_error) == ((), False)


def test_a_run_that_was_refused() -> None:
    transcript = OpenCode().parse((RECORDINGS / "opencode_refused.jsonl").read_text().splitlines())
    assert transcript.is_error
    assert transcript.errors[0].startswith("APIError: model 'absent': not downloaded")
    assert transcript.claimed == Claim()


@pytest.mark.parametrize(
    ("lines", "is_error"),
    [
        (['{"type":"step_start"}', '{"type":"step_finish","part":{"reason":"stop"}}'], False),
        (['{"type":"step_start"}', '{"type":"step_finish","part":{"reason":"length"}}'], False),
        # cut off, or a permission was refused: its exit code is 0
        (['{"type":"step_start"}', '{"type":"step_finish","part":{"reason":"tool-calls"}}'], True),
        (['{"type":"step_finish","part":{"reason":"stop"}}', '{"type":"step_start"}'], True),
        # an overflow, a compaction, an end: its exit code is 1
        (['{"type":"error","error":{}}', '{"type":"step_finish","part":{"reason":"stop"}}'], False),
        (['{"type":"step_finish","part":{"reason":"stop"}}', '{"type":"error","error":{}}'], True),
    ],
)
def test_whether_it_came_to_its_end(lines: list[str], is_error: bool) -> None:
    assert OpenCode().parse(lines).is_error is is_error
