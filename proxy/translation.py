"""Which of a provider's dialects a request is translated to, and by what terms. Pure."""

from __future__ import annotations

from typing import Protocol, assert_never

from inference.chat import ChatEvent, ChatRequest, GenerateRequest
from inference.errors import InvalidRequest
from proxy.dialects import chat_client, messages_client, responses_client
from proxy.messages_request import MessagesTerms
from proxy.provider_chat import adapted
from proxy.providers import KINDS, DialectName
from proxy.remote_config import ProviderConfig
from proxy.responses_request import ResponsesTerms
from proxy.upstream_errors import UpstreamError

PREFERRED: tuple[DialectName, ...] = ("chat-completions", "anthropic-messages", "responses")
"""Chat first: what providers of open models speak best."""


class Decoder(Protocol):
    """See chat_client.StreamDecoder."""

    @property
    def is_done(self) -> bool: ...
    @property
    def error(self) -> UpstreamError | None: ...
    def feed(self, data: bytes) -> list[ChatEvent]: ...
    def end(self) -> list[ChatEvent]: ...


def translation_to(provider: ProviderConfig, request: GenerateRequest) -> DialectName:
    """Raises InvalidRequest if there is none."""
    if isinstance(request, ChatRequest):
        for dialect in PREFERRED:
            if dialect in provider.dialects:
                return dialect
    spoken = ", ".join(provider.dialects)
    raise InvalidRequest(
        f"model: {provider.name} speaks {spoken}, and this request cannot be translated to that",
        param="model",
    )


def encoded(request: GenerateRequest, provider: ProviderConfig, model: str, dialect: DialectName) -> bytes:
    """The body that asks for `request`, streamed. Raises InvalidRequest naming what cannot be said."""
    match dialect:
        case "chat-completions":
            return adapted(chat_client.encode_request(request, model), request, KINDS[provider.kind])
        case "anthropic-messages":
            assert isinstance(request, ChatRequest)
            return messages_client.encode_request(request, model, _messages_terms(provider))
        case "responses":
            assert isinstance(request, ChatRequest)
            terms = ResponsesTerms(author=provider.name, unsigned_thoughts=provider.kind != "openai")
            return responses_client.encode_request(request, model, terms)
        case "completions" | "embeddings":
            raise InvalidRequest(f"model: nothing is translated to {dialect}", param="model")
        case _:
            assert_never(dialect)


def _messages_terms(provider: ProviderConfig) -> MessagesTerms:
    if provider.kind == "anthropic":
        return MessagesTerms(author=provider.name)
    return MessagesTerms(
        author=provider.name, thinking="budget", unsigned_thoughts=True, caches_on_request=False
    )


def decoder_for(provider: ProviderConfig, dialect: DialectName) -> Decoder:
    match dialect:
        case "anthropic-messages":
            return messages_client.StreamDecoder(provider.name)
        case "responses":
            return responses_client.StreamDecoder(provider.name)
        case _:
            return chat_client.StreamDecoder()
