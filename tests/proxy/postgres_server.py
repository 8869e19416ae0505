"""A PostgreSQL of the test's own, from the programs of this machine: no network, no data that stays."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import pytest

START_TIMEOUT_S = "60"


def _programs() -> Path:
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += [Path(folder) for folder in sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("PostgreSQL is not installed: no initdb")


def _user() -> str | None:
    """It refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of its database, by a socket in a folder."""
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed")
    programs, user = _programs(), _user()
    folder = Path(tempfile.mkdtemp(prefix="hotseat-pg-"))
    data = folder / "data"
    if user is not None:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        # Into a file: the server that pg_ctl starts would hold a pipe open.
        with (folder / "said").open("w+") as said:
            code = subprocess.call(command, user=user, cwd=folder, stdout=said, stderr=said)
            said.seek(0)
            assert code == 0, said.read()

    try:
        run("initdb", "-D", str(data), "-U", "hotseat", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        log = str(folder / "log")
        run("pg_ctl", "-D", str(data), "-l", log, "-o", options, "-w", "-t", START_TIMEOUT_S, "start")
        try:
            yield f"postgresql://hotseat@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)
