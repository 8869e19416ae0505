"""The Embeddings dialect by itself."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from inference.chat import Embeddings, Usage
from inference.errors import InvalidRequest
from proxy.answer import Served
from proxy.dialects.embeddings import decode_request, encode_response

SERVED = Served("42", "embedder", 0)
VECTORS = Embeddings(
    vectors=(struct.pack("<2f", 0.6, 0.8), struct.pack("<2f", 1.0, 0.0)),
    dimensions=2,
    usage=Usage(input_tokens=7),
)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "x"} | fields).encode()


@pytest.mark.parametrize(
    ("given", "decoded"),
    [
        ("x", ("x",)),
        (["x", "y"], ("x", "y")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
        (["x", [1]], ("x", (1,))),
        (["x"] * 2048, ("x",) * 2048),
    ],
)
def test_inputs(given: Any, decoded: Any) -> None:
    assert decode_request(body(input=given)).request.inputs == decoded


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x", ""]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [[1], [-1]]}, "input[1]"),
        ({"input": [1, "x"]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": None}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"pooling": "mean"}, "pooling"),
    ],
)
def test_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body(**fields))
    assert caught.value.param == param


def test_floats() -> None:
    answer = json.loads(encode_response(decode_request(body(user="me")), VECTORS, SERVED))
    assert answer["object"] == "list"
    assert answer["model"] == "embedder"
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert answer["data"][0]["embedding"] == pytest.approx([0.6, 0.8], abs=1e-7)
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}


def test_base64_holds_the_same_bytes() -> None:
    answer = json.loads(encode_response(decode_request(body(encoding_format="base64")), VECTORS, SERVED))
    assert [base64.b64decode(item["embedding"]) for item in answer["data"]] == list(VECTORS.vectors)


def test_other_dimensions_are_refused_not_cut() -> None:
    json.loads(encode_response(decode_request(body(dimensions=2)), VECTORS, SERVED))
    with pytest.raises(InvalidRequest, match="have 2, not 1"):
        encode_response(decode_request(body(dimensions=1)), VECTORS, SERVED)
