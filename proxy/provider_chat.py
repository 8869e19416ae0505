"""Chat bodies of ours as each provider takes them. Pure.

chat_client.py writes a body for servers of open models; providers differ in how they are told to reason,
and in the names and the presence of what OpenAI never had. What a provider has no word for is refused by
name; only the reasoning of earlier answers is left out where there is no place for it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from inference.chat import ChatRequest, GenerateRequest, Reasoning
from inference.errors import InvalidRequest
from proxy.providers import ProviderKind

_json = msgspec.json.Encoder()


def adapted(body: bytes, request: GenerateRequest, kind: ProviderKind) -> bytes:
    """Raises InvalidRequest."""
    fields: dict[str, Any] = msgspec.json.decode(body)
    if isinstance(request, ChatRequest) and kind.reasoning != "template":
        _reason(fields, request, kind)
    for ours, theirs in kind.renamed.items():
        if ours in fields:
            fields[theirs] = fields.pop(ours)
    for name in kind.unknown_fields & fields.keys():
        raise InvalidRequest(f"{name}: {kind.name} has no such parameter: leave it out", param=name)
    return _json.encode(fields)


def _reason(fields: dict[str, Any], request: ChatRequest, kind: ProviderKind) -> None:
    fields.pop("chat_template_kwargs", None)
    for name in request.template_kwargs:
        param = f"chat_template_kwargs.{name}"
        raise InvalidRequest(f"{param}: {kind.name} has no chat template to tell: leave it out", param=param)
    effort = fields.pop("reasoning_effort", None)
    enabled = _is_enabled(request.reasoning)
    match kind.reasoning:
        case "openrouter":
            if effort is not None:
                fields["reasoning"] = {"effort": effort}
            elif enabled is not None:
                fields["reasoning"] = {"enabled": enabled}
            _rename_thoughts(fields, "reasoning")
        case "zai":
            # Without clear_thinking the general API forgets the thoughts that are sent back to it.
            kind_of_thinking = "disabled" if enabled is False else "enabled"
            fields["thinking"] = {"type": kind_of_thinking, "clear_thinking": False}
        case "effort":
            if effort is not None:
                fields["reasoning_effort"] = effort
            elif enabled is False:
                fields["reasoning_effort"] = "none"
            _rename_thoughts(fields, None)


def _is_enabled(reasoning: Reasoning | None) -> bool | None:
    if reasoning is None:
        return None
    if reasoning.enabled is not None:
        return reasoning.enabled
    return None if reasoning.effort is None else reasoning.effort not in ("none", "minimal")


def _rename_thoughts(fields: dict[str, Any], name: str | None) -> None:
    for message in fields["messages"]:
        thoughts = message.pop("reasoning_content", None)
        if thoughts is not None and name is not None:
            message[name] = thoughts
