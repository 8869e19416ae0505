"""A request's messages and tools as chat templates expect them, bent as little as one template needs.

Templates differ in what they can say. `Shape` records what one of them can, as found by
`templates.py` with small conversations, and `messages` changes only what it would refuse or lose:

- a `developer` message is a system message to a template that never mentions developers;
- several system messages at the beginning become one;
- without a system role, that text goes before the first user message;
- a later system message becomes a user message where it stands: moved to the front it would change
  the beginning of the prompt, and with it the cached prefix, at every turn;
- user messages in a row become one;
- text parts become one string, lines between them (or one text part, if only that is shown);
- no tools is an empty list where None would fail;
- call arguments are objects (or their JSON text, if an object would be shown in Python's notation).

Everything else is said by the template itself: what it raises reaches the client.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference.chat import ChatRequest, ImagePart, Message, Tool, ToolCall
from inference.errors import InvalidRequest

BETWEEN_MERGED = "\n\n"
BETWEEN_PARTS = "\n"

TemplateMessage = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a template can express."""

    text_as_parts: bool = False
    tools_as_list: bool = False
    arguments_as_text: bool = False
    developer_role: bool = False
    system_role: bool = True
    several_system: bool = True
    late_system: bool = True
    consecutive_users: bool = True


def template_messages(request: ChatRequest, shape: Shape) -> list[TemplateMessage]:
    """Raises InvalidRequest for an image: no model served by this engine sees."""
    converted = [
        _converted(message, f"messages[{number}]", request.model, shape)
        for number, message in enumerate(request.messages)
    ]
    fitting = _one_user_at_a_time(_system_where_it_may_be(converted, shape), shape)
    if shape.text_as_parts:
        for message in fitting:
            message["content"] = [{"type": "text", "text": message["content"]}]
    return fitting


def template_tools(tools: Sequence[Tool], shape: Shape) -> list[dict[str, Any]] | None:
    return [_tool(tool) for tool in tools] or ([] if shape.tools_as_list else None)


def _tool(tool: Tool) -> dict[str, Any]:
    # Templates go through `parameters.properties`; a tool without parameters has none, but has the key.
    parameters = tool.parameters or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _converted(message: Message, where: str, model: str, shape: Shape) -> TemplateMessage:
    is_developer = message.role == "developer" and not shape.developer_role
    converted: TemplateMessage = {
        "role": "system" if is_developer else message.role,
        "content": _text(message, where, model),
    }
    if message.reasoning:
        converted["reasoning_content"] = message.reasoning
    if message.tool_calls:
        converted["tool_calls"] = [_call(call, shape) for call in message.tool_calls]
    if message.tool_call_id:
        converted["tool_call_id"] = message.tool_call_id
    if message.name:
        converted["name"] = message.name
    return converted


def _text(message: Message, where: str, model: str) -> str:
    if isinstance(message.content, str):
        return message.content
    texts: list[str] = []
    for part in message.content:
        if isinstance(part, ImagePart):
            raise InvalidRequest(
                f"{where} has an image, and model {model!r} cannot see images: send text only",
                param="messages",
            )
        texts.append(part.text)
    return BETWEEN_PARTS.join(texts)


def _call(call: ToolCall, shape: Shape) -> dict[str, Any]:
    function = {
        "name": call.name,
        "arguments": call.arguments if shape.arguments_as_text else _arguments(call),
    }
    return {"id": call.id, "type": "function", "function": function}


def _arguments(call: ToolCall) -> Any:
    """An object; if it is none, what the client sent: a call that was cut off stays as it was written."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return call.arguments
    return arguments if isinstance(arguments, dict) else call.arguments


def _system_where_it_may_be(messages: list[TemplateMessage], shape: Shape) -> list[TemplateMessage]:
    count = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    first, later = messages[:count], messages[count:]
    if not (shape.late_system and shape.system_role):
        later = [message | {"role": "user"} if message["role"] == "system" else message for message in later]
    if shape.system_role:
        return ([_merged(first)] if len(first) > 1 and not shape.several_system else first) + later
    if not first:
        return later
    place = next((i for i, message in enumerate(later) if message["role"] == "user"), None)
    if place is None:
        return [_merged(first) | {"role": "user"}, *later]
    return [*later[:place], _merged([*first, later[place]]) | {"role": "user"}, *later[place + 1 :]]


def _one_user_at_a_time(messages: list[TemplateMessage], shape: Shape) -> list[TemplateMessage]:
    if shape.consecutive_users:
        return messages
    fitting: list[TemplateMessage] = []
    for message in messages:
        if fitting and message["role"] == fitting[-1]["role"] == "user":
            fitting[-1] = _merged([fitting[-1], message])
        else:
            fitting.append(message)
    return fitting


def _merged(messages: list[TemplateMessage]) -> TemplateMessage:
    """The last of them, with the text of all."""
    text = BETWEEN_MERGED.join(message["content"] for message in messages if message["content"])
    return messages[-1] | {"content": text}
