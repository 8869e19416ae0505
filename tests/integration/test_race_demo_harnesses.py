"""The whole loop in one command, offline: three real harnesses race on scripted models, and a judge that
prefers the wrong one while it sees each alone finds the right one side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.candidates import Candidate, clusters, fields_of
from bench.selection.record import read_selection
from tests.integration.harness_rig import LONG, require

pytestmark = [pytest.mark.harness, pytest.mark.timeout(300), *LONG]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("opencode", "codex", "claude"):
        require(name)
    folder = tmp_path_factory.mktemp("race")
    command = ["race", "fork-spec", "--plan", "race-demo", "--with", "right,subtle,failing"]
    options = ["--judge", "judge-perfect", "--job", str(folder / "job"), "--yes"]
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", "bench", *command, *options],
        cwd=ROOT,
        env={**os.environ, "HOTSEAT_HOME": str(folder / "home"), "HOTSEAT_SERVER": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "job"


@pytest.fixture(scope="module")
def raced(job: Path) -> dict[str, Candidate]:
    (field,) = fields_of(job)
    return {one.result.configuration: one for one in field.candidates}


def test_each_reads_the_specification_in_its_way(raced: dict[str, Candidate]) -> None:
    assert {name: one.result.reward for name, one in raced.items()} == {
        "right": 1.0,
        "subtle": 0.5,
        "failing": 0.0,
    }
    visible = {name: one.result.scores["visible"] for name, one in raced.items()}
    assert visible["right"] == visible["subtle"] == 1 > visible["failing"]
    readings = {
        name: {probe.reading for probe in one.behaviour.probes} if one.behaviour else set()
        for name, one in raced.items()
    }
    assert readings == {"right": {"restrict"}, "subtle": {"filter"}, "failing": {"restrict", "other"}}
    assert len(clusters(list(raced.values()))) == 3


def test_nothing_but_the_program_is_in_a_patch(raced: dict[str, Candidate]) -> None:
    for name, one in raced.items():
        files = [line for line in one.patch.splitlines() if line.startswith("diff --git")]
        assert files == ["diff --git a/expenses.py b/expenses.py"], name


def test_what_the_scripts_say_is_what_was_counted(raced: dict[str, Candidate]) -> None:
    spent = {name: (one.result.tokens.input, one.result.tokens.output) for name, one in raced.items()}
    assert spent == {"right": (4000, 320), "subtle": (4400, 240), "failing": (3600, 150)}


def test_side_by_side_the_judge_finds_what_it_missed_alone(job: Path) -> None:
    found = read_selection(job)
    assert found is not None
    (selection,) = found
    assert (selection.decision, selection.configuration) == ("chosen", "right")
    scores = {one.configuration: one.note.score for one in selection.standings if one.note}
    assert scores == {"right": 6, "subtle": 9}
