"""What surrounds a stream of which it is not known yet who will answer it.

A provider's own stream brings its own opening, so nothing may be opened before it: until then there are
keep-alives that a client takes before any beginning. An answer of ours opens like every other.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from inference.errors import HotseatError
from proxy import sse
from proxy.dialects import responses
from proxy.error_shapes import anthropic_body
from proxy.errors import openai_body
from proxy.generation import Encoder

_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class RemoteFraming:
    """`dialect`: the client's. `is_ours`: no provider's own stream can come. `is_passed`: one has begun.

    A Framing for an EventStream; `opening` is what the first events of ours begin with.
    """

    def __init__(self, dialect: str, make: Callable[[], Encoder], *, is_ours: bool) -> None:
        self._dialect = dialect
        self._make = make
        self._encoder: Encoder | None = None
        self._is_ours = is_ours
        self.is_passed = False

    @property
    def encoder(self) -> Encoder:
        assert self._encoder is not None
        return self._encoder

    def opening(self) -> bytes:
        if self._encoder is not None:
            return b""
        self._encoder = self._make()
        return self._encoder.begin()

    def begin(self) -> bytes:
        """Of a stream that starts with a keep-alive."""
        return self.opening() if self._is_ours else b""

    def keep_alive(self) -> bytes:
        if self.is_passed:
            return b""  # its own are enough, and nothing comes between its events
        if self._encoder is not None:
            return self._encoder.keep_alive()
        return _PING if self._dialect == "messages" else sse.KEEP_ALIVE

    def error(self, error: HotseatError, request_id: str) -> bytes:
        """The last event of an answer that failed."""
        if self._encoder is not None:
            return self._encoder.error(error, request_id)
        match self._dialect:
            case "messages":
                return b"event: error\ndata: " + anthropic_body(error, request_id) + b"\n\n"
            case "responses":
                failed = responses.failed_event(error, request_id)
                return b"event: response.failed\ndata: " + msgspec.json.encode(failed) + b"\n\n"
            case _:
                return b"data: " + openai_body(error, request_id) + b"\n\n"
