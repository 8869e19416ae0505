"""Reasoning that a client drops is put back, where the same answer stands in the same place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from inference.chat import (
    ChatEvent,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Finish,
    GenerateRequest,
    Message,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.messages import PromptProgress
from inference.reasoning_memory import ReasoningMemory
from proxy.upstreams.base import Batch
from proxy.upstreams.thoughts import RememberingExchange

DONE = Finish(reason="stop", usage=Usage())


class Scripted:
    """An exchange that says what it is given, and keeps what it was asked."""

    queue_s = 0.5
    caused_load = True
    load_s = 0.25

    def __init__(self, *batches: list[ChatEvent | PromptProgress]) -> None:
        self.batches = batches
        self.asked: list[GenerateRequest] = []
        self.was_closed = False

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Batch, None]:
        self.asked.append(request)
        try:
            for batch in self.batches:
                yield batch
        finally:
            self.was_closed = True

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        raise NotImplementedError


QUESTION = Message(role="user", content="Why?")


def chat(*messages: Message) -> ChatRequest:
    return ChatRequest(model="m", messages=messages or (QUESTION,))


async def heard(exchange: RememberingExchange, request: GenerateRequest) -> list[object]:
    return [event async for batch in exchange.generate(request) for event in batch]


def told_again(answer: Scripted, said: Message) -> Message:
    """What a model is told of its answer `said`, after `answer` was given to QUESTION."""

    async def main() -> Message:
        memory = ReasoningMemory()
        events = await heard(RememberingExchange(answer, memory, "m"), chat())
        assert events == [event for batch in answer.batches for event in batch]
        second = Scripted([DONE])
        await heard(RememberingExchange(second, memory, "m"), chat(QUESTION, said, QUESTION))
        (request,) = second.asked
        assert isinstance(request, ChatRequest)
        return request.messages[1]

    return asyncio.run(main())


def test_dropped_reasoning_is_put_back() -> None:
    answer = Scripted(
        [PromptProgress(done=1, total=1, cached=0), ReasoningDelta(text="Hm, ")],
        [ReasoningDelta(text="so."), TextDelta(text="Because.")],
        [DONE],
    )
    said = Message(role="assistant", content="Because.")
    assert told_again(answer, said).reasoning == "Hm, so."
    assert told_again(answer, Message(role="assistant", content="Never.")).reasoning == ""


def test_reasoning_before_a_call_is_put_back_whatever_the_client_calls_the_call() -> None:
    answer = Scripted(
        [ReasoningDelta(text="I need the weather.")],
        [ToolCallDelta(index=0, id="call_1", name="weather"), ToolCallDelta(index=0, arguments='{"c":1}')],
        [Finish(reason="tool_calls", usage=Usage())],
    )
    said = Message(
        role="assistant", tool_calls=(ToolCall(id="toolu_9", name="weather", arguments='{"c": 1}'),)
    )
    assert told_again(answer, said).reasoning == "I need the weather."


def test_what_the_client_sends_is_not_replaced() -> None:
    answer = Scripted([ReasoningDelta(text="Hm."), TextDelta(text="Because."), DONE])
    own = Message(role="assistant", content="Because.", reasoning="mine")
    assert told_again(answer, own).reasoning == "mine"


def test_an_answer_without_thoughts_or_without_an_end_is_not_remembered() -> None:
    said = Message(role="assistant", content="Because.")
    assert told_again(Scripted([TextDelta(text="Because."), DONE]), said).reasoning == ""
    cut = Scripted([ReasoningDelta(text="Hm."), TextDelta(text="Because.")])
    assert told_again(cut, said).reasoning == ""


def test_raw_completions_and_waits_pass_as_they_are() -> None:
    async def main() -> None:
        inner = Scripted([TextDelta(text="x"), DONE])
        exchange = RememberingExchange(inner, ReasoningMemory(), "m")
        request = CompletionRequest(model="m", prompt="x")
        assert await heard(exchange, request) == [TextDelta(text="x"), DONE]
        assert inner.asked == [request]
        assert (exchange.queue_s, exchange.load_s, exchange.caused_load) == (0.5, 0.25, True)

    asyncio.run(main())


def test_closing_it_closes_the_exchange() -> None:
    async def main() -> None:
        inner = Scripted([ReasoningDelta(text="Hm.")], [TextDelta(text="x")], [DONE])
        async with aclosing(RememberingExchange(inner, ReasoningMemory(), "m").generate(chat())) as batches:
            await anext(batches)
        assert inner.was_closed

    asyncio.run(main())
