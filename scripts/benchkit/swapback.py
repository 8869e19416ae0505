"""A session on A, one request to B, back to A, with room for one: what continuing it costs.

Time to the first token of the session's next turn, with the swap and the load in it, in three
forms that take turns in each round: KV snapshots on; off, as every other server does it; and cold,
a session that A has never seen, of the same length. Then what must not happen: a damaged snapshot,
a folder that cannot be written, and another KV type, each with its cached tokens and whether the
answer equals the cold one.

Examples:
    scripts/bench-swapback
    scripts/bench-swapback --rounds 5 --words 1500
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click

from benchkit.engine import WORDS
from benchkit.figures import figure, machine, median, note
from benchkit.peers import demo_model
from benchkit.servers import hotseat
from benchkit.streams import chunks

BUDGET = 400_000_000  # either model fits, not both
Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Turn:
    text: str
    ttft_s: float
    cached_tokens: int
    prompt_tokens: int


def config(kv_store: str, kv_type: str = "f16") -> str:
    return (
        f'[memory]\ndevice = "cpu"\nkv_store = {kv_store}\n'
        f'[models.a]\npath = "{demo_model("smollm2")}"\nn_ctx = 4096\nslots = 1\nkv_type = "{kv_type}"\n'
        f'[models.b]\npath = "{demo_model("gemma3")}"\nn_ctx = 512\nslots = 1\nn_ubatch = 128\n'
    )


class Client:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def turn(self, messages: Messages, max_tokens: int = 24) -> Turn:
        """One greedy streamed answer of model a."""
        body = {
            "model": "a",
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        started_s = time.perf_counter()
        first_s: float | None = None
        text = ""
        usage: dict[str, Any] = {}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as response:
            async for chunk in chunks(response):
                usage = chunk.get("usage") or usage
                piece = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else ""
                if piece and first_s is None:
                    first_s = time.perf_counter() - started_s
                text += piece or ""
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return Turn(text, first_s or 0.0, cached, usage["prompt_tokens"])

    async def ask_b(self) -> None:
        body = {"model": "b", "prompt": "The sea is", "max_tokens": 2, "temperature": 0}
        async with self._session.post(f"{self._url}/v1/completions", json=body) as response:
            response.raise_for_status()
            await response.read()


def new_session(seed: random.Random, words: int) -> Messages:
    story = " ".join(seed.choices(WORDS, k=words))
    return [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": f"Note {seed.randrange(10**9)}: {story}. Go on."},
    ]


async def established(client: Client, messages: Messages) -> Messages:
    """The session after its first answer, with the next question: what the client sends after the swap."""
    first = await client.turn(messages)
    return [*messages, {"role": "assistant", "content": first.text}, {"role": "user", "content": "Why?"}]


@contextlib.asynccontextmanager
async def serving(kv_store: str, kv_type: str = "f16") -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        hotseat(config(kv_store, kv_type), "--budget", str(BUDGET)) as url,
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session,
    ):
        yield Client(session, url)


async def swap_back(client: Client, messages: Messages) -> Turn:
    after = await established(client, messages)
    await client.ask_b()
    return await client.turn(after)


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True)
@click.option("--words", default=1500, show_default=True, help="Words of the session.")
def main(rounds: int, words: int) -> None:
    asyncio.run(compare(rounds, words))


async def compare(rounds: int, words: int) -> None:
    seed = random.Random(5)
    kept: list[Turn] = []
    lost: list[Turn] = []
    cold: list[Turn] = []
    with tempfile.TemporaryDirectory() as folder:
        store = f'{{ path = "{folder}/kv" }}'
        async with serving(store) as with_store, serving("false") as without:
            for number in range(rounds):
                kept.append(await swap_back(with_store, new_session(seed, words)))
                lost.append(await swap_back(without, new_session(seed, words)))
                await without.ask_b()
                cold.append(await without.turn(new_session(seed, words)))
                note(
                    f"round {number + 1}: kept {kept[-1].ttft_s:.2f} s ({kept[-1].cached_tokens} cached), "
                    f"lost {lost[-1].ttft_s:.2f} s, cold {cold[-1].ttft_s:.2f} s"
                )
    ratios = [a.ttft_s / b.ttft_s for a, b in zip(kept, lost, strict=True)]
    figure(
        "swapback_ttft_ratio_to_no_store",
        median(ratios),
        "ratio",
        rounds=rounds,
        highest=round(max(ratios), 4),
        with_store_s=round(median([t.ttft_s for t in kept]), 3),
        without_store_s=round(median([t.ttft_s for t in lost]), 3),
        cold_s=round(median([t.ttft_s for t in cold]), 3),
        cached_tokens=min(t.cached_tokens for t in kept),
        prompt_tokens=min(t.prompt_tokens for t in kept),
        **machine(),
    )
    await faults(new_session(seed, words))


async def faults(messages: Messages) -> None:
    """Each case: cached tokens after the swap back, and whether the answer equals that without a store."""
    async with serving("false") as client:
        after = await established(client, messages)
        await client.ask_b()
        expected = await client.turn(after)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "kv"
        async with serving(f'{{ path = "{store}" }}') as client:
            await established(client, messages)
            await client.ask_b()
            for file in store.rglob("*.kv"):
                content = bytearray(file.read_bytes())
                content[len(content) // 2] ^= 1
                file.write_bytes(content)
            outcome("damaged_snapshot", await client.turn(after), expected)
            await client.ask_b()
        async with serving(f'{{ path = "{store}" }}', kv_type="q8_0") as client:
            outcome("other_kv_type", await client.turn(after), expected, compare_text=False)
        blocked = Path(folder) / "file"
        blocked.write_text("not a folder")
        async with serving(f'{{ path = "{blocked}/kv" }}') as client:
            outcome("unwritable_store", await swap_back(client, messages), expected)


def outcome(name: str, turn: Turn, expected: Turn, *, compare_text: bool = True) -> None:
    same = turn.text == expected.text if compare_text else None
    figure(f"swapback_{name}_cached_tokens", turn.cached_tokens, "tokens", equals_cold_answer=same)


if __name__ == "__main__":
    main()
