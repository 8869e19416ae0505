"""Masks, the cache of grammars, and constrained answers of a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchkit.constrained import Ask, Bench
from benchkit.harness_tools import harness_tools
from inference.chat import Sampling, Tool
from inference.engines.llama_constraint import GrammarConstraint
from inference.engines.llama_grammar import MAX_CACHED, GrammarCompiler
from inference.errors import EngineFault, InvalidRequest
from inference.grammar import Framing, JsonObject, JsonSchema, OutputRule, ToolCalls
from tests.inference.grammar_texts import (
    CALLS,
    END_TURN,
    EOG,
    VOCABULARY,
    BracketCalls,
    MarkupCalls,
    compiler,
    feed,
    masked,
)

COMPILER = compiler()
ONE = Tool(name="b", parameters={"properties": {"a": {"type": "string"}, "n": {"type": "integer"}}})
AUTO = ToolCalls(format_name="bracket", tools=(ONE,))
REQUIRED = ToolCalls(format_name="bracket", tools=(ONE,), choice="required")


def constraint(rule: OutputRule, after: str = "", opens: str = "") -> GrammarConstraint:
    return COMPILER.compile(rule, BracketCalls(), Framing(after=after, opens=opens)).constraint()


# --- masks -------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.sampled_from([JsonObject(), AUTO, REQUIRED]),
    st.sampled_from([("", ""), ("</think>", ""), ("</think>", "<think>")]),
    st.lists(st.tuples(st.integers(0, 10**6), st.booleans()), max_size=30),
)
def test_a_mask_leaves_what_may_come_and_nothing_else(
    rule: OutputRule, reasoning: tuple[str, str], choices: list[tuple[int, bool]]
) -> None:
    """Walks at random, half of the time along the texts that lead on."""
    tracked = constraint(rule, *reasoning)
    likely = VOCABULARY.spell_markup(b'</think><call>b {"a": "the", "n": 1}</call><think>') or []
    for number, follow in choices:
        left = masked(tracked)
        assert left == {token for token in range(len(VOCABULARY.pieces)) if tracked.allows(token)}
        assert ({EOG, END_TURN} <= left) == tracked.is_complete
        options = [token for token in likely if token in left] if follow else sorted(left)
        if options:
            token = options[number % len(options)]
            tracked.accept(token)
            if token in VOCABULARY.eog:
                break


@pytest.mark.parametrize(
    ("text", "token", "may_come"),
    [
        ("Look: <call", b">{", False),
        ("Look: <call", b">x", False),
        ("Look: <call", b">", True),
        ("Look: <cal", b">{", True),
        ("Look: <", b"call>", True),
        ("Look: ", b"a<call>{", False),
        ("Look: ", b"a<call>!", False),
        ("<call>b ", b'{"a": ', True),
        ("<call>b {", b'{"a": ', False),
    ],
)
def test_a_token_with_more_behind_the_trigger(text: str, token: bytes, may_come: bool) -> None:
    tracked = constraint(AUTO)
    assert feed(tracked, text)
    number = VOCABULARY.pieces.index(token)
    assert (number in masked(tracked)) == may_come
    assert tracked.allows(number) == may_come
    if may_come:
        tracked.accept(number)


def test_a_document_may_begin_in_the_token_that_ends_reasoning() -> None:
    tracked = constraint(JsonObject(), after="</think>")
    left = masked(tracked)
    assert VOCABULARY.pieces.index(b"</think>{") in left
    assert VOCABULARY.pieces.index(b"</think>x") not in left
    tracked.accept(VOCABULARY.pieces.index(b"</think>{"))
    assert tracked.holds
    assert feed(tracked, "}")
    assert tracked.is_complete


def test_nothing_holds_before_the_trigger_and_afterwards_everything() -> None:
    tracked = constraint(AUTO)
    assert feed(tracked, "free <|calls|>{text")
    assert (tracked.holds, tracked.is_complete) == (False, True)
    assert feed(tracked, "<call>")
    assert (tracked.holds, tracked.is_complete) == (True, False)
    assert masked(tracked) == {ord("b")}
    assert CALLS not in masked(tracked)


def test_the_end_of_a_generation_may_come_where_the_grammar_may_end() -> None:
    tracked = constraint(REQUIRED)
    assert not masked(tracked) & {EOG, END_TURN}
    assert feed(tracked, "<call>b {}</call>")
    assert masked(tracked) >= {EOG, END_TURN}
    tracked.accept(END_TURN)
    assert tracked.is_complete
    assert masked(tracked) == set(range(len(VOCABULARY.pieces)))  # a caller that goes on does so freely


def test_a_token_that_may_not_come_is_not_accepted() -> None:
    with pytest.raises(
        EngineFault, match="token 120 was drawn, which the grammar of response_format forbids"
    ):
        constraint(JsonObject()).accept(ord("x"))
    markup = ToolCalls(format_name="markup", tools=(ONE,))
    tracked = COMPILER.compile(markup, MarkupCalls()).constraint()
    assert feed(tracked, "<call>free <|calls|>")
    with pytest.raises(EngineFault, match="grammar of tools"):
        tracked.accept(ord("x"))


def test_constraints_of_one_grammar_do_not_share_their_place() -> None:
    compiled = COMPILER.compile(REQUIRED, BracketCalls())
    first, second = compiled.constraint(), compiled.constraint()
    assert feed(first, '<call>b {"a": "th')
    assert feed(second, "<call>")
    assert masked(second) == {ord("b")}
    assert ord('"') in masked(first)


def test_a_schema_that_turns_out_too_complex_on_the_way_is_the_clients() -> None:
    schema = {"type": "string", "pattern": "^" + "(.*a|.*b.{300}c)" * 40 + "$"}
    try:
        tracked = compiler().compile(JsonSchema(schema={"properties": {"x": schema}})).constraint()
        with pytest.raises(InvalidRequest, match="the grammar cannot go on") as error:
            for token in VOCABULARY.spell(b'{"x": "' + b"ab" * 2000) or ():
                masked(tracked)
                tracked.accept(token)
    except InvalidRequest as refused:
        assert refused.param == "response_format"
    else:
        assert error.value.param == "response_format"


# --- the cache ---------------------------------------------------------------------------------


def test_a_grammar_is_compiled_once_and_forgotten_in_time() -> None:
    reads: list[int] = []

    def read() -> Any:
        reads.append(1)
        return VOCABULARY

    cache = GrammarCompiler(read)
    assert reads == []
    rules = [JsonSchema(schema={"const": n}) for n in range(MAX_CACHED + 1)]
    first = cache.compile(rules[0])
    assert cache.compile(JsonSchema(schema={"const": 0})) is first
    assert cache.compile(rules[0], framing=Framing(after="</think>")) is not first
    for rule in rules[1:]:
        cache.compile(rule)
    assert cache.compile(rules[-1]) is cache.compile(rules[-1])
    assert cache.compile(rules[0]) is not first
    assert reads == [1]


def test_a_refusal_is_kept_too() -> None:
    ticks = iter(range(100))
    cache = GrammarCompiler(lambda: VOCABULARY, clock=lambda: next(ticks) * 10.0)
    for _ in range(2):
        with pytest.raises(InvalidRequest, match=r"took 10\.0 s to compile"):
            cache.compile(JsonObject())
    assert next(ticks) == 2


# --- a real model ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(smollm2_path: Path) -> Iterator[Bench]:
    made = Bench(smollm2_path, slots=20, n_ctx=128, threads=1)  # more would spin against other tests' engines
    yield made
    made.close()


TOOLS = harness_tools()[:20]


def _ask(bench: Bench, tool: Tool, seed: int) -> Ask:
    sample = json.dumps(dict.fromkeys(tool.parameters.get("required", []), "x"))
    prompt = f"<|im_start|>user\nSay {sample}<|im_end|>\n<|im_start|>assistant\n"
    return Ask(prompt, bench.compiler.compile(JsonSchema(schema=tool.parameters)), seed)


@pytest.mark.slow
def test_a_real_model_writes_valid_documents_at_temperature_1(bench: Bench) -> None:
    asks = [_ask(bench, tool, seed) for seed, tool in enumerate(TOOLS)]
    answers = bench.answers(asks, Sampling(temperature=1.0), max_tokens=60)
    for tool, answer in zip(TOOLS, answers, strict=True):
        if answer.ended:
            jsonschema.validate(json.loads(answer.text), tool.parameters)
    assert sum(answer.ended for answer in answers) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(temperature=1.0, repeat_penalty=1.1)])
def test_a_real_model_calls_an_offered_tool(bench: Bench, sampling: Sampling) -> None:
    brief = [tool for tool in TOOLS if tool.name in ("CronList", "ExitWorktree", "Skill", "Read")]
    rule = ToolCalls(format_name="bracket", tools=tuple(brief), choice="required", parallel=False)
    compiled = bench.compiler.compile(rule, BracketCalls())
    prompt = "<|im_start|>user\nSay <call>CronList {}</call><|im_end|>\n<|im_start|>assistant\n"
    answers = bench.answers([Ask(prompt, compiled, seed) for seed in range(4)], sampling, max_tokens=40)
    schemas = {tool.name: tool.parameters for tool in brief}
    for answer in answers:
        name, _, rest = answer.text.strip().removeprefix("<call>").partition(" ")
        assert any(known.startswith(name) for known in schemas)
        if answer.ended:
            jsonschema.validate(json.loads(rest.removesuffix("</call>")), schemas[name])
    assert any(answer.ended for answer in answers)


def test_a_real_vocabulary(bench: Bench) -> None:
    compiled = bench.compiler.compile(JsonObject())
    vocabulary = compiled.vocabulary
    assert len(vocabulary.pieces) == bench.model.n_vocab
    assert vocabulary.eog == set(bench.model.eog_tokens.tolist())
    assert vocabulary.control["<|im_end|>"] in vocabulary.eog
    text = 'é <|im_start|>{"a": 1}'.encode()
    tokens = vocabulary.spell_markup(text)
    assert tokens is not None
    assert vocabulary.control["<|im_start|>"] in tokens
    assert b"".join(vocabulary.pieces[token] for token in tokens) == text
    logits = np.zeros(bench.model.n_vocab, dtype=np.float32)
    compiled.constraint().mask(logits)
    assert {vocabulary.pieces[token].lstrip()[:1] for token in np.flatnonzero(logits == 0)} == {b"{", b""}
