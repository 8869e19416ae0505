"""OpenAI Responses: bodies to ChatRequests, ChatEvents to items and stream events. Pure.

Which fields are taken, harmless or refused: responses_body.py. Input items to messages:
responses_input.py. Kinds of tools: responses_tools.py. Answers to items: responses_output.py.

Nothing is stored: `store` is answered as false whatever was asked, and a client sends its whole
conversation each time. Reasoning goes out as the summary that was asked for, which here is all of it, or
as `reasoning_text`; with include "reasoning.encrypted_content" it also goes out in a form that gives it
back to the model when the client returns it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    JsonFormat,
    Message,
    Reasoning,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from inference.errors import HotseatError
from proxy import strict_json
from proxy.answer import Answer, Served, Waits
from proxy.errors import DEFAULT_RETRY_AFTER_S, MAY_RETRY_LATER, openai_body, openai_error
from proxy.openai_body import refuse_unsupported, sampling_of, stops_of, timings_object
from proxy.responses_body import (
    UNSUPPORTED,
    JsonObjectFormat,
    JsonSchemaFormat,
    ReasoningConfig,
    ResponsesBody,
    TextConfig,
)
from proxy.responses_calls import WireEvent
from proxy.responses_input import read_input
from proxy.responses_output import ReasoningShape, ResponseOutput
from proxy.responses_tools import Choice, ToolBook, choose, is_left_out, tool_book

NAME = "responses"

_json = msgspec.json.Encoder()


# --- decode ------------------------------------------------------------------------------------


class ResponsesCall(msgspec.Struct, frozen=True):
    """A decoded body: what is asked of the model, and how the answer should look.

    `echo`: the fields of the body that every response object repeats.
    """

    request: ChatRequest
    stream: bool
    tools: ToolBook
    reasoning: ReasoningShape
    echo: dict[str, Any]


def decode_request(raw: bytes) -> ResponsesCall:
    """Raises InvalidRequest naming the field."""
    body = strict_json.decode(raw, ResponsesBody)
    refuse_unsupported(body, UNSUPPORTED)
    conversation = read_input(body.input)
    offered = [(f"tools[{i}]", tool) for i, tool in enumerate(body.tools or [])]
    tools = tool_book([*offered, *conversation.tools])
    choice = choose(body.tool_choice, tools)
    instructions = [Message(role="system", content=body.instructions)] if body.instructions else []
    return ResponsesCall(
        request=_request(body, (*instructions, *conversation.messages), choice),
        stream=bool(body.stream),
        tools=tools,
        reasoning=_reasoning_shape(body),
        echo=_echo(body),
    )


def _request(body: ResponsesBody, messages: tuple[Message, ...], choice: Choice) -> ChatRequest:
    return ChatRequest(
        model=body.model,
        messages=messages,
        tools=choice.tools,
        tool_choice=choice.tool_choice,
        forced_tool=choice.forced_tool,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        json_format=_json_format(body.text),
        sampling=sampling_of(body, _logprobs(body)),
        max_tokens=body.max_output_tokens,
        stop=stops_of(body),
        ignore_eos=bool(body.ignore_eos),
        reasoning=_reasoning(body.reasoning),
    )


def _json_format(text: TextConfig | None) -> JsonFormat | None:
    match text.format if text else None:
        case JsonObjectFormat():
            return JsonFormat()
        case JsonSchemaFormat() as named:
            return JsonFormat(schema=named.schema, strict=bool(named.strict), name=named.name)
        case _:
            return None


def _logprobs(body: ResponsesBody) -> int | None:
    if body.top_logprobs is None and "message.output_text.logprobs" not in (body.include or []):
        return None
    return body.top_logprobs or 0


def _reasoning(wanted: ReasoningConfig | None) -> Reasoning | None:
    if wanted is None or wanted.effort is None:
        return None
    return Reasoning(effort="xhigh" if wanted.effort == "max" else wanted.effort)


def _reasoning_shape(body: ResponsesBody) -> ReasoningShape:
    return ReasoningShape(
        as_summary=_summary(body) not in (None, "none"),
        sealed="reasoning.encrypted_content" in (body.include or []),
    )


def _summary(body: ResponsesBody) -> str | None:
    return (body.reasoning.summary or body.reasoning.generate_summary) if body.reasoning else None


def _echo(body: ResponsesBody) -> dict[str, Any]:
    """As the API does it, with what was really done: tools that were left out are not listed."""
    tools = [tool for tool in body.tools or [] if not is_left_out(str(tool.get("type")))]
    text: dict[str, Any] = msgspec.to_builtins(body.text) if body.text else {}
    return {
        "background": False,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata if isinstance(body.metadata, dict) else {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": _summary(body)},
        "store": False,
        "temperature": body.temperature,
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "tool_choice": body.tool_choice or "auto",
        "tools": tools,
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": "disabled",
    }


# --- encode ------------------------------------------------------------------------------------


def encode_error(error: HotseatError, request_id: str) -> bytes:
    return openai_body(error, request_id)


def encode_response(
    call: ResponsesCall, answer: Answer, finish: Finish, served: Served, waits: Waits
) -> bytes:
    output = _output(call, served)
    for event in _joined(answer.events):
        output.add(event)
    return _json.encode(_ended(_Envelope(call, served), output, finish, waits))


def _output(call: ResponsesCall, served: Served) -> ResponseOutput:
    return ResponseOutput(served.request_id, call.tools, call.reasoning)


class _Envelope:
    """What is the same in every response object of one answer, encoded once: harnesses send 40 KB of
    tools, and keep-alives repeat them."""

    def __init__(self, call: ResponsesCall, served: Served) -> None:
        self._head: dict[str, Any] = {
            "id": f"resp_{served.request_id}",
            "object": "response",
            "created_at": served.created_s,
            "model": served.model,
        }
        self._echo = {key: msgspec.Raw(_json.encode(value)) for key, value in call.echo.items()}

    def response(self, status: str, output: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        return {
            **self._head,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": output,
            "usage": None,
            **self._echo,
            **fields,
        }


def _ended(envelope: _Envelope, output: ResponseOutput, finish: Finish, waits: Waits) -> dict[str, Any]:
    cut = finish.reason == "length"
    return envelope.response(
        "incomplete" if cut else "completed",
        output.items,
        incomplete_details={"reason": "max_output_tokens"} if cut else None,
        usage=_usage(finish.usage),
        timings=timings_object(finish, waits),
    )


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


_OPENING: Final = ("response.created", "response.in_progress")


def failed_event(error: HotseatError, request_id: str) -> dict[str, Any]:
    """The last event of a stream that somebody else began: nothing is known of its response."""
    response = {
        "id": f"resp_{request_id}",
        "object": "response",
        "status": "failed",
        "error": _stream_error(error, request_id),
        "output": [],
    }
    return {"type": "response.failed", "response": response}


class StreamEncoder:
    """ChatEvents in, the bytes of stream events out. One per response.

    The opening has the first numbers of the sequence whenever it is asked for: the endpoint may encode
    the first events before it.
    """

    def __init__(self, call: ResponsesCall, served: Served) -> None:
        self._envelope = _Envelope(call, served)
        self._output = _output(call, served)
        self._number = len(_OPENING)

    def begin(self) -> bytes:
        response = self._envelope.response("in_progress", [])
        return b"".join(
            _frame({"type": kind, "response": response}, number) for number, kind in enumerate(_OPENING)
        )

    def count_prompt(self, n_tokens: int, n_cached: int) -> None:
        """Told with the rest, in the end."""

    def keep_alive(self) -> bytes:
        """Codex counts comments as silence."""
        response = self._envelope.response("in_progress", [])
        return self._write([{"type": "response.in_progress", "response": response}])

    def encode(self, events: Iterable[ChatEvent], waits: Waits) -> bytes:
        """Neighbouring deltas of one thing become one."""
        told: list[WireEvent] = []
        for event in _joined(events):
            told += self._output.add(event)
            if isinstance(event, Finish):
                response = _ended(self._envelope, self._output, event, waits)
                told.append({"type": f"response.{response['status']}", "response": response})
        return self._write(told)

    def error(self, error: HotseatError, request_id: str) -> bytes:
        """The last event of an answer that failed. Only what was done before stands in it."""
        failed = self._envelope.response(
            "failed", self._output.done_items, error=_stream_error(error, request_id)
        )
        return self._write([{"type": "response.failed", "response": failed}])

    def _write(self, events: list[WireEvent]) -> bytes:
        frames: list[bytes] = []
        for event in events:
            frames.append(_frame(event, self._number))
            self._number += 1
        return b"".join(frames)


def _frame(event: WireEvent, number: int) -> bytes:
    kind = event["type"].encode()
    return b"event: %s\ndata: %s\n\n" % (kind, _json.encode({**event, "sequence_number": number}))


def _joined(events: Iterable[ChatEvent]) -> Iterable[ChatEvent]:
    """Neighbouring deltas of one thing as one: each costs an event, and a whole answer has thousands."""
    for _, group in itertools.groupby(events, type):
        deltas = list(group)
        if len(deltas) == 1:
            yield deltas[0]
        elif isinstance(deltas[0], TextDelta):
            yield _text([delta for delta in deltas if isinstance(delta, TextDelta)])
        elif isinstance(deltas[0], ReasoningDelta):
            yield from _thoughts([delta for delta in deltas if isinstance(delta, ReasoningDelta)])
        else:
            yield from _calls([delta for delta in deltas if isinstance(delta, ToolCallDelta)])


def _text(deltas: Sequence[TextDelta]) -> TextDelta:
    return TextDelta(
        text="".join([delta.text for delta in deltas]),
        logprobs=tuple([token for delta in deltas for token in delta.logprobs]),
    )


def _thoughts(deltas: Sequence[ReasoningDelta]) -> Iterable[ReasoningDelta]:
    """A signature ends one."""
    begun = 0
    for place, delta in enumerate(deltas, start=1):
        if delta.signature or place == len(deltas):
            text = "".join([delta.text for delta in deltas[begun:place]])
            yield ReasoningDelta(text=text, signature=delta.signature)
            begun = place


def _calls(deltas: Sequence[ToolCallDelta]) -> Iterable[ToolCallDelta]:
    """An id or a name begins one; so does another index."""
    begun = 0
    for place, delta in enumerate(deltas):
        if place and (delta.id or delta.name or delta.index != deltas[begun].index):
            yield _call(deltas[begun:place])
            begun = place
    yield _call(deltas[begun:])


def _call(deltas: Sequence[ToolCallDelta]) -> ToolCallDelta:
    arguments = "".join([delta.arguments for delta in deltas])
    return msgspec.structs.replace(deltas[0], arguments=arguments)


# --- errors in a stream ------------------------------------------------------------------------

_CODES: Final = {"context_length_exceeded": "context_length_exceeded", "invalid_request": "invalid_prompt"}


def _stream_error(error: HotseatError, request_id: str) -> dict[str, Any]:
    """Codex gives up on the codes above and repeats the request after any other; after
    `rate_limit_exceeded` it waits as long as the message says. `server_is_overloaded` would be the nearer
    word for a full queue, and Codex gives up on it."""
    details = openai_error(error, request_id)
    if error.code not in MAY_RETRY_LATER:
        return {**details, "code": _CODES.get(error.code, "server_error")}
    seconds = DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
    message = f"{error.message.rstrip('.')}. Please try again in {max(1, math.ceil(seconds))}s."
    return {**details, "code": "rate_limit_exceeded", "message": message}
