"""A grammar at work on one answer: which tokens may come next.

A GrammarConstraint belongs to a request. Before the grammar holds (reasoning, or text before a call) every
token may come, but for one in which a marker ends and what follows it in the same token breaks the grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from inference.errors import EngineFault, InvalidRequest
from inference.grammar import Grammar
from inference.grammar_markers import Found, Opening, Scan
from inference.grammar_vocabulary import Vocabulary

Logits = npt.NDArray[np.float32]

OPENING_BYTES: Final = 9
"""Where all openings of calls are alike. A token with an opening in it has this; no tool's name counts."""


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """Shared by requests: each takes a `constraint` of its own. `calls`: of `grammar.calls`, if it has some.
    `relaxed`: fields where any JSON object may come, because their schema is more than a grammar can say.
    `notes`: what else is not enforced."""

    grammar: Grammar
    vocabulary: Vocabulary
    matcher: LLMatcher
    compile_s: float
    calls: LLMatcher | None = None
    relaxed: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        return (*(f"{param}: any object may come" for param in self.relaxed), *self.grammar.notes)

    def constraint(self) -> GrammarConstraint:
        return GrammarConstraint(self)


def brief(error: str) -> str:
    return error.split("\n", 1)[0].replace("<non-verbose/>", "").strip()[:300]


def is_limit(error: str) -> bool:
    """Whether an error of llguidance is about size rather than about what a schema says."""
    return any(
        word in error for word in ("too large", "too many", "too complex", "limit", "fuel", " max is ")
    )


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The grammar does not hold yet. `reasoning`: it waits for the end of that."""

    scan: Scan
    reasoning: bool


@dataclass(frozen=True, slots=True)
class _Ended:
    """A token came that ends a generation."""


@dataclass(frozen=True, slots=True)
class _Deciding:
    """The grammars hold; which of them is open, for a call begins as a document may. None: it does not."""

    document: LLMatcher | None
    calls: LLMatcher | None
    opening: Opening

    @property
    def matchers(self) -> tuple[LLMatcher, ...]:
        return tuple(matcher for matcher in (self.document, self.calls) if matcher is not None)


_State = _Waiting | _Deciding | LLMatcher | _Ended


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
        reasoning = bool(self._after) and not self._opens
        begun = self._begun(b"" if reasoning else grammar.lead.encode(), reasoning=reasoning)
        assert begun is not None  # what the prompt has said breaks no grammar
        self._state: _State = begun

    def allows(self, token: int) -> bool:
        """Whether `token` may come next: some microseconds, where `mask` takes up to some hundred."""
        state = self._state
        if token in self._vocabulary.eog:
            return self.is_complete
        if isinstance(state, LLMatcher):
            return self._lets(state, token)
        following = self._following(token)
        self._next = None if following is None else (token, following)
        return following is not None

    def mask(self, logits: Logits) -> None:
        """Make −inf, in place, what may not come next. `logits`: (n_vocab,)."""
        if isinstance(self._state, _Waiting):
            forbidden = [token for token in self._doubtful(self._state.scan) if not self.allows(token)]
            forbidden += () if self.is_complete else self._vocabulary.eog
            logits[forbidden] = -np.inf
        elif not isinstance(self._state, _Ended):
            allowed = np.unpackbits(self._mask_bits().view(np.uint8), bitorder="little", count=len(logits))
            np.putmask(logits, allowed == 0, -np.inf)
            if isinstance(self._state, _Deciding):
                doubtful = self._going_beyond(self._state.opening)
                logits[[token for token in doubtful if not self.allows(token)]] = -np.inf

    def accept(self, token: int) -> None:
        """Go on with `token`, which must be one that may come."""
        known, self._next = self._next, None
        state = self._state
        if isinstance(state, LLMatcher) and token not in self._vocabulary.eog:
            following: _State | None = state if state.consume_token(token) else None
            if following is None and is_limit(state.get_error()):
                raise self._too_complex(brief(state.get_error()))
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
        match self._state:
            case LLMatcher() as matcher:
                return bool(matcher.is_accepting())
            case _Deciding(document=document):  # no call is complete before it is known as one
                return document is not None and bool(document.is_accepting())
            case _Waiting():
                return bool(self._triggers)
            case _Ended():
                return True

    @property
    def holds(self) -> bool:
        """Whether the grammar has begun: past reasoning, and past the first trigger if there are some."""
        return isinstance(self._state, LLMatcher | _Deciding)

    def close(self) -> None:
        self._state = _Ended()
        self._next = None

    def _following(self, token: int) -> _State | None:
        """The state after `token`; None if it may not come. For states other than a matcher's own."""
        if token in self._vocabulary.eog:
            return _Ended() if self.is_complete else None
        match self._state:
            case _Waiting(scan=scan, reasoning=reasoning):
                return self._found(scan.feed(self._vocabulary.pieces[token]), reasoning=reasoning)
            case _Deciding(document=document, calls=calls, opening=opening):
                return self._decided(
                    self._with(document, token),
                    self._with(calls, token),
                    opening.feed(self._vocabulary.pieces[token]),
                )
            case state:
                return state

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

    def _matching(self, text: bytes) -> _State | None:
        """The state after `text`, from where the grammar holds."""
        document = self._consumed(self._compiled.matcher, text)
        opening, calls = self._compiled.grammar.opening, self._compiled.calls
        if opening is None or calls is None:
            return document
        return self._decided(document, self._consumed(calls, text), opening.feed(text))

    def _consumed(self, beginning: LLMatcher, text: bytes) -> LLMatcher | None:
        tokens = self._vocabulary.spell_markup(text)
        matcher = beginning.deep_copy()
        if tokens is None or matcher.try_consume_tokens(tokens) != len(tokens):
            return None
        return matcher

    def _with(self, matcher: LLMatcher | None, token: int) -> LLMatcher | None:
        """A copy that has gone on with `token`, if it may."""
        if matcher is None or not self._lets(matcher, token):
            return None
        copied = matcher.deep_copy()
        copied.consume_token(token)
        return copied

    def _decided(
        self, document: LLMatcher | None, calls: LLMatcher | None, found: Found | Opening | None
    ) -> _State | None:
        if isinstance(found, Opening):
            return _Deciding(document, calls, found) if document or calls else None
        return document if found is None else calls

    def _lets(self, matcher: LLMatcher, token: int) -> bool:
        allowed = matcher.validate_tokens([token]) == 1
        self._check(matcher)
        return allowed

    def _mask_bits(self) -> npt.NDArray[np.uint32]:
        """What the parsers let come, in bits."""
        state = self._state
        bits = np.zeros_like(self._bits)
        for matcher in state.matchers if isinstance(state, _Deciding) else (state,):
            assert isinstance(matcher, LLMatcher)  # who asks knows that the grammar holds
            matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
            self._check(matcher)
            bits |= self._bits
        if not bits.any():
            raise self._too_complex("nothing may come next")
        return bits

    def _going_beyond(self, opening: Opening) -> set[int]:
        """Tokens in which one of its markers ends before the token does."""
        begun = opening.said
        rests = {marker[len(begun) :] for marker in opening.markers if begun and marker.startswith(begun)}
        doubtful = {token for rest in rests for token in self._vocabulary.beginning_with(rest)}
        return doubtful.union(self._vocabulary.containing(opening.markers[0][:OPENING_BYTES]))

    def _doubtful(self, scan: Scan) -> set[int]:
        """Tokens in which a marker ends before the token does."""
        doubtful = {t for ending in scan.endings() for t in self._vocabulary.beginning_with(ending)}
        return doubtful.union(*(self._vocabulary.containing(marker) for marker in scan.markers))

    def _check(self, matcher: LLMatcher) -> None:
        if matcher.is_error():
            raise self._too_complex(brief(matcher.get_error()))

    def _too_complex(self, why: str) -> InvalidRequest:
        param = self._compiled.grammar.param
        return InvalidRequest(f"{param}: the grammar cannot go on: {why}: simplify the schema", param=param)
