"""Requests that go on in their own dialect: what is changed, and what may not be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidRequest
from proxy.passed_request import MAX_TOKENS, passed_request, peeked_model
from proxy.providers import DialectName

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def body_of(fields: dict[str, Any], dialect: DialectName = "responses", model: str = "vendor/m") -> Any:
    request = passed_request(json.dumps(fields).encode(), dialect, [])
    return json.loads(request.body_for(model))


@given(fields=st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_only_the_model_changes(fields: dict[str, Any]) -> None:
    asked = fields | {"model": "mine"}
    assert body_of(asked) == asked | {"model": "vendor/m"}
    assert peeked_model(json.dumps(asked).encode()) == "mine"


def test_numbers_go_on_as_they_were_written() -> None:
    raw = b'{"model":"m","seed":123456789012345678901234567890,"x":1.00000000000000000001, "y": 1E400}'
    body = passed_request(raw, "responses", []).body_for("n")
    assert b"123456789012345678901234567890" in body
    assert b"1.00000000000000000001" in body
    assert b"1E400" in body


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"stream": True}, {"include_usage": True}),
        (
            {"stream": True, "stream_options": {"include_usage": False, "more": 1}},
            {"include_usage": True, "more": 1},
        ),
        ({"stream": True, "stream_options": None}, {"include_usage": True}),
        ({"stream": False}, None),
        ({}, None),
    ],
)
def test_a_chat_stream_is_asked_for_its_count(given: dict[str, Any], sent: Any) -> None:
    assert body_of({"model": "m", **given}, "chat-completions").get("stream_options") == sent
    assert body_of({"model": "m", **given}, "responses") == {"model": "vendor/m", **given}


def test_whether_the_client_asked_for_it() -> None:
    for options, wanted in (("", False), (',"stream_options":{"include_usage":true}', True)):
        raw = b'{"model":"m","stream":true%s}' % options.encode()
        assert passed_request(raw, "chat-completions", []).wants_usage is wanted


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 100_000, "max_output_tokens": 1}, 100_000),
        ({"max_tokens": 5, "n": 50}, 250),
        ({"max_tokens": 5, "n": "50"}, 250),
        ({"max_tokens": "100000", "n": 2}, 200_000),
        ({"max_tokens": 5, "best_of": 20, "n": 2}, 100),
        ({"max_tokens": 1e5}, 100_000),
        ({"max_tokens": 1e300}, MAX_TOKENS),
        ({"max_tokens": 10**2000}, MAX_TOKENS),
        ({"max_tokens": 10**14, "n": 10**14}, MAX_TOKENS),
        ({"max_tokens": -1}, None),
        ({"max_tokens": "NaN"}, None),
        ({"max_tokens": "Infinity"}, None),
        ({"max_tokens": "many"}, None),
        ({"max_tokens": [5]}, None),
        ({"max_tokens": None}, None),
    ],
)
def test_the_most_that_may_be_answered(fields: dict[str, Any], most: int | None) -> None:
    """Of several limits the provider goes by one, and the least must not hide it from a budget."""
    raw = json.dumps({"model": "m", **fields}).encode()
    assert passed_request(raw, "chat-completions", []).max_output_tokens == most


@pytest.mark.parametrize("number", ["1e5", "1E+5", "100000.0", "0.1e6", '"100000"', '" 1e5"', "100000"])
def test_every_way_to_write_a_number_of_tokens(number: str) -> None:
    """Budgets took 1e5 to be the 32,000 of a request that says nothing."""
    raw = b'{"model":"m","max_tokens":%s}' % number.encode()
    assert passed_request(raw, "chat-completions", []).max_output_tokens == 100_000


def test_a_number_that_would_fill_the_memory_is_not_written_out() -> None:
    raw = b'{"model":"m","max_tokens":1E999999999}'
    assert passed_request(raw, "chat-completions", []).max_output_tokens == MAX_TOKENS


@pytest.mark.parametrize(
    ("prompt", "most"),
    [("a", 5), (["a", "b", "c"], 15), ([1, 2, 3], 5), ([[1, 2], [3]], 10), ([], 5), (None, 5)],
)
def test_each_prompt_of_a_list_is_answered(prompt: Any, most: int) -> None:
    raw = json.dumps({"model": "m", "max_tokens": 5, "prompt": prompt}).encode()
    assert passed_request(raw, "completions", []).max_output_tokens == most
    assert passed_request(raw, "chat-completions", []).max_output_tokens == 5


def test_headers_by_name() -> None:
    headers = [
        (b"authorization", b"Bearer client"),
        (b"x-api-key", b"client"),
        (b"cookie", b"a=b"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"anthropic-version", b"2023-06-01"),
        (b"anthropic-beta", b"one"),
        (b"anthropic-beta", b"two"),
        (b"anthropic-beta", b"bad\x00"),
    ]
    raw = b'{"model":"m"}'
    assert passed_request(raw, "anthropic-messages", headers).headers == {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "one, two",
    }
    assert passed_request(raw, "chat-completions", headers).headers == {}


def test_what_it_may_cost() -> None:
    for fields, most in (
        ({"max_tokens": 5}, 5),
        ({"max_output_tokens": 7}, 7),
        ({"max_tokens": "x"}, None),
        ({}, None),
    ):
        raw = json.dumps({"model": "m", **fields}).encode()
        assert passed_request(raw, "chat-completions", []).max_output_tokens == most


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"model":1}', b'{"model":"m"', b'{"model":"\xff"}', b"[" * 100_000]
)
def test_what_is_no_request(raw: bytes) -> None:
    assert peeked_model(raw) is None
    with pytest.raises(InvalidRequest):
        passed_request(raw, "chat-completions", [])


def test_the_last_of_two_models_is_the_one_that_is_sent_and_looked_at() -> None:
    raw = b'{"model":"allowed","model":"other"}'
    assert peeked_model(raw) == passed_request(raw, "responses", []).model == "other"
    assert passed_request(raw, "responses", []).body_for("n") == b'{"model":"n"}'
