"""The client's half of Anthropic Messages: bodies out, bytes in however they are cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

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
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.errors import InvalidRequest
from proxy.anthropic_events import error_in
from proxy.dialects.messages_client import PATH, StreamDecoder, decode_response, encode_request
from proxy.messages_request import MessagesTerms
from proxy.signatures import signed_by
from proxy.upstream_errors import BadAnswer, Reported, UpstreamError
from tests.proxy.any_chat import CUTS, cut

# --- streams -------------------------------------------------------------------------------------


def sse(*events: dict[str, Any], end: str = "\n") -> bytes:
    return "".join(
        f"event: {event['type']}{end}data: {json.dumps(event, ensure_ascii=False)}{end}{end}"
        for event in events
    ).encode()


def start(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"type": "message", "content": [], "usage": usage}}


def block(index: int, kind: str, *deltas: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, said: str) -> list[dict[str, Any]]:
    return block(index, "text", {"type": "text_delta", "text": said}, text="")


def ended(reason: str | None = "end_turn", usage: Any = None, **fields: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **fields}, "usage": usage}


STOP = {"type": "message_stop"}
PING = {"type": "ping"}

ANSWER = [
    start(input_tokens=4, cache_read_input_tokens=5, cache_creation_input_tokens=6, output_tokens=1),
    PING,
    *block(
        0,
        "thinking",
        {"type": "thinking_delta", "thinking": "hm, "},
        {"type": "thinking_delta", "thinking": "so"},
        {"type": "signature_delta", "signature": "c2ln"},
        thinking="",
        signature="",
    ),
    *text(1, "Grüße 🦙"),
    *block(
        2,
        "tool_use",
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"ä":'},
        {"type": "input_json_delta", "partial_json": "1}"},
        id="t1",
        name="f",
        input={},
    ),
    *block(3, "tool_use", id="t2", name="g", input={}),
    ended("tool_use", {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 3}}),
    STOP,
]
STREAM = b": waiting\n\n" + sse(*ANSWER)
EVENTS: list[ChatEvent] = [
    ReasoningDelta(text="hm, "),
    ReasoningDelta(text="so"),
    ReasoningDelta(text="", signature=signed_by("anthropic", "c2ln")),
    TextDelta(text="Grüße 🦙"),
    ToolCallDelta(index=0, id="t1", name="f"),
    ToolCallDelta(index=0, arguments='{"ä":'),
    ToolCallDelta(index=0, arguments="1}"),
    ToolCallDelta(index=1, id="t2", name="g"),
    ToolCallDelta(index=1, arguments="{}"),
    Finish(
        reason="tool_calls",
        usage=Usage(
            input_tokens=15, cached_tokens=5, cache_write_tokens=6, output_tokens=9, reasoning_tokens=3
        ),
    ),
]


def decoded(*pieces: bytes) -> list[ChatEvent]:
    decoder = StreamDecoder("anthropic")
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


def ending(pieces: Iterable[bytes]) -> tuple[list[ChatEvent], str]:
    """What was handed over, and the error in the end, if any."""
    decoder = StreamDecoder()
    events: list[ChatEvent] = []
    try:
        for piece in pieces:
            events += decoder.feed(piece)
        events += decoder.end()
    except UpstreamError as error:
        return events, f"{type(error).__name__}: {error.message}"
    return events, ""


def finish_of(*events: dict[str, Any]) -> Finish:
    last = decoded(sse(*events))[-1]
    assert isinstance(last, Finish)
    return last


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_split_of_the_bytes_gives_the_same_events(end: str) -> None:
    data = STREAM.replace(b"\n", end.encode())
    for place in range(len(data) + 1):
        assert decoded(data[:place], data[place:]) == EVENTS, place
    assert decoded(*(data[i : i + 1] for i in range(len(data)))) == EVENTS


PIECES = [
    b"\r", b"\n", b"\n\n", b":", b" ", b"data", b"data: ", b"event: error", b"\xef\xbb\xbf", b"\xff", b"{}",
    b"[DONE]", b"null", b'{"type":"ping"}', b'{"type":"message_stop"}', b'{"type":"message_delta"}',
    b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}', b'{"error":"e"}', b'{"type":"error"}',
    b'{"type":"content_block_start","content_block":{"type":"text","text":"a"}}', b"[[[[", b"1e999",
    b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"b"}}',
    b'{"type":"content_block_stop","index":0}',
]  # fmt: skip


@given(data=st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), places=CUTS)
def test_nonsense_ends_in_the_same_way_at_every_split(data: bytes, places: list[int]) -> None:
    whole, pieces = ending([data]), ending(cut(data, places))
    assert pieces == whole
    assert sum(isinstance(event, Finish) for event in whole[0]) == (0 if whole[1] else 1)


@given(data=st.binary(max_size=300))
def test_bytes_from_anywhere_are_an_error(data: bytes) -> None:
    assert ending([data])[1]


@pytest.mark.parametrize("n_events", range(len(ANSWER)))
def test_fault_30_a_stream_without_message_stop_is_never_an_end(n_events: int) -> None:
    decoder = StreamDecoder()
    told = decoder.feed(sse(*ANSWER[:n_events]))
    assert not any(isinstance(event, Finish) for event in told)
    with pytest.raises(BadAnswer, match="without a message_stop"):
        decoder.end()


def test_a_message_stop_without_a_reason_is_no_end() -> None:
    for events in ([start(), STOP], [start(), *text(0, "a"), ended(None), STOP]):
        with pytest.raises(BadAnswer, match="without a stop_reason"):
            decoded(sse(*events))


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}],
        [{"type": "content_block_stop", "index": 0}],
        [*block(0, "text")[:1], *block(0, "text")[:1]],
        [{"type": "content_block_start", "index": 0}],
        [{"type": "content_block_delta", "index": "0"}],
        [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 1}}],
        [event for index in range(5000) for event in block(index, "text")],
    ],
)
def test_fault_16_garbage_is_an_answer_of_no_use(events: list[dict[str, Any]]) -> None:
    with pytest.raises(BadAnswer):
        decoded(sse(start(), *events, ended(), STOP))


def test_fault_31_a_line_without_end_is_cut_off() -> None:
    decoder = StreamDecoder(max_event_bytes=1000)
    with pytest.raises(BadAnswer, match="more than 1000 bytes"):
        for _ in range(2000):
            decoder.feed(b"x")
        decoder.end()


@pytest.mark.parametrize(
    ("data", "message", "status", "code"),
    [
        (
            sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            "Overloaded",
            529,
            "overloaded_error",
        ),
        (b'data: {"type":"error","error":{"type":"api_error","message":"inner"}}\n\n', "inner", 500, ""),
        (b'event: error\ndata: {"error":{"type":"rate_limit_error","message":"slow"}}\n\n', "slow", 429, ""),
        (b'event: error\ndata: {"message":"at the top"}\n\n', "at the top", None, ""),
        (b"event: error\ndata: plain words\n\n", "plain words", None, ""),
        (b'data: {"error":{"code":"x","message":"a gateway\'s"}}\n\n', "a gateway's", None, "x"),
        (b'data: {"type":"error","message":"flat"}\n\n', "flat", None, ""),
        (b'data: {"type":"error","error":{}}\n\n', "no reason was given", None, ""),
    ],
)
def test_fault_30_an_error_inside_the_stream_is_told(
    data: bytes, message: str, status: int | None, code: str
) -> None:
    decoder = StreamDecoder()
    first = sse(start(input_tokens=7), *text(0, "half"))
    assert decoder.feed(first + data + sse(ended(), STOP)) == [TextDelta(text="half")]
    assert isinstance(decoder.error, Reported)
    assert (decoder.error.message, decoder.error.status) == (message, status)
    assert code in decoder.error.code
    with pytest.raises(Reported):
        decoder.end()


def test_what_follows_the_end_is_not_looked_at() -> None:
    assert decoded(STREAM + b"data: garbage\n\n", b"\xff") == EVENTS
    assert decoded(STREAM, b"event: error\ndata: {}\n\n") == EVENTS


def test_what_is_new_is_passed_over() -> None:
    news = [
        {"type": "content_block_annotation", "index": 0},
        *block(0, "redacted_thinking", data="xyz"),
        *block(1, "server_tool_use", {"type": "input_json_delta", "partial_json": "{}"}, id="s", name="web"),
        *block(2, "text", {"type": "citations_delta", "citation": {}}, text="whole at once"),
    ]
    events = decoded(sse(start(), *news, ended(), STOP), b"data: [DONE]\n\n")
    assert events == [TextDelta(text="whole at once"), Finish(reason="stop", usage=Usage())]


@pytest.mark.parametrize("given_whole", [{"a": 1.0}, {"b": [None]}])
def test_a_call_whose_input_comes_whole(given_whole: dict[str, Any]) -> None:
    events = decoded(sse(start(), *block(0, "tool_use", id="t", name="f", input=given_whole), ended(), STOP))
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == [
        "",
        json.dumps(given_whole),
    ]


def test_a_last_block_that_is_not_closed() -> None:
    [begun, ended_] = block(0, "tool_use", id="t", name="f", input={})
    assert ended_["type"] == "content_block_stop"
    events = decoded(sse(start(), begun, ended("tool_use"), STOP))
    assert events[1] == ToolCallDelta(index=0, arguments="{}")


def test_counts_are_cumulative_and_the_last_one_counts() -> None:
    first = start(input_tokens=10, cache_read_input_tokens=20, output_tokens=1)
    said = {"input_tokens": 11, "cache_read_input_tokens": 20, "output_tokens": 5}
    twice = [ended(None, said), ended("end_turn", {**said, "output_tokens": 8}), STOP]
    assert finish_of(first, *text(0, "a"), *twice).usage == Usage(
        input_tokens=31, cached_tokens=20, output_tokens=8
    )
    noughts = {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 8}
    assert finish_of(first, ended("end_turn", noughts), STOP).usage.input_tokens == 30
    late = finish_of(start(input_tokens=0), ended("end_turn", {"input_tokens": 7}), STOP)
    assert late.usage.input_tokens == 7
    assert finish_of(start(), ended(), STOP).usage == Usage()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
    ],
)
def test_stop_reasons(said: str, reason: FinishReason) -> None:
    finish = finish_of(start(), *text(0, "a"), ended(said, stop_sequence="END"), STOP)
    assert (finish.reason, finish.stop_sequence) == (reason, "END" if reason == "stop" else "")


@pytest.mark.parametrize(
    ("said", "details", "message"),
    [
        ("refusal", {"type": "refusal", "explanation": "it would\nharm"}, "'refusal': it would harm"),
        ("refusal", None, "safety rules"),
        ("pause_turn", None, "'pause_turn'"),
        ("something_new", None, "'something_new'"),
    ],
)
def test_an_answer_that_was_ended_otherwise_is_an_error(said: str, details: Any, message: str) -> None:
    decoder = StreamDecoder()
    decoder.feed(sse(start(), ended(said, {"output_tokens": 3}, stop_details=details), STOP))
    assert isinstance(decoder.error, Reported)
    assert message in decoder.error.message


# --- whole answers -------------------------------------------------------------------------------

WHOLE = {
    "type": "message",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "u", "name": "g", "input": {}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 6},
}


def test_a_whole_answer() -> None:
    assert decode_response(json.dumps(WHOLE, separators=(",", ":")).encode(), "anthropic") == [
        ReasoningDelta(text="hm"),
        ReasoningDelta(text="", signature=signed_by("anthropic", "c2ln")),
        TextDelta(text="a"),
        ToolCallDelta(index=0, id="t", name="f"),
        ToolCallDelta(index=0, arguments='{"x":1}'),
        ToolCallDelta(index=1, id="u", name="g"),
        ToolCallDelta(index=1, arguments="{}"),
        Finish(reason="tool_calls", usage=Usage(input_tokens=9, cached_tokens=5, output_tokens=6)),
    ]


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", BadAnswer, "no message"),
        (b"<html>", BadAnswer, "no message"),
        (json.dumps({**WHOLE, "stop_reason": None}).encode(), BadAnswer, "no stop_reason"),
        (json.dumps({**WHOLE, "stop_reason": "refusal"}).encode(), Reported, "refusal"),
        (b'{"type":"error","error":{"type":"api_error","message":"inside a 200"}}', Reported, "inside a 200"),
        (b'{"error":{"message":"a gateway\'s"}}', Reported, "a gateway's"),
    ],
)
def test_whole_answers_of_no_use(data: bytes, kind: type[UpstreamError], message: str) -> None:
    with pytest.raises(kind, match=message):
        decode_response(data)


# --- errors of a status --------------------------------------------------------------------------


def anthropic_error(kind: str, message: str) -> bytes:
    return json.dumps(
        {"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (529, anthropic_error("overloaded_error", "Overloaded"), 529, "overloaded_error"),
        (429, anthropic_error("rate_limit_error", "slower"), 429, "rate_limit_error"),
        (
            400,
            anthropic_error("invalid_request_error", "Your credit balance is too low to access the API."),
            402,
            "invalid_request_error",
        ),
        (402, anthropic_error("billing_error", "pay"), 402, "billing_error"),
        (429, anthropic_error("1113", "Insufficient balance or no resource package."), 402, "1113"),
        (429, anthropic_error("1302", "High concurrency usage"), 429, "1302"),
        (502, b"<html>", 502, ""),
        (500, b"", 500, ""),
        (400, b'{"type":"invalid_request_error","message":"bare"}', 400, "invalid_request_error"),
    ],
)
def test_fault_29_what_a_status_means(status: int, body: bytes, expected: int, code: str) -> None:
    error = error_in(body, status, 3.0)
    assert (error.status, error.code, error.retry_after_s) == (expected, code, 3.0)
    assert not error.is_overflow


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        ("prompt is too long: 1036683 tokens > 1000000 maximum", (1036683, 1000000)),
        ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000", (188240, 200000)),
        ("prompt is too long", (None, None)),
        ("prompt is too long: 99999999999999999999 tokens > 1 maximum", (None, None)),
    ],
)
def test_an_overflow_is_one_by_its_words(message: str, counts: tuple[int | None, int | None]) -> None:
    error = error_in(anthropic_error("invalid_request_error", message), 400)
    assert error.is_overflow
    assert (error.n_tokens, error.n_ctx) == counts


# --- requests ------------------------------------------------------------------------------------

HI = Message(role="user", content="hi")


def sent(terms: MessagesTerms | None = None, **fields: Any) -> dict[str, Any]:
    request = ChatRequest(model="m", **{"messages": (HI,), **fields})
    body: dict[str, Any] = json.loads(encode_request(request, "theirs", terms or MessagesTerms()))
    return body


def turns(*messages: Message, terms: MessagesTerms | None = None) -> list[tuple[str, list[Any]]]:
    body = sent(terms, messages=messages)
    return [(turn["role"], turn["content"]) for turn in body["messages"]]


def words(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def test_the_least_request() -> None:
    assert PATH == "/v1/messages"
    assert sent() == {
        "model": "theirs",
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": [words("hi")]}],
        "stream": True,
        "cache_control": {"type": "ephemeral"},
    }
    assert "cache_control" not in sent(MessagesTerms(caches_on_request=False))


def test_a_full_request() -> None:
    body = sent(
        messages=(
            Message(role="system", content=(TextPart(text="a"), TextPart(text="b"))),
            Message(role="developer", content="c"),
            Message(
                role="user",
                content=(
                    TextPart(text="see"),
                    ImagePart(url="data:image/PNG;base64,AA=="),
                    ImagePart(url="https://x/y"),
                ),
            ),
            Message(
                role="assistant",
                content="ok",
                reasoning="hm",
                tool_calls=(ToolCall(id="c", name="f", arguments='{"a":1}'),),
            ),
            Message(role="tool", content="42", tool_call_id="c"),
        ),
        tools=(Tool(name="f", description="d", parameters={"properties": {}}), Tool(name="g")),
        sampling=Sampling(temperature=0.5, top_k=3, top_p=0.9),
        max_tokens=5,
        stop=("x",),
        json_format=JsonFormat(schema={"type": "object"}, name="n"),
        reasoning=Reasoning(effort="high"),
        parallel_tool_calls=False,
    )
    assert body == {
        "model": "theirs",
        "max_tokens": 5,
        "system": [words("a"), words("b"), words("c")],
        "messages": [
            {
                "role": "user",
                "content": [
                    words("see"),
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AA=="},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
                ],
            },
            {
                "role": "assistant",
                "content": [words("ok"), {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c", "content": "42"}],
            },
        ],
        "tools": [
            {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}},
            {"name": "g", "input_schema": {"type": "object"}},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "stop_sequences": ["x"],
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "stream": True,
        "cache_control": {"type": "ephemeral"},
    }


def test_every_field_of_a_request_is_carried_or_refused() -> None:
    """A field that is new here must be sent, or refused by name: never dropped."""
    carried = """model messages tools tool_choice forced_tool parallel_tool_calls json_format sampling
        max_tokens stop reasoning"""
    refused = "ignore_eos template_kwargs"
    kept_here = "context_limit"  # by context_cap.py, before it is sent
    assert set(ChatRequest.__struct_fields__) == {*carried.split(), *refused.split(), *kept_here.split()}
    sampling = """temperature top_k top_p min_p repeat_penalty presence_penalty frequency_penalty
        repeat_last_n dry_multiplier dry_base dry_allowed_length dry_penalty_last_n seed logit_bias
        logprobs"""
    assert set(Sampling.__struct_fields__) == set(sampling.split())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sampling": Sampling(min_p=0.1)}, "min_p"),
        ({"sampling": Sampling(repeat_penalty=1.1)}, "repeat_penalty"),
        ({"sampling": Sampling(presence_penalty=0.5)}, "presence_penalty"),
        ({"sampling": Sampling(frequency_penalty=0.5)}, "frequency_penalty"),
        ({"sampling": Sampling(repeat_last_n=64)}, "repeat_last_n"),
        ({"sampling": Sampling(dry_multiplier=0.8)}, "dry_multiplier"),
        ({"sampling": Sampling(dry_base=1.75)}, "dry_base"),
        ({"sampling": Sampling(dry_allowed_length=2)}, "dry_allowed_length"),
        ({"sampling": Sampling(dry_penalty_last_n=-1)}, "dry_penalty_last_n"),
        ({"sampling": Sampling(seed=0)}, "seed"),
        ({"sampling": Sampling(logit_bias=((1, 1.0),))}, "logit_bias"),
        ({"sampling": Sampling(logprobs=0)}, "logprobs"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        ({"json_format": JsonFormat()}, "response_format"),
        (
            {"messages": (Message(role="user", content=(ImagePart(url="data:image/svg+xml,x"),)),)},
            "image_url",
        ),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        sent(**fields)


def test_what_asks_for_nothing_is_not_sent() -> None:
    neutral = Sampling(
        min_p=0,
        repeat_penalty=1.0,
        presence_penalty=0,
        frequency_penalty=0,
        repeat_last_n=0,
        dry_multiplier=0,
    )
    assert sent(sampling=neutral) == sent()


def test_turns_alternate_and_results_come_first() -> None:
    calls = (ToolCall(id="a", name="f", arguments="{}"), ToolCall(id="b", name="g", arguments=""))
    found = turns(
        Message(role="user", content="1"),
        Message(role="user", content="2"),
        Message(role="assistant", content="3"),
        Message(role="assistant", tool_calls=calls),
        Message(role="system", content="a note"),
        Message(role="tool", content=(TextPart(text="x"), TextPart(text="y")), tool_call_id="a"),
        Message(role="tool", content="", tool_call_id="b"),
        Message(role="user", content="4"),
    )
    assert found == [
        ("user", [words("1"), words("2")]),
        (
            "assistant",
            [
                words("3"),
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        ),
        (
            "user",
            [
                {"type": "tool_result", "tool_use_id": "a", "content": [words("x"), words("y")]},
                {"type": "tool_result", "tool_use_id": "b"},
                words("a note"),
                words("4"),
            ],
        ),
    ]


def test_a_system_message_in_mid_conversation() -> None:
    conversation = (HI, Message(role="system", content="now"), Message(role="assistant", content="ok"), HI)
    assert [role for role, _ in turns(*conversation)] == ["user", "assistant", "user"]
    kept = turns(*conversation, terms=MessagesTerms(late_system=True))
    assert kept[1] == ("system", [words("now")])


def test_what_says_nothing_is_left_out() -> None:
    found = turns(HI, Message(role="assistant", content=" \n", reasoning="hm"), Message(role="user"), HI)
    assert found == [("user", [words("hi"), words("hi")])]
    assert "system" not in sent(messages=(Message(role="system", content=" "), HI))


def test_ids_and_arguments_that_the_dialect_does_not_allow() -> None:
    call = ToolCall(id="functions.f:0", name="f", arguments='{"a":')
    [_, (_, [use]), (_, [result])] = turns(
        HI,
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="bad JSON", tool_call_id="functions.f:0"),
    )
    assert use["id"] == result["tool_use_id"] != "functions.f:0"
    assert use["id"].replace("_", "").isalnum()
    assert use["input"] == {"invalid_arguments": '{"a":'}


def test_thoughts_go_back_to_their_author_only() -> None:
    signed = Message(
        role="assistant", content="4", reasoning="hm", reasoning_signature=signed_by("anthropic", "c2ln")
    )
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    assert turns(HI, signed, terms=MessagesTerms(author="anthropic"))[1][1] == [thinking, words("4")]
    assert turns(HI, signed, terms=MessagesTerms(author="zai"))[1][1] == [words("4")]
    plain = MessagesTerms(author="zai", unsigned_thoughts=True)
    assert turns(HI, signed, terms=plain)[1][1] == [{**thinking, "signature": ""}, words("4")]
    hidden = Message(role="assistant", content="4", reasoning_signature=signed_by("anthropic", "c2ln"))
    assert turns(HI, hidden, terms=MessagesTerms(author="anthropic"))[1][1][0] == {**thinking, "thinking": ""}


def test_tools_and_choices() -> None:
    tools = (Tool(name="f"), Tool(name="g"))
    assert sent(tools=tools, tool_choice="required")["tool_choice"] == {"type": "any"}
    forced = sent(tools=tools, tool_choice="required", forced_tool="g", reasoning=Reasoning(effort="high"))
    assert forced["tool_choice"] == {"type": "tool", "name": "g"}
    assert forced["thinking"] == {"type": "disabled"}, "a call cannot be forced while the model thinks"
    assert "tool_choice" not in sent(tools=tools)
    assert not {"tools", "tool_choice"} & set(sent(parallel_tool_calls=False))


def test_a_conversation_with_calls_has_tools_even_if_none_is_offered() -> None:
    """As when a harness asks for a summary."""
    called = Message(
        role="assistant",
        tool_calls=tuple(ToolCall(id=name, name=name, arguments="{}") for name in ("g", "f", "g")),
    )
    body = sent(messages=(HI, called, HI))
    assert [tool["name"] for tool in body["tools"]] == ["f", "g"]
    assert body["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("reasoning", "thinking", "effort"),
    [
        (None, None, None),
        (Reasoning(), None, None),
        (Reasoning(enabled=False), {"type": "disabled"}, None),
        (Reasoning(effort="none"), {"type": "disabled"}, None),
        (Reasoning(enabled=False, effort="high"), {"type": "disabled"}, None),
        (Reasoning(enabled=True), {"type": "adaptive", "display": "summarized"}, None),
        (Reasoning(effort="minimal"), {"type": "adaptive", "display": "summarized"}, "low"),
        (Reasoning(effort="xhigh"), {"type": "adaptive", "display": "summarized"}, "xhigh"),
    ],
)
def test_reasoning(reasoning: Reasoning | None, thinking: Any, effort: str | None) -> None:
    body = sent(reasoning=reasoning)
    assert (body.get("thinking"), body.get("output_config", {}).get("effort")) == (thinking, effort)


@pytest.mark.parametrize(
    ("effort", "max_tokens", "thinking"),
    [
        ("low", None, {"type": "enabled", "budget_tokens": 1024}),
        (None, None, {"type": "enabled", "budget_tokens": 4096}),
        ("xhigh", 20_000, {"type": "enabled", "budget_tokens": 19_999}),
        ("high", 1024, {"type": "disabled"}),
        ("high", 1025, {"type": "enabled", "budget_tokens": 1024}),
    ],
)
def test_reasoning_within_a_budget(effort: Any, max_tokens: int | None, thinking: Any) -> None:
    terms = MessagesTerms(thinking="budget")
    asked = Reasoning(enabled=True, effort=effort)
    assert sent(terms, reasoning=asked, max_tokens=max_tokens)["thinking"] == thinking
