"""Granite up to 3.3: a list of JSON objects behind <|tool_call|>. Granite 4 writes as Hermes does."""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.json_calls import JsonCalls

GRANITE: Final = JsonCalls(
    name="granite",
    open="<|tool_call|>",
    close="",
    also_starts=("<tool_call>",),
    taught=lambda template: "<|tool_call|>" in template and "<|start_of_role|>" in template,
)
