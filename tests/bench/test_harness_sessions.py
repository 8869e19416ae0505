"""A second prompt goes to the session of the first, with the same setup; a sub-agent may think less."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.harnesses.base import SubAgent, UnsuitedSetup
from bench.harnesses.installed import HARNESSES
from bench.session import joined
from tests.bench.harness_setups import setup

SAYS = {
    "opencode": ("--session", "the-session"),
    "codex": ("resume", "the-session"),
    "claude": ("--resume", "the-session"),
}


@pytest.mark.parametrize("name", HARNESSES)
def test_a_resumed_run_differs_in_session_and_prompt_alone(name: str) -> None:
    harness = HARNESSES[name]
    first = harness.headless(setup(), "Build.")
    second = harness.resume(setup(), "Validate.", "the-session")
    assert (first.stdin, second.stdin) == ("Build.", "Validate.")
    assert (first.files, first.env, first.seeds) == (second.files, second.env, second.seeds)
    at = second.argv.index("the-session")
    assert second.argv[at - 1 : at + 1] == SAYS[name]
    assert "the-session" not in first.argv
    assert set(second.argv) - set(first.argv) == {*SAYS[name]}


def test_codex_gives_a_sub_agent_its_own_effort() -> None:
    agent = SubAgent("helper", "helper", "d", "p", effort="low")
    recipe = HARNESSES["codex"].headless(replace(setup(), subagents=(agent,), effort="xhigh"), "Build.")
    (role,) = [text for path, text in recipe.files.items() if path == Path(path.parent, "helper.toml")]
    assert 'model_reasoning_effort = "low"' in role
    with pytest.raises(UnsuitedSetup, match="'enormous'"):
        odd = replace(agent, effort="enormous")
        HARNESSES["codex"].headless(replace(setup(), subagents=(odd,)), "Build.")
    for name in ("opencode", "claude"):
        with pytest.raises(UnsuitedSetup, match="no effort of its own"):
            HARNESSES[name].headless(replace(setup(), subagents=(agent,)), "Build.")


_TASK = {"status": "completed", "input": {"prompt": "12345"}, "output": "123"}
_STEP = {"reason": "stop", "tokens": {"input": 5, "output": 2}}
OPENCODE = [
    {"type": "tool_use", "sessionID": "s", "part": {"tool": "task", "state": _TASK}},
    {"type": "step_finish", "sessionID": "s", "part": _STEP},
]
_SPAWN = {"type": "collab_tool_call", "tool": "spawn_agent", "prompt": "12345"}
_BEGUN = {"agents_states": {"a": {"status": "running", "message": None}}}
_ENDED = {"agents_states": {"a": {"status": "completed", "message": "123"}}}
_WAIT = {"type": "collab_tool_call", "tool": "wait"}
CODEX = [
    {"type": "thread.started", "thread_id": "s"},
    {"type": "item.completed", "item": {**_SPAWN, **_BEGUN}},
    {"type": "item.completed", "item": {**_WAIT, **_ENDED}},
    {"type": "item.completed", "item": {**_WAIT, **_ENDED}},
    {"type": "turn.completed", "usage": {"input_tokens": 5, "output_tokens": 2}},
]
_USE = {"type": "tool_use", "id": "t", "name": "Agent", "input": {"prompt": "12345"}}
_REPORT = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "123"}]}
_OTHER = {"type": "tool_result", "tool_use_id": "other", "content": "no"}
_USAGE = {"m": {"inputTokens": 5, "outputTokens": 2}}
CLAUDE = [
    {"type": "assistant", "session_id": "s", "message": {"content": [_USE]}},
    {"type": "user", "message": {"content": [_REPORT, _OTHER]}},
    {"type": "result", "is_error": False, "result": "done", "modelUsage": _USAGE},
]


@pytest.mark.parametrize(("name", "lines"), [("opencode", OPENCODE), ("codex", CODEX), ("claude", CLAUDE)])
def test_what_a_sub_agent_was_told_and_what_it_gave_back_is_measured(
    name: str, lines: list[dict[str, Any]]
) -> None:
    harness = HARNESSES[name]
    said = harness.parse(map(json.dumps, lines))
    assert (said.brief_chars, said.return_chars, said.delegations) == ((5,), (3,), 1)
    again = joined([said, said], claims_session=harness.claims_session)
    assert again.brief_chars == (5, 5)
    assert again.claimed.input_tokens == (5 if harness.claims_session else 10)
    assert (again.session_id, again.is_error, again.delegations) == ("s", False, 2)
