"""Reasoning switches by the variables that templates read, and reasoning text where they read it."""

from __future__ import annotations

from typing import Any

import pytest

from inference.chat import ChatRequest, Message, Reasoning, Tool, ToolCall
from inference.reasoning_style import THINK
from inference.template_reasoning import reasoning_apart
from inference.templates import ChatTemplate

END = "{% for m in messages %}{{ m.content }}{% endfor %}"


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="", eos_token="")


def render(source: str, asked: Reasoning | None, **kwargs: Any) -> str:
    message = Message(role="user", content="|u")
    request = ChatRequest(model="m", messages=(message,), reasoning=asked, template_kwargs=kwargs)
    return template(source).render(request)


ON, OFF = Reasoning(enabled=True), Reasoning(enabled=False)
LOW, MEDIUM, XHIGH, NONE = (Reasoning(effort=effort) for effort in ("low", "medium", "xhigh", "none"))
BOOLEAN = "{{ enable_thinking is defined and enable_thinking }}" + END
DEFAULTED = "{% if thinking is undefined %}{% set thinking = true %}{% endif %}{{ thinking }}" + END
MODE = (
    "{% if thinking_mode is defined %}{{ {'enabled': 'on', 'disabled': 'off'}[thinking_mode] }}{% endif %}"
    + END
)
EFFORT = "{{ reasoning_effort | default('medium') }}" + END
STRICT = (
    "{% if reasoning_effort is not defined %}{% set reasoning_effort = 'no_think' %}"
    "{% elif reasoning_effort not in ['high', 'low', 'no_think'] %}{{ raise_exception('what?') }}{% endif %}"
    "{{ reasoning_effort }}" + END
)
BOTH = (
    "{% if thinking is undefined %}{% set thinking = false %}{% endif %}"
    "{% if thinking_effort is undefined %}{% set thinking_effort = 'max' %}{% endif %}"
    "{% if thinking and thinking_effort not in ['low', 'high', 'max'] %}"
    "{{ raise_exception('what?') }}{% endif %}{{ thinking ~ ' ' ~ thinking_effort }}" + END
)
BUDGET = "{{ thinking_budget | default(-1) }}" + END
MINIMAL = "{{ 'short' if reasoning_effort in ['low', 'minimal'] else reasoning_effort }}" + END


@pytest.mark.parametrize(
    ("source", "asked", "shown"),
    [
        (BOOLEAN, None, "False"),
        (BOOLEAN, Reasoning(), "False"),
        (BOOLEAN, ON, "True"),
        (BOOLEAN, OFF, "False"),
        (BOOLEAN, LOW, "True"),
        (BOOLEAN, NONE, "False"),
        (DEFAULTED, None, "True"),
        (DEFAULTED, OFF, "False"),
        (DEFAULTED, NONE, "False"),
        (MODE, None, ""),
        (MODE, ON, "on"),
        (MODE, OFF, "off"),
        (EFFORT, None, "medium"),
        (EFFORT, ON, "medium"),
        (EFFORT, LOW, "low"),
        (EFFORT, XHIGH, "high"),
        (EFFORT, OFF, "low"),
        (STRICT, None, "no_think"),
        (STRICT, ON, "high"),
        (STRICT, MEDIUM, "high"),
        (STRICT, LOW, "low"),
        (STRICT, OFF, "no_think"),
        (BOTH, None, "False max"),
        (BOTH, ON, "True max"),
        (BOTH, MEDIUM, "True high"),
        (BOTH, XHIGH, "True max"),
        (BOTH, OFF, "False max"),
        (BUDGET, ON, "-1"),
        (BUDGET, OFF, "0"),
        (BUDGET, MEDIUM, "4096"),
        (MINIMAL, OFF, "short"),
        (MINIMAL, MEDIUM, "medium"),
        (END, LOW, ""),
    ],
)
def test_what_is_asked_reaches_the_variable_that_the_template_reads(
    source: str, asked: Reasoning | None, shown: str
) -> None:
    assert render(source, asked) == shown + "|u"


def test_an_effort_is_none_without_reasoning_and_enabled_counts_more() -> None:
    assert render(BOTH, Reasoning(enabled=False, effort="high")) == "False max|u"
    assert render(BOTH, Reasoning(enabled=True, effort="none")) == "True max|u"


def test_what_the_request_says_itself_counts_most() -> None:
    assert render(BOOLEAN, OFF, enable_thinking=True) == "True|u"
    assert render(EFFORT, LOW, reasoning_effort="extreme") == "extreme|u"


# --- where templates read it ---------------------------------------------------------------------

TOLD = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}"
CALLS = "{% for c in m.tool_calls %}({{ c.function.name }}{{ c.function.arguments | tojson }}){% endfor %}"


def reading(expression: str) -> str:
    return TOLD + "{% for m in messages %}<{{ m.role }}>" + expression + CALLS + "{% endfor %}{# <think> #}"


PARTS = (
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{{ '[' + p.thinking + ']' if p.type == 'thinking' else p.text }}{% endfor %}{% endif %}"
)


@pytest.mark.parametrize(
    ("expression", "field", "shown"),
    [
        (
            "{{ '[' + m.reasoning_content + ']' if m.reasoning_content }}{{ m.content }}",
            "reasoning_content",
            "[hm]a",
        ),
        ("{{ '[' + m.reasoning + ']' if m.reasoning }}{{ m.content }}", "reasoning", "[hm]a"),
        ("{{ '[' + m.thinking + ']' if m.thinking is defined }}{{ m.content }}", "thinking", "[hm]a"),
        (PARTS, "parts", "[hm]a"),
        ("{{ m.content }}", "tags", "<think>\nhm\n</think>\n\na"),
        ("{{ m.content.split('</think>')[-1] | trim }}", None, "a"),
    ],
)
def test_reasoning_goes_where_the_template_reads_it(expression: str, field: str | None, shown: str) -> None:
    found = template(reading(expression))
    assert found.shape.reasoning == field
    call = ToolCall(id="1", name="f", arguments="{}")
    messages = (
        Message(role="user", content="u"),
        Message(role="assistant", content="a", reasoning="hm", tool_calls=(call,)),
        Message(role="tool", content="r", tool_call_id="1"),
    )
    assert (
        found.render(ChatRequest(model="m", messages=messages)) == f"<user>u<assistant>{shown}(f{{}})<tool>r"
    )


def test_reasoning_within_the_text_is_that_of_the_turn_in_progress_only() -> None:
    found = template(reading("{{ m.content }}"))
    thought = Message(role="assistant", content="a", reasoning="hm")
    user = Message(role="user", content="u")
    assert found.render(ChatRequest(model="m", messages=(user, thought, user, thought))) == (
        "<user>u<assistant>a<user>u<assistant><think>\nhm\n</think>\n\na"
    )


def test_a_template_without_markers_gets_no_reasoning() -> None:
    found = template(reading("{{ m.content }}").replace("{# <think> #}", ""))
    thought = Message(role="assistant", content="a", reasoning="hm")
    assert found.shape.reasoning is None
    assert found.render(ChatRequest(model="m", messages=(thought,))) == "<assistant>a"


def test_reasoning_that_comes_back_in_the_text_is_told_apart() -> None:
    sent = Message(role="assistant", content="<think>\nhm\n</think>\n\nYes.")
    assert reasoning_apart([sent], THINK) == (Message(role="assistant", content="Yes.", reasoning="hm"),)


@pytest.mark.parametrize(
    "message",
    [
        Message(role="user", content="<think>hm</think>a"),
        Message(role="assistant", content="<think>no end"),
        Message(role="assistant", content="so <think>hm</think>a"),
        Message(role="assistant", content="<think>hm</think>a", reasoning="known"),
    ],
)
def test_other_text_stays_as_it_is(message: Message) -> None:
    assert reasoning_apart([message], THINK) == (message,)
    assert reasoning_apart([message], None) == (message,)


def test_tools_given_or_not_the_field_is_the_same() -> None:
    source = reading("{{ '[' + m.reasoning_content + ']' if m.reasoning_content }}{{ m.content }}")
    thought = Message(role="assistant", content="a", reasoning="hm")
    request = ChatRequest(model="m", messages=(thought,), tools=(Tool(name="f"),))
    assert template(source).render(request).endswith("<assistant>[hm]a")
