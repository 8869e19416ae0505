"""The server under test as a process: started, looked at from outside, killed for sure.

Its environment carries a mark, which its workers inherit: whoever has the mark when the server is gone
was left behind, whoever his parent is by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from benchkit.servers import ROOT, free_port
from benchkit.soak_http import Http, NoAnswer
from benchkit.soak_world import BUDGET_BYTES

START_BOUND_S = 60.0
MARK = "HOTSEAT_SOAK_MARK"  # workers are given variables of this prefix
TAIL_LINES = 60
ALARMS = ("Traceback (most recent call last)", "never retrieved", "never awaited", "internal error")
"""What the server's log must not hold, whatever happens to workers and clients."""


class Server:
    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path, mark: str) -> None:
        self._process = process
        self._mark = mark
        self._log = log
        self._seen = psutil.Process(process.pid)
        self.http = Http(port)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    # --- from outside --------------------------------------------------------------------------

    def workers(self) -> list[psutil.Process]:
        """Its child processes that run a worker."""
        return [child for child in self.children() if _runs(child, "inference.worker")]

    def ledger_writers(self) -> list[psutil.Process]:
        """One, unless it is just being started again."""
        return [child for child in self.children() if _runs(child, "proxy.ledger_process")]

    def children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return self._seen.children(recursive=True)
        return []

    def resident_bytes(self) -> int:
        n_bytes: int = self._seen.memory_info().rss
        return n_bytes

    def open_files(self) -> int:
        n_files: int = self._seen.num_fds()
        return n_files

    def left_behind(self) -> list[str]:
        """Processes that carry the mark: the server, its workers, and what they started."""
        mark = f"{MARK}={self._mark}".encode()
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    found.append(f"{process.pid} {' '.join(process.info['cmdline'] or ())[:120]}")
        return found

    # --- its log -------------------------------------------------------------------------------

    def log_tail(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:])

    def alarms(self) -> list[str]:
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return [f"the log says: {line}" for line in lines if any(alarm in line for alarm in ALARMS)]

    # --- its end -------------------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def exits_within(self, bound_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bound_s):
                await self._process.wait()
        return self._process.returncode is not None


def _runs(process: psutil.Process, module: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return module in process.cmdline()
    return False


@contextlib.asynccontextmanager
async def serving(config: Path) -> AsyncIterator[Server]:
    """`hotseat serve` until the block ends, and nothing of it afterwards."""
    port, mark, log = free_port(), uuid.uuid4().hex, config.parent / "server.log"
    argv = [
        *(sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)),
        *("--port", str(port), "--budget", str(BUDGET_BYTES)),
    ]
    environ = {
        **os.environ,
        MARK: mark,
        "HOTSEAT_HOME": str(config.parent / "home"),
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=ROOT,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(process, port, log, mark)
    try:
        await _healthy(server)
        yield server
    finally:
        _kill_all(server)
        await process.wait()


async def _healthy(server: Server) -> None:
    deadline_s = time.monotonic() + START_BOUND_S
    while time.monotonic() < deadline_s and server.exit_code is None:
        with contextlib.suppress(NoAnswer):
            await server.http.get("/health", 1.0)
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"the server did not start (exit code {server.exit_code}):\n{server.log_tail()}")


def _kill_all(server: Server) -> None:
    """Workers too, should they not have died with the server."""
    for process in server.children():
        with contextlib.suppress(psutil.Error):
            process.kill()
    server.signal(signal.SIGKILL)
    for line in server.left_behind():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
