"""Codex' configuration, catalog and stream."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harnesses.base import Claim, Recipe, UnsuitedSetup
from bench.harnesses.codex import Codex, toml
from tests.bench.harness_setups import HELPER, HOME, setup

RECORDINGS = Path(__file__).parents[1] / "recordings" / "transcripts"
CODEX_HOME = HOME / "codex"


def config(recipe: Recipe) -> dict[str, Any]:
    assert recipe.env["CODEX_HOME"] == str(CODEX_HOME)
    return tomllib.loads(recipe.files[CODEX_HOME / "config.toml"])


def catalog(recipe: Recipe) -> dict[str, dict[str, Any]]:
    assert config(recipe)["model_catalog_json"] == str(CODEX_HOME / "catalog.json")
    return {model["slug"]: model for model in json.loads(recipe.files[CODEX_HOME / "catalog.json"])["models"]}


def test_every_model_is_in_the_catalog_and_compacts_before_it_overflows() -> None:
    models = catalog(Codex().interactive(setup()))
    assert {name: model["context_window"] for name, model in models.items()} == {
        "big": 131_072,
        "org/Qwen 3.6": 65_536,
        "helper": 32_768,
        "tiny": 4096,
    }
    for model in models.values():
        room = model["context_window"] - model["auto_compact_token_limit"]
        assert room >= 4 * model["truncation_policy"]["limit"]
        assert model["apply_patch_tool_type"] == "freeform"
        assert "*** Begin Patch" in model["base_instructions"]


def test_the_configuration_names_the_server() -> None:
    recipe = Codex().interactive(setup())
    read = config(recipe)
    assert (read["model"], read["model_provider"]) == ("big", "hotseat")
    provider = read["model_providers"]["hotseat"]
    assert provider["base_url"] == "http://127.0.0.1:8080/v1"
    assert (provider["wire_api"], provider["env_key"]) == ("responses", "HOTSEAT_API_KEY")
    assert not {"approval_policy", "sandbox_mode", "model_reasoning_effort"} & read.keys()
    assert not any(read["features"].values())
    assert recipe.argv == ("codex",)


def test_whom_the_user_trusts_is_kept_and_nothing_else_of_the_old_file() -> None:
    recipe = Codex().interactive(setup())
    path = CODEX_HOME / "config.toml"
    new = recipe.files[path]
    merge = recipe.merges[path]
    trusted = 'model = "gone"\n[projects."/a b"]\ntrust_level = "trusted"\nhook = "x"\n'
    old = f'{trusted}[projects.odd]\ntrust_level = "odd"\n[projects.none]\na = 3\n'
    merged = merge(old, new)
    assert tomllib.loads(merged) == {**config(recipe), "projects": {"/a b": {"trust_level": "trusted"}}}
    assert tomllib.loads(merge(merged, new)) == tomllib.loads(merged)
    assert merge("not [ toml", new) == new
    assert tomllib.loads(merge("", new)) == config(recipe)


def test_sub_agents() -> None:
    recipe = Codex().interactive(setup())
    role = config(recipe)["agents"]["helper"]
    assert role["description"] == 'Small "chores"'
    assert tomllib.loads(recipe.files[Path(role["config_file"])]) == {
        "model": "helper",
        "developer_instructions": "You are small.\nBe brief.",
    }
    # what lies there is offered whatever the configuration says
    assert not any(path.is_relative_to(CODEX_HOME / "agents") for path in recipe.files)
    with pytest.raises(UnsuitedSetup, match="cannot limit a sub-agent's tools"):
        Codex().interactive(setup(subagents=(dataclasses.replace(HELPER, tools=("shell",)),)))


@pytest.mark.parametrize(
    ("main", "subagents", "offered"), [("big", (), True), ("tiny", (), False), ("tiny", (HELPER,), True)]
)
def test_a_small_window_is_not_filled_with_tools_for_nobody(
    main: str, subagents: tuple[Any, ...], offered: bool
) -> None:
    agents = config(Codex().interactive(setup(main=main, subagents=subagents))).get("agents", {})
    assert agents.get("enabled", True) is offered


def test_headless() -> None:
    recipe = Codex().headless(setup(effort="high"), "x")
    assert recipe.argv[:4] == ("codex", "exec", "--strict-config", "--json")
    assert recipe.argv[-3:] == ("--cd", "/project", "-")
    read = config(recipe)
    assert (read["approval_policy"], read["sandbox_mode"]) == ("never", "danger-full-access")
    assert read["model_reasoning_effort"] == "high"
    assert not CODEX_HOME.is_relative_to(recipe.env["TMPDIR"])
    with pytest.raises(UnsuitedSetup, match="Codex knows minimal, low, medium, high"):
        Codex().headless(setup(effort="huge"), "x")


def test_a_run_that_delegated() -> None:
    transcript = Codex().parse((RECORDINGS / "codex_work.jsonl").read_text().splitlines())
    assert transcript.final_text == "All done."
    assert transcript.session_id == "01a20142-c108-7b70-9fe3-9a0098a78ba1"
    assert transcript.claimed == Claim(22_756, 11_349, 107, 0)
    assert transcript.claimed_cost_usd is None
    assert (transcript.tool_calls, transcript.delegations) == (3, 1)  # a patch, spawn_agent, wait
    assert (transcript.errors, transcript.is_error) == ((), False)


def test_a_run_that_was_refused() -> None:
    transcript = Codex().parse((RECORDINGS / "codex_refused.jsonl").read_text().splitlines())
    assert transcript.is_error
    assert len(transcript.errors) == 5
    assert transcript.errors[0].startswith("Reconnecting... 1/4 (unexpected status 503")
    assert transcript.errors[-1].startswith("unexpected status 503 Service Unavailable: model 'absent'")


def test_a_run_that_was_cut_off_has_not_ended() -> None:
    lines = (RECORDINGS / "codex_work.jsonl").read_text().splitlines()
    assert Codex().parse(lines[:-1]).is_error
    assert Codex().parse([*lines, '{"type":"turn.started"}']).is_error


TABLES = st.recursive(
    st.dictionaries(st.text(), st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans()),
    lambda inner: st.dictionaries(st.text(), inner | st.text()),
    max_leaves=5,
)


@given(TABLES)
def test_what_is_written_as_toml_is_read_as_it_was(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml(table)) == _without_empty(table)


def _without_empty(table: dict[str, Any]) -> dict[str, Any]:
    kept = {k: _without_empty(v) if isinstance(v, dict) else v for k, v in table.items()}
    return {k: v for k, v in kept.items() if v != {}}
