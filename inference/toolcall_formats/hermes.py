"""Hermes, Qwen 2.5 and 3, and the many that write the same: a JSON object in <tool_call> tags."""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.json_calls import JsonCalls

_NAME_KEYS: Final = ('"name"', '\\"name\\"', "{'name'")


def _taught(template: str) -> bool:
    return "<tool_call>" in template and any(key in template for key in _NAME_KEYS)


HERMES: Final = JsonCalls(
    name="hermes",
    open="<tool_call>\n",
    close="\n</tool_call>",
    each=True,
    in_list=False,
    taught=_taught,
)
