"""Families that write JSON objects between markers of their own: one line of facts each.

Cohere Command R7B and A, Nemotron Nano 2, Apriel, FireFunction, GigaChat 3 and 3.1.
"""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.json_calls import JsonCalls

COHERE: Final = JsonCalls(
    name="cohere",
    open="<|START_ACTION|>",
    close="<|END_ACTION|>",
    name_key="tool_name",
    arguments_key="parameters",
    taught=lambda template: "<|START_ACTION|>" in template,
)
NEMOTRON_2: Final = JsonCalls(
    name="nemotron-2",
    open="<TOOLCALL>",
    close="</TOOLCALL>",
    taught=lambda template: "<TOOLCALL>" in template,
)
APRIEL: Final = JsonCalls(
    name="apriel",
    open="<tool_calls>",
    close="</tool_calls>",
    taught=lambda template: "<tool_calls>[" in template,
)
GIGACHAT_3: Final = JsonCalls(
    name="gigachat-3",
    open="<|message_sep|>\n\nfunction call<|role_sep|>\n",
    close="",
    each=True,
    in_list=False,
    taught=lambda template: "<|message_sep|>" in template and "'function call'" in template,
)
FIREFUNCTION: Final = JsonCalls(
    name="firefunction",
    open="functools",
    close="",
    taught=lambda template: "functools[" in template,
)
GIGACHAT: Final = JsonCalls(
    name="gigachat",
    open="<|function_call|>",
    close="",
    in_list=False,
    taught=lambda template: '"<|function_call|>"' in template,
)
