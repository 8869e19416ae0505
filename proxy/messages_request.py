"""A ChatRequest as a body of Anthropic Messages: what is sent to whoever speaks it. Pure.

The dialect has fewer words than ours. What it cannot carry is refused by name (`_check`); the rest is bent
as little as it must be:

- system and developer messages at the beginning are the `system` field; a later one becomes text of the
  user's turn where it stands, unless the provider takes system messages there;
- messages of one side in a row are one turn, in which results come first: they must follow their calls;
- blank texts, and turns that hold nothing else, are left out: they are refused;
- ids of calls keep to the alphabet that is allowed;
- thoughts go back to their author only, for only there is the signature worth something;
- a conversation with calls has tools, even where none is offered any more;
- a call cannot be forced while the model thinks: the call comes first.

What a speaker is called, and the name of a JSON schema, are labels that the dialect does not have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, Literal, assert_never

import msgspec

from inference.chat import (
    ChatRequest,
    ImagePart,
    Message,
    Part,
    Reasoning,
    ReasoningEffort,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
)
from inference.errors import InvalidRequest
from proxy.signatures import signature_for

Block = dict[str, Any]
Turn = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MessagesTerms:
    """What one provider takes of the dialect. The defaults are Anthropic's for its present models.

    `author`: whose signatures go back (signatures.py). `max_tokens`: where a request says nothing, for the
    dialect wants a number. `thinking`: older models and compatible servers know a budget only.
    `late_system`: system messages in mid-conversation. `unsigned_thoughts`: takes them, and reads them.
    `caches_on_request`: a prompt is only cached if that is asked for.
    """

    author: str = ""
    max_tokens: int = 32_000
    thinking: Literal["adaptive", "budget"] = "adaptive"
    late_system: bool = False
    unsigned_thoughts: bool = False
    caches_on_request: bool = True


def messages_body(request: ChatRequest, model: str, terms: MessagesTerms, *, stream: bool) -> dict[str, Any]:
    """Raises InvalidRequest naming what the dialect cannot carry."""
    _check(request)
    opening = list(takewhile(_is_system, request.messages))
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": request.max_tokens or terms.max_tokens,
        "messages": _turns(request.messages[len(opening) :], terms),
        "stream": stream,
    }
    if system := [block for message in opening for block in _texts(message.content)]:
        body["system"] = system
    if terms.caches_on_request:
        body["cache_control"] = {"type": "ephemeral"}
    body |= _tool_fields(request) | _sampling(request.sampling) | _answer_fields(request, terms)
    if request.stop:
        body["stop_sequences"] = request.stop
    return body


# --- what cannot be carried ----------------------------------------------------------------------

_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "min_p": (None, 0),
    "repeat_penalty": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "repeat_last_n": (None, 0),
    "dry_multiplier": (None, 0),
    "dry_base": (None,),
    "dry_allowed_length": (None,),
    "dry_penalty_last_n": (None, 0),
    "seed": (None,),
    "logit_bias": ((),),
    "logprobs": (None,),
}
"""Of the sampling fields that the dialect does not have: the values that ask for nothing."""


def _check(request: ChatRequest) -> None:
    for field, neutral in _NEUTRAL.items():
        if getattr(request.sampling, field) not in neutral:
            raise _not_carried(field)
    if request.ignore_eos:
        raise _not_carried("ignore_eos")
    if request.template_kwargs:
        raise _not_carried("chat_template_kwargs")
    if request.json_format is not None and request.json_format.schema is None:
        raise InvalidRequest(
            "response_format: this model's provider takes a JSON schema and no 'json_object': send a schema",
            param="response_format",
        )


def _not_carried(field: str) -> InvalidRequest:
    return InvalidRequest(
        f"{field}: this model's provider speaks Anthropic Messages, which has no such field: leave it out",
        param=field,
    )


# --- turns -------------------------------------------------------------------------------------


def _turns(messages: Sequence[Message], terms: MessagesTerms) -> list[Turn]:
    turns: list[Turn] = []
    for message in messages:
        role = _role(message, terms)
        blocks = _blocks(message, terms)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return turns


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def _role(message: Message, terms: MessagesTerms) -> str:
    match message.role:
        case "assistant":
            return "assistant"
        case "user" | "tool":
            return "user"
        case "system" | "developer":
            return "system" if terms.late_system else "user"
        case _:
            assert_never(message.role)


def _blocks(message: Message, terms: MessagesTerms) -> list[Block]:
    match message.role:
        case "assistant":
            return [*_thoughts(message, terms), *_texts(message.content), *map(_call, message.tool_calls)]
        case "tool":
            return [_result(message)]
        case "user" | "system" | "developer":
            return _texts(message.content)
        case _:
            assert_never(message.role)


def _thoughts(message: Message, terms: MessagesTerms) -> list[Block]:
    signature = signature_for(terms.author, message.reasoning_signature)
    if not signature and not (terms.unsigned_thoughts and message.reasoning):
        return []
    return [{"type": "thinking", "thinking": message.reasoning, "signature": signature}]


def _texts(content: str | tuple[Part, ...]) -> list[Block]:
    parts: Iterable[Part] = (TextPart(text=content),) if isinstance(content, str) else content
    return [_part(part) for part in parts if not (isinstance(part, TextPart) and not part.text.strip())]


def _part(part: Part) -> Block:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image", "source": _image(part)}


_DATA_URL: Final = re.compile(r"data:(image/(?:jpeg|png|gif|webp));base64,", re.IGNORECASE)


def _image(part: ImagePart) -> dict[str, str]:
    if not part.url.startswith("data:"):
        return {"type": "url", "url": part.url}
    head = _DATA_URL.match(part.url)
    if head is None:
        raise InvalidRequest("image_url: expected base64 of image/jpeg, png, gif or webp in a data: URL")
    return {"type": "base64", "media_type": head[1].lower(), "data": part.url[head.end() :]}


def _call(call: ToolCall) -> Block:
    return {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": _input(call.arguments)}


def _input(arguments: str) -> dict[str, Any]:
    """What a model wrote wrongly once is shown to it as it was: the next turn says what was wrong with it."""
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {"invalid_arguments": arguments}


def _result(message: Message) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id)}
    content = message.content if isinstance(message.content, str) else _texts(message.content)
    return {**block, "content": content} if content else block


_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")


def _id(id_: str) -> str:
    """The same for a call and its result, and at every turn: prompts are cached."""
    if _ID.fullmatch(id_):
        return id_
    return "toolu_" + hashlib.sha256(id_.encode("utf-8", "surrogatepass")).hexdigest()[:24]


# --- tools -------------------------------------------------------------------------------------


def _tool_fields(request: ChatRequest) -> dict[str, Any]:
    if request.tools:
        return {"tools": [_tool(tool) for tool in request.tools], **_tool_choice(request)}
    called = sorted({call.name for message in request.messages for call in message.tool_calls})
    if not called:
        return {}
    return {"tools": [_tool(Tool(name=name)) for name in called], "tool_choice": {"type": "none"}}


def _tool(tool: Tool) -> dict[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": {"type": "object", **tool.parameters}}


def _tool_choice(request: ChatRequest) -> dict[str, Any]:
    choice: dict[str, Any] = {"type": "auto"}
    if request.tool_choice == "required":
        choice = {"type": "tool", "name": request.forced_tool} if request.forced_tool else {"type": "any"}
    if not request.parallel_tool_calls:
        choice["disable_parallel_tool_use"] = True
    return {} if choice == {"type": "auto"} else {"tool_choice": choice}


# --- the answer --------------------------------------------------------------------------------

_EFFORTS: Final[dict[ReasoningEffort, str]] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
}
_BUDGETS: Final[dict[ReasoningEffort, int]] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 4096,
    "high": 16_384,
    "xhigh": 32_768,
}
_LEAST_BUDGET: Final = 1024


def _sampling(sampling: Sampling) -> dict[str, Any]:
    given = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return {name: value for name, value in given.items() if value is not None}


def _answer_fields(request: ChatRequest, terms: MessagesTerms) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    config: dict[str, Any] = {}
    if request.json_format is not None:
        config["format"] = {"type": "json_schema", "schema": request.json_format.schema}
    reasoning = request.reasoning or Reasoning()
    if reasoning != Reasoning():
        effort = reasoning.effort
        if request.tool_choice == "required" or not _is_on(reasoning):
            fields["thinking"] = {"type": "disabled"}
        elif terms.thinking == "budget":
            fields["thinking"] = _budget(effort or "medium", request.max_tokens or terms.max_tokens)
        else:
            # Present models hide their thoughts unless asked.
            fields["thinking"] = {"type": "adaptive", "display": "summarized"}
            if effort is not None:
                config["effort"] = _EFFORTS[effort]
    return {**fields, "output_config": config} if config else fields


def _is_on(reasoning: Reasoning) -> bool:
    return reasoning.enabled is not False and reasoning.effort != "none"


def _budget(effort: ReasoningEffort, max_tokens: int) -> dict[str, Any]:
    """Less than the whole answer may have."""
    tokens = min(_BUDGETS[effort], max_tokens - 1)
    return {"type": "enabled", "budget_tokens": tokens} if tokens >= _LEAST_BUDGET else {"type": "disabled"}
