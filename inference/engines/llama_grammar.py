"""Grammars compiled for one model's vocabulary: bounded, and kept for the next request.

llguidance does the parsing (docs/decisions/0007-grammar.md). A GrammarCompiler belongs to a model; what it
makes is applied to answers by llama_constraint.py.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from inference.engines.llama_constraint import CompiledGrammar, brief, is_limit
from inference.engines.llama_native import Model
from inference.errors import InvalidRequest
from inference.grammar import (
    UNFRAMED,
    CallGrammar,
    Framing,
    Grammar,
    OutputRule,
    alone,
    write_grammar,
)
from inference.grammar_vocabulary import Vocabulary

MAX_CACHED: Final = 16
"""Compiled grammars kept, 1 to 10 MB each. A harness sends the same tools all day."""

MAX_COMPILE_S: Final = 5.0
"""Of computing: a busy machine is no fault of the schema. None within the limits of grammar_schema.py came
near it; one that does is not tried again."""


def _limits() -> LLParserLimits:
    """What one grammar may cost; llguidance reports an error beyond that."""
    return LLParserLimits(
        max_items_in_row=4000,  # an object of 400 optional properties has 1600
        initial_lexer_fuel=1_000_000,  # 20 ms
        step_lexer_fuel=200_000,  # 15 ms for one mask
        step_max_items=50_000,
        max_lexer_states=50_000,  # 1 to 2 kB each
        max_grammar_size=200_000,
        verbose_errors=False,  # they would quote the schema
    )


# --- vocabulary --------------------------------------------------------------------------------


def read_vocabulary(model: Model) -> Vocabulary:
    """The vocabulary of a loaded model: 0.2 s for 49k tokens, 0.9 s for 262k."""
    control: dict[str, int] = {}
    pieces: list[bytes] = []
    for token in range(model.n_vocab):
        if model.is_control(token):
            name = model.token_text(token)
            control.setdefault(name, token)
            pieces.append(name.encode())
        else:
            pieces.append(model.piece(token))
    return Vocabulary(tuple(pieces), control, frozenset(model.eog_tokens.tolist()))


class _Tokenizer:
    """What LLTokenizer asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = vocabulary.pieces
        self.eos_token_id = min(vocabulary.eog)
        self.special_token_ids = sorted({*vocabulary.control.values(), *vocabulary.eog})
        self._spell = vocabulary.spell

    def __call__(self, text: bytes | str) -> list[int]:
        return self._spell(text.encode() if isinstance(text, str) else text) or []


def make_tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    """llguidance's view of a vocabulary: 0.2 s for 49k tokens, 1.5 s for 262k."""
    return LLTokenizer(
        _Tokenizer(vocabulary),  # type: ignore[arg-type]
        n_vocab=len(vocabulary.pieces),
        eos_token=sorted(vocabulary.eog),
        slices=LLTokenizer.json_slices(),
    )


# --- compiling ---------------------------------------------------------------------------------


class GrammarCompiler:
    """Compiles for one vocabulary, which it asks for when it is first needed. Thread-safe."""

    def __init__(
        self, vocabulary: Callable[[], Vocabulary], clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._read = vocabulary
        self._clock = clock
        self._lock = threading.Lock()  # protects the cache and the vocabulary; held while compiling
        self._cache: OrderedDict[bytes, CompiledGrammar | InvalidRequest] = OrderedDict()
        self._vocabulary: Vocabulary | None = None
        self._tokenizer: LLTokenizer | None = None

    def compile(
        self,
        rule: OutputRule,
        tool_format: CallGrammar | None = None,
        framing: Framing = UNFRAMED,
    ) -> CompiledGrammar:
        """The grammar of a rule, from the cache if it was asked for lately. Blocks.

        Raises InvalidRequest, naming the field, for a schema that is too large, too deep or has no document.
        """
        key = hashlib.sha256(msgspec.msgpack.encode([rule, framing])).digest()
        with self._lock:
            kept = self._cache.get(key)
            if kept is None:
                try:
                    kept = self._compile(rule, tool_format, framing)
                except InvalidRequest as error:  # it would be as slow to refuse again
                    kept = error
                self._cache[key] = kept
            self._cache.move_to_end(key)
            if len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        if isinstance(kept, InvalidRequest):
            raise InvalidRequest(kept.message, param=kept.param)
        return kept

    def _compile(
        self, rule: OutputRule, tool_format: CallGrammar | None, framing: Framing
    ) -> CompiledGrammar:
        vocabulary, tokenizer = self._tools()
        started_s = self._clock()

        def written(relaxed: frozenset[str], *, shaped: bool) -> Grammar:
            return write_grammar(
                rule, tool_format, control=vocabulary.markup, framing=framing, relaxed=relaxed, shaped=shaped
            )

        relaxed: frozenset[str] = frozenset()
        grammar = written(relaxed, shaped=True)
        matcher, calls, error = _matchers(tokenizer, grammar)
        for relaxed, shaped in self._ways_out(grammar, tokenizer, error) if error else ():
            grammar = written(relaxed, shaped=shaped)
            matcher, calls, error = _matchers(tokenizer, grammar)
            if not error:
                break
        compile_s = self._clock() - started_s
        if error or compile_s > MAX_COMPILE_S:
            why = error or f"took {compile_s:.1f} s to compile, limit {MAX_COMPILE_S} s"
            raise InvalidRequest(
                f"{grammar.param}: no grammar: {why}: simplify the schemas", param=grammar.param
            )
        return CompiledGrammar(grammar, vocabulary, matcher, compile_s, calls, tuple(sorted(relaxed)))

    def _ways_out(
        self, grammar: Grammar, tokenizer: LLTokenizer, error: str
    ) -> Iterator[tuple[frozenset[str], bool]]:
        """What to go on without: fields whose schema is then any object; and shapes of bare text."""
        yield frozenset(), False
        culprits = self._culprits(grammar, tokenizer, error)
        yield culprits, True
        yield culprits, False

    def _culprits(self, grammar: Grammar, tokenizer: LLTokenizer, error: str) -> frozenset[str]:
        """The fields whose schema does not compile by itself, if going on without them is allowed."""
        errors = {one.param: _matcher(tokenizer, alone(one))[1] for one in grammar.schemas}
        found = {param: why for param, why in errors.items() if why}
        strict = next((one.param for one in grammar.schemas if one.strict and one.param in found), None)
        too_large = next((param for param, why in found.items() if is_limit(why)), None)
        if strict or too_large or not found:
            param = too_large or strict or grammar.param
            raise InvalidRequest(
                f"{param}: no grammar for the schema: {found.get(param, error)}: simplify it", param=param
            )
        return frozenset(found)

    def _tools(self) -> tuple[Vocabulary, LLTokenizer]:
        if self._vocabulary is None or self._tokenizer is None:
            self._vocabulary = self._read()
            self._tokenizer = make_tokenizer(self._vocabulary)
        return self._vocabulary, self._tokenizer


def _matchers(tokenizer: LLTokenizer, grammar: Grammar) -> tuple[LLMatcher, LLMatcher | None, str]:
    """At the beginning of `document` and of `calls`, and what is wrong with one of them."""
    matcher, error = _matcher(tokenizer, grammar.document)
    if error or not grammar.calls:
        return matcher, None, error
    return matcher, *_matcher(tokenizer, grammar.calls)


def _matcher(tokenizer: LLTokenizer, document: str) -> tuple[LLMatcher, str]:
    """A matcher at the beginning of `document`, and what is wrong with it."""
    matcher = LLMatcher(tokenizer, document, log_level=0, limits=_limits())
    if matcher.is_error():
        return matcher, brief(matcher.get_error())
    trial = matcher.deep_copy()
    can_begin = any(trial.compute_bitmask())
    if trial.is_error():
        return matcher, brief(trial.get_error())
    return matcher, "" if can_begin else "nothing satisfies it"
