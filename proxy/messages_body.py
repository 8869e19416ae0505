"""What a Messages body may hold: every field that is taken, harmless or refused. Pure data.

The three kinds of fields are those of openai_body.py. null means absent everywhere. Tools are told
apart by hand (anthropic_messages.py), because a refusal should say more than that a type is unknown.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proxy.openai_body import MAX_STOPS, MAX_TOP_K, Probability, Stop, TokenCount

MAX_TOOLS = 1024
MAX_MESSAGES = 100_000  # Anthropic's own bound
MAX_NAME_CHARS = 256

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]


# --- content blocks ----------------------------------------------------------------------------


class _Block(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    cache_control: Any = None  # harmless: prompts are always cached


class TextBlock(_Block, tag="text"):
    text: str
    citations: Any = None


class ImageBlock(_Block, tag="image"):
    source: Base64Source | UrlSource | FileSource
    transformations: Any = None


class Base64Source(msgspec.Struct, tag="base64", tag_field="type", forbid_unknown_fields=True):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(msgspec.Struct, tag="url", tag_field="type", forbid_unknown_fields=True):
    url: str


class FileSource(msgspec.Struct, tag="file", tag_field="type", forbid_unknown_fields=True):
    file_id: str


class DocumentBlock(_Block, tag="document"):
    """Read where its source is text."""

    source: dict[str, Any]
    title: str | None = None
    context: str | None = None
    citations: Any = None


class SearchResultBlock(_Block, tag="search_result"):
    source: str
    title: str
    content: list[TextBlock]
    citations: Any = None


class ToolReferenceBlock(_Block, tag="tool_reference"):
    """What a search for tools found: from here on the model may call it."""

    tool_name: Name


class ToolUseBlock(_Block, tag="tool_use"):
    id: str
    name: Name
    input: dict[str, Any]
    caller: Any = None


class ToolResultBlock(_Block, tag="tool_result"):
    tool_use_id: str
    content: str | list[ResultContent] | None = None
    is_error: bool | None = None


class ThinkingBlock(_Block, tag="thinking"):
    """`signature` vouches for the text to whoever wrote it: see signatures.py."""

    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(_Block, tag="redacted_thinking"):
    """Nobody but its author can read it."""

    data: str


ResultContent = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock
UserContent = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock
AssistantContent = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock
Texts = str | list[TextBlock]


# --- messages ----------------------------------------------------------------------------------


class UserMessage(msgspec.Struct, tag="user", tag_field="role", forbid_unknown_fields=True):
    content: str | list[UserContent]


class AssistantMessage(msgspec.Struct, tag="assistant", tag_field="role", forbid_unknown_fields=True):
    content: str | list[AssistantContent]


class SystemMessage(msgspec.Struct, tag="system", tag_field="role", forbid_unknown_fields=True):
    """In mid-conversation, as Claude Code sends it."""

    content: Texts


MessageBody = UserMessage | AssistantMessage | SystemMessage


# --- tools and choices -------------------------------------------------------------------------


class ToolBody(msgspec.Struct, forbid_unknown_fields=True):
    """A tool that the client runs."""

    name: Name
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    defer_loading: bool | None = None
    # Harmless: hints of the hosted service. Arguments always fit the schema, and are always streamed.
    cache_control: Any = None
    strict: Any = None
    eager_input_streaming: Any = None
    input_examples: Any = None
    allowed_callers: Any = None


class _Choice(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    disable_parallel_tool_use: bool | None = None


class AutoChoice(_Choice, tag="auto"):
    pass


class AnyChoice(_Choice, tag="any"):
    pass


class ToolChoiceByName(_Choice, tag="tool"):
    name: Name


class NoChoice(_Choice, tag="none"):
    pass


ToolChoiceBody = AutoChoice | AnyChoice | ToolChoiceByName | NoChoice


class _Thinking(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    display: Any = None  # harmless: thinking is always shown, for without it no later turn has it


class ThinkingEnabled(_Thinking, tag="enabled"):
    budget_tokens: TokenCount


class ThinkingAdaptive(_Thinking, tag="adaptive"):
    pass


class ThinkingBetweenTools(_Thinking, tag="between_tools"):
    pass


class ThinkingDisabled(_Thinking, tag="disabled"):
    pass


ThinkingBody = ThinkingEnabled | ThinkingAdaptive | ThinkingBetweenTools | ThinkingDisabled


class OutputFormat(msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True):
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


# --- bodies ------------------------------------------------------------------------------------


class PromptBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What makes the prompt: the whole body of count_tokens."""

    model: str
    messages: Annotated[list[MessageBody], Meta(min_length=1, max_length=MAX_MESSAGES)]
    system: Texts | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoiceBody | None = None
    thinking: ThinkingBody | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    # Harmless: caching, routing, speed and book-keeping of the hosted service.
    cache_control: Any = None
    context_management: Any = None  # what it would remove from a long prompt, stays in
    betas: Any = None
    metadata: Any = None
    service_tier: Any = None
    inference_geo: Any = None
    speed: Any = None
    diagnostics: Any = None
    # Refused unless they ask for nothing.
    mcp_servers: Any = None
    container: Any = None


class MessagesBody(PromptBody, forbid_unknown_fields=True, kw_only=True):
    max_tokens: TokenCount
    stream: bool | None = None
    stop_sequences: Annotated[list[Stop], Meta(max_length=MAX_STOPS)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, le=MAX_TOP_K)] | None = None


UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "mcp_servers": (([],), "this server calls no MCP servers: let the client do it"),
    "container": ((), "code execution in containers is not supported"),
}
