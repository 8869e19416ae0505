"""One streamed chat answer of one model, with all that a swap makes it wait for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchkit.streams import chunks, completion_body


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds from sending; `queue_s` and `load_s` as the server's timings say."""

    sent_s: float  # on the clock of time.perf_counter
    first_s: float  # to the first text
    total_s: float
    queue_s: float
    load_s: float
    tokens: int

    @property
    def ended_s(self) -> float:
        return self.sent_s + self.total_s


def session(timeout_s: float = 600.0) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=timeout_s))


async def ask(
    session: aiohttp.ClientSession, url: str, model: str, prompt: str = "Go on.", max_tokens: int = 400
) -> Answer:
    """Raises RuntimeError for every end but a good one."""
    body = completion_body(model, prompt, max_tokens)
    sent_s = time.perf_counter()
    first_s: float | None = None
    timings: dict[str, Any] = {}
    async with session.post(f"{url}/v1/completions", json=body) as response:
        async for chunk in chunks(response):
            timings = chunk.get("timings") or timings
            if first_s is None and any(choice["text"] for choice in chunk["choices"]):
                first_s = time.perf_counter() - sent_s
    if first_s is None or not timings:
        raise RuntimeError(f"{model} answered without text or without timings")
    return Answer(
        sent_s=sent_s,
        first_s=first_s,
        total_s=time.perf_counter() - sent_s,
        queue_s=timings["queue_ms"] / 1e3,
        load_s=timings["load_ms"] / 1e3,
        tokens=timings["predicted_n"],
    )


async def operate(session: aiohttp.ClientSession, url: str, model: str, what: str) -> float:
    """Load or unload a model; the seconds that it took."""
    sent_s = time.perf_counter()
    async with session.post(f"{url}/api/models/{model}/{what}") as response:
        if response.status != 200:
            raise RuntimeError(f"{what} {model}: {response.status} {(await response.text())[:300]}")
    return time.perf_counter() - sent_s


async def swaps(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/api/state") as response:
        count: int = (await response.json())["swaps"]
        return count
