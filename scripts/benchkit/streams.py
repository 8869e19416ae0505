"""Closed-loop streaming clients: each sends its next request when the last one has ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class Answer:
    """One streamed completion. Seconds from sending; tokens as the server's usage says."""

    text: str
    ttft_s: float
    total_s: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Load:
    """Answers of a run of clients and its wall time."""

    answers: list[Answer] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def output_tokens_per_s(self) -> float:
        return sum(answer.output_tokens for answer in self.answers) / self.wall_s


async def chunks(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The JSON chunks of an OpenAI stream. Raises RuntimeError for a bad status or an error in it."""
    if response.status != 200:
        raise RuntimeError(f"{response.url} answered {response.status}: {(await response.text())[:500]}")
    async for line in response.content:
        if line.startswith(b"data: {"):
            chunk: dict[str, Any] = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(f"{response.url} failed mid-stream: {chunk['error']}")
            yield chunk


def completion_body(model: str, prompt: str, max_tokens: int) -> dict[str, Any]:
    """A greedy stream of exactly `max_tokens` tokens."""
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def stream_completion(
    session: aiohttp.ClientSession, base_url: str, model: str, prompt: str, max_tokens: int
) -> Answer:
    """One greedy /v1/completions stream of exactly `max_tokens` tokens."""
    body = completion_body(model, prompt, max_tokens)
    started_s = time.perf_counter()
    first_s = 0.0
    pieces: list[str] = []
    usage: dict[str, Any] = {}
    async with session.post(f"{base_url}/v1/completions", json=body) as response:
        async for chunk in chunks(response):
            if chunk.get("usage"):
                usage = chunk["usage"]
            text = chunk["choices"][0]["text"] if chunk["choices"] else ""
            if text and not pieces:
                first_s = time.perf_counter()
            pieces.append(text)
    return Answer(
        text="".join(pieces),
        ttft_s=first_s - started_s,
        total_s=time.perf_counter() - started_s,
        input_tokens=usage["prompt_tokens"],
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        output_tokens=usage["completion_tokens"],
    )


async def closed_loop(
    base_url: str, model: str, prompts: Sequence[Sequence[str]], max_tokens: int | Sequence[Sequence[int]]
) -> Load:
    """One client per list of prompts, all at once. `max_tokens`: of each request, if not of all."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # llama-server closes after a stream
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def client(mine: Sequence[str], lengths: Sequence[int]) -> list[Answer]:
            asked = zip(mine, lengths, strict=True)
            return [await stream_completion(session, base_url, model, p, n) for p, n in asked]

        if isinstance(max_tokens, int):
            max_tokens = [[max_tokens] * len(mine) for mine in prompts]
        started_s = time.perf_counter()
        answers = await asyncio.gather(*map(client, prompts, max_tokens))
        wall_s = time.perf_counter() - started_s
    return Load([answer for mine in answers for answer in mine], wall_s)
