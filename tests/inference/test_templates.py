"""Chat templates of several families: what they render, refuse, and need bent to fit them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inference.chat import ChatRequest, ImagePart, Message, TextPart, Tool, ToolCall
from inference.errors import InvalidModelFile, InvalidRequest
from inference.template_messages import Shape
from inference.templates import FALLBACK, MAX_SOURCE_BYTES, ChatTemplate

CHATML = """\
{%- if tools %}
<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content + '\\n\\n' }}{% endif %}
# Tools
{%- for tool in tools %}

{{ tool | tojson }}
{%- endfor %}
<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
<|im_start|>assistant
{% if message.reasoning_content and enable_thinking is not false %}
<think>{{ message.reasoning_content }}</think>
{% endif %}
{{ message.content }}
{%- for call in message.tool_calls %}
<call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</call>
{%- endfor %}
<|im_end|>
{% elif message.role == 'tool' %}
<|im_start|>tool {{ message.tool_call_id }}
{{ message.content }}<|im_end|>
{% elif not (tools and loop.first and message.role == 'system') %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""

LLAMA_LIKE = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|start|>system<|end|>\\nToday: ' + strftime_now('%d %b %Y') + '\\n\\n' + system_message + '<|eot|>' }}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {{- raise_exception('System message must be at the beginning.') }}
    {%- endif %}
    {{- '<|start|>' ~ message['role'] ~ '<|end|>\\n\\n' ~ message['content'] | trim ~ '<|eot|>' }}
{%- endfor %}
{{- '<|start|>assistant<|end|>\\n\\n' if add_generation_prompt else '' }}"""

GEMMA_LIKE = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<turn>' + role + '\\n' + message['content'] | trim + '<end>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}"""

PARTS_ONLY = """\
{%- for message in messages -%}
[{{ message.role }}]
{%- for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor -%}
{%- endfor -%}[assistant]"""

WEATHER = Tool(
    name="get_weather",
    description="Weather <now> & here",
    parameters={"type": "object", "properties": {"city": {"type": "string", "description": "Where, é"}}},
)
CALL = ToolCall(id="abcdefgh1", name="get_weather", arguments='{"city": "Zürich", "days": 2}')


def said(role: str, content: str | tuple[TextPart | ImagePart, ...], **more: object) -> Message:
    return Message(role=role, content=content, **more)  # type: ignore[arg-type]


def ask(
    *messages: Message | str, tools: tuple[Tool, ...] = (), kwargs: dict[str, object] | None = None
) -> ChatRequest:
    return ChatRequest(
        model="m",
        messages=tuple(said("user", item) if isinstance(item, str) else item for item in messages),
        tools=tools,
        template_kwargs=kwargs or {},
    )


def template(source: str) -> ChatTemplate:
    return ChatTemplate(
        source, bos_token="<s>", eos_token="</s>", now=lambda: datetime(2026, 11, 3, tzinfo=UTC)
    )


# --- rendering -----------------------------------------------------------------------------------


def test_chatml_with_tools_reasoning_calls_and_results() -> None:
    conversation = ask(
        said("system", "Be brief."),
        "Weather?",
        said("assistant", "", reasoning="hm", tool_calls=(CALL,)),
        said("tool", "sunny", tool_call_id="abcdefgh1"),
        tools=(WEATHER,),
    )
    assert template(CHATML).render(conversation) == (
        "<|im_start|>system\nBe brief.\n\n# Tools\n"
        '{"type": "function", "function": {"name": "get_weather", "description": "Weather <now> & here", '
        '"parameters": {"type": "object", "properties": {"city": {"type": "string", '
        '"description": "Where, é"}}}}}<|im_end|>\n'
        "<|im_start|>user\nWeather?<|im_end|>\n"
        "<|im_start|>assistant\n<think>hm</think>\n"
        '<call>{"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}</call><|im_end|>\n'
        "<|im_start|>tool abcdefgh1\nsunny<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_without_tools_the_variable_is_none() -> None:
    assert template("{{ tools is none }}{{ tools }}").render(ask("x")) == "TrueNone"


def test_llama_like_trims_and_tells_the_date_of_its_clock() -> None:
    assert template(LLAMA_LIKE).render(ask(said("system", " Be brief. "), " Hi ")) == (
        "<s><|start|>system<|end|>\nToday: 03 Nov 2026\n\nBe brief.<|eot|>"
        "<|start|>user<|end|>\n\nHi<|eot|><|start|>assistant<|end|>\n\n"
    )


def test_request_variables_reach_the_template() -> None:
    conversation = ask("x", said("assistant", "y", reasoning="hm"), "z", kwargs={"enable_thinking": False})
    assert "<think>" not in template(CHATML).render(conversation)
    assert (
        template("{{ a | tojson }}").render(ask("x", kwargs={"a": {"b": [1, None, True]}}))
        == '{"b": [1, null, true]}'
    )


@pytest.mark.parametrize("name", ["messages", "tools", "bos_token", "add_generation_prompt", "range"])
def test_request_variables_cannot_replace_what_the_server_sets(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}' is set by the server") as caught:
        template(CHATML).render(ask("x", kwargs={name: "y"}))
    assert caught.value.param == "chat_template_kwargs"


@pytest.mark.parametrize("kwargs", [{"a b": 1}, {"": 1}, {"x" * 65: 1}, {f"v{n}": 1 for n in range(65)}])
def test_request_variables_are_few_and_have_names(kwargs: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        template(CHATML).render(ask("x", kwargs=kwargs))
    assert caught.value.param == "chat_template_kwargs"


def test_a_tool_without_parameters_has_an_empty_object_of_them() -> None:
    source = (
        "{% for t in tools %}{{ t.function.name }}{{ t.function.parameters.properties | tojson }}{% endfor %}"
        "{{ messages[0].content }}"
    )
    assert template(source).render(ask("x", tools=(Tool(name="t"),))) == "t{}x"


def test_names_and_ids_are_there_only_if_given() -> None:
    source = CHATML + "{% for m in messages %}{{ m.keys() | join(',') }};{% endfor %}"
    rendered = template(source).render(ask("x", said("tool", "y", tool_call_id="1", name="f")))
    assert rendered.endswith("role,content;role,content,tool_call_id,name;")


def test_arguments_that_are_no_object_stay_as_they_were_written() -> None:
    cut_off = ToolCall(id="1", name="f", arguments='{"a": ')
    source = (
        "{{ tools | tojson }}{% for m in messages %}{{ m.content }}"
        "{% for c in m.tool_calls %}{{ c.function.name }}({{ c.function.arguments | tojson }})"
        "{% endfor %}{% endfor %}"
    )
    rendered = template(source).render(ask(said("assistant", "", tool_calls=(cut_off,))))
    assert rendered.endswith('f("{\\"a\\": ")')


def test_generation_tags_break_and_continue_are_understood() -> None:
    source = (
        "{% for m in messages %}{% if m.content == 'b' %}{% continue %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}"
        "{% if m.content == 'c' %}{% break %}{% endif %}{% endfor %}"
    )
    assert template(source).render(ask("a", "b", "c", "d")) == "ac"


def test_the_fallback_knows_roles_and_no_markers() -> None:
    conversation = ask(said("system", "Be brief."), "Weather?", said("assistant", "Sunny."), "Thanks")
    assert template(FALLBACK).render(conversation) == (
        "System: Be brief.\n\nUser: Weather?\n\nAssistant: Sunny.\n\nUser: Thanks\n\nAssistant:"
    )
    assert not template(FALLBACK).shape.tools


def test_threads_may_render_at_the_same_time() -> None:
    chatml, results = template(CHATML), []
    turns = [message for n in range(50) for message in (said("assistant", "ok"), said("user", str(n)))]
    conversations = [ask(str(n) * 200, *turns) for n in range(4)]
    threads = [
        threading.Thread(target=lambda asked=asked: results.append(chatml.render(asked)))
        for asked in conversations
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(map(chatml.render, conversations))


# --- bent to fit ---------------------------------------------------------------------------------


NO_TOOLS = {"tools": False, "calls": "text", "results": False}


def test_what_each_family_can_express() -> None:
    assert template(CHATML).shape == Shape(reasoning="reasoning_content")
    assert template(LLAMA_LIKE).shape == Shape(several_system=False, late_system=False, **NO_TOOLS)
    assert template(GEMMA_LIKE).shape == Shape(
        system_role=False,
        several_system=False,
        late_system=False,
        consecutive_users=False,
        consecutive_answers=False,
        **NO_TOOLS,
    )
    assert template(PARTS_ONLY).shape == Shape(text_as_parts=True, **NO_TOOLS)


def test_gemma_like_gets_system_text_before_the_first_user_message() -> None:
    assert template(GEMMA_LIKE).render(
        ask(said("system", "Be brief."), said("system", "Be kind."), "Hi")
    ) == ("<s><turn>user\nBe brief.\n\nBe kind.\n\nHi<end>\n<turn>model\n")


def test_gemma_like_gets_one_user_message_at_a_time() -> None:
    conversation = ask("a", "b", said("assistant", "c"), said("system", "rule"), "d")
    assert template(GEMMA_LIKE).render(conversation) == (
        "<s><turn>user\na\n\nb<end>\n<turn>model\nc<end>\n<turn>user\nrule\n\nd<end>\n<turn>model\n"
    )


def test_system_text_without_any_user_message_becomes_one() -> None:
    assert template(GEMMA_LIKE).render(ask(said("system", "Be brief."))) == (
        "<s><turn>user\nBe brief.<end>\n<turn>model\n"
    )


def test_several_system_messages_at_the_beginning_become_one_where_only_one_fits() -> None:
    rendered = template(LLAMA_LIKE).render(ask(said("system", "a"), said("system", "b"), "c"))
    assert "\n\na\n\nb<|eot|><|start|>user<|end|>\n\nc<|eot|>" in rendered


def test_a_late_system_message_stays_where_it_is_as_a_user_message() -> None:
    """Moved to the front it would change the beginning of the prompt, and the prefix cache would be lost."""
    opening = (said("system", "a"), said("user", "b"), said("assistant", "c"))
    before = template(LLAMA_LIKE).render(ask(*opening))
    after = template(LLAMA_LIKE).render(ask(*opening, said("system", "late"), said("user", "d")))
    assert after.startswith(before.removesuffix("<|start|>assistant<|end|>\n\n"))
    assert "<|start|>user<|end|>\n\nlate<|eot|><|start|>user<|end|>\n\nd" in after
    assert "<|im_start|>system\nlate" in template(CHATML).render(ask(*opening, said("system", "late")))


def test_a_developer_is_a_system_message_unless_the_template_knows_better() -> None:
    conversation = ask(said("developer", "rule"), "x")
    assert "<|im_start|>system\nrule" in template(CHATML).render(conversation)
    knows = CHATML + "{# renders developer messages #}"
    assert "<|im_start|>developer\nrule" in template(knows).render(conversation)


def test_text_parts_become_lines_of_one_string() -> None:
    conversation = ask(said("user", (TextPart(text="a"), TextPart(text="b"))))
    assert "<|im_start|>user\na\nb<|im_end|>" in template(CHATML).render(conversation)


def test_a_template_that_shows_only_parts_gets_a_part() -> None:
    assert (
        template(PARTS_ONLY).render(ask("a", said("assistant", ""), "b"))
        == "[user]a[assistant][user]b[assistant]"
    )


def test_a_template_that_shows_strings_is_never_given_parts() -> None:
    both = (
        "{% for m in messages %}"
        "{% if m.content is string %}{{ m.content }}{% else %}parts{% endif %}{% endfor %}"
    )
    assert template(both).render(ask(said("user", (TextPart(text="a"),)))) == "a"


def test_a_template_that_cannot_do_without_a_list_of_tools_gets_an_empty_one() -> None:
    source = "{% for t in tools %}{{ t.function | tojson }}{% endfor %}|{{ messages[-1].content }}"
    assert template(source).shape.tools_as_list
    assert template(source).render(ask("x")) == "|x"
    assert template(source).render(ask("x", tools=(WEATHER,))).startswith('{"name": "get_weather"')


# --- refusals ------------------------------------------------------------------------------------


def test_what_the_template_raises_reaches_the_client() -> None:
    with pytest.raises(InvalidRequest, match="Conversation roles must alternate user/assistant") as caught:
        template(GEMMA_LIKE).render(ask(said("assistant", "b"), "c"))
    assert caught.value.param == "messages"


def test_what_the_template_gets_wrong_is_told_and_not_a_crash() -> None:
    for source in ("{{ messages[0].nothing.here }}", "{{ 1 + 'a' }}", "{{ 1 / 0 }}", "{{ nobody() }}"):
        with pytest.raises(InvalidRequest, match=r"cannot render this conversation: ."):
            template(source).render(ask("x"))


def test_images_are_refused_by_name_and_place() -> None:
    seen = said("user", (TextPart(text="what is this?"), ImagePart(url="https://example.org/a.png")))
    with pytest.raises(
        InvalidRequest, match=r"messages\[1\] has an image, and model 'm' cannot see"
    ) as caught:
        template(CHATML).render(ask("x", seen))
    assert caught.value.param == "messages"


def test_a_template_that_is_too_long_or_no_template_is_the_files_fault() -> None:
    with pytest.raises(InvalidModelFile, match=f"{MAX_SOURCE_BYTES + 1} bytes, more than {MAX_SOURCE_BYTES}"):
        template("a" * (MAX_SOURCE_BYTES + 1))
    with pytest.raises(InvalidModelFile, match=r"line 2: .*set chat_template to a file"):
        template("\n{% for %}")
    with pytest.raises(InvalidModelFile, match="No filter named 'nonsense'"):
        template("{{ 1 | nonsense }}")


def test_long_messages_of_a_template_are_cut() -> None:
    with pytest.raises(InvalidRequest) as caught:
        template("{{ raise_exception(messages[0].content) }}").render(ask("x" * 100_000))
    assert len(caught.value.message) < 1000


# --- a published template ------------------------------------------------------------------------


def test_the_template_of_smollm2(smollm2_path: Path) -> None:
    import gguf  # a second of imports, for this test alone

    field = gguf.GGUFReader(smollm2_path).get_field("tokenizer.chat_template")
    assert field is not None
    chat_template = ChatTemplate(str(field.contents()), bos_token="<|im_start|>", eos_token="<|im_end|>")
    assert chat_template.render(ask(said("system", "Be brief."), "Hi", said("assistant", "Yes?"), "Bye")) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )
