"""DRY sampling on a real model: what repeats becomes unlikely, within the bounds that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchkit.constrained import Ask, Bench
from inference.chat import Sampling
from inference.engines.llama_dry import (
    BREAKERS,
    GRAMMAR_BREAKERS,
    MAX_DRY_WINDOW,
    MAX_KEPT,
    DrySamplers,
    dry_window,
    is_dry,
)
from inference.grammar import JsonSchema

LOOP = "red green blue. " * 4 + "red green"
DRY = Sampling(temperature=0, dry_multiplier=100)


@pytest.fixture(scope="module")
def bench(smollm2_path: Path) -> Iterator[Bench]:
    made = Bench(smollm2_path, slots=2, n_ctx=256, threads=1)  # more would spin against other tests' engines
    yield made
    made.close()


def goes_on(bench: Bench, sampling: Sampling, prompt: str = LOOP, max_tokens: int = 1) -> str:
    (answer,) = bench.answers([Ask(prompt, None, 0)], sampling, max_tokens)
    return answer.text


def changed(**fields: float) -> Sampling:
    return Sampling(**{"temperature": 0, "dry_multiplier": 100, **fields})  # type: ignore[arg-type]


def test_what_would_repeat_does_not_come(bench: Bench) -> None:
    assert goes_on(bench, Sampling(temperature=0)) == " blue"
    assert goes_on(bench, DRY) != " blue"


@pytest.mark.parametrize(
    "fields",
    [
        {"dry_multiplier": 0},
        {"dry_penalty_last_n": 0},
        {"dry_penalty_last_n": 4},  # shorter than the period
        {"dry_allowed_length": 100},
        {"dry_multiplier": 0.001, "dry_base": 1.0},
    ],
)
def test_what_is_asked_for_bounds_it(bench: Bench, fields: dict[str, float]) -> None:
    assert goes_on(bench, changed(**fields)) == " blue"


def test_a_longer_repetition_costs_more(bench: Bench) -> None:
    """0.001 x 1.75 ^ (length - 2): 1 behind 14 tokens that were there before, much behind 46."""
    weak = changed(dry_multiplier=0.001)
    assert goes_on(bench, weak) == " blue"
    assert goes_on(bench, weak, "red green blue. " * 12 + "red green") != " blue"


def test_nothing_repeats_across_a_breaker_but_in_a_grammar(bench: Bench) -> None:
    prompt = "a:b:a:b:a:b:a:b:a:b:"
    assert goes_on(bench, DRY, prompt) == goes_on(bench, Sampling(temperature=0), prompt) == "a"
    assert BREAKERS
    assert not GRAMMAR_BREAKERS


def test_under_a_grammar_each_token_counts_once(bench: Bench) -> None:
    """No two tokens follow each other twice. The first draw is one that may not come, mostly: counted, it
    would stand between those two."""
    schema = {"type": "string", "pattern": "^[ab]{80}$"}
    ask = Ask("Say a word: ", bench.compiler.compile(JsonSchema(schema=schema)), 0)
    (answer,) = bench.answers([ask], changed(dry_allowed_length=1), 100)
    pairs = list(zip(answer.tokens, answer.tokens[1:], strict=False))
    assert answer.ended
    assert len(pairs) > 20
    assert len(set(pairs)) == len(pairs)


def test_samplers_are_kept_by_kind_and_bounded(bench: Bench) -> None:
    dry = DrySamplers(bench.model)
    for length in range(2 * MAX_KEPT):
        assert dry.copy(changed(dry_allowed_length=length), ())
    dry.close()
    assert goes_on(bench, DRY) != " blue"


def test_how_far_back_it_looks() -> None:
    assert dry_window(DRY) == dry_window(changed(dry_penalty_last_n=-1)) == MAX_DRY_WINDOW
    assert dry_window(changed(dry_penalty_last_n=10**9)) == MAX_DRY_WINDOW
    assert dry_window(changed(dry_penalty_last_n=7)) == 7
    assert is_dry(DRY)
    assert not is_dry(Sampling())
    assert not is_dry(changed(dry_penalty_last_n=0))
