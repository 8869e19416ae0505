"""Patterns of JSON Schema in the engine's syntax."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.grammar import JsonSchema
from inference.grammar_pattern import MAX_PATTERN, engine_pattern
from tests.inference.grammar_texts import accepts, compiler

COMPILER = compiler()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^wf_[a-z0-9-]{6,}$", "^wf_[a-z0-9-]{6,}$"),
        ("^[\\s\\S]{0,300}$", "^[\\s\\S]{0,300}$"),
        ("[!#$%&'*+.^_`|~0-9A-Za-z-]+", "[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
        ("(?:a|b)(?<name>c)", "(?:a|b)(?<name>c)"),
        ("[[a]", "[\\[a]"),
        ("[a&&b~~c--d]", "[a&\\&b~\\~c-\\-d]"),
        ("\\<b\\>[\\<]", "<b>[<]"),
        ("${name}", "$\\{name\\}"),
        ("a{2}b{1,3}", "a{2}b{1,3}"),
        ("\\p{L}\\u{41}\\u0041\\x41", "\\p{L}\\u{41}\\u0041\\x41"),
        ("[\\b]\\0", "[\\x08]\\x00"),
        ("\\{x\\}", "\\{x\\}"),
    ],
)
def test_translation(pattern: str, expected: str) -> None:
    assert engine_pattern(pattern) == expected


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", "\\bword\\b", "\\B", "(a)\\1", "(?<n>a)\\k<n>", "\\cA",
     "(?i)a", "[a", "a" * (MAX_PATTERN + 1)],
)  # fmt: skip
def test_no_grammar_expresses_it(pattern: str) -> None:
    assert engine_pattern(pattern) is None


PIECES = st.sampled_from(
    [
        "a",
        "b",
        "[ab]",
        "[^a]",
        "(a|b)",
        "(?:ab)",
        "a*",
        "b+",
        "a?",
        "[&&]",
        "[[]",
        "\\-",
        "\\[",
        "{",
        "}",
        "\\d",
        "-",
    ]
)


@given(
    st.lists(PIECES, min_size=1, max_size=4).map("".join),
    st.lists(st.sampled_from(["a", "b", "&", "[", "-", "{", "}", "1", "x"]), max_size=4).map("".join),
)
def test_it_matches_what_the_pattern_matches(pattern: str, text: str) -> None:
    compiled = COMPILER.compile(JsonSchema(schema={"type": "string", "pattern": f"^{pattern}$"}, strict=True))
    try:
        expected = re.fullmatch(pattern.replace("[[]", "\\["), text) is not None
    except re.error:
        return
    assert accepts(compiled, f'"{text}"') == expected
