"""What a program in the sandbox can reach. Needs bubblewrap, and says so where it is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.process import Command, run
from bench.sandbox import confined, isolation, relay
from bench.task import TASKS, named_task
from bench.watch import Caps, Wire
from bench.workspace import Workspace

FOUND = isolation()
needs_bwrap = pytest.mark.skipif(FOUND.bwrap is None, reason=FOUND.label)


class Silent:
    async def wire(self) -> Wire:
        return Wire()


@contextlib.asynccontextmanager
async def proxy() -> AsyncIterator[str]:
    """Answers every connection with what it was sent, in capitals."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def inside(program: str, **given: object) -> dict[str, object]:
    """What `program` finds out in a sandbox, as the dict `found`. It knows `given`, app, root and port."""

    async def main(workspace: Workspace) -> dict[str, object]:
        assert FOUND.bwrap is not None
        async with proxy() as url, relay(workspace, url):
            known = {
                "app": str(workspace.app),
                "root": str(workspace.root),
                "port": int(url.rpartition(":")[2]),
            }
            head = f"import json, os, socket\nglobals().update({known | given!r})\nfound = {{}}\n"
            tail = "\njson.dump(found, open('found.json', 'w'))\n"
            argv = confined([sys.executable, "-c", head + program + tail], workspace, url, FOUND.bwrap)
            command = Command(argv, workspace.environment(), workspace.app)
            logs = workspace.logs
            ended = await run(command, logs / "out", logs / "err", Caps(60), Silent())
            assert ended.exit_code == 0, (logs / "err").read_text()
            return dict(json.loads((workspace.app / "found.json").read_text()))

    with Workspace.made_for(named_task("smoke"), seed=1) as workspace:
        return asyncio.run(main(workspace))


@needs_bwrap
def test_files() -> None:
    found = inside(
        """
found["beside"] = sorted(os.listdir(root))
found["here"] = sorted(os.listdir(app))
found["tasks"] = os.listdir(tasks)
found["home"] = os.environ["HOME"] == root + "/home"
for place in ("/usr/x", "/etc/x", root + "/x"):
    try:
        open(place, "w").close()
        found[place.replace(root, "root")] = "written"
    except OSError as error:
        found[place.replace(root, "root")] = type(error).__name__
open(os.environ["TMPDIR"] + "/mine", "w").close()
""",
        tasks=str(TASKS),
    )
    assert found["here"] == [".git", "numbers.txt"]
    assert found["beside"] == ["app", "home", "proxy.sock", "tmp"]
    assert found["tasks"] == []
    assert found["home"] is True
    assert found["/usr/x"] == found["/etc/x"] == "OSError"


@needs_bwrap
def test_the_proxy_is_the_only_way_out() -> None:
    found = inside(
        """
with socket.create_connection(("127.0.0.1", port), timeout=20) as proxy:
    proxy.sendall(b"hello")
    proxy.shutdown(socket.SHUT_WR)
    found["proxy"] = proxy.makefile().read()
for host in ("127.0.0.1", "192.0.2.1"):
    try:
        socket.create_connection((host, port + 1 if host == "127.0.0.1" else 80), timeout=5).close()
        found[host] = "reached"
    except OSError as error:
        found[host] = type(error).__name__
"""
    )
    assert found["proxy"] == "HELLO"
    assert found["127.0.0.1"] == "ConnectionRefusedError"
    assert found["192.0.2.1"] != "reached"


@needs_bwrap
def test_many_connections_and_much_data() -> None:
    found = inside(
        """
ends = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(20)]
for number, end in enumerate(ends):
    end.sendall(b"ab" * 50_000 + b"%d" % number)
    end.shutdown(socket.SHUT_WR)
found["right"] = sum(end.makefile().read() == "AB" * 50_000 + str(n) for n, end in enumerate(ends))
"""
    )
    assert found["right"] == 20


@needs_bwrap
def test_its_processes_are_alone_and_end_with_it() -> None:
    found = inside(
        """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
found["processes"] = len([name for name in os.listdir("/proc") if name.isdigit()])
"""
    )
    assert isinstance(found["processes"], int)
    assert found["processes"] < 10


@needs_bwrap
def test_what_a_version_manager_starts_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shim calls the manager, which starts the program: both lie outside the folder that PATH names."""
    programs = {"libexec/manager": "exec ../versions/1/bin/tool", "versions/1/bin/tool": "echo started"}
    programs["shims/tool"] = f"cd {tmp_path}/manager/libexec; exec ./manager"
    for name, line in programs.items():
        path = tmp_path / "manager" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    (tmp_path / "private").write_text("x")
    monkeypatch.setenv("PATH", str(tmp_path / "manager" / "shims"), prepend=os.pathsep)
    found = inside(
        """
import subprocess
found["said"] = subprocess.run(["tool"], capture_output=True, text=True).stdout
found["private"] = os.path.exists(private)
""",
        private=str(tmp_path / "private"),
    )
    assert found == {"said": "started\n", "private": False}


def test_without_bubblewrap_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isolation().label == "none: bubblewrap is not installed"
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho no user namespaces >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    assert isolation().label == "none: bubblewrap is not allowed here: no user namespaces"
