"""The client's half of Chat Completions: bodies out, bytes in however they are cut."""

from __future__ import annotations

import array
import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import (
    ChatEvent,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Finish,
    ImagePart,
    JsonFormat,
    Message,
    Reasoning,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TextPart,
    Timings,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from proxy.dialects.chat_client import (
    StreamDecoder,
    decode_embeddings,
    encode_embedding,
    encode_request,
    path_of,
)
from proxy.openai_chunks import error_in
from proxy.sse_reader import SseReader
from proxy.upstream_errors import BadAnswer, Reported, UpstreamError


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def sse(*chunks: Any, end: str = "\n") -> bytes:
    lines = [chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False) for chunk in chunks]
    return "".join(f"data: {line}{end}{end}" for line in lines).encode()


def decoded(pieces: Iterable[bytes]) -> list[ChatEvent]:
    decoder = StreamDecoder()
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


USAGE = {
    "choices": [],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
    "timings": {"cache_n": 5, "prompt_n": 4, "prompt_ms": 20.0, "predicted_n": 4, "predicted_ms": 80.0},
}
CHUNKS = [
    delta(role="assistant", content=None),
    delta(reasoning_content="hm, "),
    delta(reasoning="so"),
    delta(content="Grüße 🦙"),
    delta(
        tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]
    ),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"ä":'}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
    delta("tool_calls"),
    USAGE,
]
STREAM = b": keep-alive\n\n" + sse(*CHUNKS, "[DONE]")
EVENTS = [
    ReasoningDelta(text="hm, "),
    ReasoningDelta(text="so"),
    TextDelta(text="Grüße 🦙"),
    ToolCallDelta(index=0, id="c1", name="f"),
    ToolCallDelta(index=0, arguments='{"ä":'),
    ToolCallDelta(index=0, arguments="1}"),
    Finish(
        reason="tool_calls",
        usage=Usage(input_tokens=9, cached_tokens=5, output_tokens=4, reasoning_tokens=1),
        timings=Timings(prefill_tokens=4, prefill_s=0.02, decode_tokens=4, decode_s=0.08),
    ),
]

# --- streams -------------------------------------------------------------------------------------


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    marks = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_split_of_the_bytes_gives_the_same_events(end: str) -> None:
    data = STREAM.replace(b"\n", end.encode())
    for place in range(len(data) + 1):
        assert decoded([data[:place], data[place:]]) == EVENTS, place
    assert decoded(data[i : i + 1] for i in range(len(data))) == EVENTS


@given(places=st.lists(st.integers(0, 5000), max_size=12), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_splits_of_the_bytes_give_the_same_events(places: list[int], end: str) -> None:
    data = STREAM.replace(b"\n", end.encode())
    assert decoded(cut(data, places)) == EVENTS


PIECES = [
    b"\r", b"\n", b"\r\n", b":", b" ", b"data", b"data: ", b"event: error", b"error: x", b"\xef\xbb\xbf",
    b"\xff", b"{}", b"[DONE]", b"null", b'{"choices":[{"delta":{"content":"a"}}]}', b'{"error":"e"}',
    b'{"choices":[', b'{"choices":[{"delta":{},"finish_reason":"stop"}]}', b'{"choices":[{"index":1}]}',
    b"[[[[", b"1e999",
]  # fmt: skip


@given(
    data=st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), places=st.lists(st.integers(0, 500))
)
def test_nonsense_ends_in_the_same_way_at_every_split(data: bytes, places: list[int]) -> None:
    whole, pieces = ending([data]), ending(cut(data, places))
    assert pieces == whole
    assert sum(isinstance(event, Finish) for event in whole[0]) == (0 if whole[1] else 1)


@given(data=st.binary(max_size=300))
def test_bytes_from_anywhere_are_an_error_or_an_end(data: bytes) -> None:
    events, problem = ending([data])
    assert problem or isinstance(events[-1], Finish)


def test_a_done_that_is_missing_after_a_finish_reason_is_tolerated() -> None:
    assert decoded([sse(*CHUNKS)]) == EVENTS
    assert decoded([sse(delta(content="a"), delta("stop"))])[-1] == Finish(reason="stop", usage=Usage())
    assert decoded([sse(delta("stop")).rstrip(b"\n")])[-1] == Finish(reason="stop", usage=Usage())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b": nothing\n\n",
        sse(delta(content="a")),
        sse(delta(content="a"), "[DONE]"),
        sse(USAGE, "[DONE]"),
        sse("{}", "[DONE]"),
    ],
)
def test_fault_16_a_stream_without_a_finish_reason_is_never_an_end(data: bytes) -> None:
    with pytest.raises(BadAnswer, match="without a finish_reason"):
        decoded([data])


@pytest.mark.parametrize(
    "data",
    [
        b"data: \x00\xff\n\n",
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b'data: {"choices":[{"del\n\n',
        b'data: {"choices":[{"delta":{"content":1}}]}\n\n',
        b'data: {"choices":{}}\n\n',
        b"data: []\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        sse({"choices": [{"index": 1, "delta": {"content": "a"}}]}),
        sse(delta(tool_calls=[{"index": 5000}])),
        sse(delta(tool_calls=[{"index": -1}])),
    ],
)
def test_fault_16_garbage_is_an_answer_of_no_use(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        decoded([data, sse(delta("stop"), "[DONE]")])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sse(delta(content="a"), {"error": {"message": "decode failed", "code": 500}}), "decode failed"),
        (sse({"error": "plain words"}), "plain words"),
        (sse({"object": "error", "message": "vLLM's way"}), "vLLM's way"),
        (b'event: error\ndata: {"message": "by name"}\n\n', "by name"),
        (b'event: error\ndata: {"error": {"message": "inside"}}\n\n', "inside"),
        (b"event: error\ndata: not json\n\n", "not json"),
        (b'error: {"message": "an old llama-server"}\n\n', "an old llama-server"),
        (sse({"error": {}}), "no reason was given"),
        (sse(delta("content_filter")), "content_filter"),
        (sse(delta("error"), "[DONE]"), "error"),
    ],
)
def test_an_error_inside_the_stream_is_told(data: bytes, message: str) -> None:
    with pytest.raises(Reported, match=message):
        decoded([data, sse(delta("stop"), "[DONE]")])


def test_what_follows_done_is_not_looked_at() -> None:
    assert decoded([STREAM + b"data: garbage\n\n", b"\xff"]) == EVENTS
    assert decoded([STREAM, b"data: garbage\n\n"]) == EVENTS


def test_the_last_usage_counts_and_comes_once() -> None:
    first = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    events = decoded([sse(first, delta("stop"), USAGE, USAGE, "[DONE]")])
    assert [event.usage.input_tokens for event in events if isinstance(event, Finish)] == [9]


def test_usage_is_taken_from_the_timings_where_it_is_missing() -> None:
    [finish] = decoded([sse(delta("stop"), {"timings": USAGE["timings"]}, "[DONE]")])
    assert isinstance(finish, Finish)
    assert finish.usage == Usage(input_tokens=9, cached_tokens=5, output_tokens=4)


def test_tool_calls_without_an_index_follow_each_other() -> None:
    calls = [{"id": "a", "function": {"name": "f"}}, {"function": {"arguments": "{}"}}, {"id": "b"}]
    events = decoded([sse(*(delta(tool_calls=[call]) for call in calls), delta("tool_calls"), "[DONE]")])
    assert [event.index for event in events if isinstance(event, ToolCallDelta)] == [0, 0, 1]


def test_logprobs_come_in_both_shapes() -> None:
    token = {
        "token": "ä",
        "logprob": -0.5,
        "bytes": [195, 164],
        "top_logprobs": [{"token": "b", "logprob": -1}],
    }
    chat = {"choices": [{"delta": {"content": "ä"}, "logprobs": {"content": [token]}}]}
    older = {"tokens": ["ä"], "token_logprobs": [-0.5], "top_logprobs": [{"b": -1.0}]}
    raw = {"choices": [{"text": "ä", "logprobs": older}]}
    expected = TokenLogprob(token="ä", bytes_="ä".encode(), logprob=-0.5, top=(("b", b"b", -1.0),))
    for chunk in (chat, raw):
        events = decoded([sse(chunk, delta("stop"), "[DONE]")])
        assert events[0] == TextDelta(text="ä", logprobs=(expected,))


def test_a_line_without_end_is_cut_off() -> None:
    decoder = StreamDecoder(max_event_bytes=1000)
    with pytest.raises(BadAnswer, match="more than 1000 bytes"):
        for _ in range(2000):
            decoder.feed(b"x")
        decoder.end()


def test_an_event_without_end_is_cut_off() -> None:
    reader = SseReader(max_event_bytes=1000)
    with pytest.raises(BadAnswer, match="more than 1000 bytes"):
        for _ in range(2000):
            list(reader.feed(b"data: x\n"))


def test_several_data_lines_are_one_event() -> None:
    assert decoded([b'data: {"choices":[{"delta":{},\ndata: "finish_reason":"stop"}]}\n\n'])


# --- errors of a status --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message", "is_overflow"),
    [
        (b'{"error":{"message":"too hot","param":"temperature"}}', "too hot", False),
        (b'{"error":{"message":"m","type":"exceed_context_size_error"}}', "m", True),
        (b'{"error":{"message":"m","code":"context_length_exceeded"}}', "m", True),
        (b'{"message":"This model\'s maximum context length is 8 tokens."}', "This model's", True),
        (b'{"detail":"Not Found"}', "Not Found", False),
        (b'{"error":"words"}', "words", False),
        (b'{"error":{"code":{"a":1}}}', "no reason", False),
        (b"<html>", "no reason was given", False),
        (b"", "no reason was given", False),
        (b"[" * 100_000, "no reason was given", False),
    ],
)
def test_an_error_is_found_in_any_body(body: bytes, message: str, is_overflow: bool) -> None:
    error = error_in(body, 400)
    assert message in error.message
    assert error.is_overflow == is_overflow
    assert error.status == 400


def test_an_overflow_says_how_much() -> None:
    body = {
        "error": {"message": "m", "type": "exceed_context_size_error", "n_prompt_tokens": 99, "n_ctx": 64}
    }
    error = error_in(json.dumps(body).encode(), 400)
    assert (error.n_tokens, error.n_ctx) == (99, 64)


# --- requests ------------------------------------------------------------------------------------

FULL = ChatRequest(
    model="m",
    messages=(
        Message(role="developer", content="be brief"),
        Message(
            role="user", content=(TextPart(text="see"), ImagePart(url="data:image/png;base64,AA==")), name="n"
        ),
        Message(
            role="assistant", reasoning="hm", tool_calls=(ToolCall(id="c", name="f", arguments='{"a":1}'),)
        ),
        Message(role="tool", content="42", tool_call_id="c"),
    ),
    tools=(Tool(name="f", description="d", parameters={"type": "object"}),),
    sampling=Sampling(temperature=0.5, top_k=3, seed=0, logit_bias=((7, -1.0),), logprobs=2),
    max_tokens=5,
    stop=("x",),
    ignore_eos=True,
    template_kwargs={"k": 1},
    reasoning=Reasoning(enabled=False, effort="low"),
)


def test_a_full_request() -> None:
    body = json.loads(encode_request(FULL, "theirs"))
    assert body == {
        "model": "theirs",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
                "name": "n",
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "content": "42", "tool_call_id": "c"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
            }
        ],
        "temperature": 0.5,
        "top_k": 3,
        "seed": 0,
        "logit_bias": {"7": -1.0},
        "logprobs": True,
        "top_logprobs": 2,
        "max_tokens": 5,
        "stop": ["x"],
        "ignore_eos": True,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"k": 1, "enable_thinking": False},
    }


def test_silence_stays_silence() -> None:
    request = ChatRequest(model="m", messages=(Message(role="user", content="hi"),))
    assert json.loads(encode_request(request, "m")) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_every_field_of_a_request_is_carried() -> None:
    """A field that is new here must be sent, or refused by name: never dropped."""
    carried = """model messages tools sampling max_tokens stop ignore_eos template_kwargs reasoning
        tool_choice forced_tool parallel_tool_calls json_format"""
    kept_here = "context_limit"  # by context_cap.py, before it is sent
    assert set(ChatRequest.__struct_fields__) == {*carried.split(), kept_here}
    assert set(CompletionRequest.__struct_fields__) == {
        "model", "prompt", "sampling", "max_tokens", "stop", "ignore_eos", "echo", kept_here
    }  # fmt: skip


def test_what_is_said_of_tools() -> None:
    message = Message(role="user", content="hi")
    tools = (Tool(name="f"), Tool(name="g"))
    request = ChatRequest(
        model="m",
        messages=(message,),
        tools=tools,
        tool_choice="required",
        forced_tool="g",
        parallel_tool_calls=False,
    )
    body = json.loads(encode_request(request, "m"))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["g"]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)
    without = json.loads(
        encode_request(ChatRequest(model="m", messages=(message,), parallel_tool_calls=False), "m")
    )
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(without)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (JsonFormat(), {"type": "json_object"}),
        (
            JsonFormat(schema={"type": "string"}, strict=True, name="n"),
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "string"}, "strict": True},
            },
        ),
    ],
)
def test_what_is_said_of_json(wanted: JsonFormat, sent: dict[str, Any]) -> None:
    request = ChatRequest(model="m", messages=(), json_format=wanted)
    assert json.loads(encode_request(request, "m"))["response_format"] == sent


def test_a_raw_completion() -> None:
    request = CompletionRequest(model="m", prompt=(1, 2), echo=True, sampling=Sampling(logprobs=1))
    body = json.loads(encode_request(request, "m"))
    assert (body["prompt"], body["echo"], body["logprobs"]) == ([1, 2], True, 1)
    assert path_of(request) == "/v1/completions"
    events = decoded([sse({"choices": [{"text": "a", "finish_reason": "length"}]}, "[DONE]")])
    assert events == [TextDelta(text="a"), Finish(reason="length", usage=Usage())]


# --- embeddings ----------------------------------------------------------------------------------

INPUTS = EmbeddingRequest(model="m", inputs=("a", (1, 2)))


def vectors(*items: tuple[int, list[float]]) -> bytes:
    data = [{"index": index, "embedding": vector} for index, vector in items]
    return json.dumps({"data": data, "usage": {"prompt_tokens": 3}}).encode()


def test_embeddings_come_in_order_and_normalised() -> None:
    assert json.loads(encode_embedding(INPUTS, "x"))["input"] == ["a", [1, 2]]
    answer = decode_embeddings(vectors((1, [0.0, 0.0]), (0, [3.0, 4.0])), INPUTS)
    assert array.array("f", answer.vectors[0]).tolist() == pytest.approx([0.6, 0.8])
    assert array.array("f", answer.vectors[1]).tolist() == [0.0, 0.0]
    assert (answer.dimensions, answer.usage.input_tokens) == (2, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"data":[',
        b'{"data":[]}',
        vectors((0, [1.0])),
        vectors((0, [1.0]), (0, [1.0])),
        vectors((0, [1.0]), (1, [1.0, 2.0])),
        vectors((0, []), (1, [])),
        vectors((0, [1e308, 1e308]), (1, [1.0, 1.0])),
    ],
)
def test_fault_16_embeddings_of_no_use(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        decode_embeddings(data, INPUTS)


def test_an_error_in_place_of_embeddings_is_told() -> None:
    with pytest.raises(Reported, match="no such model"):
        decode_embeddings(b'{"error": {"message": "no such model"}}', INPUTS)
