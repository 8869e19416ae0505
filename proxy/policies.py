"""Whether a run's main agent is nudged to delegate: a text at the end of its system text. Pure.

    native         nothing is changed
    neutral        what the texts of the tools say about how often to delegate is set aside
    encouraged     delegating is welcome
    required       something has to be delegated; nothing is refused for that

The text is the same in every request of a conversation, and behind the harness's own, so that caches of a
prompt's beginning go on working. It names the tool that the request offers: one without that tool, or of a
harness that is not known, is left as it is and called "untreated".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import msgspec

from inference.chat import ChatRequest, Message, TextPart
from proxy.attribution import Role
from proxy.passed_request import PassedRequest

Policy = Literal["native", "neutral", "encouraged", "required"]
UNTREATED = "untreated"

_NAMESPACED = "__"
"""Between a namespace and a tool, as responses_tools.py flattens them."""

_SYSTEM_ROLES = ("system", "developer")


class Who(Protocol):
    """Whose request it is: an Attribution, or a record with one."""

    @property
    def harness(self) -> str: ...
    @property
    def role(self) -> Role: ...


@dataclass(frozen=True, slots=True)
class _Delegation:
    """`tools`: what a harness's own tool is called, in its versions. `bias`: what its text says about use."""

    tools: tuple[str, ...]
    bias: str


_DELEGATIONS: Mapping[str, _Delegation] = {
    "opencode": _Delegation(("task",), "that some agents should be used proactively"),
    "codex": _Delegation(("spawn_agent",), "that it may be used only where the user asks for sub-agents"),
    "claude-code": _Delegation(("Agent", "Task"), "that in doubt it should not be used"),
}

_TEXTS: Mapping[Policy, str] = {
    "neutral": (
        "Sub-agents: you may hand work to sub-agents with the tool `{tool}`, and you have the user's"
        " permission for it. Its description, or other instructions, may say {bias}. Set aside any such"
        " advice about how often to delegate, for or against. Judge by the work alone: delegate a piece of"
        " it where that is the better way to get it done, and do it yourself where it is not."
    ),
    "encouraged": (
        "Sub-agents: the user welcomes and asks for the use of sub-agents here, with the tool `{tool}`. This"
        " goes before other advice on when to use it, such as {bias}. Whenever a piece of the work can be"
        " described by itself and done apart from the rest, prefer to hand it to a sub-agent, with everything"
        " that it needs to know, and check what comes back."
    ),
    "required": (
        "Sub-agents: the user requires you to delegate. Before you finish, hand at least one substantial"
        " piece of the work to a sub-agent with the tool `{tool}`, with everything that it needs to know,"
        " wait for its result, and use it. This goes before other advice on when to use the tool, such as"
        " {bias}."
    ),
}

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_json = msgspec.json.Encoder()


class _Named(msgspec.Struct):
    """A tool of any dialect."""

    name: str = ""
    function: _Named | None = None
    tools: list[_Named] | None = None


class _Item(msgspec.Struct):
    role: str = ""


_named_tools = msgspec.json.Decoder(list[_Named])
_items = msgspec.json.Decoder(_Item)


def applies(policy: Policy, who: Who) -> bool:
    """Whether a request of a run is to be treated: what cannot be is still "untreated"."""
    return policy != "native" and who.role in ("main", "unattributed")


def policy_text(policy: Policy, harness: str, tools: Iterable[str]) -> str | None:
    """None: there is nothing to say, or nobody known to say it to."""
    text, delegation = _TEXTS.get(policy), _DELEGATIONS.get(harness)
    if text is None or delegation is None:
        return None
    offered = {name.rpartition(_NAMESPACED)[2]: name for name in tools}
    tool = next((offered[name] for name in delegation.tools if name in offered), None)
    return None if tool is None else text.format(tool=tool, bias=delegation.bias)


# --- a decoded request ---------------------------------------------------------------------------


def treated_request(request: ChatRequest, policy: Policy, who: Who) -> ChatRequest | None:
    """None: it cannot be treated."""
    text = policy_text(policy, who.harness, (tool.name for tool in request.tools))
    if text is None or who.role != "main":
        return None
    messages = list(request.messages)
    n_leading = _leading(message.role for message in messages)
    if n_leading:
        messages[n_leading - 1] = _with_text(messages[n_leading - 1], text)
    else:
        messages.insert(0, Message(role="system", content=text))
    return msgspec.structs.replace(request, messages=tuple(messages))


def _leading(roles: Iterable[str]) -> int:
    n = 0
    for role in roles:
        if role not in _SYSTEM_ROLES:
            break
        n += 1
    return n


def _with_text(message: Message, text: str) -> Message:
    if isinstance(message.content, str):
        return msgspec.structs.replace(message, content=_appended(message.content, text))
    return msgspec.structs.replace(message, content=(*message.content, TextPart(text=f"\n\n{text}")))


def _appended(before: str, text: str) -> str:
    return f"{before}\n\n{text}" if before else text


# --- a body that is passed on --------------------------------------------------------------------


def treated_body(passed: PassedRequest, policy: Policy, who: Who) -> PassedRequest | None:
    """None: it cannot be treated. Everything but the system text stays as it was written."""
    if who.role != "main" or "tools" not in passed.fields:
        return None
    try:
        text = policy_text(policy, who.harness, _tool_names(passed.fields["tools"]))
        field = None if text is None else _treated_field(passed, text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the provider will say what is wrong with it
    return None if field is None else replace(passed, fields=passed.fields | field)


def _tool_names(tools: msgspec.Raw) -> list[str]:
    names: list[str] = []
    for tool in _named_tools.decode(tools):
        inner = tool.tools if tool.tools is not None else [tool.function or tool]
        names += [each.name for each in inner]
    return names


def _treated_field(passed: PassedRequest, text: str) -> dict[str, msgspec.Raw] | None:
    """The field that changes."""
    match passed.dialect:
        case "chat-completions":
            messages = _raws.decode(passed.fields["messages"]) if "messages" in passed.fields else []
            return {"messages": _raw(_chat_messages(messages, text))}
        case "anthropic-messages":
            return {"system": _system(passed.fields.get("system"), text)}
        case "responses":
            return _responses(passed.fields, text)
        case _:
            return None


def _chat_messages(messages: list[msgspec.Raw], text: str) -> list[msgspec.Raw]:
    n_leading = _leading(_items.decode(message).role for message in messages)
    if not n_leading:
        return [_raw({"role": "system", "content": text}), *messages]
    message = _fields.decode(messages[n_leading - 1])
    content = message.get("content", msgspec.Raw(b'""'))
    treated = message | {"content": _content(content, text)}
    return [*messages[: n_leading - 1], _raw(treated), *messages[n_leading:]]


def _system(system: msgspec.Raw | None, text: str) -> msgspec.Raw:
    return _raw(text) if system is None or bytes(system) == b"null" else _content(system, text)


def _content(content: msgspec.Raw, text: str) -> msgspec.Raw:
    """Text, or blocks of it."""
    if bytes(content).startswith(b"["):
        return _raw([*_raws.decode(content), {"type": "text", "text": f"\n\n{text}"}])
    return _raw(_appended(msgspec.json.decode(content, type=str), text))


def _responses(fields: Mapping[str, msgspec.Raw], text: str) -> dict[str, msgspec.Raw]:
    """A message behind the developer's own; where there is no list of items, the instructions."""
    if "input" in fields and bytes(fields["input"]).startswith(b"["):
        items = _raws.decode(fields["input"])
        n_leading = _leading(_items.decode(item).role for item in items)
        content = [{"type": "input_text", "text": text}]
        ours = _raw({"type": "message", "role": "developer", "content": content})
        return {"input": _raw([*items[:n_leading], ours, *items[n_leading:]])}
    return {"instructions": _system(fields.get("instructions"), text)}


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_json.encode(value))
