"""What an answer says of itself, in every dialect, streamed and whole."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from inference.chat import Usage
from proxy.answer_meters import Meter, Seen, meter_for
from proxy.provider_errors import ProviderReported
from proxy.providers import KINDS, DialectName
from proxy.sse_reader import SseReader
from proxy.upstream_errors import BadAnswer

OPENROUTER, OTHER = KINDS["openrouter"], KINDS["compatible"]


def read(dialect: DialectName, *events: Any, kind: str = "openrouter") -> Meter:
    """`events`: objects, or lines as they are."""
    meter = meter_for(dialect, KINDS[kind])
    reader = SseReader()
    for event in events:
        data = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
        for found in reader.feed(data):
            meter.event(found)
    return meter


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


DONE = b"data: [DONE]\n\n"
CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
USAGE = Usage(input_tokens=100, cached_tokens=60, cache_write_tokens=10, output_tokens=20, reasoning_tokens=5)
COST = b"0.000140000000000000000070"


def test_a_chat_stream() -> None:
    usage = json.dumps(CHAT_USAGE).encode()[:-1] + b',"cost":' + COST + b"}"
    meter = read(
        "chat-completions",
        b": OPENROUTER PROCESSING\n\n",
        chunk(content="hi"),
        chunk(tool_calls=[{"index": 0, "id": "a"}, {"index": 1, "id": "b"}]),
        chunk(tool_calls=[{"index": 1, "function": {"arguments": "{}"}}]),
        chunk("tool_calls"),
        b'data: {"choices":[],"usage":' + usage + b"}\n\n",
        DONE,
    )
    assert meter.seen == Seen(USAGE, Decimal(COST.decode()), "tool_calls", 2, True, True, False)
    assert str(meter.seen.cost_usd) == COST.decode(), "to the last digit"


def test_a_bare_count_is_known_as_one() -> None:
    meter = read("chat-completions", chunk("stop"))
    assert not meter.seen.is_bare_usage
    meter = read("chat-completions", chunk("stop"), {"choices": [], "usage": CHAT_USAGE})
    assert meter.seen.is_bare_usage
    meter = read("chat-completions", chunk("stop") | {"usage": CHAT_USAGE})
    assert not meter.seen.is_bare_usage


def test_costs_are_believed_of_those_who_charge() -> None:
    meter = read("chat-completions", {"choices": [], "usage": {"cost": 1}}, kind="compatible")
    assert meter.seen.cost_usd is None


def test_a_chat_stream_that_ends_without_a_reason() -> None:
    with pytest.raises(BadAnswer, match="finish_reason"):
        read("chat-completions", chunk(content="hi"), DONE)


def messages_stream(*, stop: str | None = "tool_use") -> list[dict[str, Any]]:
    start = {"input_tokens": 30, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10}
    return [
        {"type": "message_start", "message": {"usage": {**start, "output_tokens": 1}, "content": []}},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "x"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ]


def test_a_messages_stream() -> None:
    seen = read("anthropic-messages", *messages_stream()).seen
    usage = Usage(input_tokens=100, cached_tokens=60, cache_write_tokens=10, output_tokens=20)
    assert seen == Seen(usage, None, "tool_calls", 1, True, True, False)
    half = read("anthropic-messages", *messages_stream()[:2]).seen
    assert half.usage is not None, "what a client that left has cost"
    assert (half.usage.input_tokens, half.usage.output_tokens, half.is_done) == (100, 1, False)
    with pytest.raises(BadAnswer, match="stop_reason"):
        read("anthropic-messages", *messages_stream(stop=None))


def test_noughts_at_the_end_do_not_take_back_what_was_counted() -> None:
    """A provider that counts the prompt in the first event alone said nought of it in the last: half of what
    it charged for was in no book."""
    start, *between, delta, stop = messages_stream()
    delta["usage"] = {
        "input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 5},
    }
    late = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 0, "output_tokens_details": {}}}
    seen = read("anthropic-messages", start, *between, delta, late, stop).seen
    assert seen.usage == USAGE


def test_a_cost_at_the_end_is_not_taken_back_either() -> None:
    start, *between, delta, stop = messages_stream()
    start["message"]["usage"]["cost"], delta["usage"]["cost"] = 0.25, 0
    assert read("anthropic-messages", start, *between, delta, stop).seen.cost_usd == Decimal("0.25")
    start["message"]["usage"]["cost"], delta["usage"]["cost"] = "NaN", "NaN"
    assert read("anthropic-messages", start, *between, delta, stop).seen.usage is not None


RESPONSE = {
    "status": "completed",
    "output": [{"type": "reasoning"}, {"type": "function_call"}],
    "usage": {
        "input_tokens": 100,
        "output_tokens": 20,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "output_tokens_details": {"reasoning_tokens": 5},
    },
}


def test_a_responses_stream() -> None:
    opening = {"type": "response.created", "response": {"status": "in_progress", "usage": None}}
    call = {"type": "response.output_item.done", "item": {"type": "function_call"}}
    end = {"type": "response.completed", "response": RESPONSE}
    assert read("responses", opening, call).seen.is_done is False
    assert read("responses", opening, call, end).seen == Seen(USAGE, None, "tool_calls", 1, True, True, False)
    cut = RESPONSE | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert read("responses", {"type": "response.incomplete", "response": cut}).seen.finish_reason == "length"


WHOLE: dict[DialectName, dict[str, Any]] = {
    "chat-completions": {
        "choices": [{"message": {"tool_calls": [{"id": "a"}]}, "finish_reason": "tool_calls"}],
        "usage": CHAT_USAGE,
    },
    "responses": RESPONSE,
    "anthropic-messages": {
        "type": "message",
        "content": [{"type": "text"}, {"type": "tool_use"}],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 30,
            "cache_read_input_tokens": 60,
            "cache_creation_input_tokens": 10,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 5},
        },
    },
}


@pytest.mark.parametrize("dialect", WHOLE)
def test_whole_answers(dialect: DialectName) -> None:
    meter = meter_for(dialect, OTHER)
    meter.whole(json.dumps(WHOLE[dialect]).encode())
    assert replace(meter.seen, has_end=True) == Seen(USAGE, None, "tool_calls", 1, True, True, False)


def test_embeddings_have_no_choices() -> None:
    meter = meter_for("embeddings", OTHER)
    meter.whole(b'{"data":[],"usage":{"prompt_tokens":7}}')
    assert meter.seen.usage == Usage(input_tokens=7)


ERRORS: list[tuple[DialectName, Any]] = [
    ("chat-completions", {"error": {"code": 429, "message": "slow"}, "choices": []}),
    ("chat-completions", b'event: error\ndata: {"error":{"code":429,"message":"slow"}}\n\n'),
    ("responses", {"type": "error", "code": "rate_limit_exceeded", "message": "slow"}),
    ("responses", {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}),
    ("anthropic-messages", {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}),
]


@pytest.mark.parametrize(("dialect", "event"), ERRORS)
def test_errors_inside_a_stream(dialect: DialectName, event: Any) -> None:
    with pytest.raises(ProviderReported) as caught:
        read(dialect, event)
    assert caught.value.status == 429


@pytest.mark.parametrize("dialect", WHOLE)
def test_errors_inside_a_whole_answer(dialect: DialectName) -> None:
    meter = meter_for(dialect, OTHER)
    with pytest.raises(ProviderReported, match="slow"):
        meter.whole(b'{"type":"error","status":"failed","error":{"code":503,"message":"slow"}}')


@pytest.mark.parametrize("dialect", WHOLE)
@pytest.mark.parametrize("data", [b"<html>", b"[1]", b'{"choices":', b"\xff"])
def test_what_is_no_answer(dialect: DialectName, data: bytes) -> None:
    with pytest.raises(BadAnswer):
        read(dialect, b"data: " + data + b"\n\n")
    with pytest.raises(BadAnswer):
        meter_for(dialect, OTHER).whole(data)


def test_a_field_of_a_strange_type_is_the_clients_to_judge() -> None:
    meter = read("chat-completions", chunk("stop"), {"choices": [], "usage": {"prompt_tokens": "many"}})
    assert meter.seen.usage is None
    assert meter.seen.has_end
