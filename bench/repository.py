"""A user's own git repository, asked without being changed: no index refreshed, no lock taken, no hook run.

Git is started with the user's configuration (a repository may depend on it to be trusted) and without the
variables that would point it at another repository. Nothing is fetched: what is not there is an error.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.errors import BenchError

GIT_TIMEOUT_S = 120
MAX_ANSWER_BYTES = 64 * 2**20
MAX_SAID_CHARS = 300
_ALWAYS = (
    *("-c", "core.hooksPath=" + os.devnull),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.splitIndex=false"),  # of a temporary index too, it would leave a part in .git
    *("-c", "core.quotePath=false"),
    *("-c", "protocol.allow=never"),  # a partial clone would fetch what it lacks
    "--literal-pathspecs",
)


_KEPT = (
    *("GIT_CONFIG", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_EXEC_PATH"),
    *("GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM"),
)
"""Of the user's variables: who commits, and how a repository is found."""


class GitFailed(BenchError):
    """`said`: all that git wrote to standard error."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


@dataclass(frozen=True, slots=True)
class Repository:
    """`top`: of the working tree; of a bare repository, its git folder."""

    top: Path
    is_bare: bool

    @classmethod
    def at(cls, path: Path) -> Self:
        """The repository that `path` lies in. Raises BenchError."""
        if not path.is_dir():
            raise BenchError(f"{path}: expected the folder of a git repository, found none")
        try:
            bare = _git(path, ("rev-parse", "--is-bare-repository")).strip() == b"true"
            shown = _git(path, ("rev-parse", "--absolute-git-dir" if bare else "--show-toplevel"))
        except GitFailed as error:
            raise BenchError(f"{path}: no git repository that can be read: {_last(error.said)}") from error
        top = os.fsdecode(shown.removesuffix(b"\n"))
        if top != (plain := top.encode(errors="replace").decode()):
            raise BenchError(f"{plain}: a name in its path is not UTF-8, and no job can keep it: rename it")
        return cls(Path(top), bare)

    def commit(self, name: str = "HEAD") -> str:
        """Its full name. Raises BenchError."""
        try:
            asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")
            return self.git(*asked).decode().strip()
        except GitFailed as error:
            hint = ": commit something first" if name == "HEAD" else ""
            raise BenchError(f"{self.top}: it has no commit {name}{hint}") from error

    def git(self, *arguments: str, stdin: bytes = b"", places: Mapping[str, str] | None = None) -> bytes:
        """What git prints. `places`: variables such as GIT_INDEX_FILE. Blocks. Raises GitFailed."""
        return _git(self.top, arguments, stdin, places)

    def uncommitted(self, *, each_untracked: bool = False) -> list[str]:
        """Paths that differ from HEAD in index or working tree. Untracked folders are one path with a / at
        the end, unless each of their files is wanted."""
        if self.is_bare:
            return []
        untracked = "--untracked-files=" + ("all" if each_untracked else "normal")
        lines = self.git(
            "status", "--porcelain=v1", "-z", "--no-renames", "--ignore-submodules=all", untracked
        ).split(b"\0")
        return [os.fsdecode(line[3:]) for line in lines if line]

    def entries(self, tree: str, limit: int) -> Iterator[Entry]:
        """Every file of a commit or tree, `limit` at most, in git's order. Blocks. Raises GitFailed."""
        command = ("ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree)
        try:
            listed = self.git(*command).split(b"\0")
        except GitFailed as error:
            raise self._missing(_last(error.said)) from error
        if len(listed) - 1 > limit:
            raise BenchError(f"{self.top}: {len(listed) - 1} files in {tree[:12]}, more than {limit}")
        for line in filter(None, listed):
            facts, _, name = line.partition(b"\t")
            mode, kind, object_id, size = facts.decode().split()
            if kind == "blob" and not size.isdecimal():  # newer versions of git list it as BAD
                raise self._missing(f"of {os.fsdecode(name)!r}")
            yield Entry(os.fsdecode(name), mode, object_id, int(size) if kind == "blob" else 0)

    def _missing(self, what: str) -> BenchError:
        return BenchError(
            f"{self.top}: objects of the commit are missing ({what}): of a partial clone, check the commit"
            " out once; else see git fsck"
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """`mode` as git says: 100644, 100755, 120000 (a link), 160000 (another repository's commit)."""

    path: str
    mode: str
    object_id: str
    size: int

    @property
    def is_link(self) -> bool:
        return self.mode == "120000"

    @property
    def is_submodule(self) -> bool:
        return self.mode == "160000"


def _git(
    folder: Path, arguments: Sequence[str], stdin: bytes = b"", places: Mapping[str, str] | None = None
) -> bytes:
    verb = next(word for word in arguments if not word.startswith("-") and "=" not in word)
    try:
        done = subprocess.run(
            ["git", *_ALWAYS, *arguments],
            cwd=folder,
            env=environment() | dict(places or {}),
            input=stdin,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise BenchError("git is not installed: install it, races are run on git repositories") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{folder}: git {verb} took longer than {GIT_TIMEOUT_S} s") from error
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0:
        raise GitFailed(f"{folder}: git {verb} failed: {_last(said)}", said)
    if len(done.stdout) > MAX_ANSWER_BYTES:
        raise BenchError(f"{folder}: git {verb} said more than {MAX_ANSWER_BYTES} bytes")
    return done.stdout


def environment() -> dict[str, str]:
    """The user's, but for what would point git elsewhere: a hook or an alias sets GIT_DIR and its like."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(_KEPT)
    }
    fixed = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    return kept | fixed


def _last(said: str) -> str:
    lines = said.splitlines() or ["it said nothing"]
    return " ".join(lines[-1].split())[:MAX_SAID_CHARS]
