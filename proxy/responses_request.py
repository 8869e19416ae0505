"""A ChatRequest as a body of OpenAI's Responses: what is sent to whoever speaks it. Pure.

An assistant's message becomes the items it was made of: reasoning, text, calls. Reasoning goes back to its
author only, in the form that came with it (signatures.py). Nothing is stored on the other side. Sampling
fields and stops that OpenAI does not have are sent by their names all the same: another Hotseat takes
them, and OpenAI refuses them by name. What a speaker is called is a label that the dialect does not have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, assert_never

import msgspec

from inference.chat import ChatRequest, JsonFormat, Message, Part, Reasoning, Sampling, TextPart, Tool
from inference.errors import InvalidRequest
from proxy.signatures import signature_for

_ENCRYPTED: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResponsesTerms:
    """What one provider takes of the dialect. The defaults are OpenAI's.

    `author`: whose encrypted reasoning goes back. `unsigned_thoughts`: takes reasoning as plain text too.
    """

    author: str = ""
    unsigned_thoughts: bool = False


def responses_body(
    request: ChatRequest, model: str, terms: ResponsesTerms, *, stream: bool
) -> dict[str, Any]:
    """Raises InvalidRequest naming what the dialect cannot carry."""
    if request.template_kwargs:
        raise InvalidRequest(
            "chat_template_kwargs: this model's provider speaks OpenAI Responses, which has no such field: "
            "leave it out",
            param="chat_template_kwargs",
        )
    body: dict[str, Any] = {
        "model": model,
        "input": [item for message in request.messages for item in _items(message, terms)],
        "stream": stream,
        "store": False,
    }
    body |= _tool_fields(request) | _sampling(request.sampling) | _reasoning(request.reasoning)
    if request.json_format is not None:
        body["text"] = {"format": _format(request.json_format)}
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens
    if request.stop:
        body["stop"] = request.stop
    if request.ignore_eos:
        body["ignore_eos"] = True
    if include := _include(request):
        body["include"] = include
    return body


def _include(request: ChatRequest) -> list[str]:
    """Encrypted reasoning only where reasoning is asked for: a model without it refuses the request."""
    wanted = {_ENCRYPTED: _is_on(request.reasoning), _LOGPROBS: request.sampling.logprobs is not None}
    return [name for name, is_wanted in wanted.items() if is_wanted]


# --- items -------------------------------------------------------------------------------------


def _items(message: Message, terms: ResponsesTerms) -> Iterable[Item]:
    match message.role:
        case "system" | "developer" | "user":
            yield {"type": "message", "role": message.role, "content": _content(message.content)}
        case "assistant":
            yield from _answer(message, terms)
        case "tool":
            output = _content(message.content)
            yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}
        case _:
            assert_never(message.role)


def _answer(message: Message, terms: ResponsesTerms) -> Iterable[Item]:
    sealed = signature_for(terms.author, message.reasoning_signature)
    if sealed:
        summary = [{"type": "summary_text", "text": message.reasoning}] if message.reasoning else []
        yield {"type": "reasoning", "summary": summary, "encrypted_content": sealed}
    elif terms.unsigned_thoughts and message.reasoning:
        content = [{"type": "reasoning_text", "text": message.reasoning}]
        yield {"type": "reasoning", "summary": [], "content": content}
    if message.content:
        texts = (message.content,) if isinstance(message.content, str) else _texts(message.content)
        content = [{"type": "output_text", "text": text} for text in texts]
        yield {"type": "message", "role": "assistant", "content": content}
    for call in message.tool_calls:
        yield {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments or "{}",
        }


def _texts(parts: tuple[Part, ...]) -> tuple[str, ...]:
    """No dialect lets an assistant send an image."""
    return tuple(part.text for part in parts if isinstance(part, TextPart))


def _content(content: str | tuple[Part, ...]) -> str | list[Item]:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Part) -> Item:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    return {"type": "input_image", "image_url": part.url}


# --- tools -------------------------------------------------------------------------------------


def _tool_fields(request: ChatRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    fields: dict[str, Any] = {"tools": [_tool(tool) for tool in request.tools]}
    if request.forced_tool:
        fields["tool_choice"] = {"type": "function", "name": request.forced_tool}
    elif request.tool_choice != "auto":
        fields["tool_choice"] = request.tool_choice
    if not request.parallel_tool_calls:
        fields["parallel_tool_calls"] = False
    return fields


def _tool(tool: Tool) -> dict[str, Any]:
    """`strict` must be said: the other side's default would refuse most schemas."""
    described = {"description": tool.description} if tool.description else {}
    return {
        "type": "function",
        "name": tool.name,
        **described,
        "parameters": tool.parameters or None,
        "strict": False,
    }


# --- the answer --------------------------------------------------------------------------------


def _sampling(sampling: Sampling) -> dict[str, Any]:
    fields = msgspec.structs.asdict(sampling)
    for other in ("logit_bias", "logprobs"):  # these have a form of their own
        del fields[other]
    given = {name: value for name, value in fields.items() if value is not None}
    if sampling.logit_bias:
        given["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if sampling.logprobs is not None:
        given["top_logprobs"] = sampling.logprobs
    return given


def _is_on(reasoning: Reasoning | None) -> bool:
    if reasoning is None or reasoning == Reasoning():
        return False
    return reasoning.enabled is not False and reasoning.effort != "none"


def _reasoning(reasoning: Reasoning | None) -> dict[str, Any]:
    """The summary is all that OpenAI shows of it."""
    if reasoning is None or reasoning == Reasoning():
        return {}
    if not _is_on(reasoning):
        return {"reasoning": {"effort": "none"}}
    effort = {"effort": reasoning.effort} if reasoning.effort is not None else {}
    return {"reasoning": {**effort, "summary": "auto"}}


def _format(wanted: JsonFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": wanted.name or "answer",
        "schema": wanted.schema,
        "strict": wanted.strict,
    }
