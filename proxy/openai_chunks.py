"""What an OpenAI-compatible server answers: its chunks and errors as types. Pure data, and how to read it.

Unknown fields are ignored: every server adds its own. Known ones must have their type.
"""

from __future__ import annotations

from typing import Any

import msgspec

from inference.chat import Timings, TokenLogprob, Usage
from proxy.error_signs import UNPAID_STATUS, signs_of
from proxy.upstream_errors import BadAnswer, Reported

MAX_MESSAGE_CHARS = 2000

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON it was told to expect."""


class FunctionDelta(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # the same under the name that vLLM and OpenRouter use
    tool_calls: list[CallDelta] | None = None


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(TopLogprob):
    top_logprobs: list[TopLogprob] | None = None


class Logprobs(msgspec.Struct):
    """Chat's shape in `content`; the older one of Completions in the other three."""

    content: list[Logprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(msgspec.Struct):
    """`delta` is of Chat Completions, `text` of Completions."""

    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None  # OpenRouter's


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class UsageBody(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class TimingsBody(msgspec.Struct):
    """llama-server's."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class Chunk(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: UsageBody | None = None
    timings: TimingsBody | None = None
    error: Any = None
    message: Any = None  # some put an error's text at the top
    object: Any = None


class EmbeddingItem(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class EmbeddingsBody(msgspec.Struct):
    data: list[EmbeddingItem]
    usage: UsageBody | None = None


_chunks = msgspec.json.Decoder(Chunk)
_vectors = msgspec.json.Decoder(EmbeddingsBody)


def chunk_of(data: bytes) -> Chunk:
    """Raises BadAnswer."""
    try:
        return _chunks.decode(data)
    except UNREADABLE as error:
        raise BadAnswer(f"the stream holds what is no chunk of an answer: {error}") from error


def embeddings_of(data: bytes) -> EmbeddingsBody:
    """Raises BadAnswer."""
    try:
        return _vectors.decode(data)
    except UNREADABLE as error:
        raise BadAnswer(f"the answer holds no embeddings: {error}") from error


def usage_of(usage: UsageBody | None, timings: TimingsBody | None) -> Usage:
    """Both come late and may be missing; what one does not say is taken from the other."""
    timings = timings or _NO_TIMINGS
    usage = usage or _NO_USAGE
    prompt_details = usage.prompt_tokens_details or _NO_PROMPT_DETAILS
    completion_details = usage.completion_tokens_details or _NO_COMPLETION_DETAILS
    return Usage(
        input_tokens=_first(usage.prompt_tokens, timings.cache_n + timings.prompt_n),
        cached_tokens=_first(prompt_details.cached_tokens, timings.cache_n),
        cache_write_tokens=_first(prompt_details.cache_write_tokens, 0),
        output_tokens=_first(usage.completion_tokens, timings.predicted_n),
        reasoning_tokens=_first(completion_details.reasoning_tokens, 0),
    )


_NO_TIMINGS, _NO_USAGE = TimingsBody(), UsageBody()
_NO_PROMPT_DETAILS, _NO_COMPLETION_DETAILS = PromptDetails(), CompletionDetails()


def _first(said: int | None, otherwise: int) -> int:
    return max(0, otherwise if said is None else said)


def timings_of(timings: TimingsBody | None) -> Timings:
    if timings is None:
        return Timings()
    return Timings(
        prefill_tokens=timings.prompt_n,
        prefill_s=timings.prompt_ms / 1000,
        decode_tokens=timings.predicted_n,
        decode_s=timings.predicted_ms / 1000,
    )


def logprobs_of(logprobs: Logprobs | None) -> tuple[TokenLogprob, ...]:
    if logprobs is None:
        return ()
    if logprobs.content is not None:
        return tuple(_token(token) for token in logprobs.content)
    tokens, values = logprobs.tokens or [], logprobs.token_logprobs or []
    tops = logprobs.top_logprobs or [None] * len(tokens)
    return tuple(
        TokenLogprob(
            token=token,
            bytes_=token.encode(),
            logprob=value or 0.0,  # null for the first token of an echoed prompt
            top=tuple((text, text.encode(), p) for text, p in (top or {}).items()),
        )
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def _token(token: Logprob) -> TokenLogprob:
    return TokenLogprob(
        token=token.token,
        bytes_=_raw(token),
        logprob=token.logprob,
        top=tuple((top.token, _raw(top), top.logprob) for top in token.top_logprobs or ()),
    )


def _raw(token: TopLogprob) -> bytes:
    try:
        return token.token.encode() if token.bytes is None else bytes(token.bytes)
    except ValueError as error:
        raise BadAnswer("the log probabilities hold bytes that are none") from error


# --- errors ------------------------------------------------------------------------------------


def described(data: bytes) -> Any:
    """What a body says under "error", or at its top; None if it is no object. Of any dialect."""
    try:
        body: Any = msgspec.json.decode(data)
    except UNREADABLE:
        return None
    return body.get("error", body) if isinstance(body, dict) else None


def error_in(data: bytes, status: int, retry_after_s: float | None = None) -> Reported:
    """The error that a body with a status of 400 or more describes, whatever the body is."""
    return reported(described(data), status=status, retry_after_s=retry_after_s)


def error_inside(data: bytes) -> Reported | None:
    """The error that a JSON body with a good status describes, if it does."""
    try:
        body: Any = msgspec.json.decode(data)
    except UNREADABLE:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return None if error is None else reported(error)


def reported(error: Any, *, status: int | None = None, retry_after_s: float | None = None) -> Reported:
    """An error in any of the usual shapes: {"message", "type", "code", …}, {"detail"}, or text."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message") or fields.get("detail") or fields.get("error")
    text = message if isinstance(message, str) and message.strip() else "no reason was given"
    codes = [code for code in (fields.get("code"), fields.get("type")) if isinstance(code, str) and code]
    signs = signs_of(text, codes, fields)
    status = status if status is not None else _status(fields.get("code"))
    return Reported(
        " ".join(text.split())[:MAX_MESSAGE_CHARS],
        status=UNPAID_STATUS if signs.is_unpaid else status,
        code=codes[0] if codes else "",
        param=fields.get("param") if isinstance(fields.get("param"), str) else None,
        retry_after_s=signs.retry_after_s if retry_after_s is None else retry_after_s,
        is_overflow=signs.is_overflow,
        n_tokens=signs.n_tokens,
        n_ctx=signs.n_ctx,
    )


def _status(code: Any) -> int | None:
    return code if isinstance(code, int) and 400 <= code < 600 else None
