"""Requests as the three harnesses send them, as far as attribution goes: their headers, and bodies in the
dialect that each speaks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Harness = Literal["opencode", "codex", "claude-code"]
HARNESSES: tuple[Harness, ...] = ("opencode", "codex", "claude-code")
SYSTEM = "You are a careful agent."
_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"prompt": {"type": "string"}}}


@dataclass(frozen=True)
class Sent:
    """`node` and `parent` as the ledger should have them."""

    harness: str
    role: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    node: str = ""
    parent: str = ""
    model: str = field(default="echo", kw_only=True)


def sent(harness: str, role: str, *, stream: bool = False, text: str = "hello there") -> Sent:
    """`role`: main, subagent, auxiliary, or unattributed (some other client)."""
    path, body = _body(harness, role, text)
    node = {"main": "root-1", "auxiliary": "root-1", "subagent": "child-1"}.get(role, "")
    parent = "root-1" if role == "subagent" else ""
    shown = harness if role != "unattributed" else ""
    return Sent(shown, role, path, _headers(harness, role), body | {"stream": stream}, node, parent)


def _headers(harness: str, role: str) -> dict[str, str]:
    if role == "unattributed":
        return {"user-agent": "curl/8"}
    if harness == "opencode":
        agent = {"user-agent": "opencode/1.18.33 ai-sdk/provider-utils/4.0.23"}
        if role == "subagent":
            return agent | {"x-session-id": "child-1", "x-parent-session-id": "root-1"}
        return agent | {"x-session-id": "root-1"}
    if harness == "claude-code":
        agent = {"user-agent": "claude-cli/2.1.330 (external, sdk-cli)", "x-claude-code-session-id": "root-1"}
        return agent | ({"x-claude-code-agent-id": "child-1"} if role == "subagent" else {})
    kind = "compaction" if role == "auxiliary" else "turn"
    agent = {"originator": "codex_exec", "session-id": "root-1", "thread-id": "root-1"}
    agent["x-codex-turn-metadata"] = json.dumps({"request_kind": kind})
    if role == "subagent":
        spawned = {"x-openai-subagent": "collab_spawn", "x-codex-parent-thread-id": "root-1"}
        return agent | {"thread-id": "child-1"} | spawned
    return agent


def _body(harness: str, role: str, text: str) -> tuple[str, dict[str, Any]]:
    has_tools = role != "auxiliary"
    if harness == "opencode":
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        tools = [{"type": "function", "function": _function("task")}]
        return "/v1/chat/completions", {"messages": messages} | ({"tools": tools} if has_tools else {})
    if harness == "claude-code":
        system = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
        body: dict[str, Any] = {"system": system, "messages": [{"role": "user", "content": text}]}
        tool = {"name": "Agent", "description": "Launches an agent.", "input_schema": _SCHEMA}
        return "/v1/messages", body | {"max_tokens": 64} | ({"tools": [tool]} if has_tools else {})
    items = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": SYSTEM}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]},
    ]
    spawn = {"type": "function", "strict": False, **_function("spawn_agent")}
    team = {"type": "namespace", "name": "multi_agent_v1", "description": "Agents.", "tools": [spawn]}
    return "/v1/responses", {"input": items, "tools": [team] if has_tools else [], "store": False}


def _function(name: str) -> dict[str, Any]:
    return {"name": name, "description": "Launches an agent.", "parameters": _SCHEMA}
