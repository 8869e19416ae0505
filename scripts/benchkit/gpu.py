"""Decode speed, load time from page cache, swap time, and GPU memory against the estimate, on an NVIDIA GPU.

Two models take turns in a real server with room for one. Each figure is the median of the rounds,
with the lowest and the highest beside it. Memory is what NVML saw a load take, compared with the
formula and with the dry run; the formula's share for the CUDA context is shown, since that is the
part nobody can compute. Energy is the driver's counter over the same seconds as the tokens.

Without a GPU that NVML answers for, or with an engine that cannot offload to it, every figure is
printed as skipped, with the reason, and the exit status is 0: nothing was measured, nothing failed.

Examples:
    scripts/bench-gpu
    scripts/bench-gpu --model-a ~/models/qwen3.6-35b-a3b.gguf --model-b ~/models/glm-4.7-flash.gguf
    scripts/bench-gpu --rounds 5 --clients 1,8 --device cuda:1
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import click

from benchkit.engine import prompts
from benchkit.figures import figure, machine, median, note
from benchkit.peers import demo_model
from benchkit.servers import hotseat
from benchkit.streams import closed_loop
from inference.errors import ConfigError
from inference.gguf import read_header
from inference.gpu import NvmlMeter, open_meter
from inference.model_spec import ModelSpec
from inference.vram import CUDA_CONTEXT_BYTES, estimate
from proxy.doctor import EngineProbe, probe_engine

FIGURES = (
    "decode_tokens_per_s",
    "energy_per_output_token",
    "load_from_page_cache",
    "swap_to_first_token",
    "measured_to_estimate",
    "measured_to_dry_run",
)
DRY_RUN_DEADLINE_S = 60.0
READ_BYTES = 16 * 2**20
Json = dict[str, Any]


@click.command(help=__doc__)
@click.option("--model-a", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None)
@click.option("--model-b", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None)
@click.option("--device", default="auto", show_default=True, help='"auto" or "cuda:N".')
@click.option("--rounds", default=3, show_default=True)
@click.option("--clients", default="1,4,8", show_default=True, help="Client counts, comma-separated.")
@click.option("--max-tokens", default=128, show_default=True)
@click.option("--n-ctx", default=4096, show_default=True, help="Of each slot.")
def main(
    model_a: Path | None,
    model_b: Path | None,
    device: str,
    rounds: int,
    clients: str,
    max_tokens: int,
    n_ctx: int,
) -> None:
    counts = [int(count) for count in clients.split(",")]
    name, why = find_gpu(device, probe_engine())
    if why is not None:
        for skipped in FIGURES:
            print(json.dumps({"figure": skipped, "skipped": why}), flush=True)
        note(f"nothing measured: {why}")
        return
    note(f"measuring on {name}")
    files = {"a": model_a or demo_model("smollm2"), "b": model_b or demo_model("gemma3")}
    asyncio.run(Bench(files, name, device, rounds, counts, max_tokens, n_ctx).run())


def find_gpu(device: str, engine: EngineProbe) -> tuple[str, str | None]:
    """The GPU's name, and why there is nothing to measure (None: there is)."""
    try:
        meter = open_meter(device)
    except ConfigError as error:
        return "", str(error)
    if not isinstance(meter, NvmlMeter):
        return "", meter.note or f"{device} is not a GPU"
    if engine.error is not None:
        return meter.device().name, f"the engine does not load: {engine.error}"
    if not engine.gpu:
        why = "the engine is a CPU build: HOTSEAT_CUDA=1 scripts/serve builds one that offloads"
        return meter.device().name, why
    return meter.device().name, None


class Bench:
    def __init__(
        self,
        files: dict[str, Path],
        gpu: str,
        device: str,
        rounds: int,
        counts: Sequence[int],
        max_tokens: int,
        n_ctx: int,
    ) -> None:
        self._files = files
        self._device = device
        self._rounds = rounds
        self._counts = counts
        self._max_tokens = max_tokens
        self._n_ctx = n_ctx
        self._slots = max(counts)
        self._evidence: Json = {"gpu": gpu, "rounds": rounds, "n_ctx": n_ctx, "slots": self._slots}

    async def run(self) -> None:
        smaller, larger = sorted(map(self._estimated, self._files.values()))
        budget = larger + smaller // 4  # room for either, whatever a CUDA context takes, and not for both
        timeout = aiohttp.ClientTimeout(total=1200)
        async with (
            hotseat(self._models_toml(), "--budget", str(budget)) as url,
            aiohttp.ClientSession(base_url=url, timeout=timeout) as session,
        ):
            await self._dry_runs_are_done(session)
            for model in self._files:
                await self._measure_loads(session, model)
            for model in self._files:
                await self._measure_decode(session, url, model)
            await self._measure_swaps(session, url)

    def _estimated(self, path: Path) -> int:
        spec = ModelSpec(name="m", path=str(path), n_ctx=self._n_ctx, slots=self._slots)
        return estimate(read_header(path), spec, offload=True).total_bytes

    def _models_toml(self) -> str:
        models = "".join(
            f'[models.{name}]\npath = "{path.absolute()}"\nn_ctx = {self._n_ctx}\nslots = {self._slots}\n'
            for name, path in self._files.items()
        )
        return f'[memory]\ndevice = "{self._device}"\nkv_store = false\n{models}'

    # --- loads and memory --------------------------------------------------------------------------

    async def _dry_runs_are_done(self, session: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(DRY_RUN_DEADLINE_S):
            while True:
                state = await _get(session, "/api/state")
                if all(m["dry_run_bytes"] is not None or m["dry_run_error"] for m in state["models"]):
                    return
                await asyncio.sleep(0.2)

    async def _measure_loads(self, session: aiohttp.ClientSession, model: str) -> None:
        file = self._files[model]
        await asyncio.to_thread(_read_through, file)
        seconds: list[float] = []
        measured: list[int] = []
        state: Json = {}
        for _ in range(self._rounds):
            await _post(session, "/api/unload")
            started_s = time.perf_counter()
            state = await _post(session, f"/api/models/{model}/load")
            seconds.append(time.perf_counter() - started_s)
            if state["measured_at_s"] is not None:
                measured.append(state["measured_bytes"])
        what = {"model": file.name, **self._evidence}
        size = file.stat().st_size
        _report("load_from_page_cache", seconds, "s", **what, file_bytes=size, **machine())
        for name, key in (
            ("measured_to_estimate", "estimated_bytes"),
            ("measured_to_dry_run", "dry_run_bytes"),
        ):
            if measured and state[key] is not None:
                ratios = [n_bytes / state[key] for n_bytes in measured]
                _report(
                    name,
                    ratios,
                    "ratio",
                    **what,
                    measured_bytes=int(median(measured)),
                    against_bytes=state[key],
                    of_which_cuda_context_bytes=CUDA_CONTEXT_BYTES,
                )
            else:
                why = "NVML did not see what the load took" if not measured else state["dry_run_error"]
                print(json.dumps({"figure": name, "skipped": why, **what}), flush=True)

    # --- speed -------------------------------------------------------------------------------------

    async def _measure_decode(self, session: aiohttp.ClientSession, url: str, model: str) -> None:
        source = prompts(random.Random(1), "")
        await closed_loop(url, model, [[next(source)] for _ in range(self._slots)], 8)  # load, warm caches
        for count in self._counts:
            rates: list[float] = []
            joules_per_token: list[float] = []
            for _ in range(self._rounds):
                before_j = await _energy_j(session)
                load = await closed_loop(url, model, _rounds_prompts(source, count), self._max_tokens)
                after_j = await _energy_j(session)
                rates.append(load.output_tokens_per_s)
                if before_j is not None and after_j is not None:
                    tokens = sum(answer.output_tokens for answer in load.answers)
                    joules_per_token.append((after_j - before_j) / tokens)
            what = {"model": self._files[model].name, "clients": count, **self._evidence}
            _report("decode_tokens_per_s", rates, "tok/s", **what)
            if joules_per_token:
                # The counter is read once a second, so short runs are off by a second's worth of power.
                _report("energy_per_output_token", joules_per_token, "J", **what, counter_period_s=1.0)
            else:
                skipped = {"figure": "energy_per_output_token", "skipped": "the driver counts no energy"}
                print(json.dumps(skipped | what), flush=True)

    async def _measure_swaps(self, session: aiohttp.ClientSession, url: str) -> None:
        """A short request to the model that is not loaded: swap, load and prefill until its first token."""
        source = prompts(random.Random(2), "")
        seconds: dict[str, list[float]] = {model: [] for model in self._files}
        swaps_before = (await _get(session, "/api/state"))["swaps"]
        for _ in range(self._rounds + 1):
            for model, found in seconds.items():
                load = await closed_loop(url, model, [[next(source)]], 2)
                found.append(load.answers[0].ttft_s)
        swaps = (await _get(session, "/api/state"))["swaps"] - swaps_before
        if swaps < 2 * self._rounds + 1:
            why = f"both models fit the budget at once: {swaps} swaps in {self._rounds + 1} rounds"
            print(json.dumps({"figure": "swap_to_first_token", "skipped": why}), flush=True)
            return
        for model, found in seconds.items():
            # The first round only brings both into the state that swaps start from.
            _report("swap_to_first_token", found[1:], "s", model=self._files[model].name, **self._evidence)


def _rounds_prompts(source: Iterator[str], clients: int) -> list[list[str]]:
    return [list(itertools.islice(source, 1)) for _ in range(clients)]


def _report(name: str, values: Sequence[float], unit: str, **evidence: object) -> None:
    figure(
        name,
        median(values),
        unit,
        lowest=round(min(values), 4),
        highest=round(max(values), 4),
        **evidence,
    )


def _read_through(file: Path) -> None:
    """Bring the file into the page cache."""
    with file.open("rb", buffering=0) as source:
        while source.read(READ_BYTES):
            pass


async def _energy_j(session: aiohttp.ClientSession) -> float | None:
    latest = (await _get(session, "/api/device?samples=0"))["latest"]
    return None if latest is None else latest["energy_j"]


async def _get(session: aiohttp.ClientSession, path: str) -> Json:
    async with session.get(path) as response:
        return await _answer(response)


async def _post(session: aiohttp.ClientSession, path: str) -> Json:
    async with session.post(path) as response:
        return await _answer(response)


async def _answer(response: aiohttp.ClientResponse) -> Json:
    if response.status != 200:
        raise RuntimeError(f"{response.url} answered {response.status}: {(await response.text())[:500]}")
    answer: Json = await response.json()
    return answer


if __name__ == "__main__":
    main()
