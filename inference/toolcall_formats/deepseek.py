"""DeepSeek: R1 and V3 (a ```json block behind the name), V3.1 (the object itself), V3.2 and V4 (tags)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.arguments import ANY, STRING
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import ANY_OBJECT
from inference.toolcall_formats.named_calls import NamedCalls, read_arguments
from inference.toolcall_formats.source import NotACall, Source, Steps
from inference.toolcall_formats.tagged_calls import MAX_NAME_CHARS, NAME, TaggedCalls, Tags

_SECTION, _SECTION_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_FENCE = re.compile(r"[`a-z]+")


class DeepSeekR1:
    """`function<sep>name`, newline, the object in a ```json block."""

    name = "deepseek-r1"
    triggers = (_SECTION,)
    markers = (_SECTION, _SECTION_END, _CALL, _CALL_END, _SEPARATOR)
    starts = (_SECTION, _CALL)
    first_starts: tuple[str, ...] = ()
    owns_channels = False

    def detect(self, template: str) -> bool:
        return _CALL in template and "```json" in template

    def parser(self, tools: Sequence[Tool]) -> DeepSeekR1:
        return self

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        if start == _SECTION:
            yield from source.space()
            yield from source.expect(_CALL)
        while True:
            yield from self._call(source, sink)
            yield from source.space()
            if (yield from source.accept(_CALL, _SECTION_END)) != _CALL:
                return

    def _call(self, source: Source, sink: CallSink) -> Steps[None]:
        yield from source.space()
        yield from source.run(NAME, at_most=MAX_NAME_CHARS)
        yield from source.expect(_SEPARATOR)
        yield from source.space()
        name = yield from source.run(NAME, at_most=MAX_NAME_CHARS)
        if not name:
            raise NotACall
        yield from source.space()
        if (yield from source.peek()) not in ("{", "`", "<"):
            raise NotACall
        sink.begin(name)
        yield from source.run(_FENCE, at_most=len("```json"))
        yield from read_arguments(source, sink, "```", _CALL_END)
        yield from source.space()
        if (yield from source.accept("```")):
            yield from source.space()
        yield from source.accept(_CALL_END)

    def render(self, calls: Sequence[ToolCall]) -> str:
        one = (
            f"{_CALL}function{_SEPARATOR}{call.name}\n```json\n{call.arguments or '{}'}\n```{_CALL_END}"
            for call in calls
        )
        return _SECTION + "\n".join(one) + _SECTION_END

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        call = g.rule(
            "call",
            g.any_of(
                *(
                    g.seq(
                        g.literal(f"{_CALL}function{_SEPARATOR}{tool.name}\n```json\n"),
                        g.json(tool.parameters or ANY_OBJECT),
                        g.literal(f"\n```{_CALL_END}"),
                    )
                    for tool in tools
                )
            ),
        )
        more = [g.repeat(g.seq(g.whitespace(), call))] if parallel else []
        return g.seq(g.literal(_SECTION), call, *more, g.literal(_SECTION_END))


DEEPSEEK_R1: Final = DeepSeekR1()

DEEPSEEK_V3_1: Final = NamedCalls(
    name="deepseek-v3.1",
    section_open=_SECTION,
    call_open=_CALL,
    arguments_open=_SEPARATOR,
    call_close=_CALL_END,
    section_close=_SECTION_END,
    taught=lambda template: _CALL in template and "```json" not in template,
)


def _dsml(name: str, section: str) -> TaggedCalls:
    """The tags; `string="true"` says that the value stands as it is, `"false"` that it is JSON."""
    mark = "｜DSML｜"
    return TaggedCalls(
        name=name,
        tags=Tags(
            section_open=f"<{mark}{section}>\n",
            call_open=f'<{mark}invoke name="',
            name_end='">\n',
            key_open=f'<{mark}parameter name="',
            key_ends=(('" string="true">', STRING), ('">', None), ('" string="false">', ANY - STRING)),
            value_open="",
            value_close=f"</{mark}parameter>\n",
            call_close=f"</{mark}invoke>\n",
            section_close=f"</{mark}{section}>",
            one_section=True,
        ),
        extra_markers=(mark,),
        taught=lambda template: mark in template and f"{section}>" in template,
    )


DEEPSEEK_V3_2: Final = _dsml("deepseek-v3.2", "function_calls")
DEEPSEEK_V4: Final = _dsml("deepseek-v4", "tool_calls")
