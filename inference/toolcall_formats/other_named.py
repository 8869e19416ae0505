"""Families that write a name between markers of their own, then JSON: Functionary 3.1, Solar Open."""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.named_calls import NamedCalls

FUNCTIONARY_3_1: Final = NamedCalls(
    name="functionary-3.1",
    call_open="<function=",
    arguments_open=">",
    call_close="</function>",
    taught=lambda template: "start_tag => `<function`" in template,
)
SOLAR: Final = NamedCalls(
    name="solar",
    call_open="<|tool_call:begin|>",
    name_open="<|tool_call:name|>",
    arguments_open="<|tool_call:args|>",
    call_close="<|tool_call:end|>",
    taught=lambda template: "<|tool_call:args|>" in template,
)
