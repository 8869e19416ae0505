"""Exports: what is in them, and that Harbor itself takes them. For the latter a Python with the `harbor`
package is needed (3.12 or later): this one, or the one that HOTSEAT_HARBOR_PYTHON names."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli import bench
from bench.errors import TaskError
from bench.evidence import Row
from bench.exports.atif import Said, trajectory
from bench.exports.harbor import fixed_dockerfile, fixed_task_file, job_result, trial_result
from bench.results import Manifest, NodeTotals, Tokens, TrialResult, write_result
from bench.task import named_task

BEGAN = 1_800_000_000.0


def row(number: int, role: str = "main", node: str = "root", parent: str = "", **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "request_id": f"r{number}",
        "started_at": BEGAN + number,
        "ended_at": BEGAN + number + 0.5,
        "role": role,
        "node": node,
        "parent_node": parent,
        "model": "big" if role == "main" else "small",
        "upstream": "far",
        "status": 200,
        "input_tokens": 100,
        "cached_tokens": 60,
        "output_tokens": 10,
        "cost_usd": Decimal("0.000000125"),
    }
    return Row(**(fields | changes))


ROWS = [
    row(0, tool_calls=1),
    row(1, "auxiliary"),
    row(2, tool_calls=2),
    row(3, "subagent", "one", "root"),
    row(4, "subagent", "two", "root"),
    row(5, "subagent", "inner", "one"),
    row(6, status=503, code="provider_overloaded", input_tokens=0, cached_tokens=0, output_tokens=0),
    row(7),
    row(8, attempt=0, status=402),
]


def result(**changes: Any) -> TrialResult:
    node = NodeTotals(
        node="root",
        parent_node="",
        role="main",
        model="big",
        upstream="far",
        requests=3,
        failed_requests=1,
        tokens=Tokens(input=300, cached=180, output=30),
        tool_calls=3,
        cost_usd=Decimal("0.0000005"),
        first_s=0.0,
        last_s=7.5,
        busy_s=2.0,
        waited_s=0.0,
    )
    fields: dict[str, Any] = {
        "job": "friday",
        "trial": "smoke-a-1",
        "run": "run-1",
        "task": "smoke",
        "task_digest": named_task("smoke").digest,
        "configuration": "a",
        "attempt": 1,
        "seed": 5,
        "policy": "encouraged",
        "started_at": BEGAN,
        "outcome": "scored",
        "why_ended": "exited",
        "validity": "VALID",
        "reward": 0.5,
        "scores": {"tests": 0.5},
        "wall_s": 8.0,
        "waited_s": 0.5,
        "overhead_s": 0.25,
        "verifier_s": 0.125,
        "nodes": (node, node.model_copy(update={"node": "one", "role": "subagent", "model": "small"})),
        "delegations": 3,
        "cost_usd": Decimal("0.000001"),
        "manifest": Manifest(hotseat="0", harness="codex", harness_version="0.169.0"),
    }
    return TrialResult(**(fields | changes))


MIGRATE = named_task("migrate-30", {"n": 15})
NOP = Manifest(hotseat="0", harness="nop", harness_version="")
INVALID: dict[str, Any] = {"validity": "INVALID", "invalid_because": ("nobody answered",), "reward": None}
RESULTS = [
    result(),
    result(
        trial="migrate-a-2", task=MIGRATE.label, task_digest=MIGRATE.digest, attempt=2, seed=7, reward=1.0
    ),
    result(trial="gone-a-1", task="gone", outcome="timed-out", reward=0.0, error="no end", cost_usd=None),
    result(trial="nop-1", configuration="nop", nodes=(), manifest=NOP),
    result(trial="broken-1", outcome="infrastructure", **INVALID),
]


def job(folder: Path) -> Path:
    made = folder / "friday"
    for each in RESULTS:
        trial = made / "trials" / each.trial
        (trial / "verifier").mkdir(parents=True)
        (trial / "verifier" / "reward.json").write_text('{"reward": 0.5}')
        if each.nodes:
            lines = [found.model_dump_json() for found in ROWS]
            (trial / "rows.jsonl").write_text("\n".join(lines) + "\n")
        said = {"type": "item.completed", "item": {"id": "i", "type": "agent_message", "text": "All done."}}
        (trial / "build.stdout").write_text(json.dumps(said) + "\n")
        write_result(trial, each)
    return made


def exported(folder: Path, kind: str) -> tuple[Path, str]:
    out = folder / kind
    done = CliRunner().invoke(bench, ["export", kind, str(job(folder)), "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    return out, done.stderr


# --- trajectories --------------------------------------------------------------------------------


def test_every_request_is_a_step_of_whoever_made_it() -> None:
    made = trajectory(result(), ROWS, [Said("Do it.", "All done.")])
    steps = made["steps"]
    assert [step["step_id"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step["message"] for step in steps] == ["Do it.", "", "", "", "", "All done."]
    assert [step["extra"]["request_id"] for step in steps[1:]] == ["r0", "r1", "r2", "r6", "r7"]
    assert steps[4]["extra"]["status"] == 503
    one, two = made["subagent_trajectories"]
    assert (one["trajectory_id"], two["trajectory_id"]) == ("one", "two")
    [inner] = one["subagent_trajectories"]
    assert (inner["trajectory_id"], inner["agent"]["model_name"]) == ("inner", "small")
    assert "subagent_trajectories" not in two


def test_a_sub_agent_is_referred_to_by_the_step_before_it() -> None:
    steps = trajectory(result(), ROWS, [Said("Do it.")])["steps"]
    referring = {step["step_id"]: step["observation"]["results"] for step in steps if "observation" in step}
    [(number, results)] = referring.items()
    assert number == 4  # r2
    named = [each["subagent_trajectory_ref"][0]["trajectory_id"] for each in results]
    assert named == ["one", "two"]


def test_tokens_are_of_its_own_steps_and_money_is_all_of_it() -> None:
    made = trajectory(result(), ROWS, [])["final_metrics"]
    assert (made["total_prompt_tokens"], made["total_completion_tokens"], made["total_cached_tokens"]) == (
        400,
        40,
        240,
    )
    assert made["extra"]["exact_cost_usd"] == "0.000001000"
    assert made["total_cost_usd"] == pytest.approx(1e-6)


def test_a_price_that_is_not_known_is_not_said() -> None:
    made = trajectory(result(), [row(0, cost_usd=None)], [])
    assert "total_cost_usd" not in made["final_metrics"]
    assert "cost_usd" not in made["steps"][1]["metrics"]


def test_sub_agents_that_are_each_others_parents_are_written_once() -> None:
    circle = [
        row(0),
        row(1, "subagent", "a", "b"),
        row(2, "subagent", "b", "a"),
        row(3, "subagent", "c", "c"),
    ]
    made = trajectory(result(), circle, [])
    outer = made["subagent_trajectories"]
    assert [each["trajectory_id"] for each in outer] == ["a", "c"]
    assert [each["trajectory_id"] for each in outer[0]["subagent_trajectories"]] == ["b"]


# --- Harbor --------------------------------------------------------------------------------------


def test_a_trial_says_what_it_cost_and_was_worth() -> None:
    made = trial_result(result(), "smoke-seed5", "/out")
    assert made["verifier_result"] == {"rewards": {"tests": 0.5, "reward": 0.5}}
    assert (made["agent_result"]["n_input_tokens"], made["agent_result"]["n_cache_tokens"]) == (600, 360)
    assert set(made["agent_result"]["model_usage"]) == {"big", "small"}
    assert "exception_info" not in made
    broken = trial_result(RESULTS[4], "smoke-seed5", "/out")
    assert broken["exception_info"]["exception_message"] == "nobody answered"
    assert "verifier_result" not in broken


def test_a_job_adds_up() -> None:
    stats = job_result("friday", RESULTS)["stats"]
    assert (stats["n_completed_trials"], stats["n_errored_trials"]) == (5, 2)
    assert stats["evals"]["codex__big__friday"]["reward_stats"] == {
        "reward": {"0.5": ["smoke-a-1"], "1.0": ["migrate-a-2"], "0.0": ["gone-a-1"]}
    }
    assert stats["evals"]["codex__big__friday"]["metrics"] == [{"mean": 0.5}]
    assert set(stats["evals"]) == {"codex__big__friday", "nop__friday"}


def test_a_seed_and_parameters_are_written_into_a_task() -> None:
    dockerfile = "FROM x\nRUN python3 -I /tmp/generate.py --seed 1 --n=5 --out /app\nRUN echo --seed 1\n"
    assert fixed_dockerfile(dockerfile, 7, {"n": 15}) == (
        "FROM x\nRUN python3 -I /tmp/generate.py --seed 7 --n=15 --out /app\nRUN echo --seed 1\n"
    )
    with pytest.raises(TaskError, match="--k once"):
        fixed_dockerfile(dockerfile, 7, {"k": 1})
    assert fixed_task_file("[agent]\n", 7, {"n": 15}).endswith(
        '[verifier.env]\nHOTSEAT_SEED = "7"\nHOTSEAT_N = "15"\n'
    )
    with pytest.raises(TaskError, match="of its own"):
        fixed_task_file("[verifier.env]\n", 7, {})


# --- on disk -------------------------------------------------------------------------------------


def test_what_an_export_is_made_of(tmp_path: Path) -> None:
    out, notes = exported(tmp_path, "harbor")
    assert sorted(path.name for path in (out / "tasks").iterdir()) == ["migrate-30-n15-seed7", "smoke-seed5"]
    task = out / "tasks" / "migrate-30-n15-seed7"
    assert "--seed 7 --n 15 " in (task / "environment" / "Dockerfile").read_text()
    assert not (task / "broken").exists()
    steps = json.loads((out / "smoke-a-1" / "agent" / "trajectory.json").read_text())["steps"]
    assert steps[0]["message"] == named_task("smoke").phases[0].instruction
    assert steps[-1]["message"] == "All done."
    assert (out / "smoke-a-1" / "verifier" / "reward.json").exists()
    assert "gone: its files are not here as they were" in notes


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    made = job(tmp_path)
    for kind in ("harbor", "atif"):
        done = CliRunner().invoke(bench, ["export", kind, str(made), "--out", str(made)])
        assert (done.exit_code, "not empty" in done.stderr) == (1, True)
    done = CliRunner().invoke(bench, ["export", "atif", str(tmp_path), "--out", str(tmp_path / "new")])
    assert (done.exit_code, "no finished trial" in done.stderr) == (1, True)


_CHECK = """
import json, sys
from pathlib import Path
from harbor.models.job.config import JobConfig
from harbor.models.job.result import JobResult, JobStats
from harbor.models.task.task import Task
from harbor.models.trial.config import TrialConfig
from harbor.models.trial.result import TrialResult
from harbor.utils.trajectory_validator import TrajectoryValidator

out, atif = map(Path, sys.argv[1:])
config = JobConfig.model_validate_json((out / "config.json").read_text())
result = JobResult.model_validate_json((out / "result.json").read_text())
trials = [path.parent for path in sorted(out.glob("*/result.json"))]
found = [TrialResult.model_validate_json((trial / "result.json").read_text()) for trial in trials]
for trial in trials:
    TrialConfig.model_validate_json((trial / "config.json").read_text())
theirs = JobStats.from_trial_results(found).model_dump()
ours = result.stats.model_dump()
for stats in (theirs, ours):
    for one in stats["evals"].values():
        one.pop("metrics")
        one["reward_stats"] = {"reward": one["reward_stats"].get("reward", {})}
for path in [*out.glob("*/agent/trajectory.json"), *atif.glob("*.json")]:
    validator = TrajectoryValidator()
    assert validator.validate(path), (path, validator.errors)
tasks = [Task(path) for path in sorted((out / "tasks").iterdir())]
assert theirs == ours, (theirs, ours)
print(json.dumps({
    "tasks": [task.name for task in tasks],
    "env": [task.config.verifier.env for task in tasks],
    "agents": [agent.name for agent in config.agents],
    "trials": len(found),
}))
"""


def _harbor_python() -> str | None:
    if named := os.environ.get("HOTSEAT_HARBOR_PYTHON"):
        return named
    return sys.executable if importlib.util.find_spec("harbor") else None


@pytest.mark.skipif(
    _harbor_python() is None,
    reason="needs the harbor package, in a Python 3.12 that HOTSEAT_HARBOR_PYTHON names",
)
def test_harbor_takes_it_and_counts_as_we_do(tmp_path: Path) -> None:
    out, _ = exported(tmp_path, "harbor")
    atif, _ = exported(tmp_path / "again", "atif")
    python = _harbor_python()
    assert python is not None
    done = subprocess.run(
        [python, "-c", _CHECK, str(out), str(atif)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == {
        "tasks": ["migrate-30-n15-seed7", "smoke-seed5"],
        "env": [{"HOTSEAT_SEED": "7", "HOTSEAT_N": "15"}, {"HOTSEAT_SEED": "5"}],
        "agents": ["codex", "nop"],
        "trials": 5,
    }
