"""A whole job: every field of it judged by one judge, under one run, and kept in JOB/selection.json."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.candidates import Field, fields_of
from bench.errors import BenchError
from bench.proxy_client import ProxyClient
from bench.selection.judge import JudgeSettings, Seat, seated
from bench.selection.procedure import Selected, select_field
from bench.selection.record import Selection, SelectionFile, write_selection
from bench.selection.task_text import task_text
from bench.selection.verdict import Bias, bias_of


async def select_job(
    job: Path,
    judge: JudgeSettings,
    client: ProxyClient,
    *,
    task: str | None = None,
    watch: Callable[[Selection], None] | None = None,
) -> list[Selection]:
    """Of one `task`, or of all. What an earlier selection has left in the job is replaced. Raises BenchError
    for a job without candidates, a judge that does not exist, a server that is gone."""
    fields = await asyncio.to_thread(fields_of, job, task)
    if not fields:
        about = f" of the task {task!r}" if task else ""
        raise BenchError(f"{job}: no finished trial{about} of a configuration with a model: run it first")
    texts = [await asyncio.to_thread(task_text, job, field) for field in fields]
    async with seated(judge, client, f"select-{_plain(job.name)}") as seat:
        done: list[Selected] = []
        for field, text in zip(fields, texts, strict=True):
            done.append(await _timed(field, text, judge, seat))
            await asyncio.to_thread(write_selection, job, selection_file(done, judge.model, seat.run))
            if watch is not None:
                watch(done[-1].selection)
    return list(selection_file(done, judge.model, seat.run).selections)


async def _timed(field: Field, text: str, settings: JudgeSettings, seat: Seat) -> Selected:
    begun_s = time.monotonic()
    selected = await select_field(
        field,
        text,
        seat.judge,
        name=settings.model,
        run=seat.run,
        rewards_are_hidden=settings.rewards_are_hidden,
        seed=settings.seed,
    )
    cost = await seat.costs.of(selected.request_ids)
    asked = selected.selection.asked.model_copy(
        update={"cost_usd": cost, "seconds": time.monotonic() - begun_s}
    )
    return replace(selected, selection=selected.selection.model_copy(update={"asked": asked}))


def selection_file(done: Sequence[Selected], judge: str, run: str) -> SelectionFile:
    """Pure. What all fields together show of the judge decides over each: the choices of a biased one are
    ties."""
    bias = bias_of([one.ballots for one in done if one.ballots])
    return SelectionFile(
        judge=judge,
        run=run,
        bias=bias,
        selections=tuple(settled(one.selection, bias) for one in done),
    )


def settled(selection: Selection, bias: Bias) -> Selection:
    """What is left of a choice once the judge is known."""
    if bias.level != "biased" or selection.decision != "chosen":
        return selection
    why = (
        f"the judge is biased by position (see above); it would have chosen {selection.configuration},"
        f" {selection.why}"
    )
    return selection.model_copy(
        update={"decision": "tie", "trial": None, "configuration": None, "why": why, "reasons": ()}
    )


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
