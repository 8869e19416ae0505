"""Chat bodies as each provider takes them, and which dialect a request is translated to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference.chat import ChatRequest, CompletionRequest, Message, Reasoning, Sampling
from inference.errors import InvalidRequest
from proxy.providers import KINDS, kind_of, url_of
from proxy.remote_config import ProviderConfig
from proxy.translation import encoded, translation_to

ASKED = ChatRequest(model="m", messages=(Message(role="user", content="hi"),), max_tokens=9)
THOUGHT = Message(role="assistant", content="ok", reasoning="hm")


def provider(kind: str, *dialects: Any) -> ProviderConfig:
    row = KINDS[kind]
    return ProviderConfig(kind, row.base_url, kind=kind, dialects=dialects or row.dialects)


def body(kind: str, **changes: Any) -> dict[str, Any]:
    fields = {name: getattr(ASKED, name) for name in ASKED.__struct_fields__} | changes
    sent: dict[str, Any] = json.loads(
        encoded(ChatRequest(**fields), provider(kind), "v/m", "chat-completions")
    )
    return sent


@pytest.mark.parametrize(
    ("kind", "reasoning", "fields"),
    [
        ("openrouter", None, {}),
        ("openrouter", Reasoning(effort="high"), {"reasoning": {"effort": "high"}}),
        ("openrouter", Reasoning(enabled=False), {"reasoning": {"enabled": False}}),
        ("zai", None, {"thinking": {"type": "enabled", "clear_thinking": False}}),
        ("zai", Reasoning(effort="low"), {"thinking": {"type": "enabled", "clear_thinking": False}}),
        ("zai", Reasoning(effort="none"), {"thinking": {"type": "disabled", "clear_thinking": False}}),
        ("zai", Reasoning(enabled=False), {"thinking": {"type": "disabled", "clear_thinking": False}}),
        ("openai", Reasoning(effort="low"), {"reasoning_effort": "low"}),
        ("openai", Reasoning(enabled=False), {"reasoning_effort": "none"}),
        ("compatible", Reasoning(enabled=True), {"chat_template_kwargs": {"enable_thinking": True}}),
    ],
)
def test_how_each_is_told_to_reason(kind: str, reasoning: Reasoning | None, fields: dict[str, Any]) -> None:
    sent = body(kind, reasoning=reasoning)
    names = {"reasoning", "thinking", "reasoning_effort", "chat_template_kwargs"}
    assert {name: value for name, value in sent.items() if name in names} == fields


@pytest.mark.parametrize(
    ("kind", "name"),
    [("openrouter", "reasoning"), ("zai", "reasoning_content"), ("compatible", "reasoning_content")],
)
def test_thoughts_go_back_unchanged(kind: str, name: str) -> None:
    sent = body(kind, messages=(*ASKED.messages, THOUGHT))
    assert sent["messages"][1][name] == "hm"


def test_openai_has_no_place_for_thoughts() -> None:
    sent = body("openai", messages=(*ASKED.messages, THOUGHT))
    assert sent["messages"][1] == {"role": "assistant", "content": "ok"}


def test_names_that_differ() -> None:
    assert body("openai")["max_completion_tokens"] == 9
    assert "max_tokens" not in body("openai")
    assert body("openrouter", sampling=Sampling(repeat_penalty=1.5))["repetition_penalty"] == 1.5


@pytest.mark.parametrize(
    ("kind", "changes", "param"),
    [
        ("openai", {"sampling": Sampling(top_k=3)}, "top_k"),
        ("zai", {"sampling": Sampling(min_p=0.5)}, "min_p"),
        ("zai", {"sampling": Sampling(dry_multiplier=0.8)}, "dry_multiplier"),
        ("openai", {"sampling": Sampling(dry_base=1.75)}, "dry_base"),
        ("openrouter", {"sampling": Sampling(dry_allowed_length=2)}, "dry_allowed_length"),
        ("openrouter", {"sampling": Sampling(dry_penalty_last_n=-1)}, "dry_penalty_last_n"),
        ("openrouter", {"ignore_eos": True}, "ignore_eos"),
        ("openrouter", {"template_kwargs": {"x": 1}}, "chat_template_kwargs.x"),
    ],
)
def test_what_a_provider_has_no_word_for_is_refused_by_name(
    kind: str, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(kind, **changes)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("kind", "dialect"),
    [
        ("openrouter", "chat-completions"),
        ("zai-messages", "anthropic-messages"),
        ("anthropic", "anthropic-messages"),
        ("openai", "chat-completions"),
    ],
)
def test_which_dialect(kind: str, dialect: str) -> None:
    assert translation_to(provider(kind), ASKED) == dialect


def test_what_cannot_be_translated_is_said() -> None:
    with pytest.raises(InvalidRequest, match="zai speaks chat-completions"):
        translation_to(provider("zai"), CompletionRequest(model="m", prompt="x"))
    with pytest.raises(InvalidRequest, match="embeddings"):
        translation_to(provider("compatible", "embeddings"), ASKED)


@pytest.mark.parametrize("dialect", ["anthropic-messages", "responses"])
def test_other_dialects(dialect: Any) -> None:
    sent = json.loads(encoded(ASKED, provider("compatible", dialect), "v/m", dialect))
    assert (sent["model"], sent["stream"]) == ("v/m", True)


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/messages"),
        ("https://api.z.ai/api/coding/paas/v4", "https://api.z.ai/api/coding/paas/v4/messages"),
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://api.z.ai/api/anthropic", "https://api.z.ai/api/anthropic/v1/messages"),
        ("http://127.0.0.1:8080/r/run/v1", "http://127.0.0.1:8080/r/run/v1/messages"),
        ("http://v1.example:1", "http://v1.example:1/v1/messages"),
    ],
)
def test_addresses(base_url: str, url: str) -> None:
    assert url_of(base_url, "anthropic-messages") == url


def test_kinds() -> None:
    assert kind_of("zai").name == "zai"
    assert kind_of("box").name == "compatible"
