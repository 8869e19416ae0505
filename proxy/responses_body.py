"""What a Responses body may hold: every field that is taken, harmless or refused. Pure data.

The fields that it shares with the other dialects of OpenAI, and the three kinds of fields: openai_body.py.
Input items and tools are told apart by hand (responses_input.py, responses_tools.py), because an item
without `type` is a message, and because a refusal should say what is possible instead.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proxy.openai_body import MAX_LOGPROBS, GenerationBody, TokenCount

MAX_ITEMS = 2**16
MAX_TOOLS = 1024
MAX_NAME_CHARS = 256

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
CallId = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]


# --- content parts -----------------------------------------------------------------------------


class _Part(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    # Harmless: caching hints of hosted services.
    prompt_cache_breakpoint: Any = None
    cache_control: Any = None


class InputText(_Part, tag="input_text"):
    text: str


class OutputText(_Part, tag="output_text"):
    text: str
    annotations: Any = None
    logprobs: Any = None


class Refusal(_Part, tag="refusal"):
    refusal: str


class InputImage(_Part, tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class EncryptedText(_Part, tag="encrypted_content"):
    """Of a tool parameter that a hosted service would have encrypted: here it is the text itself."""

    encrypted_content: str


class SummaryText(_Part, tag="summary_text"):
    text: str


class ReasoningText(_Part, tag="reasoning_text"):
    text: str


class PlainText(_Part, tag="text"):
    text: str


ContentPart = InputText | OutputText | Refusal | InputImage | EncryptedText
Output = str | list[InputText | OutputText | InputImage]


# --- input items -------------------------------------------------------------------------------


class _Item(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str | None = None
    id: str | None = None
    status: str | None = None


class MessageItem(_Item):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[ContentPart]
    phase: str | None = None  # harmless: which of an answer's messages is the final one


class ReasoningItem(_Item):
    summary: list[SummaryText | PlainText] | None = None
    content: list[ReasoningText | PlainText] | None = None
    encrypted_content: str | None = None


class FunctionCall(_Item):
    call_id: CallId
    name: Name
    arguments: str
    namespace: Name | None = None
    caller: Any = None


class CustomToolCall(_Item):
    call_id: CallId
    name: Name
    input: str
    namespace: Name | None = None
    caller: Any = None


class CallOutput(_Item):
    """Of a function or a custom tool."""

    call_id: CallId
    output: Output
    name: str | None = None
    caller: Any = None


class ToolSearchCall(_Item):
    call_id: CallId
    arguments: Any = None
    execution: str | None = None


class ToolSearchOutput(_Item):
    call_id: CallId
    tools: list[dict[str, Any]]
    execution: str | None = None


class LocalShellCall(_Item):
    call_id: CallId
    action: dict[str, Any]


class LocalShellOutput(_Item):
    output: str
    call_id: CallId | None = None


class AdditionalTools(_Item):
    tools: list[dict[str, Any]]
    role: str | None = None


class AgentMessage(_Item):
    """What one agent of a team writes to another."""

    content: list[ContentPart]
    author: str | None = None
    recipient: str | None = None


# --- tools -------------------------------------------------------------------------------------


class _Tool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str
    # Harmless: nobody but the model calls, and a tool that might be loaded later is offered at once.
    defer_loading: Any = None
    allowed_callers: Any = None
    cache_control: Any = None


class FunctionTool(_Tool):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    output_schema: Any = None  # harmless: what a result looks like, the result says itself


class PlainFormat(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    pass


class GrammarFormat(msgspec.Struct, tag="grammar", tag_field="type", forbid_unknown_fields=True):
    syntax: Literal["lark", "regex"]
    definition: str


class CustomTool(_Tool):
    name: Name
    description: str | None = None
    format: PlainFormat | GrammarFormat | None = None


class NamespaceTool(_Tool):
    name: Name
    tools: list[dict[str, Any]]
    description: str | None = None


class ToolSearchTool(_Tool):
    execution: Literal["client", "server"] | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ChosenTool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A tool as `tool_choice` names it."""

    type: str
    name: Name | None = None
    namespace: Name | None = None


class AllowedTools(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str
    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenTool], Meta(min_length=1, max_length=MAX_TOOLS)]


# --- the body ----------------------------------------------------------------------------------


class TextFormat(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    pass


class JsonObjectFormat(msgspec.Struct, tag="json_object", tag_field="type", forbid_unknown_fields=True):
    pass


class JsonSchemaFormat(msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True):
    name: Name
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(msgspec.Struct, forbid_unknown_fields=True):
    format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None  # harmless: a wish about style


class ReasoningConfig(msgspec.Struct, forbid_unknown_fields=True):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None  # the older name
    context: Any = None  # harmless: all reasoning that is sent is given to the chat template


Include = Literal[
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
    # Harmless: parts of items that never come from here.
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]


class ResponsesBody(GenerationBody, forbid_unknown_fields=True, kw_only=True):
    input: str | Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MAX_ITEMS)]
    instructions: str | None = None
    max_output_tokens: TokenCount | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    include: list[Include] | None = None
    # Harmless: Codex's account of itself; a bound on hosted tools, of which there are none; caching hints.
    client_metadata: Any = None
    max_tool_calls: Any = None
    prompt_cache_options: Any = None
    # Refused unless they ask for nothing.
    previous_response_id: Any = None
    conversation: Any = None
    truncation: Any = None
    background: Any = None
    background_options: Any = None
    context_management: Any = None
    prompt: Any = None
    moderation: Any = None


UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "previous_response_id": ((), "no response is stored here: send the whole conversation as input"),
    "conversation": ((), "no conversation is stored here: send the whole conversation as input"),
    "truncation": (
        ("disabled",),
        "nothing is left out of a conversation silently: send 'disabled' and make the input fit",
    ),
    "background": ((False,), "responses are not kept: stream the answer"),
    "background_options": ((), "responses are not kept: stream the answer"),
    "context_management": (([],), "the server shortens no conversation: do it in the client"),
    "prompt": ((), "no prompts are stored here: send input and instructions"),
    "moderation": ((), "moderation is not supported"),
    "max_tokens": ((), "in this API the field is called max_output_tokens"),
    "n": ((1,), "one answer per request is supported: send n requests, they run in parallel"),
}
