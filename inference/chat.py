"""The internal language: what is asked of a model, and the events in which it answers.

Every dialect decodes to these types and every upstream answers in them. All are frozen and
tagged, so that they travel between processes as they are (inference/messages.py).
"""

from __future__ import annotations

from typing import Any, Literal, dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Wire(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Base of everything that crosses a process border: frozen, tagged by class name."""


# --- what is asked -----------------------------------------------------------------------------


class TextPart(Wire):
    text: str


class ImagePart(Wire):
    """An image by URL (http, https or data:). Refused by name where the model cannot see."""

    url: str


Part = TextPart | ImagePart


class ToolCall(Wire):
    """A finished call. `arguments` is the JSON text of an object."""

    id: str
    name: str
    arguments: str


Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(Wire):
    role: Role
    content: str | tuple[Part, ...] = ""
    reasoning: str = ""
    reasoning_signature: str = ""  # of all of `reasoning`: see ReasoningDelta
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


class Tool(Wire):
    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Sampling(Wire):
    """How to draw tokens. None: the request is silent, and the model's own defaults apply.

    temperature 0 is greedy. top_k 0 and top_p 1.0 are off. `seed` None draws a fresh one.
    `logprobs`: None for none, else the number of alternatives (0..20) reported for each token.
    dry_*: a token that would repeat what followed the same text before becomes less likely by `multiplier` x
    `base` ^ (length of that text - `allowed_length`), in tokens; multiplier 0 is off. `dry_penalty_last_n`:
    how far back it looks, prompt included; -1: over all of it.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_last_n: int | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None


def merge_sampling(first: Sampling, then: Sampling) -> Sampling:
    """`first` where it says something, else `then`."""
    silent = [name for name in Sampling.__struct_fields__ if getattr(first, name) in (None, ())]
    return msgspec.structs.replace(first, **{name: getattr(then, name) for name in silent})


ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class Reasoning(Wire):
    """Whether and how hard to reason before the answer. None: the request is silent.

    An effort other than "none" asks for reasoning. What a chat template has no switch for is not done.
    """

    enabled: bool | None = None
    effort: ReasoningEffort | None = None


class JsonFormat(Wire):
    """The answer is a JSON document: one that `schema` allows, or without it any object.

    `strict`: a schema that cannot be enforced in full is refused.
    """

    schema: dict[str, Any] | None = None
    strict: bool = False
    name: str = ""


ToolChoice = Literal["auto", "required"]


class ChatRequest(Wire):
    """A conversation to continue. `max_tokens` None: until the context is full.

    `tools`: those that may be called. `forced_tool`: with `tool_choice` "required", the only one.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    forced_tool: str = ""
    parallel_tool_calls: bool = True
    json_format: JsonFormat | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    template_kwargs: dict[str, Any] = {}
    reasoning: Reasoning | None = None
    context_limit: int | None = None  # of prompt and answer, where it is less than the model's own


class CompletionRequest(Wire):
    """Raw text (or token ids) to continue, without a chat template."""

    model: str
    prompt: str | tuple[int, ...]
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    echo: bool = False
    context_limit: int | None = None


class EmbeddingRequest(Wire):
    model: str
    inputs: tuple[str | tuple[int, ...], ...]


GenerateRequest = ChatRequest | CompletionRequest


# --- what is answered --------------------------------------------------------------------------


class TokenLogprob(Wire):
    """Natural-log probability of one token under the model's own distribution, before samplers."""

    token: str
    bytes_: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


class TextDelta(Wire):
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class ReasoningDelta(Wire):
    """`signature` ends a thought whose author takes it back with this only; opaque to everybody else."""

    text: str
    signature: str = ""


class ToolCallDelta(Wire):
    """`id` and `name` come with the first delta of a call; `arguments` is a fragment of JSON text."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Usage(Wire):
    """Token counts. `input_tokens` includes `cached_tokens` and `cache_write_tokens` (a provider charges for
    keeping those); `output_tokens` includes `reasoning_tokens`."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Timings(Wire):
    """Measured where it happened, in seconds. `prefill_tokens` were computed, not reused."""

    prefill_tokens: int = 0
    prefill_s: float = 0.0
    decode_tokens: int = 0
    decode_s: float = 0.0


FinishReason = Literal["stop", "length", "tool_calls"]


class Finish(Wire):
    """The last event of an answer that ended well. Nothing follows it."""

    reason: FinishReason
    usage: Usage
    timings: Timings = Timings()
    stop_sequence: str = ""


ChatEvent = TextDelta | ReasoningDelta | ToolCallDelta | Finish


class Embeddings(Wire):
    """One vector per input, in order; each is `dimensions` float32 values, little-endian, L2-normalised."""

    vectors: tuple[bytes, ...]
    dimensions: int
    usage: Usage
