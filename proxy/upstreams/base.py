"""What the endpoints ask of whoever answers: a local pool now, a remote provider later."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from inference.chat import EmbeddingRequest, Embeddings, GenerateRequest
from inference.messages import GenerateEvent
from inference.scheduler_events import Lane

Batch = Sequence[GenerateEvent]
"""All that had come when the reader woke up: one write to the client for each."""


class Exchange(Protocol):
    """One request under way. `queue_s` and `load_s` are what it waited for; `caused_load`: see Lease."""

    @property
    def queue_s(self) -> float: ...

    @property
    def load_s(self) -> float: ...

    @property
    def caused_load(self) -> bool: ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        """Ends after the batch that holds Finish, or raises HotseatError. Closing it cancels the request."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings: ...


class Upstream(Protocol):
    name: str

    def open(self, model: str, lane: Lane = "interactive") -> AbstractAsyncContextManager[Exchange]:
        """Waits until `model` may be used. Raises HotseatError; cancelling it gives the place up."""
