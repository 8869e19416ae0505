"""What a grammar lets through, against a validator of JSON Schema; and the rules around the documents."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchkit.harness_tools import harness_tools
from inference.chat import Tool
from inference.errors import InvalidRequest
from inference.grammar import MAX_TOOLS, Framing, JsonObject, JsonSchema, ToolCalls
from tests.inference.grammar_texts import BracketCalls, MarkupCalls, accepts, compiler, written

COMPILER = compiler()
TOOLS = harness_tools()


def is_valid(value: Any, schema: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(_for_python(schema)).is_valid(value))


def _for_python(schema: Any) -> Any:
    """The validator's `$` takes a newline at the end for the end; JSON Schema's does not."""
    if isinstance(schema, dict):
        patterns = {"pattern": re.sub(r"\$$", r"\\Z", schema["pattern"])} if _has_pattern(schema) else {}
        return {**{key: _for_python(sub) for key, sub in schema.items()}, **patterns}
    return [_for_python(item) for item in schema] if isinstance(schema, list) else schema


def _has_pattern(schema: dict[str, Any]) -> bool:
    return isinstance(schema.get("pattern"), str)


# --- values of a schema, and near misses -------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8)
NUMBERS = st.one_of(st.integers(-30, 30), st.integers(-120, 120).map(lambda n: n / 4).filter(lambda x: x % 1))
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abcdxyz"), inner, max_size=3)
    ),
    max_leaves=5,
)


def matching(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=False).filter(lambda text: "\x7f" not in text and len(text) < 60)


def values(schema: Any, *, stray: bool = True) -> st.SearchStrategy[Any]:
    """Values of the schema; if they may stray, with near misses among them and now and then anything."""
    return st.one_of(*[_values(schema, stray)] * 6, ANY) if stray else _values(schema, stray)


def _values(schema: Any, stray: bool) -> st.SearchStrategy[Any]:
    if not isinstance(schema, dict):
        return ANY
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if branches := schema.get("anyOf", schema.get("oneOf")):
        return st.one_of(*[values(branch, stray=stray) for branch in branches])
    match schema.get("type"):
        case "string":
            return _strings(schema, int(stray))
        case "integer" | "number" as kind:
            low = int(schema.get("minimum") or schema.get("exclusiveMinimum") or -20)
            high = int(schema.get("maximum") or max(20, low))
            near = st.integers(low - stray + ("exclusiveMinimum" in schema), high + stray)
            return near if kind == "integer" or not stray else st.one_of(near, NUMBERS)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            longest = min(4, schema.get("maxItems", 3) + stray)
            return st.lists(values(schema.get("items", {}), stray=stray), max_size=longest)
        case "object":
            return _objects(schema, stray)
        case _:
            return ANY


def _strings(schema: Any, slack: int) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return matching(schema["pattern"])
    if schema.get("format") == "uri":
        return st.sampled_from(["https://example.org/a?b=c", "http://localhost:8080/", "no uri"])
    shortest: int = schema.get("minLength", 0) - slack
    longest: int = schema.get("maxLength", 12) + slack
    return TEXT.filter(lambda text: shortest <= len(text) <= longest)


def _objects(schema: Any, stray: bool) -> st.SearchStrategy[dict[str, Any]]:
    named = {key: values(sub, stray=stray) for key, sub in schema.get("properties", {}).items()}
    required = [key for key in schema.get("required", []) if key in named]
    whole = st.fixed_dictionaries(
        {key: named[key] for key in required},
        optional={key: value for key, value in named.items() if key not in required},
    )
    if not stray:
        return whole
    more = st.dictionaries(st.sampled_from("xy"), values(schema.get("additionalProperties")), max_size=1)
    dropped = st.one_of(st.none(), st.sampled_from([*named, "x"]))
    return st.builds(lambda a, b, c: {k: v for k, v in {**a, **b}.items() if k != c}, whole, more, dropped)


# --- exactly what a validator accepts ----------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_documents_of_a_harness_tool(tool: Tool) -> None:
    schema = tool.parameters
    compiled = COMPILER.compile(JsonSchema(schema=schema))
    assert compiled.relaxed == ()
    assert compiled.notes == ()
    seen: set[bool] = set()

    @settings(max_examples=25)
    @given(st.one_of(values(schema, stray=False), values(schema)))
    def check(value: Any) -> None:
        valid = is_valid(value, schema) and _uris_are_uris(value, schema)
        seen.add(valid)
        assert accepts(compiled, written(value, schema)) == valid

    check()
    assert True in seen


def _uris_are_uris(value: Any, schema: Any) -> bool:
    """The grammar enforces formats, which a validator takes for annotations."""
    named = schema.get("properties", {})
    return "no uri" not in [value.get(key) for key, sub in named.items() if sub.get("format") == "uri"]


SCALARS = st.one_of(TEXT, st.integers(-3, 3), st.none())
LEAVES = st.one_of(
    st.just({"type": "string"}),
    st.builds(
        lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b},
        st.integers(0, 3),
        st.integers(0, 4),
    ),
    st.builds(
        lambda a, b: {"type": "integer", "minimum": a, "maximum": a + b},
        st.integers(-15, 5),
        st.integers(0, 30),
    ),
    st.builds(lambda a: {"type": "number", "exclusiveMinimum": a}, st.integers(-9, 9)),
    st.lists(SCALARS, min_size=1, max_size=3).map(lambda choices: {"enum": choices}),
    st.builds(lambda v: {"const": v}, TEXT),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {}, True]),
    st.sampled_from(["^[a-c]+$", "b", "^[^x\n]*$", "^(ab|c){1,2}$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
)  # fmt: skip


def _object(properties: dict[str, Any], n_required: int, rest: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)[:n_required]}
    return schema if rest is None else {**schema, "additionalProperties": rest}


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            _object,
            st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
            st.integers(0, 2),
            st.sampled_from([None, False, {"type": "integer"}]),
        ),
        st.builds(lambda s, n: {"type": "array", "items": s, "maxItems": n}, inner, st.integers(0, 3)),
        st.builds(lambda s: {"anyOf": s}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=5,
)


@settings(max_examples=120)
@given(st.data())
def test_documents_of_generated_schemas(data: st.DataObject) -> None:
    schema = data.draw(SCHEMAS)
    compiled = COMPILER.compile(JsonSchema(schema={"properties": {"v": schema}, "required": ["v"]}))
    for _ in range(4):
        value = data.draw(values(schema))
        assert accepts(compiled, '{"v": ' + written(value, schema) + "}") == is_valid(value, schema)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        pytest.param(
            {"$defs": {"n": {"type": "object", "properties": {"v": {"type": "integer"},
             "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "required": ["v", "next"]}},
             "$ref": "#/$defs/n"},
            [{"v": 1, "next": {"v": 2, "next": None}}], [{"v": 1}, {"v": 1, "next": {"v": 2}}],
            id="a recursive reference",
        ),
        pytest.param(
            {"properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}}, "required": ["b"]},
            [{"b": "x"}], [{"b": 1}], id="a reference to a property",
        ),
        pytest.param(
            {"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"enum": [1, 2]}}},
            [1], [3, "1"], id="definitions of older drafts",
        ),
        pytest.param(
            {"type": "object", "oneOf": [
                {"properties": {"k": {"const": "a"}}, "required": ["k"]},
                {"properties": {"k": {"const": "b"}, "z": {"type": "number"}}, "required": ["k", "z"]},
            ]},
            [{"k": "a"}, {"k": "b", "z": 1.5}], [{"k": "b"}, {"k": "c"}], id="oneOf told apart by a constant",
        ),
        pytest.param(
            {"type": "object", "allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]},
                                         {"properties": {"b": {"type": "integer"}}}]},
            [{"a": "x"}, {"a": "x", "b": 1}], [{"b": 1}, {"a": "x", "b": "y"}], id="allOf of objects",
        ),
        pytest.param(
            {"type": "string", "allOf": [{"pattern": "^[^\\n\\r]*$"}, {"pattern": "^[\\s\\S]{0,4}$"}]},
            ["", "abcd"], ["abcde", "a\nb"], id="allOf of patterns",
        ),
        pytest.param(
            {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
            [["a"], []], [["a", 1], [1]], id="prefixItems",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": {"type": "integer"}},
            [{}, {"q": 1}], [{"q": "1"}], id="a map",
        ),
        pytest.param(
            {"type": "object", "patternProperties": {"^x": {"type": "integer"}},
             "additionalProperties": False},
            [{}, {"x1": 1}], [{"x1": "1"}, {"y": 1}], id="patternProperties",
        ),
        pytest.param(
            {"properties": {"a": {"type": "number", "multipleOf": 0.5, "minimum": 1}}, "required": ["a"]},
            [{"a": 1.5}, {"a": 2}], [{"a": 1.25}, {"a": 0.5}], id="multipleOf",
        ),
        pytest.param(
            {"type": "object", "required": ["zz"], "properties": {"a": {"type": "null"}}},
            [{"a": None, "zz": [1]}], [{"a": None}], id="required without a schema",
        ),
        pytest.param(
            {"const": {"a": [1, None, "é\"\\"]}}, [{"a": [1, None, "é\"\\"]}], [{"a": []}], id="const"
        ),
        pytest.param({"type": "string", "format": "date"}, ["2024-02-29"], ["29.2.2024"], id="format"),
        pytest.param({"type": "string", "format": "int32"}, ["anything"], [1], id="an unknown format"),
    ],
)  # fmt: skip
def test_keyword(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    compiled = COMPILER.compile(JsonSchema(schema=schema, strict=True))
    for value in good:
        assert accepts(compiled, written(value, schema)), value
    for value in bad:
        assert not accepts(compiled, written(value, schema)), value


def test_white_space_is_free_but_bounded() -> None:
    compiled = COMPILER.compile(JsonObject())
    assert accepts(compiled, '\n{\n    "a" : [ 1,\t2 ]\n}')
    assert not accepts(compiled, "{" + "\n" * 40 + "}")
    assert not accepts(compiled, '{"a": 1}\n{}')


def test_strings_may_be_escaped_but_not_into_half_characters() -> None:
    compiled = COMPILER.compile(JsonSchema(schema={"type": "string"}))
    assert all(accepts(compiled, text) for text in ('"é😀"', r'"\u00e9\ud83d\ude00"', r'"\u001b\n\\"'))
    assert not any(
        accepts(compiled, text) for text in (r'"\ud83d"', r'"\ude00"', r'"\x"', '"a\nb"', '"\x00"')
    )


def test_json_object_is_an_object() -> None:
    compiled = COMPILER.compile(JsonObject())
    assert accepts(compiled, "{}")
    assert not any(accepts(compiled, text) for text in ("[]", '"a"', "1", ""))


# --- what cannot be enforced -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"not": {"type": "string"}}, "/not"),
        ({"properties": {"a": {"type": "array", "uniqueItems": True}}}, "/properties/a/uniqueItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "/pattern"),
        ({"type": "any"}, "/type"),
        ({"$ref": "https://example.org/schema.json"}, "/$ref"),
        ({"$ref": "#/$defs/gone"}, "/$ref"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_strict_refuses_what_it_cannot_enforce_and_others_go_on_without(
    schema: dict[str, Any], where: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(where)) as error:
        COMPILER.compile(JsonSchema(schema=schema, strict=True))
    assert error.value.param == "response_format"
    compiled = COMPILER.compile(JsonSchema(schema=schema))
    assert accepts(compiled, '{"a": [1, 1]}') or accepts(compiled, "1") or accepts(compiled, '"b"')
    assert compiled.notes or "oneOf" in schema


def test_a_tool_whose_schema_has_no_grammar_takes_any_object_and_leaves_the_others_alone() -> None:
    contradiction = {"allOf": [{"type": "object"}, {"type": "string"}]}
    tools = (Tool(name="odd", parameters={"properties": {"a": contradiction}, "required": ["a"]}), TOOLS[0])
    compiled = COMPILER.compile(_required(*tools), BracketCalls())
    assert compiled.relaxed == ("tools[0].parameters",)
    assert "tools[0].parameters: any object may come" in compiled.notes
    assert accepts(compiled, '<call>odd {"whatever": 1}</call>')
    assert not accepts(compiled, '<call>Agent {"whatever": 1}</call>')


# --- limits ------------------------------------------------------------------------------------


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


HOSTILE: dict[str, Any] = {
    "deep": _deep(300),
    "deep lists": {"anyOf": [{"anyOf": [_deep(39)]}]},
    "wide": {"properties": {f"p{n}": {} for n in range(401)}},
    "many": {"properties": {f"p{n}": {"anyOf": [{}] * 50} for n in range(100)}},
    "huge enum": {"enum": [f"value {n}" * 3 for n in range(10_000)]},
    "a constant as deep as it goes": {"const": json.loads("[" * 900 + "]" * 900)},
    "not a number": {"minimum": 1, "const": float("nan")},
    "rows of alternatives": {
        "anyOf": [{"properties": {f"q{n}{m}": {} for m in range(30)}} for n in range(100)]
    },
    "products": {"allOf": [{"anyOf": [{"properties": {f"k{m}": {}}} for m in range(4)]} for _ in range(8)]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_schema_beyond_the_limits_is_refused_by_name(name: str) -> None:
    tools = (Tool(name="fine"), Tool(name="bad", parameters={"properties": {"x": HOSTILE[name]}}))
    with pytest.raises(InvalidRequest) as error:
        compiler().compile(_required(*tools), BracketCalls())
    assert error.value.param == "tools[1].parameters"
    assert error.value.message.startswith("tools[1].parameters: ")
    assert len(error.value.message) < 800


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"},
        {"type": "string", "pattern": "^(a|aa|a?b)*(.*a){50}$"},
        {"type": "string", "pattern": "(a?){2000}a{900}"},
        {"type": "string", "minLength": 100_000, "maxLength": 500_000},
        {"type": "array", "minItems": 100_000, "maxItems": 1_000_000, "items": {"type": "string"}},
        {"type": "integer", "multipleOf": 9_999},
        {"type": "number", "multipleOf": 1e-300},
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
         | {"d30": {"type": "object"}}, "$ref": "#/$defs/d0"},
        {"enum": []},
        {"type": ["object", 7]},
        {"properties": [], "required": "a", "items": 3, "anyOf": {}, "minLength": -1, "enum": 5},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)  # fmt: skip
def test_a_hostile_schema_compiles_or_is_refused_soon(schema: dict[str, Any]) -> None:
    try:
        compiled = compiler().compile(
            _required(Tool(name="t", parameters={"properties": {"x": schema}})), BracketCalls()
        )
    except InvalidRequest as error:
        assert error.param == "tools[0].parameters"
    else:
        assert compiled.compile_s < 3
        compiled.constraint()


def test_too_many_tools_or_too_much_of_them() -> None:
    with pytest.raises(InvalidRequest, match="limit") as error:
        COMPILER.compile(_required(*[Tool(name=f"t{n}") for n in range(MAX_TOOLS + 1)]), BracketCalls())
    assert error.value.param == "tools"
    big = {"properties": {f"p{n}": {"enum": ["x" * 300, str(n)]} for n in range(300)}}
    tools = [Tool(name=f"t{n}", parameters={**big, "required": [f"p{n}"]}) for n in range(8)]
    with pytest.raises(InvalidRequest, match="offer fewer tools") as error:
        COMPILER.compile(_required(*tools), BracketCalls())
    assert error.value.param == "tools"


# --- calls -------------------------------------------------------------------------------------

A = Tool(name="a", parameters={"properties": {"n": {"type": "integer"}}, "required": ["n"]})
B = Tool(name="b", parameters={})


def _required(*tools: Tool, only: str | None = None, parallel: bool = True) -> ToolCalls:
    return ToolCalls(format_name="bracket", tools=tools, choice="required", only=only, parallel=parallel)


def _auto(*tools: Tool) -> ToolCalls:
    return ToolCalls(format_name="bracket", tools=tools)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        pytest.param(
            _required(A, B),
            ['<call>a {"n": 1}</call>', '\n<call>b {}</call><call>a {"n": 1}</call>\n'],
            ["", "text", '<call>c {}</call>', '<call>a {}</call>', '<call>a {"n": 1}', 'x<call>b {}</call>'],
            id="required",
        ),
        pytest.param(
            _required(A, B, only="b"), ["<call>b {}</call>"], ['<call>a {"n": 1}</call>'], id="named"
        ),
        pytest.param(
            _required(A, B, parallel=False), ["<call>b {}</call>"], ["<call>b {}</call><call>b {}</call>"],
            id="not in parallel",
        ),
        pytest.param(
            _auto(A, B),
            ["", "plain text, <b>bold</b> <cal", 'I look.<call>a {"n": 1}</call>', "<<call>b {}</call>"],
            ["<call>", "Now <call>c {}</call>", '<call>a {"n": "1"}</call>', "<call>b {}</call> and more"],
            id="auto",
        ),
        pytest.param(
            _required(Tool(name="a", parameters={"properties": {"n": {}}})),
            ['<call>a {"n": [1]}</call>', "<call>a {}</call>"], ['<call>a {"invented": 1}</call>'],
            id="no properties that the tool does not name",
        ),
        pytest.param(
            _required(Tool(name="a", parameters={"properties": {"n": {}}, "additionalProperties": True})),
            ['<call>a {"n": [1], "more": 1}</call>'], [], id="unless it says that others may come",
        ),
        pytest.param(
            _required(Tool(name="a", parameters={"type": "array"})), [], ["<call>a []</call>"],
            id="arguments are an object whatever the schema says",
        ),
    ],
)  # fmt: skip
def test_calls(rule: ToolCalls, good: list[str], bad: list[str]) -> None:
    compiled = COMPILER.compile(rule, BracketCalls())
    for text in good:
        assert accepts(compiled, text), text
    for text in bad:
        assert not accepts(compiled, text), text


def test_two_tools_with_definitions_of_the_same_name() -> None:
    tools = tuple(
        Tool(
            name=name,
            parameters={"$defs": {"d": {"const": name}}, "properties": {"v": {"$ref": "#/$defs/d"}}},
        )
        for name in "ab"
    )
    compiled = COMPILER.compile(_required(*tools), BracketCalls())
    assert accepts(compiled, '<call>a {"v": "a"}</call><call>b {"v": "b"}</call>')
    assert not accepts(compiled, '<call>a {"v": "b"}</call>')


@pytest.mark.parametrize("after", ["</think>", "<|calls|>"])
def test_reasoning_that_has_begun_comes_first(after: str) -> None:
    required = COMPILER.compile(_required(B), BracketCalls(), Framing(after=after))
    assert accepts(required, f"hm <call>nonsense {after}\n\n<call>b {{}}</call>")
    assert not accepts(required, "<call>b {}</call>")
    assert not accepts(required, f"hm {after} text")
    auto = COMPILER.compile(_auto(B), BracketCalls(), Framing(after=after))
    assert accepts(auto, f"hm <call>nonsense {after} text <call>b {{}}</call>")
    assert not accepts(auto, f"hm {after} text <call>nonsense")
    document = COMPILER.compile(JsonObject(), framing=Framing(after=after))
    assert accepts(document, f'{{ not json {after}{{"a": 1}}')


def test_reasoning_that_the_model_may_begin() -> None:
    required = COMPILER.compile(_required(B), BracketCalls(), Framing(after="</think>", opens="<think>"))
    assert accepts(required, "<think>hm <call>x</think>\n<call>b {}</call>")
    assert accepts(required, "<call>b {}</call>")
    assert not accepts(required, "hm</think><call>b {}</call>")
    auto = COMPILER.compile(_auto(B), BracketCalls(), Framing(after="</think>", opens="<think>"))
    assert accepts(auto, "<think>hm <call>x</think> so: <call>b {}</call>")
    assert accepts(auto, "so: <call>b {}</call>")
    assert not accepts(auto, "so: <call>x")


def test_a_trigger_that_is_a_token_of_markup() -> None:
    compiled = COMPILER.compile(ToolCalls(format_name="markup", tools=(B,)), MarkupCalls())
    assert accepts(compiled, "text <call>free <|calls|><call>b {}</call>")
    assert not accepts(compiled, "text <|calls|>text")


def test_the_request_is_not_changed() -> None:
    rule = ToolCalls(format_name="bracket", tools=TOOLS, choice="required")
    before = copy.deepcopy(rule)
    compiler().compile(rule, BracketCalls())
    assert rule == before


def test_a_tool_choice_that_is_not_offered() -> None:
    with pytest.raises(InvalidRequest, match="'c'; offered: a, b") as error:
        COMPILER.compile(_required(A, B, only="c"), BracketCalls())
    assert error.value.param == "tool_choice"


def test_a_rule_for_another_format_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="'bracket'"):
        COMPILER.compile(_auto(Tool(name="never compiled")), MarkupCalls())
