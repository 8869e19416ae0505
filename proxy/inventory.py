"""What is on disk behind each configured model: its header, the memory it will need, or what is wrong.

Reads headers, and what earlier runs recorded of their memory. A file that is missing, truncated or
hostile makes its own model unavailable, with the cause, and nothing else.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from inference.buffer_sizes import Buffer, corrected
from inference.engines.script import read_script
from inference.errors import HotseatError, InvalidModelFile
from inference.footprint import Footprint, footprint
from inference.gguf import GgufHeader, read_header
from inference.gpu import DeviceMemory
from inference.memory_records import NOTHING_KNOWN, MemoryRecord, MemoryRecords, engine_build, record_key
from inference.pool_state import PoolModel
from inference.vram import MemoryEstimate, estimate
from proxy.config import Config, ModelEntry

_log = logging.getLogger("hotseat.models")


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One configured model. `problem`: why it cannot be served; `header` None then, or for a script."""

    entry: ModelEntry
    header: GgufHeader | None = None
    estimated_bytes: int = 0
    problem: HotseatError | None = None
    estimate: MemoryEstimate | None = None  # of our own engine's buffers; None for others
    key: str | None = None  # of `record` in the memory records; None where there can be none
    record: MemoryRecord = NOTHING_KNOWN
    on_gpu: bool = False

    @property
    def state(self) -> str:
        """What is known without a server."""
        if self.entry.missing is not None:
            return "not downloaded" if self.entry.missing.startswith("not downloaded") else "no file"
        return "invalid file" if self.problem else "unloaded"

    @property
    def dry_run_bytes(self) -> int | None:
        return None if self.record.buffers is None else self.bytes_by(self.record.buffers)

    def bytes_by(self, buffers: tuple[Buffer, ...]) -> int:
        """What the model takes if its buffers are these. Only for a model with an estimate."""
        assert self.estimate is not None
        return corrected(self.estimate, buffers, offload=self.on_gpu).total_bytes

    @property
    def footprint(self) -> Footprint:
        """What admission would count it for."""
        return footprint(
            self.estimated_bytes,
            self.dry_run_bytes,
            self.record.measured_bytes,
            measured_wins=self.on_gpu,
        )

    def pool_model(self) -> PoolModel:
        return PoolModel(
            self.entry.spec,
            self.estimated_bytes,
            self.problem,
            dry_run_bytes=self.dry_run_bytes,
            measured_bytes=self.record.measured_bytes,
            least_bytes=_least_bytes(self.estimate),
        )


def _least_bytes(estimate: MemoryEstimate | None) -> int:
    """Allocated as the model loads, and known exactly."""
    if estimate is None:
        return 0
    return estimate.weights_bytes + estimate.kv_bytes + estimate.recurrent_bytes


def memory_records(config: Config) -> MemoryRecords:
    """Where what is learned of models' memory is kept from one run to the next."""
    return MemoryRecords(config.models_dir.parent / "dry-runs", warn=_log.warning)


def survey(config: Config, device: DeviceMemory) -> list[Surveyed]:
    """Every configured model, in the order of the file; bytes of `device`. Blocks for disk reads."""
    engine, records = engine_build(), memory_records(config)
    offload = device.kind == "cuda"
    found = [_survey_model(entry, offload=offload) for entry in config.models.values()]
    return [_with_record(one, engine, device, records) for one in found]


def _with_record(found: Surveyed, engine: str, device: DeviceMemory, records: MemoryRecords) -> Surveyed:
    if found.problem is not None:
        return found
    try:
        file_bytes = found.header.file_bytes if found.header else 0
        key = record_key(found.entry.spec, file_bytes, engine, device)
    except OSError:
        return found  # it went away meanwhile, and a load will say so
    record = records.read(key)
    if found.estimate is None:  # nobody's dry run: a script has no buffers, a server others
        record = msgspec.structs.replace(record, buffers=None)
    return dataclasses.replace(found, key=key, record=record)


def _survey_model(entry: ModelEntry, *, offload: bool) -> Surveyed:
    if entry.missing is not None:
        return Surveyed(entry, problem=InvalidModelFile(f"model '{entry.spec.name}': {entry.missing}"))
    try:
        if entry.spec.engine == "scripted":
            n_bytes = read_script(Path(entry.spec.path)).model.memory_bytes
            return Surveyed(entry, estimated_bytes=n_bytes, on_gpu=offload)
        if entry.spec.memory_bytes is not None:
            return Surveyed(entry, estimated_bytes=entry.spec.memory_bytes, on_gpu=offload)
        header = read_header(entry.spec.path)
        found = estimate(header, entry.spec, offload=offload)
        ours = found if entry.spec.engine == "llama-cpp-python" else None
        return Surveyed(entry, header, found.total_bytes, estimate=ours, on_gpu=offload)
    except HotseatError as error:
        return Surveyed(entry, problem=error)
    except OSError as error:
        message = f"{entry.spec.path}: {error.strerror}: check the file and its permissions"
        return Surveyed(entry, problem=InvalidModelFile(message))


def model_rows(
    config: Config, surveyed: list[Surveyed], server_states: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One row for each model and route, as `hotseat models --json` prints them."""
    models = [_model_row(found, server_states.get(found.entry.spec.name)) for found in surveyed]
    routes = [
        {
            "name": route.name,
            "kind": "remote",
            "provider": route.provider,
            "model": route.model,
            "state": _route_state(config, route.provider),
        }
        for route in config.routes.values()
    ]
    return models + routes


def _model_row(found: Surveyed, server_state: str | None) -> dict[str, Any]:
    spec, header = found.entry.spec, found.header
    return {
        "name": spec.name,
        "kind": "local",
        "aliases": list(spec.aliases),
        "engine": spec.engine,
        "source": found.entry.source,
        "file": spec.path,
        "architecture": header.architecture if header else None,
        "quantisation": header.quantisation if header else None,
        "n_ctx": spec.n_ctx,
        "n_ctx_train": header.n_ctx_train if header else None,
        "slots": spec.slots,
        "estimated_bytes": None if found.problem else found.estimated_bytes,
        "dry_run_bytes": found.dry_run_bytes,
        "measured_bytes": found.record.measured_bytes,
        "measured_loads": len(found.record.loads),
        "footprint_bytes": None if found.problem else found.footprint.n_bytes,
        "footprint_origin": None if found.problem else found.footprint.origin,
        "state": found.state if found.problem or server_state is None else server_state,
        "error": found.problem.message if found.problem else None,
    }


def _route_state(config: Config, provider: str) -> str:
    if config.providers[provider].lacks_key:
        return "no key"
    return "offline" if config.offline else "ready"
