"""Running a harness: its end, our patience, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from bench.process import Command, Ended, run
from bench.watch import Caps, Wire

PATIENT = Caps(60.0)


class Silent:
    """A wire on which nothing happens."""

    async def wire(self) -> Wire:
        return Wire()


class Busy:
    async def wire(self) -> Wire:
        return Wire(requests=9, tokens=1000)


SILENT = Silent()


def command(tmp_path: Path, program: str, stdin: str | None = None) -> Command:
    return Command([sys.executable, "-c", program], {"PATH": os.environ["PATH"]}, tmp_path, stdin)


def ran(
    tmp_path: Path,
    program: str,
    caps: Caps = PATIENT,
    stdin: str | None = None,
    wire: Busy | Silent = SILENT,
) -> Ended:
    asked = command(tmp_path, program, stdin)
    return asyncio.run(run(asked, tmp_path / "out", tmp_path / "err", caps, wire))


def test_it_hears_its_prompt_and_its_output_lies_in_files(tmp_path: Path) -> None:
    program = "import sys; print(sys.stdin.read().upper()); print('oh', file=sys.stderr); sys.exit(3)"
    ended = ran(tmp_path, program, stdin="hello")
    assert (ended.why, ended.exit_code) == ("exited", 3)
    assert (tmp_path / "out").read_text() == "HELLO\n"
    assert (tmp_path / "err").read_text() == "oh\n"


def test_one_that_does_not_listen_is_no_error(tmp_path: Path) -> None:
    assert ran(tmp_path, "import os; os.close(0)", stdin="x" * 10**6).why == "exited"


def test_a_signal_is_its_exit_code(tmp_path: Path) -> None:
    assert ran(tmp_path, "import os; os.kill(os.getpid(), 9)").exit_code == -signal.SIGKILL


FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)'
command = [sys.executable, '-c', deaf]
children = [subprocess.Popen(command), subprocess.Popen(command, start_new_session=True)]
with open('pids', 'w') as file:
    file.write(' '.join(str(pid) for pid in (os.getpid(), *(child.pid for child in children))))
time.sleep(600)
"""
CAPS = {"wall": Caps(1.5), "tokens": Caps(60, tokens=999), "stall": Caps(60, idle_s=0.5)}


def alive(pids: str) -> list[psutil.Process]:
    there = [psutil.Process(int(pid)) for pid in pids.split() if psutil.pid_exists(int(pid))]
    _, left = psutil.wait_procs(there, timeout=10)
    return [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("why", CAPS)
def test_at_a_cap_the_whole_family_goes(tmp_path: Path, why: str) -> None:
    ended = ran(tmp_path, FAMILY, CAPS[why], wire=Busy() if why == "tokens" else SILENT)
    assert ended.why == why
    pids = (tmp_path / "pids").read_text()
    assert len(pids.split()) == 3
    assert alive(pids) == []


def test_cancelling_ends_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pids")

    async def main() -> str:
        asked = command(tmp_path, FAMILY)
        running = asyncio.create_task(run(asked, tmp_path / "out", tmp_path / "err", PATIENT, SILENT))
        pids = await asyncio.to_thread((tmp_path / "pids").read_text)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return pids

    assert alive(asyncio.run(main())) == []
