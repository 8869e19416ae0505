"""What is known of the memory of a model file from before: its dry run and what its last loads took.

One small JSON file for each (model file, parameters that matter, engine build, device), in a
folder of the home directory: another quantisation, context length or engine has another file, so
nothing is ever believed of what it was not found for. Files are whole or absent (written aside,
renamed); one that cannot be read counts as absent, and a full or read-only disk costs the record
and one warning. A dry run that failed is not recorded: it is tried again at the next start.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from inference.buffer_sizes import Buffer
from inference.file_identity import fingerprint
from inference.gpu import DeviceMemory
from inference.model_spec import ModelSpec

VERSION = 1
MAX_LOADS = 5
"""Measurements kept: the highest of them counts, so that one odd load does not hide the others."""

MAX_RECORD_BYTES = 64 * 1024
MAX_RECORDS = 1000
_ENGINE_DISTRIBUTION, _ENGINE_PACKAGE = "llama-cpp-python", "llama_cpp"
_PARAMETERS = (
    "engine n_ctx slots n_gpu_layers kv_type flash_attn n_batch n_ubatch swa_full kv_unified "
    "embeddings pooling"
).split()
"""Fields of ModelSpec that change what a load takes."""


class LoadMeasured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that one load took, and when it was ready."""

    n_bytes: int
    at_s: float


class MemoryRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model` and `file` are for people who look into the folder."""

    version: int = VERSION
    model: str = ""
    file: str = ""
    device: str = ""
    buffers: tuple[Buffer, ...] | None = None  # of the dry run
    loads: tuple[LoadMeasured, ...] = ()  # oldest first

    @property
    def measured_bytes(self) -> int | None:
        return max((load.n_bytes for load in self.loads), default=None)

    def with_load(self, load: LoadMeasured) -> MemoryRecord:
        """`load` added, or put in place of what was measured earlier of the same load."""
        others = tuple(known for known in self.loads if known.at_s != load.at_s)
        return msgspec.structs.replace(self, loads=(*others, load)[-MAX_LOADS:])


NOTHING_KNOWN = MemoryRecord()


def engine_build() -> str:
    """Version and library files of the installed engine, without loading it: "" if there is none.

    A rebuild with other flags (CUDA) has the same version, and other files.
    """
    try:
        version = importlib.metadata.version(_ENGINE_DISTRIBUTION)
        found = importlib.util.find_spec(_ENGINE_PACKAGE)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""
    if found is None or found.origin is None:
        return version
    libraries = sorted((Path(found.origin).parent / "lib").glob("*.so*"))
    return " ".join([version, *(f"{file.name}:{file.stat().st_size}" for file in libraries)])


def record_key(spec: ModelSpec, file_bytes: int, engine: str, device: DeviceMemory) -> str:
    """Names what is known of `spec` on `device`. `file_bytes`: of all parts. Raises OSError."""
    parameters = {name: getattr(spec, name) for name in _PARAMETERS}
    if spec.command:  # the others' records stay what they were
        parameters |= {"command": spec.command, "env": spec.env}
    return fingerprint(
        Path(spec.path), json.dumps(parameters), str(file_bytes), engine, device.kind, device.name
    )


class MemoryRecords:
    """Reads and writes are small and block; the first failure to write is said once, later ones not."""

    def __init__(self, folder: Path, *, warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._warn = warn
        self._has_warned = False

    def read(self, key: str) -> MemoryRecord:
        """What is recorded under `key`; an empty record for nothing, or for what is not one."""
        try:
            with (self._folder / f"{key}.json").open("rb") as file:
                content = file.read(MAX_RECORD_BYTES + 1)
            record = msgspec.json.decode(content, type=MemoryRecord)
        except (OSError, msgspec.DecodeError):
            return NOTHING_KNOWN
        if len(content) > MAX_RECORD_BYTES:
            return NOTHING_KNOWN
        sizes = [buffer.n_bytes for buffer in record.buffers or ()] + [load.n_bytes for load in record.loads]
        return record if record.version == VERSION and min(sizes, default=0) >= 0 else NOTHING_KNOWN

    def write(self, key: str, record: MemoryRecord) -> None:
        aside = self._folder / f".{key}-{secrets.token_hex(4)}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(descriptor, "wb") as file:
                    file.write(msgspec.json.encode(record) + b"\n")
                aside.replace(self._folder / f"{key}.json")
            except OSError:
                aside.unlink(missing_ok=True)
                raise
            self._prune()
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                self._warn(
                    f"what models take cannot be recorded: {self._folder}: {error.strerror or error}: "
                    "dry runs are made again at the next start"
                )

    def _prune(self) -> None:
        """Records of files that are long gone: the least recently written go."""
        files = [path for path in self._folder.iterdir() if path.suffix == ".json"]
        if len(files) > MAX_RECORDS:
            files.sort(key=lambda path: path.stat().st_mtime)
            for path in files[: len(files) - MAX_RECORDS]:
                path.unlink(missing_ok=True)
