"""Hundreds of streams at once on one model: who is refused, who waits how long, what the proxy holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psutil

from benchkit.figures import figure, machine, note
from benchkit.swap_client import Answer, ask, operate, session
from benchkit.swap_models import Pace, Settings, scripted

SLOTS = 64
PACE = Pace(first_token_s=0.05, tokens=40, tokens_per_s=100.0)
WAVES = 2
SAMPLE_S = 0.02


async def crowd(streams: int) -> None:
    """All of them fit: `SLOTS` run and the rest wait in a queue that is bounded at their number."""
    async with scripted(PACE, Settings(slots=SLOTS, max_queue=streams)) as url, session() as client:
        await operate(client, url, "a", "load")
        undisturbed = await ask(client, url, "a")
        await asyncio.gather(*(ask(client, url, "a") for _ in range(SLOTS)))
        proxy = _server_process(url)
        before_bytes = proxy.memory_info().rss
        peaks: list[int] = []
        answers: list[Answer] = []
        failures: list[str] = []
        for _ in range(WAVES):
            async with _highest_rss(proxy, peaks):
                found = await asyncio.gather(
                    *(ask(client, url, "a") for _ in range(streams)), return_exceptions=True
                )
            answers += [one for one in found if isinstance(one, Answer)]
            failures += [str(one) for one in found if not isinstance(one, Answer)]
    for failure in failures[:3]:
        note(failure)
    grown_mib = [round((peak - before_bytes) / 2**20, 1) for peak in peaks]
    complete = sum(answer.tokens == undisturbed.tokens for answer in answers)
    figure(
        "swap_crowd_memory_growth",
        max(grown_mib),
        "MiB",
        of_each_wave_mib=grown_mib,
        kib_per_stream=round(max(grown_mib) * 1024 / streams, 1),
        before_mib=round(before_bytes / 2**20, 1),
        streams=streams,
        **machine(),
    )
    figure(
        "swap_crowd_refused",
        len(failures),
        "streams",
        complete=complete,
        streams=WAVES * streams,
        slots=SLOTS,
        max_queue_per_model=streams,
        **machine(),
    )
    if answers:
        figure(
            "swap_crowd_last_first_text",
            max(answer.first_s for answer in answers),
            "s",
            # What the model alone would need for so many, SLOTS at a time, until the last one begins.
            at_the_model_s=round((streams - 1) // SLOTS * _answer_s() + PACE.first_token_s, 3),
            streams=streams,
            **machine(),
        )


def _answer_s() -> float:
    assert PACE.tokens_per_s is not None
    return PACE.first_token_s + (PACE.tokens - 1) / PACE.tokens_per_s


def _server_process(url: str) -> psutil.Process:
    """The server among our children, by its port."""
    port = url.rsplit(":", 1)[1]
    for child in psutil.Process().children():
        command = child.cmdline()
        if "serve" in command and port in command:
            return child
    raise RuntimeError(f"no child process serves port {port}")


@contextlib.asynccontextmanager
async def _highest_rss(process: psutil.Process, peaks: list[int]) -> AsyncIterator[None]:
    """Appends the highest resident set of the block, sampled."""
    peak_bytes = process.memory_info().rss

    async def sample() -> None:
        nonlocal peak_bytes
        while True:
            peak_bytes = max(peak_bytes, process.memory_info().rss)
            await asyncio.sleep(SAMPLE_S)

    sampling = asyncio.create_task(sample())
    try:
        yield
    finally:
        sampling.cancel()
        peaks.append(max(peak_bytes, process.memory_info().rss))
