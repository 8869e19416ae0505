"""The normaliser: for each thing that templates cannot say, a small one, and what becomes of messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from inference.chat import ChatRequest, Message, Tool, ToolCall
from inference.errors import InvalidRequest
from inference.templates import ChatTemplate

TOOLS = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
BODY = (
    "<{{ m.role }}>{{ '[' ~ m.reasoning_content ~ ']' if m.reasoning_content }}{{ m.content }}"
    "{% for c in m.tool_calls %}({{ c.id }} {{ c.function.name }} {{ c.function.arguments | tojson }})"
    "{% endfor %}"
)
ABLE = TOOLS + "{% for m in messages %}" + BODY + "{% endfor %}<assistant>"


def refusing(condition: str, why: str = "no") -> str:
    """A template that can say everything, but refuses this of any message."""
    return ABLE.replace(BODY, f"{{% if {condition} %}}{{{{ raise_exception('{why}') }}}}{{% endif %}}" + BODY)


ALTERNATING = """\
{%- set ns = namespace(n=0) -%}
{%- for m in messages -%}
{%- if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) -%}
{%- if (m.role == 'user') != (ns.n % 2 == 0) -%}{{ raise_exception('must alternate') }}{%- endif -%}
{%- set ns.n = ns.n + 1 -%}
{%- endif -%}
{%- endfor -%}
""" + refusing("m.tool_calls and m.tool_calls[0].id | length != 9", "nine").replace(
    "{{ m.content }}", "{{ m.content if not m.tool_calls }}"
)
FRONT = "{% for m in messages if m.role == 'system' %}<system>{{ m.content }}{% endfor %}" + ABLE.replace(
    "in messages %}<", "in messages if m.role != 'system' %}<"
)
PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
PLAIN_STRICT = PLAIN.replace(
    "<{{ m.role }}>",
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
    "<{{ m.role }}>",
)
AS_PYTHON = ABLE.replace("c.function.arguments | tojson", "c.function.arguments")
FLAT = ABLE.replace("c.function.", "c.")
NO_TEXT_IS_NONE = ABLE.replace("{{ m.content }}", "{{ m.content if m.content is not none }}").replace(
    "in m.tool_calls %}", "in (m.tool_calls or []) if m.content is none %}"
)
DESCRIBED = (
    "{% for t in tools or [] %}{{ t.function.name }}"
    "{% for name, of in t.function.parameters.properties | items %}"
    " {{ name + ':' + of.type + ':' + of.description }}{% endfor %}{% endfor %}"
) + ABLE.removeprefix(TOOLS)
DEVELOPERS = refusing("m.role not in ['user', 'assistant', 'tool', 'developer']", "who?")
HARMONY_LIKE = refusing("m.tool_calls and m.content and m.thinking", "both").replace(
    "m.reasoning_content", "m.thinking"
)
FUNCTIONS = "{{ functions if tools }}" + ABLE.removeprefix(TOOLS)
TEXT_BEHIND = (
    ABLE.replace("{{ m.content }}", "")
    .replace("{% endfor %}<assistant>", "{{ m.content }}{% endfor %}<assistant>")
    .replace("{{ m.content }}", "{{ '' if m.tool_calls else m.content }}")
)


class Words:
    def instructions(self, tools: Sequence[Tool]) -> str:
        return "CALL " + ",".join(tool.name for tool in tools)

    def render(self, calls: Sequence[ToolCall]) -> str:
        return "".join(f"!{call.name}{call.arguments}" for call in calls)


def said(role: str, content: str = "", **more: Any) -> Message:
    return Message(role=role, content=content, **more)  # type: ignore[arg-type]


def call(number: int, id_: str = "") -> ToolCall:
    return ToolCall(id=id_ or f"abcdefgh{number}", name="f", arguments=json.dumps({"a": number}))


def result(number: int, text: str = "ok") -> Message:
    return said("tool", text, tool_call_id=f"abcdefgh{number}")


SYSTEM, LATE, USER, MORE = said("system", "S"), said("system", "late"), said("user", "u"), said("user", "v")
DEVELOPER, ANSWER, EMPTY = said("developer", "D"), said("assistant", "a"), said("assistant")
CALLED = said("assistant", tool_calls=(call(1),))
BOTH_CALLED = said("assistant", tool_calls=(call(1), call(2)))
SAID_AND_CALLED = said("assistant", "text", tool_calls=(call(1),))
THOUGHT = said("assistant", "text", reasoning="hm", tool_calls=(call(1),))


class Case(NamedTuple):
    trait: str
    source: str
    messages: tuple[Message, ...]
    rendered: str


CASES = [
    Case(
        "everything fits",
        ABLE,
        (SYSTEM, DEVELOPER, USER, MORE, THOUGHT, result(1), LATE, MORE, ANSWER, ANSWER, EMPTY),
        '<system>S<system>D<user>u<user>v<assistant>[hm]text(abcdefgh1 f {"a": 1})<tool>ok<system>late<user>v'
        "<assistant>a<assistant>a<assistant><assistant>",
    ),
    Case(
        "one system message, at the beginning",
        refusing("m.role == 'system' and not loop.first"),
        (SYSTEM, DEVELOPER, USER, ANSWER, LATE, MORE),
        "<system>S\n\nD<user>u<assistant>a<user>late<user>v<assistant>",
    ),
    Case(
        "later system messages are silently lost",
        ABLE.replace("in messages %}<", "in messages if m.role != 'system' or m == messages[0] %}<"),
        (SYSTEM, USER, LATE),
        "<system>S<user>u<user>late<assistant>",
    ),
    Case(
        "system messages are moved to the front",
        FRONT,
        (SYSTEM, DEVELOPER, USER, ANSWER, LATE),
        "<system>S<system>D<user>u<assistant>a<user>late<assistant>",
    ),
    Case(
        "a system message between a call and its result",
        FRONT,
        (USER, BOTH_CALLED, result(1), LATE, result(2), MORE),
        '<user>u<assistant>(abcdefgh1 f {"a": 1})(abcdefgh2 f {"a": 2})<tool>ok<tool>ok<user>late<user>v'
        "<assistant>",
    ),
    Case(
        "no system messages",
        refusing("m.role == 'system'"),
        (SYSTEM, USER, ANSWER, LATE),
        "<user>S\n\nu<assistant>a<user>late<assistant>",
    ),
    Case("no system messages, no user", refusing("m.role == 'system'"), (SYSTEM,), "<user>S<assistant>"),
    Case("developers, not systems", DEVELOPERS, (DEVELOPER, USER), "<developer>D<user>u<assistant>"),
    Case(
        "roles alternate, calls and results do not count",
        ALTERNATING,
        (USER, MORE, CALLED, result(1), MORE, ANSWER, ANSWER, MORE),
        '<user>u\n\nv<assistant>(abcdefgh1 f {"a": 1})<tool>ok<assistant>OK.<user>v<assistant>a\n\na<user>v'
        "<assistant>",
    ),
    Case(
        "ids of nine letters and digits",
        ALTERNATING,
        (USER, said("assistant", tool_calls=(call(1, "call_a-long-one"),)), result(1)),
        '<user>u<assistant>(4dr4hysbn f {"a": 1})<tool>ok<assistant>',
    ),
    Case(
        "roles alternate, and there are no tools",
        PLAIN_STRICT,
        (SYSTEM, USER, SAID_AND_CALLED, result(1, "r"), MORE, EMPTY, ANSWER),
        '<user>S\n\nu<assistant>text\n\n!f{"a": 1}<user><tool_response name="f">\nr\n</tool_response>\n\nv'
        "<assistant>a<assistant>",
    ),
    Case(
        "no tools: calls and results are text",
        PLAIN,
        (SYSTEM, USER, BOTH_CALLED, result(1, "r"), result(2, "q")),
        '<system>S<user>u<assistant>!f{"a": 1}!f{"a": 2}<user><tool_response name="f">\nr\n</tool_response>'
        '<user><tool_response name="f">\nq\n</tool_response><assistant>',
    ),
    Case(
        "calls are not shown, results are",
        ABLE.replace("{% for c in m.tool_calls %}", "{% for c in [] %}"),
        (USER, SAID_AND_CALLED, result(1)),
        '<user>u<assistant>text\n\n!f{"a": 1}<tool>ok<assistant>',
    ),
    Case(
        "results are refused, calls are shown",
        refusing("m.role == 'tool'"),
        (USER, CALLED, result(1)),
        '<user>u<assistant>(abcdefgh1 f {"a": 1})<user><tool_response name="f">\nok\n</tool_response>'
        "<assistant>",
    ),
    Case(
        "one call in a message",
        refusing("m.tool_calls and m.tool_calls | length > 1"),
        (
            USER,
            said("assistant", "text", tool_calls=(call(1), call(2))),
            result(2, "second"),
            result(1, "first"),
        ),
        '<user>u<assistant>text(abcdefgh1 f {"a": 1})<tool>first<assistant>(abcdefgh2 f {"a": 2})<tool>second'
        "<assistant>",
    ),
    Case(
        "text beside calls is lost",
        ABLE.replace("{{ m.content }}", "{{ m.content if not m.tool_calls }}"),
        (USER, SAID_AND_CALLED, result(1)),
        '<user>u<assistant>text<assistant>(abcdefgh1 f {"a": 1})<tool>ok<assistant>',
    ),
    Case(
        "text beside calls is shown behind them",
        TEXT_BEHIND,
        (USER, SAID_AND_CALLED, result(1)),
        '<user>u<assistant>text<assistant>(abcdefgh1 f {"a": 1})<tool>ok<assistant>',
    ),
    Case(
        "calls are shown only where there is no content",
        NO_TEXT_IS_NONE,
        (USER, CALLED, result(1), SAID_AND_CALLED, result(1)),
        '<user>u<assistant>(abcdefgh1 f {"a": 1})<tool>ok<assistant>text<assistant>(abcdefgh1 f {"a": 1})'
        "<tool>ok<assistant>",
    ),
    Case(
        "arguments in Python's notation, unless they are text",
        AS_PYTHON,
        (USER, CALLED, result(1)),
        '<user>u<assistant>(abcdefgh1 f {"a": 1})<tool>ok<assistant>',
    ),
    Case(
        "name and arguments beside the id",
        FLAT,
        (USER, CALLED, result(1)),
        '<user>u<assistant>(abcdefgh1 f {"a": 1})<tool>ok<assistant>',
    ),
    Case(
        "an assistant must say something",
        refusing("m.role == 'assistant' and not m.content and not m.tool_calls"),
        (USER, EMPTY, MORE, CALLED, result(1)),
        '<user>u<user>v<assistant>(abcdefgh1 f {"a": 1})<tool>ok<assistant>',
    ),
    Case(
        "reasoning or text beside calls, not both",
        HARMONY_LIKE,
        (USER, THOUGHT, result(1)),
        '<user>u<assistant>[hm\n\ntext](abcdefgh1 f {"a": 1})<tool>ok<assistant>',
    ),
    Case(
        "the system message is gone when a tool was called",
        refusing("false").replace(
            "in messages %}", "in messages if m.role != 'system' or messages[-1].role == 'user' %}"
        ),
        (SYSTEM, USER, CALLED, result(1)),
        '<user>S\n\nu<assistant>(abcdefgh1 f {"a": 1})<tool>ok<assistant>',
    ),
]


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.trait)
def test_what_a_template_cannot_say_is_said_otherwise(case: Case) -> None:
    request = ChatRequest(model="m", messages=case.messages)
    assert template(case.source).render(request, Words()) == case.rendered


def with_tools(*messages: Message) -> ChatRequest:
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    }
    return ChatRequest(model="m", messages=messages, tools=(Tool(name="f", parameters=parameters),))


def test_tools_that_a_template_does_not_show_are_told_in_the_system_message() -> None:
    plain = template(PLAIN)
    assert plain.render(with_tools(USER), Words()) == "<system>CALL f<user>u<assistant>"
    assert plain.render(with_tools(SYSTEM, USER), Words()) == "<system>S\n\nCALL f<user>u<assistant>"
    assert plain.render(with_tools(DEVELOPER, USER), Words()) == "<system>D\n\nCALL f<user>u<assistant>"
    strict = template(PLAIN_STRICT)
    assert strict.render(with_tools(SYSTEM, USER), Words()) == "<user>S\n\nCALL f\n\nu<assistant>"


def test_tools_may_be_told_although_the_template_knows_some() -> None:
    rendered = template(ABLE).render(with_tools(USER, CALLED, result(1)), Words(), all_told=True)
    assert rendered == (
        '<system>CALL f<user>u<assistant>!f{"a": 1}'
        '<user><tool_response name="f">\nok\n</tool_response><assistant>'
    )


def test_without_words_for_them_tools_are_refused_by_name() -> None:
    for request in (with_tools(USER), ChatRequest(model="m", messages=(USER, CALLED, result(1)))):
        with pytest.raises(InvalidRequest, match="knows no tools") as caught:
            template(PLAIN).render(request)
        assert caught.value.param == "tools"


def test_parameters_are_described_where_a_template_fails_without() -> None:
    described = template(DESCRIBED)
    assert described.shape.described_parameters
    assert described.render(with_tools(USER)) == "f a:integer: b:string:<user>u<assistant>"


def test_tools_as_json_text_in_a_variable_of_their_own() -> None:
    rendered = template(FUNCTIONS).render(with_tools(USER))
    assert json.loads(rendered.removesuffix("<user>u<assistant>"))[0]["name"] == "f"


def test_what_a_template_refuses_for_good_is_told_in_its_own_words() -> None:
    request = ChatRequest(model="m", messages=(ANSWER, USER))
    with pytest.raises(InvalidRequest, match="refuses this conversation: must alternate"):
        template(ALTERNATING).render(request)


def test_a_result_has_the_name_of_the_function_that_was_called() -> None:
    named = template(ABLE.replace("<{{ m.role }}>", "<{{ m.role }}{{ ' ' ~ m.name if m.name }}>"))
    rendered = named.render(ChatRequest(model="m", messages=(USER, CALLED, result(1))))
    assert rendered == '<user>u<assistant>(abcdefgh1 f {"a": 1})<tool f>ok<assistant>'


def test_short_ids_are_the_same_for_call_and_result() -> None:
    ids = refusing("m.tool_calls and m.tool_calls[0].id | length != 9").replace(
        "<{{ m.role }}>", "<{{ m.role }} {{ m.tool_call_id }}>"
    )
    messages = (
        USER,
        said("assistant", tool_calls=(call(1, "call_a"), call(2, "call_b"))),
        said("tool", "ok", tool_call_id="call_a"),
    )
    rendered = template(ids).render(ChatRequest(model="m", messages=messages))
    first = rendered.partition("(")[2][:9]
    assert first.isalnum()
    assert f"<tool {first}>ok" in rendered
    assert rendered.count(first) == 2
