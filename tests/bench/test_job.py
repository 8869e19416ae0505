"""A job goes through its cells once, however often it is begun."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.job import MAX_FAILURES_IN_A_ROW, opened, run_cells
from bench.plan import Cell, load_plan
from bench.progress import Progress, ticking
from bench.results import TrialResult, results_of
from bench.trial import Ground
from bench.watch import Caps

ROOT = Path(__file__).parents[2]
PLAN = """
name = "plain"
seed = 3
attempts = {attempts}
parallel = 2
tasks = ["smoke"]
[configurations.oracle]
harness = "oracle"
[configurations.nop]
harness = "nop"
"""


def plan_file(folder: Path, attempts: int = 2, text: str = PLAN) -> Path:
    path = folder / "plain.toml"
    path.write_text(text.format(attempts=attempts))
    return path


class Seen:
    def __init__(self) -> None:
        self.order: list[str] = []
        self.running = self.most = 0

    def began(self, cell: Cell) -> None:
        self.order.append(cell.trial)
        self.running += 1
        self.most = max(self.most, self.running)

    def ended(self, cell: Cell, result: TrialResult) -> None:
        self.running -= 1


def ground_in(folder: Path) -> Ground:
    return Ground("job", folder, Caps(60.0), "0.1.0", {})


def test_cells_run_in_the_plans_order_as_many_at_once_as_it_says(tmp_path: Path) -> None:
    plan = load_plan(plan_file(tmp_path))
    with opened(tmp_path / "job", plan, {}, plan.cells()) as job:
        seen = Seen()
        asyncio.run(run_cells(job.cells, ground_in(job.trials), 2, seen))
        assert seen.order == [cell.trial for cell in plan.cells()]
        assert seen.most == 2
        assert set(job.finished()) == set(seen.order)
    about = json.loads((tmp_path / "job" / "job.json").read_text())
    assert about["cells"] == seen.order
    assert (tmp_path / "job" / "plan.toml").read_text() == plan.text


def test_a_folder_has_one_plan_and_one_process(tmp_path: Path) -> None:
    plan = load_plan(plan_file(tmp_path))
    folder = tmp_path / "job"
    with (
        opened(folder, plan, {}, plan.cells()),
        pytest.raises(BenchError, match="another `hotseat bench run`"),
        opened(folder, plan, {}, plan.cells()),
    ):
        pass
    with pytest.raises(BenchError, match="--map"), opened(folder, plan, {"a": "b"}, plan.cells()):
        pass
    other = replace(plan, text=plan.text + "# changed\n")
    with pytest.raises(BenchError, match="another plan"), opened(folder, other, {}, plan.cells()):
        pass
    more = replace(plan, attempts=3)
    with opened(folder, more, {}, more.cells()) as job:
        about = json.loads((folder / "job.json").read_text())
        assert (len(job.cells), len(about["cells"]), len(about["started_at"])) == (6, 6, 2)
    (folder / "job.json").write_text("{}")
    with pytest.raises(BenchError, match="cannot be read"), opened(folder, plan, {}, plan.cells()):
        pass


def test_a_result_of_another_version_of_the_task_is_not_taken_for_this_one(tmp_path: Path) -> None:
    plan = load_plan(plan_file(tmp_path, attempts=1))
    with opened(tmp_path / "job", plan, {}, plan.cells()) as job:
        asyncio.run(run_cells(job.cells[:1], ground_in(job.trials), 1, Seen()))
        changed = replace(job.cells[0], task=replace(job.cells[0].task, digest="0" * 64))
        with pytest.raises(BenchError, match="another version"):
            replace(job, cells=(changed,)).finished()


def test_what_could_not_be_run_is_finished_unless_it_is_to_be_done_again(tmp_path: Path) -> None:
    plan = load_plan(plan_file(tmp_path, attempts=1))
    cells = plan.cells()
    cells[0] = replace(cells[0], task=replace(cells[0].task, requires=("no-such-program",)))
    with opened(tmp_path / "job", plan, {}, cells) as job:
        asyncio.run(run_cells(job.cells, ground_in(job.trials), 1, Seen()))
        assert set(job.finished()) == {cell.trial for cell in cells}
        assert set(job.finished(redoes_infrastructure=True)) == {cells[1].trial}


def test_a_job_that_can_run_nothing_stops_and_says_why(tmp_path: Path) -> None:
    plan = load_plan(plan_file(tmp_path, attempts=20))
    cells = [replace(cell, task=replace(cell.task, requires=("no-such-program",))) for cell in plan.cells()]
    seen = Seen()
    with pytest.raises(BenchError, match=r"no-such-program.*--redo-infrastructure"):
        asyncio.run(run_cells(cells, ground_in(tmp_path / "trials"), 1, seen))
    assert len(seen.order) == MAX_FAILURES_IN_A_ROW


def test_progress_is_plain_lines_and_safe_on_a_terminal(tmp_path: Path) -> None:
    plan = load_plan(plan_file(tmp_path, attempts=1))
    cell = plan.cells()[0]
    clock: Iterator[float] = iter([0.0, 0.0, 5.0, 5.0, 5.0, 5.0, 5.0])
    stream = io.StringIO()
    progress = Progress(stream, 3, 1, moves=False, clock=lambda: next(clock))
    asyncio.run(run_cells([cell], ground_in(tmp_path / "trials"), 1, Seen()))
    (result,) = results_of(tmp_path)
    progress.began(cell)
    progress.ended(cell, result.model_copy(update={"error": "red\x1b[31m"}))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith(f"[2/3] smoke {cell.configuration.name} #1: reward ")
    assert line.endswith("red [31m; about 5 s left")
    assert "\x1b" not in line


def test_what_moves_is_shown_again_while_nothing_ends(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        shown = 0

        def write(self, text: str) -> int:
            self.shown += 1
            if self.shown == 3:
                again.set()
            return super().write(text)

    async def main() -> None:
        async with ticking(progress, every_s=0.001):
            await again.wait()
        assert [task for task in asyncio.all_tasks() if not task.cancelling()] == [asyncio.current_task()]

    again = asyncio.Event()
    stream = Terminal()
    progress = Progress(stream, 1, 0, moves=True, clock=lambda: 0.0)
    progress.began(load_plan(plan_file(tmp_path, attempts=1)).cells()[0])
    asyncio.run(main())
    assert stream.getvalue().count("smoke-") == stream.shown


# --- the command ---------------------------------------------------------------------------------


def command(plan: Path, job: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "proxy.cli", "bench", "run", str(plan), "--job", str(job), *options]


def finish(plan: Path, job: Path, *options: str) -> dict[str, int]:
    done = subprocess.run(
        command(plan, job, "--json", "--quiet", *options),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, int] = json.loads(done.stdout)
    return said


def test_a_killed_run_goes_on_without_repeating_what_is_finished(tmp_path: Path) -> None:
    plan, job = plan_file(tmp_path, attempts=3), tmp_path / "job"
    running = subprocess.Popen(command(plan, job), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("[2/6]"):
            break
    running.kill()
    running.communicate()
    before = stamps(job)
    assert 2 <= len(before) < 6
    left = [folder for folder in (job / "trials").iterdir() if not (folder / "result.json").exists()]
    said = finish(plan, job)
    assert (said["trials"], said["made_now"], said["invalid"]) == (6, 6 - len(before), 0)
    after = stamps(job)
    assert {name: after[name] for name in before} == before
    assert len(after) == 6
    assert all((folder / "result.json").exists() for folder in left)
    rewards = {(result.configuration, result.reward) for result in results_of(job)}
    assert rewards == {("oracle", 1.0), ("nop", 0.0)}
    assert finish(plan, job)["made_now"] == 0


def stamps(job: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (job / "trials").glob("*/result.json")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_leaves_nothing_half_done(
    tmp_path: Path, number: signal.Signals
) -> None:
    slow = PLAN.replace('tasks = ["smoke"]', 'tasks = ["./slow"]')
    (tmp_path / "scratch").mkdir()
    write_slow_task(tmp_path / "slow")
    plan, job = plan_file(tmp_path, 1, slow), tmp_path / "job"
    running = subprocess.Popen(
        command(plan, job, "--only", "oracle"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path / "scratch")},
        stderr=subprocess.PIPE,
        text=True,
    )
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    begun.read_text()  # until the oracle is at work
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert f"go on with the same command and --job {job}" in said
    assert stamps(job) == {}
    assert list((tmp_path / "scratch").iterdir()) == []


def write_slow_task(folder: Path) -> None:
    files = {
        "task.toml": "",
        "instruction.md": "Wait.",
        "environment/workspace/notes.txt": "",
        "tests/test.sh": 'echo 1 > "$HOTSEAT_LOGS/verifier/reward.txt"\n',
        "solution/solve.sh": f"echo now > {folder.parent}/begun; sleep 600\n",
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def test_what_a_plan_cannot_do_is_said_before_the_first_trial(tmp_path: Path) -> None:
    plan = plan_file(tmp_path)
    cases = [
        (("--only", "nobody"), "the plan has oracle, nop"),
        (("--map", "a=b"), "no configuration names a"),
    ]
    for options, expected in cases:
        done = subprocess.run(
            command(plan, tmp_path / "job", *options), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "job").exists()
