"""What a swap costs beyond the engine's own load.

Counted: everything from sending a request for B, while A is resident and idle, to B's first text, that is
the request itself, A's unload and its process' end, the start of B's process, its interpreter and imports,
the hand-over of the model's facts, and the grant; less what the engine itself needs from nothing to the
first text of an equal request (load, prefill and first token, called directly in a process that has
imported it and does nothing else, in the same round: a first prefill is slower than later ones, because
it touches every page of the weights for the first time). The scripted engine needs 0 s for all of it.

Of the overhead, interpreter and imports of the worker are measured apart, by processes that do nothing
else: they are the part that does not depend on the pool.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchkit.figures import figure, machine, median, note
from benchkit.servers import ROOT
from benchkit.swap_client import Answer, ask, operate, session
from benchkit.swap_models import REAL, Pace, Serving, Settings, real, real_paths, scripted

GOAL_MS = 150.0
TOKENS = 4
IDLE_S = 3.0
"""Pause before a swap, and before the engine is measured alone: longer than a model is kept for clients
that come straight back, and than the server takes to start a process for the next load."""

FIRST_TEXT_ALONE = """
import sys, time
from inference.chat import CompletionRequest, Sampling, TextDelta
from inference.engines.llama import load
from inference.messages import Generate
from inference.model_spec import ModelSpec
path, n_ctx, prompt, max_tokens = sys.argv[1:]
spec = ModelSpec(name="b", path=path, n_ctx=int(n_ctx), slots=1)
request = CompletionRequest(
    model="b", prompt=prompt, max_tokens=int(max_tokens), sampling=Sampling(temperature=0.0), ignore_eos=True
)
started_s = time.perf_counter()
engine = load(spec, lambda fraction: None)
loaded_s = time.perf_counter()
engine.submit(engine.prepare(Generate(request_id=1, request=request)))
while not any(isinstance(output.event, TextDelta) for output in engine.step()):
    pass
print(loaded_s - started_s, time.perf_counter() - started_s)
"""
IMPORTS = {
    "scripted": "import inference.worker, inference.engines.scripted",
    "llama-cpp-python": "import inference.worker, inference.engines.llama",
}


async def cold_swaps(rounds: int) -> None:
    await _measure("scripted", partial(scripted, Pace()), None, rounds)
    if (paths := real_paths()) is None:
        note("swap_cold_overhead with a real model: skipped, the demo models are not here")
        return
    await _measure("llama-cpp-python", partial(real, paths), paths["b"], rounds)


async def _measure(engine: str, serving: Serving, model: Path | None, rounds: int) -> None:
    cold: list[Answer] = []
    warm: list[Answer] = []
    loads_s: list[float] = []
    alone_s: list[float] = []
    imports_s: list[float] = []
    interpreters_s: list[float] = []
    serial = itertools.count()
    async with serving(Settings(slots=1)) as url, session() as client:
        await operate(client, url, "b", "load")
        for _ in range(rounds):
            await operate(client, url, "a", "load")
            await ask(client, url, "a", f"Item {next(serial)}: the sea is", TOKENS)
            await asyncio.sleep(IDLE_S)
            prompt = f"Item {next(serial)}: the sea is"
            cold.append(await ask(client, url, "b", prompt, TOKENS))
            warm.append(await ask(client, url, "b", f"Item {next(serial)}: the sea is", TOKENS))
            await asyncio.sleep(IDLE_S)
            load_s, first_s = (0.0, 0.0) if model is None else await _alone_s(model, prompt)
            loads_s.append(load_s)
            alone_s.append(first_s)
            interpreters_s.append(await _process_s("pass"))
            imports_s.append(await _process_s(IMPORTS[engine]))
            note(f"{engine}: cold {cold[-1].first_s * 1e3:.0f} ms, the engine alone {first_s * 1e3:.0f} ms")
    overheads_ms = overheads(cold, alone_s)
    figure(
        "swap_cold_overhead",
        median(overheads_ms),
        "ms",
        goal=GOAL_MS,
        engine=engine,
        rounds=rounds,
        lowest_ms=round(min(overheads_ms), 1),
        highest_ms=round(max(overheads_ms), 1),
        cold_first_text_ms=_ms([answer.first_s for answer in cold]),
        warm_first_text_ms=_ms([answer.first_s for answer in warm]),
        engine_load_ms=_ms(loads_s),
        engine_first_text_ms=_ms(alone_s),
        server_queue_ms=_ms([answer.queue_s for answer in cold]),
        server_load_ms=_ms([answer.load_s for answer in cold]),
        bare_interpreter_ms=_ms(interpreters_s),
        interpreter_and_imports_ms=_ms(imports_s),
        **machine(),
    )


def overheads(cold: Sequence[Answer], alone_s: Sequence[float]) -> list[float]:
    """In milliseconds, round by round."""
    return [1e3 * (swapped.first_s - engine_s) for swapped, engine_s in zip(cold, alone_s, strict=True)]


def _ms(seconds: Sequence[float]) -> float:
    return round(median(seconds) * 1e3, 1)


async def _alone_s(model: Path, prompt: str) -> tuple[float, float]:
    """Seconds that the engine needs to load, and to the first text of an answer."""
    printed = await _python(FIRST_TEXT_ALONE, str(model), str(REAL["b"][1]), prompt, str(TOKENS))
    load_s, first_s = printed.split()
    return float(load_s), float(first_s)


async def _process_s(source: str) -> float:
    started_s = time.perf_counter()
    await _python(source)
    return time.perf_counter() - started_s


async def _python(source: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", source, *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"python ended with {process.returncode}: {complaints.decode()[-500:]}")
    return output.decode()
