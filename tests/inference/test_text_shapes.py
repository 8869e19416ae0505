"""Strings written as bare text: what their schema says of them holds in every format."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inference.chat import Tool, ToolCall
from inference.grammar import ToolCalls
from inference.grammar_pattern import engine_match, engine_pattern
from inference.toolcall_formats import FORMATS, format_named
from inference.toolcall_formats.base import ToolFormat
from inference.toolcall_formats.text_shapes import TextShape, text_shapes
from tests.inference.grammar_texts import accepts, compiler

COMPILER = compiler()
formats = pytest.mark.parametrize("tool_format", FORMATS, ids=lambda known: known.name)


def allows(tool_format: ToolFormat, schema: Any, value: object, root: dict[str, Any] | None = None) -> bool:
    tool = Tool(name="t", parameters={"properties": {"v": schema}, "required": ["v"], **(root or {})})
    rule = ToolCalls(format_name=tool_format.name, tools=(tool,), choice="required")
    compiled = COMPILER.compile(rule, tool_format)
    call = ToolCall(id="c", name="t", arguments=json.dumps({"v": value}, ensure_ascii=False))
    return accepts(compiled, tool_format.render([call]).strip())


CASES: tuple[tuple[str, dict[str, Any], list[Any], list[Any]], ...] = (
    ("enum", {"enum": ["a", "b c", ""]}, ["a", "b c", ""], ["b", "a ", "c"]),
    ("const", {"const": "x/y"}, ["x/y"], ["x"]),
    ("pattern", {"type": "string", "pattern": "^[a-c]+$"}, ["abc"], ["abd", "", "ab\n"]),
    ("pattern somewhere", {"type": "string", "pattern": "b/\\d"}, ["b/1", "ab/1c\n"], ["b/", "ab"]),
    ("alternatives", {"type": "string", "pattern": "^a|b$"}, ["ax", "xb"], ["xa", "bx"]),
    (
        "a word of a list",
        {"type": "string", "pattern": "(?:^|,)ab?(,|$)"},
        ["a", "ab,c", "c,a", "x,ab,y"],
        ["ca", "aab", "abc,d", "", "b"],
    ),
    ("lengths", {"type": "string", "minLength": 2, "maxLength": 3}, ["éé", "a\nb"], ["a", "abcd", ""]),
    ("at least", {"type": "string", "minLength": 1}, ["x", "x" * 40], [""]),
    (
        "both patterns",
        {"type": "string", "allOf": [{"pattern": "^a"}, {"pattern": "z$"}], "maxLength": 3},
        ["az", "abz"],
        ["a", "z", "abcz"],
    ),
    (
        "one of two",
        {"anyOf": [{"type": "string", "pattern": "^a+$"}, {"enum": ["on", "off"]}]},
        ["aa", "on"],
        ["b", "onn"],
    ),
    (
        "a string or none",
        {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "null"}]},
        ["ab", None],
        ["abc"],
    ),
    (
        "a word or a number",
        {"type": ["string", "integer", "boolean"], "enum": ["auto", 3, True]},
        ["auto", 3, True],
        ["outo", 4, False],
    ),
    ("a number beside a pattern", {"type": ["string", "integer"], "pattern": "^x"}, ["x1", 12, -3], ["y"]),
    (
        "a date",
        {"type": "string", "format": "date"},
        ["2026-11-22", "2024-02-29"],
        ["22.11.2026", "2026-13-01", "2026-04-31", "2026-11-22 ", ""],
    ),
    (
        "a date and time",
        {"type": "string", "format": "date-time"},
        ["2026-11-22T09:30:00Z", "2026-11-22t09:30:60.25+01:00"],
        ["2026-11-22", "2026-11-22T09:30:00", "2026-11-22T24:30:00Z", "2026-11-22 09:30:00Z"],
    ),
    ("a time", {"type": "string", "format": "time"}, ["09:30:00Z"], ["09:30", "9:30:00Z"]),
    ("a duration", {"type": "string", "format": "duration"}, ["P1Y2M", "PT5M", "P3W", "P1DT1H"], ["P", "5m"]),
    (
        "an email address",
        {"type": "string", "format": "email"},
        ["a.b+c@example.org", "x@[127.0.0.1]"],
        ["a@", "@b", "a b@c", "a@b@c", "a..b@c"],
    ),
    ("a host", {"type": "string", "format": "hostname"}, ["a-1.example"], ["-a", "a..b", "a_b", ""]),
    ("ipv4", {"type": "string", "format": "ipv4"}, ["127.0.0.1"], ["256.0.0.1", "1.2.3", "01.2.3.4"]),
    (
        "ipv6",
        {"type": "string", "format": "ipv6"},
        ["::1", "::", "1:2:3:4:5:6:7:8", "fe80::1:2", "::1:2:3:4:5:6:7", "1:2:3:4:5:6:7::"],
        ["1:2", ":::", "1::2::3", "1:2:3:4:5:6:7:8::", "g::1"],
    ),
    (
        "a uuid",
        {"type": "string", "format": "uuid"},
        ["123e4567-e89b-12d3-A456-426614174000"],
        ["123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"],
    ),
    (
        "a uri",
        {"type": "string", "format": "uri"},
        ["https://u@example.org:80/a/b%20c?d=e/?#f", "urn:isbn:0451450523", "file:///etc/hosts", "x:"],
        ["example.org", "http://a b", "http://a/%2", "//host/path"],
    ),
    (
        "a date that begins so, or none",
        {"anyOf": [{"type": "string", "format": "date", "pattern": "^2026"}, {"type": "null"}]},
        ["2026-01-01", None],
        ["2025-01-01", "2026"],
    ),
    ("a format nobody knows", {"type": "string", "format": "path"}, ["anything"], []),
    ("nothing said", {"type": "string"}, ["", "anything\n</x> at {all}"], []),
)


@formats
@pytest.mark.parametrize(("schema", "good", "bad"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_strings_follow_their_schema(
    tool_format: ToolFormat, schema: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert allows(tool_format, schema, value), value
    for value in bad:
        assert not allows(tool_format, schema, value), value


@formats
def test_a_reference_is_followed(tool_format: ToolFormat) -> None:
    root = {"$defs": {"mode": {"type": "string", "enum": ["read", "write"]}}}
    assert allows(tool_format, {"$ref": "#/$defs/mode"}, "read", root)
    assert not allows(tool_format, {"$ref": "#/$defs/mode"}, "run", root)


@settings(max_examples=150)
@given(
    tool_format=st.sampled_from(FORMATS),
    pattern=st.sampled_from(["", "^[a-c]+$", "b", "^a", "c$", "^(ab|c){1,2}$", "[/.]", "^[^\n]*$"]),
    shortest=st.integers(0, 3),
    longest=st.integers(2, 6),
    text=st.text(alphabet="abc/.\né", max_size=7),
)
def test_any_string_is_allowed_as_a_validator_says(
    tool_format: ToolFormat, pattern: str, shortest: int, longest: int, text: str
) -> None:
    assume(shortest <= longest)  # else the schema is relaxed as one without any document
    schema = {"type": "string", "pattern": pattern, "minLength": shortest, "maxLength": longest}
    exact = {**schema, "pattern": re.sub(r"\$$", r"\\Z", pattern)}  # Python's $ takes a newline for the end
    valid = bool(jsonschema.Draft202012Validator(exact).is_valid(text))
    assert allows(tool_format, schema, text) == valid


def test_text_that_has_the_end_tag_in_it_is_not_taken_beyond_it() -> None:
    """A shape that the text up to the tag does not have yet must not swallow the tag."""
    schema = {"type": "string", "minLength": 8}
    assert allows(format_named("minimax-m2"), schema, "12345678")
    assert not allows(format_named("minimax-m2"), schema, "1</parameter>2345678")


@pytest.mark.parametrize(
    ("schema", "note"),
    [
        ({"type": "string", "maxLength": 500_000}, "maxLength 500000 is not enforced"),
        ({"type": "string", "minLength": 100_000}, "minLength 100000 is enforced on bare text up to 200"),
        ({"type": "string", "pattern": "(^a)*b"}, "anchors within it"),
        ({"type": "string", "pattern": "(a?){2000}a{900}"}, ""),
    ],
)
def test_what_costs_too_much_is_left_out_and_noted(schema: dict[str, Any], note: str) -> None:
    tool = Tool(name="t", parameters={"properties": {"v": schema}})
    tool_format = format_named("glm")
    rule = ToolCalls(format_name="glm", tools=(tool,), choice="required")
    compiled = COMPILER.compile(rule, tool_format)
    assert any(note in one for one in compiled.notes) or not note
    assert compiled.relaxed == ()
    assert compiled.compile_s < 2


# --- the pieces --------------------------------------------------------------------------------

PATTERNS = (
    "^a$", "a", "^a", "a$", "a|b", "^a|b$", "^(a|b)$", "[$^]", "\\$\\^", "", "^$", "a{2}|^b", "(?:a|^b)",
    "a$b", "ab^", "(^a|b$)", "(^|x)a(y|$)", "^(a|b$)", "((^)|\\n)b", "(a|(?:^b$))", "(^a)+", "(^a)?b",
    "([^^$]|^)a", "^^a$$", "(?:^|a|b)" * 4,
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_whole_match_is_a_search(pattern: str) -> None:
    engine = engine_pattern(pattern)
    assert engine is not None
    whole = engine_match(engine)
    if whole is None:
        assert pattern in ("a$b", "ab^", "(^a)+", "(^a)?b", "(?:^|a|b)" * 4)
        return
    for text in ("", "a", "b", "ab", "aab", "ba", "xay", "$", "^", "$^", "a\n", "\nb", "xx"):
        exact = re.sub(r"(?<!\\)\$(?![\]^])", r"\\Z", pattern)  # Python's $ takes a newline for the end
        expected = re.search(exact, text)
        assert bool(re.fullmatch(whole, text)) == bool(expected), text


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, ()),
        (True, ()),
        ({"type": "string"}, ()),
        ({"type": ["string", "object"], "maxLength": 3}, ()),
        ({"type": ["string", "object"], "enum": ["a", {}]}, (TextShape(words=("a", "{}")),)),
        ({"type": "string", "anyOf": [{"pattern": "a"}, {}]}, ()),
        (
            {"type": "string", "allOf": [{"maxLength": 3}, {"minLength": 2, "maxLength": 5}]},
            (TextShape(shortest=2, longest=3),),
        ),
        ({"enum": ["a", "b"], "allOf": [{"enum": ["b", "c"]}]}, (TextShape(words=("b",)),)),
        ({"anyOf": [{"enum": [str(n)]} for n in range(100)]}, ()),
        ({"$ref": "#"}, ()),
        ({"enum": ["ab", "b"], "type": "string", "maxLength": 1}, (TextShape(words=("ab", "b"), longest=1),)),
    ],
)
def test_shapes(schema: Any, expected: tuple[TextShape, ...]) -> None:
    assert text_shapes(schema, schema if isinstance(schema, dict) else {}) == expected
