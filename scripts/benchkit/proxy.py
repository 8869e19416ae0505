"""What Hotseat adds to a request and to a streamed chunk, against a direct upstream.

The model is the scripted engine without delays, in its real worker process; the direct upstream is
a bare uvicorn app that sends fixed bytes. The same client asks both in turns, so the difference of
medians is what everything between socket and engine costs: HTTP, validation, scheduling, the hop
to the worker and back, and encoding.

Examples:
    scripts/bench-proxy
    scripts/bench-proxy --requests 1000 --rounds 9
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import click

from benchkit.figures import figure, machine, median, note, percentile
from benchkit.servers import free_port, hotseat, running

CHUNKS = 400
SCRIPT = f"""
[[turn]]
match.user_contains = "stream"
text = "word "
repeat = {CHUNKS}

[[turn]]
text = "word"
"""


@click.command(help=__doc__)
@click.option("--requests", default=400, show_default=True, help="Requests of each kind in a round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--streams", default=16, show_default=True, help="Concurrent streams for chunk costs.")
def main(requests: int, rounds: int, streams: int) -> None:
    asyncio.run(compare(requests, rounds, streams))


async def compare(requests: int, rounds: int, streams: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "bench-script.toml"
        script.write_text(SCRIPT, encoding="utf-8")
        config = (
            '[memory]\ndevice = "cpu"\n'
            f'[models.bench]\nengine = "scripted"\npath = "{script}"\nn_ctx = 8192\nslots = {streams}\n'
        )
        port = free_port()
        direct_argv = [sys.executable, "-m", "benchkit.direct_upstream", str(port)]
        direct_url = f"http://127.0.0.1:{port}"
        async with hotseat(config) as ours, running("direct", direct_argv, direct_url) as direct:
            await measure({"hotseat": ours, "direct": direct}, requests, rounds, streams)


async def measure(urls: dict[str, str], requests: int, rounds: int, streams: int) -> None:
    latencies: dict[str, list[float]] = {name: [] for name in urls}
    chunks: dict[tuple[str, int], list[float]] = {}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        for url in urls.values():
            await latency(session, url, 20)
        for number in range(rounds):
            for name, url in list(urls.items()) if number % 2 == 0 else list(urls.items())[::-1]:
                latencies[name].append(percentile(await latency(session, url, requests), 0.5))
                for count in (1, streams):
                    chunks.setdefault((name, count), []).append(await chunk_cost(session, url, count))
            note(
                f"round {number + 1}: " + ", ".join(f"{n} {v[-1] * 1e3:.2f} ms" for n, v in latencies.items())
            )
    ours, direct = median(latencies["hotseat"]), median(latencies["direct"])
    evidence = {"rounds": rounds, **machine()}
    figure(
        "overhead_per_request_p50",
        (ours - direct) * 1e3,
        "ms",
        requests=requests,
        hotseat_ms=round(ours * 1e3, 3),
        direct_ms=round(direct * 1e3, 3),
        **evidence,
    )
    for count in (1, streams):
        ours, direct = median(chunks["hotseat", count]), median(chunks["direct", count])
        figure(
            "overhead_per_chunk",
            (ours - direct) * 1e6,
            "us",
            streams=count,
            chunks=CHUNKS,
            hotseat_us=round(ours * 1e6, 1),
            direct_us=round(direct * 1e6, 1),
            **evidence,
        )


async def latency(session: aiohttp.ClientSession, url: str, requests: int) -> list[float]:
    """Seconds of each of `requests` unstreamed answers, one after another."""
    body = {"model": "bench", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    seconds: list[float] = []
    for _ in range(requests):
        started_s = time.perf_counter()
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            await response.read()
            if response.status != 200:
                raise RuntimeError(f"{url} answered {response.status}")
        seconds.append(time.perf_counter() - started_s)
    return seconds


async def chunk_cost(session: aiohttp.ClientSession, url: str, streams: int) -> float:
    """Wall seconds per chunk while `streams` streams of CHUNKS chunks each run as fast as they can."""
    body = {
        "model": "bench",
        "messages": [{"role": "user", "content": "stream"}],
        "max_tokens": CHUNKS,
        "stream": True,
    }

    async def one() -> int:
        n_bytes = 0
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            async for data in response.content.iter_any():
                n_bytes += data.count(b"word")
        return n_bytes

    started_s = time.perf_counter()
    counts = await asyncio.gather(*(one() for _ in range(streams)))
    wall_s = time.perf_counter() - started_s
    if set(counts) != {CHUNKS}:
        raise RuntimeError(f"{url} sent {counts} of {CHUNKS} chunks")
    return wall_s / (streams * CHUNKS)


if __name__ == "__main__":
    main()
