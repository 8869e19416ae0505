"""Qwen3-Coder, Qwen 3.5 and 3.6, Nemotron 3, Step 3.5: <function=…> and <parameter=…> in <tool_call> tags.

Qwen3-Coder sometimes forgets the opening <tool_call>: a call may begin with <function= as well.
"""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.tagged_calls import TaggedCalls, Tags


def _taught(template: str) -> bool:
    return "<tool_call>" in template and "<function=" in template and "<parameter=" in template


QWEN3_XML: Final = TaggedCalls(
    name="qwen3-xml",
    tags=Tags(
        section_open="<tool_call>\n",
        call_open="<function=",
        name_end=">\n",
        key_open="<parameter=",
        key_ends=((">", None),),
        value_open="\n",
        value_close="\n</parameter>\n",
        call_close="</function>",
        section_close="\n</tool_call>",
    ),
    also_starts=("<function=",),
    taught=_taught,
)
