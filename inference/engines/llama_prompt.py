"""From a request to tokens: chat template, beginning-of-sequence, bounds, sampling defaults.

Reads the model's vocabulary and template only, so any thread may use it while another decodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from inference.batching import TokenArray
from inference.chat import ChatRequest, GenerateRequest, Sampling, merge_sampling
from inference.context_room import overflow, room_of
from inference.engines.llama_markup import SpecialTokens
from inference.engines.llama_native import Model
from inference.errors import InvalidRequest
from inference.model_spec import ModelSpec
from inference.prefix_stability import stabilise
from inference.template_markup import Escapes, spelled_in
from inference.template_reasoning import reasoning_apart
from inference.template_tool_text import tool_teller
from inference.templates import FALLBACK, ChatTemplate
from inference.toolcall_formats import format_named

FALLBACK_SAMPLING = Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)
"""Where request, models.toml and GGUF are silent: llama-server's own defaults."""

MAX_NESTED_SPELLINGS = 8

_GGUF_SAMPLING = {
    "temperature": "general.sampling.temp",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """`tokens` is not empty and leaves room for at least one more in n_ctx.

    `removed`: how often what was taken out of the messages before the template.
    `starts_in_reasoning`: the prompt ends behind the model's opening marker of reasoning.
    """

    text: str
    tokens: TokenArray
    removed: dict[str, int] = field(default_factory=dict)
    starts_in_reasoning: bool = False


class PromptReader:
    """Turns requests into prompts for one model."""

    def __init__(self, model: Model, spec: ModelSpec) -> None:
        self._model = model
        self._spec = spec
        self._special = SpecialTokens(model)
        self.template = _chat_template(model, spec)
        forced = format_named(spec.tool_format) if spec.tool_format is not None else None
        self.tools = tool_teller(self.template.source, self.template.shape, forced)
        self._defaults = merge_sampling(
            spec.sampling, merge_sampling(_gguf_sampling(model), FALLBACK_SAMPLING)
        )

    def read(self, request: GenerateRequest) -> Prompt:
        """Raises InvalidRequest or ContextLengthExceeded; nothing is ever truncated."""
        if isinstance(request, ChatRequest):
            prompt = self._from_messages(request)
        elif isinstance(request.prompt, str):
            prompt = self._tokenize(request.prompt, "prompt")
        else:
            prompt = self._from_tokens(request.prompt)
        n_tokens, room = len(prompt.tokens), room_of(request, self._spec)
        if n_tokens >= room:
            raise overflow(n_tokens, room, self._spec)
        return prompt

    @property
    def defaults(self) -> Sampling:
        """Where a request is silent."""
        return self._defaults

    def sampling(self, request: GenerateRequest) -> Sampling:
        """The request's sampling with every silence filled."""
        merged = merge_sampling(request.sampling, self._defaults)
        for token, _ in merged.logit_bias:
            if not 0 <= token < self._model.n_vocab:
                raise InvalidRequest(
                    f"logit_bias: token {token} does not exist, ids go from 0 to {self._model.n_vocab - 1}",
                    param="logit_bias",
                )
        return merged

    def _from_messages(self, request: ChatRequest) -> Prompt:
        removed: dict[str, int] = {}
        if self._spec.stabilise_prefix:
            stable = stabilise(request.messages)
            request, removed = msgspec.structs.replace(request, messages=stable.messages), stable.removed
        # Before anything is escaped: the markers of reasoning may be special tokens.
        style = self.template.reasoning_style
        request = msgspec.structs.replace(request, messages=reasoning_apart(request.messages, style))
        text = self._rendered(request)
        prompt = self._tokenize(text, "messages")
        special = (token.text for token in self._special.among(prompt.tokens))
        if spelled := spelled_in(request, special):
            text, prompt = self._with_spellings(request, spelled)
        return replace(
            prompt, removed=removed, starts_in_reasoning=style is not None and style.is_open_in(text)
        )

    def _rendered(self, request: ChatRequest) -> str:
        return self.template.render(request, self.tools, all_told=self.tools.all_told)

    def _with_spellings(self, request: ChatRequest, spelled: frozenset[str]) -> tuple[str, Prompt]:
        """The prompt of a request whose own text spells special tokens, which stay text; and the rendered
        prompt in which they cannot be mistaken for the template's."""
        for _ in range(MAX_NESTED_SPELLINGS):
            escapes = Escapes(request, spelled)
            rendered = self._rendered(escapes.escaped(request))
            special = self._special.among(self._model.tokenize(rendered, add_special=False))
            # A spelling within another is recognised only now that the other is not.
            found = spelled | spelled_in(request, (token.text for token in special))
            if found == spelled:
                break
            spelled = found
        else:
            raise InvalidRequest(
                f"the text spells special tokens within each other, more than {MAX_NESTED_SPELLINGS} deep",
                param="messages",
            )
        parts = [
            self._model.tokenize(piece.text, add_special=False, parse_special=not piece.plain)
            for piece in escapes.pieces(rendered, special)
        ]
        if not self._has_bos(rendered):
            parts.insert(0, self._model.tokenize("", add_special=True)[: self._model.adds_bos])
        return rendered, Prompt(escapes.restored(rendered), np.concatenate(parts))

    def _tokenize(self, text: str, param: str) -> Prompt:
        tokens = self._model.tokenize(text, add_special=not self._has_bos(text))
        if len(tokens) == 0:
            raise InvalidRequest("the prompt is empty: give at least one token", param=param)
        return Prompt(text, tokens)

    def _has_bos(self, text: str) -> bool:
        """Templates often write the beginning-of-sequence token themselves; it must be there once."""
        bos = self._model.bos_text
        return bool(bos) and self._model.adds_bos and text.startswith(bos)

    def _from_tokens(self, tokens: tuple[int, ...]) -> Prompt:
        n_vocab = self._model.n_vocab
        if not tokens or not all(0 <= token < n_vocab for token in tokens):
            raise InvalidRequest(
                f"token ids must be a non-empty list of integers from 0 to {n_vocab - 1}", param="prompt"
            )
        text = b"".join(self._model.piece(token) for token in tokens).decode("utf-8", "replace")
        return Prompt(text, np.array(tokens, dtype=np.int32))


def _chat_template(model: Model, spec: ModelSpec) -> ChatTemplate:
    source = model.meta("tokenizer.chat_template") or FALLBACK
    if spec.chat_template is not None:
        source = Path(spec.chat_template).read_text(encoding="utf-8")
    return ChatTemplate(source, bos_token=model.bos_text, eos_token=model.eos_text)


def _gguf_sampling(model: Model) -> Sampling:
    """Sampling defaults that the model's maker wrote into the file, where there are any."""
    found = {name: float(text) for name, key in _GGUF_SAMPLING.items() if (text := model.meta(key))}
    top_k = model.meta("general.sampling.top_k")
    return msgspec.structs.replace(Sampling(), **found, top_k=int(top_k) if top_k else None)
