"""What a Messages body asks of a conversation: its messages and tools as a ChatRequest. Pure.

Of a user message, tool results become messages of their own and come first, for they follow the
calls; the rest is one user message. Of an answer, blocks of a kind become one. A system message
stays where it is: the chat template's own rules apply to it (inference/template_messages.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import msgspec

from inference.chat import (
    ChatRequest,
    ImagePart,
    JsonFormat,
    Message,
    Part,
    Reasoning,
    ReasoningEffort,
    TextPart,
    Tool,
    ToolCall,
)
from inference.errors import InvalidRequest
from proxy import strict_json
from proxy.messages_body import (
    AnyChoice,
    AssistantMessage,
    Base64Source,
    DocumentBlock,
    FileSource,
    ImageBlock,
    NoChoice,
    PromptBody,
    RedactedThinkingBlock,
    ResultContent,
    SearchResultBlock,
    SystemMessage,
    TextBlock,
    Texts,
    ThinkingAdaptive,
    ThinkingBetweenTools,
    ThinkingBlock,
    ThinkingDisabled,
    ThinkingEnabled,
    ToolBody,
    ToolChoiceByName,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
    UserMessage,
)
from proxy.signatures import is_signed

MAX_LISTED_TOOLS = 20

_BILLING_HEADER = "x-anthropic-billing-header:"
"""Begins a system block that is addressed to the hosted service. It changes with every conversation, at
the very beginning of the prompt, where nothing behind a change can be reused."""

_BETWEEN_THOUGHTS = "\n\n"
_SAYS_SO_WITHIN_CHARS = 200

_json = msgspec.json.Encoder()


def prompt_request(body: PromptBody) -> ChatRequest:
    """Raises InvalidRequest naming the field."""
    if isinstance(body.messages[-1], AssistantMessage):
        raise InvalidRequest(
            "messages: the last one is the assistant's; to continue an answer that was begun is not"
            " supported: end with a user message",
            param="messages",
        )
    choice = body.tool_choice
    tools = () if isinstance(choice, NoChoice) else _tools(body)
    forced = choice.name if isinstance(choice, ToolChoiceByName) else ""
    is_required = isinstance(choice, AnyChoice | ToolChoiceByName)
    if is_required:
        _check_choice(forced, tools)
    return ChatRequest(
        model=body.model,
        messages=(*_system(body.system), *_messages(body)),
        tools=tools,
        tool_choice="required" if is_required else "auto",
        forced_tool=forced,
        parallel_tool_calls=not (choice is not None and choice.disable_parallel_tool_use),
        json_format=_json_format(body),
        reasoning=_reasoning(body),
    )


# --- messages ----------------------------------------------------------------------------------


def _system(system: Texts | None) -> list[Message]:
    if not system:
        return []
    blocks = [TextBlock(text=system)] if isinstance(system, str) else system
    parts = tuple(TextPart(text=block.text) for block in blocks if not block.text.startswith(_BILLING_HEADER))
    return [Message(role="system", content=_least(parts))] if parts else []


def _messages(body: PromptBody) -> Iterable[Message]:
    for n, message in enumerate(body.messages):
        path = f"messages[{n}].content"
        match message:
            case UserMessage():
                yield from _user(message, path)
            case AssistantMessage():
                yield _assistant(message)
            case SystemMessage():
                texts = message.content
                yield Message(role="system", content=texts if isinstance(texts, str) else _texts(texts))
            case _:
                assert_never(message)


def _user(message: UserMessage, path: str) -> Iterable[Message]:
    if isinstance(message.content, str):
        yield Message(role="user", content=message.content)
        return
    said: list[Part] = []
    for i, block in enumerate(message.content):
        if isinstance(block, ToolResultBlock):
            yield _result(block, f"{path}[{i}]")
        else:
            said.append(_part(block, f"{path}[{i}]"))
    if said or not message.content:
        yield Message(role="user", content=_least(tuple(said)))


def _result(block: ToolResultBlock, path: str) -> Message:
    blocks = [TextBlock(text=block.content)] if isinstance(block.content, str) else block.content or []
    parts = tuple(_part(inner, f"{path}.content[{i}]") for i, inner in enumerate(blocks))
    if block.is_error and not _says_error(parts):
        parts = (TextPart(text="Error:"), *parts) if parts else (TextPart(text="Error."),)
    return Message(role="tool", content=_least(parts), tool_call_id=block.tool_use_id)


def _says_error(parts: Sequence[Part]) -> bool:
    """Nothing but its text tells a local model that a call failed; most clients say it there anyway."""
    texts = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    return "error" in texts[:_SAYS_SO_WITHIN_CHARS].lower()


def _assistant(message: AssistantMessage) -> Message:
    if isinstance(message.content, str):
        return Message(role="assistant", content=message.content)
    texts: list[TextBlock] = []
    thoughts: list[ThinkingBlock] = []
    calls: list[ToolCall] = []
    for block in message.content:
        match block:
            case TextBlock():
                texts.append(block)
            case ThinkingBlock():
                thoughts.append(block)
            case ToolUseBlock():
                arguments = _json.encode(block.input).decode()
                calls.append(ToolCall(id=block.id, name=block.name, arguments=arguments))
            case RedactedThinkingBlock():
                pass
            case _:
                assert_never(block)
    return Message(
        role="assistant",
        content=_texts(texts),
        reasoning=_BETWEEN_THOUGHTS.join(block.thinking for block in thoughts if block.thinking),
        reasoning_signature=_signature(thoughts),
        tool_calls=tuple(calls),
    )


def _signature(thoughts: Sequence[ThinkingBlock]) -> str:
    """Of the only one, if a provider signed it: see signatures.py. Several are one text here."""
    signature = thoughts[0].signature if len(thoughts) == 1 else None
    return signature if signature is not None and is_signed(signature) else ""


def _texts(blocks: Sequence[TextBlock]) -> str | tuple[Part, ...]:
    return _least(tuple(TextPart(text=block.text) for block in blocks))


def _least(parts: tuple[Part, ...]) -> str | tuple[Part, ...]:
    """A single text as a string: templates differ less about those."""
    if not parts:
        return ""
    [first, *others] = parts
    return first.text if not others and isinstance(first, TextPart) else parts


def _part(block: ResultContent, path: str) -> Part:
    match block:
        case TextBlock():
            return TextPart(text=block.text)
        case ImageBlock():
            return ImagePart(url=_image_url(block, f"{path}.source"))
        case DocumentBlock():
            return TextPart(text=_document(block, f"{path}.source"))
        case SearchResultBlock():
            found = "\n".join(text.text for text in block.content)
            return TextPart(text=f"{block.title}\n{block.source}\n{found}")
        case ToolReferenceBlock():
            return TextPart(text=f"The tool {block.tool_name} can be called now.")
        case _:
            assert_never(block)


def _image_url(block: ImageBlock, path: str) -> str:
    match block.source:
        case Base64Source(media_type, data):
            return f"data:{media_type};base64,{data}"
        case UrlSource(url):
            if not url.startswith(("https://", "http://")):
                raise InvalidRequest(f"{path}.url: expected an http(s) URL", param=f"{path}.url")
            return url
        case FileSource():
            raise InvalidRequest(
                f"{path}: this server keeps no files: send the image itself, as base64", param=path
            )
        case _:
            assert_never(block.source)


def _document(block: DocumentBlock, path: str) -> str:
    source = block.source
    kind = source.get("type")
    text = source.get("data") if kind == "text" else source.get("content") if kind == "content" else None
    if isinstance(text, list):
        text = "\n".join(
            inner.text for inner in strict_json.convert(text, list[TextBlock], f"{path}.content")
        )
    if not isinstance(text, str):
        raise InvalidRequest(
            f"{path}: only documents of text can be read here, not {str(kind)[:40]!r} ones (PDF):"
            " send the text itself",
            param=path,
        )
    return "\n".join(filter(None, (block.title, block.context, text)))


# --- tools -------------------------------------------------------------------------------------


def _tools(body: PromptBody) -> tuple[Tool, ...]:
    tools = [_tool(value, f"tools[{i}]") for i, value in enumerate(body.tools or [])]
    names: set[str] = set()
    for i, tool in enumerate(tools):
        if tool.name in names:
            path = f"tools[{i}].name"
            raise InvalidRequest(f"{path}: two tools are called {tool.name!r}", param=path)
        names.add(tool.name)
    found = _referenced(body) if any(tool.defer_loading for tool in tools) else frozenset()
    return tuple(
        Tool(name=tool.name, description=tool.description or "", parameters=tool.input_schema)
        for tool in tools
        if not tool.defer_loading or tool.name in found
    )


def _tool(value: dict[str, Any], path: str) -> ToolBody:
    kind = value.get("type")
    if isinstance(kind, str) and kind != "custom":
        raise InvalidRequest(
            f"{path}.type: {kind[:80]!r} is a tool that Anthropic runs or defines, and there is none of it"
            " here: switch it off in the client, or offer a tool of its own",
            param=f"{path}.type",
        )
    return strict_json.convert(value, ToolBody, path)


def _referenced(body: PromptBody) -> frozenset[str]:
    """Deferred tools that a search has found."""
    blocks = (
        inner
        for message in body.messages
        if isinstance(message, UserMessage) and isinstance(message.content, list)
        for block in message.content
        if isinstance(block, ToolResultBlock) and isinstance(block.content, list)
        for inner in block.content
    )
    return frozenset(block.tool_name for block in blocks if isinstance(block, ToolReferenceBlock))


def _check_choice(forced: str, tools: tuple[Tool, ...]) -> None:
    if not tools:
        raise InvalidRequest("tool_choice: a call is required and no tools are offered", param="tool_choice")
    if forced and all(tool.name != forced for tool in tools):
        offered = ", ".join(tool.name for tool in tools[:MAX_LISTED_TOOLS])
        raise InvalidRequest(
            f"tool_choice.name: {forced!r} is not offered; offered: {offered}", param="tool_choice.name"
        )


# --- the answer's form -------------------------------------------------------------------------

_EFFORTS: dict[str, ReasoningEffort] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "xhigh",
}

_BUDGETS: tuple[tuple[int, ReasoningEffort], ...] = (
    (512, "minimal"),
    (1024, "low"),
    (4096, "medium"),
    (16384, "high"),
)
"""Up to so many tokens of thinking an effort stands for; the least that Anthropic takes is 1024."""


def _reasoning(body: PromptBody) -> Reasoning:
    """A body without `thinking` asks for none: so it is at Anthropic, and clients count on it."""
    effort = body.output_config.effort if body.output_config is not None else None
    match body.thinking:
        case None | ThinkingDisabled():
            return Reasoning(enabled=False)
        case ThinkingEnabled():
            return Reasoning(enabled=True, effort=_effort_of(body.thinking.budget_tokens))
        case ThinkingAdaptive() | ThinkingBetweenTools():
            return Reasoning(enabled=True, effort=_EFFORTS[effort] if effort is not None else None)
        case _:
            assert_never(body.thinking)


def _effort_of(budget_tokens: int) -> ReasoningEffort:
    return next((effort for most, effort in _BUDGETS if budget_tokens <= most), "xhigh")


def _json_format(body: PromptBody) -> JsonFormat | None:
    wanted = body.output_format or (body.output_config.format if body.output_config is not None else None)
    return None if wanted is None else JsonFormat(schema=wanted.schema, strict=True)
