"""What a harness can reach while it works: with bubblewrap its own folders and the proxy, and nothing else.
And what an agent's work can reach while it is checked: a copy of it, and nobody.

    files      the machine's programs, read-only; the user's home and the benchmark's own tasks are hidden;
               of a trial only app, home and tmp are there, under the paths that they have outside
    network    a loopback of its own: relay.py inside and Relay outside carry connections to the proxy alone
    processes  a process table of its own, which ends as a whole

Where bubblewrap is missing or not allowed, a trial runs without, and its result says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.task import TASKS
from bench.workspace import Workspace

RELAY = Path(__file__).with_name("relay.py")
TRIED_S = 10
COPY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Isolation:
    """`bwrap`: the program, or None; then `why_not` says why."""

    bwrap: str | None
    why_not: str = ""

    @property
    def label(self) -> str:
        """For results."""
        return "bubblewrap: own files, loopback to the proxy alone" if self.bwrap else f"none: {self.why_not}"


def isolation() -> Isolation:
    """What this machine allows, found by trying it once. Blocks."""
    program = shutil.which("bwrap")
    if program is None:
        return Isolation(None, "bubblewrap is not installed")
    tried = [program, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", *_UNSHARED, "true"]
    try:
        done = subprocess.run(tried, capture_output=True, timeout=TRIED_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Isolation(None, f"bubblewrap cannot be started: {error}")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[:1]
        return Isolation(None, f"bubblewrap is not allowed here: {' '.join(said)[:200]}")
    return Isolation(program)


_UNSHARED = ("--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent")


def confined(
    argv: Sequence[str], workspace: Workspace, proxy_url: str, bwrap: str, readable: Sequence[Path] = ()
) -> list[str]:
    """The command that runs `argv` in the sandbox. `readable`: folders of programs it needs, if they lie
    where the sandbox hides things."""
    own = (workspace.app, workspace.home, workspace.root / "tmp")
    return [
        *_walls(bwrap, (*_program_folders(), *readable), own),
        *("--ro-bind", str(_socket(workspace)), str(_socket(workspace))),
        *("--ro-bind", str(RELAY), str(RELAY)),
        *("--chdir", str(workspace.app)),
        *(sys.executable, "-I", str(RELAY), str(_port(proxy_url)), str(_socket(workspace)), *argv),
    ]


def checked_in(argv: Sequence[str], root: Path, logs: Path, bwrap: str) -> list[str]:
    """The command that runs hidden checks, and with them what an agent wrote, with no network: `root` holds
    app/, which they may change, and tests/, which nobody may; what they say goes into `logs`."""
    tests = str(root / "tests")
    return [
        *_walls(bwrap, _program_folders(), (root, logs)),
        *("--ro-bind", tests, tests),
        *("--chdir", str(root / "app")),
        *argv,
    ]


def _walls(bwrap: str, shown: Sequence[Path], own: Sequence[Path]) -> list[str]:
    """Of what is hidden only `shown` is there, read-only, and `own`."""
    hidden = (Path.home(), Path("/tmp"), Path("/var/tmp"), Path("/run"), TASKS)
    return [
        bwrap,
        *_UNSHARED,
        *("--ro-bind", "/", "/"),
        *("--dev", "/dev", "--proc", "/proc"),
        *(part for folder in hidden if folder.is_dir() for part in ("--tmpfs", str(folder))),
        *(part for folder in _within(shown, hidden) for part in ("--ro-bind", str(folder), str(folder))),
        *(part for folder in own for part in ("--bind", str(folder), str(folder))),
    ]


def _program_folders() -> list[Path]:
    """Where Python and what PATH names lie, links followed. Of a version manager (pyenv, rbenv, nodenv) all:
    what lies in its shims/ only calls it, and it looks for what it starts beside them."""
    named = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    managers = [folder.parent for folder in named if folder.name == "shims"]
    with_versions = [
        folder for folder in managers if (folder / "versions").is_dir() and folder != Path.home()
    ]
    return [Path(sys.prefix), Path(sys.base_prefix), *named, *with_versions]


def _within(shown: Sequence[Path], hidden: Sequence[Path]) -> list[Path]:
    """Those folders that are there and would be hidden, outermost first; never one that holds the tasks."""
    found = {folder.resolve() for folder in shown if folder.is_dir()} | {f for f in shown if f.is_dir()}
    covered = [f for f in found if any(f.is_relative_to(h) for h in hidden) and not TASKS.is_relative_to(f)]
    return sorted(covered, key=lambda folder: len(folder.parts))


def _socket(workspace: Workspace) -> Path:
    return workspace.root / "proxy.sock"


def _port(proxy_url: str) -> int:
    parts = urlsplit(proxy_url)
    return parts.port or (443 if parts.scheme == "https" else 80)


@contextlib.asynccontextmanager
async def relay(workspace: Workspace, proxy_url: str) -> AsyncIterator[None]:
    """The outer end: what comes through the workspace's socket goes to the proxy."""
    host = urlsplit(proxy_url).hostname or "127.0.0.1"
    carrying: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        carrying.add(task)
        try:  # the stream's own callback takes a cancelled task for a failure, and prints it
            with contextlib.suppress(asyncio.CancelledError):
                await _carry(reader, writer, host, _port(proxy_url))
        finally:
            carrying.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(serve, _socket(workspace))
    try:
        yield
    finally:
        server.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        _socket(workspace).unlink(missing_ok=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    try:
        answers, questions = await asyncio.open_connection(host, port)
    except OSError:
        return  # the harness sees a closed connection, and says so
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, questions))
            group.create_task(_copy(answers, writer))
    finally:
        questions.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end of one direction; then the other side learns of it."""
    with contextlib.suppress(OSError):
        while data := await reader.read(COPY_BYTES):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
