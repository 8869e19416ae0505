"""The Messages dialect as a pure translation: bodies in, ChatRequests out; ChatEvents in, events out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    FinishReason,
    ImagePart,
    JsonFormat,
    Message,
    Reasoning,
    ReasoningDelta,
    TextDelta,
    TextPart,
    Timings,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.errors import (
    ContextLengthExceeded,
    HotseatError,
    InvalidRequest,
    LoadFailed,
    Overloaded,
    UnknownModel,
    WorkerCrashed,
)
from proxy.answer import Answer, Served, Waits
from proxy.dialects.anthropic_messages import (
    SIGNATURE,
    StreamEncoder,
    decode_count,
    decode_request,
    encode_error,
    encode_response,
)
from proxy.error_shapes import error_body
from proxy.errors import BadServerAnswer, BodyTooLarge, Forbidden, NoSuchPath, RequestTimedOut, Unauthorized
from proxy.signatures import signed_by
from tests.proxy.messages_streams import Read, events_of, read

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings" / "claude-code").glob("*.json"))

SERVED = Served("42", "smol", 1_700_000_000)
WAITS = Waits(0.5, 1.0)
USAGE = Usage(input_tokens=100, cached_tokens=60, output_tokens=7, reasoning_tokens=2)
FINISH = Finish(reason="stop", usage=USAGE, timings=Timings(prefill_tokens=40, prefill_s=0.2))
USAGE_OBJECT = {
    "input_tokens": 40,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 60,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2},
}
WEATHER = {"name": "weather", "description": "of a city", "input_schema": {"type": "object"}}


def body(**fields: Any) -> bytes:
    fields = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]} | fields
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


CALL = decode_request(body())


def decoded(**fields: Any) -> ChatRequest:
    return decode_request(body(**fields)).request


def said(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return decoded(messages=list(messages)).messages


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body(**fields))
    return caught.value


# --- bodies ------------------------------------------------------------------------------------


def test_least_body() -> None:
    call = decode_request(body())
    assert not call.stream
    assert call.request == ChatRequest(
        model="m",
        messages=(Message(role="user", content="hi"),),
        max_tokens=64,
        reasoning=Reasoning(enabled=False),
    )


def test_sampling_and_stops() -> None:
    request = decoded(temperature=0.5, top_p=0.9, top_k=7, stop_sequences=["END", "\n\nHuman:"])
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.top_k) == (0.5, 0.9, 7)
    assert request.stop == ("END", "\n\nHuman:")


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_system(system: Any) -> None:
    assert decoded(system=system).messages[0] == Message(role="system", content="Be brief.")


def test_system_blocks_stay_apart_and_the_billing_header_goes() -> None:
    blocks = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.1f4; cc_entrypoint=cli;"},
        {"type": "text", "text": "One.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Two."},
    ]
    assert decoded(system=blocks).messages[0].content == (TextPart(text="One."), TextPart(text="Two."))
    assert [message.role for message in decoded(system=blocks[:1]).messages] == ["user"]


def test_system_in_mid_conversation_stays_there() -> None:
    later = {"role": "system", "content": [{"type": "text", "text": "It is late."}]}
    messages = said({"role": "user", "content": "hi"}, later)
    assert [message.role for message in messages] == ["user", "system"]
    assert messages[1].content == "It is late."


CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Ask.", "signature": "s"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "thinking", "thinking": "Both.", "signature": "s"},
            {"type": "text", "text": "Asking."},
            {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Bonn"}},
            {"type": "tool_use", "id": "b", "name": "weather", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Well?"},
            {"type": "tool_result", "tool_use_id": "a", "content": "sun"},
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "?"}]},
        ],
    },
]


def test_conversation_with_tools() -> None:
    assert said(*CONVERSATION) == (
        Message(role="user", content="weather?"),
        Message(
            role="assistant",
            content="Asking.",
            reasoning="Ask.\n\nBoth.",
            tool_calls=(
                ToolCall(id="a", name="weather", arguments='{"city":"Bonn"}'),
                ToolCall(id="b", name="weather", arguments="{}"),
            ),
        ),
        Message(role="tool", content="sun", tool_call_id="a"),
        Message(role="tool", content="?", tool_call_id="b"),
        Message(role="user", content="Well?"),
    )


def test_a_signature_is_kept_if_a_provider_made_it_through_us_and_for_one_thought() -> None:
    def signature(*signed: str) -> str:
        blocks = [{"type": "thinking", "thinking": "hm", "signature": one} for one in signed]
        return said({"role": "assistant", "content": blocks}, {"role": "user", "content": "x"})[
            0
        ].reasoning_signature

    ours = signed_by("anthropic", "c2ln")
    assert signature(ours) == ours
    assert signature(ours, ours) == signature("c2ln") == signature(SIGNATURE) == ""


def test_several_signed_thoughts_are_one_without_a_signature() -> None:
    one, two = (ReasoningDelta(text=text, signature="s") for text in "ab")
    assert gathered([one]).reasoning_signature == "s"
    assert (gathered([one, two]).reasoning, gathered([one, two]).reasoning_signature) == ("ab", "")


def result(**fields: Any) -> Message:
    block = {"type": "tool_result", "tool_use_id": "a"} | fields
    [message] = said({"role": "user", "content": [block]})
    return message


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({}, ""),
        ({"content": None}, ""),
        ({"content": "no such file", "is_error": False}, "no such file"),
        ({"content": "no such file", "is_error": True}, ("Error:", "no such file")),
        ({"content": "<tool_use_error>no</tool_use_error>", "is_error": True}, None),
        ({"is_error": True}, "Error."),
    ],
)
def test_what_a_failed_call_says(fields: dict[str, Any], content: Any) -> None:
    expected = fields["content"] if content is None else content
    if isinstance(expected, tuple):
        expected = tuple(TextPart(text=text) for text in expected)
    assert result(**fields).content == expected


def test_images() -> None:
    png = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    assert result(content=[png]).content == (ImagePart(url="data:image/png;base64,AAAA"),)
    [message] = said({"role": "user", "content": [linked, {"type": "text", "text": "What is it?"}]})
    assert message.content == (ImagePart(url="https://example.org/a.png"), TextPart(text="What is it?"))


def test_documents_of_text_and_search_results_are_read() -> None:
    document = {"type": "document", "title": "T", "source": {"type": "text", "data": "words"}}
    parts = {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "w"}]}}
    found = {
        "type": "search_result",
        "title": "T",
        "source": "u",
        "content": [{"type": "text", "text": "w"}],
    }
    [message] = said({"role": "user", "content": [document, parts, found]})
    assert message.content == tuple(TextPart(text=text) for text in ("T\nwords", "w", "T\nu\nw"))


def test_tools() -> None:
    request = decoded(tools=[WEATHER | {"type": "custom", "cache_control": {"type": "ephemeral"}}])
    [tool] = request.tools
    assert (tool.name, tool.description, tool.parameters) == ("weather", "of a city", {"type": "object"})
    assert (request.tool_choice, request.parallel_tool_calls) == ("auto", True)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, (1, "auto", "", False)),
        ({"type": "any"}, (1, "required", "", True)),
        ({"type": "tool", "name": "weather"}, (1, "required", "weather", True)),
        ({"type": "none"}, (0, "auto", "", True)),
    ],
)
def test_tool_choice(choice: dict[str, Any], expected: tuple[int, str, str, bool]) -> None:
    request = decoded(tools=[WEATHER], tool_choice=choice)
    parallel = request.parallel_tool_calls
    assert (len(request.tools), request.tool_choice, request.forced_tool, parallel) == expected


def test_a_deferred_tool_is_offered_once_it_was_found() -> None:
    tools = [WEATHER, WEATHER | {"name": "rare", "defer_loading": True}]
    found = {"type": "tool_reference", "tool_name": "rare"}
    asked = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [found]}]}
    assert [tool.name for tool in decoded(tools=tools).tools] == ["weather"]
    request = decoded(tools=tools, messages=[asked])
    assert [tool.name for tool in request.tools] == ["weather", "rare"]
    assert "rare" in str(request.messages[0].content)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
        ({"output_config": {"effort": "high"}}, Reasoning(enabled=False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, Reasoning(enabled=True, effort="low")),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, Reasoning(enabled=True, effort="high")),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, Reasoning(enabled=True, effort="xhigh")),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(enabled=True)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            Reasoning(enabled=True, effort="xhigh"),
        ),
    ],
)
def test_thinking(fields: dict[str, Any], expected: Reasoning) -> None:
    assert decoded(**fields).reasoning == expected


@pytest.mark.parametrize("where", ["output_format", "output_config"])
def test_structured_output(where: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    request = decoded(**{where: wanted if where == "output_format" else {"format": wanted}})
    assert request.json_format == JsonFormat(schema={"type": "object"}, strict=True)


def test_harmless_fields() -> None:
    plain = decode_request(body())
    decorated = decode_request(
        body(
            metadata={"user_id": "{}"},
            service_tier="auto",
            context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            betas=["x-2026-01-01"],
            cache_control={"type": "ephemeral"},
            mcp_servers=[],
            container=None,
        )
    )
    assert decorated == plain


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": ...}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"frequency_penalty": 1}, "frequency_penalty: unknown field"),
        ({"temperature": 3}, "temperature"),
        ({"messages": [{"role": "tool", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "I"}]}, "continue an answer"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "'web_search_20250305'"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema: this field is required"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name: two tools are called 'weather'"),
        ({"tool_choice": {"type": "any"}}, "no tools are offered"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "offered: weather"),
        ({"thinking": {"type": "deep"}}, "thinking"),
        ({"output_config": {"effort": "most"}}, "output_config.effort"),
    ],
)
def test_refusals_name_the_field(fields: dict[str, Any], expected: str) -> None:
    assert expected in refused(**fields).message


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}}, "server_tool_use"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "content[0].source"),
        ({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}, "content[0].source.url"),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}},
            "'base64'",
        ),
    ],
)
def test_blocks_that_cannot_be_read(block: dict[str, Any], expected: str) -> None:
    assert expected in refused(messages=[{"role": "user", "content": [block]}]).message


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_what_claude_code_sends(path: Path) -> None:
    recording = json.loads(path.read_text())
    raw = json.dumps(recording["body"]).encode()
    if "web_search" in path.stem:
        with pytest.raises(InvalidRequest, match="web_search_20250305"):
            decode_request(raw)
    elif "count_tokens" in recording["path"]:
        assert decode_count(raw).messages
    else:
        call = decode_request(raw)
        assert call.request.max_tokens == recording["body"]["max_tokens"]
        assert "x-anthropic-billing-header" not in str(call.request.messages)
        names = [tool["name"] for tool in recording["body"]["tools"] if not tool.get("defer_loading")]
        assert [tool.name for tool in call.request.tools] == names


def test_there_are_recordings() -> None:
    assert len(RECORDINGS) >= 15


# --- answers -----------------------------------------------------------------------------------

EVENTS: list[ChatEvent] = [
    ReasoningDelta(text="h"),
    ReasoningDelta(text="m"),
    TextDelta(text='a"b'),
    TextDelta(text="\n"),
    ToolCallDelta(index=0, id="c1", name="f"),
    ToolCallDelta(index=0, arguments='{"x":'),
    ToolCallDelta(index=0, arguments="1}"),
    ToolCallDelta(index=1, id="c2", name="g"),
    Finish(reason="tool_calls", usage=USAGE),
]


def encoder() -> StreamEncoder:
    return StreamEncoder(decode_request(body(stream=True)), SERVED)


def gathered(events: list[ChatEvent]) -> Answer:
    answer = Answer()
    for event in events:
        answer.add(event)
    return answer


def streamed(events: list[ChatEvent]) -> list[dict[str, Any]]:
    stream = encoder()
    return events_of(stream.begin() + stream.encode(events, WAITS))


def test_whole_answer() -> None:
    finish = Finish(reason="tool_calls", usage=USAGE)
    whole = json.loads(encode_response(CALL, gathered(EVENTS), finish, SERVED, WAITS))
    assert whole.pop("timings")["load_ms"] == 1000
    assert whole == {
        "id": "msg_42",
        "type": "message",
        "role": "assistant",
        "model": "smol",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": SIGNATURE},
            {"type": "text", "text": 'a"b\n'},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": USAGE_OBJECT,
    }


def test_a_call_that_was_cut_is_none() -> None:
    cut = gathered([ToolCallDelta(index=0, id="c", name="f", arguments='{"x":')])
    whole = json.loads(encode_response(CALL, cut, Finish(reason="length", usage=USAGE), SERVED, WAITS))
    assert (whole["content"], whole["stop_reason"]) == ([], "max_tokens")
    with pytest.raises(BadServerAnswer, match="'f'"):
        encode_response(CALL, cut, Finish(reason="tool_calls", usage=USAGE), SERVED, WAITS)


def test_stream() -> None:
    events = streamed(EVENTS)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",  # the signature
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    found = read(events)
    assert found.text("thinking", "thinking") == "hm"
    assert found.text("text", "text") == 'a"b\n'
    assert found.calls() == [("c1", "f", '{"x":1}'), ("c2", "g", "")]
    assert (found.stop_reason, found.usage) == ("tool_use", USAGE_OBJECT)
    start = events[0]["message"]
    assert (start["id"], start["model"], start["stop_reason"]) == ("msg_42", "smol", None)
    assert (start["usage"]["input_tokens"], start["usage"]["output_tokens"]) == (0, 0)
    assert events[-2]["timings"]["queue_ms"] == 500


@pytest.mark.parametrize(
    ("reason", "stop", "expected"),
    [
        ("stop", "", ("end_turn", None)),
        ("stop", "END", ("stop_sequence", "END")),
        ("length", "", ("max_tokens", None)),
        ("tool_calls", "", ("tool_use", None)),
    ],
)
def test_stop_reasons(reason: FinishReason, stop: str, expected: tuple[str, str | None]) -> None:
    finish = Finish(reason=reason, usage=USAGE, stop_sequence=stop)
    found = read(streamed([TextDelta(text="x"), finish]))
    whole = json.loads(encode_response(CALL, gathered([TextDelta(text="x")]), finish, SERVED, WAITS))
    assert (found.stop_reason, found.stop_sequence) == expected
    assert (whole["stop_reason"], whole["stop_sequence"]) == expected


def test_a_prompt_that_was_read_in_time_is_counted_in_the_start() -> None:
    stream = encoder()
    stream.count_prompt(100, 60)
    [start, *_] = events_of(stream.begin() + stream.encode([TextDelta(text="a"), FINISH], WAITS))
    usage = start["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (40, 60, 0)


def test_keep_alives_may_come_anywhere() -> None:
    stream = encoder()
    written = stream.begin() + stream.keep_alive() + stream.encode([TextDelta(text="a")], WAITS)
    written += stream.keep_alive() + stream.encode([TextDelta(text="b"), FINISH], WAITS)
    found = read(events_of(written))
    assert (found.text("text", "text"), found.pings, found.is_stopped) == ("ab", 2, True)


def test_a_failed_stream_has_no_end() -> None:
    stream = encoder()
    written = stream.begin() + stream.encode([TextDelta(text="a")], WAITS)
    found = read(events_of(written + stream.error(WorkerCrashed("died"), "42")))
    assert found.error is not None
    assert (found.error["type"], found.error["message"]) == ("api_error", "died")
    assert (found.stop_reason, found.is_stopped) == (None, False)


def test_an_empty_answer() -> None:
    found = read(streamed([TextDelta(text=""), FINISH]))
    assert (found.blocks, found.stop_reason) == ([], "end_turn")


def test_a_call_without_an_id_gets_one() -> None:
    events: list[ChatEvent] = [ToolCallDelta(index=0, name="f"), FINISH]
    [(id_, name, _)] = read(streamed(events)).calls()
    whole = json.loads(encode_response(CALL, gathered(events), FINISH, SERVED, WAITS))
    assert (id_, name) == ("toolu_42_0", "f")
    assert whole["content"][0]["id"] == id_


def test_calls_that_come_in_each_others_way() -> None:
    stream = encoder()
    first, second = ToolCallDelta(index=0, id="a", name="f"), ToolCallDelta(index=1, id="b", name="g")
    with pytest.raises(BadServerAnswer):
        stream.encode([first, second, ToolCallDelta(index=0, arguments="{}")], WAITS)


texts = st.text(st.characters(codec="utf-8"), min_size=1)


def call_deltas(index: int, arguments: list[str]) -> list[ChatEvent]:
    begun: ChatEvent = ToolCallDelta(index=index, id=f"c{index}", name=f"f{index}")
    return [begun, *(ToolCallDelta(index=index, arguments=piece) for piece in arguments)]


@st.composite
def answers(draw: st.DrawFn) -> list[ChatEvent]:
    """Reasoning and text in any order, and calls one after the other."""
    events: list[ChatEvent] = []
    n_calls = 0
    for kind in draw(st.lists(st.sampled_from(["reasoning", "text", "call"]), max_size=6)):
        pieces = draw(st.lists(texts, min_size=1, max_size=3))
        if kind == "reasoning":
            events += [ReasoningDelta(text=piece) for piece in pieces]
        elif kind == "text":
            events += [TextDelta(text=piece) for piece in pieces]
        else:
            events += call_deltas(n_calls, pieces)
            n_calls += 1
    return events


def batched(events: list[ChatEvent], data: st.DataObject) -> bytes:
    stream = encoder()
    written, left = stream.begin(), [*events, FINISH]
    while left:
        size = data.draw(st.integers(1, len(left)))
        written += stream.encode(left[:size], WAITS)
        left = left[size:]
    return written


@given(answers(), st.data())
def test_batches_do_not_change_what_is_said(events: list[ChatEvent], data: st.DataObject) -> None:
    found = read(events_of(batched(events, data)))
    assert_same(found, gathered(events))
    assert found.is_stopped


def assert_same(found: Read, expected: Answer) -> None:
    assert found.text("thinking", "thinking") == expected.reasoning
    assert found.text("text", "text") == expected.text
    assert found.calls() == [(call.id, call.name, call.arguments) for call in expected.tool_calls]


@given(st.data())
def test_the_sdk_reads_a_stream_however_it_is_cut(data: st.DataObject) -> None:
    """Through the SDK's own decoder, its typed events and its accumulation."""
    written = batched(EVENTS[:-1], data)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(written) - 1), max_size=8)))
    pieces = [written[a:b] for a, b in zip([0, *cuts], [*cuts, len(written)], strict=True)]

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=piecewise())

    def piecewise() -> Iterator[bytes]:
        yield from pieces

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = anthropic.Anthropic(api_key="none", base_url="http://test", http_client=http)
        question: Any = {"role": "user", "content": "hi"}
        with client.messages.stream(model="m", max_tokens=1, messages=[question]) as stream:
            message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert message.content[2].to_dict()["input"] == {"x": 1}
    assert (message.stop_reason, message.usage.input_tokens) == ("end_turn", 40)
    assert message.usage.cache_read_input_tokens == 60


# --- a whole turn there and back ---------------------------------------------------------------


@given(answers())
def test_an_answer_comes_back_as_it_was_said(events: list[ChatEvent]) -> None:
    """Sent back as the next turn's history, arguments as the same JSON value."""
    objects = [e for e in events if not isinstance(e, ToolCallDelta)]
    calls = [e for i in range(2) for e in call_deltas(i, ['{"a":', f"[{i}]}}"])]
    expected = gathered([*objects, *calls])
    finish = Finish(reason="tool_calls", usage=USAGE)
    whole = json.loads(encode_response(CALL, expected, finish, SERVED, WAITS))
    history = [{"role": "assistant", "content": whole["content"]}, {"role": "user", "content": "go on"}]
    [message, _] = decode_request(body(messages=history)).request.messages
    assert message == Message(
        role="assistant",
        content=expected.text,
        reasoning=expected.reasoning,
        tool_calls=tuple(expected.tool_calls),
    )


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x", param="max_tokens"), "invalid_request_error"),
        (Unauthorized("x"), "authentication_error"),
        (Forbidden("x"), "permission_error"),
        (UnknownModel("x"), "not_found_error"),
        (NoSuchPath("x"), "not_found_error"),
        (BodyTooLarge("x"), "request_too_large"),
        (Overloaded("x"), "overloaded_error"),
        (LoadFailed("x"), "api_error"),
        (WorkerCrashed("x"), "api_error"),
        (RequestTimedOut("x"), "timeout_error"),
    ],
)
def test_error_types(error: HotseatError, kind: str) -> None:
    said = json.loads(encode_error(error, "r1"))
    assert (said["type"], said["request_id"]) == ("error", "r1")
    assert (said["error"]["type"], said["error"]["message"]) == (kind, "x")
    assert said["error"]["hotseat"]["code"] == error.code
    assert said["error"]["hotseat"].get("param") == error.param


def test_overflow_has_anthropics_words() -> None:
    error = ContextLengthExceeded("too long", n_tokens=5000, n_ctx=4096)
    said = json.loads(encode_error(error, "r1"))["error"]
    assert said["type"] == "invalid_request_error"
    assert said["message"] == "prompt is too long: 5000 tokens > 4096 maximum"
    unknown = json.loads(encode_error(ContextLengthExceeded("too long"), "r1"))["error"]
    assert unknown["message"] == "prompt is too long: too long"


@pytest.mark.parametrize(
    ("path", "is_messages"),
    [
        ("/v1/messages", True),
        ("/v1/messages/count_tokens", True),
        ("/v1/messages/batches", True),
        ("/r/run-1/v1/messages", True),
        ("/v1/messages2", False),
        ("/v1/chat/completions", False),
        ("/x/v1/messages", False),
        ("", False),
    ],
)
def test_the_path_decides_the_shape(path: str, is_messages: bool) -> None:
    said = json.loads(error_body(path, NoSuchPath("x"), "r1"))
    assert (said.get("type") == "error") == is_messages
    assert said["error"]["hotseat"]["request_id"] == "r1"
