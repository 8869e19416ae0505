"""Finds markers in text that comes in pieces, as bytes, at whatever place it is cut."""

from __future__ import annotations

from dataclasses import dataclass


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
