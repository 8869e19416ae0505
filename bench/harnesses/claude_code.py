"""Claude Code (2.1): no file but its own; the environment says all. Messages.

It believes that a model it does not know has a million tokens, unless told; and when it compacts by
itself, it keeps 33k free whatever the window, which a small window does not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bench.harnesses.base import (
    REQUEST_TIMEOUT_MS,
    Claim,
    Recipe,
    Setup,
    SubAgent,
    Transcript,
    UnsuitedSetup,
    added,
    cost,
    count,
    inner,
    json_lines,
    text,
)

SMALL_WINDOW = 64_000
"""Below it, Claude Code would compact at every turn: it must not by itself, and gets fewer tools."""

_LEAN_TOOLS = "Bash,Read,Edit,Write,Agent"
_REMOTE_TOOLS = "WebSearch,WebFetch"  # run at Anthropic, or ask there whether they may
_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
    "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",  # else the prompt begins with a hash that changes
    "ENABLE_TOOL_SEARCH": "false",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
    "API_TIMEOUT_MS": str(REQUEST_TIMEOUT_MS),
    "CLAUDE_CODE_MAX_RETRIES": "4",  # a refused key counts as a retry too
}
_SETTINGS = json.dumps(
    {"disableDeepLinkRegistration": "disable"}
)  # else a file in ~/.local/share/applications
# What the first start would ask: the looks, and nothing that guards anything.
_ONBOARDED = json.dumps({"hasCompletedOnboarding": True, "theme": "dark"}) + "\n"


@dataclass(frozen=True, slots=True)
class ClaudeCode:
    name: str = "claude-code"
    binary: str = "claude"
    prompt_tokens: int = 12_500
    foreign: tuple[str, ...] = (
        *("ANTHROPIC_*", "CLAUDE*", "DISABLE_*", "ENABLE_*", "API_TIMEOUT_MS"),
        *("MAX_THINKING_TOKENS", "BASH_*", "MCP_*"),
    )
    claims_session: bool = True

    def interactive(self, setup: Setup) -> Recipe:
        # Options that take a list come first: the last one would take what a user adds.
        lean = ("--tools", _LEAN_TOOLS) if _is_small(setup) else ()
        # "auto", its default, lets the model judge its own calls: few local models can.
        guard = ("--disallowedTools", _REMOTE_TOOLS, "--permission-mode", "manual")
        argv = ("claude", *_agents(setup), *lean, *guard, "--settings", _SETTINGS, *_models(setup))
        return self._recipe(setup, argv, {})

    def headless(self, setup: Setup, prompt: str) -> Recipe:
        return self._print(setup, prompt, ())

    def resume(self, setup: Setup, prompt: str, session_id: str) -> Recipe:
        return self._print(setup, prompt, ("--resume", session_id))

    def _print(self, setup: Setup, prompt: str, session: tuple[str, ...]) -> Recipe:
        stream = ("-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions")
        tools = ("--tools", _LEAN_TOOLS, "--strict-mcp-config", "--disable-slash-commands")
        env = {"HOME": str(setup.home), "IS_SANDBOX": "1"}
        if all(card.is_local for card in setup.models):
            env["DISABLE_PROMPT_CACHING"] = "1"  # marks for a paid cache; local models cache by prefix
        argv = ("claude", *stream, *_agents(setup), *tools, *_models(setup), *session)
        return self._recipe(setup, argv, env, prompt)

    def _recipe(
        self, setup: Setup, argv: tuple[str, ...], env: dict[str, str], prompt: str | None = None
    ) -> Recipe:
        home = setup.home / "claude"
        return Recipe(
            files={},
            seeds={home / ".claude.json": _ONBOARDED},
            env={**_QUIET, **_environment(setup), "CLAUDE_CONFIG_DIR": str(home), **env},
            argv=argv,
            stdin=prompt,
        )

    def parse(self, stdout: Iterable[str]) -> Transcript:
        """Of several results the last counts: usage is cumulative, sub-agents' included."""
        said = _Said()
        for event in json_lines(stdout):
            said.take(event)
        return said.transcript()


def _is_small(setup: Setup) -> bool:
    return setup.card(setup.main).context_length < SMALL_WINDOW


def _environment(setup: Setup) -> dict[str, str]:
    main = setup.card(setup.main)
    env = {
        "ANTHROPIC_BASE_URL": setup.base_url,
        "ANTHROPIC_AUTH_TOKEN": setup.api_key,
        "ANTHROPIC_MODEL": setup.main,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": setup.main,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": setup.main,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": setup.small,
        "ANTHROPIC_SMALL_FAST_MODEL": setup.small,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(main.context_length),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(main.max_output_tokens),
    }
    if _is_small(setup):
        env["DISABLE_COMPACT"] = "1"
    if setup.effort is None and main.is_local:
        env["CLAUDE_CODE_DISABLE_THINKING"] = "1"  # what it asks for then is a remote model's way of thinking
    return env


def _models(setup: Setup) -> tuple[str, ...]:
    effort = ("--effort", setup.effort) if setup.effort else ()
    return (*effort, "--model", setup.main)


def _agents(setup: Setup) -> tuple[str, ...]:
    """As an argument: files of sub-agents of an earlier start would still be offered."""
    if not setup.subagents:
        return ()
    return ("--agents", json.dumps({agent.name: _agent(agent) for agent in setup.subagents}))


def _agent(agent: SubAgent) -> dict[str, Any]:
    if agent.effort is not None:
        raise UnsuitedSetup(f"sub-agent {agent.name!r}: Claude Code gives it no effort of its own")
    tools = {"tools": list(agent.tools)} if agent.tools else {}
    return {"description": agent.description, "prompt": agent.prompt, "model": agent.model, **tools}


class _Said:
    def __init__(self) -> None:
        self._session = self._text = ""
        self._result: dict[str, Any] | None = None
        self._calls = 0
        self._briefs: dict[str, int] = {}  # by the call
        self._returns: list[int] = []
        self._errors: list[str] = []

    def take(self, event: dict[str, Any]) -> None:
        self._session = self._session or text(event, "session_id")
        match event.get("type"):
            case "assistant" if not event.get("parent_tool_use_id"):
                self._answered(inner(event, "message"))
            case "user" if not event.get("parent_tool_use_id"):
                self._was_told(inner(event, "message"))
            case "system" if event.get("subtype") == "api_retry":
                attempt, status = event.get("attempt"), event.get("error_status")
                self._errors.append(f"attempt {attempt} failed with status {status}")
            case "result":
                self._result = event

    def _answered(self, message: dict[str, Any]) -> None:
        for block in _blocks(message.get("content")):
            if block.get("type") == "text":
                self._text = text(block, "text")
            elif block.get("type") == "tool_use":
                self._calls += 1
                if block.get("name") in ("Agent", "Task"):
                    self._briefs[text(block, "id")] = len(text(inner(block, "input"), "prompt"))

    def _was_told(self, message: dict[str, Any]) -> None:
        for block in _blocks(message.get("content")):
            if block.get("type") == "tool_result" and block.get("tool_use_id") in self._briefs:
                said = block.get("content")
                parts = [said] if isinstance(said, str) else [text(part, "text") for part in _blocks(said)]
                self._returns.append(sum(map(len, parts)))

    def transcript(self) -> Transcript:
        result = self._result or {}
        is_error = self._result is None or result.get("is_error") is not False
        errors = list(self._errors)
        if is_error:
            errors.append(text(result, "result") or text(result, "subtype") or "it ended without a result")
        return Transcript(
            final_text=text(result, "result") or self._text,
            session_id=self._session,
            claimed=_claim(result),
            claimed_cost_usd=_cost(result),
            tool_calls=self._calls,
            delegations=len(self._briefs),
            errors=tuple(errors),
            is_error=is_error,
            brief_chars=tuple(self._briefs.values()),
            return_chars=tuple(self._returns),
        )


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _claim(result: dict[str, Any]) -> Claim:
    """Over all models. Claude Code counts cached tokens beside `inputTokens`, not in it."""
    claim = Claim()
    for used in inner(result, "modelUsage").values():
        usage = used if isinstance(used, dict) else {}
        cached, written = count(usage, "cacheReadInputTokens"), count(usage, "cacheCreationInputTokens")
        claim = Claim(
            added(claim.input_tokens, count(usage, "inputTokens"), cached, written),
            added(claim.cached_tokens, cached),
            added(claim.output_tokens, count(usage, "outputTokens")),
            added(claim.reasoning_tokens, count(usage, "thinkingTokens")),
        )
    return claim


def _cost(result: dict[str, Any]) -> Decimal | None:
    """Made up for models that it does not know: a claim like the rest."""
    return cost(result, "total_cost_usd")
