"""A key in what a provider says: whole, cut, in other letters, escaped; and what is no key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.redaction import REDACTED, Redaction

KEY = "sk-or-v1/0123456789ABCDEFabcdef"
FOUND = Redaction(KEY)


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_whole_key_goes(before: str, after: str) -> None:
    assert KEY not in FOUND.text(f"{before}{KEY}{after}")
    assert KEY.encode() not in FOUND.bytes_(f"{before}{KEY}{after}".encode())


@given(start=st.integers(0, len(KEY) - 12), length=st.integers(12, len(KEY)))
def test_what_a_cut_leaves_goes(start: int, length: int) -> None:
    assert FOUND.text(f"key {KEY[start : start + length].lower()}!") == f"key {REDACTED}!"


def test_a_key_as_json_may_write_it() -> None:
    assert FOUND.bytes_(b'{"k":"sk-or-v1\\/0123456789ABCDEFabcdef"}') == b'{"k":"<redacted>"}'


def test_everything_else_stays() -> None:
    for words in ("", "sk-or-v1", "nothing to see: 0123456789", "é" * 100):
        assert FOUND.text(words) == words
        assert FOUND.bytes_(words.encode()) == words.encode()


def test_words_that_are_no_secret_are_not_taken_out() -> None:
    for key in (None, "", "none", "EMPTY"):
        assert Redaction(key).text("none is EMPTY") == "none is EMPTY"
        assert Redaction(key).bytes_(b"none is EMPTY") == b"none is EMPTY"
