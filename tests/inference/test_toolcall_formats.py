"""Every format against its golden transcripts, at every way of cutting them, and back."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference.chat import ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from inference.errors import ConfigError
from inference.reasoning_style import THINK, ReasoningStyle, detect_reasoning
from inference.stream_parser import Delta, StreamParser
from inference.toolcall_formats import FORMATS, detect_format, format_named
from inference.toolcall_formats.base import ToolFormat
from inference.toolcall_formats.frames import frame_of
from inference.toolcall_formats.generic import instructions
from tests.inference.toolcall_transcripts import CODE, EDIT_CODE, GOLDEN, PARIS, TOOLS, TWO, Calls, Golden

STYLES = {
    "": None,
    "think": THINK,
    "mistral": detect_reasoning("[THINK]"),
    "gemma": detect_reasoning("<|channel>thought"),
    "harmony": detect_reasoning("<|channel|>analysis"),
    "cohere": detect_reasoning("<|START_THINKING|>"),
    "muse": detect_reasoning("to=self<|message|>"),
    "apertus": detect_reasoning("<|inner_prefix|>"),
    "solar": detect_reasoning("<|think|>"),
    "seed": detect_reasoning("<seed:think>"),
    "hunyuan": detect_reasoning("'<think{}>'.format"),
    "kimi-k3": detect_reasoning("'<|open|>'"),
    "minimax": detect_reasoning("<mm:think>"),
}


class Heard:
    """What a client makes of the deltas. Checks what holds of every single one."""

    def __init__(self) -> None:
        self.content = ""
        self.reasoning = ""
        self.calls: list[tuple[str, str, str]] = []

    def add(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            match delta:
                case TextDelta():
                    assert delta.text
                    self.content += delta.text
                case ReasoningDelta():
                    assert delta.text
                    self.reasoning += delta.text
                case ToolCallDelta(index=index, id=id, name=name, arguments=arguments):
                    if index == len(self.calls):
                        assert id
                        assert name
                        self.calls.append((id, name, ""))
                    else:
                        assert not id
                        assert not name
                        assert arguments
                    assert index == len(self.calls) - 1
                    known = self.calls[index]
                    self.calls[index] = (known[0], known[1], known[2] + arguments)


def heard(
    tool_format: ToolFormat,
    pieces: list[str],
    style: ReasoningStyle | None = None,
    *,
    starts_in_reasoning: bool = False,
) -> tuple[Heard, StreamParser]:
    parser = StreamParser(
        tool_format, TOOLS, style, starts_in_reasoning=starts_in_reasoning, call_id=lambda n: f"call_{n}"
    )
    result = Heard()
    for piece in pieces:
        result.add(parser.feed(piece))
    result.add(parser.finish())
    return result, parser


def check(golden: Golden, pieces: list[str]) -> None:
    result, parser = heard(
        format_named(golden.format),
        pieces,
        STYLES[golden.style],
        starts_in_reasoning=golden.starts_in_reasoning,
    )
    assert result.content == golden.content
    assert result.reasoning == golden.reasoning
    assert parser.unfinished == golden.unfinished
    assert parser.calls == len(result.calls)
    finished = [call for index, call in enumerate(result.calls) if index not in golden.unfinished]
    assert tuple((name, strict(arguments)) for _, name, arguments in finished) == golden.calls
    assert tuple(result.calls[index][2] for index in golden.unfinished) == golden.fragments
    assert [call[0] for call in result.calls] == [f"call_{n}" for n in range(len(result.calls))]


def strict(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def cut(text: str, at: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in at)})
    return [text[a:b] for a, b in pairwise(edges)]


by_id = pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.id)


@by_id
def test_whole(golden: Golden) -> None:
    check(golden, [golden.text])


@by_id
def test_one_character_at_a_time(golden: Golden) -> None:
    check(golden, list(golden.text))


@by_id
def test_every_single_cut(golden: Golden) -> None:
    for place in range(len(golden.text)):
        check(golden, [golden.text[:place], golden.text[place:]])


@given(golden=st.sampled_from(GOLDEN), at=st.lists(st.integers(0, 2000), max_size=40))
def test_any_cuts(golden: Golden, at: list[int]) -> None:
    check(golden, cut(golden.text, at))


def test_every_format_has_golden_transcripts() -> None:
    assert {known.name for known in FORMATS} == {golden.format for golden in GOLDEN}


# --- cut off ---------------------------------------------------------------------------------------


def cut_off(golden: Golden, at: int) -> Heard:
    """What is heard of an answer whose tokens were used up after `at` characters."""
    parser = StreamParser(
        format_named(golden.format),
        TOOLS,
        STYLES[golden.style],
        starts_in_reasoning=golden.starts_in_reasoning,
        call_id=lambda n: f"call_{n}",
        lead=frame_of(golden.format).lead,
    )
    result = Heard()
    result.add(parser.feed(golden.text[:at]))
    result.add(parser.finish(cut=True))
    return result


def without_words(golden: Golden, content: str) -> str:
    """Content without a word at its end that begins a marker: that stays, for it may be one."""
    parser = format_named(golden.format).parser(TOOLS)
    for marker in map(str.strip, (*parser.starts, *parser.first_starts)):
        beginnings = [marker[:size] for size in range(len(marker), 0, -1) if marker[0].isalpha()]
        content = content.removesuffix(next((b for b in beginnings if content.endswith(b)), ""))
    return content


@by_id
def test_an_answer_cut_off_anywhere_says_no_more_than_the_whole_one(golden: Golden) -> None:
    """No beginning of a marker, nor of a call behind one, is taken for content on the way."""
    whole, _ = heard(
        format_named(golden.format),
        [golden.text],
        STYLES[golden.style],
        starts_in_reasoning=golden.starts_in_reasoning,
    )
    for at in range(len(golden.text) + 1):
        said = cut_off(golden, at)
        if said.content.lstrip().startswith(("{", "[", "```")):
            continue  # a bare object: until it is known as a call it is content like any other
        assert whole.content.startswith(without_words(golden, said.content).rstrip()), golden.text[:at]
        assert whole.reasoning.startswith(said.reasoning.rstrip()), golden.text[:at]
        assert len(said.calls) <= len(whole.calls)
        for (_, name, arguments), (_, whole_name, whole_arguments) in zip(
            said.calls, whole.calls, strict=False
        ):
            assert name == whole_name
            if not golden.text[:at].endswith("\n"):  # which may be layout
                assert whole_arguments.startswith(arguments.rstrip(", ")), golden.text[:at]


@pytest.mark.parametrize(
    ("name", "text", "content"),
    [
        ("hermes", "Look.\n<tool_ca", "Look."),
        ("hermes", "Look.\n<", "Look."),
        ("hermes", 'Look.\n<tool_call>\n{"name": "no', "Look."),
        ("hermes", "Look.\n<tool_call>\nno call", "Look.\n<tool_call>\nno call"),
        ("hermes", "Is a < b", "Is a < b"),
        ("qwen3-xml", "Look.<tool_call>\n<functi", "Look."),
        ("qwen3-xml", "Look.<tool_call>\n<function=no", "Look."),
        ("glm", "Look.<tool_call>no", "Look."),
        ("mistral", "Look.[TOOL_CALLS]no", "Look."),
        ("mistral", "Look.[TOOL", "Look."),
        ("llama3", '{"name": "no', ""),
        ("llama3", '{"no": "', '{"no": "'),
        ("generic", '{"name": "no', '{"name": "no'),
        ("firefunction", "This is fun", "This is fun"),
        ("firefunction", 'Ok. functools[{"na', "Ok."),
        ("deepseek-r1", "Ok.<｜tool▁calls▁begin｜><｜tool▁call▁be", "Ok."),
        ("harmony", "<|channel|>final<|message|>Ok.<|end|><|start|>assistant<|chan", "Ok."),
    ],
)
def test_what_an_answer_cut_off_says(name: str, text: str, content: str) -> None:
    for pieces in ([text], list(text)):
        for cut in (True, False):
            parser = StreamParser(format_named(name), TOOLS, None, call_id=str)
            result = Heard()
            for piece in pieces:
                result.add(parser.feed(piece))
            result.add(parser.finish(cut=cut))
            assert not result.calls
            if cut:
                assert result.content.rstrip() == content
            elif name != "harmony":
                assert result.content == text  # the model ended there: it is what it wrote


def test_a_call_cut_off_after_a_complete_one_stays_unheard() -> None:
    for known in FORMATS:
        text = known.render(rendered(TWO))
        one = known.render(rendered(TWO[:1]))
        lead = frame_of(known.name).lead
        for at in range(len(one), len(text)):
            parser = StreamParser(known, TOOLS, None, call_id=str, lead=lead)
            result = Heard()
            result.add(parser.feed(text[:at].removeprefix(lead)) + parser.finish(cut=True))
            assert result.content == "", (known.name, text[:at])


# --- render and back -----------------------------------------------------------------------------

formats = pytest.mark.parametrize("tool_format", FORMATS, ids=lambda known: known.name)


def rendered(calls: Calls) -> list[ToolCall]:
    return [
        ToolCall(id=f"call_{n}", name=name, arguments=json.dumps(arguments, ensure_ascii=False))
        for n, (name, arguments) in enumerate(calls)
    ]


def parsed_back(tool_format: ToolFormat, calls: Calls) -> Calls:
    text = tool_format.render(rendered(calls))
    result, parser = heard(tool_format, [text])
    assert parser.unfinished == ()
    assert result.content == ""
    return tuple((name, strict(arguments)) for _, name, arguments in result.calls)


@formats
@pytest.mark.parametrize("calls", [PARIS, EDIT_CODE, TWO, (("now", {}),)], ids=["one", "code", "two", "bare"])
def test_what_is_rendered_is_parsed(tool_format: ToolFormat, calls: Calls) -> None:
    assert parsed_back(tool_format, calls) == calls


@formats
def test_what_is_rendered_begins_with_a_trigger(tool_format: ToolFormat) -> None:
    text = tool_format.render(rendered(PARIS)).lstrip()
    assert any(text.startswith(trigger.lstrip()) for trigger in tool_format.triggers)


texts = st.text(alphabet="ab<>/{}[]\"'\\\n =é😀|", max_size=30)
whole_numbers = st.integers(-1000, 1000)


@given(tool_format=st.sampled_from(FORMATS), text=texts, lines=st.lists(whole_numbers, max_size=4))
def test_any_argument_survives(tool_format: ToolFormat, text: str, lines: list[int]) -> None:
    assume('<|"|>' not in text)  # Gemma's quote is a token; no text that a model writes has it inside
    calls: Calls = (("edit_file", {"path": "p", "text": text, "lines": lines}),)
    assert parsed_back(tool_format, calls) == calls


@given(
    tool_format=st.sampled_from(FORMATS),
    parts=st.lists(
        st.sampled_from(
            [marker for known in FORMATS for marker in (*known.markers, *known.triggers)]
            + [
                '{"name": "now", "arguments": ',
                "{}",
                '"',
                "text ",
                "\n",
                "get_weather",
                ">",
                "<think>",
                "</think>",
            ]
        ),
        max_size=12,
    ),
    at=st.lists(st.integers(0, 2000), max_size=30),
    starts=st.booleans(),
)
def test_any_nonsense_is_heard_alike_wherever_it_is_cut(
    tool_format: ToolFormat, parts: list[str], at: list[int], starts: bool
) -> None:
    text = "".join(parts)
    outcomes = []
    for pieces in ([text], list(text), cut(text, at)):
        result, parser = heard(tool_format, pieces, THINK, starts_in_reasoning=starts)
        outcomes.append((result.content, result.reasoning, result.calls, parser.unfinished))
        for index, (_, _, arguments) in enumerate(result.calls):
            if index not in parser.unfinished:
                strict(arguments)
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_a_string_parameter_is_streamed_as_it_comes() -> None:
    for name in ("hermes", "qwen3-xml", "glm", "minimax-m2", "deepseek-v3.2", "gemma4", "lfm2", "kimi-k2"):
        tool_format = format_named(name)
        text = tool_format.render(rendered(EDIT_CODE))
        parser = StreamParser(tool_format, TOOLS, None, call_id=str)
        sizes = [sum(len(d.arguments) for d in parser.feed(c) if isinstance(d, ToolCallDelta)) for c in text]
        assert sum(size > 0 for size in sizes) > len(CODE) // 2, name


# --- detection ------------------------------------------------------------------------------------

# What characterises the templates that ship with llama.cpp, in their own words.
TEMPLATES = (
    ("Qwen, Hermes, Granite 4", '<tool_call>\\n{"name": <function-name>, "arguments"', "hermes", ""),
    ("Qwen 3 with reasoning", "<tool_call>\\n{\\\"name\\\" '\\n</think>\\n\\n'", "hermes", "think"),
    ("Qwen3-Coder", "<tool_call>\\n<function=example>\\n<parameter=one>\\n</tool_call>", "qwen3-xml", ""),
    ("GLM 4.6", "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key> </think>", "glm", "think"),
    (
        "Llama 3.1",
        '<|start_header_id|> Respond in the format {"name": function name, "parameters": dictionary',
        "llama3",
        "",
    ),
    ("Llama 4", "[func_name1(params_name1=params_value1)]", "llama-pythonic", ""),
    ("Mistral Nemo", '"[TOOL_CALLS][" tool_call.function|tojson', "mistral-list", ""),
    ("Mistral Small 3.2", "'[TOOL_CALLS]' + name '[CALL_ID]' '[ARGS]'", "mistral", ""),
    ("Ministral 3", "'[THINK]' '[TOOL_CALLS]' '[ARGS]'", "mistral", "mistral"),
    ("gpt-oss", '"<|channel|>analysis<|message|>" "<|call|>"', "harmony", "harmony"),
    ("DeepSeek R1", "<｜tool▁call▁begin｜>function<｜tool▁sep｜> ```json </think>", "deepseek-r1", "think"),
    ("DeepSeek V3.1", "<｜tool▁call▁begin｜>'+ name + '<｜tool▁sep｜>", "deepseek-v3.1", ""),
    ("DeepSeek V3.2", "dsml_token = '｜DSML｜' dsml_token + 'function_calls>", "deepseek-v3.2", ""),
    ("DeepSeek V4", "dsml_token = '｜DSML｜' dsml_token + 'tool_calls>", "deepseek-v4", ""),
    ("Kimi K2", "<|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>", "kimi-k2", ""),
    ("MiniMax M2", "toolcall_begin_token = '<minimax:tool_call>' '<think>'", "minimax-m2", "think"),
    ("MiniMax M1", '<tool_calls>\\n{"name": <tool-name>, "arguments"', "minimax-m1", ""),
    ("Gemma 4", "'<|tool_call>call:' '<|\"|>' '<|channel>thought\\n'", "gemma4", "gemma"),
    ("Granite 3.3", "<|start_of_role|> <|tool_call|> <response></response>", "granite", "granite"),
    ("Command R7B", "<|START_THINKING|> <|START_ACTION|>[", "cohere", "cohere"),
    ("Nemotron Nano 2", "'<TOOLCALL>[' '</think>'", "nemotron-2", "think"),
    ("Apriel", "'\\n<tool_calls>[' '<thinking>'", "apriel", "thinking"),
    ("FireFunction", "' functools['", "firefunction", ""),
    ("GigaChat 3.1", 'function_call="<|function_call|>"', "gigachat", ""),
    ("Functionary 3.1", "start_tag => `<function`", "functionary-3.1", ""),
    ("LFM2", '"List of tools: <|tool_list_start|>["', "lfm2", ""),
    ("Seed-OSS", "'<seed:tool_call>' '<seed:think>'", "seed-oss", "seed"),
    (
        "Hunyuan 3",
        "HYTK = ':opensource' '<think{}>'.format(HYTK) '<arg_key{}>'.format(HYTK)",
        "hunyuan-3",
        "hunyuan",
    ),
    ("MiniCPM 5", "'<function name=\"' '<param name=' '</think>'", "minicpm-5", "think"),
    ("Muse Glimmer", "<atem:function_calls> to=self<|message|>", "atem", "muse"),
    ("Apertus", "'<|inner_prefix|>' '<|tools_prefix|>'", "apertus", "apertus"),
    ("Solar Open", "<|think|> <|tool_call:name|><tool-name><|tool_call:args|>", "solar", "solar"),
    ("Kimi K3", "open_tag('think') '<|open|>' '<|sep|>'", "kimi-k3", "kimi-k3"),
    ("MiniMax M3", "ns_token = ']<]minimax[>[' ~ '<tool_call>' '<mm:think>'", "minimax-m3", "minimax"),
    ("Functionary 3.2", "'>>>all\n'", "functionary-3.2", ""),
    ("Command R+", "Write 'Action:' followed by a list. use the `directly-answer` tool", "command-r", ""),
    ("GigaChat 3", "'role': 'function call' message_sep=\"<|message_sep|>\\n\\n\"", "gigachat-3", ""),
    ("Gemma 2", "'<start_of_turn>model\n'", "generic", ""),
    ("Phi 3.5", "'<|assistant|>\n'", "generic", ""),
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "template", "expected", "style"), TEMPLATES, ids=[row[0] for row in TEMPLATES]
)
def test_detection(model: str, template: str, expected: str, style: str) -> None:
    assert detect_format(template).name == expected
    found = detect_reasoning(template)
    assert (found.name if found else "") == style


def test_names_are_unique_and_found() -> None:
    assert [format_named(known.name) for known in FORMATS] == list(FORMATS)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'xml' is not known: expected one of .*hermes.*generic"):
        format_named("xml")


def test_instructions_describe_the_tools() -> None:
    text = instructions(TOOLS)
    assert '"name": "get_weather"' in text
    assert '"description": "Tells the time.", "parameters": {"type": "object"}' in text
    assert "<tool_call>" in text
