"""OpenAI Embeddings: inputs to an EmbeddingRequest, vectors to a response. Pure."""

from __future__ import annotations

import array
import base64
import sys
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.chat import EmbeddingRequest, Embeddings
from inference.errors import HotseatError, InvalidRequest
from proxy import strict_json
from proxy.answer import Served
from proxy.errors import openai_body
from proxy.openai_body import MAX_TOKEN_ID, Harmless

NAME = "embeddings"
MAX_INPUTS = 2048  # OpenAI's
MAX_DIMENSIONS = 2**20


class _Body(Harmless, forbid_unknown_fields=True, kw_only=True):
    model: str
    input: str | Annotated[list[str | int | list[int]], Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None


class EmbeddingCall(msgspec.Struct, frozen=True):
    """A decoded body. `dimensions`: what the client expects; other models' vectors are not cut to it."""

    request: EmbeddingRequest
    as_base64: bool
    dimensions: int | None


def decode_request(raw: bytes) -> EmbeddingCall:
    """Raises InvalidRequest naming the field."""
    body = strict_json.decode(raw, _Body)
    return EmbeddingCall(
        request=EmbeddingRequest(model=body.model, inputs=_inputs(body.input)),
        as_base64=body.encoding_format == "base64",
        dimensions=body.dimensions,
    )


def _inputs(given: str | list[str | int | list[int]]) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(given, str):
        return (_non_empty(given, "input"),)
    if any(isinstance(item, int) for item in given):
        return (_tokens(given, "input"),)
    if len(given) > MAX_INPUTS:
        raise InvalidRequest(
            f"input: expected at most {MAX_INPUTS} inputs, found {len(given)}: send several requests",
            param="input",
        )
    return tuple(
        _tokens(item, f"input[{i}]") if isinstance(item, list) else _non_empty(str(item), f"input[{i}]")
        for i, item in enumerate(given)
    )


def _non_empty(text: str, path: str) -> str:
    if not text:
        raise InvalidRequest(f"{path}: expected text, found an empty string", param=path)
    return text


def _tokens(ids: list[Any], path: str) -> tuple[int, ...]:
    tokens = tuple(token for token in ids if isinstance(token, int) and 0 <= token < MAX_TOKEN_ID)
    if not tokens or len(tokens) != len(ids):
        raise InvalidRequest(f"{path}: expected token ids from 0 to {MAX_TOKEN_ID - 1}", param=path)
    return tokens


# --- encode ------------------------------------------------------------------------------------

_json = msgspec.json.Encoder()


def encode_error(error: HotseatError, request_id: str) -> bytes:
    return openai_body(error, request_id)


def encode_response(call: EmbeddingCall, answer: Embeddings, served: Served) -> bytes:
    """Raises InvalidRequest if the vectors are not as long as the client said they must be."""
    if call.dimensions is not None and call.dimensions != answer.dimensions:
        raise InvalidRequest(
            f"dimensions: this model's vectors have {answer.dimensions}, not {call.dimensions}:"
            " leave the field out",
            param="dimensions",
        )
    encode = _base64 if call.as_base64 else _floats
    return _json.encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": encode(vector)}
                for i, vector in enumerate(answer.vectors)
            ],
            "model": served.model,
            "usage": {
                "prompt_tokens": answer.usage.input_tokens,
                "total_tokens": answer.usage.input_tokens,
            },
        }
    )


def _base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def _floats(vector: bytes) -> list[float]:
    floats = array.array("f")
    floats.frombytes(vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tolist()
