"""Taking a provider's key out of what the provider says. Pure.

The bytes of an answer are cleaned as they come, before anything is read from them or cut to a length. A
text made from what came otherwise (a header, a parser's complaint) is searched for what a cut or a
change of case has left of the key.
"""

from __future__ import annotations

import re
import string

REDACTED = "<redacted>"
TRACE_CHARS = 12
"""So many letters of a key in a row give it away."""

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Redaction:
    """`key` None, or a word too short to be secret ("none", "EMPTY"): nothing is taken out."""

    __slots__ = ("_pattern", "_traces")

    def __init__(self, key: str | None) -> None:
        if key is None or len(key) < TRACE_CHARS:
            self._pattern, self._traces = None, frozenset[str]()
            return
        forms = sorted({key, key.replace("/", "\\/")})  # some write JSON like the second
        self._pattern = re.compile("|".join(map(re.escape, forms)).encode())
        plain = key.translate(_LOWER)
        self._traces = frozenset(plain[i : i + TRACE_CHARS] for i in range(len(plain) - TRACE_CHARS + 1))

    def bytes_(self, data: bytes) -> bytes:
        return data if self._pattern is None else self._pattern.sub(REDACTED.encode(), data)

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """What `bytes_` takes out."""
        return [] if self._pattern is None else [found.span() for found in self._pattern.finditer(data)]

    def text(self, text: str) -> str:
        if not self._traces:
            return text
        plain = text.translate(_LOWER)
        kept: list[str] = []
        start = 0
        while start < len(text):
            end = start
            while plain[end : end + TRACE_CHARS] in self._traces:
                end += 1
            kept.append(REDACTED if end > start else text[start])
            start = end + TRACE_CHARS - 1 if end > start else start + 1
        return "".join(kept)
