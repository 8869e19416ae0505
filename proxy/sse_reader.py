"""Server-sent events out of bytes, however the bytes were cut. Pure.

Takes what servers really send: LF, CRLF and CR line ends, comments, several data lines, an `error:`
field (older llama-server), a last event without its blank line. Bounded: a line or an event that
does not end is an error, not memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.upstream_errors import BadAnswer

MAX_EVENT_BYTES = 16 * 2**20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """`name` is "" where the stream gave none. `data`: its lines, joined by LF; never decoded here."""

    name: str
    data: bytes


class SseReader:
    """Raises BadAnswer for an event of more than `max_event_bytes`."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = bytearray()  # of the line that has not ended
        self._follows_cr = False  # an LF that comes next belongs to a CR before it
        self._is_first_line = True
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> Iterator[SseEvent]:
        """The events that `data` completes, those before an error too. Read it to its end."""
        if not data:
            return
        if self._follows_cr and data.startswith(b"\n"):
            data = data[1:]
            self._follows_cr = False
        if b"\r" in data:
            self._follows_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        elif data:
            self._follows_cr = False
        self._rest += data
        if b"\n" in data:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._check(len(line))
                if event := self._take(line):
                    yield event
        self._check(len(self._rest))

    def end(self) -> Iterator[SseEvent]:
        """The stream is over: what its last event holds, though no blank line followed."""
        line, self._rest = bytes(self._rest), bytearray()
        if line and (event := self._take(line)):
            yield event
        if event := self._take(b""):
            yield event

    def _take(self, line: bytes) -> SseEvent | None:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._add(value)
            case b"error":
                self._name = "error"
                self._add(value)
            case b"event":
                self._name = value.decode("utf-8", "replace")
        return None

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value)
        self._check(self._data_bytes)

    def _dispatch(self) -> SseEvent | None:
        name, data = self._name, self._data
        self._name, self._data, self._data_bytes = "", [], 0
        return SseEvent(name, b"\n".join(data)) if data else None

    def _check(self, n_bytes: int) -> None:
        if n_bytes > self._max_event_bytes:
            raise BadAnswer(f"one event of the stream has more than {self._max_event_bytes} bytes")
