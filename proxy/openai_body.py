"""What Chat Completions and Completions have in common: their parameters, usage and timings. Pure.

Every field that a client may send is declared here or in the dialect; anything else is refused by
name. Declared fields are of three kinds:

- with meaning: they reach the engine, within the ranges below;
- harmless: accepted and without effect, because ignoring them changes nothing about the answer
  (`Harmless` below);
- refused: known, and named in the error unless the value asks for nothing (`refuse_unsupported`).

null means absent everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inference.chat import Finish, Sampling, TokenLogprob, Usage
from inference.errors import InvalidRequest
from proxy.answer import Waits

MAX_TOKENS = 2**31 - 1  # more than any context: generation ends where the context does
MAX_TOP_K = 2**20
MAX_LAST_N = 2**16
MAX_DRY = 100
MAX_STOPS = 16  # OpenAI takes 4
MAX_STOP_CHARS = 1024
MAX_LOGIT_BIASES = 1024
MAX_TOKEN_ID = 2**24
MAX_LOGPROBS = 20
SEED_SPACE = 2**32 - 1  # llama.cpp reads 2^32 - 1 as "draw one"

Stop = Annotated[str, Meta(min_length=1, max_length=MAX_STOP_CHARS)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
TokenCount = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Bias = Annotated[float, Meta(ge=-100, le=100)]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # harmless: padding against traffic analysis, never sent


class Harmless(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Book-keeping, routing and speed hints of hosted services. Taken, and without effect."""

    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    cache_prompt: Any = None  # llama-server's; prompts are always cached


class GenerationBody(Harmless, forbid_unknown_fields=True, kw_only=True):
    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, le=MAX_TOP_K)] | None = None
    min_p: Probability | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=0, le=MAX_LAST_N)] | None = None
    dry_multiplier: Annotated[float, Meta(ge=0, le=MAX_DRY)] | None = None
    dry_base: Annotated[float, Meta(ge=1, le=MAX_DRY)] | None = None
    dry_allowed_length: Annotated[int, Meta(ge=0, le=MAX_LAST_N)] | None = None
    dry_penalty_last_n: Annotated[int, Meta(ge=-1, le=MAX_LAST_N)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=MAX_LOGIT_BIASES)] | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=MAX_STOPS)] | None = None
    max_tokens: TokenCount | None = None
    ignore_eos: bool | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None


def refuse_unsupported(body: msgspec.Struct, unsupported: Mapping[str, tuple[tuple[Any, ...], str]]) -> None:
    """`unsupported`: field -> (values that ask for nothing, why the others are refused)."""
    for field, (neutral, reason) in unsupported.items():
        value = getattr(body, field)
        if value is not None and value not in neutral:
            raise InvalidRequest(f"{field}: {reason}", param=field)


def sampling_of(body: GenerationBody, logprobs: int | None) -> Sampling:
    return Sampling(
        temperature=body.temperature,
        top_k=body.top_k,
        top_p=body.top_p,
        min_p=body.min_p,
        repeat_penalty=body.repeat_penalty,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repeat_last_n=body.repeat_last_n,
        dry_multiplier=body.dry_multiplier,
        dry_base=body.dry_base,
        dry_allowed_length=body.dry_allowed_length,
        dry_penalty_last_n=body.dry_penalty_last_n,
        seed=_seed(body.seed),
        logit_bias=_logit_bias(body.logit_bias),
        logprobs=logprobs,
    )


def _seed(seed: int | None) -> int | None:
    """64 bits folded to the 32 that samplers take. -1 draws a fresh seed, as in llama.cpp."""
    return None if seed is None or seed == -1 else seed % SEED_SPACE


def _logit_bias(biases: dict[str, float] | None) -> tuple[tuple[int, float], ...]:
    if not biases:
        return ()
    for token in biases:
        if not (token.isascii() and token.isdigit() and len(token) < 9 and int(token) < MAX_TOKEN_ID):
            raise InvalidRequest(
                f"logit_bias: expected token ids as keys, found {token[:32]!r}", param="logit_bias"
            )
    return tuple((int(token), bias) for token, bias in biases.items())


def stops_of(body: GenerationBody) -> tuple[str, ...]:
    if body.stop is None:
        return ()
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop)


def includes_usage(body: GenerationBody) -> bool:
    if body.stream_options is None:
        return False
    if not body.stream:
        raise InvalidRequest("stream_options: only allowed with stream: true", param="stream_options")
    return bool(body.stream_options.include_usage)


def usage_object(usage: Usage) -> dict[str, Any]:
    written = {"cache_write_tokens": usage.cache_write_tokens} if usage.cache_write_tokens else {}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, **written},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def timings_object(finish: Finish, waits: Waits) -> dict[str, Any]:
    """llama-server's names, and what was waited for before: queue_ms, load_ms."""
    timings = finish.timings
    return {
        "cache_n": finish.usage.cached_tokens,
        "prompt_n": timings.prefill_tokens,
        "prompt_ms": _ms(timings.prefill_s),
        "prompt_per_token_ms": _ms(_ratio(timings.prefill_s, timings.prefill_tokens)),
        "prompt_per_second": round(_ratio(timings.prefill_tokens, timings.prefill_s), 3),
        "predicted_n": timings.decode_tokens,
        "predicted_ms": _ms(timings.decode_s),
        "predicted_per_token_ms": _ms(_ratio(timings.decode_s, timings.decode_tokens)),
        "predicted_per_second": round(_ratio(timings.decode_tokens, timings.decode_s), 3),
        "queue_ms": _ms(waits.queue_s),
        "load_ms": _ms(waits.load_s),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _ratio(value: float, by: float) -> float:
    return value / by if by else 0.0


def logprob_object(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.token,
        "logprob": _finite(token.logprob),
        "bytes": list(token.bytes_),
        "top_logprobs": [
            {"token": text, "logprob": _finite(logprob), "bytes": list(raw)}
            for text, raw, logprob in token.top
        ],
    }


def _finite(logprob: float) -> float:
    """JSON has no infinities; OpenAI writes -9999.0 for a probability of zero."""
    return max(logprob, -9999.0)
