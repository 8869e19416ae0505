"""How tokens read: control tokens told apart, and text for people rather than for clients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inference.batching import TokenArray
from inference.engines.llama_native import Model
from inference.template_markup import SpecialToken

_UNASKED = 2


class Markup:
    """The control tokens of one model's vocabulary, asked for once each. Of the engine's thread."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._kinds = np.full(model.n_vocab, _UNASKED, dtype=np.int8)

    def is_control(self, tokens: TokenArray) -> npt.NDArray[np.bool_]:
        """For each token whether it is markup of the chat template."""
        kinds = self._kinds[tokens]
        if (kinds == _UNASKED).any():
            for token in set(tokens[kinds == _UNASKED].tolist()):  # np.unique imports numpy.ma, 36 ms
                self._kinds[token] = self._model.is_control(token)
            kinds = self._kinds[tokens]
        return np.equal(kinds, 1)

    def text(self, tokens: TokenArray) -> str:
        """The tokens' text with control tokens written out; half characters at its ends are left out."""
        model = self._model
        pieces = [model.piece(token) or model.token_text(token).encode() for token in tokens.tolist()]
        return b"".join(pieces).decode("utf-8", "replace").strip("�")


class SpecialTokens:
    """The special tokens of one model's vocabulary, asked for once each. Of one thread."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._asked = np.zeros(model.n_vocab, dtype=np.bool_)
        self._known: dict[int, SpecialToken] = {}
        self._is_special = np.zeros(model.n_vocab, dtype=np.bool_)

    def among(self, tokens: TokenArray) -> list[SpecialToken]:
        """Those in a text, each once."""
        for token in set(tokens[~self._asked[tokens]].tolist()):
            if (special := self._model.special_token(token)) is not None:
                self._known[token] = special
                self._is_special[token] = True
            self._asked[token] = True
        return [self._known[token] for token in set(tokens[self._is_special[tokens]].tolist())]
