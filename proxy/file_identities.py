"""Which file each local model is made of, told in a way that is the same on other machines.

Read when it is asked for, in a thread, and kept until the file's size or time of change is another: no load
waits for it, and none is held up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from inference.file_identity import identity
from inference.gguf import part_paths
from inference.model_spec import ModelSpec

MAX_KEPT = 1000


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """`identity` None: the model is of no file, or `problem` says why it cannot be told."""

    model: str
    file: str
    n_bytes: int = 0
    identity: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Stamp:
    path: str
    sizes_and_times: tuple[tuple[int, int], ...]


class FileIdentities:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._known: dict[_Stamp, str] = {}

    async def of(self, spec: ModelSpec) -> FileIdentity:
        if not spec.path:
            return FileIdentity(spec.name, "")
        try:
            parts, stamp = await asyncio.to_thread(_stamped, Path(spec.path))
            known = self._known.get(stamp)
            if known is None:
                known = await asyncio.to_thread(identity, parts)
                self._keep(stamp, known)
        except OSError as error:
            return FileIdentity(spec.name, Path(spec.path).name, problem=error.strerror or str(error))
        n_bytes = sum(size for size, _ in stamp.sizes_and_times)
        return FileIdentity(spec.name, Path(spec.path).name, n_bytes, known)

    def _keep(self, stamp: _Stamp, known: str) -> None:
        for old in [old for old in self._known if old.path == stamp.path]:
            del self._known[old]
        self._known[stamp] = known
        if len(self._known) > MAX_KEPT:
            del self._known[next(iter(self._known))]


def _stamped(path: Path) -> tuple[list[Path], _Stamp]:
    parts = part_paths(path)
    statuses = [part.stat() for part in parts]
    return parts, _Stamp(str(path), tuple((status.st_size, status.st_mtime_ns) for status in statuses))
