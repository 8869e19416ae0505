"""opencode (1.18): one opencode.json; Chat Completions through the SDK that it has built in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.harnesses.base import (
    KEY_VARIABLE,
    PROVIDER,
    REQUEST_TIMEOUT_MS,
    Claim,
    ModelCard,
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

_PLUGIN = '"dependencies":{"@opencode-ai/plugin":"*"}'
_QUIET = {
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_SHARE": "1",
    "OPENCODE_DISABLE_CLAUDE_CODE": "1",  # ~/.claude is another harness's
}


@dataclass(frozen=True, slots=True)
class OpenCode:
    name: str = "opencode"
    binary: str = "opencode"
    prompt_tokens: int = 7700
    foreign: tuple[str, ...] = ("OPENCODE*", "OPENAI_*", "ANTHROPIC_*")
    claims_session: bool = False

    def interactive(self, setup: Setup) -> Recipe:
        return self._recipe(setup, _config(setup), ("opencode", "--model", _id(setup.main)), {})

    def headless(self, setup: Setup, prompt: str) -> Recipe:
        # A title is given, or it asks the small model for one.
        return self._run(setup, prompt, ("--title", "task"))

    def resume(self, setup: Setup, prompt: str, session_id: str) -> Recipe:
        return self._run(setup, prompt, ("--session", session_id))

    def _run(self, setup: Setup, prompt: str, session: tuple[str, ...]) -> Recipe:
        # The prompt through stdin: as an argument opencode puts it in quotes.
        argv = ("opencode", "run", "--format", "json", "--auto", "--thinking", *session)
        config = _config(setup) | {"permission": "allow", "snapshot": False}
        env = {"HOME": str(setup.home), "OPENCODE_DISABLE_PROJECT_CONFIG": "1"}
        return self._recipe(setup, config, (*argv, "--model", _id(setup.main)), env, prompt)

    def _recipe(
        self,
        setup: Setup,
        config: dict[str, Any],
        argv: tuple[str, ...],
        env: dict[str, str],
        prompt: str | None = None,
    ) -> Recipe:
        path = setup.home / "opencode.json"
        places = {f"XDG_{kind.upper()}_HOME": str(setup.home / kind) for kind in ("config", "data", "state")}
        places["XDG_CACHE_HOME"] = str(setup.home / "cache")
        # Whose .opencode it reads, and installs packages into. HOME itself stays what it is for git and ssh.
        places["OPENCODE_TEST_HOME"] = str(setup.home)
        return Recipe(
            files={path: json.dumps(config, indent=2) + "\n"},
            seeds=_seeds(setup.home / "config" / "opencode"),
            env={**_QUIET, **places, **env, "OPENCODE_CONFIG": str(path), KEY_VARIABLE: setup.api_key},
            argv=argv,
            stdin=prompt,
        )

    def parse(self, stdout: Iterable[str]) -> Transcript:
        """Sub-agents' own steps are not in the stream. Retries are not shown."""
        said = _Said()
        for event in json_lines(stdout):
            said.take(event)
        return said.transcript()


def _id(model: str) -> str:
    return f"{PROVIDER}/{model}"


def _config(setup: Setup) -> dict[str, Any]:
    options = {
        "baseURL": setup.openai_url,
        "apiKey": f"{{env:{KEY_VARIABLE}}}",
        "headerTimeout": False,  # 300 s otherwise, and then the whole request again
        "chunkTimeout": REQUEST_TIMEOUT_MS,
    }
    return {
        "autoupdate": False,
        "share": "disabled",
        "enabled_providers": [PROVIDER],
        "model": _id(setup.main),
        "small_model": _id(setup.small),
        "provider": {
            PROVIDER: {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Hotseat",
                "options": options,
                "models": {card.name: _model(card, setup) for card in setup.models},
            }
        },
        "agent": {agent.name: _agent(agent) for agent in setup.subagents},
    }


def _model(card: ModelCard, setup: Setup) -> dict[str, Any]:
    model: dict[str, Any] = {
        "name": card.name,
        "limit": {"context": card.context_length, "output": card.max_output_tokens},
        "tool_call": True,
        "reasoning": True,
        "temperature": True,
        "cost": {"input": 0, "output": 0},
    }
    if setup.effort is not None and card.name == setup.main:
        model["options"] = {"reasoningEffort": setup.effort}
    return model


def _agent(agent: SubAgent) -> dict[str, Any]:
    if agent.effort is not None:
        raise UnsuitedSetup(f"sub-agent {agent.name!r}: opencode gives it no effort of its own")
    config: dict[str, Any] = {
        "mode": "subagent",
        "description": agent.description,
        "model": _id(agent.model),
        "prompt": agent.prompt,
    }
    if agent.tools:
        config["permission"] = {"*": "deny", **dict.fromkeys(agent.tools, "allow")}
    return config


def _seeds(directory: Path) -> dict[Path, str]:
    """opencode asks npm for a plugin package in a configuration directory that does not look like this."""
    return {
        directory / "package.json": f"{{{_PLUGIN}}}\n",
        directory / "package-lock.json": f'{{"packages":{{"":{{{_PLUGIN}}}}}}}\n',
        directory / "node_modules" / ".keep": "",
    }


class _Said:
    """The run so far. `_ended`: the last step was an answer, and no error came after it."""

    def __init__(self) -> None:
        self._session = ""
        self._texts: list[str] = []
        self._claim = Claim()
        self._cost: Decimal | None = None
        self._calls = self._delegations = 0
        self._briefs: list[int] = []
        self._returns: list[int] = []
        self._errors: list[str] = []
        self._ended = False

    def take(self, event: dict[str, Any]) -> None:
        self._session = self._session or text(event, "sessionID")
        part = inner(event, "part")
        match event.get("type"):
            case "step_start":
                self._texts, self._ended = [], False
            case "text":
                self._texts.append(text(part, "text"))
            case "tool_use":
                self._calls += 1
                if part.get("tool") == "task":
                    self._delegated(inner(part, "state"))
            case "step_finish":
                self._claim = _sum(self._claim, inner(part, "tokens"))
                if (spent := cost(part, "cost")) is not None:
                    self._cost = spent + (self._cost or 0)
                self._ended = part.get("reason") not in ("tool-calls", "error")
            case "error":
                error = inner(event, "error")
                message = text(inner(error, "data"), "message") or "no message"
                self._errors.append(f"{text(error, 'name') or 'error'}: {message}")
                self._ended = False

    def _delegated(self, state: dict[str, Any]) -> None:
        self._delegations += 1
        self._briefs.append(len(text(inner(state, "input"), "prompt")))
        if state.get("status") == "completed":
            self._returns.append(len(text(state, "output")))

    def transcript(self) -> Transcript:
        return Transcript(
            final_text="\n".join(self._texts),
            session_id=self._session,
            claimed=self._claim,
            claimed_cost_usd=self._cost,
            tool_calls=self._calls,
            delegations=self._delegations,
            errors=tuple(self._errors),
            is_error=not self._ended,
            brief_chars=tuple(self._briefs),
            return_chars=tuple(self._returns),
        )


def _sum(claim: Claim, tokens: dict[str, Any]) -> Claim:
    """opencode counts cached tokens beside `input`, and reasoning beside `output`, not in them."""
    cached = count(inner(tokens, "cache"), "read")
    written = count(inner(tokens, "cache"), "write")
    reasoning = count(tokens, "reasoning")
    return Claim(
        added(claim.input_tokens, count(tokens, "input"), cached, written),
        added(claim.cached_tokens, cached),
        added(claim.output_tokens, count(tokens, "output"), reasoning),
        added(claim.reasoning_tokens, reasoning),
    )
