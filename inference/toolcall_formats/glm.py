"""GLM 4.5 to 5, and others that write the same: <arg_key> and <arg_value> in a <tool_call> tag."""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.tagged_calls import TaggedCalls, Tags


def _taught(template: str) -> bool:
    return "<arg_key>" in template


GLM: Final = TaggedCalls(
    name="glm",
    tags=Tags(
        call_open="<tool_call>",
        name_end="\n",
        key_open="<arg_key>",
        key_ends=(("</arg_key>", None),),
        value_open="\n<arg_value>",
        value_close="</arg_value>\n",
        call_close="</tool_call>",
    ),
    taught=_taught,
)
