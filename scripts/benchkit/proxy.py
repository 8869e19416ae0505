"""What Hotseat adds to a request and to a streamed chunk, against a direct upstream.

Two ways through it are measured in the same run. `worker`: the scripted engine without delays, in its real
worker process. `route`: a remote route to the direct upstream, which sends fixed bytes. The same client asks
all in turns, so a difference of medians is what everything between client and engine or upstream costs:
HTTP, validation, scheduling, the hop to the worker and back, encoding, the ledger. Client and upstream share
the machine with what is measured, and are as light as Python allows.

Peers of `route`, in front of the same upstream: LiteLLM's proxy (scripts/build-litellm installs it), and
`bare`, the least that a proxy of FastAPI and aiohttp can be. Machines differ by more than proxies do, so what
counts is the ratio to those two.

Examples:
    scripts/bench-proxy
    scripts/bench-proxy --requests 1000 --rounds 9
    scripts/bench-proxy --ledger off --no-peer
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click
import uvloop

from benchkit.figures import figure, machine, median, note, percentile
from benchkit.light_client import LightClient, clients
from benchkit.peers import find_litellm
from benchkit.servers import free_port, hotseat, running

PATH = "/v1/chat/completions"
CHUNKS = 400
SCRIPT = f"""
[[turn]]
match.user_contains = "stream"
text = "word "
repeat = {CHUNKS}

[[turn]]
text = "word"
"""


LITELLM_CONFIG = """
model_list:
  - model_name: bench
    litellm_params: {{ model: openai/bench, api_base: "{upstream}/v1", api_key: none }}
litellm_settings: {{ telemetry: false }}
"""
PEER_SHARE = 4
"""The peer is asked a quarter as often: it would take most of the run."""


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    url: str
    model: str = "bench"
    share: int = 1
    streams: bool = True


@click.command(help=__doc__)
@click.option("--requests", default=400, show_default=True, help="Requests of each kind in a round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--streams", default=16, show_default=True, help="Concurrent streams, and clients.")
@click.option("--ledger", type=click.Choice(["on", "off"]), default="on", show_default=True)
@click.option("--peer/--no-peer", default=True, show_default=True, help="LiteLLM, if it is installed.")
def main(requests: int, rounds: int, streams: int, ledger: str, peer: bool) -> None:
    uvloop.run(compare(requests, rounds, streams, ledger, peer=peer))


async def compare(requests: int, rounds: int, streams: int, ledger: str, *, peer: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        script = folder / "bench-script.toml"
        script.write_text(SCRIPT, encoding="utf-8")
        port = free_port()
        argv = [sys.executable, "-m", "benchkit.direct_upstream", str(port)]
        direct = await stack.enter_async_context(running("direct", argv, f"http://127.0.0.1:{port}"))
        config = (
            '[memory]\ndevice = "cpu"\n'
            f'[models.bench]\nengine = "scripted"\npath = "{script}"\nn_ctx = 8192\nslots = {streams}\n'
            f'[providers.direct]\nbase_url = "{direct}/v1"\ndialects = ["chat-completions"]\n'
            '[routes.route]\nprovider = "direct"\nmodel = "bench"\n'
            + ("" if ledger == "on" else "[ledger]\nenabled = false\n")
        )
        ours = await stack.enter_async_context(hotseat(config))
        targets = [Target("worker", ours), Target("route", ours, model="route"), Target("direct", direct)]
        port = free_port()
        argv = [sys.executable, "-m", "benchkit.bare_proxy", str(port), direct]
        bare = await stack.enter_async_context(running("bare", argv, f"http://127.0.0.1:{port}"))
        targets.append(Target("bare", bare, streams=False))
        program = find_litellm() if peer else None
        if program is not None:
            url = await stack.enter_async_context(litellm(program, direct, folder))
            targets.append(Target("litellm", url, share=PEER_SHARE))
        await measure(targets, requests, rounds, streams, ledger)


@contextlib.asynccontextmanager
async def litellm(program: Path, upstream: str, folder: Path) -> AsyncIterator[str]:
    config = folder / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(upstream=upstream), encoding="utf-8")
    port = free_port()
    argv = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "REPEATED_STREAMING_CHUNK_LIMIT": "1000000",  # it breaks a stream off after 100 equal chunks
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # as Hotseat on loopback: no key
    }
    url = f"http://127.0.0.1:{port}"
    async with running("litellm", argv, url, quiet, health="/health/liveliness") as address:
        yield address


async def measure(targets: list[Target], requests: int, rounds: int, streams: int, ledger: str) -> None:
    latencies: dict[str, list[float]] = {target.name: [] for target in targets}
    speeds: dict[str, list[float]] = {target.name: [] for target in targets}
    chunks: dict[tuple[str, int], list[float]] = {}
    for target in targets:
        await latency(target, 20)
    for number in range(rounds):
        for target in targets if number % 2 == 0 else targets[::-1]:
            count = max(1, requests // target.share)
            latencies[target.name].append(percentile(await latency(target, count), 0.5))
            speeds[target.name].append(await throughput(target, streams, count))
            for n_clients in (1, streams) if target.streams else ():
                cost = await chunk_cost(target, n_clients)
                chunks.setdefault((target.name, n_clients), []).append(cost)
        medians = ", ".join(f"{name} {values[-1] * 1e3:.2f} ms" for name, values in latencies.items())
        note(f"round {number + 1}: {medians}")
    evidence = {"rounds": rounds, "ledger": ledger, **machine()}
    for target in targets:
        if target.name != "direct":
            say(target, latencies, speeds, chunks, requests, streams, evidence)


def say(
    target: Target,
    latencies: dict[str, list[float]],
    speeds: dict[str, list[float]],
    chunks: dict[tuple[str, int], list[float]],
    requests: int,
    streams: int,
    evidence: dict[str, object],
) -> None:
    ours, direct = median(latencies[target.name]), median(latencies["direct"])
    through: dict[str, object] = {"through": target.name, **evidence}
    figure(
        "overhead_per_request_p50",
        (ours - direct) * 1e3,
        "ms",
        requests=requests // target.share,
        whole_ms=round(ours * 1e3, 3),
        direct_ms=round(direct * 1e3, 3),
        **through,
    )
    speed, bare = median(speeds[target.name]), median(speeds["bare"])
    figure(
        "requests_per_second",
        speed,
        "1/s",
        clients=streams,
        direct=median(speeds["direct"]),
        of_bare=round(speed / bare, 3),
        **through,
    )
    for count in (1, streams) if target.streams else ():
        ours, direct = median(chunks[target.name, count]), median(chunks["direct", count])
        figure(
            "overhead_per_chunk",
            (ours - direct) * 1e6,
            "us",
            streams=count,
            chunks=CHUNKS,
            whole_us=round(ours * 1e6, 1),
            direct_us=round(direct * 1e6, 1),
            **through,
        )


async def latency(target: Target, requests: int) -> list[float]:
    """Seconds of each of `requests` unstreamed answers, one after another."""
    async with clients(target.url, 1) as (client,):
        return await _ask(client, target, requests)


async def throughput(target: Target, n_clients: int, requests: int) -> float:
    """Unstreamed answers per second to `n_clients` that ask `requests` times each, one after another."""
    async with clients(target.url, n_clients) as connected:
        started_s = time.perf_counter()
        await asyncio.gather(*(_ask(client, target, requests) for client in connected))
        return n_clients * requests / (time.perf_counter() - started_s)


async def _ask(client: LightClient, target: Target, requests: int) -> list[float]:
    asked = {"model": target.model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    body = json.dumps(asked).encode()
    seconds: list[float] = []
    for _ in range(requests):
        started_s = time.perf_counter()
        await client.post(PATH, body)
        seconds.append(time.perf_counter() - started_s)
    return seconds


async def chunk_cost(target: Target, streams: int) -> float:
    """Wall seconds per chunk while `streams` streams of CHUNKS chunks each run as fast as they can."""
    asked = {
        "model": target.model,
        "messages": [{"role": "user", "content": "stream"}],
        "max_tokens": CHUNKS,
        "stream": True,
    }
    body = json.dumps(asked).encode()
    async with clients(target.url, streams) as connected:
        started_s = time.perf_counter()
        answers = await asyncio.gather(*(client.post(PATH, body) for client in connected))
        wall_s = time.perf_counter() - started_s
    counts = [answer.count(b"word") for answer in answers]
    if set(counts) != {CHUNKS}:
        raise RuntimeError(f"{target.name} sent {counts} of {CHUNKS} chunks")
    return wall_s / (streams * CHUNKS)


if __name__ == "__main__":
    main()
