"""The input of a Responses request, as messages. Pure.

An answer comes back as several items: reasoning, messages, calls. Here they become one assistant message
again, up to the item that somebody else wrote. What a model thought is read from our own
`encrypted_content` (see `seal`); where that is missing or of another server, from the texts beside it.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, assert_never

import msgspec

from inference.chat import ImagePart, Message, Part, TextPart, ToolCall
from inference.errors import InvalidRequest
from proxy import strict_json
from proxy.freeform import arguments_of
from proxy.responses_body import (
    AdditionalTools,
    AgentMessage,
    CallOutput,
    ContentPart,
    CustomToolCall,
    EncryptedText,
    FunctionCall,
    InputImage,
    InputText,
    LocalShellCall,
    LocalShellOutput,
    MessageItem,
    OutputText,
    ReasoningItem,
    Refusal,
    ToolSearchCall,
    ToolSearchOutput,
)
from proxy.responses_tools import TOOL_SEARCH, model_name, tool_book

_SEAL: Final = "hotseat-1."
_SIGNED: Final = "."
"""Between a thought and what its author signed it with (signatures.py)."""

_json = msgspec.json.Encoder()
_ItemT = TypeVar("_ItemT")

LOCAL_SHELL: Final = "local_shell"
"""What the calls of OpenAI's shell tool are called in a history; it is not offered here."""


@dataclass(slots=True)
class Conversation:
    """Messages so far, and the tools that the input brought along, with where they stand."""

    messages: list[Message] = field(default_factory=list)
    tools: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)


def read_input(items: str | Sequence[Mapping[str, Any]]) -> Conversation:
    """Raises InvalidRequest naming the item."""
    if isinstance(items, str):
        return Conversation([Message(role="user", content=items)])
    reader = _Reader()
    for i, item in enumerate(items):
        reader.read(item, f"input[{i}]")
    return reader.end()


# --- reasoning that travels with the client ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Thought:
    text: str
    signature: str = ""


def seal(reasoning: str, signature: str = "") -> str:
    """Reasoning as `encrypted_content`: opaque to clients, and no secret from anybody."""
    return _SEAL + _encoded(reasoning) + (_SIGNED + _encoded(signature) if signature else "")


def unseal(sealed: str, path: str) -> Thought | None:
    """None if another server made it. Raises InvalidRequest if it was ours and is broken."""
    if not sealed.startswith(_SEAL):
        return None
    text, mark, signature = sealed.removeprefix(_SEAL).partition(_SIGNED)
    try:
        return Thought(_decoded(text), _decoded(signature) if mark else "")
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{path}: damaged on its way: send it back as it was", param=path) from error


def _encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode("utf-8", "replace")).decode()


def _decoded(raw: str) -> str:
    """`urlsafe_b64decode` skips what it does not know; a thought must not change silently."""
    text = urlsafe_b64decode(raw)
    if urlsafe_b64encode(text).decode() != raw:
        raise ValueError("not canonical")
    return text.decode()


# --- items -------------------------------------------------------------------------------------


class _Reader:
    """Collects what one answer said until something else follows."""

    def __init__(self) -> None:
        self._conversation = Conversation()
        self._answer: Message | None = None

    def read(self, item: Mapping[str, Any], path: str) -> None:
        kind = item.get("type", "message" if "role" in item else None)
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            raise InvalidRequest(f"{path}.type: {_refusal(kind)}", param=f"{path}.type")
        handler(self, item, path)

    def end(self) -> Conversation:
        self._close()
        return self._conversation

    def message(self, item: MessageItem, path: str) -> None:
        content = _content(item.content, f"{path}.content")
        if item.role != "assistant":
            self._say(Message(role=item.role, content=content))
            return
        text = _joined(content)
        if text is None:
            where = f"{path}.content"
            raise InvalidRequest(f"{where}: an assistant message has no images", param=where)
        self._begin_unless(lambda answer: not answer.content)
        self._add(content=text)

    def reasoning(self, item: ReasoningItem, path: str) -> None:
        sealed = unseal(item.encrypted_content or "", f"{path}.encrypted_content") or Thought("")
        thought = sealed.text or "".join(part.text for part in item.content or [])
        if not thought:
            thought = "\n\n".join(part.text for part in item.summary or [])
        self._begin_unless(lambda answer: not answer.content)
        if thought or sealed.signature:
            self._add(reasoning=thought, signature=sealed.signature)

    def function_call(self, item: FunctionCall, path: str) -> None:
        self._call(item.call_id, model_name(item.name, item.namespace), item.arguments)

    def custom_tool_call(self, item: CustomToolCall, path: str) -> None:
        self._call(item.call_id, model_name(item.name, item.namespace), arguments_of(item.input))

    def tool_search_call(self, item: ToolSearchCall, path: str) -> None:
        self._call(item.call_id, TOOL_SEARCH, _json.encode(item.arguments or {}).decode())

    def local_shell_call(self, item: LocalShellCall, path: str) -> None:
        action = {key: value for key, value in item.action.items() if key != "type"}
        self._call(item.call_id, LOCAL_SHELL, _json.encode(action).decode())

    def call_output(self, item: CallOutput, path: str) -> None:
        self._result(item.call_id, _content(item.output, f"{path}.output"))

    def local_shell_output(self, item: LocalShellOutput, path: str) -> None:
        self._result(item.call_id or item.id or "", item.output)

    def tool_search_output(self, item: ToolSearchOutput, path: str) -> None:
        found = self._bring(item.tools, path)
        self._result(item.call_id, f"Found: {', '.join(found)}" if found else "No tool was found.")

    def additional_tools(self, item: AdditionalTools, path: str) -> None:
        self._bring(item.tools, path)

    def agent_message(self, item: AgentMessage, path: str) -> None:
        content = _content(item.content, f"{path}.content")
        text = _joined(content)  # a header and what it announces
        self._say(Message(role="user", content=content if text is None else text))

    def _bring(self, tools: Iterable[Mapping[str, Any]], path: str) -> list[str]:
        brought = [(f"{path}.tools[{i}]", tool) for i, tool in enumerate(tools)]
        self._conversation.tools += brought
        return list(tool_book(brought).tools)

    def _begin_unless(self, fits: Callable[[Message], bool]) -> None:
        """The answer so far ends, unless what comes fits into it. An answer with calls goes on until their
        results come: they belong to it whatever else it said."""
        if self._answer is not None and not self._answer.tool_calls and not fits(self._answer):
            self._close()

    def _call(self, call_id: str, name: str, arguments: str) -> None:
        self._add(call=ToolCall(id=call_id, name=name, arguments=arguments))

    def _add(
        self, *, content: str = "", reasoning: str = "", signature: str = "", call: ToolCall | None = None
    ) -> None:
        """A signature is of all the reasoning or of none: what is added to a thought is not covered by it."""
        answer = self._answer or Message(role="assistant")
        assert isinstance(answer.content, str)
        is_first = not answer.reasoning and not answer.reasoning_signature
        is_thought = bool(reasoning or signature)
        self._answer = Message(
            role="assistant",
            content=answer.content + content,
            reasoning=answer.reasoning + reasoning,
            reasoning_signature=(signature if is_first else "") if is_thought else answer.reasoning_signature,
            tool_calls=(*answer.tool_calls, call) if call else answer.tool_calls,
        )

    def _result(self, call_id: str, output: str | tuple[Part, ...]) -> None:
        self._say(Message(role="tool", content=output, tool_call_id=call_id))

    def _say(self, message: Message) -> None:
        self._close()
        self._conversation.messages.append(message)

    def _close(self) -> None:
        if self._answer is not None:
            self._conversation.messages.append(self._answer)
            self._answer = None


_Handler = Callable[[_Reader, Mapping[str, Any], str], None]


def _handler(type_: type[_ItemT], handle: Callable[[_Reader, _ItemT, str], None]) -> _Handler:
    def read(reader: _Reader, item: Mapping[str, Any], path: str) -> None:
        handle(reader, strict_json.convert(item, type_, path), path)

    return read


_HANDLERS: Final[dict[str, _Handler]] = {
    "message": _handler(MessageItem, _Reader.message),
    "reasoning": _handler(ReasoningItem, _Reader.reasoning),
    "function_call": _handler(FunctionCall, _Reader.function_call),
    "function_call_output": _handler(CallOutput, _Reader.call_output),
    "custom_tool_call": _handler(CustomToolCall, _Reader.custom_tool_call),
    "custom_tool_call_output": _handler(CallOutput, _Reader.call_output),
    "tool_search_call": _handler(ToolSearchCall, _Reader.tool_search_call),
    "tool_search_output": _handler(ToolSearchOutput, _Reader.tool_search_output),
    "local_shell_call": _handler(LocalShellCall, _Reader.local_shell_call),
    "local_shell_call_output": _handler(LocalShellOutput, _Reader.local_shell_output),
    "additional_tools": _handler(AdditionalTools, _Reader.additional_tools),
    "agent_message": _handler(AgentMessage, _Reader.agent_message),
}


def _refusal(kind: object) -> str:
    if kind is None:
        return "this field is required"
    if kind == "item_reference":
        return "item_reference is not supported, for nothing is stored here: send the item itself"
    return f"{str(kind)[:64]!r} is not supported; expected one of {', '.join(_HANDLERS)}"


# --- content -----------------------------------------------------------------------------------


def _content(content: str | Sequence[ContentPart], path: str) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
    return _plain(tuple(_part(part, f"{path}[{i}]") for i, part in enumerate(content)))


def _joined(content: str | tuple[Part, ...]) -> str | None:
    """The texts without anything between them; None if there is an image."""
    if isinstance(content, str):
        return content
    texts = [part.text for part in content if isinstance(part, TextPart)]
    return "".join(texts) if len(texts) == len(content) else None


def _plain(parts: tuple[Part, ...]) -> str | tuple[Part, ...]:
    if not parts:
        return ""
    return parts[0].text if len(parts) == 1 and isinstance(parts[0], TextPart) else parts


def _part(part: ContentPart, path: str) -> Part:
    match part:
        case InputText() | OutputText():
            return TextPart(text=part.text)
        case Refusal():
            return TextPart(text=part.refusal)
        case EncryptedText():
            return TextPart(text=part.encrypted_content)
        case InputImage():
            return _image(part, path)
        case _:
            assert_never(part)


def _image(part: InputImage, path: str) -> ImagePart:
    if part.file_id is not None:
        raise InvalidRequest(
            f"{path}.file_id: no files are stored here: send image_url", param=f"{path}.file_id"
        )
    if not (part.image_url or "").startswith(("data:image/", "https://", "http://")):
        raise InvalidRequest(
            f"{path}.image_url: expected a data:image/… or http(s) URL", param=f"{path}.image_url"
        )
    return ImagePart(url=part.image_url or "")
