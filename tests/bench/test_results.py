"""Results: written whole, read strictly."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.results import Manifest, NodeTotals, Tokens, TrialResult, read_result, results_of, write_result


def result(**changes: Any) -> TrialResult:
    node = NodeTotals(
        node="a",
        parent_node="",
        role="main",
        model="big",
        upstream="local",
        requests=2,
        failed_requests=0,
        tokens=Tokens(input=100, cached=60, output=10, reasoning=4),
        tool_calls=1,
        cost_usd=Decimal("0.000000125"),
        first_s=0.5,
        last_s=3.0,
        busy_s=2.0,
        waited_s=0.25,
    )
    given: dict[str, Any] = {
        "job": "j",
        "trial": "smoke-a-1",
        "run": "r",
        "task": "smoke",
        "task_digest": "0" * 64,
        "configuration": "a",
        "attempt": 1,
        "seed": 5,
        "policy": "native",
        "started_at": 1.0,
        "outcome": "scored",
        "why_ended": "exited",
        "validity": "VALID",
        "reward": 0.5,
        "wall_s": 4.0,
        "waited_s": 0.5,
        "overhead_s": 0.2,
        "verifier_s": 0.1,
        "nodes": (node, node.model_copy(update={"node": "b", "role": "subagent"})),
        "cost_usd": Decimal("0.00000025"),
        "manifest": Manifest(hotseat="0", harness="codex", harness_version="1"),
    }
    return TrialResult(**(given | changes))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = result()
    write_result(tmp_path, written)
    assert read_result(tmp_path / "result.json") == written
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (written.tokens.input, written.tokens.output, written.active_s) == (200, 20, 3.5)


def test_cents_stay_exact(tmp_path: Path) -> None:
    exact = Decimal("0.1234567890123456789")
    write_result(tmp_path, result(cost_usd=exact))
    assert read_result(tmp_path / "result.json").cost_usd == exact


def test_only_valid_results_with_a_reward_count() -> None:
    assert result().counts
    assert not result(validity="INVALID", invalid_because=("x",)).counts
    assert not result(reward=None, outcome="verifier-failed").counts


def test_a_folder_without_a_result_never_finished(tmp_path: Path) -> None:
    for name in ("b", "a", "unfinished"):
        (tmp_path / "trials" / name).mkdir(parents=True)
    write_result(tmp_path / "trials" / "b", result(trial="b"))
    write_result(tmp_path / "trials" / "a", result(trial="a"))
    (tmp_path / "trials" / "unfinished" / ".result.json").write_text("{")
    assert [found.trial for found in results_of(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2, and this version of Hotseat reads 1"),
        ({"reward": 1.5}, "reward: .* less than or equal to 1"),
        ({"extra": 1}, "extra: Extra inputs"),
        ({"nodes": [{"node": "x"}]}, "nodes.0"),
    ],
)
def test_a_result_that_is_not_one_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(result().model_dump_json()) | change))
    with pytest.raises(BenchError, match=said):
        read_result(path)


def test_no_result_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="No such file"):
        read_result(tmp_path / "result.json")
    (tmp_path / "result.json").write_text("[")
    with pytest.raises(BenchError, match="not JSON"):
        read_result(tmp_path / "result.json")
