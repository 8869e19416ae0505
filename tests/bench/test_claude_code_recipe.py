"""Claude Code's environment, arguments and stream."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from pathlib import Path

import pytest

from bench.harnesses.base import Claim, ModelCard, Recipe
from bench.harnesses.claude_code import ClaudeCode
from tests.bench.harness_setups import CARDS, HELPER, HOME, KEY, setup

RECORDINGS = Path(__file__).parents[1] / "recordings" / "transcripts"
LISTS = {"--tools", "--disallowedTools", "--allowedTools"}


def after(recipe: Recipe, option: str) -> str:
    return recipe.argv[recipe.argv.index(option) + 1]


def test_the_environment_names_server_models_and_limits() -> None:
    env = ClaudeCode().interactive(setup()).env
    assert env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8080"
    assert env["ANTHROPIC_AUTH_TOKEN"] == KEY
    names = ("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL")
    assert {env[name] for name in names} == {"big"}
    assert {env[name] for name in ("ANTHROPIC_DEFAULT_HAIKU_MODEL", "ANTHROPIC_SMALL_FAST_MODEL")} == {"tiny"}
    assert (env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"], env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"]) == (
        "131072",
        "32000",
    )
    assert env["CLAUDE_CONFIG_DIR"] == str(HOME / "claude")
    assert env["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert env["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"


@pytest.mark.parametrize(("window", "compacts", "all_tools"), [(63_999, False, False), (64_000, True, True)])
def test_a_small_window(window: int, compacts: bool, all_tools: bool) -> None:
    cards = (*CARDS, ModelCard("mid", window, 8192))
    recipe = ClaudeCode().interactive(setup(main="mid", models=cards))
    assert ("DISABLE_COMPACT" not in recipe.env) is compacts
    assert recipe.env["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(window)
    assert ("--tools" not in recipe.argv) is all_tools


def test_thinking_and_caching_are_left_to_those_who_have_them() -> None:
    switches = ("CLAUDE_CODE_DISABLE_THINKING", "DISABLE_PROMPT_CACHING")
    far = (*CARDS, ModelCard("far", 200_000, 32_000, is_local=False))
    local = ClaudeCode().headless(setup(), "x")
    effort = ClaudeCode().headless(setup(effort="high"), "x")
    remote = ClaudeCode().headless(setup(main="far", models=far), "x")
    assert [[name in recipe.env for name in switches] for recipe in (local, effort, remote)] == [
        [True, True],
        [False, True],
        [False, False],
    ]
    assert after(effort, "--effort") == "high"


@pytest.mark.parametrize("main", ["big", "tiny"])
def test_what_a_user_adds_is_not_taken_for_an_item_of_a_list(main: str) -> None:
    argv = ClaudeCode().interactive(setup(main=main)).argv
    last_option = [word for word in argv if word.startswith("--")][-1]
    assert last_option not in LISTS
    assert argv[-2:] == ("--model", main)


def test_a_person_is_asked_and_not_the_model_about_itself() -> None:
    assert after(ClaudeCode().interactive(setup()), "--permission-mode") == "manual"


def test_sub_agents() -> None:
    limited = dataclasses.replace(HELPER, name="reader", tools=("Read", "Bash"))
    agents = json.loads(after(ClaudeCode().interactive(setup(subagents=(HELPER, limited))), "--agents"))
    assert agents["helper"] == {
        "description": 'Small "chores"',
        "prompt": "You are small.\nBe brief.",
        "model": "helper",
    }
    assert agents["reader"]["tools"] == ["Read", "Bash"]
    assert "--agents" not in ClaudeCode().interactive(setup(subagents=())).argv


def test_headless() -> None:
    recipe = ClaudeCode().headless(setup(), "x")
    assert after(recipe, "--output-format") == "stream-json"
    assert after(recipe, "--tools") == "Bash,Read,Edit,Write,Agent"
    assert "--dangerously-skip-permissions" in recipe.argv
    assert recipe.env["IS_SANDBOX"] == "1"


def test_a_run_that_delegated() -> None:
    transcript = ClaudeCode().parse((RECORDINGS / "claude_work.jsonl").read_text().splitlines())
    assert transcript.final_text == "All done."
    assert transcript.session_id == "833c1969-dde4-4a72-87c8-c411c3d9e132"
    assert transcript.claimed == Claim(12_149 + 6026 + 4301, 6026, 77 + 2, 0)
    assert transcript.claimed_cost_usd == Decimal("0.08723800000000001")
    assert (transcript.tool_calls, transcript.delegations) == (2, 1)
    assert (transcript.errors, transcript.is_error) == ((), False)


def test_a_run_that_was_refused_calls_itself_a_success() -> None:
    lines = (RECORDINGS / "claude_refused.jsonl").read_text().splitlines()
    assert '"subtype":"success"' in lines[-1]
    transcript = ClaudeCode().parse(lines)
    assert transcript.is_error
    assert transcript.errors[0].startswith("API Error: 503 model 'absent': not downloaded")
    assert transcript.claimed == Claim()


def test_the_last_of_several_results_counts_and_a_missing_one_is_an_error() -> None:
    lines = (RECORDINGS / "claude_work.jsonl").read_text().splitlines()
    early = '{"type":"result","is_error":false,"result":"waiting","modelUsage":{"big":{"inputTokens":1}}}'
    assert ClaudeCode().parse([lines[0], early, *lines[1:]]).claimed.input_tokens == 22_476
    cut_off = ClaudeCode().parse(lines[:-1])
    assert (cut_off.is_error, cut_off.final_text) == (True, "All done.")
    assert cut_off.errors == ("it ended without a result",)


def test_retries_and_what_sub_agents_do() -> None:
    retry = '{"type":"system","subtype":"api_retry","attempt":1,"max_retries":4,"error_status":503}'
    called = '{"type":"assistant","parent_tool_use_id":"call_1","message":{"content":[{"type":"tool_use"}]}}'
    lines = (RECORDINGS / "claude_work.jsonl").read_text().splitlines()
    transcript = ClaudeCode().parse([lines[0], retry, called, *lines[1:]])
    assert transcript.errors == ("attempt 1 failed with status 503",)
    assert (transcript.is_error, transcript.tool_calls) == (False, 2)
