"""An exchange that puts a model's thoughts back where the client has dropped them.

Most clients do not send the reasoning of earlier answers, and templates of reasoning models want it
between tool calls: without it the model thinks everything again, and the cached prompt ends there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from inference.chat import (
    ChatRequest,
    EmbeddingRequest,
    Embeddings,
    Finish,
    GenerateRequest,
    Message,
    ReasoningDelta,
)
from inference.messages import PrefixReport, PromptProgress
from inference.reasoning_memory import ReasoningMemory
from proxy.answer import Answer
from proxy.upstreams.base import Batch, Exchange


class RememberingExchange:
    """`exchange`, of `model`, whose answers are remembered in `memory`."""

    def __init__(self, exchange: Exchange, memory: ReasoningMemory, model: str) -> None:
        self._exchange = exchange
        self._memory = memory
        self._model = model
        self.queue_s = exchange.queue_s
        self.load_s = exchange.load_s
        self.caused_load = exchange.caused_load

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        if not isinstance(request, ChatRequest):
            return self._exchange.generate(request)
        return self._thoughtful(request)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        return await self._exchange.embed(request)

    async def _thoughtful(self, request: ChatRequest) -> AsyncGenerator[Batch, None]:
        messages = self._memory.restore(request.messages, model=self._model)
        asked = msgspec.structs.replace(request, messages=messages)
        answer: Answer | None = Answer()  # None: it did not begin with a thought, there is nothing to keep
        async with aclosing(self._exchange.generate(asked)) as batches:
            async for batch in batches:
                if answer is not None and not _gathered(batch, answer):
                    answer = None
                yield batch
        if answer is not None and answer.finish is not None:
            self._remember(request, answer)

    def _remember(self, request: ChatRequest, answer: Answer) -> None:
        said = Message(
            role="assistant",
            content=answer.text,
            reasoning=answer.reasoning,
            tool_calls=tuple(answer.tool_calls),
        )
        self._memory.remember(request.messages, said, model=self._model)


def _gathered(batch: Batch, answer: Answer) -> bool:
    """Add the events of an answer. False: it says something before any thought."""
    for event in batch:
        if isinstance(event, PrefixReport | PromptProgress):
            continue
        if not answer.reasoning and not isinstance(event, ReasoningDelta | Finish):
            return False
        answer.add(event)
    return True
