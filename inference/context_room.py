"""How many tokens prompt and answer of a request may have together, and what is said of too many. Pure."""

from __future__ import annotations

from inference.chat import GenerateRequest
from inference.errors import ContextLengthExceeded
from inference.model_spec import ModelSpec


def room_of(request: GenerateRequest, spec: ModelSpec) -> int:
    return spec.n_ctx if request.context_limit is None else min(spec.n_ctx, request.context_limit)


def longest_answer(request: GenerateRequest, n_prompt: int, spec: ModelSpec) -> int | None:
    """Tokens; None: until the context is full."""
    if request.context_limit is None:
        return request.max_tokens
    left = room_of(request, spec) - n_prompt
    return left if request.max_tokens is None else min(left, request.max_tokens)


def overflow(n_tokens: int, room: int, spec: ModelSpec, param: str = "messages") -> ContextLengthExceeded:
    remedy = (
        f"raise n_ctx of {spec.name!r} in models.toml" if room >= spec.n_ctx else "raise the run's context"
    )
    return ContextLengthExceeded(
        f"This model's maximum context length is {room} tokens. However, your {param} resulted in "
        f"{n_tokens} tokens. Please reduce the length of the {param}, or {remedy}.",
        param=param,
        n_tokens=n_tokens,
        n_ctx=room,
    )
