"""Expressions of tool-call formats, checked by the texts that they let through."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher

from inference.grammar_lark import LarkBuilder, split_markup
from tests.inference.grammar_texts import VOCABULARY, tokenizer

TOKENIZER = tokenizer()


def builder() -> LarkBuilder:
    return LarkBuilder(VOCABULARY.markup, {})


def lets_through(document: str, text: str) -> bool:
    matcher = LLMatcher(TOKENIZER, document)
    assert not matcher.is_error(), matcher.get_error()
    tokens = VOCABULARY.spell_markup(text.encode())
    assert tokens is not None
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


CASES: dict[str, tuple[Callable[[LarkBuilder], str], list[str], list[str]]] = {
    "markup in a literal is one token": (
        lambda g: g.literal("a<|calls|>b"), ["a<|calls|>b"], ["a<|calls|>", "ab"],
    ),
    "what ends a generation is no part of a literal": (
        lambda g: g.literal("a<|end|>"), ["a"], ["a<|end|>a", ""],
    ),
    "text up to a marker": (
        lambda g: g.seq(g.literal("<p>\n"), g.text_until("\n</p>"), g.literal("\n</p>"), g.literal("</f>")),
        ["<p>\nabc\n</p></f>", "<p>\na\n</p \n\n</p></f>", "<p>\n\n</p></f>", "<p>\n< >\n\n\n</p></f>"],
        ["<p>\nabc\n</p>x\n</p></f>", "<p>\nabc</f>", "<p>\nabc"],
    ),
    "text up to a marker that the next literal goes beyond": (
        lambda g: g.seq(g.text_until("</v>"), g.literal("</v>\n</k>")),
        ["x</v>\n</k>", "</v>\n</k>"], ["x</v>", "x</v></k>", "x</v>y</v>\n</k>"],
    ),
    "text up to one of two markers": (
        lambda g: g.seq(g.text_until("]", "</q>"), g.literal("</q>")), ["ab</q>"], ["a]b</q>", "a]"],
    ),
    "text up to markup": (
        lambda g: g.seq(g.text_until("<|calls|>"), g.literal("<|calls|>z")),
        ["abc\n<|calls|>z", "<|calls|>z"], ["z", "a<|calls|>"],
    ),
    "repeated": (
        lambda g: g.repeat(
            g.seq(g.literal("<k>"), g.text_until("</k>"), g.literal("</k>")), at_least=1, at_most=2
        ),
        ["<k>1</k>", "<k>1</k><k></k>"], ["", "<k>1</k><k></k><k></k>"],
    ),
    "nothing, or any number": (lambda g: g.repeat(g.literal("ab")), ["", "abab"], ["aba"]),
    "alternatives, one of them left out": (
        lambda g: g.seq(
            g.any_of(g.literal("a"), g.seq(g.literal("b"), g.literal("c"))), g.optional(g.literal("!"))
        ),
        ["a", "bc!", "a!"], ["b", "abc", "!"],
    ),
    "JSON among text": (
        lambda g: g.seq(
            g.literal("<x>"), g.whitespace(), g.json({"type": "number"}), g.whitespace(), g.literal("</x>")
        ),
        ["<x>12</x>", "<x>\n1.5 \n</x>"], ["<x>a</x>", "<x>" + " " * 20 + "1</x>"],
    ),
    "alternatives that begin alike": (
        lambda g: g.any_of(
            *[g.seq(g.literal(f'{{"n": "{n}", "v": '), g.json({"enum": [n]}), g.literal("}")) for n in "ab"]
        ),
        ['{"n": "a", "v": "a"}', '{"n": "b", "v": "b"}'], ['{"n": "a", "v": "b"}'],
    ),
    "a named rule, twice": (
        lambda g: g.seq(call := g.rule("Call-1", g.literal("x")), call, g.rule("Call-1", g.literal("y"))),
        ["xxy"], ["xy", "xxx"],
    ),
    "nothing": (lambda g: g.seq(g.literal(""), g.seq()), [""], ["a"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_expression(name: str) -> None:
    write, good, bad = CASES[name]
    g = builder()
    document = g.document(write(g))
    for text in good:
        assert lets_through(document, text), text
    for text in bad:
        assert not lets_through(document, text), text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_a_literal_is_exactly_its_text(text: str) -> None:
    g = builder()
    document = g.document(g.seq(g.literal("<"), g.literal(text), g.literal(">")))
    assert lets_through(document, f"<{text}>")
    assert not lets_through(document, f"<{text}x>")


def test_free_text_that_nothing_ends_is_a_mistake_of_the_format() -> None:
    g = builder()
    with pytest.raises(ValueError, match="must be followed by a literal"):
        g.document(g.seq(g.text_until("</a>"), g.literal("</b>")))


def test_the_longest_markup_is_cut_out() -> None:
    assert split_markup("x<a><ab>y", {"<a>": 1, "<ab>": 2, "<a><ab>": 3, "gone": 4}) == ["x", "<a><ab>", "y"]
    assert split_markup("", {"<a>": 1}) == []
