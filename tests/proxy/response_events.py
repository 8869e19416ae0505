"""What a stream of Responses events must be: `checked` reads one, up to the first rule that is broken."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

LIFECYCLE = {"response.created", "response.in_progress"}
ENDINGS = {"response.completed", "response.incomplete", "response.failed"}
PARTS = {"content_part", "reasoning_summary_part"}
TEXTS = {"output_text", "reasoning_text", "reasoning_summary_text"}
PAYLOADS = {"function_call_arguments": "arguments", "custom_tool_call_input": "input"}


@dataclass
class OpenItem:
    item: Json
    part: Json | None = None
    pieces: list[str] = field(default_factory=list)
    text_done: bool = False
    part_done: bool = False
    payload_done: bool = False
    done: Json | None = None


@dataclass
class Stream:
    events: list[Json]
    items: dict[int, OpenItem]
    ending: Json

    @property
    def types(self) -> list[str]:
        """Without the part that all have in common, and neighbours of one type once."""
        names = [event["type"].removeprefix("response.") for event in self.events]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

    @property
    def response(self) -> Json:
        return dict(self.ending["response"])

    def pieces(self, place: int) -> str:
        return "".join(self.items[place].pieces)


def frames(data: bytes) -> list[Json]:
    """Each event has its type twice: as the name of the event and inside."""
    assert data.endswith(b"\n\n")
    events: list[Json] = []
    for frame in data.decode().removesuffix("\n\n").split("\n\n"):
        name, line = frame.split("\n")
        event = json.loads(line.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def checked(events: list[Json]) -> Stream:
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    items: dict[int, OpenItem] = {}
    for event in events[:-1]:
        if event["type"] in LIFECYCLE:
            assert event["response"]["status"] == "in_progress"
            assert event["response"]["id"] == events[0]["response"]["id"]
            assert event["response"]["output"] == []
        else:
            _item_event(event, items)
    ending = events[-1]
    assert ending["type"] in ENDINGS
    _ending(ending["type"].removeprefix("response."), ending["response"], items)
    assert [event["type"] for event in events].count("response.created") == 1
    return Stream(events, items, ending)


def _item_event(event: Json, items: dict[int, OpenItem]) -> None:
    kind, _, step = event["type"].removeprefix("response.").rpartition(".")
    place = event["output_index"]
    if (kind, step) == ("output_item", "added"):
        assert place == len(items)
        assert event["item"]["status"] == "in_progress"
        items[place] = OpenItem(event["item"])
        return
    open_item = items[place]
    assert open_item.done is None, f"{event['type']} after its item was done"
    if (kind, step) == ("output_item", "done"):
        _item_done(event["item"], open_item)
        return
    assert event["item_id"] == open_item.item["id"]
    if kind in PARTS:
        _part(event, step, open_item)
    elif kind in TEXTS:
        assert open_item.part is not None
        assert not open_item.text_done
        assert event.get("content_index", event.get("summary_index")) == 0
        if step == "delta":
            open_item.pieces.append(event["delta"])
        else:
            assert event["text"] == "".join(open_item.pieces)
            open_item.text_done = True
    else:
        _payload(event, PAYLOADS[kind], step, open_item)


def _part(event: Json, step: str, open_item: OpenItem) -> None:
    if step == "added":
        assert open_item.part is None
        assert event["part"]["text"] == ""
        open_item.part = event["part"]
    else:
        assert open_item.text_done
        assert event["part"]["text"] == "".join(open_item.pieces)
        open_item.part_done = True


def _payload(event: Json, key: str, step: str, open_item: OpenItem) -> None:
    assert key in open_item.item
    assert not open_item.payload_done
    if step == "delta":
        open_item.pieces.append(event["delta"])
    else:
        assert event[key] == "".join(open_item.pieces)
        open_item.payload_done = True


def _item_done(item: Json, open_item: OpenItem) -> None:
    same = ("id", "type", "call_id", "name", "namespace", "role", "execution")
    assert {key: item.get(key) for key in same} == {key: open_item.item.get(key) for key in same}
    assert item["status"] in ("completed", "incomplete")
    match item["type"]:
        case "message" | "reasoning":
            assert open_item.part_done
            [part] = item["content"] or item["summary"]
            assert part["text"] == "".join(open_item.pieces)
        case "function_call" | "custom_tool_call":
            assert open_item.payload_done
        case kind:
            assert kind == "tool_search_call"
    open_item.done = item


def _ending(status: str, response: Json, items: dict[int, OpenItem]) -> None:
    assert response["status"] == status
    done = [item.done for _, item in sorted(items.items()) if item.done is not None]
    if status == "failed":
        assert sorted(item["id"] for item in response["output"]) == sorted(item["id"] for item in done)
        assert response["error"]["code"]
        assert response["error"]["message"]
        assert response["usage"] is None
        return
    assert response["error"] is None
    assert response["usage"]["total_tokens"] >= 0
    assert [item["id"] for item in response["output"]] == [
        item.item["id"] for _, item in sorted(items.items())
    ]
    for item in response["output"]:
        told = next(known for known in items.values() if known.item["id"] == item["id"])
        if told.done is not None:
            assert item == told.done
        else:  # only a call that was cut off
            assert (status, item["status"]) == ("incomplete", "incomplete")
            assert item["type"].endswith("_call")
            if "arguments" in item or "input" in item:
                text = item.get("input", item.get("arguments"))
                assert not isinstance(text, str) or "".join(told.pieces) in (text, "")
    if status == "completed":
        assert {item["status"] for item in response["output"]} <= {"completed"}
    else:
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
