"""One OpenAI-compatible server, asked over HTTP: a worker's own, or a provider's.

What goes wrong is an UpstreamError; whose fault that is, the caller knows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from inference.chat import ChatEvent, EmbeddingRequest, Embeddings, GenerateRequest
from proxy.dialects.chat_client import (
    EMBEDDINGS_PATH,
    StreamDecoder,
    decode_embeddings,
    encode_embedding,
    encode_request,
    path_of,
)
from proxy.openai_chunks import error_in, error_inside
from proxy.upstream_errors import BadAnswer, Broken, Silent
from proxy.upstreams.http_client import DEADLINES, Deadlines, HttpAnswer, HttpClient

FAREWELL_S = 5.0
"""How long the count of tokens and [DONE] are waited for once the finish_reason is there."""


@dataclass(frozen=True, slots=True)
class OpenAIServer:
    """`model`: its name there. `headers` may carry a key."""

    http: HttpClient
    base_url: str
    model: str
    deadlines: Deadlines = DEADLINES
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[list[ChatEvent], None]:
        """Ends after Finish, or raises UpstreamError. Closing it closes the connection."""
        decoder = StreamDecoder()
        body = encode_request(request, self.model)
        async with self.http.post(
            self.base_url + path_of(request), body, self.deadlines, self.headers
        ) as answer:
            await _expect(answer, "text/event-stream")
            try:
                async for data in answer.chunks():
                    if events := decoder.feed(data):
                        yield events
                    if decoder.error is not None:
                        raise decoder.error
                    if decoder.is_done:
                        return
                    if decoder.has_finish_reason:
                        answer.idle_s = min(answer.idle_s, FAREWELL_S)
            except (Broken, Silent):
                if not decoder.has_finish_reason:
                    raise
        if events := decoder.end():
            yield events

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Raises UpstreamError."""
        body = encode_embedding(request, self.model)
        async with self.http.post(
            self.base_url + EMBEDDINGS_PATH, body, self.deadlines, self.headers
        ) as answer:
            await _expect(answer, "application/json")
            return decode_embeddings(await answer.read(), request)


async def _expect(answer: HttpAnswer, media_type: str) -> None:
    """Raises Reported or BadAnswer for everything but a 200 of that type."""
    if answer.status >= 400:
        raise error_in(await answer.read(), answer.status, answer.retry_after_s)
    if answer.status != 200:
        raise BadAnswer(f"expected status 200, found {answer.status}")
    if answer.media_type == media_type:
        return
    if answer.media_type == "application/json" and (problem := error_inside(await answer.read())):
        raise problem
    raise BadAnswer(f"expected {media_type}, found {answer.media_type[:64] or 'no content type'}")
