"""A user's git repository, for tests of what reads it, races on it, and changes it when asked."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "u",
    "GIT_AUTHOR_EMAIL": "u@localhost",
    "GIT_COMMITTER_NAME": "u",
    "GIT_COMMITTER_EMAIL": "u@localhost",
}
FILES = {"f.py": "def f(x):\n    return x\n", "docs/notes.md": "one\ntwo\nthree\n"}


def git(folder: Path, *arguments: str, stdin: str | bytes = "") -> str:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **IDENTITY},
        input=data,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


def make_repository(folder: Path, files: dict[str, str] = FILES, *options: str) -> Path:
    """`options`: of git init."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main", "--template=", *options)
    with (folder / ".git" / "config").open("a") as config:
        config.write("[user]\n\tname = u\n\temail = u@localhost\n")
    write(folder, files)
    commit(folder, "one")
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD").strip()


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file of it, .git too: its bytes, and when it was written."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def patch_of(repository: Path, files: dict[str, str]) -> bytes:
    """What writing these files would be, and nothing is left changed."""
    write(repository, files)
    git(repository, "add", "--all", "--intent-to-add")
    done = git(repository, "diff", "--binary")
    git(repository, "reset", "--quiet", "--hard")
    git(repository, "clean", "--quiet", "-fd")
    return done.encode()
