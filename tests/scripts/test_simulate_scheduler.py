"""scripts/simulate-scheduler, and the policies that it compares Hotseat's with."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner, Result

from benchkit.policies import OneModelAtATime, Order
from benchkit.simulate import Comparison, main, play
from benchkit.traffic import PATTERNS
from inference.request_trace import TracedRequest, read_trace
from inference.scheduler_events import SchedulerModel
from inference.simulated_machine import Machine
from inference.simulation import BROKEN, Simulation
from inference.simulation_script import Crash, Happening, LoadAsked, SimulatedModel, SimulationReport

A = SimulatedModel(SchedulerModel("a", 60, slots=2), load_s=2.0, unload_s=0.5)
B = SimulatedModel(SchedulerModel("b", 60, slots=2), load_s=2.0, unload_s=0.5)


def run(order: Order, script: list[Happening], *models: SimulatedModel) -> SimulationReport:
    chosen = models or (A, B)
    policy = OneModelAtATime([model.spec for model in chosen], order)
    return Simulation(policy, Machine(chosen, 100)).run(script)


def figures(result: Result) -> dict[str, float]:
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {line["figure"]: line["value"] for line in lines}


# --- policies ----------------------------------------------------------------------------------


def test_fifo_never_lets_a_later_request_pass_and_pays_with_a_swap_for_each_change() -> None:
    report = run("fifo", [TracedRequest(0.0, name, 1.0) for name in "aabba"])
    assert [stay.served for stay in report.stays] == [[0, 1], [2, 3], [4]]
    assert report.swaps == 2
    granted = [request.granted_s for request in report.requests]
    assert granted == sorted(granted, key=lambda s: s or 0.0)


def test_batching_serves_all_of_a_model_before_the_next() -> None:
    report = run("batching", [TracedRequest(0.0, name, 1.0) for name in "abababab"])
    assert [stay.served for stay in report.stays] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert report.swaps == 1


def test_batching_starves_the_other_model_while_clients_of_one_overlap() -> None:
    hammering = [TracedRequest(0.0, "a", s, client=c) for c, s in (("x", 1.0), ("y", 1.3)) for _ in range(50)]
    report = run("batching", [*hammering, TracedRequest(1.0, "b", 1.0)])
    b = next(request for request in report.requests if request.model == "b")
    assert b.wait_s is not None
    assert b.wait_s > 50.0


@pytest.mark.parametrize("order", ["fifo", "batching"])
def test_the_other_policies_survive_crashes_failed_loads_leavers_and_the_unknown(order: Order) -> None:
    broken = SimulatedModel(SchedulerModel("b", 60), load_ends=("broken",))
    script: list[Happening] = [
        *(TracedRequest(0.0, "a", 4.0), TracedRequest(0.5, "b", 1.0), TracedRequest(1.0, "nobody", 1.0)),
        TracedRequest(1.0, "b", 1.0, patience_s=1.0),
        *(Crash(3.0, "a"), TracedRequest(20.0, "a", 1.0), LoadAsked(30.0, "a")),
    ]
    report = run(order, script, A, broken)
    ends = ["crashed", "rejected", "rejected", "cancelled", "served", "rejected"]
    assert [request.outcome for request in report.requests] == ends
    error = report.requests[1].error
    assert error is not None
    assert error.message == BROKEN


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_every_policy_serves_every_request_of_every_pattern(pattern: str) -> None:
    requests = PATTERNS[pattern](["a", "b"], 40, Random(1))
    reports = play(requests, [A, B], 100, max_wait_s=10.0)
    assert {Comparison.of(report).unserved for report in reports.values()} == {0}
    assert {len(report.requests) for report in reports.values()} == {len(requests)}


def test_hotseat_lies_between_fifo_in_swaps_and_batching_in_the_longest_wait() -> None:
    backlog = play(PATTERNS["interleaved"](["a", "b"], 40, Random(1)), [A, B], 100, 10.0)
    of = {policy: Comparison.of(report) for policy, report in backlog.items()}
    assert of["hotseat"].makespan_s <= 0.4 * of["fifo"].makespan_s
    assert of["hotseat"].swaps < of["fifo"].swaps / 4
    hammered = play(PATTERNS["hammer"](["a", "b"], 100, Random(1)), [A, B], 100, 10.0)
    of = {policy: Comparison.of(report) for policy, report in hammered.items()}
    assert of["hotseat"].wait_max_s < of["batching"].wait_max_s / 2
    assert of["hotseat"].wait_max_s <= 10.0 + 1.5 + 0.5 + 2.0, "max_wait, a drain and a swap"


# --- the command -------------------------------------------------------------------------------


def test_it_prints_a_figure_a_line_and_a_table_and_the_same_ones_again() -> None:
    result = CliRunner().invoke(main, ["--requests", "20"])
    assert result.exit_code == 0, result.output
    shown = figures(result)
    wanted = "makespan_s wait_p50_s wait_p99_s wait_max_s swaps loads unserved".split()
    assert set(shown) == {f"simulate_{p}_{name}" for p in ("fifo", "batching", "hotseat") for name in wanted}
    assert [line.split()[0] for line in result.stderr.splitlines()] == [
        "policy",
        "fifo",
        "batching",
        "hotseat",
    ]
    assert figures(CliRunner().invoke(main, ["--requests", "20"])) == shown
    assert figures(CliRunner().invoke(main, ["--requests", "20", "--seed", "2"])) != shown


def test_a_trace_that_was_written_is_played_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    first = CliRunner().invoke(main, ["--pattern", "mixed", "--write", str(path)])
    assert len(read_trace(path.read_text().splitlines())) == 40
    second = CliRunner().invoke(main, ["--trace", str(path)])
    assert figures(first) == figures(second)


def test_recorded_requests_are_played(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    row = {
        "started_at": 5.0,
        "queue_s": 0.0,
        "load_s": 1.0,
        "total_s": 3.0,
        "status": 200,
        "upstream": "local",
    }
    rows = [{**row, "model": "main"}, {**row, "model": "small"}, {**row, "model": "main", "status": 503}]
    path.write_text(json.dumps({"requests": rows}))
    models = ["--model", "main:20GiB:load=4s", "--model", "small:3GiB:slots=4:idle=30s"]
    result = CliRunner().invoke(main, ["--records", str(path), *models])
    assert result.exit_code == 0, result.output
    assert "2 requests are played, 1 rows left out" in result.stderr
    assert figures(result)["simulate_hotseat_swaps"] == 0, "both fit"


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_is_drawn(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"waits{suffix}"
    result = CliRunner().invoke(main, ["--requests", "10", "--plot", str(path)])
    assert result.exit_code == 0, result.output
    assert path.stat().st_size > 5000
    text = path.read_bytes()
    assert (b"<svg" in text) if suffix == ".svg" else text.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "a"], "expected NAME:SIZE"),
        (["--model", "a:20GiB:speed=3"], "expected NAME:SIZE"),
        (["--model", "a:20G"], "expected bytes"),
        (["--model", "a:20GiB:load=soon"], "expected seconds"),
        (["--budget", "much"], "expected bytes"),
        (["--trace", "-", "--records", "-"], "exclude each other"),
        (["--trace", "-"], "the trace has no requests"),
        (["--records", "-"], "GET /api/requests"),
        (["--plot", "waits.gif"], "ends in .svg or .png"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, arguments, input="")
    assert result.exit_code != 0
    assert said in result.stderr.splitlines()[-1]


def test_a_trace_for_an_unknown_model_names_it_and_the_remedy() -> None:
    line = '{"at_s": 0, "model": "other", "service_s": 1}'
    result = CliRunner().invoke(main, ["--trace", "-"], input=line)
    assert result.exit_code == 1
    assert "asks for 'other': add --model other:SIZE" in result.stderr
