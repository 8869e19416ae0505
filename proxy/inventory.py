"""What is on disk behind each configured model: its header, the memory it will need, or what is wrong.

Reads headers only. A file that is missing, truncated or hostile makes its own model unavailable,
with the cause, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.engines.script import read_script
from inference.errors import HotseatError, InvalidModelFile
from inference.gguf import GgufHeader, read_header
from inference.gpu import DeviceMemory
from inference.pool_state import PoolModel
from inference.vram import estimate
from proxy.config import Config, ModelEntry


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One configured model. `problem`: why it cannot be served; `header` None then, or for a script."""

    entry: ModelEntry
    header: GgufHeader | None = None
    estimated_bytes: int = 0
    problem: HotseatError | None = None

    @property
    def state(self) -> str:
        """What is known without a server."""
        if self.entry.missing is not None:
            return "not downloaded" if self.entry.missing.startswith("not downloaded") else "no file"
        return "invalid file" if self.problem else "unloaded"

    def pool_model(self) -> PoolModel:
        return PoolModel(self.entry.spec, self.estimated_bytes, self.problem)


def survey(config: Config, device: DeviceMemory) -> list[Surveyed]:
    """Every configured model, in the order of the file; bytes of `device`. Blocks for disk reads."""
    return [_survey_model(entry, offload=device.kind == "cuda") for entry in config.models.values()]


def _survey_model(entry: ModelEntry, *, offload: bool) -> Surveyed:
    if entry.missing is not None:
        return Surveyed(entry, problem=InvalidModelFile(f"model '{entry.spec.name}': {entry.missing}"))
    try:
        if entry.spec.engine == "scripted":
            return Surveyed(entry, estimated_bytes=read_script(Path(entry.spec.path)).model.memory_bytes)
        header = read_header(entry.spec.path)
        return Surveyed(entry, header, estimate(header, entry.spec, offload=offload).total_bytes)
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
        "state": found.state if found.problem or server_state is None else server_state,
        "error": found.problem.message if found.problem else None,
    }


def _route_state(config: Config, provider: str) -> str:
    """Remote routes are checked and listed, but not served by this version."""
    needs_key = config.providers[provider].api_key_env is not None
    return "no key" if needs_key and config.providers[provider].api_key is None else "not served yet"
