"""Kimi K2: `functions.name:number` between markers, then the arguments as a JSON object."""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.named_calls import NamedCalls

KIMI_K2: Final = NamedCalls(
    name="kimi-k2",
    section_open="<|tool_calls_section_begin|>",
    call_open="<|tool_call_begin|>",
    prefix="functions.",
    numbered=":",
    arguments_open="<|tool_call_argument_begin|>",
    call_close="<|tool_call_end|>",
    section_close="<|tool_calls_section_end|>",
    taught=lambda template: "<|tool_call_argument_begin|>" in template,
)
