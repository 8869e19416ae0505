"""Streams of the Messages dialect, read strictly: every event is where Anthropic would send it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]

DELTA_OF = {
    "text": {"text_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
}


def events_of(stream: bytes) -> list[Event]:
    """The data of each event, whose name must be its type. Nothing but events may be there."""
    events = []
    assert stream.endswith(b"\n\n")
    for block in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


@dataclass
class Read:
    """What a client has of a stream in the end."""

    blocks: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    is_stopped: bool = False
    pings: int = 0

    def text(self, kind: str, key: str) -> str:
        return "".join(block[key] for block in self.blocks if block["type"] == kind)

    def calls(self) -> list[tuple[str, str, str]]:
        return [(b["id"], b["name"], b["json"]) for b in self.blocks if b["type"] == "tool_use"]


def read(events: list[Event]) -> Read:
    """Raises AssertionError where the order is wrong."""
    found = Read()
    is_open = False
    assert events[0]["type"] == "message_start"
    assert events[0]["message"]["content"] == []
    for event in events[1:]:
        assert not found.is_stopped, "nothing follows message_stop"
        assert found.error is None, "nothing follows an error"
        match event["type"]:
            case "ping":
                found.pings += 1
            case "content_block_start":
                assert not is_open
                assert found.stop_reason is None
                assert event["index"] == len(found.blocks)
                found.blocks.append({**event["content_block"], "json": ""})
                is_open = True
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(found.blocks) - 1
                _add(found.blocks[-1], event["delta"])
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(found.blocks) - 1
                assert found.blocks[-1].get("signature") != ""
                is_open = False
            case "message_delta":
                assert not is_open
                assert found.stop_reason is None
                found.stop_reason = event["delta"]["stop_reason"]
                found.stop_sequence = event["delta"]["stop_sequence"]
                found.usage = event["usage"]
            case "message_stop":
                assert found.stop_reason is not None
                found.is_stopped = True
            case "error":
                found.error = event["error"]
            case kind:
                raise AssertionError(f"unknown event {kind}")
    return found


def _add(block: dict[str, Any], delta: dict[str, Any]) -> None:
    kind = delta["type"]
    assert kind in DELTA_OF[block["type"]]
    assert block.get("signature", "") == "", "nothing follows the signature"
    match kind:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case _:
            block["json"] += delta["partial_json"]
