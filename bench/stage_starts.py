"""What a stage starts from and what it leaves, as archives (snapshot.py).

An outcome is the start with the stage's patch on it. Patches are untrusted: git applies them, which refuses
paths beyond the folder, in .git and behind links, in a repository of its own that holds nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError
from bench.repository import GitFailed, Repository
from bench.snapshot import pack_folder, unpack
from bench.stage_prompt import State
from bench.workspace import AS_IT_IS, MAX_DIFF_BYTES, outside_repositories

MAX_STATE_BYTES = 32 * 1024
_OURS = {  # the user's configuration could turn line ends, or run programs
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CEILING_DIRECTORIES": tempfile.gettempdir(),
}


def first_start(head: Path, state: State, archive: Path) -> None:
    """The snapshot of HEAD with the state file in it. Blocks. Raises BenchError, also for a repository that
    has a file of that name."""
    with _laid_out(head) as folder:
        place = folder / state.name
        if os.path.lexists(place):
            raise BenchError(
                f"the repository has a {state.name} of its own: name another file for the stages' state"
                " with --state"
            )
        place.write_text(state.text, encoding="utf-8")
        pack_folder(folder, archive)


def next_start(before: Path, patch: Path, state: State, archive: Path) -> State:
    """`before` with the patch on it, and the state file as the stage left it; if it left none that can be
    read, `state`. Blocks. Raises BenchError."""
    with _laid_out(before) as folder:
        _apply(folder, _read_patch(patch), patch)
        left = _state(folder / state.name)
        if left is None:
            _put(folder / state.name, state.text)
        pack_folder(folder, archive)
    return left or state


def difference(head: Path, outcome: Path, state_name: str) -> bytes:
    """From HEAD to what a stage left, without the state file: a patch for the user's repository. Blocks.
    Raises BenchError."""
    with _laid_out(outcome) as after, _laid_out(head) as folder:
        (after / state_name).unlink(missing_ok=True)
        repository, tree = _repository(folder)
        for path in folder.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(after, folder, symlinks=True, dirs_exist_ok=True)
        repository.git("add", "--all", "--force", places=_OURS)
        plain = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv")
        return repository.git("diff", "--cached", *plain, tree, places=_OURS)


@contextlib.contextmanager
def _laid_out(archive: Path) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="hotseat-stage-", dir=outside_repositories()))
    try:
        (root / "app").mkdir()
        unpack(archive, root / "app")
        yield root / "app"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _apply(folder: Path, patch: bytes, source: Path) -> None:
    """Leaves a .git in the folder, which no archive takes up."""
    repository, _ = _repository(folder)
    if not patch.strip():
        return
    try:
        repository.git("apply", "--index", "--whitespace=nowarn", "-", stdin=patch, places=_OURS)
    except GitFailed as error:
        raise BenchError(f"{source}: it does not fit what its stage started from: {error}") from error


def _repository(folder: Path) -> tuple[Repository, str]:
    """Of the files there, and their tree: all of them, as a trial's workspace has them."""
    repository = Repository(folder, is_bare=False)
    repository.git("init", "--quiet", "--template=", places=_OURS)
    (folder / ".git" / "info").mkdir()
    (folder / ".git" / "info" / "attributes").write_text(AS_IT_IS)
    repository.git("add", "--all", "--force", places=_OURS)
    return repository, repository.git("write-tree", places=_OURS).decode().strip()


def _read_patch(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}: run its stage again with --from") from error
    if len(data) >= MAX_DIFF_BYTES:  # it was cut there
        raise BenchError(
            f"{path}: it reaches the {MAX_DIFF_BYTES} bytes that are kept of a patch, so that no stage can go"
            " on from it: have the stage leave large files out, with a .gitignore"
        )
    return data


def _state(path: Path) -> State | None:
    """Links are not followed: the next stage would be shown what they lead to."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        data = file.read(MAX_STATE_BYTES + 1)
    return State(path.name, data[:MAX_STATE_BYTES].decode(errors="replace"), cut=len(data) > MAX_STATE_BYTES)


def _put(path: Path, text: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
