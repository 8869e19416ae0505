"""Hotseat's scheduler beside two others, in virtual time: the same trace, the same models, one table.

FIFO serves strictly in order of arrival, one model at a time. Batching serves the loaded model until
nobody asks for it, then swaps. Hotseat is the real scheduler. For each of them: makespan, waits
(p50, p99, longest) and swaps, one JSON line a figure on stdout and a table on stderr.

A model is NAME:SIZE, and as much as is wanted of :slots=N :load=S :unload=S :priority=N :idle=S and
:pinned. A trace has one JSON object a line: {"at_s": 1.5, "model": "a", "service_s": 4.2}, with
"client" for requests of one client, which do not overlap. --records takes what
`GET /api/requests?limit=1000` of a running server answered.

Examples:
    scripts/simulate-scheduler --pattern interleaved --requests 40 --plot waits.svg
    scripts/simulate-scheduler --pattern hammer --max-wait 5
    scripts/simulate-scheduler --model big:20GiB:load=9s --model small:3GiB --budget 22GiB --trace t.jsonl
    curl -s "localhost:8080/api/requests?limit=1000" > rows.json
    scripts/simulate-scheduler --records rows.json --write t.jsonl --model main:20GiB --model small:3GiB
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import IO, Any, TypeVar

import click

from benchkit.figures import figure, note, percentile
from benchkit.policies import OneModelAtATime
from benchkit.simulation_plot import draw
from benchkit.traffic import PATTERNS
from inference.errors import ConfigError
from inference.request_trace import MAX_LINE_BYTES, TracedRequest, from_records, read_trace, write_trace
from inference.scheduler import SwapScheduler
from inference.scheduler_events import SchedulerModel, SchedulerSettings
from inference.simulated_machine import Machine
from inference.simulation import Policy, Simulation
from inference.simulation_script import SimulatedModel, SimulationReport
from proxy.units import format_bytes, parse_bytes, parse_duration_s

T = TypeVar("T")

DEFAULT_MODELS = ("a:20GiB:slots=2:load=3s:unload=0.5s", "b:20GiB:slots=2:load=3s:unload=0.5s")
DEFAULT_BUDGET = "30GiB"
DEFAULT_LOAD_S = 3.0
DEFAULT_UNLOAD_S = 0.5
MAX_GENERATED = 20_000
MAX_RECORDS_BYTES = 64 * 2**20
LONGEST_QUEUE = 1_000_000
"""Nobody is refused for a full queue: the policies are compared on the same requests."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one policy made of the trace; times in seconds."""

    makespan_s: float
    wait_p50_s: float
    wait_p99_s: float
    wait_max_s: float
    swaps: int
    loads: int
    unserved: int

    @classmethod
    def of(cls, report: SimulationReport) -> Comparison:
        waits_s = report.waits_s or [0.0]
        return cls(
            makespan_s=report.makespan_s,
            wait_p50_s=percentile(waits_s, 0.5),
            wait_p99_s=percentile(waits_s, 0.99),
            wait_max_s=max(waits_s),
            swaps=report.swaps,
            loads=report.loads,
            unserved=sum(request.outcome != "served" for request in report.requests),
        )


@click.command(help=(__doc__ or "").replace("Examples:", "\b\nExamples:"))
@click.option("--pattern", type=click.Choice(list(PATTERNS)), default="interleaved", show_default=True)
@click.option("--requests", "n", type=click.IntRange(1, MAX_GENERATED), default=40, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the generated trace.")
@click.option("--trace", type=click.File("rb"), help="Play this trace instead of a pattern.")
@click.option("--records", type=click.File("rb"), help="Play what GET /api/requests answered.")
@click.option("--write", type=click.File("w"), help="Write the trace that is played.")
@click.option("--model", "models", multiple=True, default=DEFAULT_MODELS, show_default=True)
@click.option("--budget", default=DEFAULT_BUDGET, show_default=True)
@click.option(
    "--max-wait", "max_wait_s", default=10.0, show_default=True, help="Of Hotseat's scheduler, seconds."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="FILE.svg or FILE.png")
def main(
    pattern: str,
    n: int,
    seed: int,
    trace: IO[bytes] | None,
    records: IO[bytes] | None,
    write: IO[str] | None,
    models: Sequence[str],
    budget: str,
    max_wait_s: float,
    plot: Path | None,
) -> None:
    simulated = [_model(text) for text in models]
    budget_bytes = _number(budget, "--budget", parse_bytes)
    requests = _requests(pattern, n, seed, trace, records, [model.name for model in simulated])
    _demand_known(requests, simulated)
    if write is not None:
        write.writelines(f"{line}\n" for line in write_trace(requests))
    reports = play(requests, simulated, budget_bytes, max_wait_s)
    for policy, report in reports.items():
        _print(policy, Comparison.of(report), len(report.requests))
    _table(reports)
    if plot is not None:
        draw(plot, reports, [model.name for model in simulated])


def play(
    requests: Sequence[TracedRequest],
    models: Sequence[SimulatedModel],
    budget_bytes: int,
    max_wait_s: float,
) -> dict[str, SimulationReport]:
    """The same requests under each policy, by its name."""
    specs = [model.spec for model in models]
    settings = SchedulerSettings(
        budget_bytes,
        max_queue_per_model=LONGEST_QUEUE,
        max_queue_total=LONGEST_QUEUE,
        max_wait_s=max_wait_s,
    )
    policies: dict[str, Policy] = {
        "fifo": OneModelAtATime(specs, "fifo"),
        "batching": OneModelAtATime(specs, "batching"),
        "hotseat": SwapScheduler(specs, settings),
    }
    return {
        name: Simulation(policy, Machine(models, budget_bytes)).run(requests)
        for name, policy in policies.items()
    }


# --- what is played ----------------------------------------------------------------------------


def _requests(
    pattern: str,
    n: int,
    seed: int,
    trace: IO[bytes] | None,
    records: IO[bytes] | None,
    names: Sequence[str],
) -> Sequence[TracedRequest]:
    if trace is not None and records is not None:
        raise click.UsageError("--trace and --records exclude each other: give one of them")
    try:
        if trace is not None:
            return read_trace(iter(lambda: trace.readline(MAX_LINE_BYTES + 1), b""))
        if records is not None:
            recorded = from_records(_rows(records))
            note(f"{len(recorded.requests)} requests are played, {recorded.n_skipped} rows left out")
            return recorded.requests
    except ConfigError as error:
        raise click.ClickException(error.message) from error
    return PATTERNS[pattern](names, n, Random(seed))


def _rows(records: IO[bytes]) -> list[dict[str, Any]]:
    expected = 'expected {"requests": [...]} as GET /api/requests answers'
    content = records.read(MAX_RECORDS_BYTES + 1)
    if len(content) > MAX_RECORDS_BYTES:
        raise ConfigError(f"records: more than {format_bytes(MAX_RECORDS_BYTES)}: {expected}")
    try:
        rows = json.loads(content)["requests"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"records: {error!r}: {expected}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"records: {expected}")
    return rows


def _model(text: str) -> SimulatedModel:
    name, size, *rest = [*text.split(":"), ""] if ":" in text else [text, "", ""]
    options = dict(part.partition("=")[::2] for part in rest if part)
    unknown = options.keys() - {"slots", "load", "unload", "priority", "idle", "pinned"}
    if not name or not size or unknown:
        raise click.BadParameter(
            f"{text!r}: expected NAME:SIZE with :slots=N :load=S :unload=S :priority=N :idle=S :pinned, "
            f"like {DEFAULT_MODELS[0]!r}",
            param_hint="--model",
        )

    def seconds(option: str, default_s: float) -> float:
        return _number(options[option], "--model", parse_duration_s) if option in options else default_s

    load_s = seconds("load", DEFAULT_LOAD_S)
    spec = SchedulerModel(
        name,
        _number(size, "--model", parse_bytes),
        slots=_number(options.get("slots", "1"), "--model", int),
        pinned="pinned" in options,
        priority=_number(options.get("priority", "0"), "--model", int),
        idle_unload_s=seconds("idle", 0.0) if "idle" in options else None,
        reload_s=load_s,
    )
    return SimulatedModel(spec, load_s=load_s, unload_s=seconds("unload", DEFAULT_UNLOAD_S))


def _number(text: str, option: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint=option) from error


def _demand_known(requests: Sequence[TracedRequest], models: Sequence[SimulatedModel]) -> None:
    missing = sorted({request.model for request in requests} - {model.name for model in models})
    if not requests:
        raise click.ClickException("the trace has no requests: nothing to simulate")
    if missing:
        raise click.ClickException(
            f"the trace asks for {', '.join(map(repr, missing))}: add --model {missing[0]}:SIZE:load=S"
        )


# --- what came of it ---------------------------------------------------------------------------


def _print(policy: str, comparison: Comparison, n: int) -> None:
    for field in fields(comparison):
        unit = "s" if field.name.endswith("_s") else "requests" if field.name == "unserved" else "times"
        figure(f"simulate_{policy}_{field.name}", getattr(comparison, field.name), unit, requests=n)


def _table(reports: dict[str, SimulationReport]) -> None:
    names = [field.name for field in fields(Comparison)]
    note(" ".join([f"{'policy':10}", *(f"{name:>11}" for name in names)]))
    for policy, report in reports.items():
        row = Comparison.of(report)
        note(" ".join([f"{policy:10}", *(f"{getattr(row, name):11.4g}" for name in names)]))


if __name__ == "__main__":
    main()
