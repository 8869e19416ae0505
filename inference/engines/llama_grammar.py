"""Grammars at work: compiled for one model's vocabulary, and applied to one request's logits.

llguidance does the parsing (docs/decisions/0007-grammar.md). GrammarCompiler belongs to a model: it
bounds, compiles and keeps grammars. GrammarConstraint belongs to a request: it says which tokens may come
next. Before the grammar holds (reasoning, or text before a call) every token may, but for one in which
a marker ends and what follows it in the same token breaks the grammar.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from inference.engines.llama_native import Model
from inference.errors import EngineFault, InvalidRequest
from inference.grammar import CallGrammar, Grammar, OutputRule, alone, write_grammar
from inference.grammar_markers import Found, Scan
from inference.grammar_vocabulary import Vocabulary

Logits = npt.NDArray[np.float32]

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


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """Shared by requests: each takes a `constraint` of its own. `relaxed`: fields where any JSON object may
    come, because their schema is more than a grammar can say. `notes`: what else is not enforced."""

    grammar: Grammar
    vocabulary: Vocabulary
    matcher: LLMatcher
    compile_s: float
    relaxed: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        return (*(f"{param}: any object may come" for param in self.relaxed), *self.grammar.notes)

    def constraint(self) -> GrammarConstraint:
        return GrammarConstraint(self)


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
        self, rule: OutputRule, tool_format: CallGrammar | None = None, *, after: str = "", opens: str = ""
    ) -> CompiledGrammar:
        """The grammar of a rule, from the cache if it was asked for lately. Blocks.

        Raises InvalidRequest, naming the field, for a schema that is too large, too deep or has no document.
        See grammar.write_grammar for `after` and `opens`.
        """
        key = hashlib.sha256(msgspec.msgpack.encode([rule, after, opens])).digest()
        with self._lock:
            kept = self._cache.get(key)
            if kept is None:
                try:
                    kept = self._compile(rule, tool_format, after, opens)
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
        self, rule: OutputRule, tool_format: CallGrammar | None, after: str, opens: str
    ) -> CompiledGrammar:
        vocabulary, tokenizer = self._tools()
        started_s = self._clock()
        grammar = write_grammar(rule, tool_format, control=vocabulary.markup, after=after, opens=opens)
        matcher, error = _matcher(tokenizer, grammar.document)
        relaxed: frozenset[str] = frozenset()
        if error:
            relaxed = self._culprits(rule, grammar, tokenizer, error)
            grammar = write_grammar(
                rule, tool_format, control=vocabulary.markup, after=after, opens=opens, relaxed=relaxed
            )
            matcher, error = _matcher(tokenizer, grammar.document)
        compile_s = self._clock() - started_s
        if error or compile_s > MAX_COMPILE_S:
            why = error or f"took {compile_s:.1f} s to compile, limit {MAX_COMPILE_S} s"
            raise InvalidRequest(
                f"{grammar.param}: no grammar: {why}: simplify the schemas", param=grammar.param
            )
        return CompiledGrammar(grammar, vocabulary, matcher, compile_s, tuple(sorted(relaxed)))

    def _culprits(
        self, rule: OutputRule, grammar: Grammar, tokenizer: LLTokenizer, error: str
    ) -> frozenset[str]:
        """The fields whose schema does not compile by itself, if going on without them is allowed."""
        errors = {
            one.param: _matcher(tokenizer, alone(one, coerce_one_of=grammar.coerce_one_of))[1]
            for one in grammar.schemas
        }
        found = {param: why for param, why in errors.items() if why}
        strict = getattr(rule, "strict", False)
        too_large = next((param for param, why in found.items() if _is_limit(why)), None)
        if strict or too_large or not found:
            param = too_large or next(iter(found), grammar.param)
            raise InvalidRequest(
                f"{param}: no grammar for the schema: {found.get(param, error)}: simplify it", param=param
            )
        return frozenset(found)

    def _tools(self) -> tuple[Vocabulary, LLTokenizer]:
        if self._vocabulary is None or self._tokenizer is None:
            self._vocabulary = self._read()
            self._tokenizer = make_tokenizer(self._vocabulary)
        return self._vocabulary, self._tokenizer


def _matcher(tokenizer: LLTokenizer, document: str) -> tuple[LLMatcher, str]:
    """A matcher at the beginning of `document`, and what is wrong with it."""
    matcher = LLMatcher(tokenizer, document, log_level=0, limits=_limits())
    if matcher.is_error():
        return matcher, _brief(matcher.get_error())
    trial = matcher.deep_copy()
    can_begin = any(trial.compute_bitmask())
    if trial.is_error():
        return matcher, _brief(trial.get_error())
    return matcher, "" if can_begin else "nothing satisfies it"


def _brief(error: str) -> str:
    return error.split("\n", 1)[0].replace("<non-verbose/>", "").strip()[:300]


def _is_limit(error: str) -> bool:
    """Whether an error of llguidance is about size rather than about what a schema says."""
    return any(
        word in error for word in ("too large", "too many", "too complex", "limit", "fuel", " max is ")
    )


# --- applying ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The grammar does not hold yet. `reasoning`: it waits for the end of that."""

    scan: Scan
    reasoning: bool


@dataclass(frozen=True, slots=True)
class _Ended:
    """A token came that ends a generation."""


_State = _Waiting | LLMatcher | _Ended


class GrammarConstraint:
    """Which tokens may come next in one answer. Of one thread. Ask, then `accept` what was drawn.

    `mask` and `allows` raise InvalidRequest if a schema turns out too complex on the way.
    """

    def __init__(self, compiled: CompiledGrammar) -> None:
        grammar = compiled.grammar
        self._compiled = compiled
        self._vocabulary = compiled.vocabulary
        self._after = grammar.after.encode()
        self._opens = grammar.opens.encode()
        self._triggers = tuple(trigger.encode() for trigger in grammar.triggers)
        self._bits = np.zeros((len(self._vocabulary.pieces) + 31) // 32, dtype=np.uint32)
        self._next: tuple[int, _State] | None = None  # what `allows` found out
        begun = self._begun(b"", reasoning=bool(self._after) and not self._opens)
        assert begun is not None  # the empty text breaks no grammar
        self._state: _State = begun

    def allows(self, token: int) -> bool:
        """Whether `token` may come next: some microseconds, where `mask` takes up to some hundred."""
        if not isinstance(self._state, LLMatcher):
            following = self._following(token)
            self._next = None if following is None else (token, following)
            return following is not None
        if token in self._vocabulary.eog:
            return self._state.is_accepting()
        allowed = self._state.validate_tokens([token]) == 1
        self._check(self._state)
        return allowed

    def mask(self, logits: Logits) -> None:
        """Make −inf, in place, what may not come next. `logits`: (n_vocab,)."""
        if isinstance(self._state, LLMatcher):
            self._state.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
            self._check(self._state)
            if not self._bits.any():
                raise self._too_complex("nothing may come next")
            allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little", count=len(logits))
            np.putmask(logits, allowed == 0, -np.inf)
        elif isinstance(self._state, _Waiting):
            forbidden = [token for token in self._doubtful(self._state.scan) if not self.allows(token)]
            forbidden += () if self.is_complete else self._vocabulary.eog
            logits[forbidden] = -np.inf

    def accept(self, token: int) -> None:
        """Go on with `token`, which must be one that may come."""
        known, self._next = self._next, None
        if isinstance(self._state, LLMatcher) and token not in self._vocabulary.eog:
            following: _State | None = self._state if self._state.consume_token(token) else None
            if following is None and _is_limit(self._state.get_error()):
                raise self._too_complex(_brief(self._state.get_error()))
        else:
            following = known[1] if known is not None and known[0] == token else self._following(token)
        if following is None:
            raise EngineFault(
                f"token {token} was drawn, which the grammar of {self._compiled.grammar.param} forbids"
            )
        self._state = following

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here. (At max_tokens it may end elsewhere; that is the caller's.)"""
        if isinstance(self._state, LLMatcher):
            return self._state.is_accepting()
        return isinstance(self._state, _Ended) or bool(self._triggers)

    @property
    def holds(self) -> bool:
        """Whether the grammar has begun: past reasoning, and past the first trigger if there are some."""
        return isinstance(self._state, LLMatcher)

    def close(self) -> None:
        self._state = _Ended()
        self._next = None

    def _following(self, token: int) -> _State | None:
        """The state after `token`; None if it may not come. For states other than a matcher's own."""
        if token in self._vocabulary.eog:
            return _Ended() if self.is_complete else None
        state = self._state
        if not isinstance(state, _Waiting):
            return state
        found = state.scan.feed(self._vocabulary.pieces[token])
        return self._found(found, reasoning=state.reasoning)

    def _found(self, found: Found | Scan, *, reasoning: bool) -> _State | None:
        if isinstance(found, Scan):
            return _Waiting(found, reasoning)
        if reasoning:
            return self._begun(found.rest, reasoning=False)
        if found.marker == self._opens:
            return self._begun(found.rest, reasoning=True)
        return self._matching(found.marker + found.rest)

    def _begun(self, text: bytes, *, reasoning: bool) -> _State | None:
        """The state after `text` at the beginning of reasoning, or of the answer."""
        if not reasoning and not self._triggers:
            return self._matching(text)
        answer = (*self._triggers, self._opens) if self._opens else self._triggers
        return self._found(Scan((self._after,) if reasoning else answer).feed(text), reasoning=reasoning)

    def _matching(self, text: bytes) -> LLMatcher | None:
        tokens = self._vocabulary.spell_markup(text)
        matcher = self._compiled.matcher.deep_copy()
        if tokens is None or matcher.try_consume_tokens(tokens) != len(tokens):
            return None
        return matcher

    def _doubtful(self, scan: Scan) -> set[int]:
        """Tokens in which a marker ends before the token does."""
        doubtful = {t for ending in scan.endings() for t in self._vocabulary.beginning_with(ending)}
        return doubtful.union(*(self._vocabulary.containing(marker) for marker in scan.markers))

    def _check(self, matcher: LLMatcher) -> None:
        if matcher.is_error():
            raise self._too_complex(_brief(matcher.get_error()))

    def _too_complex(self, why: str) -> InvalidRequest:
        param = self._compiled.grammar.param
        return InvalidRequest(f"{param}: the grammar cannot go on: {why}: simplify the schema", param=param)
