"""llama.cpp's DRY sampler, which makes a model go on otherwise where it has begun to repeat itself.

Owns how it is set up: how far back it looks, and what it looks across. A sampler with breakers has looked
at every token of the vocabulary (84 ms for 262k), so one of each kind is kept; requests get copies (0.15 ms).
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from typing import Any, Final

import llama_cpp.llama_cpp as lib

from inference.chat import Sampling
from inference.engines.llama_native import Model

DRY_BASE: Final = 1.75
DRY_ALLOWED_LENGTH: Final = 2

MAX_DRY_WINDOW: Final = 2**16
"""Tokens looked back on at most: 0.2 ms a token, and 60 ms of a prompt as long."""

BREAKERS: Final = (b"\n", b":", b'"', b"*")
"""Nothing is repeated across these: llama-server's own. In a JSON string they are what goes round."""

GRAMMAR_BREAKERS: Final[tuple[bytes, ...]] = ()
"""Of an answer under a grammar. What goes round there is the text of a string (`:t:t:t:t`) or the strings of
a list, with all of the above in it; what must repeat, the grammar sees to. By number the two are not told
apart: 0 and 1 of 60 required calls did not end (SmolLM2, temperature 0.7, repeat_penalty 1.15)."""

MAX_KEPT: Final = 4
"""Kinds of sampler: one for models.toml, and some for clients that ask for another."""


def is_dry(sampling: Sampling) -> bool:
    return bool(sampling.dry_multiplier) and dry_window(sampling) > 0


def dry_window(sampling: Sampling) -> int:
    """Tokens it looks back on."""
    asked = sampling.dry_penalty_last_n
    return MAX_DRY_WINDOW if asked is None or asked < 0 else min(asked, MAX_DRY_WINDOW)


class DrySamplers:
    """Of one model. Of one thread. Close it before the model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._kept: OrderedDict[tuple[float, float, int, int, tuple[bytes, ...]], Any] = OrderedDict()

    def copy(self, sampling: Sampling, breakers: tuple[bytes, ...]) -> Any:
        """A sampler that has seen no token yet; whoever adds it to a chain has it freed with that."""
        kind = (
            sampling.dry_multiplier or 0.0,
            DRY_BASE if sampling.dry_base is None else sampling.dry_base,
            DRY_ALLOWED_LENGTH if sampling.dry_allowed_length is None else sampling.dry_allowed_length,
            dry_window(sampling),
            breakers,
        )
        if kind not in self._kept:
            self._kept[kind] = self._made(*kind)
        self._kept.move_to_end(kind)
        if len(self._kept) > MAX_KEPT:
            lib.llama_sampler_free(self._kept.popitem(last=False)[1])
        return lib.llama_sampler_clone(self._kept[kind])

    def _made(
        self, multiplier: float, base: float, allowed: int, window: int, breakers: tuple[bytes, ...]
    ) -> Any:
        texts = (ctypes.c_char_p * len(breakers))(*breakers)
        return lib.llama_sampler_init_dry(
            self._model.vocab, multiplier, base, allowed, window, texts, len(breakers)
        )

    def close(self) -> None:
        for sampler in self._kept.values():
            lib.llama_sampler_free(sampler)
        self._kept.clear()
