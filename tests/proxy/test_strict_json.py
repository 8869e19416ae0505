"""Bodies: what is not plain, bounded JSON of the declared shape is an InvalidRequest, and nothing else."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidRequest
from proxy.strict_json import MAX_DEPTH, MAX_VALUES, decode, loads


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0


class Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: list[Inner] = []
    free: Any = None


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(raw, Body)
    return caught.value


def test_plain_body() -> None:
    raw = b'{"name": "x", "inner": [{"size": 3}], "free": {"a": [1, 2.5, null, true, "\\u00e9"]}}'
    assert decode(raw, Body) == Body("x", [Inner(3)], {"a": [1, 2.5, None, True, "é"]})


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"", "not valid JSON", id="empty"),
        pytest.param(b'{"name"', "not valid JSON", id="cut"),
        pytest.param(b'{"name":"x"} {}', "not valid JSON", id="two values"),
        pytest.param(b'{"name":"x"}\0', "not valid JSON", id="NUL after the end"),
        pytest.param(b'\xef\xbb\xbf{"name":"x"}', "not valid JSON", id="byte order mark"),
        pytest.param('{"name":"x"}'.encode("utf-16"), "not valid JSON", id="UTF-16"),
        pytest.param(b'{"name":"\xff"}', "not valid JSON", id="invalid UTF-8"),
        pytest.param(b'{"name":"\xed\xa0\x80"}', "not valid JSON", id="surrogate in UTF-8"),
        pytest.param(b'{"name":"\\ud800"}', "not valid JSON", id="lone surrogate"),
        pytest.param(b'{"name":"\\udc00\\ud800"}', "not valid JSON", id="surrogates the wrong way round"),
        pytest.param(b'{"\\ud800":1}', "not valid JSON", id="lone surrogate in a key"),
        pytest.param(b'{"name":"x","free":NaN}', "not valid JSON", id="NaN"),
        pytest.param(b'{"name":"x","free":-Infinity}', "not valid JSON", id="Infinity"),
        pytest.param(b'{"name":"x","free":1e400}', "not valid JSON", id="float beyond range"),
        pytest.param(b'{"name":"x","free":1%s}' % (b"0" * 400), "64 bits", id="10^400"),
        pytest.param(b'{"name":"x","free":1%s}' % (b"0" * 10**6), "not valid JSON", id="10^1000000"),
        pytest.param(b'{"name":"x","free":[18446744073709551616]}', "64 bits", id="2^64"),
        pytest.param(b'{"name":"x","free":[-9223372036854775809]}', "64 bits", id="below 64 bits"),
        pytest.param(b"[" * 100_000, "nested", id="100k nesting, unclosed"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, "nested", id="100k nesting"),
        pytest.param(b"[1]", "JSON object", id="a list"),
        pytest.param(b"null", "JSON object", id="null"),
        pytest.param(b'{"name":"x","free":[%s0]}' % (b"0," * MAX_VALUES), "values", id="too many values"),
    ],
)
def test_hostile_json(raw: bytes, words: str) -> None:
    error = refusal(raw)
    assert words in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("raw", "param", "words"),
    [
        (b"{}", "name", "required"),
        (b'{"name":1}', "name", "Expected `str`, got `int`"),
        (b'{"name":"x","nmae":1}', "nmae", "unknown field"),
        (b'{"name":"x","inner":[{"size":1},{"size":10}]}', "inner[1].size", "<= 9"),
        (b'{"name":"x","inner":[{"sise":1}]}', "inner[0].sise", "unknown field"),
        (b'{"name":"x","inner":[{"size":true}]}', "inner[0].size", "got `bool`"),
        (b'{"name":"x","inner":[{"size":1.0}]}', "inner[0].size", "got `float`"),
    ],
)
def test_the_field_is_named(raw: bytes, param: str, words: str) -> None:
    error = refusal(raw)
    assert (error.param, words in error.message) == (param, True), error.message
    assert error.message.startswith(param)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name":"x","name":"y"}',
        b'{"name":"x","free":{"k":[{"a":1,"b":2,"a":3}]}}',
        b'{ "name":"x", "free":{"\\u0061":1,"a":1} }',
    ],
)
def test_duplicate_keys(raw: bytes) -> None:
    error = refusal(raw)
    assert "twice" in error.message
    assert error.param in ("name", "a")


def test_depth_at_the_limit() -> None:
    deepest = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    decode(b'{"name":"x","free":%s}' % deepest, Body)
    assert "nested" in refusal(b'{"name":"x","free":[%s]}' % deepest).message


def test_unknown_field_with_a_long_name_is_not_repeated_in_full() -> None:
    error = refusal(b'{"name":"x","%s":1}' % (b"k" * 10_000))
    assert len(error.message) < 600
    assert len(error.param or "") <= 200


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values, st.booleans(), st.booleans())
def test_what_others_write_is_read(value: Any, compact: bool, ascii_only: bool) -> None:
    separators = (",", ":") if compact else None
    raw = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode()
    assert loads(raw) == value


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 9), min_size=1),
    st.data(),
)
def test_a_repeated_key_never_passes(value: dict[str, int], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    raw = compact[:-1] + f",{json.dumps(key, ensure_ascii=data.draw(st.booleans()))}:1}}"
    with pytest.raises(InvalidRequest, match="twice"):
        loads(raw.encode())
