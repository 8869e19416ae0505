"""A task's hidden checks, run after the agent, on a copy of what it left.

The agent never sees them: they are copied in when it has ended, and what they judge is a copy, so that
they cannot be hooked into either. Checks are programs of ours that run files of the agent's: where
bubblewrap is allowed they have no network and see none of the user's files, and cannot change themselves
(sandbox.py); everywhere they have a process group of their own, with bounds on time, memory and output.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.sandbox import Isolation, checked_in, isolation
from bench.task import Task

MAX_MEMORY_BYTES = 4 * 2**30
MAX_OUTPUT_BYTES = 8 * 2**20
MAX_REWARD_BYTES = 64 * 1024
LOG_TAIL_CHARS = 4000

# Data and not address space: node reserves far more than it uses.
_BOUNDED = f'ulimit -c 0 -d {MAX_MEMORY_BYTES // 1024} -f {MAX_OUTPUT_BYTES // 1024}; exec bash "$0"'


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reward` in 0..1, made of `scores`. None: the checks themselves failed, and `error` says how."""

    reward: float | None
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    log_tail: str = ""


async def verify(task: Task, app: Path, logs: Path, seed: int) -> Verdict:
    """`app`: what the agent left, which is not changed. `logs`: a folder for what the checks write."""
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="verify-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        await asyncio.to_thread(_lay_out, task, app, root)
        shutil.rmtree(logs / "verifier", ignore_errors=True)  # no reward but that of these checks
        (logs / "verifier").mkdir(parents=True)
        output = logs / "verifier" / "output.txt"
        exit_code = await _run(task, root, logs, output, seed)
    return _judged(exit_code, task.verifier_timeout_s, logs / "verifier", output, time.monotonic() - begun_s)


def _lay_out(task: Task, app: Path, root: Path) -> None:
    """Links are copied as links: what they point to is not the agent's work."""
    shutil.copytree(app, root / "app", symlinks=True, ignore_dangling_symlinks=True, ignore=_no_files)
    shutil.copytree(task.tests, root / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "home").mkdir()


def _no_files(folder: str, names: list[str]) -> set[str]:
    """Sockets and pipes that a server left: nobody can copy them."""
    kinds = {name: stat.S_IFMT(os.lstat(os.path.join(folder, name)).st_mode) for name in names}
    return {name for name, kind in kinds.items() if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)}


async def _run(task: Task, root: Path, logs: Path, output: Path, seed: int) -> int | None:
    """The exit code, or None if it took too long."""
    argv = ["bash", "-c", _BOUNDED, str(root / "tests" / "test.sh")]
    walls = await asyncio.to_thread(_walls)
    if walls.bwrap is not None and not task.own_walls:
        argv = checked_in(argv, root, logs / "verifier", walls.bwrap)
    with output.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=root / "app",
            env=environment(task, root, logs, seed),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=written,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(task.verifier_timeout_s):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):  # whatever it has started goes with it
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@functools.cache
def _walls() -> Isolation:
    """Tried once."""
    return isolation()


def environment(task: Task, root: Path, logs: Path, seed: int) -> dict[str, str]:
    """Where things are, as Harbor's paths would be; and nothing of the user's."""
    chosen = {f"HOTSEAT_{name.upper()}": str(value) for name, value in task.parameters.items()}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(root / "home"),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "HOTSEAT_APP": str(root / "app"),
        "HOTSEAT_TESTS": str(root / "tests"),
        "HOTSEAT_LOGS": str(logs),
        "HOTSEAT_SEED": str(seed),
        **chosen,
    }


def _judged(exit_code: int | None, limit_s: float, folder: Path, output: Path, seconds: float) -> Verdict:
    tail = output.read_bytes()[-LOG_TAIL_CHARS:].decode(errors="replace")
    if exit_code is None:
        return Verdict(
            None, error=f"the checks took longer than {limit_s:g} s", seconds=seconds, log_tail=tail
        )
    try:
        scores = _scores(folder)
    except (OSError, ValueError) as error:
        return Verdict(None, error=f"{error} (exit code {exit_code})", seconds=seconds, log_tail=tail)
    return Verdict(scores.pop("reward"), scores, seconds=seconds, log_tail=tail)


def _scores(folder: Path) -> dict[str, float]:
    """What reward.json says, or else reward.txt. Raises OSError or ValueError."""
    written = folder / "reward.json"
    if not written.exists():
        return {"reward": _share("reward.txt", (folder / "reward.txt").read_text()[:MAX_REWARD_BYTES])}
    data = written.read_bytes()
    if len(data) > MAX_REWARD_BYTES:
        raise ValueError(f"reward.json has {len(data)} bytes, more than {MAX_REWARD_BYTES}")
    found = json.loads(data)
    if not isinstance(found, dict) or "reward" not in found:
        raise ValueError("reward.json: expected an object with the key reward")
    return {name: _share(f"reward.json: {name}", value) for name, value in found.items()}


def _share(what: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"{what}: expected a number from 0 to 1, found {value!r}")
    return number
