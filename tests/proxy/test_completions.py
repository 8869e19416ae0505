"""The older Completions dialect by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference.chat import CompletionRequest, Finish, Sampling, TextDelta, TokenLogprob, Usage
from inference.errors import InvalidRequest
from proxy.answer import Answer, Served, Waits
from proxy.dialects.completions import StreamEncoder, decode_request, encode_response

SERVED = Served("42", "smol", 1_700_000_000)
FINISH = Finish(reason="length", usage=Usage(input_tokens=2, output_tokens=3))


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "prompt": "once"} | fields).encode()


CALL = decode_request(body())


def test_parameters() -> None:
    call = decode_request(
        body(max_tokens=5, stop="\n", echo=True, logprobs=2, temperature=0, best_of=1, suffix="")
    )
    assert call.request == CompletionRequest(
        model="m",
        prompt="once",
        max_tokens=5,
        stop=("\n",),
        echo=True,
        sampling=Sampling(temperature=0, logprobs=2),
    )


@pytest.mark.parametrize(
    ("prompt", "decoded"),
    [("x", "x"), ("", ""), (["x"], "x"), ([1, 2], (1, 2)), ([[1, 2]], (1, 2)), ([7], (7,))],
)
def test_one_prompt_in_any_form(prompt: Any, decoded: Any) -> None:
    assert decode_request(body(prompt=prompt)).request.prompt == decoded


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [[]]}, None),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [2**30]}, "prompt"),
        ({"prompt": [[1, 2**30]]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": [1.5]}, "prompt[0]"),
        ({"best_of": 2}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 3}, "n"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_refused_by_name(fields: dict[str, Any], param: str | None) -> None:
    if param is None:
        assert decode_request(body(**fields)).request.prompt == ()
        return
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body(**fields))
    assert caught.value.param == param


def token(text: str) -> TokenLogprob:
    return TokenLogprob(token=text, bytes_=text.encode(), logprob=-1.0, top=((text, text.encode(), -1.0),))


def test_whole_answer() -> None:
    answer = Answer()
    answer.add(TextDelta(text="ab", logprobs=(token("a"), token("b"))))
    whole = json.loads(encode_response(CALL, answer, FINISH, SERVED, Waits()))
    assert (whole["id"], whole["object"], whole["model"]) == ("cmpl-42", "text_completion", "smol")
    assert whole["choices"] == [
        {
            "index": 0,
            "text": "ab",
            "finish_reason": "length",
            "logprobs": {
                "tokens": ["a", "b"],
                "token_logprobs": [-1.0, -1.0],
                "top_logprobs": [{"a": -1.0}, {"b": -1.0}],
                "text_offset": [0, 1],
            },
        }
    ]
    assert whole["usage"]["total_tokens"] == 5


def test_stream() -> None:
    call = decode_request(body(stream=True, stream_options={"include_usage": True}))
    encoder = StreamEncoder(call, SERVED)
    assert encoder.begin() == b""
    data = encoder.encode([TextDelta(text="a"), TextDelta(text="b")], Waits())
    data += encoder.encode(
        [TextDelta(text="cd", logprobs=(token("cd"),)), TextDelta(text="e"), FINISH], Waits()
    )
    *payloads, done = [
        part.removeprefix("data: ") for part in data.decode().removesuffix("\n\n").split("\n\n")
    ]
    chunks = [json.loads(payload) for payload in payloads]
    assert done == "[DONE]"
    assert [c["choices"][0]["text"] for c in chunks[:-1]] == ["ab", "cd", "e", ""]
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None, None, None, "length"]
    assert chunks[1]["choices"][0]["logprobs"]["tokens"] == ["cd"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 3)
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 4


def test_offsets_go_on_over_the_chunks_of_a_stream() -> None:
    encoder = StreamEncoder(decode_request(body(stream=True, logprobs=0)), SERVED)
    data = b"".join(
        encoder.encode([TextDelta(text=text, logprobs=(token(text),))], Waits()) for text in ("ab", "c", "d")
    )
    chunks = [
        json.loads(part.removeprefix("data: ")) for part in data.decode().removesuffix("\n\n").split("\n\n")
    ]
    assert [c["choices"][0]["logprobs"]["text_offset"] for c in chunks] == [[0], [2], [3]]
