"""Markers in text that comes in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.grammar_markers import Found, Scan

MARKERS = (b"<call>", b"<calls>", b"aab", b"</think>")
TEXTS = st.lists(
    st.sampled_from([b"<call>", b"<calls>", b"<cal", b"l>", b"a", b"aab", b"b", b"</th", b"ink>", b"x", b"<"])
)


def whole(text: bytes) -> tuple[bytes, bytes] | None:
    """The first marker to be complete, and what follows, by looking at every end."""
    for end in range(len(text) + 1):
        for marker in sorted(MARKERS, key=len, reverse=True):
            if text[:end].endswith(marker):
                return marker, text[end:]
    return None


@given(TEXTS, st.data())
def test_found_wherever_the_text_is_cut(pieces: list[bytes], data: st.DataObject) -> None:
    text = b"".join(pieces)
    scan, at = Scan(MARKERS), 0
    while at < len(text):
        size = data.draw(st.integers(1, 4))
        found = scan.feed(text[at : at + size])
        at += size
        if isinstance(found, Found):
            assert (found.marker, found.rest + text[at:]) == whole(text)
            return
        scan = found
    assert whole(text) is None


@given(TEXTS)
def test_endings_are_what_would_complete_a_marker_that_has_begun(pieces: list[bytes]) -> None:
    scan = Scan(MARKERS)
    for piece in pieces:
        found = scan.feed(piece)
        scan = found if isinstance(found, Scan) else Scan(MARKERS)
    begun = {m[n:] for m in MARKERS for n in range(1, len(m)) if scan.tail.endswith(m[:n])}
    assert set(scan.endings()) == begun
    assert all(isinstance(scan.feed(ending), Found) for ending in scan.endings())
