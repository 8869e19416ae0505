"""Output tok/s and time to first token at 1, 4 and 8 clients, Hotseat beside llama-server.

Both servers run the same GGUF file with the same threads and slots, through HTTP, in the same
run; rounds alternate who goes first. Prompts are about 80 tokens and all different, so that
nothing can be reused; `--shared-prefix N` puts the same N words before each instead. Each figure
is the median over rounds, and the ratio is the median of the rounds' ratios. With few requests of each
client the beginning and the end weigh much, where not all of them are being served. `--busy N` has N
other processes compute beside both servers, at the lowest priority: a build, say. `--spread 0.75` asks for
answers of 0.25 to 1.75 times --max-tokens, the same ones of both servers: answers of one length end together,
which those of real clients never do.

Examples:
    scripts/bench-engine
    scripts/bench-engine --rounds 3 --clients 1,8 --peer /path/to/llama-server
    scripts/bench-engine --shared-prefix 1000 --clients 4,8 --requests 6
    scripts/bench-engine --busy 1 --rounds 3
    scripts/bench-engine --spread 0.75 --clients 2,4 --requests 6
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click

from benchkit.figures import figure, machine, median, note, percentile
from benchkit.peers import demo_model, find_llama_server
from benchkit.servers import hotseat, llama_server
from benchkit.streams import Load, closed_loop

WORDS = (
    "river stone garden window letter ocean market engine silver forest bridge candle mirror winter "
    "harbor meadow copper signal thunder ladder"
).split()
PROMPT_WORDS = 60  # about 80 tokens


def prompts(seed: random.Random, shared: str) -> Iterator[str]:
    """Endless different prompts."""
    for number in itertools.count():
        words = " ".join(seed.choices(WORDS, k=PROMPT_WORDS))
        yield f"{shared}Story {number} {seed.randrange(10**9)}: {words}. Then"


def models_toml(model: Path, n_ctx: int, slots: int, threads: int) -> str:
    return (
        f'[models.bench]\npath = "{model}"\nn_ctx = {n_ctx}\nslots = {slots}\nthreads = {threads}\n'
        '[memory]\ndevice = "cpu"\nkv_store = false\n'  # nothing from an earlier run
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """Of `streams` concurrent greedy streams, those equal to their single-client output, and for
    each other one the gap between the two likeliest tokens where it first differs (natural log)."""

    streams: int
    gaps: list[float]


async def identity(url: str, streams: int, max_tokens: int) -> Identity:
    texts = list(itertools.islice(prompts(random.Random(), ""), streams))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:

        async def tokens(text: str) -> list[dict[str, float]]:
            """The alternatives at each position, the one taken first."""
            body = {"model": "bench", "prompt": text, "max_tokens": max_tokens, "temperature": 0}
            async with session.post(f"{url}/v1/completions", json={**body, "logprobs": 2}) as response:
                response.raise_for_status()
                logprobs = (await response.json())["choices"][0]["logprobs"]
            return [
                {token: top.get(token, 0.0), **top}
                for token, top in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True)
            ]

        alone = [await tokens(text) for text in texts]
        together = await asyncio.gather(*(tokens(text) for text in texts))
    found = [first_gap(a, b) for a, b in zip(alone, together, strict=True)]
    return Identity(streams, [gap for gap in found if gap is not None])


def first_gap(alone: list[dict[str, float]], together: list[dict[str, float]]) -> float | None:
    """The gap between the two likeliest tokens at the first position where the answers differ."""
    for a, b in zip(alone, together, strict=False):
        if next(iter(a)) != next(iter(b)):
            likeliest = sorted(a.values(), reverse=True)
            return likeliest[0] - likeliest[1]
    return None


async def measure(
    url: str,
    clients: int,
    requests: int,
    max_tokens: int,
    source: Iterator[str],
    *,
    spread: float = 0.0,
    round_: int = 0,
) -> Load:
    seed = random.Random(f"{round_} {clients}")
    shortest, longest = round(max_tokens * (1 - spread)), round(max_tokens * (1 + spread))
    lengths = [[seed.randint(max(1, shortest), longest) for _ in range(requests)] for _ in range(clients)]
    asked = [[next(source) for _ in range(requests)] for _ in range(clients)]
    return await closed_loop(url, "bench", asked, lengths)


@click.command(help=__doc__)
@click.option("--clients", default="1,4,8", show_default=True, help="Client counts, comma-separated.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--requests", default=2, show_default=True, help="Requests of each client in a round.")
@click.option("--max-tokens", default=64, show_default=True)
@click.option("--slots", default=8, show_default=True)
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--busy", default=0, show_default=True, help="Processes that compute beside both servers.")
@click.option("--spread", default=0.0, show_default=True, help="Of the answers' lengths, as a share of it.")
@click.option("--shared-prefix", default=0, show_default=True, help="Words every prompt begins with.")
@click.option(
    "--model", type=click.Path(path_type=Path), default=None, help="Default: the SmolLM2 demo model."
)
@click.option("--peer", type=click.Path(path_type=Path), default=None, help="llama-server binary.")
def main(
    clients: str,
    rounds: int,
    requests: int,
    max_tokens: int,
    slots: int,
    threads: int,
    busy: int,
    spread: float,
    shared_prefix: int,
    model: Path | None,
    peer: Path | None,
) -> None:
    counts = [int(count) for count in clients.split(",")]
    file = model or demo_model("smollm2")
    binary = peer or find_llama_server()
    with busy_processes(busy):
        asyncio.run(
            compare(
                file,
                binary,
                counts,
                rounds,
                requests,
                max_tokens,
                slots,
                threads,
                shared_prefix,
                busy,
                spread,
            )
        )


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    command = [sys.executable, "-c", "import os; os.nice(19)\nwhile True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def compare(
    file: Path,
    binary: Path,
    counts: list[int],
    rounds: int,
    requests: int,
    max_tokens: int,
    slots: int,
    threads: int,
    shared_prefix: int,
    busy: int,
    spread: float,
) -> None:
    n_ctx = 1024 if not shared_prefix else 4096
    seed = random.Random()  # a server may remember the prompts of an earlier run
    shared = " ".join(seed.choices(WORDS, k=shared_prefix)) + "\n" if shared_prefix else ""
    source = prompts(seed, shared)
    peer_options = ["-c", str(n_ctx * slots), "-np", str(slots), "-t", str(threads), "-tb", str(threads)]
    async with (
        hotseat(models_toml(file, n_ctx, slots, threads)) as ours,
        llama_server(binary, file, *peer_options) as theirs,
    ):
        for url in (ours, theirs):
            await measure(url, slots, 1, 4, source)  # load, warm caches
        runs: dict[tuple[str, int], list[Load]] = {}
        for number in range(rounds):
            order = [("hotseat", ours), ("llama-server", theirs)]
            for count in counts:
                for name, url in order if number % 2 == 0 else order[::-1]:
                    load = await measure(
                        url, count, requests, max_tokens, source, spread=spread, round_=number
                    )
                    runs.setdefault((name, count), []).append(load)
                    note(f"round {number + 1}: {name} x{count}: {load.output_tokens_per_s:.1f} tok/s")
        same = await identity(ours, slots, 48)
    for count in counts:
        evidence: dict[str, float] = {
            "requests": requests,
            "spread": spread,
            "shared_prefix_words": shared_prefix,
            "busy_processes": busy,
        }
        report(count, runs[("hotseat", count)], runs[("llama-server", count)], evidence)
    figure(
        "greedy_streams_identical_to_single_client",
        1 - len(same.gaps) / same.streams,
        "share",
        streams=same.streams,
        logprob_gap_where_others_differ=[round(gap, 4) for gap in same.gaps],
        **machine(),
    )


def report(count: int, ours: list[Load], theirs: list[Load], settings: dict[str, float]) -> None:
    ratios = [a.output_tokens_per_s / b.output_tokens_per_s for a, b in zip(ours, theirs, strict=True)]
    evidence = {"clients": count, "rounds": len(ours), **settings}
    figure(
        "output_tokens_per_s_ratio_to_llama_server",
        median(ratios),
        "ratio",
        **evidence,
        hotseat=round(median([load.output_tokens_per_s for load in ours]), 1),
        llama_server=round(median([load.output_tokens_per_s for load in theirs]), 1),
        lowest=round(min(ratios), 3),
        highest=round(max(ratios), 3),
        cached_share=[round(cached_share(loads), 3) for loads in (ours, theirs)],
        **machine(),
    )
    ttft = [[answer.ttft_s for load in loads for answer in load.answers] for loads in (ours, theirs)]
    figure(
        "ttft_p50_ratio_to_llama_server",
        percentile(ttft[0], 0.5) / percentile(ttft[1], 0.5),
        "ratio",
        **evidence,
        hotseat_s=round(percentile(ttft[0], 0.5), 3),
        llama_server_s=round(percentile(ttft[1], 0.5), 3),
    )


def cached_share(loads: list[Load]) -> float:
    """Of all prompt tokens, those that a server did not compute: near 0 unless a prefix is shared."""
    answers = [answer for load in loads for answer in load.answers]
    return sum(a.cached_tokens for a in answers) / sum(a.input_tokens for a in answers)


if __name__ == "__main__":
    main()
