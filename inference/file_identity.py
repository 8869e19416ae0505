"""What a model file is, for what is kept about it: two files count as one if their fingerprints agree."""

from __future__ import annotations

import hashlib
from pathlib import Path

_SAMPLE_BYTES = 1 << 20


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
