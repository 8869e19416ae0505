"""What an answer is understood as when it ends: by the model itself, or because its tokens were used up."""

from __future__ import annotations

import pytest

from inference.chat import FinishReason, TextDelta, Tool, ToolCallDelta
from inference.engines.llama_answer import AnswerParser
from inference.stream_parser import StreamParser
from inference.toolcall_formats import format_named


@pytest.mark.parametrize(
    ("text", "reason", "expected", "content", "calls"),
    [
        ("Hm. <tool_ca", "length", "length", "Hm.", 0),
        ("Hm. <tool_ca", "stop", "stop", "Hm. <tool_ca", 0),
        ('Hm. <tool_call>{"name": "no', "length", "length", "Hm.", 0),
        ('<tool_call>{"name": "now", "arguments": {"a": ', "length", "length", "", 1),
        ('<tool_call>{"name": "now"}</tool_call>', "length", "length", "", 1),
        ('<tool_call>{"name": "now"}</tool_call>', "stop", "tool_calls", "", 1),
        ('<tool_call>{"name": "now"}</tool_c', "length", "length", "", 1),
        ('<tool_call>{"name": "now", "arguments": {"a": ', "stop", "stop", "", 1),
    ],
)
def test_how_an_answer_ends(
    text: str, reason: FinishReason, expected: FinishReason, content: str, calls: int
) -> None:
    for pieces in ([text], list(text)):
        stream = StreamParser(format_named("hermes"), [Tool(name="now")], None, call_id=str)
        answer = AnswerParser(stream, starts_in_reasoning=False)
        for piece in pieces:
            answer.feed(piece)
        assert answer.finish(reason) == expected
        deltas = answer.take()
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)).rstrip() == content
        assert sum(bool(delta.name) for delta in deltas if isinstance(delta, ToolCallDelta)) == calls
