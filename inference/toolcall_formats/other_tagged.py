"""Families that write tags of their own: Seed-OSS, Hunyuan 3, MiniCPM 5."""

from __future__ import annotations

from typing import Final

from inference.toolcall_formats.tagged_calls import TaggedCalls, Tags

SEED_OSS: Final = TaggedCalls(
    name="seed-oss",
    tags=Tags(
        section_open="<seed:tool_call>\n",
        call_open="<function=",
        name_end=">\n",
        key_open="<parameter=",
        key_ends=((">", None),),
        value_open="",
        value_close="</parameter>\n",
        call_close="</function>",
        section_close="\n</seed:tool_call>",
    ),
    taught=lambda template: "<seed:tool_call>" in template,
)
HUNYUAN_3: Final = TaggedCalls(
    name="hunyuan-3",
    tags=Tags(
        section_open="<tool_calls:opensource>\n",
        call_open="<tool_call:opensource>",
        name_end="<tool_sep:opensource>\n",
        key_open="<arg_key:opensource>",
        key_ends=(("</arg_key:opensource>", None),),
        value_open="\n<arg_value:opensource>",
        value_close="</arg_value:opensource>\n",
        call_close="</tool_call:opensource>\n",
        section_close="</tool_calls:opensource>",
        one_section=True,
    ),
    taught=lambda template: "'<arg_key{}>'.format" in template and "':opensource'" in template,
)
MINICPM_5: Final = TaggedCalls(
    name="minicpm-5",
    tags=Tags(
        call_open='<function name="',
        name_end='">',
        key_open='<param name="',
        key_ends=(('">', None),),
        value_open="",
        value_close="</param>",
        quoted_open="<![CDATA[",
        quoted_close="]]>",
        call_close="</function>",
    ),
    taught=lambda template: '<function name="' in template and "<param name=" in template,
)
