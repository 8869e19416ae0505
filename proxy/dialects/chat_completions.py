"""OpenAI Chat Completions: bodies to ChatRequests, ChatEvents to chunks and responses. Pure.

Which fields are taken, harmless or refused: chat_body.py and openai_body.py. `reasoning_content`
carries reasoning in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import msgspec

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    ImagePart,
    JsonFormat,
    Message,
    Part,
    Reasoning,
    ReasoningDelta,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from inference.errors import HotseatError, InvalidRequest
from proxy import sse, strict_json
from proxy.answer import Answer, Served, Waits
from proxy.chat_body import (
    UNSUPPORTED,
    AssistantMessage,
    CallBody,
    ChatBody,
    ContentPart,
    DeveloperMessage,
    ImageContent,
    JsonObjectFormat,
    JsonSchemaFormat,
    MessageBody,
    NamedTool,
    RefusalContent,
    ResponseFormat,
    SystemMessage,
    TextContent,
    ToolBody,
    ToolMessage,
    UserMessage,
)
from proxy.errors import openai_body, openai_error
from proxy.openai_body import (
    includes_usage,
    logprob_object,
    refuse_unsupported,
    sampling_of,
    stops_of,
    timings_object,
    usage_object,
)

NAME = "chat-completions"

MAX_LISTED_TOOLS = 20


# --- decode ------------------------------------------------------------------------------------


class ChatCall(msgspec.Struct, frozen=True):
    """A decoded body: what is asked of the model, and how the answer should look."""

    request: ChatRequest
    stream: bool
    include_usage: bool


def decode_request(raw: bytes) -> ChatCall:
    """Raises InvalidRequest naming the field."""
    body = strict_json.decode(raw, ChatBody)
    refuse_unsupported(body, UNSUPPORTED)
    tools = () if body.tool_choice == "none" else _tools(body.tools or [])
    forced = _forced_tool(body, tools)
    return ChatCall(
        request=ChatRequest(
            model=body.model,
            messages=tuple(_message(m, f"messages[{i}]") for i, m in enumerate(body.messages)),
            tools=tools,
            tool_choice="required" if forced or body.tool_choice == "required" else "auto",
            forced_tool=forced,
            parallel_tool_calls=body.parallel_tool_calls is not False,
            json_format=_json_format(body.response_format),
            sampling=sampling_of(body, _logprobs(body)),
            max_tokens=_max_tokens(body),
            stop=stops_of(body),
            ignore_eos=bool(body.ignore_eos),
            template_kwargs=dict(body.chat_template_kwargs or {}),
            reasoning=Reasoning(effort=body.reasoning_effort) if body.reasoning_effort else None,
        ),
        stream=bool(body.stream),
        include_usage=includes_usage(body),
    )


def _message(message: MessageBody, path: str) -> Message:
    match message:
        case UserMessage():
            return Message(role="user", content=_content(message.content, path), name=message.name or "")
        case AssistantMessage():
            return _assistant(message, path)
        case ToolMessage():
            return Message(
                role="tool",
                content=_content(message.content, path),
                tool_call_id=message.tool_call_id,
                name=message.name or "",
            )
        case SystemMessage():
            return Message(role="system", content=_content(message.content, path), name=message.name or "")
        case DeveloperMessage():
            return Message(role="developer", content=_content(message.content, path), name=message.name or "")
        case _:
            assert_never(message)


def _assistant(message: AssistantMessage, path: str) -> Message:
    if message.audio is not None:
        raise InvalidRequest(f"{path}.audio: audio is not supported", param=f"{path}.audio")
    if message.function_call is not None:
        raise InvalidRequest(
            f"{path}.function_call: replaced by 'tool_calls' in the API", param=f"{path}.function_call"
        )
    content = _content(message.content, path) if message.content else message.refusal or ""
    calls = tuple(_call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(message.tool_calls or []))
    return Message(
        role="assistant",
        content=content,
        reasoning=message.reasoning_content or message.reasoning or "",
        tool_calls=calls,
        name=message.name or "",
    )


def _call(call: CallBody, path: str) -> ToolCall:
    if call.type != "function":
        raise InvalidRequest(f"{path}.type: only 'function' is supported", param=f"{path}.type")
    return ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)


def _content(content: str | Iterable[ContentPart], path: str) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
    return tuple(_part(part, f"{path}.content[{i}]") for i, part in enumerate(content))


def _part(part: ContentPart, path: str) -> Part:
    match part:
        case TextContent():
            return TextPart(text=part.text)
        case RefusalContent():
            return TextPart(text=part.refusal)
        case ImageContent():
            return _image(part.image_url.url, f"{path}.image_url.url")
        case _:
            assert_never(part)


def _image(url: str, path: str) -> ImagePart:
    if not url.startswith(("data:image/", "https://", "http://")):
        raise InvalidRequest(f"{path}: expected a data:image/… or http(s) URL", param=path)
    return ImagePart(url=url)


def _tools(tools: list[ToolBody]) -> tuple[Tool, ...]:
    names: set[str] = set()
    for i, tool in enumerate(tools):
        if tool.function.name in names:
            path = f"tools[{i}].function.name"
            raise InvalidRequest(f"{path}: two tools are called {tool.function.name!r}", param=path)
        names.add(tool.function.name)
    return tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description or "",
            parameters=tool.function.parameters or {},
        )
        for tool in tools
    )


def _forced_tool(body: ChatBody, tools: tuple[Tool, ...]) -> str:
    """The tool that must be called, or "". Raises InvalidRequest if what must be called is not offered."""
    choice = body.tool_choice
    if choice is None or choice in ("none", "auto"):
        return ""
    if not tools:
        raise InvalidRequest("tool_choice: a call is required and no tools are offered", param="tool_choice")
    if not isinstance(choice, NamedTool):
        return ""
    name = choice.function.name
    if all(tool.name != name for tool in tools):
        offered = ", ".join(tool.name for tool in tools[:MAX_LISTED_TOOLS])
        raise InvalidRequest(
            f"tool_choice.function.name: {name!r} is not offered; offered: {offered}", param="tool_choice"
        )
    return name


def _json_format(wanted: ResponseFormat | None) -> JsonFormat | None:
    match wanted:
        case JsonObjectFormat():
            return JsonFormat(schema=wanted.schema)
        case JsonSchemaFormat():
            named = wanted.json_schema
            return JsonFormat(schema=named.schema or {}, strict=bool(named.strict), name=named.name)
        case _:
            return None


def _logprobs(body: ChatBody) -> int | None:
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise InvalidRequest("top_logprobs: needs logprobs: true", param="top_logprobs")
    return None


def _max_tokens(body: ChatBody) -> int | None:
    given = {limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None}
    if len(given) > 1:
        raise InvalidRequest(
            "max_completion_tokens: differs from max_tokens, its older name: send one of them",
            param="max_completion_tokens",
        )
    return given.pop() if given else None


# --- encode ------------------------------------------------------------------------------------

_json = msgspec.json.Encoder()


def encode_error(error: HotseatError, request_id: str) -> bytes:
    return openai_body(error, request_id)


def encode_response(call: ChatCall, answer: Answer, finish: Finish, served: Served, waits: Waits) -> bytes:
    calls = answer.tool_calls
    text = answer.text
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in calls
        ]
    return _json.encode(
        {
            "id": f"chatcmpl-{served.request_id}",
            "object": "chat.completion",
            "created": served.created_s,
            "model": served.model,
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": _logprobs_object(answer.logprobs),
                    "finish_reason": finish.reason,
                }
            ],
            "usage": usage_object(finish.usage),
            "timings": timings_object(finish, waits),
        }
    )


def _logprobs_object(logprobs: Iterable[TokenLogprob]) -> dict[str, Any] | None:
    content = [logprob_object(token) for token in logprobs]
    return {"content": content, "refusal": None} if content else None


class StreamEncoder:
    """ChatEvents in, the bytes of their chunks out. One per response.

    The envelope of a chunk is the same from first to last, so it is made once; a token then costs
    one JSON string. Neighbouring pieces of text become one chunk: a client that reads slowly gets
    fewer and larger ones.
    """

    def __init__(self, call: ChatCall, served: Served) -> None:
        self._include_usage = call.include_usage
        usage = b',"usage":null}' if call.include_usage else b"}"
        self._head = (
            b'data: {"id":"chatcmpl-%s","object":"chat.completion.chunk","created":%d,"model":%s,"choices":['
            % (served.request_id.encode(), served.created_s, _json.encode(served.model))
        )
        self._open = self._head + b'{"index":0,"delta":'
        self._close = b',"logprobs":null,"finish_reason":null}]' + usage + b"\n\n"
        self._text_open = self._open + b'{"content":'
        self._text_close = b"}" + self._close
        self._pending_role = b""

    def begin(self) -> bytes:
        """Nothing yet: clients take the first chunk, the role, for the model's first sign of life."""
        self._pending_role = self._open + b'{"role":"assistant","content":""}' + self._close
        return b""

    def count_prompt(self, n_tokens: int, n_cached: int) -> None:
        """Told with the rest, in the end."""

    def keep_alive(self) -> bytes:
        return sse.KEEP_ALIVE

    def encode(self, events: Iterable[ChatEvent], waits: Waits) -> bytes:
        """The chunks of `events`; after a Finish also the usage chunk, if asked for, and [DONE]."""
        chunks: list[bytes] = []
        if self._pending_role:
            chunks.append(self._pending_role)
            self._pending_role = b""
        text: list[str] = []
        for event in events:
            if isinstance(event, TextDelta) and not event.logprobs:
                text.append(event.text)
                continue
            if text:
                chunks.append(self._text("".join(text)))
                text.clear()
            chunks.append(self._chunk(event, waits))
        if text:
            chunks.append(self._text("".join(text)))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def error(self, error: HotseatError, request_id: str) -> bytes:
        """The last event of an answer that failed: no finish reason, no [DONE].

        An overflow is told in a stream only if the model had to be loaded first. opencode compacts then too,
        if the message is itself an error object; from a message of words it takes nothing and gives up.
        """
        details = openai_error(error, request_id)
        if error.code == "context_length_exceeded":
            words = {"code": error.code, "message": details["message"]}
            details["message"] = _json.encode({"type": "error", "error": words}).decode()
        return b"data: " + _json.encode({"error": details}) + b"\n\n"

    def _text(self, text: str) -> bytes:
        return self._text_open + _json.encode(text) + self._text_close

    def _chunk(self, event: ChatEvent, waits: Waits) -> bytes:
        match event:
            case TextDelta():
                logprobs = _json.encode(_logprobs_object(event.logprobs))
                close = self._close.replace(b'"logprobs":null', b'"logprobs":' + logprobs, 1)
                return self._text_open + _json.encode(event.text) + b"}" + close
            case ReasoningDelta(text=""):
                return b""  # a signature, for which this dialect has no field
            case ReasoningDelta():
                return self._open + _json.encode({"reasoning_content": event.text}) + self._close
            case ToolCallDelta():
                return self._open + _json.encode({"tool_calls": [_call_delta(event)]}) + self._close
            case Finish():
                return self._finish(event, waits)
            case _:
                assert_never(event)

    def _finish(self, finish: Finish, waits: Waits) -> bytes:
        """llama-server puts its timings into the last chunk, whichever that is."""
        reason = b'{},"logprobs":null,"finish_reason":"%s"}]' % finish.reason.encode()
        timings = b',"timings":' + _json.encode(timings_object(finish, waits)) + b"}\n\n"
        if not self._include_usage:
            return self._open + reason + timings + sse.DONE
        usage = b'],"usage":' + _json.encode(usage_object(finish.usage))
        return self._open + reason + b',"usage":null}\n\n' + self._head + usage + timings + sse.DONE


def _call_delta(delta: ToolCallDelta) -> dict[str, Any]:
    """OpenAI repeats id, type and name in no later delta of the call."""
    if not delta.id and not delta.name:
        return {"index": delta.index, "function": {"arguments": delta.arguments}}
    return {
        "index": delta.index,
        "id": delta.id,
        "type": "function",
        "function": {"name": delta.name, "arguments": delta.arguments},
    }
