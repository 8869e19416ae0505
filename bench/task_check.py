"""Whether a task's checks can tell right from wrong: its oracle is worth 1, doing nothing 0, and every
broken oracle less than 1."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import TaskError
from bench.task import Task, prepare
from bench.verifier import Verdict, environment, verify

NOTHING = "nop"
SEED = 20260418


@dataclass(frozen=True, slots=True)
class Checked:
    """What one solution was worth. `expected`: "1", "0" or "< 1"."""

    task: str
    solution: str
    verdict: Verdict
    expected: str

    @property
    def is_right(self) -> bool:
        reward = self.verdict.reward
        if reward is None:
            return False
        return {"1": reward == 1, "0": reward == 0, "< 1": reward < 1}[self.expected]


async def check_task(task: Task, seed: int = SEED) -> AsyncIterator[Checked]:
    """One by one: doing nothing, the oracle, the broken ones. Raises TaskError for a task without any."""
    solutions = task.solutions()
    if len(solutions) < 2:
        raise TaskError(f"{task.folder}: expected at least one broken/NAME/solve.sh, found none")
    yield Checked(task.label, NOTHING, await _worth(task, None, seed), "0")
    for name, folder in solutions.items():
        expected = "1" if name == "oracle" else "< 1"
        yield Checked(task.label, name, await _worth(task, folder, seed), expected)


async def _worth(task: Task, solution: Path | None, seed: int) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="task-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        for name in ("app", "home", "logs"):
            (root / name).mkdir()
        await asyncio.to_thread(prepare, task, root / "app", seed)
        if solution is not None:
            await solve(task, solution, root, seed)
        return await verify(task, root / "app", root / "logs", seed)


async def solve(task: Task, solution: Path, root: Path, seed: int) -> None:
    """Run solve.sh in root/app, as Harbor's oracle does. Raises TaskError if it fails."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        str(solution / "solve.sh"),
        cwd=root / "app",
        env=environment(task, root, root / "logs", seed) | {"HOTSEAT_SOLUTION": str(solution)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(task.agent_timeout_s):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise TaskError(f"{solution}: took longer than {task.agent_timeout_s:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode != 0:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise TaskError(f"{solution}/solve.sh: exit code {process.returncode}: {last[0]}")
