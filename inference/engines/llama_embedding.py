"""Embeddings on the llama.cpp engine.

An embedding model (`embeddings = true`) has a pooled context: llama.cpp pools, one input per
batch. Any other model answers too, from its ordinary context: token embeddings of the last layer,
a chunk per step beside running streams, averaged here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from inference.batching import TokenArray
from inference.chat import Embeddings, Usage
from inference.engines.llama_native import Context, Model
from inference.errors import ContextLengthExceeded, InvalidRequest
from inference.messages import Embed
from inference.model_spec import ModelSpec
from inference.vram import N_OUTPUTS_MAX

Vector = npt.NDArray[np.float32]


@dataclass(slots=True)
class EmbedJob:
    """Inputs still to embed, and vectors so far. `done` tokens of the first input are computed."""

    request_id: int
    inputs: list[TokenArray]
    order: int = 0
    started_s: float = 0.0
    next_input: int = 0
    done: int = 0
    total: Vector | None = None
    vectors: list[bytes] = field(default_factory=list)


class EmbeddingRunner:
    def __init__(self, model: Model, context: Context, spec: ModelSpec) -> None:
        self._model = model
        self._context = context
        self._spec = spec
        self._limit = min(spec.n_ctx, context.n_batch) if spec.embeddings else spec.n_ctx

    def prepare(self, message: Embed) -> EmbedJob:
        """Tokens of each input, checked against the context. Thread-safe."""
        return EmbedJob(message.request_id, [self._tokens(text) for text in message.request.inputs])

    def _tokens(self, text: str | tuple[int, ...]) -> TokenArray:
        if isinstance(text, str):
            tokens = self._model.tokenize(text, add_special=True)
        else:
            tokens = np.array(text, dtype=np.int64).astype(np.int32)
            if len(tokens) and (min(text) < 0 or max(text) >= self._model.n_vocab):
                raise InvalidRequest(f"token ids must be from 0 to {self._model.n_vocab - 1}", param="input")
        if len(tokens) == 0:
            raise InvalidRequest("an input is empty: give at least one token", param="input")
        if len(tokens) > self._limit:
            raise ContextLengthExceeded(
                f"This model's maximum input length is {self._limit} tokens. However, an input has "
                f"{len(tokens)} tokens. Please shorten it.",
                param="input",
                n_tokens=len(tokens),
                n_ctx=self._limit,
            )
        return tokens

    def step(self, job: EmbedJob, sequence: int) -> Embeddings | None:
        """Compute one chunk; the answer once all inputs are done."""
        tokens = job.inputs[job.next_input]
        vector = (
            self._pooled(tokens, sequence) if self._spec.embeddings else self._chunk(job, tokens, sequence)
        )
        if vector is None:
            return None
        norm = float(np.linalg.norm(vector))
        job.vectors.append((vector / norm if norm > 0 else vector).astype("<f4").tobytes())
        job.next_input += 1
        if job.next_input < len(job.inputs):
            return None
        n_tokens = sum(len(tokens) for tokens in job.inputs)
        return Embeddings(
            vectors=tuple(job.vectors), dimensions=self._model.n_embd, usage=Usage(input_tokens=n_tokens)
        )

    def _pooled(self, tokens: TokenArray, sequence: int) -> Vector:
        self._context.batch.clear()
        row = self._context.batch.add(sequence, 0, tokens, outputs="all")
        self._context.decode()
        pooled = self._context.pooling != 0
        vector = self._context.pooled_embedding(sequence) if pooled else self._context.token_embedding(row)
        result = vector.copy()
        self._context.forget(sequence)
        return result

    def _chunk(self, job: EmbedJob, tokens: TokenArray, sequence: int) -> Vector | None:
        """Sum the embeddings of up to N_OUTPUTS_MAX tokens; the mean once the input is done."""
        end = min(len(tokens), job.done + N_OUTPUTS_MAX)
        self._context.batch.clear()
        last = self._context.batch.add(sequence, job.done, tokens[job.done : end], outputs="all")
        self._context.want_embeddings(True)
        try:
            self._context.decode()
            rows = [self._context.token_embedding(row) for row in range(last + 1)]
            chunk: Vector = np.sum(rows, axis=0, dtype=np.float32)
        finally:
            self._context.want_embeddings(False)
        job.total = chunk if job.total is None else job.total + chunk
        job.done = end
        if end < len(tokens):
            return None
        mean: Vector = job.total / np.float32(len(tokens))
        job.total, job.done = None, 0
        self._context.forget(sequence)
        return mean
