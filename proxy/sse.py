"""Server-sent events: how chunks are framed. Pure.

Lines end in LF; an event is one `data:` line, for JSON never holds a raw line break. A comment
line starts with a colon: clients must ignore it, proxies and sockets count it as life.
"""

from __future__ import annotations

from typing import Any

import msgspec

CONTENT_TYPE = b"text/event-stream; charset=utf-8"
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

_encoder = msgspec.json.Encoder()


def data(value: Any) -> bytes:
    """One event whose data is `value` as JSON."""
    return b"data: " + _encoder.encode(value) + b"\n\n"
