"""How one request draws its tokens: a llama.cpp sampler chain, or plain argmax where that is all it is.

Logit bias is added to the step's own logits in place, which llama.cpp's sampler then reads: no copy.
Under a grammar a token is drawn first and asked about then; only if it may not come are all others asked
about, which takes up to a hundred times as long. llama-server does the same; without top_k, top_p and min_p
the distribution is that of a mask before every draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as lib
import numpy as np
import numpy.typing as npt

from inference.batching import TokenArray
from inference.chat import Sampling, TokenLogprob
from inference.engines.llama_dry import BREAKERS, GRAMMAR_BREAKERS, DrySamplers, dry_window, is_dry
from inference.engines.llama_native import Context, Model

if TYPE_CHECKING:  # llguidance is 5 MiB, which most workers never need
    from inference.engines.llama_constraint import GrammarConstraint

Logits = npt.NDArray[np.float32]

PENALTY_WINDOW = 64
"""Tokens, prompt included, that penalties look back on without repeat_last_n: as llama-server does."""


class TokenSampler:
    """Draws the tokens of one request. Close it to free the chain."""

    def __init__(
        self,
        model: Model,
        sampling: Sampling,
        *,
        seed: int,
        prompt: TokenArray,
        ban: TokenArray,
        dry: DrySamplers,
        constraint: GrammarConstraint | None = None,
    ) -> None:
        """`prompt` feeds the penalties; tokens of `ban` are never drawn; `constraint` is closed with this."""
        self._model = model
        self._constraint = constraint
        self._counts_tokens = _look_back(sampling) > 0  # a token drawn in vain would count
        self._n_alternatives = sampling.logprobs
        self._bias_ids, self._bias = _bias(sampling, ban)
        self._chain: Any = None
        if sampling.temperature != 0 or self._counts_tokens:
            repeats = _repetition(model.n_vocab, sampling, dry, is_bound=constraint is not None)
            self._chain = _chain([*repeats, *_draw(sampling, seed)])
        for token in prompt[-_look_back(sampling) :] if self._counts_tokens else ():
            lib.llama_sampler_accept(self._chain, int(token))

    def draw(self, context: Context, row: int) -> tuple[int, TokenLogprob | None]:
        """The next token after batch position `row`, with its log-probability if the request wants it.

        Raises InvalidRequest if the grammar turns out too complex.
        """
        plain = self._bias_ids is None and self._n_alternatives is None and self._constraint is None
        if self._chain is not None and plain:
            return self._sample(context, row), None
        logits = context.logits(row)
        before = logits.copy() if self._n_alternatives is not None else None
        if self._bias_ids is not None:
            logits[self._bias_ids] += self._bias  # the row is ours until the next decode
        token = self._pick(context, row, logits)
        if before is None or self._n_alternatives is None or self._model.is_eog(token):
            return token, None
        return token, _logprob(self._model, before, token, self._n_alternatives)

    def _pick(self, context: Context, row: int, logits: Logits) -> int:
        """A token that the grammar, if there is one, lets come."""
        constraint = self._constraint
        if constraint is None:
            return self._sample_or_best(context, row, logits)
        if self._counts_tokens:
            constraint.mask(logits)
        token = self._sample_or_best(context, row, logits)
        if not self._counts_tokens and not constraint.allows(token):
            constraint.mask(logits)
            token = self._sample_or_best(context, row, logits)
        constraint.accept(token)
        return token

    def _sample_or_best(self, context: Context, row: int, logits: Logits) -> int:
        return int(logits.argmax()) if self._chain is None else self._sample(context, row)

    def _sample(self, context: Context, row: int) -> int:
        token: int = lib.llama_sampler_sample(self._chain, context.pointer, row)
        return token

    def close(self) -> None:
        if self._chain is not None:
            lib.llama_sampler_free(self._chain)
            self._chain = None
        if self._constraint is not None:
            self._constraint.close()


def _chain(samplers: list[Any]) -> Any:
    """llama-server's order: penalties, DRY, top_k, top_p, min_p, temperature, draw."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for sampler in samplers:
        lib.llama_sampler_chain_add(chain, sampler)
    return chain


def _repetition(n_vocab: int, s: Sampling, dry: DrySamplers, *, is_bound: bool) -> list[Any]:
    """What looks back on earlier tokens. `is_bound`: by a grammar."""
    found: list[Any] = []
    if _has_penalties(s):
        found.append(
            lib.llama_sampler_init_penalties(
                n_vocab,
                _penalty_window(s),
                _or(s.repeat_penalty, 1.0),
                _or(s.frequency_penalty, 0.0),
                _or(s.presence_penalty, 0.0),
            )
        )
    if is_dry(s):
        found.append(dry.copy(s, GRAMMAR_BREAKERS if is_bound else BREAKERS))
    return found


def _draw(s: Sampling, seed: int) -> list[Any]:
    found: list[Any] = []
    temperature = _or(s.temperature, 1.0)
    if temperature <= 0:
        return [lib.llama_sampler_init_greedy()]
    if s.top_k is not None and s.top_k > 0:
        found.append(lib.llama_sampler_init_top_k(s.top_k))
    if s.top_p is not None and s.top_p < 1.0:
        found.append(lib.llama_sampler_init_top_p(s.top_p, 1))
    if s.min_p is not None and s.min_p > 0.0:
        found.append(lib.llama_sampler_init_min_p(s.min_p, 1))
    return [*found, lib.llama_sampler_init_temp(temperature), lib.llama_sampler_init_dist(seed)]


def _has_penalties(s: Sampling) -> bool:
    return _or(s.repeat_penalty, 1.0) != 1.0 or bool(s.presence_penalty) or bool(s.frequency_penalty)


def _penalty_window(s: Sampling) -> int:
    return PENALTY_WINDOW if s.repeat_last_n is None else s.repeat_last_n


def _look_back(s: Sampling) -> int:
    """Tokens before the next one that have a say in it."""
    return max(_penalty_window(s) if _has_penalties(s) else 0, dry_window(s) if is_dry(s) else 0)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _bias(sampling: Sampling, ban: TokenArray) -> tuple[TokenArray | None, Logits]:
    bias = dict(sampling.logit_bias)
    bias.update({int(token): -np.inf for token in ban})
    values = np.fromiter(bias.values(), dtype=np.float32, count=len(bias))
    return (np.fromiter(bias, dtype=np.int32, count=len(bias)) if bias else None), values


def _logprob(model: Model, logits: Logits, token: int, n_top: int) -> TokenLogprob:
    """Natural-log probability of `token` and of the `n_top` likeliest, from logits before any sampler."""
    highest = float(logits.max())
    log_total = highest + float(np.log(np.exp(logits - highest).sum(dtype=np.float64)))
    best = np.argpartition(logits, -n_top)[-n_top:] if n_top else np.empty(0, dtype=np.int64)
    likeliest = [int(t) for t in best[np.argsort(-logits[best])]]
    return TokenLogprob(
        token=_shown(model, token),
        bytes_=model.piece(token),
        logprob=float(logits[token]) - log_total,
        top=tuple((_shown(model, t), model.piece(t), float(logits[t]) - log_total) for t in likeliest),
    )


def _shown(model: Model, token: int) -> str:
    """A token as text; a control token by its own name."""
    piece = model.piece(token)
    return piece.decode("utf-8", "replace") if piece else model.token_text(token)
