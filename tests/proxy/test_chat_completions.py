"""The Chat Completions dialect by itself: fields taken, ignored or refused; events to chunks and back."""

from __future__ import annotations

import json
from pathlib import Path
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
    Timings,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.errors import ContextLengthExceeded, InvalidRequest, WorkerCrashed
from proxy.answer import Answer, Served, Waits
from proxy.dialects.chat_completions import StreamEncoder, decode_request, encode_error, encode_response

SERVED = Served("42", "smol", 1_700_000_000)
WAITS = Waits(queue_s=0.25, load_s=1.5)
HI = {"role": "user", "content": "hi"}
RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "recordings" / "opencode_chat.json").read_text()
)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [HI]} | fields).encode()


CALL = decode_request(body())


def request(**fields: Any) -> ChatRequest:
    return decode_request(body(**fields)).request


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body(**fields))
    return caught.value


# --- decode: parameters ------------------------------------------------------------------------


def test_smallest_body() -> None:
    call = decode_request(body())
    assert call.request == ChatRequest(model="m", messages=(Message(role="user", content="hi"),))
    assert (call.stream, call.include_usage) == (False, False)


def test_every_parameter_with_meaning() -> None:
    chat = request(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        repeat_penalty=1.1,
        repeat_last_n=64,
        dry_multiplier=0.8,
        dry_base=1.75,
        dry_allowed_length=2,
        dry_penalty_last_n=-1,
        presence_penalty=-1,
        frequency_penalty=2,
        seed=7,
        logit_bias={"15": -100, "7": 1.5},
        logprobs=True,
        top_logprobs=3,
        max_tokens=9,
        stop=["a", "b"],
        ignore_eos=True,
        chat_template_kwargs={"enable_thinking": False},
        reasoning_effort="high",
    )
    assert chat.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        repeat_penalty=1.1,
        repeat_last_n=64,
        dry_multiplier=0.8,
        dry_base=1.75,
        dry_allowed_length=2,
        dry_penalty_last_n=-1,
        presence_penalty=-1,
        frequency_penalty=2,
        seed=7,
        logit_bias=((15, -100), (7, 1.5)),
        logprobs=3,
    )
    assert (chat.max_tokens, chat.stop, chat.ignore_eos) == (9, ("a", "b"), True)
    assert chat.template_kwargs == {"enable_thinking": False}
    assert chat.reasoning == Reasoning(effort="high")


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def test_which_tools_may_and_must_be_called() -> None:
    def asked(**fields: Any) -> tuple[list[str], str, str, bool]:
        chat = request(tools=[WEATHER, CLOCK], **fields)
        names = [tool.name for tool in chat.tools]
        return names, chat.tool_choice, chat.forced_tool, chat.parallel_tool_calls

    both = ["weather", "clock"]
    named = {"type": "function", "function": {"name": "clock"}}
    assert asked() == (both, "auto", "", True)
    assert asked(tool_choice="auto", parallel_tool_calls=False) == (both, "auto", "", False)
    assert asked(tool_choice="required") == (both, "required", "", True)
    assert asked(tool_choice=named) == (both, "required", "clock", True)
    assert asked(tool_choice="none") == ([], "auto", "", True)


def test_a_tool_that_must_be_called_and_is_not_offered() -> None:
    named = {"type": "function", "function": {"name": "nobody"}}
    error = refusal(tools=[WEATHER, CLOCK], tool_choice=named)
    assert error.param == "tool_choice"
    assert "offered: weather, clock" in error.message


def test_which_document_the_answer_must_be() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    named = {"name": "x", "schema": schema, "strict": True}
    assert request(response_format={"type": "text"}).json_format is None
    assert request(response_format={"type": "json_object"}).json_format == JsonFormat()
    wanted = request(response_format={"type": "json_schema", "json_schema": named}).json_format
    assert wanted == JsonFormat(schema=schema, strict=True, name="x")
    other_way = request(response_format={"type": "json_object", "schema": schema}).json_format
    assert other_way == JsonFormat(schema=schema)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", "me"),
        ("metadata", {"a": "b"}),
        ("store", True),
        ("service_tier", "auto"),
        ("safety_identifier", "x"),
        ("prompt_cache_key", "x"),
        ("prompt_cache_retention", "24h"),
        ("cache_prompt", True),
        ("parallel_tool_calls", True),
        ("prediction", {"type": "content", "content": "x"}),
        ("verbosity", "low"),
        ("n", 1),
        ("response_format", {"type": "text"}),
        ("tool_choice", "auto"),
        ("functions", []),
        ("function_call", "none"),
        ("modalities", ["text"]),
        ("timings_per_token", False),
        ("stop", None),
        ("max_tokens", None),
        ("temperature", None),
        ("stream", None),
        ("web_search_options", None),
    ],
)
def test_harmless_fields_change_nothing(field: str, value: Any) -> None:
    assert decode_request(body(**{field: value})) == decode_request(body())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", 0),
        ("n", -1),
        ("best_of", 2),
        ("suffix", "x"),
        ("audio", {"voice": "alloy"}),
        ("modalities", ["text", "audio"]),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("reasoning_effort", "some"),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("web_search_options", {}),
        ("timings_per_token", True),
        ("n_discard", 1),
        ("grammar", "root ::= x"),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "1"),
        ("top_p", 1.5),
        ("top_p", -1),
        ("top_k", -1),
        ("top_k", 2**40),
        ("top_k", 1.5),
        ("min_p", 2),
        ("repeat_penalty", 0),
        ("repeat_last_n", -2),
        ("dry_multiplier", -0.1),
        ("dry_base", 0.9),
        ("dry_allowed_length", -1),
        ("dry_penalty_last_n", -2),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 2**31),
        ("max_tokens", True),
        ("max_completion_tokens", 0),
        ("stop", ""),
        ("stop", ["x"] * 17),
        ("stop", "x" * 1025),
        ("seed", 2**63),
        ("seed", 1.5),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"hello": 1}),
        ("logit_bias", {"²": 1}),
        ("logit_bias", {str(2**30): 1}),
        ("logit_bias", {str(i): 1 for i in range(1025)}),
        ("top_logprobs", 3),
        ("logprobs", 3),
        ("stream", "yes"),
        ("stream_options", {"include_usage": True}),
        ("chat_template_kwargs", []),
        ("reasoning_effort", "x" * 33),
        ("messages", []),
        ("messages", "hi"),
        ("model", None),
        ("model", 3),
    ],
)
def test_refused_by_name(field: str, value: Any) -> None:
    error = refusal(**{field: value})
    assert error.param == field
    assert error.message.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("value", "param"), [({"7": 101}, "logit_bias[...]"), ({"7": "x"}, "logit_bias[...]")]
)
def test_bias_out_of_range(value: Any, param: str) -> None:
    assert refusal(logit_bias=value).param == param


def test_max_tokens_and_its_newer_name() -> None:
    assert request(max_completion_tokens=5).max_tokens == 5
    assert request(max_completion_tokens=5, max_tokens=5).max_tokens == 5
    assert refusal(max_completion_tokens=5, max_tokens=6).param == "max_completion_tokens"


@pytest.mark.parametrize(
    ("given_seed", "used"),
    [(0, 0), (2**32 - 2, 2**32 - 2), (2**32 - 1, 0), (-1, None), (-2, 2**32 - 3), (2**63 - 1, 2**31 - 1)],
)
def test_seed_is_folded(given_seed: int, used: int | None) -> None:
    assert request(seed=given_seed).sampling.seed == used


def test_logprobs_without_alternatives() -> None:
    assert request(logprobs=True).sampling.logprobs == 0
    assert request(logprobs=False, top_logprobs=0).sampling.logprobs is None


def test_template_kwargs_win_over_reasoning_effort() -> None:
    chat = request(chat_template_kwargs={"reasoning_effort": "low"}, reasoning_effort="high")
    assert chat.template_kwargs == {"reasoning_effort": "low"}


# --- decode: messages and tools ----------------------------------------------------------------


def test_conversation() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {
            "role": "system",
            "content": [{"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}}],
        },
        {"role": "developer", "content": "brief"},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call],
            "reasoning_content": "hm",
            "refusal": None,
            "audio": None,
            "function_call": None,
            "annotations": [],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "r"}]},
        {"role": "assistant", "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}], "reasoning": "why"},
    ]
    assert request(messages=messages).messages == (
        Message(role="system", content=(TextPart(text="be"),)),
        Message(role="developer", content="brief"),
        Message(
            role="user",
            name="ann",
            content=(TextPart(text="see"), ImagePart(url="data:image/png;base64,AA==")),
        ),
        Message(role="assistant", reasoning="hm", tool_calls=(ToolCall(id="c1", name="f", arguments="{}"),)),
        Message(role="tool", tool_call_id="c1", content=(TextPart(text="r"),)),
        Message(role="assistant", content="no"),
        Message(role="assistant", content=(TextPart(text="never"),), reasoning="why"),
    )


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"content": "x"}, "messages[0].role"),
        ({"role": "root", "content": "x"}, "messages[0].role"),
        ({"role": "function", "name": "f", "content": "x"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": "x", "weight": 1}, "messages[0].weight"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "messages[0].content[0].type",
        ),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "messages[0].audio"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages[0].function_call"),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "messages[0].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{"type": "custom", "function": {"name": "f"}}]},
            "messages[0].tool_calls[0].type",
        ),
    ],
)
def test_wrong_message_names_its_place(message: dict[str, Any], param: str) -> None:
    assert refusal(messages=[message]).param == param


def tool(name: str = "f", **extra: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name} | extra}


def test_tools_reach_the_template() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert request(tools=[tool(description="d", parameters=schema, strict=False)]).tools == (
        Tool(name="f", description="d", parameters=schema),
    )
    assert request(tools=[tool()], tool_choice="auto").tools == (Tool(name="f"),)


def test_tool_choice_none_offers_no_tools() -> None:
    assert request(tools=[tool()], tool_choice="none").tools == ()


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"type": "custom", "custom": {"name": "x"}}], "tools[0].type"),
        ([{"type": "function"}], "tools[0].function"),
        ([tool("")], "tools[0].function.name"),
        ([tool(), tool()], "tools[1].function.name"),
        ([tool(parameters=[])], "tools[0].function.parameters"),
    ],
)
def test_wrong_tools(tools: Any, param: str) -> None:
    assert refusal(tools=tools).param == param


# --- encode ------------------------------------------------------------------------------------

USAGE = Usage(input_tokens=10, cached_tokens=4, output_tokens=3, reasoning_tokens=1)
FINISH = Finish(
    reason="stop",
    usage=USAGE,
    timings=Timings(prefill_tokens=6, prefill_s=0.3, decode_tokens=3, decode_s=0.15),
)
USAGE_OBJECT = {
    "prompt_tokens": 10,
    "completion_tokens": 3,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
TIMINGS_OBJECT = {
    "cache_n": 4,
    "prompt_n": 6,
    "prompt_ms": 300.0,
    "prompt_per_token_ms": 50.0,
    "prompt_per_second": 20.0,
    "predicted_n": 3,
    "predicted_ms": 150.0,
    "predicted_per_token_ms": 50.0,
    "predicted_per_second": 20.0,
    "queue_ms": 250.0,
    "load_ms": 1500.0,
}
EVENTS: list[ChatEvent] = [
    ReasoningDelta(text="hm"),
    TextDelta(text="a"),
    TextDelta(text='"b"\n'),
    ToolCallDelta(index=0, id="c1", name="f"),
    ToolCallDelta(index=0, arguments='{"x":'),
    ToolCallDelta(index=0, arguments="1}"),
    FINISH,
]


def chunks_of(data: bytes) -> tuple[list[dict[str, Any]], bool]:
    """The chunks of a stream, and whether [DONE] came, last."""
    assert data.endswith(b"\n\n")
    texts = data.decode().removesuffix("\n\n").split("\n\n")
    assert all(text.startswith("data: ") and "\n" not in text for text in texts)
    payloads = [text.removeprefix("data: ") for text in texts]
    done = payloads[-1] == "[DONE]"
    return [json.loads(payload) for payload in (payloads[:-1] if done else payloads)], done


def encoder(**fields: Any) -> StreamEncoder:
    return StreamEncoder(decode_request(body(stream=True, **fields)), SERVED)


def test_whole_answer() -> None:
    answer = Answer()
    for event in EVENTS:
        answer.add(event)
    assert json.loads(encode_response(CALL, answer, FINISH, SERVED, WAITS)) == {
        "id": "chatcmpl-42",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "smol",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": 'a"b"\n',
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
                    ],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE_OBJECT,
        "timings": TIMINGS_OBJECT,
    }


def test_content_is_null_only_beside_tool_calls() -> None:
    silent, calling = Answer(), Answer()
    calling.add(ToolCallDelta(index=0, id="c", name="f"))

    def message_of(answer: Answer) -> Any:
        return json.loads(encode_response(CALL, answer, FINISH, SERVED, WAITS))["choices"][0]["message"]

    silent_message, calling_message = message_of(silent), message_of(calling)
    assert (silent_message["content"], calling_message["content"]) == ("", None)


def test_stream() -> None:
    stream = encoder()
    chunks, done = chunks_of(stream.begin() + stream.encode(EVENTS, WAITS))
    assert done
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in chunks} == {
        ("chatcmpl-42", "chat.completion.chunk", 1_700_000_000, "smol")
    }
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": 'a"b"\n'},
        {
            "tool_calls": [
                {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 6 + ["stop"]
    assert chunks[-1]["timings"] == TIMINGS_OBJECT
    assert not any("usage" in chunk for chunk in chunks)


def test_stream_with_usage() -> None:
    stream = encoder(stream_options={"include_usage": True})
    chunks, done = chunks_of(stream.begin() + stream.encode([TextDelta(text="x"), FINISH], WAITS))
    assert done
    assert [chunk["usage"] for chunk in chunks] == [None, None, None, USAGE_OBJECT]
    assert chunks[-1]["choices"] == []
    assert [("timings" in chunk) for chunk in chunks] == [False, False, False, True]
    assert chunks[2]["choices"][0]["finish_reason"] == "stop"


LOGPROB = TokenLogprob(
    token="é", bytes_="é".encode(), logprob=-0.5, top=(("é", b"\xc3\xa9", -0.5), ("x", b"x", float("-inf")))
)
LOGPROB_OBJECT = {
    "token": "é",
    "logprob": -0.5,
    "bytes": [195, 169],
    "top_logprobs": [
        {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
        {"token": "x", "logprob": -9999.0, "bytes": [120]},
    ],
}


def test_logprobs_in_both_shapes() -> None:
    delta = TextDelta(text="é", logprobs=(LOGPROB,))
    chunks, _ = chunks_of(encoder().encode([TextDelta(text="a"), delta, TextDelta(text="b")], WAITS))
    assert [chunk["choices"][0]["logprobs"] for chunk in chunks] == [
        None,
        {"content": [LOGPROB_OBJECT], "refusal": None},
        None,
    ]
    answer = Answer()
    answer.add(delta)
    whole = json.loads(encode_response(CALL, answer, FINISH, SERVED, WAITS))
    assert whole["choices"][0]["logprobs"] == {"content": [LOGPROB_OBJECT], "refusal": None}


def test_text_that_looks_like_the_envelope_stays_text() -> None:
    tricky = '"logprobs":null\n\ndata: [DONE]\u2028</script>'
    delta = TextDelta(text=tricky, logprobs=(LOGPROB,))
    chunks, done = chunks_of(encoder().encode([TextDelta(text=tricky), delta], WAITS))
    assert not done
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == [tricky, tricky]
    assert chunks[1]["choices"][0]["logprobs"] is not None


events = st.lists(
    st.builds(TextDelta, text=st.text(st.characters(codec="utf-8")))
    | st.builds(ReasoningDelta, text=st.text(st.characters(codec="utf-8"), min_size=1))
    | st.builds(
        ToolCallDelta,
        index=st.integers(0, 2),
        id=st.sampled_from(["", "c1"]),
        name=st.sampled_from(["", "f"]),
        arguments=st.text(st.characters(codec="utf-8")),
    )
)


@given(events, st.data())
def test_batches_do_not_change_what_is_said(said: list[ChatEvent], data: st.DataObject) -> None:
    """However the events are cut into wake-ups, a client puts the same answer together."""
    expected = Answer()
    for event in said:
        expected.add(event)
    stream, written, left = encoder(), b"", [*said, FINISH]
    while left:
        size = data.draw(st.integers(1, len(left)))
        written += stream.encode(left[:size], WAITS)
        left = left[size:]
    chunks, done = chunks_of(written)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert done
    assert "".join(delta.get("content", "") for delta in deltas) == expected.text
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == expected.reasoning
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    by_index = {
        index: [c for c in calls if c["index"] == index] for index in sorted({c["index"] for c in calls})
    }
    assert ["".join(c["function"]["arguments"] for c in call) for call in by_index.values()] == [
        call.arguments for call in expected.tool_calls
    ]


# --- errors ------------------------------------------------------------------------------------


def test_overflow_in_the_words_that_harnesses_look_for() -> None:
    error = ContextLengthExceeded("too long", n_tokens=9000, n_ctx=8192, param="messages")
    assert json.loads(encode_error(error, "42")) == {
        "error": {
            "message": "This model's maximum context length is 8192 tokens. However, your messages "
            "resulted in 9000 tokens. Please reduce the length of the messages.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
            "hotseat": {
                "code": "context_length_exceeded",
                "fault": "client",
                "request_id": "42",
                "n_tokens": 9000,
                "n_ctx": 8192,
            },
        }
    }


@pytest.mark.parametrize("name", RECORDED["requests"])
def test_what_opencode_sends(name: str) -> None:
    body = RECORDED["requests"][name]
    offered = body.get("tools", [])
    call = decode_request(
        json.dumps(body | {"tools": [RECORDED["tools"][tool] for tool in offered]}).encode()
    )
    assert call.stream
    assert [tool.name for tool in call.request.tools] == offered
    assert call.request.max_tokens == body["max_tokens"]
    assert [message.role for message in call.request.messages] == [m["role"] for m in body["messages"]]


def test_an_overflow_in_a_stream_is_an_error_object_within_the_message() -> None:
    """opencode 1.18 recognises it by nothing else, and compacts."""
    error = ContextLengthExceeded("too long", param="messages", n_tokens=9000, n_ctx=8192)
    [chunk], done = chunks_of(encoder().error(error, "42"))
    assert not done
    assert chunk["error"]["code"] == "context_length_exceeded"
    within = json.loads(chunk["error"]["message"])
    assert within["type"] == "error"
    assert within["error"]["code"] == "context_length_exceeded"
    assert within["error"]["message"].startswith("This model's maximum context length is 8192 tokens.")


def test_error_event_is_no_end() -> None:
    [chunk], done = chunks_of(encoder().error(WorkerCrashed("it died"), "42"))
    assert not done
    assert chunk["error"]["code"] == "worker_crashed"
    assert "choices" not in chunk
