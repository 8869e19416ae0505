"""Known providers, as rows of data: where they are, what they speak, how a key is shown, what is odd there.

A provider of models.toml is one of these by its name or its `kind`, and may say otherwise in every
column but the oddities. "compatible" is any other server that speaks a known dialect: vLLM, SGLang,
llama-server, another Hotseat.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

DialectName = Literal["chat-completions", "completions", "embeddings", "responses", "anthropic-messages"]
KeyHeader = Literal["bearer", "x-api-key"]
ReasoningField = Literal["template", "openrouter", "zai", "effort"]
"""How a chat body says whether to reason. template: `reasoning_effort` and chat_template_kwargs, as vLLM and
Hotseat take them; effort: the former alone; openrouter: an object `reasoning`; zai: an object `thinking`."""

COMPATIBLE = "compatible"

_PATHS: Mapping[DialectName, str] = {
    "chat-completions": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
    "anthropic-messages": "/messages",
}
_VERSION = re.compile(r"/v\d+[a-z0-9]*$")

_LLAMA_CPPS = frozenset(
    {"repeat_last_n", "ignore_eos", "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"}
)
"""Sampling that no hosted service has."""

_NOT_OPENAIS = _LLAMA_CPPS | {"top_k", "min_p", "repeat_penalty"}
"""Sampling that OpenAI's own API does not have, by the names that Hotseat gives it."""

_ZAI_VAIN = frozenset("1110 1111 1112 1113 1121 1304 1308 1309 1310 1311 1312 1313".split())
"""Z.ai says 429 for all of these: an account without balance, locked or without a plan, and quotas whose
window is hours or days. What passes in seconds is 1302, 1303 and 1305."""


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """One row.

    `unknown_fields`: of our chat bodies, those that it does not take; `renamed` those it calls otherwise.
    `vain_codes`: inner error codes that waiting does not cure, whatever the status says.
    `reports_cost`: usage.cost is what it charged, in USD. `sends_usage`: at the end of a chat stream, asked
    or not. `keeps_thoughts`: reasoning of earlier answers must come back unchanged. `counts_tokens`: it has
    Messages' count_tokens.
    """

    name: str
    base_url: str = ""
    api_key_env: str | None = None
    dialects: tuple[DialectName, ...] = ("chat-completions",)
    key_header: KeyHeader = "bearer"
    reasoning: ReasoningField = "template"
    unknown_fields: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    vain_codes: frozenset[str] = frozenset()
    reports_cost: bool = False
    sends_usage: bool = False
    keeps_thoughts: bool = False
    counts_tokens: bool = False


_ROWS = (
    ProviderKind(COMPATIBLE, counts_tokens=True),
    ProviderKind(
        "openrouter",
        base_url="https://openrouter.ai/api/v1",
        api_key_env="OPENROUTER_API_KEY",
        dialects=("chat-completions", "completions", "embeddings"),
        reasoning="openrouter",
        unknown_fields=_LLAMA_CPPS,
        renamed={"repeat_penalty": "repetition_penalty"},
        reports_cost=True,
        sends_usage=True,
    ),
    ProviderKind(
        "zai",
        base_url="https://api.z.ai/api/paas/v4",
        api_key_env="ZAI_API_KEY",
        reasoning="zai",
        unknown_fields=_NOT_OPENAIS,
        vain_codes=_ZAI_VAIN,
        keeps_thoughts=True,
    ),
    ProviderKind(
        "zai-coding",
        base_url="https://api.z.ai/api/coding/paas/v4",
        api_key_env="ZAI_API_KEY",
        reasoning="zai",
        unknown_fields=_NOT_OPENAIS,
        vain_codes=_ZAI_VAIN,
        keeps_thoughts=True,
    ),
    ProviderKind(
        "zai-messages",
        base_url="https://api.z.ai/api/anthropic",
        api_key_env="ZAI_API_KEY",
        dialects=("anthropic-messages",),
        vain_codes=_ZAI_VAIN,
    ),
    ProviderKind(
        "openai",
        base_url="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        dialects=("chat-completions", "responses", "completions", "embeddings"),
        reasoning="effort",
        unknown_fields=_NOT_OPENAIS,
        renamed={"max_tokens": "max_completion_tokens"},
        vain_codes=frozenset({"insufficient_quota"}),
    ),
    ProviderKind(
        "anthropic",
        base_url="https://api.anthropic.com",
        api_key_env="ANTHROPIC_API_KEY",
        dialects=("anthropic-messages",),
        key_header="x-api-key",
        counts_tokens=True,
    ),
)
KINDS: Mapping[str, ProviderKind] = MappingProxyType({row.name: row for row in _ROWS})


def kind_of(name: str) -> ProviderKind:
    return KINDS.get(name, KINDS[COMPATIBLE])


@functools.lru_cache(maxsize=512)
def url_of(base_url: str, dialect: DialectName) -> str:
    """Where `dialect` is spoken. An address that ends in a version (/v1, /v4) has the paths right below it,
    one that does not has them below /v1: that is how each provider documents its own."""
    return (base_url if _VERSION.search(base_url) else f"{base_url}/v1") + _PATHS[dialect]
