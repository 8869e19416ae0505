"""A document or calls: what may come, and that it is read as what it was let through as."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.chat import TextDelta, Tool, ToolCall, ToolCallDelta
from inference.errors import InvalidRequest
from inference.grammar import DocumentOrCalls, Framing, JsonObject, JsonSchema, ToolCalls
from inference.grammar_markers import Found, Opening
from inference.reasoning_style import THINK
from inference.stream_parser import StreamParser
from inference.toolcall_formats import FORMATS
from inference.toolcall_formats.base import ToolFormat
from inference.toolcall_formats.frames import frame_of
from inference.toolcall_formats.generic import GENERIC
from inference.toolcall_formats.llama3 import LLAMA3
from tests.inference.grammar_texts import VOCABULARY, BracketCalls, accepts, compiler, feed, masked
from tests.inference.toolcall_transcripts import TOOLS

COMPILER = compiler()
A = Tool(name="a", parameters={"properties": {"n": {"type": "integer"}}, "required": ["n"]})
AGE: dict[str, Any] = {
    "type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"],
    "additionalProperties": False,
}  # fmt: skip
formats = pytest.mark.parametrize("tool_format", FORMATS, ids=lambda known: known.name)


def either(
    document: JsonObject | JsonSchema, tools: tuple[Tool, ...] = (A,), name: str = "bracket"
) -> DocumentOrCalls:
    return DocumentOrCalls(document=document, calls=ToolCalls(format_name=name, tools=tools))


def framing(tool_format: ToolFormat) -> Framing:
    frame = frame_of(tool_format.name)
    return Framing(lead=frame.lead, before_document=frame.before_document, before_calls=frame.before_calls)


def beginnings(tool_format: ToolFormat) -> list[str]:
    """What may stand before a document, where the format's own parser knows it: harmony's header."""
    frame = frame_of(tool_format.name)
    found = ["all\n" if frame.lead else ""]
    if tool_format.parser(()).owns_channels:
        found.append("".join(frame.before_document).removeprefix(frame.lead))
    return found


def read(
    tool_format: ToolFormat, pieces: list[str], tools: tuple[Tool, ...] = TOOLS
) -> tuple[str, list[tuple[str, str]]]:
    """Content and calls of an answer that may be a document."""
    lead = frame_of(tool_format.name).lead
    parser = StreamParser(tool_format, tools, THINK, call_id=str, document=True, lead=lead)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)] + parser.finish()
    assert parser.unfinished == ()
    calls: list[tuple[str, str]] = []
    for delta in deltas:
        if isinstance(delta, ToolCallDelta):
            if delta.name:
                calls.append((delta.name, ""))
            calls[-1] = (calls[-1][0], calls[-1][1] + delta.arguments)
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)), calls


# --- what may come -----------------------------------------------------------------------------


@pytest.mark.parametrize("document", [JsonSchema(schema=AGE, strict=True), JsonSchema(schema=AGE)])
def test_a_document_or_calls_and_nothing_besides(document: JsonSchema) -> None:
    compiled = COMPILER.compile(either(document), BracketCalls())
    for text in ('{"age": 1}', '\n{"age": 1}', '<call>a {"n": 1}</call>', '<call>a {"n": 1}</call>' * 2):
        assert accepts(compiled, text), text
    for text in (
        "", "text", '{"age": "1"}', "{}", '<call>a {"n": "1"}</call>', '<call>b {"n": 1}</call>',
        '{"age": 1}<call>a {"n": 1}</call>', '<call>a {"n": 1}</call>{"age": 1}',
        'Look: <call>a {"n": 1}</call>', 'Here: {"age": 1}',
    ):  # fmt: skip
        assert not accepts(compiled, text), text


def test_reasoning_comes_before_either() -> None:
    begun = COMPILER.compile(either(JsonObject()), BracketCalls(), Framing(after="</think>"))
    free = COMPILER.compile(either(JsonObject()), BracketCalls(), Framing(after="</think>", opens="<think>"))
    for answer in ('{"age": 1}', '<call>a {"n": 1}</call>'):
        assert accepts(begun, f"hm <call>b {{ </think>\n{answer}")
        assert not accepts(begun, answer)
        assert accepts(free, f"<think>hm <call>b {{ </think>\n{answer}")
        assert accepts(free, answer)
    assert not accepts(free, "<think>hm</think>text")


@pytest.mark.parametrize("parallel", [True, False])
def test_the_named_fields_of_the_calls_hold(parallel: bool) -> None:
    rule = DocumentOrCalls(
        document=JsonObject(), calls=ToolCalls(format_name="bracket", tools=(A,), parallel=parallel)
    )
    two = '<call>a {"n": 1}</call><call>a {"n": 2}</call>'
    assert accepts(COMPILER.compile(rule, BracketCalls()), two) == parallel


def test_a_document_that_cannot_be_is_not_hidden_by_the_calls() -> None:
    schemas: tuple[dict[str, Any], ...] = (
        {"enum": []},
        {"oneOf": [{"type": "number"}, {"type": "integer"}]},
    )
    for schema in schemas:
        with pytest.raises(InvalidRequest, match="response_format") as error:
            COMPILER.compile(either(JsonSchema(schema=schema, strict=True)), BracketCalls())
        assert error.value.param == "response_format"


def test_a_tool_without_a_grammar_relaxes_neither_the_document_nor_the_others() -> None:
    odd = Tool(name="odd", parameters={"properties": {"v": {"allOf": [{"type": "null"}, {"type": "string"}]}},
                                       "required": ["v"]})  # fmt: skip
    unmarked = COMPILER.compile(either(JsonObject(), (odd, A), "llama3"), LLAMA3)
    assert unmarked.relaxed == ("tools[0].parameters",)
    compiled = COMPILER.compile(either(JsonSchema(schema=AGE, strict=True), (odd, A)), BracketCalls())
    assert compiled.relaxed == ("tools[0].parameters",)
    assert accepts(compiled, '<call>odd {"x": 1}</call>')
    assert not accepts(compiled, '<call>a {"x": 1}</call>')
    assert not accepts(compiled, '{"x": 1}')


def test_definitions_of_both_sides_have_the_same_names() -> None:
    def of(value: int) -> dict[str, Any]:
        return {
            "$defs": {"d": {"const": value}},
            "properties": {"v": {"$ref": "#/$defs/d"}},
            "required": ["v"],
        }

    rule = either(JsonSchema(schema={**of(1), "type": "object"}), (Tool(name="a", parameters=of(2)),))
    compiled = COMPILER.compile(rule, BracketCalls())
    assert accepts(compiled, '{"v": 1}')
    assert accepts(compiled, '<call>a {"v": 2}</call>')
    assert not accepts(compiled, '{"v": 2}')
    assert not accepts(compiled, '<call>a {"v": 1}</call>')


# --- every format ------------------------------------------------------------------------------

GOOD = ToolCall(id="c", name="get_weather", arguments='{"city": "Paris", "days": 3}')
BAD = ToolCall(id="c", name="get_weather", arguments='{"city": "Paris", "days": "three"}')
DOCUMENTS = (
    '{"age": 1}',
    '{"name": "Bob", "parameters": {"days": "many"}, "arguments": [1]}',
    '{"text": "<tool_call>\\n{\\"name\\": \\"now\\"}</tool_call> <think> [TOOL_CALLS] >>>now\\n{}"}',
    '{"text": "a<|start|>assistant<|channel|>commentary to=functions.now<|message|>{}<|call|>"}',
)


@formats
def test_calls_and_documents_in_every_format(tool_format: ToolFormat) -> None:
    rule = either(JsonObject(), TOOLS, tool_format.name)
    compiled = COMPILER.compile(rule, tool_format, framing(tool_format))
    lead = frame_of(tool_format.name).lead
    said = tool_format.render([GOOD]).strip().removeprefix(lead)
    assert accepts(compiled, said)
    assert (
        read(tool_format, [said]) == read(tool_format, list(said)) == ("", [("get_weather", GOOD.arguments)])
    )
    assert not accepts(compiled, tool_format.render([BAD]).strip().removeprefix(lead))
    for said in (before + document for before in beginnings(tool_format) for document in DOCUMENTS):
        assert accepts(compiled, said), said
        for pieces in ([said], list(said)):
            assert read(tool_format, pieces) == (said[said.index("{") :], [])


@formats
@settings(max_examples=15)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(
            [mark for known in FORMATS for mark in (*known.markers, *known.triggers)]
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
    at=st.integers(0, 80),
)  # fmt: skip
def test_any_document_is_content_wherever_it_is_cut(tool_format: ToolFormat, value: Any, at: int) -> None:
    text = json.dumps(value, ensure_ascii=False)
    for before in beginnings(tool_format):
        said = before + text
        assert read(tool_format, [said]) == read(tool_format, [said[:at], said[at:]]) == (text, [])


@formats
def test_a_calls_argument_may_spell_the_formats_own_markers(tool_format: ToolFormat) -> None:
    """As far as its grammar lets them come, which in bare text is not where the text would end."""
    tool = Tool(name="t", parameters={"properties": {"v": {"type": "string"}}, "required": ["v"]})
    rule = either(JsonObject(), (tool,), tool_format.name)
    compiled = COMPILER.compile(rule, tool_format, framing(tool_format))
    lead = frame_of(tool_format.name).lead
    read_back = 0
    for mark in (*tool_format.markers, *tool_format.triggers):
        value = {"v": f"a {mark} b"}
        call = ToolCall(id="c", name="t", arguments=json.dumps(value))
        said = tool_format.render([call]).strip().removeprefix(lead)
        if not accepts(compiled, said):
            continue
        read_back += 1
        for pieces in ([said], list(said)):
            content, calls = read(tool_format, pieces, (tool,))
            assert (content, [(name, json.loads(text)) for name, text in calls]) == ("", [("t", value)]), mark
    assert read_back


def test_what_a_frame_allows_is_read_as_nothing() -> None:
    document = '{"age": 1}'
    for tool_format in FORMATS:
        frame = frame_of(tool_format.name)
        if not frame.before_document:
            continue
        compiled = COMPILER.compile(
            either(JsonObject(), TOOLS, tool_format.name), tool_format, framing(tool_format)
        )
        said = "".join(frame.before_document).removeprefix(frame.lead) + document
        assert accepts(compiled, said), tool_format.name
        call = tool_format.render([GOOD]).strip().removeprefix(frame.lead)
        assert accepts(compiled, "".join(frame.before_calls) + call), tool_format.name


# --- calls that look like documents ------------------------------------------------------------

UNMARKED = either(JsonObject(), TOOLS, "llama3")


@pytest.mark.parametrize(
    ("text", "may_come", "is_call"),
    [
        ('{"name": "get_weather", "parameters": {"city": "Bern"}}', True, True),
        ('{"name": "get_weather", "parameters": {"city": 1}}', False, True),
        ('{"name": "get_weather", "parameters": {"city": "Bern"}, "more": 1}', False, True),
        ('{"name": "get_weather", "parameters":{"city": 1}}', True, False),
        ('{"name": "get_weather","parameters": {"city": 1}}', True, False),
        ('{"name": "get_weather2", "parameters": {"city": 1}}', True, False),
        ('{"name": "get_weather", "arguments": {"city": 1}}', True, False),
        ('{"name": "get_weather"}', True, False),
        ('{"x": {"name": "get_weather", "parameters": {"city": 1}}}', True, False),
        ('{"name": "now", "parameters": {}}; {"name": "now", "parameters": {}}', True, True),
        ('{"name": "now", "parameters": {}}; {"age": 1}', False, True),
    ],
)
def test_what_begins_as_a_call_of_an_offered_tool_is_one(text: str, may_come: bool, is_call: bool) -> None:
    for reasoning in (Framing(), Framing(after="</think>", opens="<think>"), Framing(after="</think>")):
        compiled = COMPILER.compile(UNMARKED, LLAMA3, reasoning)
        before = f"{reasoning.opens}hm {{</think>\n" if reasoning.after else " "
        assert accepts(compiled, before + text) == may_come
    if may_come:
        content, calls = read(LLAMA3, list(text))
        assert bool(calls) == is_call
        assert content == ("" if is_call else text)


@settings(max_examples=60)
@given(
    rule=st.sampled_from([UNMARKED, either(JsonSchema(schema=AGE), TOOLS, "llama3")]),
    opens=st.sampled_from([Framing(), Framing(after="</think>", opens="<think>"), Framing(after="</think>")]),
    choices=st.lists(st.tuples(st.integers(0, 10**6), st.booleans()), max_size=60),
)
def test_a_mask_leaves_what_may_come(
    rule: DocumentOrCalls, opens: Framing, choices: list[tuple[int, bool]]
) -> None:
    tracked = COMPILER.compile(rule, LLAMA3, opens).constraint()
    likely = b'{"name": "get_weather", "parameters": {"city": "the"}}</think>'
    for number, follow in choices:
        left = masked(tracked)
        assert left == {token for token in range(len(VOCABULARY.pieces)) if tracked.allows(token)}
        options = [token for token in sorted(left) if not follow or VOCABULARY.pieces[token] in likely]
        if options:
            tracked.accept(options[number % len(options)])


def test_a_token_that_goes_beyond_the_opening() -> None:
    """`: {"` ends the opening and begins the arguments, which a document may write and this call may not."""
    tool = Tool(name="t", parameters={"properties": {"n": {"type": "integer"}}, "required": ["n"]})
    tracked = COMPILER.compile(either(JsonObject(), (tool,), "llama3"), LLAMA3).constraint()
    assert feed(tracked, '{"name": "t", "parameters":')
    beyond = VOCABULARY.pieces.index(b' {"x')
    assert not tracked.allows(beyond)
    assert beyond not in masked(tracked)
    good = VOCABULARY.pieces.index(b' {"n')
    assert tracked.allows(good)
    assert good in masked(tracked)
    tracked.accept(good)
    assert feed(tracked, '": 1}}')
    assert tracked.is_complete


def test_the_generic_format_reads_bare_objects_as_documents_only_beside_a_schema() -> None:
    bare = '{"name": "now", "arguments": {}}'
    assert read(GENERIC, [bare]) == (bare, [])
    alone = StreamParser(GENERIC, TOOLS, None, call_id=str)
    assert isinstance(alone.feed(bare)[0], ToolCallDelta)


@given(
    text=st.tuples(
        st.sampled_from(["", " ", "<think>x</think>", "<think> {t</th</think>\n", "<think>", "<thi"]),
        st.sampled_from(["{t", '{"name": "t"', '{"na', "x", "", "<think>"]),
        st.sampled_from(["", ": 1}"]),
    ).map("".join),
    at=st.integers(0, 40),
)
def test_an_opening_is_found_wherever_the_text_is_cut(text: str, at: int) -> None:
    def found(pieces: list[bytes]) -> Found | bool:
        opening: Opening | Found | None = Opening((b'{"name": "t"', b"{t"), b"<think>", b"</think>")
        for index, piece in enumerate(pieces):
            assert isinstance(opening, Opening)
            opening = opening.feed(piece)
            if opening is None:
                return False
            if isinstance(opening, Found):
                return Found(opening.marker, opening.rest + b"".join(pieces[index + 1 :]))
        return True

    said = text.encode()
    assert found([said]) == found([said[:at], said[at:]]) == found([bytes([b]) for b in said] or [b""])
