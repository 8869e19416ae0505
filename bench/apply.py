"""A candidate's patch, put on the user's working tree or into a branch of its own.

A patch is what a model made: it is first applied in a temporary index, with new objects in a temporary
folder, and what comes out is looked at there. Only then is anything of the user's changed; nothing is
committed to a branch that was there before, and no hook is run.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.errors import BenchError
from bench.repository import GitFailed, Repository
from bench.snapshot import leads_out, named
from bench.workspace import MAX_DIFF_BYTES

APPLIED = "applied"
MAX_MESSAGE_CHARS = 72
MAX_KEPT = 1000
_STRICT = (
    *("-c", "core.protectNTFS=true", "-c", "core.protectHFS=true"),  # names that are .git elsewhere
    *("-c", "apply.whitespace=nowarn", "-c", "apply.ignoreWhitespace=no"),
)


@dataclass(frozen=True, slots=True)
class Offered:
    """A patch on a commit. `base`: its full name."""

    trial: str
    configuration: str
    patch: bytes
    base: str


@dataclass(frozen=True, slots=True)
class _Change:
    path: str
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done. `place`: "the working tree" or a branch. `merged`: HEAD was no longer the base."""

    place: str
    files: tuple[str, ...]
    undo: str
    merged: bool = False


def read_patch(path: Path, limit_bytes: int = MAX_DIFF_BYTES) -> bytes:
    """Raises BenchError for one that is not whole."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from error
    if len(data) >= limit_bytes:
        raise BenchError(f"{path}: {limit_bytes} bytes or more: it was cut when it was kept")
    if not data.strip():
        raise BenchError(f"{path}: it is empty: whoever made it changed nothing")
    return data


def apply_to_working_tree(repository: Repository, offered: Offered, folder: Path) -> Applied:
    """Changes files, and neither index nor branch. What is needed to undo it is kept in `folder`. Blocks.
    Raises BenchError, and has then changed nothing."""
    if repository.is_bare:
        raise BenchError(f"{repository.top}: it has no working tree: use --branch")
    with _apart(repository) as places:
        theirs = _result(repository, offered, places)
        head = repository.commit()
        after = theirs if head == offered.base else _merged(repository, offered, head, theirs, places)
        changed = _changes(repository, head, after, places)
        files = tuple(one.path for one in changed)
        if not files:
            raise BenchError(f"{repository.top}: what {offered.configuration} did is in HEAD already")
        if dirty := sorted(set(files).intersection(repository.uncommitted(each_untracked=True))):
            raise BenchError(
                f"{repository.top}: uncommitted changes where the patch goes: {named(dirty)}: commit or stash"
                " them, or use --branch"
            )
        patch = _diff(repository, head, after, places)
    try:
        repository.git(*_STRICT, "apply", "--check", "-", stdin=patch)
        if way := sorted(_in_the_way(repository.top, changed)):
            raise BenchError(
                f"{repository.top}: in the way of the patch, and not in git: {named(way)}: move it away, or"
                " use --branch"
            )
        with _all_or_nothing(repository.top, files):
            kept = _keep(folder, offered.trial, patch)
            repository.git(*_STRICT, "apply", "-", stdin=patch)
    except (GitFailed, OSError) as error:
        said = _first(error.said) if isinstance(error, GitFailed) else str(error)
        raise BenchError(f"{repository.top}: the patch does not go on the working tree: {said}") from error
    undo = f"git -C {_word(repository.top)} apply -R {_word(kept.absolute())}"
    return Applied("the working tree", files, undo, merged=head != offered.base)


def apply_to_branch(repository: Repository, offered: Offered, branch: str, message: str) -> Applied:
    """A new branch with one commit on the base; working tree, index and HEAD stay as they are. Blocks.
    Raises BenchError."""
    reference = f"refs/heads/{branch}"
    _check_branch(repository, branch, reference)
    _check_author(repository)
    with _apart(repository) as places:
        changed = _changes(repository, offered.base, _result(repository, offered, places), places)
        files = tuple(one.path for one in changed)
        kept = {"GIT_INDEX_FILE": places["GIT_INDEX_FILE"]}  # it is as it should be: into the repository
        tree = _result(repository, offered, kept)
    try:
        commit = (
            repository.git("commit-tree", tree, "-p", offered.base, stdin=message.encode()).decode().strip()
        )
        repository.git("update-ref", "-m", "hotseat bench apply", reference, commit, "")  # not there yet
    except GitFailed as error:
        raise BenchError(f"{repository.top}: the branch was not made: {_first(error.said)}") from error
    return Applied(f"branch {branch}", files, f"git -C {_word(repository.top)} branch -D {_word(branch)}")


# --- looking at it --------------------------------------------------------------------------------


@contextlib.contextmanager
def _apart(repository: Repository) -> Iterator[dict[str, str]]:
    """A temporary index, and new objects beside the repository's."""
    objects = repository.git("rev-parse", "--git-path", "objects").removesuffix(b"\n")
    with tempfile.TemporaryDirectory(prefix="hotseat-apply-") as folder:
        (Path(folder) / "objects").mkdir()
        yield {
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_OBJECT_DIRECTORY": str(Path(folder) / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _listed(str(repository.top / os.fsdecode(objects))),
        }


def _listed(folder: str) -> str:
    """As the one entry of a list that git separates with colons."""
    return '"' + folder.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _result(repository: Repository, offered: Offered, places: Mapping[str, str]) -> str:
    """The tree that the patch makes of its base. Raises BenchError."""
    try:
        repository.git("read-tree", offered.base, places=places)
    except GitFailed as error:
        raise BenchError(
            f"{repository.top}: commit {offered.base[:12]}, which it all started from, is not there: use the"
            " clone that it began with, or fetch the commit"
        ) from error
    try:
        repository.git(*_STRICT, "apply", "--cached", "-", stdin=offered.patch, places=places)
        tree = repository.git("write-tree", places=places).decode().strip()
    except GitFailed as error:
        raise BenchError(f"refused: the patch of {offered.configuration}: {_first(error.said)}") from error
    return tree


def _merged(
    repository: Repository, offered: Offered, head: str, theirs: str, places: Mapping[str, str]
) -> str:
    """Three ways: the base, what HEAD is now, and the patch. Raises BenchError. By hand, for git's own merge
    of trees is younger than the git of many a machine, and `git apply --3way` takes a file that both sides
    have added for a conflict."""
    repository.git("read-tree", "--empty", places=places)
    repository.git("read-tree", "-i", "-m", "--aggressive", offered.base, head, theirs, places=places)
    conflicts = [
        path
        for path, stages in _unmerged(repository, places).items()
        if not _merge_file(repository, path, stages, places)
    ]
    if conflicts:
        raise BenchError(
            f"{repository.top}: HEAD has gone on since {offered.base[:12]}, and the patch of"
            f" {offered.configuration} conflicts with it: {named(conflicts)}: use --branch and merge that"
        )
    return repository.git("write-tree", places=places).decode().strip()


def _unmerged(repository: Repository, places: Mapping[str, str]) -> dict[str, dict[str, tuple[str, str]]]:
    """By path: mode and object of each stage, "1" the base, "2" HEAD, "3" the patch."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for line in filter(None, repository.git("ls-files", "--unmerged", "-z", places=places).split(b"\0")):
        facts, _, name = line.partition(b"\t")
        mode, object_id, stage = facts.decode().split()
        found.setdefault(os.fsdecode(name), {})[stage] = (mode, object_id)
    return found


def _merge_file(
    repository: Repository, path: str, stages: Mapping[str, tuple[str, str]], places: Mapping[str, str]
) -> bool:
    """Line by line, into the index; whether that went without a conflict."""
    modes = {mode for mode, _ in stages.values()}
    if len(stages) < 3 or len(modes) > 1 or not modes <= {"100644", "100755"}:
        return False
    with tempfile.TemporaryDirectory(prefix="hotseat-apply-") as folder:
        names = {stage: Path(folder) / stage for stage in stages}
        for stage, (_, object_id) in stages.items():
            names[stage].write_bytes(repository.git("cat-file", "blob", object_id, places=places))
        try:
            sides = (str(names[stage]) for stage in ("2", "1", "3"))
            merged = repository.git("merge-file", "--stdout", "--quiet", *sides, places=places)
        except GitFailed:
            return False
    object_id = repository.git("hash-object", "-w", "--stdin", stdin=merged, places=places).decode().strip()
    lines = f"0 {'0' * len(object_id)}\t{path}\0{modes.pop()} {object_id}\t{path}\0"
    repository.git("update-index", "-z", "--index-info", stdin=os.fsencode(lines), places=places)
    return True


def _changes(repository: Repository, before: str, after: str, places: Mapping[str, str]) -> list[_Change]:
    """What differs. Raises BenchError for what no patch of a race may do."""
    asked = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", before, after)
    parts = repository.git(*asked, places=places).split(b"\0")
    found: list[_Change] = []
    for facts, name in zip(parts[0::2], parts[1::2], strict=False):
        _, mode, _, object_id, _ = facts.decode().split()
        path = os.fsdecode(name)
        if why := _objection(repository, path, mode, object_id, places):
            raise BenchError(f"refused: the patch would {why}: {named([path])}")
        found.append(_Change(path, is_gone=mode == "000000"))
    return found


def _objection(
    repository: Repository, path: str, mode: str, object_id: str, places: Mapping[str, str]
) -> str:
    """git refuses most of it before; this is what would be left."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts:
        return "write outside of the repository"
    if any(part.lower() == ".git" for part in parts):
        return "write into .git"
    if mode == "160000":
        return "put another repository (a submodule) there"
    if mode == "120000":
        target = os.fsdecode(repository.git("cat-file", "blob", object_id, places=places))
        if leads_out(path, target):
            return f"make a link that leads out of the repository, to {target[:80]!r}"
        if any(part.lower() == ".git" for part in PurePosixPath(target).parts):
            return "make a link into .git"
    return ""


def _diff(repository: Repository, before: str, after: str, places: Mapping[str, str]) -> bytes:
    plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
    asked = ("diff-tree", "-p", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/", *plain)
    return repository.git(*asked, before, after, places=places)


# --- putting it there -----------------------------------------------------------------------------


def _in_the_way(top: Path, changed: Iterable[_Change]) -> Iterator[str]:
    """Files where the patch needs a folder, and folders with something of the user's in them where it needs a
    file: git finds out about those when it has changed other files already."""
    gone = {one.path for one in changed if one.is_gone}
    for one in changed:
        if one.is_gone:
            continue
        for parent in PurePosixPath(one.path).parents[:-1]:
            if os.path.lexists(top / parent) and not (top / parent).is_dir() and str(parent) not in gone:
                yield str(parent)
        if (top / one.path).is_dir() and not (top / one.path).is_symlink():
            held = (path.relative_to(top) for path in (top / one.path).rglob("*"))
            yield from {str(path) for path in held if not (top / path).is_dir()} - gone


@contextlib.contextmanager
def _all_or_nothing(top: Path, files: Sequence[str]) -> Iterator[None]:
    """If what is done in between fails, the files are as they were: git stops half way at a full disk, or a
    folder that may not be written."""
    with tempfile.TemporaryDirectory(prefix="hotseat-apply-") as folder:
        kept: dict[str, Path] = {}
        for number, path in enumerate(files):
            if (top / path).is_symlink() or (top / path).is_file():
                kept[path] = Path(folder) / str(number)
                shutil.copy2(top / path, kept[path], follow_symlinks=False)
        try:
            yield
        except BaseException:
            for path in files:
                with contextlib.suppress(OSError):
                    _put_back(top / path, kept.get(path))
            raise


def _put_back(place: Path, kept: Path | None) -> None:
    place.unlink(missing_ok=True)
    if kept is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(kept, place, follow_symlinks=False)


def _keep(folder: Path, trial: str, patch: bytes) -> Path:
    """For undoing it; what was kept for another clone is not written over."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"{trial}.patch", *(f"{trial}-{number}.patch" for number in range(2, MAX_KEPT + 1)))
    for path in (folder / name for name in names):
        if not path.exists() or path.read_bytes() == patch:
            path.write_bytes(patch)
            return path
    raise BenchError(f"{folder}: {MAX_KEPT} patches of {trial}: remove those that nobody will undo any more")


def _check_author(repository: Repository) -> None:
    """Before anything is written: a commit has an author."""
    try:
        for name in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            repository.git("var", name)
    except GitFailed as error:
        raise BenchError(
            f"{repository.top}: a commit needs an author, and git knows none: set one with git config"
            " user.name NAME and git config user.email ADDRESS"
        ) from error


def _check_branch(repository: Repository, branch: str, reference: str) -> None:
    try:
        repository.git("check-ref-format", reference)
    except GitFailed as error:
        raise BenchError(f"--branch {branch!r}: no name for a branch") from error
    if branch.startswith("-") or branch == "HEAD":
        raise BenchError(f"--branch {branch!r}: no name for a branch")
    with contextlib.suppress(GitFailed):
        repository.git("show-ref", "--verify", "--quiet", reference)
        raise BenchError(f"{repository.top}: there is a branch {branch} already: take another name")


def message_of(prompt: str, configuration: str, job: str) -> str:
    """Of the commit."""
    lines: Sequence[str] = [line.strip(" #") for line in prompt.splitlines() if line.strip(" #")]
    title = (lines[0] if lines else f"Work of {configuration}")[:MAX_MESSAGE_CHARS]
    return f"{title}\n\nBy {configuration}, a candidate of {job}.\n"


def _first(said: str) -> str:
    """git's first complaint, safe on a terminal."""
    lines = [
        line.removeprefix("error: ") for line in said.splitlines() if line.startswith(("error:", "fatal:"))
    ]
    text = (lines or said.splitlines() or ["git said nothing"])[0]
    return "".join(char if char.isprintable() else "?" for char in text)[:300]


def _word(text: object) -> str:
    """For a shell."""
    return shlex.quote(str(text))
