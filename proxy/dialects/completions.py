"""OpenAI Completions (the older one): raw text or token ids to continue, without a chat template. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inference.chat import ChatEvent, CompletionRequest, Finish, ReasoningDelta, TextDelta, TokenLogprob
from inference.errors import HotseatError, InvalidRequest
from proxy import sse, strict_json
from proxy.answer import Answer, Served, Waits
from proxy.errors import openai_body
from proxy.openai_body import (
    MAX_LOGPROBS,
    MAX_TOKEN_ID,
    GenerationBody,
    includes_usage,
    refuse_unsupported,
    sampling_of,
    stops_of,
    timings_object,
    usage_object,
)

NAME = "completions"


class _Body(GenerationBody, forbid_unknown_fields=True, kw_only=True):
    prompt: str | list[str | int | list[int]]
    logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    echo: bool | None = None
    # Refused unless they ask for nothing.
    best_of: Any = None
    suffix: Any = None


_UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "one choice per request is supported: send n requests, they run in parallel"),
    "best_of": ((1,), "only 1 is supported"),
    "suffix": (("",), "inserting text is not supported"),
}


class CompletionCall(msgspec.Struct, frozen=True):
    """A decoded body: what is asked of the model, and how the answer should look."""

    request: CompletionRequest
    stream: bool
    include_usage: bool


def decode_request(raw: bytes) -> CompletionCall:
    """Raises InvalidRequest naming the field."""
    body = strict_json.decode(raw, _Body)
    refuse_unsupported(body, _UNSUPPORTED)
    return CompletionCall(
        request=CompletionRequest(
            model=body.model,
            prompt=_prompt(body.prompt),
            sampling=sampling_of(body, body.logprobs),
            max_tokens=body.max_tokens,
            stop=stops_of(body),
            ignore_eos=bool(body.ignore_eos),
            echo=bool(body.echo),
        ),
        stream=bool(body.stream),
        include_usage=includes_usage(body),
    )


def _prompt(prompt: str | list[str | int | list[int]]) -> str | tuple[int, ...]:
    """One prompt, in any of the four forms of the API: text, token ids, or a list with one of these."""
    if isinstance(prompt, str):
        return prompt
    if prompt and all(isinstance(item, int) for item in prompt):
        return _tokens(prompt)
    if len(prompt) != 1:
        raise InvalidRequest(
            f"prompt: expected one prompt, found {len(prompt)}: send one request for each", param="prompt"
        )
    [only] = prompt
    return only if isinstance(only, str) else _tokens(only if isinstance(only, list) else prompt)


def _tokens(ids: Sequence[object]) -> tuple[int, ...]:
    tokens = tuple(token for token in ids if isinstance(token, int) and 0 <= token < MAX_TOKEN_ID)
    if len(tokens) != len(ids):
        raise InvalidRequest(f"prompt: expected token ids from 0 to {MAX_TOKEN_ID - 1}", param="prompt")
    return tokens


# --- encode ------------------------------------------------------------------------------------

_json = msgspec.json.Encoder()


def encode_error(error: HotseatError, request_id: str) -> bytes:
    return openai_body(error, request_id)


def encode_response(
    call: CompletionCall, answer: Answer, finish: Finish, served: Served, waits: Waits
) -> bytes:
    return _json.encode(
        {
            "id": f"cmpl-{served.request_id}",
            "object": "text_completion",
            "created": served.created_s,
            "model": served.model,
            "choices": [
                {
                    "index": 0,
                    "text": answer.text,
                    "logprobs": _logprobs_object(answer.logprobs, 0),
                    "finish_reason": finish.reason,
                }
            ],
            "usage": usage_object(finish.usage),
            "timings": timings_object(finish, waits),
        }
    )


def _logprobs_object(logprobs: Sequence[TokenLogprob], text_offset: int) -> dict[str, Any] | None:
    """The older shape: four lists side by side."""
    if not logprobs:
        return None
    offsets: list[int] = []
    for token in logprobs:
        offsets.append(text_offset)
        text_offset += len(token.token)
    return {
        "tokens": [token.token for token in logprobs],
        "token_logprobs": [max(token.logprob, -9999.0) for token in logprobs],
        "top_logprobs": [{text: max(p, -9999.0) for text, _, p in token.top} for token in logprobs],
        "text_offset": offsets,
    }


class StreamEncoder:
    """ChatEvents in, the bytes of their chunks out. One per response; see chat_completions.StreamEncoder."""

    def __init__(self, call: CompletionCall, served: Served) -> None:
        self._include_usage = call.include_usage
        self._usage = b',"usage":null}\n\n' if call.include_usage else b"}\n\n"
        self._head = (
            b'data: {"id":"cmpl-%s","object":"text_completion","created":%d,"model":%s,"choices":['
            % (served.request_id.encode(), served.created_s, _json.encode(served.model))
        )
        self._offset = 0

    def begin(self) -> bytes:
        return b""

    def count_prompt(self, n_tokens: int, n_cached: int) -> None:
        """Told with the rest, in the end."""

    def keep_alive(self) -> bytes:
        return sse.KEEP_ALIVE

    def encode(self, events: Iterable[ChatEvent], waits: Waits) -> bytes:
        """The chunks of `events`; after a Finish also the usage chunk, if asked for, and [DONE]."""
        chunks: list[bytes] = []
        text: list[str] = []
        for event in events:
            if isinstance(event, TextDelta) and not event.logprobs:
                text.append(event.text)
                continue
            if text:
                chunks.append(self._text("".join(text), ()))
                text.clear()
            if isinstance(event, TextDelta):
                chunks.append(self._text(event.text, event.logprobs))
            elif isinstance(event, Finish):
                chunks.append(self._finish(event, waits))
            elif isinstance(event, ReasoningDelta):
                chunks.append(self._text(event.text, ()))
        if text:
            chunks.append(self._text("".join(text), ()))
        return b"".join(chunks)

    def error(self, error: HotseatError, request_id: str) -> bytes:
        """The last event of an answer that failed: no finish reason, no [DONE]."""
        return b"data: " + encode_error(error, request_id) + b"\n\n"

    def _text(self, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        shown = _json.encode(_logprobs_object(logprobs, self._offset))
        self._offset += sum(len(token.token) for token in logprobs)
        return (
            self._head
            + b'{"index":0,"text":%s,"logprobs":%s,"finish_reason":null}]' % (_json.encode(text), shown)
            + self._usage
        )

    def _finish(self, finish: Finish, waits: Waits) -> bytes:
        reason = b'{"index":0,"text":"","logprobs":null,"finish_reason":"%s"}]' % finish.reason.encode()
        timings = b',"timings":' + _json.encode(timings_object(finish, waits)) + b"}\n\n"
        if not self._include_usage:
            return self._head + reason + timings + sse.DONE
        usage = b'],"usage":' + _json.encode(usage_object(finish.usage))
        return self._head + reason + self._usage + self._head + usage + timings + sse.DONE
