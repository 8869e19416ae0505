"""The client's half of OpenAI's Responses: bodies out, bytes in however they are cut."""

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
    ImagePart,
    JsonFormat,
    Message,
    Reasoning,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.errors import InvalidRequest
from proxy.dialects.responses_client import PATH, StreamDecoder, decode_response, encode_request
from proxy.responses_events import error_in
from proxy.responses_request import ResponsesTerms
from proxy.signatures import signed_by
from proxy.upstream_errors import BadAnswer, Reported, UpstreamError
from tests.proxy.any_chat import CUTS, cut

# --- streams -------------------------------------------------------------------------------------

Json = dict[str, Any]


def sse(*events: Json, end: str = "\n") -> bytes:
    return "".join(
        f"event: {event['type']}{end}data: {json.dumps(event, ensure_ascii=False)}{end}{end}"
        for event in events
    ).encode()


def at(place: int, kind: str, **fields: Any) -> Json:
    return {"type": f"response.{kind}", "output_index": place, **fields}


def call(place: int, name: str, *pieces: str, done: str | None = None) -> list[Json]:
    item = {"type": "function_call", "call_id": f"c{place}", "name": name, "arguments": ""}
    whole = {**item, "arguments": "".join(pieces) if done is None else done}
    return [
        at(place, "output_item.added", item=item),
        *(at(place, "function_call_arguments.delta", delta=piece) for piece in pieces),
        at(place, "function_call_arguments.done", arguments=whole["arguments"]),
        at(place, "output_item.done", item=whole),
    ]


def message(place: int, *pieces: str) -> list[Json]:
    part = {"type": "output_text", "text": "".join(pieces)}
    return [
        at(place, "output_item.added", item={"type": "message", "content": []}),
        at(place, "content_part.added", part={"type": "output_text", "text": ""}),
        *(at(place, "output_text.delta", delta=piece) for piece in pieces),
        at(place, "output_text.done", text=part["text"]),
        at(place, "content_part.done", part=part),
        at(place, "output_item.done", item={"type": "message", "content": [part]}),
    ]


def ended(status: str = "completed", **fields: Any) -> Json:
    return {"type": f"response.{status}", "response": {"status": status, "output": [], **fields}}


CREATED = {"type": "response.created", "response": {"status": "in_progress", "usage": None, "tools": [1]}}
LIFE = {"type": "response.in_progress", "response": {"status": "in_progress"}}
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 13,
}
THOUGHT = [
    at(0, "output_item.added", item={"type": "reasoning", "summary": []}),
    at(0, "reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
    at(0, "reasoning_summary_text.delta", summary_index=0, delta="hm, "),
    at(0, "reasoning_summary_text.delta", summary_index=0, delta="so"),
    at(0, "reasoning_summary_text.done", summary_index=0, text="hm, so"),
    at(0, "reasoning_summary_text.delta", summary_index=1, delta="now"),
    at(0, "reasoning_summary_text.delta", summary_index=1, delta=" this"),
    at(
        0,
        "output_item.done",
        item={
            "type": "reasoning",
            "summary": [{"text": "hm, so"}, {"text": "now this"}],
            "encrypted_content": "xyz",
        },
    ),
]
ANSWER = [
    CREATED,
    LIFE,
    *THOUGHT,
    *message(1, "Grüße ", "🦙"),
    *call(2, "f", '{"ä":', "1}"),
    *call(3, "g"),
    ended(usage=USAGE),
]
STREAM = b": waiting\n\n" + sse(*ANSWER)
EVENTS: list[ChatEvent] = [
    ReasoningDelta(text="hm, "),
    ReasoningDelta(text="so"),
    ReasoningDelta(text="\n\nnow"),
    ReasoningDelta(text=" this"),
    ReasoningDelta(text="", signature=signed_by("openai", "xyz")),
    TextDelta(text="Grüße "),
    TextDelta(text="🦙"),
    ToolCallDelta(index=0, id="c2", name="f"),
    ToolCallDelta(index=0, arguments='{"ä":'),
    ToolCallDelta(index=0, arguments="1}"),
    ToolCallDelta(index=1, id="c3", name="g"),
    ToolCallDelta(index=1, arguments="{}"),
    Finish(
        reason="tool_calls",
        usage=Usage(
            input_tokens=9, cached_tokens=5, cache_write_tokens=2, output_tokens=4, reasoning_tokens=1
        ),
    ),
]


def decoded(*pieces: bytes) -> list[ChatEvent]:
    decoder = StreamDecoder("openai")
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


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_split_of_the_bytes_gives_the_same_events(end: str) -> None:
    data = STREAM.replace(b"\n", end.encode())
    for place in range(len(data) + 1):
        assert decoded(data[:place], data[place:]) == EVENTS, place
    assert decoded(*(data[i : i + 1] for i in range(len(data)))) == EVENTS


PIECES = [
    b"\r", b"\n", b"\n\n", b":", b" ", b"data", b"data: ", b"event: error", b"\xef\xbb\xbf", b"\xff", b"{}",
    b"[DONE]", b"null", b'{"type":"response.in_progress"}', b'{"type":"response.completed"}',
    b'{"type":"response.completed","response":{"output":[{"type":"message","content":[{"text":"c"}]}]}}',
    b'{"type":"response.failed"}', b'{"error":"e"}', b'{"type":"error"}', b"[[[[", b"1e999",
    b'{"type":"response.output_text.delta","delta":"b"}',
    b'{"type":"response.output_item.added","item":{"type":"function_call"}}',
    b'{"type":"response.function_call_arguments.delta","delta":"{}"}',
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
def test_fault_30_a_stream_without_its_last_event_is_never_an_end(n_events: int) -> None:
    decoder = StreamDecoder()
    told = decoder.feed(sse(*ANSWER[:n_events]) + b"data: [DONE]\n\n")
    assert not any(isinstance(event, Finish) for event in told)
    with pytest.raises(BadAnswer, match=r"without a response\.completed"):
        decoder.end()


@pytest.mark.parametrize(
    "events",
    [
        [at(0, "function_call_arguments.delta", delta="{}")],
        [*message(0, "a")[:2], at(0, "function_call_arguments.delta", delta="{}")],
        [at(0, "output_item.done")],
        [at(0, "output_text.delta", delta=1)],
        [at(0, "output_text.delta")],
        [{"type": "response.output_text.delta", "output_index": "0", "delta": "a"}],
        [at(place, "output_text.delta", delta="a") for place in range(5000)],
    ],
)
def test_fault_16_garbage_is_an_answer_of_no_use(events: list[Json]) -> None:
    with pytest.raises(BadAnswer):
        decoded(sse(CREATED, *events, ended()))


def test_fault_31_a_line_without_end_is_cut_off() -> None:
    decoder = StreamDecoder(max_event_bytes=1000)
    with pytest.raises(BadAnswer, match="more than 1000 bytes"):
        for _ in range(2000):
            decoder.feed(b"x")
        decoder.end()


def failed(**error: Any) -> bytes:
    return sse(ended("failed", error=error))


@pytest.mark.parametrize(
    ("data", "message", "status", "retry_after_s"),
    [
        (failed(code="server_error", message="inner"), "inner", 500, None),
        (
            failed(code="rate_limit_exceeded", message="Slow down. Please try again in 1.5s."),
            "Slow down. Please try again in 1.5s.",
            429,
            1.5,
        ),
        (failed(code="server_is_overloaded", message="busy"), "busy", 503, None),
        (failed(code="insufficient_quota", message="pay"), "pay", 402, None),
        (failed(code="bio_policy", message="no"), "no", None, None),
        (sse(ended("failed", error=None)), "no reason was given", None, None),
        (sse({"type": "error", "code": "server_error", "message": "flat"}), "flat", 500, None),
        (b'data: {"type":"error","code":"server_error","message":"no name"}\n\n', "no name", 500, None),
        (b'data: {"type":"error","error":{"message":"inside"}}\n\n', "inside", None, None),
        (b'data: {"error":{"code":502,"message":"a gateway\'s"}}\n\n', "a gateway's", 502, None),
        (b"event: error\ndata: plain words\n\n", "plain words", None, None),
        (
            sse(ended("incomplete", incomplete_details={"reason": "content_filter"})),
            "the answer was ended as incomplete: content_filter",
            None,
            None,
        ),
        (sse(ended("incomplete")), "the answer was ended as incomplete: no reason was given", None, None),
    ],
)
def test_fault_30_an_error_inside_the_stream_is_told(
    data: bytes, message: str, status: int | None, retry_after_s: float | None
) -> None:
    decoder = StreamDecoder()
    begun = sse(CREATED, at(0, "output_text.delta", delta="half"))
    assert decoder.feed(begun + data + sse(ended())) == [TextDelta(text="half")]
    assert isinstance(decoder.error, Reported)
    said = decoder.error
    assert (said.message, said.status, said.retry_after_s) == (message, status, retry_after_s)
    with pytest.raises(Reported):
        decoder.end()


def test_what_follows_the_end_is_not_looked_at() -> None:
    assert decoded(STREAM + b"data: garbage\n\n", b"\xff") == EVENTS
    assert decoded(STREAM, b"event: error\ndata: {}\n\n") == EVENTS


def test_what_is_new_is_passed_over() -> None:
    news = [
        {"type": "response.hologram.delta", "delta": {"x": 1}},
        at(0, "output_item.added", item={"type": "web_search_call"}),
        at(0, "output_item.done", item={"type": "web_search_call", "name": None}),
    ]
    assert decoded(sse(CREATED, *news, ended())) == [Finish(reason="stop", usage=Usage())]


WHOLE_ITEMS = [
    {"type": "reasoning", "summary": [{"text": "a"}, {"text": "b"}], "encrypted_content": "xyz"},
    {"type": "message", "content": [{"type": "output_text", "text": "c"}, {"refusal": "d"}]},
    {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
    {"type": "function_call", "call_id": "c3", "name": "g", "arguments": {"x": 1}},
]
WHOLE_EVENTS: list[ChatEvent] = [
    ReasoningDelta(text="a\n\nb"),
    ReasoningDelta(text="", signature=signed_by("openai", "xyz")),
    TextDelta(text="c"),
    TextDelta(text="d"),
    ToolCallDelta(index=0, id="c2", name="f"),
    ToolCallDelta(index=0, arguments="{}"),
    ToolCallDelta(index=1, id="c3", name="g"),
    ToolCallDelta(index=1, arguments='{"x":1}'),
    Finish(reason="tool_calls", usage=Usage()),
]


def test_items_that_come_whole() -> None:
    """At their end, as Codex reads them, or only in the response."""
    done = [at(place, "output_item.done", item=item) for place, item in enumerate(WHOLE_ITEMS)]
    assert decoded(sse(*done, ended(output=WHOLE_ITEMS))) == WHOLE_EVENTS
    assert decoded(sse(CREATED, ended(output=WHOLE_ITEMS))) == WHOLE_EVENTS


def test_a_thought_in_both_forms_is_told_once() -> None:
    both = [
        at(0, "reasoning_text.delta", delta="as it is"),
        at(0, "reasoning_summary_text.delta", summary_index=0, delta="in short"),
        at(0, "output_item.done", item={"type": "reasoning", "summary": [{"text": "in short"}]}),
    ]
    assert decoded(sse(*both, ended()))[:-1] == [ReasoningDelta(text="as it is")]


def test_a_refusal_is_what_the_model_says() -> None:
    assert decoded(sse(at(0, "refusal.delta", delta="No."), ended()))[0] == TextDelta(text="No.")


def test_logprobs() -> None:
    token = {"token": "ä", "logprob": -0.5, "bytes": [195, 164], "top_logprobs": []}
    [event, _] = decoded(sse(at(0, "output_text.delta", delta="ä", logprobs=[token]), ended()))
    expected = TokenLogprob(token="ä", bytes_="ä".encode(), logprob=-0.5)
    assert event == TextDelta(text="ä", logprobs=(expected,))


def test_a_call_that_was_cut_off() -> None:
    cut_off = {"type": "function_call", "call_id": "c0", "name": "f", "arguments": '{"a'}
    last = ended("incomplete", incomplete_details={"reason": "max_output_tokens"}, output=[cut_off])
    events = decoded(sse(CREATED, *call(0, "f", '{"a')[:2], last))
    assert events == [
        ToolCallDelta(index=0, id="c0", name="f"),
        ToolCallDelta(index=0, arguments='{"a'),
        Finish(reason="length", usage=Usage()),
    ]


# --- whole answers -------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    whole = {"status": "completed", "output": WHOLE_ITEMS, "error": None}
    assert decode_response(json.dumps(whole).encode(), "openai") == WHOLE_EVENTS


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", BadAnswer, "no response"),
        (b"<html>", BadAnswer, "no response"),
        (b"{}", BadAnswer, "completed or incomplete"),
        (b'{"status":"in_progress"}', BadAnswer, "in_progress"),
        (b'{"status":"failed","error":{"code":"server_error","message":"inner"}}', Reported, "inner"),
        (b'{"error":{"message":"inside a 200"}}', Reported, "inside a 200"),
    ],
)
def test_whole_answers_of_no_use(data: bytes, kind: type[UpstreamError], message: str) -> None:
    with pytest.raises(kind, match=message):
        decode_response(data)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (429, {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}, 402),
        (429, {"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}, 429),
        (500, {"message": "m", "type": "server_error", "code": None}, 500),
    ],
)
def test_fault_29_what_a_status_means(status: int, error: Json, expected: int) -> None:
    assert error_in(json.dumps({"error": error}).encode(), status).status == expected


# --- requests ------------------------------------------------------------------------------------

HI = Message(role="user", content="hi")
HI_ITEM = {"type": "message", "role": "user", "content": "hi"}


def sent(terms: ResponsesTerms | None = None, **fields: Any) -> Json:
    request = ChatRequest(model="m", **{"messages": (HI,), **fields})
    body: Json = json.loads(encode_request(request, "theirs", terms or ResponsesTerms()))
    return body


def test_the_least_request() -> None:
    assert PATH == "/v1/responses"
    assert sent() == {"model": "theirs", "input": [HI_ITEM], "stream": True, "store": False}


def test_a_full_request() -> None:
    body = sent(
        messages=(
            Message(role="developer", content="be brief"),
            Message(role="user", content=(TextPart(text="see"), ImagePart(url="data:image/png;base64,AA=="))),
            Message(
                role="assistant",
                content=(TextPart(text="o"), TextPart(text="k")),
                reasoning="hm",
                tool_calls=(ToolCall(id="c", name="f", arguments=""),),
            ),
            Message(role="tool", content="42", tool_call_id="c"),
        ),
        tools=(Tool(name="f", description="d", parameters={"type": "object"}), Tool(name="g")),
        tool_choice="required",
        forced_tool="g",
        parallel_tool_calls=False,
        sampling=Sampling(temperature=0.5, top_k=3, seed=0, logit_bias=((7, -1.0),), logprobs=2),
        max_tokens=5,
        stop=("x",),
        ignore_eos=True,
        json_format=JsonFormat(schema={"type": "string"}),
        reasoning=Reasoning(effort="low"),
    )
    assert body == {
        "model": "theirs",
        "input": [
            {"type": "message", "role": "developer", "content": "be brief"},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
                ],
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "o"}, {"type": "output_text", "text": "k"}],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "42"},
        ],
        "tools": [
            {
                "type": "function",
                "name": "f",
                "description": "d",
                "parameters": {"type": "object"},
                "strict": False,
            },
            {"type": "function", "name": "g", "parameters": None, "strict": False},
        ],
        "tool_choice": {"type": "function", "name": "g"},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_k": 3,
        "seed": 0,
        "logit_bias": {"7": -1.0},
        "top_logprobs": 2,
        "max_output_tokens": 5,
        "stop": ["x"],
        "ignore_eos": True,
        "text": {
            "format": {"type": "json_schema", "name": "answer", "schema": {"type": "string"}, "strict": False}
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "stream": True,
        "store": False,
    }


def test_every_field_of_a_request_is_carried_or_refused() -> None:
    """A field that is new here must be sent, or refused by name: never dropped."""
    carried = """model messages tools tool_choice forced_tool parallel_tool_calls json_format sampling
        max_tokens stop ignore_eos reasoning"""
    kept_here = "context_limit"  # by context_cap.py, before it is sent
    assert set(ChatRequest.__struct_fields__) == {*carried.split(), "template_kwargs", kept_here}
    with pytest.raises(InvalidRequest, match="chat_template_kwargs"):
        sent(template_kwargs={"a": 1})


def test_tools_and_choices() -> None:
    tools = (Tool(name="f"), Tool(name="g"))
    assert sent(tools=tools, tool_choice="required")["tool_choice"] == "required"
    assert not {"tool_choice", "parallel_tool_calls"} & set(sent(tools=tools))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(sent(parallel_tool_calls=False))
    assert sent(json_format=JsonFormat())["text"] == {"format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("reasoning", "said", "is_included"),
    [
        (None, None, False),
        (Reasoning(), None, False),
        (Reasoning(enabled=False), {"effort": "none"}, False),
        (Reasoning(enabled=False, effort="high"), {"effort": "none"}, False),
        (Reasoning(effort="none"), {"effort": "none"}, False),
        (Reasoning(enabled=True), {"summary": "auto"}, True),
        (Reasoning(effort="xhigh"), {"effort": "xhigh", "summary": "auto"}, True),
    ],
)
def test_reasoning(reasoning: Reasoning | None, said: Any, is_included: bool) -> None:
    body = sent(reasoning=reasoning)
    assert body.get("reasoning") == said
    assert ("include" in body) == is_included


def test_reasoning_goes_back_to_its_author_only() -> None:
    answer = Message(
        role="assistant", content="4", reasoning="hm", reasoning_signature=signed_by("openai", "xyz")
    )

    def items(message: Message, **terms: Any) -> list[Json]:
        found: list[Json] = sent(ResponsesTerms(**terms), messages=(message,))["input"]
        return found[:-1]

    sealed = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert items(answer, author="openai") == [{**sealed, "encrypted_content": "xyz"}]
    assert items(answer, author="another") == []
    plain = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    assert items(answer, author="another", unsigned_thoughts=True) == [plain]
    hidden = Message(role="assistant", content="4", reasoning_signature=signed_by("openai", "xyz"))
    assert items(hidden, author="openai") == [{**sealed, "summary": [], "encrypted_content": "xyz"}]
