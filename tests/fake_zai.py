"""A fake of Z.ai, as its documentation and its users describe it: Chat Completions at the general and at
the Coding Plan's address, Messages at the one for Anthropic's clients; thinking on by default;
`reasoning_content`; business codes as strings inside the error; a 429 that means an empty account.

    fake = zai()
    async with fake.running():
        base_url = general_url(fake)         # …/api/paas/v4; also coding_url and anthropic_url
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.fake_answers import (
    ChatShape,
    Frame,
    MessagesShape,
    Price,
    Said,
    chat_body,
    chat_frames,
    messages_body,
    messages_frames,
)
from tests.fake_provider import Asked, Dialect, FakeProvider
from tests.fake_wire import Failure

KEY = "0123456789abcdef0123456789abcdef.FakeFakeFakeFake"
GLM = "glm-5"
AIR = "glm-4.5-air"
PRICES = {
    GLM: Price(Decimal("0.000001"), Decimal("0.0000032"), Decimal("0.0000002")),
    AIR: Price(Decimal("0.0000002"), Decimal("0.0000011"), Decimal("0.00000003")),
}

NO_BALANCE = Failure(429, "Insufficient balance or no resource package. Please recharge.", "1113")
TOO_MANY_AT_ONCE = Failure(
    429, "High concurrency usage of this API, please reduce concurrency or contact customer service", "1302"
)
TOO_OFTEN = Failure(429, "High frequency usage of this API, please reduce frequency", "1303")
OVERLOADED = Failure(429, "The service may be temporarily overloaded, please try again later", "1305")
PLAN_USED_UP = Failure(
    429, "Usage limit reached for 5 hour. Your limit will reset at 2026-11-22 19:01:25", "1308"
)

_TOOLS = frozenset({"function", "web_search", "retrieval"})
_ROLES = frozenset({"system", "user", "assistant", "tool"})
_CHAT_PATHS = ("/api/paas/v4/chat/completions", "/api/coding/paas/v4/chat/completions")
_MESSAGES_PATH = "/api/anthropic/v1/messages"


def zai(prices: Mapping[str, Price] | None = None, key: str = KEY) -> FakeProvider:
    return FakeProvider(_Zai(prices=prices or PRICES, key=key))


def general_url(fake: FakeProvider) -> str:
    return f"{fake.url}/api/paas/v4"


def coding_url(fake: FakeProvider) -> str:
    return f"{fake.url}/api/coding/paas/v4"


def anthropic_url(fake: FakeProvider) -> str:
    return f"{fake.url}/api/anthropic"


def _posts() -> dict[str, Dialect]:
    posts: dict[str, Dialect] = {_MESSAGES_PATH: "messages"}
    return posts | dict.fromkeys(_CHAT_PATHS, "chat-completions")


@dataclass(frozen=True, slots=True)
class _Zai:
    prices: Mapping[str, Price]
    key: str = KEY
    comment: str = "keep-alive"
    posts: Mapping[str, Dialect] = field(default_factory=_posts)

    def refusal(self, asked: Asked) -> Failure | None:
        presented = _key(asked)
        if presented is None:
            return Failure(401, "Authentication parameter not received in Header", "1001")
        if presented != self.key:
            return Failure(401, "Invalid Authentication Token", "1002")
        if asked.method != "POST" or asked.path not in self.posts:
            return None
        if not isinstance(asked.body, dict):
            return Failure(400, "API call parameter error, please check documentation", "1210")
        if asked.body.get("model") not in self.prices:
            return Failure(400, "Unknown Model, please check the model code.", "1211")
        return _chat_refusal(asked.body) if asked.path != _MESSAGES_PATH else None

    def may_reason(self, asked: Asked) -> bool:
        """On unless it is switched off; Messages has it off unless it is switched on."""
        thinking = (asked.body.get("thinking") or {}).get("type")
        return thinking == "enabled" if asked.path == _MESSAGES_PATH else thinking != "disabled"

    def headers(self, asked: Asked) -> Mapping[str, str]:
        return {"x-log-id": _log_id(asked.number)}

    def whole(self, dialect: Dialect, words: Said) -> Any:
        return messages_body(words, MESSAGES) if dialect == "messages" else chat_body(words, CHAT)

    def frames(self, dialect: Dialect, words: Said) -> list[Frame]:
        return messages_frames(words, MESSAGES) if dialect == "messages" else chat_frames(words, CHAT)

    def broken_off(self, dialect: Dialect, words: Said) -> Frame:
        message = "An internal network failure occurred"
        if dialect == "messages":
            error = {"type": "api_error", "code": "1234", "message": f"[1234][{message}]"}
            return Frame({"type": "error", "error": error, "request_id": words.id}, event="error")
        return Frame({"error": {"code": "1234", "message": message}})

    def envelope(self, failure: Failure, asked: Asked) -> Any:
        code = str(failure.code) or "1200"
        log_id = _log_id(asked.number)
        if self.posts.get(asked.path) != "messages":
            return {"error": {"code": code, "message": failure.message}, "request_id": log_id}
        kind = _MESSAGES_TYPES.get(failure.status, "api_error")
        message = f"[{code}][{failure.message}][{log_id}]"
        return {
            "type": "error",
            "error": {"type": kind, "code": code, "message": message},
            "request_id": log_id,
        }

    def get(self, asked: Asked) -> tuple[int, Any]:
        return 404, {"error": {"code": "1222", "message": f"API {asked.path} does not exist"}}


_MESSAGES_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def _chat_refusal(body: Mapping[str, Any]) -> Failure | None:
    roles = {message.get("role") for message in body.get("messages") or []}
    if not roles or not roles <= _ROLES:
        return Failure(400, "Incorrect role information", "1214")
    if (body.get("thinking") or {"type": "enabled"}).get("type") not in ("enabled", "disabled"):
        return Failure(400, "The parameter thinking.type is invalid. Please check the documentation.", "1214")
    if any(
        tool.get("type") not in ("function", "web_search", "retrieval") for tool in body.get("tools") or []
    ):
        return Failure(400, "The parameter tools.type is invalid. Please check the documentation.", "1214")
    return None


def _key(asked: Asked) -> str | None:
    bearer = asked.header("authorization")
    if bearer is not None and bearer.startswith("Bearer "):
        return bearer.removeprefix("Bearer ")
    return asked.header("x-api-key") if asked.path == _MESSAGES_PATH else None


def _log_id(number_: int) -> str:
    return f"20261122120000{number_:018d}"


def _chat_usage(words: Said) -> dict[str, Any]:
    tokens = words.tokens
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }


def _messages_usage(words: Said) -> dict[str, Any]:
    tokens = words.tokens
    return {
        "input_tokens": tokens.input - tokens.cached,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
        "server_tool_use": {"web_search_requests": 0},
        "service_tier": "standard",
    }


CHAT = ChatShape(
    top=lambda words: {},
    choice=lambda reason: {},
    reasoning=lambda piece: {"reasoning_content": piece},
    usage=_chat_usage,
    usage_apart=False,
    ids=lambda words: {"id": words.id, "request_id": words.id},
)
MESSAGES = MessagesShape(
    usage=_messages_usage,
    # Zero at the start: the true counts come in the last message_delta alone.
    opening_usage=lambda words: {"input_tokens": 0, "output_tokens": 0},
    top=lambda words: {},
)
