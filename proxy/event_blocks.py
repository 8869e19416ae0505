"""A stream of server-sent events cut into whole ones, byte for byte. Pure.

What is passed on to a client is passed on in whole events: an error of ours can then follow at any
moment without ending up inside half an event of somebody else's.
"""

from __future__ import annotations

import re

from proxy.sse_reader import MAX_EVENT_BYTES
from proxy.upstream_errors import BadAnswer

# Atomic: a CRLF is one line end, and is never taken back to be read as two.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LONGEST = 4


class EventBlocks:
    """Raises BadAnswer for an event of more than `max_event_bytes`."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = bytearray()
        self._searched = 0  # of the rest, where no blank line begins

    def feed(self, data: bytes) -> list[bytes]:
        """The blocks that `data` completes, each with its blank line: events, and comments by themselves."""
        if not self._rest and len(data) > 2 and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data:
            return [data]  # one whole event, as they mostly come: an eighth of the cost
        self._rest += data
        blocks: list[bytes] = []
        begin = 0
        for match in _BLANK_LINE.finditer(self._rest, self._searched):
            blocks.append(bytes(self._rest[begin : match.end()]))
            begin = match.end()
        del self._rest[:begin]
        if len(self._rest) > self._max_event_bytes:
            raise BadAnswer(f"one event of the stream has more than {self._max_event_bytes} bytes")
        self._searched = max(0, len(self._rest) - _LONGEST)
        return blocks

    def end(self) -> bytes:
        """What came after the last whole block."""
        rest, self._rest, self._searched = bytes(self._rest), bytearray(), 0
        return rest
