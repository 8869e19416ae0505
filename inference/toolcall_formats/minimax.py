"""MiniMax M2 (<invoke> and <parameter> tags) and M1 (JSON objects, one a line)."""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.json_calls import JsonCalls
from inference.toolcall_formats.tagged_calls import TaggedCalls, Tags

MINIMAX_M2: Final = TaggedCalls(
    name="minimax-m2",
    tags=Tags(
        section_open="<minimax:tool_call>\n",
        call_open='<invoke name="',
        name_end='">\n',
        key_open='<parameter name="',
        key_ends=(('">', None),),
        value_open="",
        value_close="</parameter>\n",
        call_close="</invoke>\n",
        section_close="</minimax:tool_call>",
        one_section=True,
    ),
    taught=lambda template: "<minimax:tool_call>" in template,
)

MINIMAX_M1: Final = JsonCalls(
    name="minimax-m1",
    open="<tool_calls>\n",
    close="\n</tool_calls>",
    in_list=False,
    separator="\n",
    taught=lambda template: '<tool_calls>\\n{"name"' in template,
)
