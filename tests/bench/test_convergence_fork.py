"""The task with a fork in its specification: its own solutions, judged by its own checks, as candidates."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from bench.candidates import fields_of
from bench.convergence import Convergence, convergence
from bench.results import write_result
from bench.task import named_task, prepare
from bench.task_check import solve
from bench.verifier import verify
from tests.bench.report_results import result

SEED = 11


def judged(job: Path, **solutions: str) -> Convergence:
    """Configuration by configuration, as trials keep them."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name, solution in solutions.items():
                group.create_task(_trial(job, name, solution))

    asyncio.run(main())
    [field] = fields_of(job)
    return convergence(field)


async def _trial(job: Path, name: str, solution: str) -> None:
    task = named_task("fork-spec")
    root, folder = job / "work" / name, job / "trials" / name
    for place in (root / "app", root / "home", root / "logs", folder):
        place.mkdir(parents=True)
    prepare(task, root / "app", SEED)
    before, after = root / "before.py", root / "app" / "expenses.py"
    before.write_bytes(after.read_bytes())
    await solve(task, task.solutions()[solution], root, SEED)
    verdict = await verify(task, root / "app", folder, SEED)
    (folder / "diff.patch").write_text(await asyncio.to_thread(_diff, before, after))
    write_result(folder, result(name, task.label, trial=name, reward=verdict.reward, scores=verdict.scores))


def _diff(before: Path, after: Path) -> str:
    """Exit code 1: they differ."""
    words = ["git", "diff", "--no-index", str(before), str(after)]
    ended = subprocess.run(words, check=False, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    return ended.stdout


def test_three_readings_are_an_unclear_specification_and_the_fork_is_named(tmp_path: Path) -> None:
    found = judged(tmp_path, restricts="oracle", filters="filters", refuses="refuses")
    assert len(found.groups) == 3
    assert found.kind == "underspecified"
    assert "cut to the limit (restrict), left out (filter), or an error (refuse)?" in found.sentence
    assert sorted(side.reading for side in found.forks[0].sides) == ["filter", "refuse", "restrict"]


def test_the_same_misreading_by_all_is_a_misconception_though_visible_tests_pass(tmp_path: Path) -> None:
    found = judged(tmp_path, a="filters", b="filters", c="filters")
    assert [group.visible for group in found.groups] == [1.0]
    assert found.kind == "shared misconception"
    assert "it passes the visible checks and fails hidden ones" in found.sentence


def test_of_right_subtly_wrong_and_failing_those_that_pass_are_said_to_part(tmp_path: Path) -> None:
    found = judged(tmp_path, right="oracle", subtle="filters", failing="forgets")
    assert found.kind == "hard"
    assert "the checks pass right and subtle only" in found.sentence
    assert "Those that pass part as well. Ask: A claim is over the limit" in found.sentence
