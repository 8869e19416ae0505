"""Free text inside a function's arguments, at every split point."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.freeform import FreeformText, arguments_of

TEXT = st.text(max_size=40)


def read(pieces: Sequence[str]) -> tuple[str, bool]:
    reader = FreeformText()
    text = "".join(reader.feed(piece) for piece in pieces) + reader.finish()
    return text, reader.is_whole


def every_split(arguments: str) -> list[tuple[str, bool]]:
    found = [read(list(arguments)), read([arguments])]
    return found + [read([arguments[:i], arguments[i:]]) for i in range(len(arguments))]


@given(TEXT, st.booleans())
def test_what_was_meant_comes_out_at_every_split(text: str, ascii_only: bool) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only)
    assert set(every_split(arguments)) == {(text, True)}


@given(st.text(alphabet=st.sampled_from('{}"\\u:input dD83c0e\n'), max_size=40))
def test_anything_at_all_reads_the_same_at_every_split(arguments: str) -> None:
    for start in ("", '{"input": "'):
        assert len(set(every_split(start + arguments))) == 1


@given(TEXT)
def test_arguments_as_a_model_would_have_written_them(text: str) -> None:
    assert json.loads(arguments_of(text)) == {"input": text}


@pytest.mark.parametrize(
    ("arguments", "text", "whole"),
    [
        (' {\n "input" : "a\\nb" , "workdir": "x" }', "a\nb", True),
        ('{"patch": "*** Begin Patch"}', "*** Begin Patch", True),
        ('{"workdir": "x", "input": "text"}', "text", True),
        ('"only a string"', "only a string", True),
        ("*** Begin Patch\n*** End Patch", "*** Begin Patch\n*** End Patch", False),
        ('{"a": "x", "b": "y"}', '{"a": "x", "b": "y"}', True),
        ('{"input": 7}', '{"input": 7}', True),
        ('{"input": "cut of', "cut of", False),
        ('{"input": "half \\ud83d', "half \ufffd", False),
        ('{"input": "half \\ud83d\\n"}', "half \ufffd\n", True),
        ('{"input": "no \\q escape \\u00"}', "no \\q escape \\u00", True),
        ("", "", False),
    ],
)
def test_forms(arguments: str, text: str, whole: bool) -> None:
    assert set(every_split(arguments)) == {(text, whole)}


def test_text_is_told_as_soon_as_it_is_certain() -> None:
    reader = FreeformText()
    told = [reader.feed(piece) for piece in ('{"inp', 'ut": "a', "b", "\\", "n", "\\ud83d", "\\ude00", '"}')]
    assert told == ["", "a", "b", "", "\n", "", "\U0001f600", ""]
