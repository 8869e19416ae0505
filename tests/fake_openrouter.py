"""A fake of OpenRouter, as its documentation describes it: Chat Completions and Messages with `usage.cost`
in every answer, the paginated catalogue with prices as strings, errors by status, inside a 200 and in the
middle of a stream, comment lines as keep-alives.

    fake = openrouter()
    async with fake.running():
        base_url = openrouter_url(fake)      # …/api/v1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.fake_answers import (
    CREATED,
    ChatShape,
    Frame,
    MessagesShape,
    Price,
    Said,
    chat_body,
    chat_frames,
    messages_body,
    messages_frames,
    number,
)
from tests.fake_provider import Asked, Dialect, FakeProvider
from tests.fake_wire import Failure

KEY = "sk-or-v1-0123456789abcdef"
SONNET = "anthropic/claude-sonnet-5"
FLASH = "google/gemini-3-flash"
PRICES = {
    SONNET: Price(Decimal("0.000003"), Decimal("0.000015"), Decimal("0.0000003"), Decimal("0.00000375")),
    FLASH: Price(Decimal("0.000000075"), Decimal("0.0000003"), Decimal("0.00000001875")),
}
POSTS: Mapping[str, Dialect] = {
    "/api/v1/chat/completions": "chat-completions",
    "/api/v1/messages": "messages",
}
PAGE = 500
COMMENT = "OPENROUTER PROCESSING"
_NATIVE_REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}
_NO_TOKENS = {"audio_tokens": 0, "video_tokens": 0}


def openrouter(prices: Mapping[str, Price] | None = None, page: int = PAGE, key: str = KEY) -> FakeProvider:
    return FakeProvider(_OpenRouter(prices=prices or PRICES, page=page, key=key))


def openrouter_url(fake: FakeProvider) -> str:
    return f"{fake.url}/api/v1"


@dataclass(frozen=True, slots=True)
class _OpenRouter:
    prices: Mapping[str, Price]
    page: int
    key: str = KEY
    comment: str = COMMENT
    posts: Mapping[str, Dialect] = field(
        default_factory=lambda: {
            "/api/v1/chat/completions": "chat-completions",
            "/api/v1/messages": "messages",
        }
    )

    def refusal(self, asked: Asked) -> Failure | None:
        if asked.method == "GET" and asked.path == "/api/v1/models":
            return None
        presented = _key(asked)
        if presented is None:
            return Failure(401, "No auth credentials found")
        if presented != self.key:
            return Failure(401, "User not found.")
        if asked.method != "POST":
            return None
        if not isinstance(asked.body, dict):
            return Failure(400, "Invalid JSON in request body")
        if asked.body.get("model") not in self.prices:
            return Failure(400, f"{asked.body.get('model')} is not a valid model ID")
        return None

    def may_reason(self, asked: Asked) -> bool:
        return True

    def headers(self, asked: Asked) -> Mapping[str, str]:
        return {"x-generation-id": f"gen-{CREATED}-{asked.number:020d}", "cf-ray": f"{asked.number:016x}-FRA"}

    def whole(self, dialect: Dialect, words: Said) -> Any:
        return messages_body(words, MESSAGES) if dialect == "messages" else chat_body(words, CHAT)

    def frames(self, dialect: Dialect, words: Said) -> list[Frame]:
        return messages_frames(words, MESSAGES) if dialect == "messages" else chat_frames(words, CHAT)

    def broken_off(self, dialect: Dialect, words: Said) -> Frame:
        error = {"code": 502, "message": "Provider disconnected unexpectedly", **_metadata()}
        if dialect == "messages":
            told = {"type": "error", "error": {"type": "api_error", "message": error["message"]}}
            return Frame(told, event="error")
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        head = {"id": words.id, "object": "chat.completion.chunk", "created": CREATED, "model": words.model}
        chunk = {**head, "provider": "Anthropic", "error": error}
        return Frame({**chunk, "choices": [{**choice, "native_finish_reason": "error"}]})

    def envelope(self, failure: Failure, asked: Asked) -> Any:
        if self.posts.get(asked.path) == "messages":
            kind = str(failure.code) or _MESSAGES_TYPES.get(failure.status, "api_error")
            return {"type": "error", "error": {"type": kind, "message": failure.message}}
        error: dict[str, Any] = {"message": failure.message, "code": failure.code or failure.status}
        if failure.metadata:
            error["metadata"] = dict(failure.metadata)
        return {"error": error, "user_id": "user_2fakefakefake"}

    def get(self, asked: Asked) -> tuple[int, Any]:
        if asked.path != "/api/v1/models":
            return 404, {"error": {"message": "Not Found", "code": 404}}
        offset = int(asked.query.get("offset", "0"))
        limit = min(self.page, int(asked.query.get("limit", str(self.page))))
        names = list(self.prices)
        following = f"/api/v1/models?offset={offset + limit}&limit={limit}"
        has_more = offset + limit < len(names)
        return 200, {
            "data": [_card(name, self.prices[name]) for name in names[offset : offset + limit]],
            "total_count": len(names),
            "links": {"next": following if has_more else None},
        }


_MESSAGES_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def _key(asked: Asked) -> str | None:
    bearer = asked.header("authorization")
    if bearer is not None and bearer.startswith("Bearer "):
        return bearer.removeprefix("Bearer ")
    return asked.header("x-api-key")


def _metadata() -> dict[str, Any]:
    return {"metadata": {"provider_name": "Anthropic", "error_type": "provider_unavailable"}}


def _cost(words: Said) -> dict[str, Any]:
    details = {
        "upstream_inference_cost": number(words.cost),
        "upstream_inference_prompt_cost": number(words.price.of_prompt(words.tokens)),
        "upstream_inference_completions_cost": number(words.price.of_completion(words.tokens)),
    }
    return {"cost": number(words.cost), "is_byok": False, "cost_details": details}


def _chat_usage(words: Said) -> dict[str, Any]:
    tokens = words.tokens
    cached = {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.cache_write}
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        **_cost(words),
        "prompt_tokens_details": {**cached, **_NO_TOKENS},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "image_tokens": 0},
    }


def _messages_usage(words: Said) -> dict[str, Any]:
    return {**_messages_input(words), "output_tokens": words.tokens.output, **_cost(words)}


def _messages_input(words: Said) -> dict[str, Any]:
    """In this dialect the cached tokens are beside `input_tokens`, not in them."""
    tokens = words.tokens
    return {
        "input_tokens": tokens.input - tokens.cached - tokens.cache_write,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": 0,
    }


def _reasoning(piece: str) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "text": piece, "format": "anthropic-claude-v1", "index": 0}
    return {"reasoning": piece, "reasoning_details": [detail]}


def _choice(reason: str | None) -> dict[str, Any]:
    return {"native_finish_reason": _NATIVE_REASONS.get(reason or "", reason), "logprobs": None}


CHAT = ChatShape(
    top=lambda words: {"provider": "Anthropic", "system_fingerprint": None},
    choice=_choice,
    reasoning=_reasoning,
    usage=_chat_usage,
    usage_apart=True,
    ids=lambda words: {"id": words.id},
)
MESSAGES = MessagesShape(
    usage=_messages_usage, opening_usage=_messages_input, top=lambda words: {"provider": "Anthropic"}
)


def _card(name: str, price: Price) -> dict[str, Any]:
    pricing = {
        "prompt": _text(price.prompt),
        "completion": _text(price.completion),
        "request": "0",
        "image": "0",
        "web_search": "0",
        "internal_reasoning": "0",
        "input_cache_read": _text(price.cached),
        "input_cache_write": _text(price.cache_write),
    }
    return {
        "id": name,
        "canonical_slug": name,
        "name": name.title(),
        "created": CREATED,
        "description": "",
        "context_length": 200_000,
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "modality": "text->text",
        "input_modalities": ["text"],
        "output_modalities": ["text"],
        "pricing": pricing,
        "top_provider": {"context_length": 200_000, "max_completion_tokens": 64_000, "is_moderated": False},
        "per_request_limits": None,
        "supported_parameters": ["max_tokens", "temperature", "tools", "reasoning"],
    }


def _text(price: Decimal) -> str:
    return f"{price:f}"
