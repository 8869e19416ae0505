"""gpt-oss: the harmony protocol, where the whole answer is messages with headers.

`<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>commentary to=functions.name
<|constrain|>json<|message|>{…}<|call|>`: analysis is reasoning, final and commentary are content, and
a recipient makes a call of any message. The recipient may stand before the channel as well. The prompt
ends with `<|start|>assistant`, so an answer may begin in the middle of a header. Text outside any
message is content, so the parser steps aside behind the header of a message that is content: a JSON
document does not end where one of its strings spells a marker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.json_calls import ANY_OBJECT
from inference.toolcall_formats.json_text import json_value
from inference.toolcall_formats.source import Markers, NotACall, Source, Steps

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
RECIPIENT: Final = " to="
MAX_HEADER_CHARS: Final = 400

_TOOLS: Final = "functions."
_HEADER: Final = re.compile(r"[^<]+")
_BODY_ENDS: Final = Markers((END, CALL, RETURN, START, CHANNEL))


class Harmony:
    """A ToolFormat and its CallParser."""

    name = "harmony"
    triggers = (f"{CHANNEL}commentary{RECIPIENT}{_TOOLS}",)
    markers = (START, CHANNEL, MESSAGE, CONSTRAIN, END, CALL, RETURN)
    starts = (START, CHANNEL, END, CALL, RETURN)
    first_starts = (RECIPIENT,)
    owns_channels = True

    def detect(self, template: str) -> bool:
        return CHANNEL in template and MESSAGE in template

    def parser(self, tools: Sequence[Tool]) -> Harmony:
        return self

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        """From one marker to the end of the message that it heads."""
        while start in (START, CHANNEL, RECIPIENT):
            try:
                header = yield from self._header(start, source)
            except NotACall:
                if source.ended and not source.rest:
                    return  # half a header is nothing that anybody should read
                raise
            sink.boundary()
            if not (_recipient(header) or _is_thought(header)):
                return
            start = yield from self._body(header, source, sink)

    def _header(self, start: str, source: Source) -> Steps[str]:
        """All of it, as `role to=recipient <|channel|>name …`."""
        parts = [start]
        left = MAX_HEADER_CHARS
        while True:
            parts.append((yield from source.run(_HEADER, at_most=left)))
            left -= len(parts[-1])
            mark = yield from source.expect(MESSAGE, CHANNEL, CONSTRAIN, START)
            if mark == MESSAGE:
                return "".join(parts)
            if mark == START:  # what came before was nothing
                parts.clear()
            parts.append(mark)

    def _body(self, header: str, source: Source, sink: CallSink) -> Steps[str]:
        """Returns the marker that ends the message, or "" at the end of the text."""
        recipient = _recipient(header)
        if recipient:
            return (yield from self._call(recipient, source, sink))
        while True:
            piece = yield from source.before(_BODY_ENDS)
            if piece.text:
                sink.reasoning(piece.text)
            if piece.marker or not piece.text:
                return piece.marker

    def _call(self, name: str, source: Source, sink: CallSink) -> Steps[str]:
        sink.begin(name)
        yield from source.space()
        if (yield from source.accept(*_BODY_ENDS.words)):
            sink.arguments("{}")
            sink.end()
            return ""
        yield from json_value(source, sink.arguments)
        sink.end()
        yield from source.space()
        return (yield from source.accept(*_BODY_ENDS.words))

    def render(self, calls: Sequence[ToolCall]) -> str:
        head, tail = self.triggers[0], f" {CONSTRAIN}json{MESSAGE}"
        return f"{START}assistant".join(
            f"{head}{call.name}{tail}{call.arguments or '{}'}{CALL}" for call in calls
        )

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        one = g.rule("call", g.any_of(*(self._tool_grammar(g, tool) for tool in tools)))
        if not parallel:
            return one
        return g.seq(one, g.repeat(g.seq(g.literal(f"{START}assistant"), one)))

    def _tool_grammar(self, g: GrammarBuilder, tool: Tool) -> str:
        kind = g.any_of(g.literal(f" {CONSTRAIN}json"), g.literal(" json"))
        return g.seq(
            g.literal(self.triggers[0] + tool.name),
            g.optional(kind),
            g.literal(MESSAGE),
            g.json(tool.parameters or ANY_OBJECT),
            g.literal(CALL),
        )


def _is_thought(header: str) -> bool:
    return CHANNEL in header and header.rpartition(CHANNEL)[2].split()[:1] == ["analysis"]


def _recipient(header: str) -> str:
    """Of a tool; "" for none, and for a message to the assistant or to all."""
    found = re.search(r" to=([^\s<]+)", header)
    if found is None or found[1] in ("assistant", "all", "user"):
        return ""
    return found[1].removeprefix(_TOOLS)


HARMONY: Final = Harmony()
