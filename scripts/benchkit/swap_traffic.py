"""Two models that want the same memory: how long one waits for the other, and what order is worth."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import aiohttp

from benchkit.figures import figure, machine, note
from benchkit.swap_client import Answer, ask, operate, session, swaps
from benchkit.swap_models import Pace, Serving, Settings, real, real_paths, scripted

# --- two clients hammer A, one asks B now and then -------------------------------------------------

HAMMERS = 2
ALONE_S = 15.0
PERIOD_S = 20.0
FIRST_ASK_S = 2.0
BUSY_PACE = Pace(load_s=1.0, first_token_s=0.05, tokens=40, tokens_per_s=80.0)


async def starvation(periods: int) -> None:
    """B's longest wait against its bound, and what A loses by it against A alone on the same server."""
    settings = Settings(slots=HAMMERS)
    async with scripted(BUSY_PACE, settings) as url, session() as client:
        await operate(client, url, "b", "load")
        await operate(client, url, "b", "unload")
        await operate(client, url, "a", "load")
        alone = await _hammered(client, url, ALONE_S)
        mixed_s = periods * PERIOD_S
        async with asyncio.TaskGroup() as group:
            hammering = group.create_task(_hammered(client, url, mixed_s))
            asking = group.create_task(_now_and_then(client, url, periods))
        both, b = hammering.result(), asking.result()
        unload_s = await operate(client, url, "a", "unload")
    report_starvation(alone, both, b, settings.max_wait_s, mixed_s, unload_s)


async def _hammered(client: aiohttp.ClientSession, url: str, seconds: float) -> list[Answer]:
    """Answers of A to clients in a closed loop; those that were not begun within the time do not count."""
    until_s = time.perf_counter() + seconds

    async def hammer() -> list[Answer]:
        answers = []
        while time.perf_counter() < until_s:
            answers.append(await ask(client, url, "a"))
        return answers

    found = await asyncio.gather(*(hammer() for _ in range(HAMMERS)))
    return [answer for mine in found for answer in mine]


async def _now_and_then(client: aiohttp.ClientSession, url: str, times: int) -> list[Answer]:
    started_s = time.perf_counter()
    answers = []
    for number in range(times):
        due_s = started_s + FIRST_ASK_S + number * PERIOD_S
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        answers.append(await ask(client, url, "b"))
        note(f"B had to wait {answers[-1].first_s:.2f} s")
    return answers


def tokens_per_s(answers: Sequence[Answer]) -> float:
    """From the first request to the last answer."""
    wall_s = max(answer.ended_s for answer in answers) - min(answer.sent_s for answer in answers)
    return sum(answer.tokens for answer in answers) / wall_s


def report_starvation(
    alone: Sequence[Answer],
    both: Sequence[Answer],
    b: Sequence[Answer],
    max_wait_s: float,
    mixed_s: float,
    unload_s: float,
) -> None:
    """The bound: max_wait, the longest answer of A (it drains), A's unload and B's load."""
    drain_s = max(answer.total_s - answer.queue_s - answer.load_s for answer in both)
    load_s = max(answer.load_s for answer in b)
    bound_s = max_wait_s + drain_s + unload_s + load_s
    waits_s = [answer.queue_s + answer.load_s for answer in b]
    worst_s = max(waits_s)
    figure(
        "swap_b_longest_wait",
        worst_s,
        "s",
        bound_s=round(bound_s, 3),
        share_of_bound=round(worst_s / bound_s, 4),
        is_within=worst_s <= bound_s,
        max_wait_s=max_wait_s,
        drain_s=round(drain_s, 3),
        unload_s=round(unload_s, 3),
        load_s=round(load_s, 3),
        asked=len(b),
        waits_s=[round(wait_s, 2) for wait_s in waits_s],
        first_text_s=[round(answer.first_s, 2) for answer in b],
        **machine(),
    )
    before, now = tokens_per_s(alone), tokens_per_s(both)
    figure(
        "swap_a_throughput_lost",
        1 - now / before,
        "ratio",
        goal=0.2,
        alone_tokens_per_s=round(before, 2),
        with_b_tokens_per_s=round(now, 2),
        alone_s=ALONE_S,
        with_b_s=mixed_s,
        b_every_s=PERIOD_S,
        **machine(),
    )


# --- all at once, against one after another ----------------------------------------------------------

BURST_PACE = Pace(load_s=0.5, first_token_s=0.05, tokens=15, tokens_per_s=100.0)
BURST_TOKENS = 16


async def bursts(requests: int, real_requests: int) -> None:
    await _compare_makespan("scripted", partial(scripted, BURST_PACE), requests)
    if (paths := real_paths()) is None:
        note("swap_makespan_ratio_to_fifo with real models: skipped, the demo models are not here")
        return
    await _compare_makespan("llama-cpp-python", partial(real, paths), real_requests)


async def _compare_makespan(engine: str, serving: Serving, requests: int) -> None:
    """One slot for each model, so that nothing is gained but swaps."""
    async with serving(Settings(slots=1)) as url, session() as client:
        await operate(client, url, "b", "load")
        await operate(client, url, "a", "load")
        serial = itertools.count()
        fifo_s, fifo_swaps = await _makespan(client, url, _interleaved(requests, serial), at_once=False)
        await operate(client, url, "a", "load")
        ours_s, our_swaps = await _makespan(client, url, _interleaved(requests, serial), at_once=True)
    figure(
        "swap_makespan_ratio_to_fifo",
        ours_s / fifo_s,
        "ratio",
        goal=0.4,
        engine=engine,
        requests=requests,
        ours_s=round(ours_s, 2),
        fifo_s=round(fifo_s, 2),
        our_swaps=our_swaps,
        fifo_swaps=fifo_swaps,
        **machine(),
    )


@dataclass(frozen=True, slots=True)
class Ask:
    model: str
    prompt: str


def _interleaved(requests: int, serial: Iterator[int]) -> list[Ask]:
    """a, b, a, b …; no prompt comes twice, so that no cache answers."""
    return [Ask("ab"[number % 2], f"Item {next(serial)}: the sea is") for number in range(requests)]


async def _makespan(
    client: aiohttp.ClientSession, url: str, asks: Sequence[Ask], *, at_once: bool
) -> tuple[float, int]:
    """Seconds to the last answer, and swaps. One by one is what a server does that swaps for each request
    in the order of arrival: the next is sent when the last has been answered."""
    swaps_before = await swaps(client, url)
    started_s = time.perf_counter()
    requests = (ask(client, url, one.model, one.prompt, BURST_TOKENS) for one in asks)
    if at_once:
        await asyncio.gather(*requests)
    else:
        for request in requests:
            await request
    return time.perf_counter() - started_s, await swaps(client, url) - swaps_before
