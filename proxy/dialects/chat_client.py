"""The client's half of OpenAI's dialects: requests to bodies, answers to ChatEvents. Pure.

For whatever speaks Chat Completions, Completions and Embeddings: a server that a worker has started,
or a provider. Only what a request says is sent, by name, so nothing that a client wrote passes
through unseen. Generations are always streamed, whichever way our own client is answered.
"""

from __future__ import annotations

import array
import math
import sys
from typing import Any, assert_never

import msgspec

from inference.chat import (
    ChatEvent,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Finish,
    FinishReason,
    GenerateRequest,
    JsonFormat,
    Message,
    Part,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TextPart,
    ToolCallDelta,
)
from proxy.event_feed import EventFeed
from proxy.openai_chunks import (
    UNREADABLE,
    CallDelta,
    Choice,
    Delta,
    FunctionDelta,
    TimingsBody,
    UsageBody,
    chunk_of,
    embeddings_of,
    error_inside,
    logprobs_of,
    reported,
    timings_of,
    usage_of,
)
from proxy.sse_reader import MAX_EVENT_BYTES, SseEvent
from proxy.upstream_errors import BadAnswer, Reported, UpstreamError

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
MAX_CALLS = 1024

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_json = msgspec.json.Encoder()


# --- requests ----------------------------------------------------------------------------------


def path_of(request: GenerateRequest) -> str:
    return CHAT_PATH if isinstance(request, ChatRequest) else COMPLETIONS_PATH


def encode_request(request: GenerateRequest, model: str) -> bytes:
    """The body that asks for `request` under the name that the other side knows."""
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    match request:
        case ChatRequest():
            body |= _chat_fields(request)
        case CompletionRequest():
            body |= _completion_fields(request)
        case _:
            assert_never(request)
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.stop:
        body["stop"] = request.stop
    if request.ignore_eos:
        body["ignore_eos"] = True
    return _json.encode(body)


def encode_embedding(request: EmbeddingRequest, model: str) -> bytes:
    return _json.encode({"model": model, "input": request.inputs, "encoding_format": "float"})


def _chat_fields(request: ChatRequest) -> dict[str, Any]:
    fields = {"messages": [_message(message) for message in request.messages], **_sampling(request.sampling)}
    if request.sampling.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": request.sampling.logprobs}
    if request.tools:
        fields |= _tool_fields(request)
    if request.json_format is not None:
        fields["response_format"] = _response_format(request.json_format)
    kwargs = dict(request.template_kwargs)
    if request.reasoning is not None:
        if request.reasoning.effort is not None:
            fields["reasoning_effort"] = request.reasoning.effort
        if request.reasoning.enabled is not None:
            kwargs.setdefault("enable_thinking", request.reasoning.enabled)
    if kwargs:
        fields["chat_template_kwargs"] = kwargs
    return fields


def _tool_fields(request: ChatRequest) -> dict[str, Any]:
    """One forced tool is the only one that is sent: llama-server takes no names in tool_choice."""
    tools = [tool for tool in request.tools if request.forced_tool in ("", tool.name)]
    fields: dict[str, Any] = {
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in tools
        ]
    }
    if request.tool_choice != "auto":
        fields["tool_choice"] = request.tool_choice
    if not request.parallel_tool_calls:
        fields["parallel_tool_calls"] = False
    return fields


def _response_format(wanted: JsonFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    described = {"name": wanted.name or "answer", "schema": wanted.schema, "strict": wanted.strict}
    return {"type": "json_schema", "json_schema": described}


def _message(message: Message) -> dict[str, Any]:
    """OpenAI's servers alone tell `developer` from `system`; templates of open models know the latter."""
    body: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role}
    body["content"] = message.content if isinstance(message.content, str) else _parts(message.content)
    if message.reasoning:
        body["reasoning_content"] = message.reasoning
    if message.tool_calls:
        body["content"] = body["content"] or None
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.role == "tool":
        body["tool_call_id"] = message.tool_call_id
    if message.name:
        body["name"] = message.name
    return body


def _parts(parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": part.url}}
        for part in parts
    ]


def _completion_fields(request: CompletionRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {"prompt": request.prompt, **_sampling(request.sampling)}
    if request.sampling.logprobs is not None:
        fields["logprobs"] = request.sampling.logprobs
    if request.echo:
        fields["echo"] = True
    return fields


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """Names are OpenAI's, and llama-server's for what OpenAI does not have. Silence stays silence."""
    fields = msgspec.structs.asdict(sampling)
    for other in ("logit_bias", "logprobs"):  # these have a form of their own
        del fields[other]
    given = {name: value for name, value in fields.items() if value is not None}
    if sampling.logit_bias:
        given["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return given


# --- streamed answers --------------------------------------------------------------------------


class StreamDecoder:
    """The bytes of one streamed answer in, ChatEvents out: `feed` each piece, then `end`.

    The last event is Finish, once. Raises Reported for an error that the stream tells of, and BadAnswer
    for what is no answer; a stream that ends before its finish_reason is one of these. What came in the
    same piece before an error is handed over first: look at `error` after each piece. What comes after
    [DONE] is not looked at.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._feed = EventFeed(self._event, lambda: [self._finish()], max_event_bytes)
        self._reason: FinishReason | None = None
        self._usage: UsageBody | None = None
        self._timings: TimingsBody | None = None
        self._call_index = -1

    @property
    def is_done(self) -> bool:
        return self._feed.is_done

    @property
    def error(self) -> UpstreamError | None:
        return self._feed.error

    @property
    def has_finish_reason(self) -> bool:
        """Nothing is missing any more but the count of tokens."""
        return self._reason is not None

    def feed(self, data: bytes) -> list[ChatEvent]:
        return self._feed.feed(data)

    def end(self) -> list[ChatEvent]:
        """The stream is over. Nothing new if [DONE] was seen."""
        return self._feed.end()

    def _event(self, event: SseEvent) -> list[ChatEvent]:
        data = event.data.strip()
        if data == b"[DONE]":
            return [self._finish()]
        return self._chunk(event) if data else []

    def _finish(self) -> Finish:
        if self._reason is None:
            raise BadAnswer("the answer ended without a finish_reason")
        return Finish(
            reason=self._reason,
            usage=usage_of(self._usage, self._timings),
            timings=timings_of(self._timings),
        )

    def _chunk(self, event: SseEvent) -> list[ChatEvent]:
        if event.name == "error":
            raise _error_event(event.data)
        chunk = chunk_of(event.data)
        if chunk.error is not None or chunk.object == "error":
            raise reported(chunk.error if chunk.error is not None else {"message": chunk.message})
        self._usage = chunk.usage or self._usage  # the last one counts: some send it twice, or grow it
        self._timings = chunk.timings or self._timings
        return [event for choice in chunk.choices or () for event in self._choice(choice)]

    def _choice(self, choice: Choice) -> list[ChatEvent]:
        if choice.index != 0:
            raise BadAnswer(f"one choice was asked for, and number {choice.index} came")
        delta = choice.delta or Delta(content=choice.text)
        events: list[ChatEvent] = []
        if reasoning := delta.reasoning_content or delta.reasoning:
            events.append(ReasoningDelta(text=reasoning))
        logprobs = logprobs_of(choice.logprobs)
        if delta.content or logprobs:
            events.append(TextDelta(text=delta.content or "", logprobs=logprobs))
        events += [self._call(call) for call in delta.tool_calls or ()]
        if choice.finish_reason is not None:
            self._reason = _finish_reason(choice.finish_reason)
        return events

    def _call(self, call: CallDelta) -> ToolCallDelta:
        """Without an index, an id begins the next call, and the rest belongs to the last one."""
        index = call.index
        if index is None:
            index = self._call_index + 1 if call.id or self._call_index < 0 else self._call_index
        if not 0 <= index < MAX_CALLS:
            raise BadAnswer(f"expected tool calls numbered 0 to {MAX_CALLS - 1}, found {index}")
        self._call_index = max(self._call_index, index)
        function = call.function or FunctionDelta()
        return ToolCallDelta(
            index=index, id=call.id or "", name=function.name or "", arguments=function.arguments or ""
        )


def _finish_reason(said: str) -> FinishReason:
    """Raises where the reason is none of a good end ("error", "abort", "content_filter")."""
    reason = _FINISH_REASONS.get(said)
    if reason is None:
        raise Reported(f"the answer was ended with finish_reason {said[:64]!r}")
    return reason


def _error_event(data: bytes) -> Reported:
    try:
        body: Any = msgspec.json.decode(data)
    except UNREADABLE:
        body = data.decode("utf-8", "replace")
    return reported(body.get("error", body) if isinstance(body, dict) else body)


# --- whole answers -----------------------------------------------------------------------------


def decode_embeddings(data: bytes, request: EmbeddingRequest) -> Embeddings:
    """Raises BadAnswer, and Reported for an error inside a good status."""
    if b'"error"' in data[:64] and (problem := error_inside(data)):
        raise problem
    body = embeddings_of(data)
    items = sorted(body.data, key=lambda item: item.index)
    if [item.index for item in items] != list(range(len(request.inputs))):
        raise BadAnswer(f"{len(request.inputs)} inputs were sent, and {len(items)} embeddings came back")
    lengths = {len(item.embedding) for item in items}
    if len(lengths) != 1 or 0 in lengths:
        raise BadAnswer("the embeddings are not all of one length")
    return Embeddings(
        vectors=tuple(_normalised(item.embedding) for item in items),
        dimensions=lengths.pop(),
        usage=usage_of(body.usage, None),
    )


def _normalised(vector: list[float]) -> bytes:
    length = math.sqrt(sum(value * value for value in vector))
    if not math.isfinite(length):
        raise BadAnswer("an embedding holds what is no number")
    floats = array.array("f", [value / length for value in vector] if length else vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tobytes()
