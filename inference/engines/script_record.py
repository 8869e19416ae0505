"""What a scripted model was asked, written to a file, for whoever checks what a client really sends.

A line of JSON for each request that was answered, in the order in which the engine took them: `turn`
(name of the turn that answered, its number if it has none, null for an echo or a refusal) and `request` as
the engine saw it, after dialect and proxy. Requests that cannot be answered at all (too long, an image) never
get here. The file holds prompts and is private; beyond MAX_RECORD_BYTES nothing is added.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from inference.chat import GenerateRequest
from inference.errors import LoadFailed

MAX_RECORD_BYTES = 256 * 2**20

_json = msgspec.json.Encoder()


class Record:
    """Appends, and so outlives the worker that a scripted crash ends. Raises LoadFailed if it cannot."""

    def __init__(self, path: Path, max_bytes: int = MAX_RECORD_BYTES) -> None:
        self._max_bytes = max_bytes
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._file).st_size
        except OSError as error:
            raise LoadFailed(f"requests_file {path}: {error.strerror or error}: correct [model]") from error

    def add(self, turn: str | int | None, request: GenerateRequest) -> None:
        """One write, so that nobody reads half a line."""
        line = _json.encode({"turn": turn, "request": request}) + b"\n"
        if self._size + len(line) <= self._max_bytes:
            self._size += os.write(self._file, line)

    def close(self) -> None:
        os.close(self._file)
