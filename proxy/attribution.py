"""Which node of a harness's work a request belongs to, by the headers that the harness sends. Pure.

A node is an agent: the main one, or a sub-agent with a conversation of its own. Nothing is guessed: what
no header says is "unattributed". The headers (opencode 1.18, Codex 0.169, Claude Code 2.1, seen on the wire):

                 node                           parent (of a sub-agent)     beside an agent's turns
    opencode     x-session-id                   x-parent-session-id         no tools, and no parent
    Codex        thread-id                      x-codex-parent-thread-id    request_kind in its turn metadata
    Claude Code  x-claude-code-agent-id, else   x-claude-code-session-id    no tools, and no parent
                 x-claude-code-session-id
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from inference.chat import ChatRequest, Message, TextPart, Tool

Role = Literal["main", "subagent", "auxiliary", "unattributed"]
"""auxiliary: what a harness asks beside an agent's turns: titles, summaries, a compacted conversation."""

Headers = Iterable[tuple[bytes, bytes]]

MAX_METADATA_BYTES = 16 * 1024
_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_DIGEST_CHARS = 16
_STANDING = ("system", "developer")
_HEADERS = frozenset(
    {
        b"user-agent",
        b"originator",
        b"x-session-id",
        b"x-parent-session-id",
        b"thread-id",
        b"x-openai-subagent",
        b"x-codex-parent-thread-id",
        b"x-codex-turn-metadata",
        b"x-claude-code-session-id",
        b"x-claude-code-agent-id",
    }
)


@dataclass(frozen=True, slots=True)
class Attribution:
    """`node` "": not known."""

    harness: str = ""
    role: Role = "unattributed"
    node: str = ""
    parent_node: str = ""


NOBODY = Attribution()


class _TurnMetadata(msgspec.Struct):
    request_kind: str = ""


def attribute(headers: Headers, *, has_tools: bool) -> Attribution:
    """`headers`: names in lower case, as ASGI has them. `has_tools`: the request offers some."""
    found = {name: value for name, value in headers if name in _HEADERS}
    agent = found.get(b"user-agent", b"")
    if agent.startswith(b"opencode/"):
        return _of_opencode(found, has_tools)
    if agent.startswith(b"claude-cli/"):
        return _of_claude_code(found, has_tools)
    if found.get(b"originator", b"").startswith(b"codex") or agent.startswith(b"codex"):
        return _of_codex(found)
    return NOBODY


def _of_opencode(found: dict[bytes, bytes], has_tools: bool) -> Attribution:
    node, parent = _id(found, b"x-session-id"), _id(found, b"x-parent-session-id")
    return Attribution("opencode", _role(node, parent, is_turn=has_tools or bool(parent)), node, parent)


def _of_claude_code(found: dict[bytes, bytes], has_tools: bool) -> Attribution:
    session, agent = _id(found, b"x-claude-code-session-id"), _id(found, b"x-claude-code-agent-id")
    parent = session if agent else ""
    node = agent or session
    return Attribution("claude-code", _role(node, parent, is_turn=has_tools or bool(parent)), node, parent)


def _of_codex(found: dict[bytes, bytes]) -> Attribution:
    node, parent = _id(found, b"thread-id"), _id(found, b"x-codex-parent-thread-id")
    kind = _request_kind(found.get(b"x-codex-turn-metadata", b""))
    role = _role(node, parent or _id(found, b"x-openai-subagent"), is_turn=kind in ("", "turn"))
    return Attribution("codex", role, node, parent)


def _role(node: str, parent: str, *, is_turn: bool) -> Role:
    if not node:
        return "unattributed"
    if not is_turn:
        return "auxiliary"
    return "subagent" if parent else "main"


def _id(found: dict[bytes, bytes], name: bytes) -> str:
    """ "" for what no harness sends: it goes into the ledger, and comes from outside."""
    value = found.get(name, b"").strip()
    return value.decode("ascii") if _ID.fullmatch(value) else ""


def _request_kind(metadata: bytes) -> str:
    if not metadata or len(metadata) > MAX_METADATA_BYTES:
        return ""
    try:
        return msgspec.json.decode(metadata, type=_TurnMetadata).request_kind
    except msgspec.DecodeError:
        return ""


def digests(request: ChatRequest, volatile: Sequence[str] = ()) -> tuple[str, str]:
    """Of the system messages before the first other one, and of the tools: "" where there are none.
    `volatile`: texts that are left out, such as the folder somebody works in.

    Two requests with equal digests were given the same standing text; nothing of it can be read from them.
    """
    return _system_digest(request.messages, volatile), _tools_digest(request.tools, volatile)


def _system_digest(messages: Sequence[Message], volatile: Sequence[str]) -> str:
    if not messages or messages[0].role not in _STANDING:
        return ""
    system = hashlib.sha256()
    for message in messages:
        if message.role not in _STANDING:
            break
        for text in _texts(message):
            system.update(_without(text.encode("utf-8", "surrogatepass"), volatile))
            system.update(b"\0")
    return system.hexdigest()[:_DIGEST_CHARS]


def _tools_digest(tools: tuple[Tool, ...], volatile: Sequence[str]) -> str:
    if not tools:
        return ""
    told = _without(msgspec.json.encode(tools), volatile)
    return hashlib.sha256(told).hexdigest()[:_DIGEST_CHARS]


def _without(text: bytes, volatile: Sequence[str]) -> bytes:
    for part in volatile:
        text = text.replace(part.encode("utf-8", "surrogatepass"), b"")
    return text


def _texts(message: Message) -> Iterable[str]:
    if isinstance(message.content, str):
        return (message.content,)
    return (part.text for part in message.content if isinstance(part, TextPart))
