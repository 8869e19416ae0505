"""Tokens' bytes in, text out: incremental UTF-8 and stop strings. Pure.

Two rules that callers and clients can rely on, whatever the tokens' borders:

- Text: exactly what `bytes.decode("utf-8", "replace")` says of the whole output, but never half a
  character: bytes of an unfinished one wait for the rest.
- Stop strings: generation ends as soon as any of them is complete, so of several the one that
  *ends* first wins; of those that end at the same character, the longest. All text before it has
  been returned, it and what follows never is. Held back is only the longest tail of the text
  that is the beginning of a stop string.

The stop strings are matched by one Aho-Corasick automaton, so the cost of a token depends on its
length, not on how many stop strings there are.
"""

from __future__ import annotations

import codecs
import re
from collections import deque


class StopScanner:
    """Text in, text out, up to the first stop string."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        words = tuple(dict.fromkeys(word for word in stop if word))
        self._next, self._depth, self._found = _automaton(words)
        firsts = "".join(sorted({re.escape(word[0]) for word in words}))
        self._may_begin = re.compile(f"[{firsts}]") if firsts else None
        self._state = 0
        self._held = ""
        self.stopped: str | None = None

    def push(self, text: str) -> str:
        """The part of the text so far that is now certain to precede any stop string."""
        if self._may_begin is None:
            return text
        if self.stopped is not None:
            return ""
        start = 0
        if self._state == 0:  # the usual case: nothing held, and no stop string begins in this piece
            begin = self._may_begin.search(text)
            if begin is None:
                return text
            start = begin.start()
        return self._scan(text, start)

    def _scan(self, text: str, start: int) -> str:
        state, following, found = self._state, self._next, self._found
        for position in range(start, len(text)):
            state = following[state].get(text[position], 0)
            word = found[state]
            if word is not None:
                self.stopped = word
                whole = self._held + text[: position + 1]
                self._held = ""
                return whole[: len(whole) - len(word)]
        self._state = state
        whole = self._held + text
        certain = len(whole) - self._depth[state]
        self._held = whole[certain:]
        return whole[:certain]

    def finish(self) -> str:
        """What was held back: at the end of generation it was no stop string after all."""
        held, self._held, self._state = self._held, "", 0
        return held


class TextStream:
    """One answer's bytes, token by token, as text that may be shown."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._scanner = StopScanner(stop)

    @property
    def stopped(self) -> str | None:
        """The stop string that was met. Everything pushed afterwards is ignored."""
        return self._scanner.stopped

    def push(self, piece: bytes) -> str:
        """Text that may be shown now: no half character, no possible beginning of a stop string."""
        return self._scanner.push(self._decode(piece))

    def finish(self) -> str:
        """The rest, once, at the end of generation. An unfinished character becomes U+FFFD."""
        shown = self._scanner.push(self._decode(b"", True))
        return shown if self._scanner.stopped is not None else shown + self._scanner.finish()


def _automaton(words: tuple[str, ...]) -> tuple[list[dict[str, int]], list[int], list[str | None]]:
    """Per state: the transitions (absent: state 0), its depth, and the longest word that ends there."""
    following: list[dict[str, int]] = [{}]
    depth: list[int] = [0]
    found: list[str | None] = [None]
    for word in words:
        state = 0
        for char in word:
            if char not in following[state]:
                following[state][char] = len(following)
                following.append({})
                depth.append(depth[state] + 1)
                found.append(None)
            state = following[state][char]
        found[state] = word

    fallback = [0] * len(following)
    queue = deque(following[0].values())
    while queue:  # breadth first, so that a state's fallback (always shallower) is complete before it
        state = queue.popleft()
        children = following[state]
        queue.extend(children.values())
        for char, child in children.items():
            fallback[child] = following[fallback[state]].get(char, 0)
        if found[state] is None:
            found[state] = found[fallback[state]]
        following[state] = following[fallback[state]] | children
    return following, depth, found
