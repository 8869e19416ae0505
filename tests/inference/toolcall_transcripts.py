"""Golden transcripts: what a model of each family writes, and what it says. Written after the templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inference.chat import Tool

WEATHER = Tool(
    name="get_weather",
    description="Tells the weather of a place.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "metric": {"type": "boolean"},
        },
        "required": ["city"],
    },
)
EDIT = Tool(
    name="edit_file",
    description="Replaces text.",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "text": {"type": "string"},
            "lines": {"type": "array", "items": {"type": "integer"}},
            "options": {"$ref": "#/$defs/Options"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["path", "text"],
        "$defs": {"Options": {"type": "object", "properties": {"backup": {"type": "boolean"}}}},
    },
)
NOW = Tool(name="now", description="Tells the time.")
TOOLS = (WEATHER, EDIT, NOW)

Calls = tuple[tuple[str, dict[str, Any]], ...]

PARIS: Calls = (("get_weather", {"city": "Paris", "days": 3}),)
CODE = 'if a < b and "x" != \'y\':\n\tprint("<b>\\n</b>")  # é 😀'
EDIT_CODE: Calls = (("edit_file", {"path": "a/b.py", "text": CODE}),)
TWO: Calls = (("get_weather", {"city": "Oslo", "metric": True}), ("now", {}))


@dataclass(frozen=True)
class Golden:
    format: str
    case: str
    text: str
    calls: Calls = ()
    content: str = ""
    reasoning: str = ""
    style: str = ""
    starts_in_reasoning: bool = False
    unfinished: tuple[int, ...] = ()
    fragments: tuple[str, ...] = field(default=())
    """Of unfinished calls: what of the arguments was sent."""

    @property
    def id(self) -> str:
        return f"{self.format}: {self.case}"


THINK, DSML, NS = "think", "｜DSML｜", "]<]minimax[>["

GOLDEN: tuple[Golden, ...] = (
    # --- hermes ---
    Golden(
        "hermes",
        "thought, text, call",
        '<think>\nSeek the\n\nweather.\n</think>\n\nLet me look.\n<tool_call>\n{"name": "get_weather", '
        '"arguments": {"city": "Paris", "days": 3}}\n</tool_call>',
        PARIS,
        "Let me look.",
        "Seek the\n\nweather.",
        THINK,
    ),
    Golden(
        "hermes",
        "two calls and text behind them",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "metric": true}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\nThat is all.',
        TWO,
        "That is all.",
    ),
    Golden(
        "hermes",
        "markers and escapes inside a string",
        '<tool_call>\n{"name": "edit_file", "arguments": {"path": "</tool_call>", "text": '
        '"\\"}}\\n</tool_call><tool_call>{\\u00e9\\\\"}}\n</tool_call>',
        (("edit_file", {"path": "</tool_call>", "text": '"}}\n</tool_call><tool_call>{é\\'}),),
    ),
    Golden(
        "hermes",
        "raw newline and a useless backslash in a string are mended",
        '<tool_call>{"name": "edit_file", "arguments": {"path": "a", "text": "one\ntwo\\d \\\'q\\\'"}}'
        "</tool_call>",
        (("edit_file", {"path": "a", "text": "one\ntwo\\d 'q'"}),),
    ),
    Golden(
        "hermes",
        "arguments before the name, and as a string",
        '<tool_call>{"arguments": {"city": "Paris", "days": 3}, "name": "get_weather"}</tool_call>'
        '<tool_call>{"name": "now", "arguments": "{}"}</tool_call>',
        (*PARIS, ("now", {})),
    ),
    Golden(
        "hermes",
        "call inside reasoning",
        "I need it.\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>\n'
        "So.\n</think>\n\nDone.",
        PARIS,
        "Done.",
        "I need it.\nSo.",
        THINK,
        starts_in_reasoning=True,
    ),
    Golden(
        "hermes",
        "a tag that is only talked about",
        "Use <tool_call> tags, or <tool_call>{braces}, a < b. <tool_ca",
        content="Use <tool_call> tags, or <tool_call>{braces}, a < b. <tool_ca",
    ),
    Golden(
        "hermes",
        "cut off in the arguments",
        'Hm.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Pa',
        content="Hm.",
        unfinished=(0,),
        fragments=('{"city": "Pa',),
    ),
    Golden(
        "hermes",
        "cut off in the name",
        '<tool_call>\n{"name": "get_we',
        content='<tool_call>\n{"name": "get_we',
    ),
    Golden(
        "hermes",
        "end tag missing",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}',
        PARIS,
    ),
    Golden(
        "hermes",
        "malformed arguments: text goes on",
        '<tool_call>{"name": "now", "arguments": {"a" 1}}',
        unfinished=(0,),
        fragments=('{"a" ',),
        content="1}}",
    ),
    Golden(
        "hermes",
        "a second <think> and a stray </think> are dropped at the beginning",
        "<think>\nYes.</think>\nNo </think> more.",
        (),
        "No </think> more.",
        "Yes.",
        THINK,
        starts_in_reasoning=True,
    ),
    Golden("hermes", "stray </think>", "</think>\n\nHi.  \n", (), "Hi.  \n", "", THINK),
    Golden("hermes", "no call: all whitespace stays", "  Hi\n\n there.\n\n", (), "  Hi\n\n there.\n\n"),
    # --- qwen3-xml ---
    Golden(
        "qwen3-xml",
        "types follow the schema",
        "Look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\n12\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n<parameter=metric>\nTrue\n</parameter>\n</function>"
        "\n</tool_call>",
        (("get_weather", {"city": "12", "days": 3, "metric": True}),),
        "Look.",
    ),
    Golden(
        "qwen3-xml",
        "code with markers in it",
        "<tool_call>\n<function=edit_file>\n<parameter=path>\na\n</parameter>\n<parameter=text>\n"
        "\n<parameter=x>\n</parameter>\n  if\n\n\n</parameter>\n<parameter=lines>\n[1, 2]\n</parameter>\n"
        '<parameter=options>\n{"backup": true}\n</parameter>\n<parameter=note>\nnull\n</parameter>\n'
        "</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        (
            (
                "edit_file",
                {
                    "path": "a",
                    "text": "\n<parameter=x>\n</parameter>\n  if\n\n",
                    "lines": [1, 2],
                    "options": {"backup": True},
                    "note": None,
                },
            ),
            ("now", {}),
        ),
    ),
    Golden(
        "qwen3-xml",
        "no opening tag, unknown tool and parameters",
        "<function=dig>\n<parameter=depth>\n3\n</parameter>\n<parameter=how>\nnullify it\n</parameter>\n"
        "<parameter=where>\n{here}\n</parameter>\n</function>\n</tool_call>",
        (("dig", {"depth": 3, "how": "nullify it", "where": "{here}"}),),
    ),
    Golden(
        "qwen3-xml",
        "cut off in a value",
        "<tool_call>\n<function=edit_file>\n<parameter=path>\na.py\n</parameter>\n<parameter=text>"
        "\nx\n</para",
        unfinished=(0,),
        fragments=('{"path": "a.py", "text": "x\\n</para',),
    ),
    # --- glm ---
    Golden(
        "glm",
        "4.6, with newlines",
        "\n<think>Hm.</think>\nOne moment.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n"
        "<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        PARIS,
        "One moment.",
        "Hm.",
        THINK,
    ),
    Golden(
        "glm",
        "4.7, without",
        "Hm.</think><tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value>"
        "<arg_key>metric</arg_key><arg_value>true</arg_value></tool_call><tool_call>now</tool_call>",
        TWO,
        "",
        "Hm.",
        THINK,
        starts_in_reasoning=True,
    ),
    Golden(
        "glm",
        "the value mentions its end tag",
        "<tool_call>edit_file\n<arg_key>path</arg_key>\n<arg_value></arg_value>\n<arg_key>text</arg_key>\n"
        "<arg_value> </arg_value> </arg_key>\n</arg_value>\n</tool_call>",
        (("edit_file", {"path": "", "text": " </arg_value> </arg_key>\n"}),),
    ),
    Golden(
        "glm",
        "a tag that is only talked about",
        "The <tool_call>tag here\nis text.",
        content="The <tool_call>tag here\nis text.",
    ),
    # --- llama3 ---
    Golden("llama3", "one", '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}', PARIS),
    Golden(
        "llama3",
        "type first, two calls",
        '{"type": "function", "name": "get_weather", "parameters": {"city": "Oslo", "metric": true}}; '
        '{"name": "now", "parameters": {}}',
        TWO,
    ),
    Golden(
        "llama3",
        "python tag",
        '<|python_tag|>{"type": "function", "function": {"name": "now", "parameters": {}}}',
        (("now", {}),),
    ),
    Golden(
        "llama3",
        "built-in tool",
        '<|python_tag|>get_weather.call(city="Paris", days=3)',
        PARIS,
    ),
    Golden(
        "llama3",
        "JSON that is no call",
        '{"name": "Ann", "age": 3}\n{"name": "now", "parameters": {}}',
        content='{"name": "Ann", "age": 3}\n{"name": "now", "parameters": {}}',
    ),
    Golden(
        "llama3",
        "JSON behind text is text",
        'So: {"name": "now", "parameters": {}}',
        content='So: {"name": "now", "parameters": {}}',
    ),
    # --- pythonic ---
    Golden(
        "llama-pythonic",
        "two calls",
        '[get_weather(city="Oslo", metric=True), now()]',
        TWO,
    ),
    Golden(
        "llama-pythonic",
        "literals",
        '[edit_file(path=\'a\\\'b\', text="""x "y" \\u00e9\n""", lines=[1, 2,], options={\'backup\': False}, '
        "note=None,)]",
        (
            (
                "edit_file",
                {
                    "path": "a'b",
                    "text": 'x "y" é\n',
                    "lines": [1, 2],
                    "options": {"backup": False},
                    "note": None,
                },
            ),
        ),
    ),
    Golden("llama-pythonic", "a list that is text", "[1] says (so).", content="[1] says (so)."),
    Golden("llama-pythonic", "a link", "[f(x)] = y", content="[f(x)] = y"),
    Golden(
        "lfm2",
        "between markers, then text",
        "<think>Hm</think><|tool_call_start|>[get_weather(city='Paris', days=3)]<|tool_call_end|>Checking.",
        PARIS,
        "Checking.",
        "Hm",
        THINK,
    ),
    # --- mistral ---
    Golden(
        "mistral-list",
        "list with ids",
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo", "metric": true}, "id": '
        '"abcdefgh1"}, {"name": "now", "arguments": {}, "id": "abcdefgh2"}]',
        TWO,
    ),
    Golden(
        "mistral",
        "with call ids",
        'Sure.[TOOL_CALLS]get_weather[CALL_ID]abcdefgh1[ARGS]{"city": "Oslo", "metric": true}'
        "[TOOL_CALLS]now[CALL_ID]abcdefgh2[ARGS]{}",
        TWO,
        "Sure.",
    ),
    Golden(
        "mistral",
        "reasoning",
        '[THINK]Hm [x].[/THINK]Yes.[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 3}',
        PARIS,
        "Yes.",
        "Hm [x].",
        "mistral",
    ),
    # --- harmony ---
    Golden(
        "harmony",
        "reasoning, preamble, call",
        "<|channel|>analysis<|message|>Need weather.<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "Looking it up.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
        '<|constrain|>json<|message|>{"city": "Paris", "days": 3}<|call|>',
        PARIS,
        "Looking it up.",
        "Need weather.",
        "harmony",
    ),
    Golden(
        "harmony",
        "recipient before the channel, at the very beginning",
        ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Paris", "days": 3}<|call|>',
        PARIS,
        style="harmony",
    ),
    Golden(
        "harmony",
        "recipient in the role, two calls, called in the analysis channel",
        "<|channel|>analysis<|message|>A.<|end|><|start|>assistant<|channel|>analysis<|message|>B.<|end|>"
        "<|start|>assistant to=functions.get_weather<|channel|>analysis <|constrain|>json<|message|>"
        '{"city": "Oslo", "metric": true}<|call|><|start|>assistant<|channel|>commentary to=functions.now '
        "<|constrain|>json<|message|>{}<|call|>",
        TWO,
        "",
        "A.\nB.",
        "harmony",
    ),
    Golden(
        "harmony",
        "final answer",
        "<|channel|>analysis<|message|>Easy: a < b.<|end|><|start|>assistant<|channel|>final<|message|>"
        "Four <|b|>.<|return|>",
        (),
        "Four <|b|>.",
        "Easy: a < b.",
        "harmony",
    ),
    Golden(
        "harmony",
        "cut off in a header, then in the arguments",
        "<|channel|>final<|message|>Hi<|end|><|start|>assistant<|channel|>comm",
        (),
        "Hi",
        "",
        "harmony",
    ),
    Golden(
        "harmony",
        "cut off in the arguments",
        '<|channel|>commentary to=functions.now <|constrain|>json<|message|>{"a": [1',
        style="harmony",
        unfinished=(0,),
        fragments=('{"a": [1',),
    ),
    # --- deepseek ---
    Golden(
        "deepseek-r1",
        "json blocks",
        "Hm.\n</think>\n\nOk.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        '```json\n{"city": "Oslo", "metric": true}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function'
        "<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        TWO,
        "Ok.",
        "Hm.",
        THINK,
        starts_in_reasoning=True,
    ),
    Golden(
        "deepseek-v3.1",
        "two calls",
        "Ok.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
        '{"city": "Oslo", "metric": true}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        TWO,
        "Ok.",
    ),
    Golden(
        "deepseek-v3.2",
        "DSML",
        f'Ok.\n\n<{DSML}function_calls>\n<{DSML}invoke name="get_weather">\n<{DSML}parameter name="city" '
        f'string="true">Paris</{DSML}parameter>\n<{DSML}parameter name="days" string="false">3</{DSML}'
        f"parameter>\n</{DSML}invoke>\n</{DSML}function_calls>",
        PARIS,
        "Ok.",
    ),
    Golden(
        "deepseek-v4",
        "DSML, a call without parameters; what the markup says of the type counts",
        f'Hm</think><{DSML}tool_calls>\n<{DSML}invoke name="dig">\n<{DSML}parameter name="depth" '
        f'string="true">3</{DSML}parameter>\n</{DSML}invoke>\n<{DSML}invoke name="now">\n\n</{DSML}invoke>\n'
        f"</{DSML}tool_calls>",
        (("dig", {"depth": "3"}), ("now", {})),
        "",
        "Hm",
        THINK,
        starts_in_reasoning=True,
    ),
    # --- kimi, minimax, gemma, granite ---
    Golden(
        "kimi-k2",
        "two calls",
        "Ok.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        '<|tool_call_argument_begin|>{"city": "Oslo", "metric": true}<|tool_call_end|><|tool_call_begin|>'
        "functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        TWO,
        "Ok.",
    ),
    Golden(
        "minimax-m2",
        "two calls",
        'Hm.\n</think>\n\nOk.\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo'
        '</parameter>\n<parameter name="metric">true</parameter>\n</invoke>\n<invoke name="now">\n</invoke>\n'
        "</minimax:tool_call>",
        TWO,
        "Ok.",
        "Hm.",
        THINK,
        starts_in_reasoning=True,
    ),
    Golden(
        "minimax-m1",
        "one a line",
        '<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Oslo", "metric": true}}\n'
        '{"name": "now", "arguments": {}}\n</tool_calls>',
        TWO,
    ),
    Golden(
        "gemma4",
        "reasoning and values of every type",
        "<|channel>thought\nHm.\n<channel|>Ok.<|tool_call>call:edit_file{lines:[1,2.5],note:null,"
        'options:{backup:true,by:<|"|>me<|"|>},path:<|"|>a"}<tool_call|>\\<|"|>,text:<|"|><|"|>}<tool_call|>'
        "<|tool_call>call:now{}<tool_call|>",
        (
            (
                "edit_file",
                {
                    "lines": [1, 2.5],
                    "note": None,
                    "options": {"backup": True, "by": "me"},
                    "path": 'a"}<tool_call|>\\',
                    "text": "",
                },
            ),
            ("now", {}),
        ),
        "Ok.",
        "Hm.",
        "gemma",
    ),
    Golden(
        "gemma4",
        "cut off",
        '<|tool_call>call:get_weather{city:<|"|>Pa<|',
        unfinished=(0,),
        fragments=('{"city": "Pa<|',),
    ),
    Golden(
        "granite",
        "list",
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo", "metric": true}}, '
        '{"name": "now", "arguments": {}}]',
        TWO,
    ),
    # --- others ---
    Golden(
        "cohere",
        "action list",
        '<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": '
        '"get_weather", "parameters": {"city": "Oslo", "metric": true}},\n    {"tool_call_id": "1", '
        '"tool_name": "now", "parameters": {}}\n]<|END_ACTION|>',
        TWO,
        "",
        "Hm.",
        "cohere",
    ),
    Golden("cohere", "answer", "<|START_RESPONSE|>Hi.<|END_RESPONSE|>", (), "Hi.", "", "cohere"),
    Golden("nemotron-2", "list", '<TOOLCALL>[{"name": "now", "arguments": {}}]</TOOLCALL>', (("now", {}),)),
    Golden(
        "apriel",
        "list",
        '\n<tool_calls>[{"name": "now", "arguments": {}, "id": "1"}]</tool_calls>',
        (("now", {}),),
    ),
    Golden("firefunction", "list", 'Ok. functools[{"name": "now", "arguments": {}}]', (("now", {}),), "Ok."),
    Golden("gigachat", "one", '<|function_call|>{"name": "now", "arguments": {}}', (("now", {}),)),
    Golden(
        "functionary-3.1",
        "one",
        'Ok.<function=get_weather>{"city": "Paris", "days": 3}</function>',
        PARIS,
        "Ok.",
    ),
    Golden(
        "seed-oss",
        "one",
        "<seed:think>Hm.</seed:think>\n<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris"
        "</parameter>\n<parameter=days>3</parameter>\n</function>\n</seed:tool_call>",
        PARIS,
        "",
        "Hm.",
        "seed",
    ),
    Golden(
        "hunyuan-3",
        "one",
        "<think:opensource>Hm.</think:opensource><tool_calls:opensource>\n<tool_call:opensource>get_weather"
        "<tool_sep:opensource>\n<arg_key:opensource>city</arg_key:opensource>\n<arg_value:opensource>Paris"
        "</arg_value:opensource>\n<arg_key:opensource>days</arg_key:opensource>\n<arg_value:opensource>3"
        "</arg_value:opensource>\n</tool_call:opensource>\n</tool_calls:opensource>",
        PARIS,
        "",
        "Hm.",
        "hunyuan",
    ),
    Golden(
        "minicpm-5",
        "quoted value",
        '<function name="edit_file"><param name="path">a</param><param name="text"><![CDATA[</param>'
        "</function>\n]]></param></function>",
        (("edit_file", {"path": "a", "text": "</param></function>\n"}),),
    ),
    Golden(
        "atem",
        "one",
        '<atem:function_calls>\n<atem:invoke name="get_weather">\n<atem:parameter name="city">Paris'
        '</atem:parameter>\n<atem:parameter name="days">3</atem:parameter>\n</atem:invoke>\n'
        "</atem:function_calls>",
        PARIS,
    ),
    Golden(
        "atem",
        "messages with recipients",
        " to=self<|message|>Hm.<|eom|><|start|>assistant to=user<|message|>Ok, to=me.<|eom|>"
        '<|start|>assistant to=now<|message|><atem:function_calls>\n<atem:invoke name="now">\n'
        "</atem:invoke>\n</atem:function_calls><|eot|>",
        (("now", {}),),
        "Ok, to=me.",
        "Hm.",
        "muse",
    ),
    Golden(
        "apertus",
        "list",
        '<|inner_prefix|>Hm.<|inner_suffix|>Ok.<|tools_prefix|>[{"get_weather": {"city": "Oslo", '
        '"metric": true}}, {"now": {}}]<|tools_suffix|>',
        TWO,
        "Ok.",
        "Hm.",
        "apertus",
    ),
    Golden(
        "solar",
        "two calls",
        "<|think|>Hm.<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>c1"
        "<|tool_call:name|>get_weather"
        '<|tool_call:args|>{"city": "Oslo", "metric": true}<|tool_call:end|><|tool_call:begin|>c2'
        "<|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|>",
        TWO,
        "",
        "Hm.",
        "solar",
    ),
    # --- kimi-k3 ---
    Golden(
        "kimi-k3",
        "thought, text, two calls",
        "Two.<|close|>think<|sep|><|open|>response<|sep|>On it.<|close|>response<|sep|><|open|>tools<|sep|>"
        '<|open|>call tool="get_weather" index="1"<|sep|><|open|>argument key="city" type="string"<|sep|>Oslo'
        '<|close|>argument<|sep|><|open|>argument key="metric" type="boolean"<|sep|>true'
        "<|close|>argument<|sep|>"
        '<|close|>call<|sep|><|open|>call tool="now" index="2"<|sep|><|close|>call<|sep|>'
        "<|close|>tools<|sep|><|close|>message<|sep|><|end_of_msg|>",
        TWO,
        "On it.",
        "Two.",
        "kimi-k3",
        starts_in_reasoning=True,
    ),
    Golden(
        "kimi-k3",
        "a string is what stands there, whatever it looks like",
        '<|open|>tools<|sep|><|open|>call tool="edit_file" index="1"<|sep|><|open|>argument key="path" '
        'type="string"<|sep|>12<|close|>argument<|sep|><|open|>argument key="text" type="string"<|sep|>'
        '\n<|open|>call "x"\n<|close|>argument<|sep|>'
        '<|open|>argument key="a &quot;b&amp;" type="number"<|sep|>1.5'
        "<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
        (("edit_file", {"path": "12", "text": '\n<|open|>call "x"\n', 'a "b&': 1.5}),),
    ),
    Golden(
        "kimi-k3",
        "all arguments as one object",
        '<|open|>tools<|sep|><|open|>call tool="get_weather" index="1"<|sep|><|open|>json type="object"'
        "<|sep|>"
        '{"city": "Paris", "days": 3}<|close|>json<|sep|><|close|>call<|sep|><|close|>tools<|sep|>',
        PARIS,
    ),
    Golden(
        "kimi-k3",
        "words of the tags in prose",
        "<|open|>response<|sep|>Use the response tag, then message the call.<|close|>response<|sep|>",
        (),
        "Use the response tag, then message the call.",
        "",
        "kimi-k3",
    ),
    # --- minimax-m3 ---
    Golden(
        "minimax-m3",
        "thought, text, two calls",
        f'<mm:think>Two.</mm:think>On it.{NS}<tool_call>\n{NS}<invoke name="get_weather">{NS}<city>Oslo'
        f"{NS}</city>"
        f'{NS}<metric>true{NS}</metric>{NS}</invoke>\n{NS}<invoke name="now">{NS}</invoke>\n{NS}</tool_call>',
        TWO,
        "On it.",
        "Two.",
        "minimax",
    ),
    Golden(
        "minimax-m3",
        "lists and objects are tags within tags",
        f'</mm:think>{NS}<tool_call>\n{NS}<invoke name="edit_file">{NS}<path>7{NS}</path>'
        f"{NS}<text>\n<b> {NS}<x>\n"
        f"{NS}</text>\n{NS}<lines>\n{NS}<item>1{NS}</item>{NS}<item>-2{NS}</item>\n{NS}</lines>"
        f"{NS}<options>{NS}<backup>true{NS}</backup>{NS}</options>{NS}</invoke>\n{NS}</tool_call>",
        (
            (
                "edit_file",
                {"path": "7", "text": f"\n<b> {NS}<x>\n", "lines": [1, -2], "options": {"backup": True}},
            ),
        ),
        "",
        "",
        "minimax",
    ),
    Golden(
        "minimax-m3",
        "what no schema names",
        f'{NS}<tool_call>{NS}<invoke name="now">{NS}<deep>{NS}<a>{NS}<item>1{NS}</item>{NS}<item>x{NS}</item>'
        f"{NS}</a>{NS}<b>{NS}</b>{NS}</deep>{NS}</invoke>{NS}</tool_call>",
        (("now", {"deep": {"a": [1, "x"], "b": ""}}),),
    ),
    Golden(
        "minimax-m3",
        "an empty list and an object in JSON",
        f'{NS}<invoke name="edit_file">{NS}<path>a{NS}</path>{NS}<text>{NS}</text>{NS}<lines>{NS}</lines>'
        f'{NS}<options>{{"backup": false}}{NS}</options>{NS}</invoke>',
        (("edit_file", {"path": "a", "text": "", "lines": [], "options": {"backup": False}}),),
    ),
    Golden(
        "minimax-m3",
        "cut off in a list",
        f'{NS}<tool_call>{NS}<invoke name="edit_file">{NS}<lines>{NS}<item>1{NS}</item>{NS}<item>2',
        unfinished=(0,),
        fragments=('{"lines": [1, ',),
    ),
    # --- functionary-3.2 ---
    Golden(
        "functionary-3.2",
        "text for all, then calls",
        '>>>all\nOn it.\n>>> print(1)>>>get_weather\n{"city": "Oslo", "metric": true}>>>now\n{}',
        TWO,
        "On it.\n>>> print(1)",
    ),
    Golden("functionary-3.2", "a tool that is not offered", '>>>dig\n{"a": 1}', (("dig", {"a": 1}),)),
    Golden("functionary-3.2", "no recipient", ">>>Hello.", (), "Hello."),
    Golden("functionary-3.2", "no call", ">>>all\nnow\n{}", (), "now\n{}"),
    # --- command-r ---
    Golden(
        "command-r",
        "as the template writes it",
        'I will look.\nAction:\n```json\n[\n    {\n        "tool_name": "get_weather",\n        '
        '"parameters": {\n'
        '            "city": "Paris",\n            "days": 3\n        }\n    }\n]```\n',
        PARIS,
        "I will look.",
    ),
    Golden(
        "command-r",
        "none of the tools",
        'Action: ```json\n[\n    {\n        "tool_name": "directly-answer",\n        "parameters": '
        "{}\n    }\n]```",
    ),
    Golden("command-r", "only a word", "Action: none", (), "Action: none"),
    # --- gigachat-3 ---
    Golden(
        "gigachat-3",
        "text and a call",
        "Look.<|message_sep|>\n\nfunction call"
        '<|role_sep|>\n{"name": "get_weather", "arguments": {"city": "Paris", '
        '"days": 3}}',
        PARIS,
        "Look.",
    ),
    # --- generic ---
    Golden(
        "generic",
        "in tags",
        'Ok.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>',
        PARIS,
        "Ok.",
    ),
    Golden(
        "generic", "fenced in tags", '<tool_call>```json\n{"name": "now"}\n```</tool_call>', (("now", {}),)
    ),
    Golden("generic", "bare", '{"name": "now", "arguments": {}}', (("now", {}),)),
    Golden(
        "generic",
        "a list",
        '[{"name": "get_weather", "arguments": {"city": "Oslo", "metric": true}}, '
        '{"name": "now", "arguments": {}}]',
        TWO,
    ),
    Golden(
        "generic", "a block", '```json\n{"name": "now", "arguments": {}}\n```\nOk?', (("now", {}),), "Ok?"
    ),
    Golden("generic", "JSON that is no call", '[{"name": "now"}]', content='[{"name": "now"}]'),
    Golden("generic", "a block that is no call", "```json\n[1, 2]\n```", content="```json\n[1, 2]\n```"),
)
