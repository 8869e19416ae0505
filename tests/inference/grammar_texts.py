"""Asking a grammar about whole texts: over a vocabulary of bytes, some longer tokens and some markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLTokenizer

from inference.chat import Tool
from inference.engines.llama_constraint import CompiledGrammar, GrammarConstraint
from inference.engines.llama_grammar import GrammarCompiler, make_tokenizer
from inference.grammar_lark import LarkBuilder
from inference.grammar_vocabulary import Vocabulary

EOG, END_TURN, CALLS, WORD, LONG = 256, 257, 258, 259, 260

VOCABULARY = Vocabulary(
    pieces=(
        *(bytes([byte]) for byte in range(256)),
        b"<eos>", b"<|end|>", b"<|calls|>", b"the", b'{"a": ',
        b">{", b">x", b"</think>x", b"</think>{", b"  ",
        b"call>", b"\n\n", b"a<call>{", b"a<call>!", b' {"n', b' {"x',
    ),
    control={"<eos>": EOG, "<|end|>": END_TURN, "<|calls|>": CALLS},
    eog=frozenset({EOG, END_TURN}),
)  # fmt: skip


def compiler() -> GrammarCompiler:
    return GrammarCompiler(lambda: VOCABULARY)


def tokenizer() -> LLTokenizer:
    return make_tokenizer(VOCABULARY)


class BracketCalls:
    """A format of one line: <call>NAME ARGUMENTS</call>, one after the other."""

    name = "bracket"
    triggers: tuple[str, ...] = ("<call>",)

    def grammar(self, g: LarkBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        arguments = [
            g.seq(g.literal(tool.name), g.literal(" "), g.json(tool.parameters or {"type": "object"}))
            for tool in tools
        ]
        call = g.rule("call", g.seq(g.literal("<call>"), g.any_of(*arguments), g.literal("</call>")))
        return g.repeat(call, at_least=1, at_most=None if parallel else 1)


class MarkupCalls(BracketCalls):
    """The same behind a token of markup."""

    name = "markup"
    triggers = ("<|calls|>",)

    def grammar(self, g: LarkBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        return g.seq(g.literal("<|calls|>"), BracketCalls.grammar(self, g, tools, parallel=parallel))


def accepts(compiled: CompiledGrammar, text: str) -> bool:
    """Whether the answer may be exactly `text`: token by token it may come, and then may end."""
    constraint = compiled.constraint()
    return feed(constraint, text) and constraint.is_complete


def feed(constraint: GrammarConstraint, text: str) -> bool:
    """Give the text's tokens one by one, as bytes and markup. False: one of them may not come."""
    tokens = VOCABULARY.spell_markup(text.encode("utf-8", "surrogatepass"))
    assert tokens is not None
    for token in tokens:
        if not constraint.allows(token):
            return False
        constraint.accept(token)
    return True


def masked(constraint: GrammarConstraint) -> set[int]:
    """The tokens that a mask leaves."""
    logits = np.zeros(len(VOCABULARY.pieces), dtype=np.float32)
    constraint.mask(logits)
    return set(np.flatnonzero(logits == 0).tolist())


def written(value: Any, schema: Any) -> str:
    """JSON text of a value with its keys in the schema's order, in which a grammar wants them."""
    return json.dumps(ordered(value, schema), ensure_ascii=False)


def ordered(value: Any, schema: Any) -> Any:
    if isinstance(value, list):
        items = [branch["items"] for branch in _in_place(schema) if "items" in branch]
        return [ordered(item, items[0] if items else True) for item in value]
    if not isinstance(value, dict):
        return value
    named: dict[str, Any] = {}
    required: list[str] = []
    rest: Any = True
    for branch in _in_place(schema):
        for key, sub in branch.get("properties", {}).items():
            named.setdefault(key, sub)
        required += branch.get("required", [])
        rest = branch.get("additionalProperties", rest)
    keys = [key for key in (*named, *required, *value) if key in value]
    return {key: ordered(value[key], named.get(key, rest)) for key in dict.fromkeys(keys)}


def _in_place(schema: Any) -> list[dict[str, Any]]:
    """The schema and those within it that describe the same value."""
    if not isinstance(schema, dict):
        return []
    branches = [branch for key in ("anyOf", "oneOf", "allOf") for branch in schema.get(key, ())]
    return [schema, *(inner for branch in branches for inner in _in_place(branch))]
