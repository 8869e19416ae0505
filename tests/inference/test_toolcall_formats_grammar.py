"""Every format's grammar: it takes what the format renders, and what it takes the format parses."""

from __future__ import annotations

import json

import pytest

from inference.chat import Tool, ToolCall
from inference.grammar import ToolCalls
from inference.toolcall_formats import FORMATS
from inference.toolcall_formats.base import ToolFormat
from tests.inference.grammar_texts import accepts, compiler
from tests.inference.toolcall_transcripts import CODE, TOOLS

formats = pytest.mark.parametrize("tool_format", FORMATS, ids=lambda known: known.name)

EDIT: dict[str, object] = {
    "path": "a/b.py",
    "text": CODE,
    "lines": [1, 20],
    "options": {"backup": True},
    "note": "some",
}
GOOD: tuple[tuple[str, dict[str, object]], ...] = (
    ("get_weather", {"city": "Paris", "days": 3, "metric": True}),
    ("get_weather", {"city": "Paris"}),
    ("edit_file", EDIT),
    ("now", {}),
)


def call(name: str, arguments: object) -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=json.dumps(arguments, ensure_ascii=False))


def allowed(
    tool_format: ToolFormat, calls: list[ToolCall], *, parallel: bool = True, tools: tuple[Tool, ...] = TOOLS
) -> bool:
    rule = ToolCalls(format_name=tool_format.name, tools=tools, choice="required", parallel=parallel)
    compiled = compiler().compile(rule, tool_format)
    return accepts(compiled, tool_format.render(calls).strip())


@formats
@pytest.mark.parametrize(("name", "arguments"), GOOD, ids=["all", "required only", "code", "none"])
def test_a_call_of_an_offered_tool(tool_format: ToolFormat, name: str, arguments: object) -> None:
    assert allowed(tool_format, [call(name, arguments)])


@formats
def test_two_calls_unless_only_one_may_come(tool_format: ToolFormat) -> None:
    two = [call("now", {}), call("get_weather", {"city": "Oslo"})]
    assert allowed(tool_format, two)
    assert not allowed(tool_format, two, parallel=False)


@formats
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("get_whether", {"city": "Paris"}),
        ("get_weather", {"days": 3}),
        ("get_weather", {"city": "Paris", "days": "three"}),
        ("get_weather", {"city": "Paris", "where": 1}),
    ],
    ids=["no such tool", "required missing", "wrong type", "unknown parameter"],
)
def test_no_other_call(tool_format: ToolFormat, name: str, arguments: object) -> None:
    assert not allowed(tool_format, [call(name, arguments)])
