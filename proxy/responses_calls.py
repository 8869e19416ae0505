"""Calls of tools as items of a Responses response: one kind of payload for each kind of tool. Pure."""

from __future__ import annotations

from typing import Any, Literal, Protocol, assert_never

import msgspec

from inference.chat import ToolCallDelta
from proxy.freeform import FreeformText
from proxy.responses_tools import OfferedTool

WireEvent = dict[str, Any]
"""A stream event without its sequence_number."""

Item = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]


def wire_event(kind: str, **fields: Any) -> WireEvent:
    return {"type": f"response.{kind}", **fields}


class _Payload(Protocol):
    """What a call carries, by the kind of its tool."""

    type: str
    prefix: str

    def add(self, arguments: str) -> list[WireEvent]: ...
    def end(self) -> list[WireEvent]: ...

    @property
    def value(self) -> dict[str, Any]: ...

    @property
    def is_whole(self) -> bool: ...


class CallItem:
    """A call of a tool. `is_whole`: nothing is missing of what it carries."""

    def __init__(
        self, call_id: str, tool: OfferedTool, payload: _Payload, answer_id: str, place: int
    ) -> None:
        self.place = place
        self._id = f"{payload.prefix}_{answer_id}_{place}"
        self._call_id = call_id
        self._tool = tool
        self._payload = payload
        self._status: Status = "in_progress"

    @property
    def value(self) -> Item:
        item = {"id": self._id, "type": self._payload.type, "status": self._status, "call_id": self._call_id}
        if self._tool.kind != "tool_search":
            item["name"] = self._tool.name
        if self._tool.namespace:
            item["namespace"] = self._tool.namespace
        return item | self._payload.value

    @property
    def is_whole(self) -> bool:
        return self._payload.is_whole

    def begin(self) -> list[WireEvent]:
        return [wire_event("output_item.added", output_index=self.place, item=self.value)]

    def add(self, arguments: str) -> list[WireEvent]:
        return [self._placed(event) for event in self._payload.add(arguments)] if arguments else []

    def end(self, status: Status) -> list[WireEvent]:
        self._status = status
        return [self._placed(event) for event in self._payload.end()]

    def _placed(self, event: WireEvent) -> WireEvent:
        return event | {"item_id": self._id, "output_index": self.place}


class _Arguments:
    """Of a function: JSON text, passed on as the model wrote it."""

    type, prefix = "function_call", "fc"

    def __init__(self, name: str) -> None:
        self._name = name
        self._pieces: list[str] = []

    @property
    def value(self) -> dict[str, Any]:
        return {"arguments": "".join(self._pieces)}

    @property
    def is_whole(self) -> bool:
        return isinstance(_json_value("".join(self._pieces)), dict)

    def add(self, arguments: str) -> list[WireEvent]:
        self._pieces.append(arguments)
        return [wire_event("function_call_arguments.delta", delta=arguments)]

    def end(self) -> list[WireEvent]:
        return [wire_event("function_call_arguments.done", name=self._name, **self.value)]


class _FreeInput:
    """Of a custom tool: the text inside the one parameter that the model was offered."""

    type, prefix = "custom_tool_call", "ctc"

    def __init__(self) -> None:
        self._reader = FreeformText()
        self._texts: list[str] = []

    @property
    def value(self) -> dict[str, Any]:
        return {"input": "".join(self._texts)}

    @property
    def is_whole(self) -> bool:
        return self._reader.is_whole

    def add(self, arguments: str) -> list[WireEvent]:
        return self._told(self._reader.feed(arguments))

    def end(self) -> list[WireEvent]:
        return [*self._told(self._reader.finish()), wire_event("custom_tool_call_input.done", **self.value)]

    def _told(self, text: str) -> list[WireEvent]:
        if not text:
            return []
        self._texts.append(text)
        return [wire_event("custom_tool_call_input.delta", delta=text)]


class _Query:
    """Of a tool search: the arguments as a value, told when they are whole."""

    type, prefix = "tool_search_call", "tsc"

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._query: Any = {}

    @property
    def value(self) -> dict[str, Any]:
        return {"execution": "client", "arguments": self._query}

    @property
    def is_whole(self) -> bool:
        return isinstance(_json_value("".join(self._pieces)), dict)

    def add(self, arguments: str) -> list[WireEvent]:
        self._pieces.append(arguments)
        return []

    def end(self) -> list[WireEvent]:
        text = "".join(self._pieces)
        query = _json_value(text)
        self._query = text if query is None else query  # what is no JSON is the client's to refuse
        return []


def _json_value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def call_item(tool: OfferedTool, delta: ToolCallDelta, answer_id: str, place: int) -> CallItem:
    call_id = delta.id or f"call_{answer_id}_{delta.index}"
    match tool.kind:
        case "function":
            return CallItem(call_id, tool, _Arguments(tool.name), answer_id, place)
        case "custom":
            return CallItem(call_id, tool, _FreeInput(), answer_id, place)
        case "tool_search":
            return CallItem(call_id, tool, _Query(), answer_id, place)
        case _:
            assert_never(tool.kind)
