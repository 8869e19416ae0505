"""How a provider is reached, as far as it concerns who asks it: over HTTP (http_client.py), or from a
recording (taped.py)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from proxy.upstreams.http_client import MAX_BODY_BYTES, MAX_STREAM_BYTES, Deadlines


class ProviderAnswer(Protocol):
    """See http_client.HttpAnswer."""

    status: int
    media_type: str
    retry_after_s: float | None
    idle_s: float

    @property
    def is_over(self) -> bool: ...

    async def piece(self) -> bytes: ...

    async def read(self, max_bytes: int = MAX_BODY_BYTES) -> bytes: ...

    async def settle(self, limit_s: float) -> None: ...

    def chunks(self, max_bytes: int = MAX_STREAM_BYTES) -> AsyncGenerator[bytes, None]: ...


class Transport(Protocol):
    def post(
        self, url: str, body: bytes, deadlines: Deadlines, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        """The answer once its head is there, whatever its status. Raises UpstreamError."""
