"""StreamParser's own rules, and the readers beneath it: markers, JSON, bare values, reasoning styles."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import ReasoningDelta, TextDelta, Tool, ToolCall, ToolCallDelta
from inference.reasoning_style import THINK, ReasoningStyle, detect_reasoning
from inference.stream_parser import MAX_HELD_SPACE_CHARS, Delta, StreamParser
from inference.toolcall_formats import FORMATS, format_named
from inference.toolcall_formats.arguments import ParameterTypes, ValueWriter, allowed_types
from inference.toolcall_formats.json_text import MAX_DEPTH, mended
from inference.toolcall_formats.source import Markers, Source

NOW = Tool(name="now")


def parser(
    name: str = "hermes",
    *,
    tools: tuple[Tool, ...] = (NOW,),
    reasoning: ReasoningStyle | None = None,
    starts_in_reasoning: bool = False,
) -> StreamParser:
    return StreamParser(
        format_named(name),
        tools,
        reasoning,
        starts_in_reasoning=starts_in_reasoning,
        call_id=lambda n: f"call_{n}",
    )


def size(deltas: list[Delta]) -> int:
    return sum(
        len(delta.arguments) if isinstance(delta, ToolCallDelta) else len(delta.text) for delta in deltas
    )


# --- the parser's own rules ----------------------------------------------------------------------


def test_a_partial_marker_waits_and_is_text_if_it_was_none() -> None:
    stream = parser()
    assert stream.feed("a <tool_") == [TextDelta(text="a")]
    assert stream.feed("box>") == [TextDelta(text=" <tool_box>")]
    assert stream.feed("<tool_call>") == []
    assert stream.feed("x") == [TextDelta(text="<tool_call>x")]
    assert stream.finish() == []


def test_a_name_is_sent_once_it_is_complete_and_with_the_id() -> None:
    stream = parser()
    assert stream.feed('<tool_call>{"name": "n') == []
    assert stream.feed('ow", "argum') == []
    assert stream.feed('ents": {') == [
        ToolCallDelta(index=0, id="call_0", name="now"),
        ToolCallDelta(index=0, arguments="{"),
    ]
    assert stream.feed("}") == [ToolCallDelta(index=0, arguments="}")]
    assert stream.finish() == []
    assert stream.unfinished == ()


def test_a_call_without_arguments_has_none() -> None:
    stream = parser()
    assert stream.feed('<tool_call>{"name": "now"}') == [
        ToolCallDelta(index=0, id="call_0", name="now"),
        ToolCallDelta(index=0, arguments="{}"),
    ]


def test_an_unfinished_call_is_named_after_finish() -> None:
    stream = parser()
    stream.feed('<tool_call>{"name": "now", "arguments": {"a": [')
    settled_before = len(stream.unfinished)
    assert stream.finish() == []
    assert (settled_before, stream.unfinished, stream.calls) == (0, (0,), 1)


def test_a_name_that_was_not_offered_is_a_call() -> None:
    stream = parser()
    assert stream.feed('<tool_call>{"name": "dig", "arguments": {}}')[0] == ToolCallDelta(
        index=0, id="call_0", name="dig"
    )


@pytest.mark.parametrize("name", [known.name for known in FORMATS if known.name != "harmony"])
def test_without_tools_nothing_is_a_call(name: str) -> None:
    text = '<tool_call>[TOOL_CALLS]{"name": "now", "arguments": {}} [now()]<function=now>'
    stream = parser(name, tools=())
    said = [*stream.feed(text), *stream.finish()]
    assert "".join(delta.text for delta in said if isinstance(delta, TextDelta)) == text


def test_whitespace_before_a_marker_is_dropped_however_long_up_to_a_bound() -> None:
    stream = parser()
    shown = stream.feed("Hi" + " " * (MAX_HELD_SPACE_CHARS + 10)) + stream.feed('<tool_call>{"name": "now"}')
    text = "".join(delta.text for delta in shown if isinstance(delta, TextDelta))
    assert text == "Hi" + " " * 10


def test_reasoning_begins_again_after_content() -> None:
    stream = parser(reasoning=THINK)
    said = [*stream.feed("<think>a</think>b<think>c</think>d"), *stream.finish()]
    assert said == [
        ReasoningDelta(text="a"),
        TextDelta(text="b"),
        ReasoningDelta(text="\nc"),
        TextDelta(text="\nd"),
    ]


def test_reasoning_that_never_ends_is_reasoning() -> None:
    stream = parser(reasoning=THINK, starts_in_reasoning=True)
    assert [*stream.feed("\nHm. \n"), *stream.finish()] == [ReasoningDelta(text="Hm.")]


def test_without_a_style_tags_are_text() -> None:
    stream = parser()
    assert stream.feed("<think>a</think>") == [TextDelta(text="<think>a</think>")]


@pytest.mark.parametrize("name", [known.name for known in FORMATS])
def test_what_is_held_back_is_bounded(name: str) -> None:
    stream = parser(name)
    held = 0
    for _ in range(3000):
        held += 6 - size(stream.feed("<a {[ "))
        assert held < 60


@pytest.mark.parametrize("name", ["hermes", "qwen3-xml", "glm", "minimax-m2", "mistral", "gemma4", "lfm2"])
def test_a_long_string_argument_is_never_held_back(name: str) -> None:
    known = format_named(name)
    tool = Tool(name="write", parameters={"properties": {"text": {"type": "string"}}})
    stream = StreamParser(known, [tool], None, call_id=str)
    ending = len("END") + 40
    text = known.render([ToolCall(id="", name="write", arguments=json.dumps({"text": "lorem " * 2000}))])
    sent = 0
    for position, char in enumerate(text):
        sent += size(stream.feed(char))
        assert position - sent < ending + 60
    assert stream.unfinished == ()


# --- markers -------------------------------------------------------------------------------------

words = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=4)


@given(words=words, text=st.text(alphabet="abc", max_size=20), at=st.integers(0, 20))
def test_markers_are_found_alike_wherever_the_text_is_cut(words: list[str], text: str, at: int) -> None:
    def pieces(parts: list[str]) -> list[tuple[str, str]]:
        source, found = Source(), [("", "")]
        markers = Markers(words)

        def reading() -> Any:
            while True:
                piece = yield from source.before(markers)
                if piece == ("", ""):
                    return
                if found[-1][1]:
                    found.append(piece)
                else:
                    found[-1] = (found[-1][0] + piece.text, piece.marker)

        steps = reading()
        next(steps, None)
        for part in parts:
            source.push(part)
            next(steps, None)
        source.end()
        next(steps, None)
        return found

    assert pieces([text]) == pieces(list(text)) == pieces([text[:at], text[at:]])
    assert "".join(before + marker for before, marker in pieces([text])) == text


# --- JSON ----------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(value=values, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_any_json_is_passed_on_as_it_is(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert mended(text) == text


@pytest.mark.parametrize(
    ("written", "passed_on"),
    [
        ('"a\nb\t\x01"', '"a\\nb\\t\\u0001"'),
        (r'"\d+ \'x\' \u12"', r'"\\d+ ' + r"'x' \\u12" + '"'),
        ("[True, False, None]", "[true, false, null]"),
        ("-0.5e+3", "-0.5e+3"),
    ],
)
def test_what_is_mended(written: str, passed_on: str) -> None:
    assert mended(written) == passed_on
    json.loads(passed_on)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a"}', '{"a":}', "[1,]", "{'a': 1}", "01", "NaN", "Infinity", "+1", '"a', '{"a": 1}}', "1 2",
     "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)],
)  # fmt: skip
def test_what_is_no_json(text: str) -> None:
    assert mended(text) is None


# --- bare values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string"}, "12", "12"),
        ({"type": "string"}, "null", "null"),
        ({"type": "string"}, ' "q" ', ' "q" '),
        ({"type": "integer"}, " 12 ", 12),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "integer"}, "twelve", "twelve"),
        ({"type": "boolean"}, "True", True),
        ({"type": "array"}, '["a\n"]', ["a\n"]),
        ({"type": "object"}, '{"a": None}', {"a": None}),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "nullify", "nullify"),
        ({"type": ["string", "null"]}, "", ""),
        ({"type": ["string", "integer"]}, "12", 12),
        ({"type": ["string", "integer"]}, "1x", "1x"),
        ({"type": ["string", "integer"]}, "true", "true"),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": [1, 2]}, "1", 1),
        ({"const": "3"}, "3", "3"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "None", None),
        ({"oneOf": [{"type": "number"}, {"type": "boolean"}]}, "false", False),
        ({"allOf": [{"type": ["string", "number"]}, {"type": "string"}]}, "5", "5"),
        ({"$ref": "#/$defs/a~1b"}, "7", "7"),
        ({"$ref": "#/$defs/loop"}, "7", 7),
        ({}, "7", 7),
        ({}, '"7"', '"7"'),
        ({}, "NaN", "NaN"),
        ({}, "plain", "plain"),
        (True, "[1]", [1]),
    ],
)
def test_bare_values_follow_the_schema(schema: object, text: str, expected: object) -> None:
    root = {
        "properties": {"value": schema},
        "$defs": {"a/b": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}},
    }
    allowed = ParameterTypes.of([Tool(name="t", parameters=root)]).allowed("t", "value")
    for pieces in ([text], list(text)):
        written: list[str] = []
        writer = ValueWriter(allowed, written.append)
        for piece in pieces:
            writer.add(piece)
        writer.end()
        assert json.loads("".join(written)) == expected
        assert isinstance(json.loads("".join(written)), type(expected))


def test_types_that_contradict_each_other_allow_any() -> None:
    assert allowed_types({"type": "string", "enum": [1]}, {}) == allowed_types({}, {})


# --- reasoning styles ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "prompt", "is_open"),
    [
        ("<think>", "<|im_start|>assistant\n<think>\n", True),
        ("<think>", "<think>a</think><|im_start|>assistant\n", False),
        ("<think>", "<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<think>", "<|Assistant|></think>", False),
        ("<think>", "no markers", False),
        ("<|channel>thought", "<|turn>model\n<|channel>thought\n<channel|>", False),
        ("<|channel>thought", "<|turn>model\n<|channel>thought\n", True),
        ("<seed:think>", "assistant\n<seed:think>", True),
    ],
)
def test_whether_a_prompt_ends_inside_reasoning(template: str, prompt: str, is_open: bool) -> None:
    style = detect_reasoning(template)
    assert style is not None
    assert style.is_open_in(prompt) is is_open


def test_a_template_without_reasoning() -> None:
    assert detect_reasoning("{{ messages }}") is None
