"""What a Chat Completions body may hold: every field that is taken, harmless or refused. Pure data.

The fields that it shares with Completions, and the three kinds of fields: openai_body.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proxy.openai_body import MAX_LOGPROBS, GenerationBody, TokenCount

MAX_TOOLS = 512
MAX_NAME_CHARS = 256
MAX_TEMPLATE_KWARGS = 64

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]


class TextContent(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    text: str
    cache_control: Any = None  # harmless: a caching hint of hosted services


class RefusalContent(msgspec.Struct, tag="refusal", tag_field="type", forbid_unknown_fields=True):
    refusal: str


class ImageUrl(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    detail: str | None = None


class ImageContent(msgspec.Struct, tag="image_url", tag_field="type", forbid_unknown_fields=True):
    image_url: ImageUrl
    cache_control: Any = None


ContentPart = TextContent | RefusalContent | ImageContent
Texts = str | list[TextContent]


class SystemMessage(msgspec.Struct, tag="system", tag_field="role", forbid_unknown_fields=True):
    content: Texts
    name: str | None = None
    cache_control: Any = None


class DeveloperMessage(msgspec.Struct, tag="developer", tag_field="role", forbid_unknown_fields=True):
    content: Texts
    name: str | None = None
    cache_control: Any = None


class UserMessage(msgspec.Struct, tag="user", tag_field="role", forbid_unknown_fields=True):
    content: str | list[TextContent | ImageContent]
    name: str | None = None
    cache_control: Any = None


class CalledFunction(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    arguments: str = ""


class CallBody(msgspec.Struct, forbid_unknown_fields=True):
    function: CalledFunction
    id: str = ""
    type: str = "function"
    index: int | None = None  # left over by clients that echo a streamed call


class AssistantMessage(msgspec.Struct, tag="assistant", tag_field="role", forbid_unknown_fields=True):
    content: str | list[TextContent | RefusalContent] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[CallBody] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # the same under the name that OpenRouter and vLLM use
    annotations: Any = None
    cache_control: Any = None
    audio: Any = None
    function_call: Any = None


class ToolMessage(msgspec.Struct, tag="tool", tag_field="role", forbid_unknown_fields=True):
    content: Texts
    tool_call_id: str
    name: str | None = None
    cache_control: Any = None


MessageBody = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class ToolFunction(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolBody(msgspec.Struct, tag="function", tag_field="type", forbid_unknown_fields=True):
    function: ToolFunction
    cache_control: Any = None


class NamedFunction(msgspec.Struct, forbid_unknown_fields=True):
    name: Name


class NamedTool(msgspec.Struct, forbid_unknown_fields=True):
    function: NamedFunction
    type: Literal["function"] = "function"


ToolChoice = Literal["none", "auto", "required"] | NamedTool


class TextFormat(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    pass


class JsonObjectFormat(msgspec.Struct, tag="json_object", tag_field="type", forbid_unknown_fields=True):
    schema: dict[str, Any] | None = None  # llama-server's way to say json_schema


class NamedSchema(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True):
    json_schema: NamedSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class ChatBody(GenerationBody, forbid_unknown_fields=True, kw_only=True):
    messages: Annotated[list[MessageBody], Meta(min_length=1)]
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    tools: Annotated[list[ToolBody], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Meta(max_length=MAX_TEMPLATE_KWARGS)] | None = None
    reasoning_effort: Effort | None = None
    # Harmless: a guess at the text only saves time.
    prediction: Any = None
    verbosity: Any = None
    # Refused unless they ask for nothing.
    functions: Any = None
    function_call: Any = None
    modalities: Any = None
    audio: Any = None
    web_search_options: Any = None
    timings_per_token: Any = None


UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "one choice per request is supported: send n requests, they run in parallel"),
    "functions": (([],), "replaced by 'tools' in the API: send tools"),
    "function_call": (("none", "auto"), "replaced by 'tool_choice' in the API: send tool_choice"),
    "modalities": ((["text"],), "only ['text'] is supported"),
    "audio": ((), "audio output is not supported"),
    "web_search_options": ((), "web search is not supported"),
    "timings_per_token": ((False,), "timings come once, with the last chunk"),
}
