"""What a model file is: for what is kept about it on this machine, and for people on others.

Two files count as one if their fingerprints, or their identities, agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

_SAMPLE_BYTES = 1 << 20
_SAMPLES = 16
SAMPLED = "sampled-sha256"
"""Which bytes an identity is of: its parts' sizes, and of each so many MiB at equal distances, the first and
the last among them."""


def fingerprint(model: Path, *parts: str) -> str:
    """Names a file and everything else that kept bytes depend on: `parts`, in order. Raises OSError.

    The file counts by size, modification time, and its first and last MiB: reading all of a 20 GB
    file would take longer than the work it saves.
    """
    digest = hashlib.sha256()
    status = model.stat()
    digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    with model.open("rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, status.st_size - _SAMPLE_BYTES))
        digest.update(file.read(_SAMPLE_BYTES))
    for part in parts:
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()[:32]


def identity(parts: Sequence[Path]) -> str:
    """The same on every machine that has the same file, wherever it lies and however old it is. `parts`: of a
    split file, in order. Raises OSError.

    It takes milliseconds, where a hash of a whole file of 20 GB would keep a disk busy for most of a minute
    and push out of memory what a load needs. Whoever changes single bytes in between is not noticed.
    """
    digest = hashlib.sha256()
    for part in parts:
        n_bytes = part.stat().st_size
        digest.update(b"%d:" % n_bytes)
        with part.open("rb") as file:
            for start in _starts(n_bytes):
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
    return f"{SAMPLED}:{digest.hexdigest()}"


def _starts(n_bytes: int) -> list[int]:
    """Of a short file all of it, in pieces that do not overlap."""
    if n_bytes <= _SAMPLES * _SAMPLE_BYTES:
        return list(range(0, n_bytes, _SAMPLE_BYTES))
    last = n_bytes - _SAMPLE_BYTES
    return [last * i // (_SAMPLES - 1) for i in range(_SAMPLES)]
