"""Codex (0.169): a config.toml and a catalog of models; Responses, which is all that it speaks.

Two traps shape the recipe. A model that is not in a catalog gets no apply_patch tool; and a context
that overflows ends the run, so every model's compaction limit lies well below its window.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
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
    count,
    inner,
    json_lines,
    text,
)

_EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
_CALLS = frozenset({"command_execution", "file_change", "mcp_tool_call", "web_search", "collab_tool_call"})
_MAX_TOOL_OUTPUT_TOKENS = 10_000
_SMALL_WINDOW = 64_000
"""Below it, the tools for sub-agents (3k tokens) are offered only where there is a sub-agent."""

# Codex's own instructions are bound to its own models; a catalog entry must bring some.
_INSTRUCTIONS = """\
You are a coding agent. You work in the user's directory with the tools you are given, until the task is done.

- Look before you change: read the files that matter, search with `rg` or `grep`, keep outputs short.
- Make the smallest change that does what was asked, in the style of the code around it.
- Edit files with apply_patch. A patch has this form, with paths relative to the working directory:

*** Begin Patch
*** Update File: src/example.py
@@ def greet():
-    print("hi")
+    print("hello")
*** Add File: notes.txt
+every line of a new file begins with a plus
*** Delete File: old.txt
*** End Patch

  In an update, lines that stay begin with a space; give about three of them around a change.
- Run the tests or the program to see that your change works. If something fails, find out why and go on.
- Do not ask for permission and do not announce what you will do: do it.
- Do not commit, and do not touch what the task does not need, unless you are asked to.
- When you are done, say in a few sentences what you changed and what you checked.
"""


@dataclass(frozen=True, slots=True)
class Codex:
    name: str = "codex"
    binary: str = "codex"
    prompt_tokens: int = 5600
    foreign: tuple[str, ...] = ("CODEX*", "OPENAI_*")
    claims_session: bool = True

    def interactive(self, setup: Setup) -> Recipe:
        return self._recipe(setup, {}, ("codex",), {})

    def headless(self, setup: Setup, prompt: str) -> Recipe:
        return self._exec(setup, prompt, ())

    def resume(self, setup: Setup, prompt: str, session_id: str) -> Recipe:
        return self._exec(setup, prompt, ("resume", session_id))

    def _exec(self, setup: Setup, prompt: str, session: tuple[str, ...]) -> Recipe:
        free = {"approval_policy": "never", "sandbox_mode": "danger-full-access"}
        tmp = setup.home / "tmp"  # Codex makes no helper programs in a home below the temporary directory
        env = {"HOME": str(setup.home), "TMPDIR": str(tmp)}
        start = ("codex", "exec", "--strict-config", "--json", "--skip-git-repo-check")
        bypass = "--dangerously-bypass-approvals-and-sandbox"
        argv = (*start, bypass, "--cd", str(setup.workdir), *session, "-")
        return self._recipe(setup, free, argv, env, prompt, {tmp / ".keep": ""})

    def _recipe(
        self,
        setup: Setup,
        settings: dict[str, Any],
        argv: tuple[str, ...],
        env: dict[str, str],
        prompt: str | None = None,
        seeds: dict[Path, str] | None = None,
    ) -> Recipe:
        for effort in (setup.effort, *(agent.effort for agent in setup.subagents)):
            if effort is not None and effort not in _EFFORTS:
                raise UnsuitedSetup(f"effort {effort!r}: Codex knows {', '.join(_EFFORTS)}")
        home = setup.home / "codex"
        config, catalog = home / "config.toml", home / "catalog.json"
        files = {
            config: toml(_config(setup, home, catalog) | settings),
            catalog: json.dumps({"models": [_model(card) for card in setup.models]}, indent=1) + "\n",
        }
        for agent in setup.subagents:
            files[_role_path(home, agent)] = toml(_role(agent))
        return Recipe(
            files=files,
            seeds=seeds or {},
            merges={config: keep_trust},
            env={"CODEX_HOME": str(home), KEY_VARIABLE: setup.api_key, **env},
            argv=argv,
            stdin=prompt,
        )

    def parse(self, stdout: Iterable[str]) -> Transcript:
        """Usage is cumulative over the thread, and without sub-agents."""
        session = final_text = ""
        claim, calls = Claim(), 0
        briefs: list[int] = []
        returns: dict[str, int] = {}  # by the sub-agent: each wait tells of all again
        errors: list[str] = []
        ended = False
        for event in json_lines(stdout):
            item = inner(event, "item")
            match event.get("type"):
                case "thread.started":
                    session = text(event, "thread_id")
                case "turn.started":
                    ended = False
                case "item.completed" if item.get("type") == "agent_message":
                    final_text = text(item, "text")
                case "item.completed" if item.get("type") == "error":
                    errors.append(text(item, "message"))
                case "item.completed" if item.get("type") in _CALLS:
                    calls += 1
                    briefs += [len(text(item, "prompt"))] if item.get("tool") == "spawn_agent" else []
                    returns |= _reports(inner(item, "agents_states"))
                case "turn.completed":
                    claim, ended = _claim(inner(event, "usage")), True
                case "turn.failed":
                    errors.append(text(inner(event, "error"), "message"))
                case "error":
                    errors.append(text(event, "message"))
        once = tuple(dict.fromkeys(error for error in errors if error))  # a failed turn says it twice
        return Transcript(
            final_text=final_text,
            session_id=session,
            claimed=claim,
            claimed_cost_usd=None,
            tool_calls=calls,
            delegations=len(briefs),
            errors=once,
            is_error=not ended,
            brief_chars=tuple(briefs),
            return_chars=tuple(returns.values()),
        )


def _reports(states: dict[str, Any]) -> dict[str, int]:
    """Of sub-agents that have ended: how much they said."""
    ended = {name: state for name, state in states.items() if isinstance(state, dict)}
    return {
        name: len(text(state, "message"))
        for name, state in ended.items()
        if state.get("status") == "completed"
    }


def _config(setup: Setup, home: Path, catalog: Path) -> dict[str, Any]:
    effort = {"model_reasoning_effort": setup.effort} if setup.effort else {}
    agents: dict[str, Any] = {
        agent.name: {"description": agent.description, "config_file": str(_role_path(home, agent))}
        for agent in setup.subagents
    }
    provider = {
        "name": "Hotseat",
        "base_url": setup.openai_url,
        "env_key": KEY_VARIABLE,
        "wire_api": "responses",
        "request_max_retries": 4,
        "stream_max_retries": 4,
        "stream_idle_timeout_ms": REQUEST_TIMEOUT_MS,
    }
    off = ["plugins", "apps", "remote_plugin", "goals", "view_image", "unbounded_connection_retries"]
    off.append("daemon_auto_start")  # a server that outlives the session, with what it was started with
    if not setup.subagents and setup.card(setup.main).context_length < _SMALL_WINDOW:
        agents["enabled"] = False  # features.multi_agent = false does it too, with a warning at every start
    return {
        "model": setup.main,
        "model_provider": PROVIDER,
        "model_catalog_json": str(catalog),
        "check_for_update_on_startup": False,
        "web_search": "disabled",
        **effort,
        "skills": {"bundled": {"enabled": False}},  # how to make images, how to use OpenAI's API
        "analytics": {"enabled": False},
        "feedback": {"enabled": False},
        "features": dict.fromkeys(off, False),
        "model_providers": {PROVIDER: provider},
        "agents": agents,
    }


def keep_trust(old: str, new: str) -> str:
    """Codex notes in its config.toml which directories the user trusts: not to be asked at every start."""
    try:
        projects = tomllib.loads(old).get("projects", {})
    except tomllib.TOMLDecodeError:
        return new
    levels = {
        path: {"trust_level": project["trust_level"]}
        for path, project in (projects.items() if isinstance(projects, dict) else ())
        if isinstance(project, dict) and project.get("trust_level") in ("trusted", "untrusted")
    }
    return new + toml({"projects": levels})


def _model(card: ModelCard) -> dict[str, Any]:
    window = card.context_length
    return {
        "slug": card.name,
        "display_name": card.name,
        "description": "on Hotseat",
        "visibility": "list",
        "supported_in_api": True,
        "priority": 1,
        "shell_type": "unified_exec",
        "apply_patch_tool_type": "freeform",
        "base_instructions": _INSTRUCTIONS,
        "supported_reasoning_levels": [{"effort": effort, "description": effort} for effort in _EFFORTS],
        "support_verbosity": False,
        "supports_parallel_tool_calls": True,
        "truncation_policy": {"mode": "tokens", "limit": min(window // 16, _MAX_TOOL_OUTPUT_TOKENS)},
        "context_window": window,
        "max_context_window": window,
        # What may still come before Codex looks again: an answer, and the outputs of a few tools.
        "auto_compact_token_limit": window * 3 // 4,
        "experimental_supported_tools": [],
        "input_modalities": ["text"],
    }


def _role_path(home: Path, agent: SubAgent) -> Path:
    # Not in agents/, which Codex reads whole: a sub-agent of an earlier start would still be offered.
    return home / "roles" / f"{agent.name}.toml"


def _role(agent: SubAgent) -> dict[str, Any]:
    if agent.tools:
        raise UnsuitedSetup(f"sub-agent {agent.name!r}: Codex cannot limit a sub-agent's tools")
    effort = {"model_reasoning_effort": agent.effort} if agent.effort else {}
    return {"model": agent.model, "developer_instructions": agent.prompt, **effort}


def _claim(usage: dict[str, Any]) -> Claim:
    return Claim(
        count(usage, "input_tokens"),
        count(usage, "cached_input_tokens"),
        count(usage, "output_tokens"),
        count(usage, "reasoning_output_tokens"),
    )


# --- TOML, as much of it as the files above need --------------------------------------------------


def toml(table: dict[str, Any], prefix: str = "") -> str:
    """Strings, whole numbers, booleans, tables. A table's own keys stand before its sub-tables."""
    lines = [f"{_key(key)} = {_scalar(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict) and value:
            path = f"{prefix}{_key(key)}"
            scalars = any(not isinstance(inner, dict) for inner in value.values())
            lines += ["", f"[{path}]"] if scalars else []
            lines += [toml(value, f"{path}.").strip("\n")]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _scalar(key)


def _scalar(value: str | int | bool) -> str:
    # JSON's strings are TOML's basic strings, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
