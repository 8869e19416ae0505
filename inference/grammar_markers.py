"""Finds markers in text that comes in pieces, as bytes, at whatever place it is cut."""

from __future__ import annotations

from dataclasses import dataclass, replace

SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Found:
    marker: bytes
    rest: bytes
    """What came after it."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Waits for the first of `markers` to be complete. `tail`: the end of the text, which may begin one."""

    markers: tuple[bytes, ...]
    tail: bytes = b""

    def feed(self, data: bytes) -> Found | Scan:
        text = self.tail + data
        ends = [(at + len(m), -len(m), m) for m in self.markers if (at := text.find(m)) >= 0]
        if ends:  # the first to be complete; of two at once the longer
            end, _, marker = min(ends)
            return Found(marker, text[end:])
        return Scan(self.markers, self._beginning(text))

    def _beginning(self, text: bytes) -> bytes:
        """The longest end of the text that begins a marker."""
        longest = max(map(len, self.markers)) - 1
        for start in range(max(0, len(text) - longest), len(text)):
            if any(marker.startswith(text[start:]) for marker in self.markers):
                return text[start:]
        return b""

    def endings(self) -> list[bytes]:
        """What a piece of text may begin with that completes a marker begun in `tail`."""
        return [
            marker[length:]
            for marker in self.markers
            for length in range(1, min(len(marker), len(self.tail) + 1))
            if self.tail.endswith(marker[:length])
        ]


@dataclass(frozen=True, slots=True)
class Opening:
    """Waits until it is certain whether a text begins with one of `markers`, whitespace aside.

    Between `opens` and `after`, if there are such, reasoning may come first. `said`: the undecided text.
    """

    markers: tuple[bytes, ...]
    opens: bytes = b""
    after: bytes = b""
    said: bytes = b""
    reasoning: bool = False

    def feed(self, data: bytes) -> Found | Opening | None:
        """None: it begins otherwise."""
        if self.reasoning:
            found = Scan((self.after,), self.said).feed(data)
            if isinstance(found, Scan):
                return replace(self, said=found.tail)
            return Opening(self.markers).feed(found.rest)
        text = (self.said + data).lstrip(SPACE)
        for marker in self.markers:
            if text.startswith(marker):
                return Found(marker, text[len(marker) :])
        if self.opens and text.startswith(self.opens):
            return replace(self, said=b"", reasoning=True).feed(text[len(self.opens) :])
        if any(marker.startswith(text) for marker in (*self.markers, self.opens)):
            return replace(self, said=text)
        return None
