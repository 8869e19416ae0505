"""`hotseat doctor`: what is wrong on this machine, and the remedy for each.

Every check is a function that returns findings; none of them raises for what it is there to find,
and none shows a key. The engine is looked at in a process of its own, so that this one never
loads it.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from inference.errors import HotseatError
from inference.gpu import HostMeter, NvmlMeter, budget_bytes, open_meter
from proxy.auth import check_bind
from proxy.client import is_hotseat
from proxy.config import DEFAULT_API_KEYS_ENV, Config, find_config, load_config
from proxy.inventory import Surveyed, survey
from proxy.listener import listen
from proxy.units import format_bytes

ENGINE_TIMEOUT_S = 60.0
SHORT_KEY = 16

Status = Literal["ok", "note", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. note: works, or is optional; fail: broken, and doctor exits 1."""

    area: str
    status: Status
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(config_path: Path | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """All findings, as they are made."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    probe = probe_engine()
    yield from check_engine(probe)
    try:
        config = load_config(find_config(config_path, environ), environ)
    except HotseatError as error:
        yield Finding("config", "fail", error.message)
        return
    yield Finding("config", "ok", f"{config.path}: {len(config.models)} models, {len(config.routes)} routes")
    try:
        meter = open_meter(config.memory.device)
        yield from check_device(config, meter, probe)
        yield from check_models(survey(config, meter.device()))
    except HotseatError as error:
        yield Finding("device", "fail", error.message)
    yield from check_keys(config)
    yield from check_port(config)


# --- engine ------------------------------------------------------------------------------------

_PROBE = """
import json, llama_cpp
print("\\n" + json.dumps({
    "version": llama_cpp.__version__,
    "system_info": llama_cpp.llama_print_system_info().decode("utf-8", "replace"),
    "gpu": bool(llama_cpp.llama_supports_gpu_offload()),
}))
"""


@dataclass(frozen=True, slots=True)
class EngineProbe:
    """What the engine says of itself, or `error`: why it says nothing."""

    version: str = ""
    system_info: str = ""
    gpu: bool = False
    error: str | None = None


def probe_engine() -> EngineProbe:
    """Load the engine in a child process and ask it."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ENGINE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return EngineProbe(error=f"did not load within {ENGINE_TIMEOUT_S:.0f} s")
    if child.returncode != 0:
        last_words = child.stderr.strip().splitlines()[-1:] or [f"died with status {child.returncode}"]
        return EngineProbe(error=last_words[0])
    return EngineProbe(**json.loads(child.stdout.strip().splitlines()[-1]))


def check_engine(probe: EngineProbe) -> Iterator[Finding]:
    if probe.error is not None:
        remedy = "run scripts/serve, which builds it, or `pip install llama-cpp-python` with GGML_NATIVE=OFF"
        yield Finding("engine", "fail", f"llama-cpp-python: {probe.error}", remedy)
        return
    features = re.findall(r"(\w+) = 1", probe.system_info)
    kind = "GPU" if probe.gpu else "CPU"
    yield Finding("engine", "ok", f"llama-cpp-python {probe.version}, {kind} build: {' '.join(features)}")
    if "AMX_INT8" in features:
        # Reproduced: every prefill of a GGML_NATIVE=ON build segfaults in ggml_backend_amx_mul_mat on a
        # Sapphire Rapids VM. Workers switch the AMX buffers off; that costs the repacked kernels too.
        yield Finding(
            "engine",
            "note",
            "this build has AMX kernels, which crash on some virtual machines; workers switch them off",
            "rebuild with CMAKE_ARGS=-DGGML_NATIVE=OFF for a build that is safe at full speed",
        )


# --- device ------------------------------------------------------------------------------------


def check_device(config: Config, meter: NvmlMeter | HostMeter, probe: EngineProbe) -> Iterator[Finding]:
    device = meter.device()
    free = f"{format_bytes(device.free_bytes)} of {format_bytes(device.total_bytes)} free"
    driver = f", driver {meter.driver_version}" if isinstance(meter, NvmlMeter) else ""
    yield Finding("device", "ok", f"{device.kind} {device.name}, {free}{driver}")
    if meter.note:
        yield Finding("device", "note", meter.note)
    if device.kind == "cuda" and not probe.gpu and probe.error is None:
        remedy = 'set it up again with HOTSEAT_CUDA=1 scripts/serve, or set memory.device = "cpu"'
        yield Finding("device", "fail", "there is a GPU, but the engine is a CPU build", remedy)
    budget = budget_bytes(meter, config.memory.budget_bytes, config.memory.reserve_bytes)
    if budget > device.free_bytes:
        text = f"{format_bytes(budget)} is more than is free now"
        yield Finding("budget", "note", text, "lower memory.budget, or end what else uses the memory")
    else:
        yield Finding("budget", "ok", format_bytes(budget))


# --- models ------------------------------------------------------------------------------------


def check_models(surveyed: list[Surveyed]) -> Iterator[Finding]:
    for found in surveyed:
        spec = found.entry.spec
        if found.problem is None:
            what = found.header.quantisation if found.header else spec.engine
            memory = format_bytes(found.estimated_bytes)
            yield Finding("model", "ok", f"{spec.name}: {what}, n_ctx {spec.n_ctx} × {spec.slots}, {memory}")
        elif found.entry.missing is not None:
            yield Finding("model", "note", found.problem.message)
        else:
            yield Finding("model", "fail", f"{spec.name}: {found.problem.message}")
    if all(found.problem for found in surveyed):
        yield Finding("model", "fail", "no model can be served", "run scripts/serve, or put a file in place")


# --- keys --------------------------------------------------------------------------------------


def check_keys(config: Config) -> Iterator[Finding]:
    keys = config.server.api_keys
    if any(len(key) < SHORT_KEY for key in keys):
        remedy = "make one with `openssl rand -hex 24`"
        yield Finding("keys", "note", f"a server key has fewer than {SHORT_KEY} characters", remedy)
    elif keys:
        yield Finding("keys", "ok", f"{len(keys)} server key(s) set")
    else:
        text = f"no server key ({DEFAULT_API_KEYS_ENV} is not set): fine on loopback"
        yield Finding("keys", "ok", text)
    try:
        check_bind(config.server.host, keys)
    except HotseatError as error:
        yield Finding("keys", "fail", error.message)
    for provider in config.providers.values():
        if provider.lacks_key:
            remedy = f"put it into {provider.key_place} to use it"
            yield Finding("keys", "note", f"provider {provider.name}: no key", remedy)
        elif provider.api_key is not None:
            yield Finding("keys", "ok", f"provider {provider.name}: key set in {provider.key_place}")


# --- port --------------------------------------------------------------------------------------


def check_port(config: Config) -> Iterator[Finding]:
    """Free, or taken by a Hotseat (which may well be the one that is meant), or by something else."""
    host, port = config.server.host, config.server.port
    try:
        listen(host, port).close()
    except HotseatError as error:
        if is_hotseat(f"http://127.0.0.1:{port}"):
            yield Finding("port", "note", f"{host}:{port}: a Hotseat is serving there")
        else:
            yield Finding("port", "fail", error.message)
    else:
        yield Finding("port", "ok", f"{host}:{port} is free")
