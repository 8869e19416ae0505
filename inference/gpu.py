"""The device that models share, as measured: an NVIDIA GPU through NVML, else the host.

NVML only looks: unlike a CUDA context it takes no memory on the device, so the proxy may use it.
A meter never raises once it is open. What it cannot read it reports as unknown, and `note` says why.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil

from inference.errors import ConfigError

HOST_BUDGET_SHARE = 0.75
"""Of all RAM, the most that an automatic budget takes: the rest is for the system and page cache."""

_GIB = 2**30
_DEVICE = re.compile(r"cuda:(\d{1,3})")


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    kind: Literal["cuda", "cpu"]
    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """The device at one moment. None: the driver hides it, or the device has no such thing.

    Shares are 0 to 1: `utilisation` of time in which something ran (on the host: of all cores'
    time since the sample before). `energy_j` counts since the driver was loaded.
    """

    at_s: float
    total_bytes: int | None = None
    free_bytes: int | None = None
    utilisation: float | None = None
    memory_utilisation: float | None = None
    power_w: float | None = None
    energy_j: float | None = None
    temperature_c: float | None = None
    clock_mhz: int | None = None
    memory_clock_mhz: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A process with memory on the GPU. In a container the driver may number it as the host does:
    then it has no name here, or passes for foreign. `used_bytes` None: the driver hides it."""

    pid: int
    name: str | None
    used_bytes: int | None
    is_foreign: bool


class MemoryMeter(Protocol):
    """What the pool and the admin API ask. Both calls return within milliseconds."""

    def device(self) -> DeviceMemory: ...

    def process_bytes(self, pid: int) -> int | None:
        """GPU memory (NVML) or resident set of one process; None if unknown or gone."""

    def processes(self) -> tuple[DeviceProcess, ...] | None:
        """Who has memory on the GPU; None if that is not known, or there is none."""


def open_meter(device: str, *, library: NvmlLibrary | None = None) -> NvmlMeter | HostMeter:
    """The meter for memory.device = "auto", "cuda:N" or "cpu".

    "auto" without a usable GPU measures the host, and its `note` says why. `cuda:N` counts as NVML
    and nvidia-smi do. `library` stands in for pynvml.
    """
    named = _DEVICE.fullmatch(device)
    if device == "cpu":
        return HostMeter()
    if named is None and device != "auto":
        raise ConfigError(f'memory.device: expected "auto", "cuda:N" or "cpu", found {device!r}')
    try:
        return NvmlMeter(library or _pynvml(), int(named[1]) if named else 0)
    except NoGpu as error:
        if named is None:
            return HostMeter(
                note=f"no usable NVIDIA GPU ({error}): models share the host's memory and run on the CPU"
            )
        raise ConfigError(
            f'memory.device = "{device}": {error}: install the NVIDIA driver, name a GPU that '
            f'nvidia-smi lists, or set memory.device = "cpu"'
        ) from error


def budget_bytes(meter: MemoryMeter, configured: int | None, reserve_bytes: int) -> int:
    """Bytes that models may fill together: `configured`, or (None) what is there less the reserve.

    On a GPU what other processes hold now is left to them: call it before any model is loaded.
    """
    device = meter.device()
    if configured is not None:
        if not 0 < configured <= device.total_bytes:
            raise ConfigError(
                f"memory.budget: expected at most the {_gib(device.total_bytes)} of {device.name}, "
                f'found {_gib(configured)}: lower it, or set it to "auto"'
            )
        return configured
    if device.kind == "cuda":
        available, what = device.free_bytes, "free"
        budget = available - reserve_bytes
    else:
        available, what = device.total_bytes, "in all"
        budget = min(available - reserve_bytes, int(available * HOST_BUDGET_SHARE))
    if budget <= 0:
        raise ConfigError(
            f"memory.budget: {device.name} has {_gib(available)} {what} and memory.reserve is "
            f"{_gib(reserve_bytes)}, so nothing is left for models: lower memory.reserve or end what "
            f"else uses the memory"
        )
    return budget


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / _GIB:.2f} GiB"


# --- NVIDIA ----------------------------------------------------------------------------------------


class NvmlLibrary(Protocol):
    """The part of the pynvml module that is used."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802 (NVML's own names)
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: Any) -> str: ...  # noqa: N802
    def nvmlDeviceGetUUID(self, handle: Any) -> str: ...  # noqa: N802
    def nvmlSystemGetDriverVersion(self) -> str: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...  # noqa: N802
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> Sequence[Any]: ...  # noqa: N802
    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Any) -> Sequence[Any]: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...  # noqa: N802
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int: ...  # noqa: N802
    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int: ...  # noqa: N802
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int) -> int: ...  # noqa: N802


_TEMPERATURE_GPU = 0  # nvml.h: NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM
_CLOCK_SM, _CLOCK_MEM = 1, 2


class NoGpu(Exception):
    """Why there is none, for a sentence: "the NVIDIA driver is not loaded"."""


class NvmlMeter:
    """One NVIDIA GPU. `note` is None while NVML answers, else what it said last.

    `uuid` names the GPU to CUDA whatever the order of devices there: CUDA_VISIBLE_DEVICES=<uuid>.
    """

    def __init__(self, library: NvmlLibrary, index: int = 0, *, identify: Identify | None = None) -> None:
        self._library = library
        self._identify = identify or identify_process
        self.note: str | None = None
        try:
            library.nvmlInit()
            count = library.nvmlDeviceGetCount()
            if index >= count:
                raise NoGpu(
                    f"this machine has {count} NVIDIA GPU(s), cuda:0 to cuda:{count - 1}"
                    if count
                    else "this machine has no NVIDIA GPU"
                )
            self._handle = library.nvmlDeviceGetHandleByIndex(index)
            self._name = library.nvmlDeviceGetName(self._handle)
            self.uuid = library.nvmlDeviceGetUUID(self._handle)
            self.driver_version = library.nvmlSystemGetDriverVersion()
            self._last = self._read()
        except library.NVMLError as error:
            raise NoGpu(f"NVML says: {error}") from error

    def device(self) -> DeviceMemory:
        """The GPU's memory now; if NVML stopped answering, as it was last."""
        try:
            self._last = self._read()
            self.note = None
        except self._library.NVMLError as error:
            self.note = f"{self._name} cannot be read, its last known memory is shown; NVML says: {error}"
        return self._last

    def process_bytes(self, pid: int) -> int | None:
        """GPU memory of `pid` on this GPU.

        None if NVML does not list it (in a container it may know processes by the host's numbers),
        or if the driver hides it (Windows drivers do).
        """
        lists = self._process_lists()
        return _used_by(pid, lists) if lists is not None else None

    def processes(self) -> tuple[DeviceProcess, ...] | None:
        """Who has memory on this GPU. None if NVML does not say."""
        lists = self._process_lists()
        if lists is None:
            return None
        pids = sorted({int(process.pid) for listed in lists for process in listed})
        return tuple(DeviceProcess(pid, *self._describe(pid, _used_by(pid, lists))) for pid in pids)

    def sample(self, at_s: float) -> DeviceSample:
        library, handle = self._library, self._handle
        memory = self._asked(library.nvmlDeviceGetMemoryInfo, handle)
        rates = self._asked(library.nvmlDeviceGetUtilizationRates, handle)
        power_mw = self._asked(library.nvmlDeviceGetPowerUsage, handle)
        energy_mj = self._asked(library.nvmlDeviceGetTotalEnergyConsumption, handle)
        return DeviceSample(
            at_s=at_s,
            total_bytes=int(memory.total) if memory else None,
            free_bytes=int(memory.free) if memory else None,
            utilisation=rates.gpu / 100 if rates else None,
            memory_utilisation=rates.memory / 100 if rates else None,
            power_w=power_mw / 1000 if power_mw is not None else None,
            energy_j=energy_mj / 1000 if energy_mj is not None else None,
            temperature_c=self._asked(library.nvmlDeviceGetTemperature, handle, _TEMPERATURE_GPU),
            clock_mhz=self._asked(library.nvmlDeviceGetClockInfo, handle, _CLOCK_SM),
            memory_clock_mhz=self._asked(library.nvmlDeviceGetClockInfo, handle, _CLOCK_MEM),
        )

    def _asked(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """One reading; None where this GPU or driver has none."""
        try:
            return function(*arguments)
        except self._library.NVMLError:
            return None

    def _describe(self, pid: int, used_bytes: int | None) -> tuple[str | None, int | None, bool]:
        name, is_ours = self._identify(pid)
        return name, used_bytes, not is_ours

    def _process_lists(self) -> tuple[Sequence[Any], Sequence[Any]] | None:
        try:
            return (
                self._library.nvmlDeviceGetComputeRunningProcesses(self._handle),
                self._library.nvmlDeviceGetGraphicsRunningProcesses(self._handle),
            )
        except self._library.NVMLError as error:
            self.note = f"memory of single processes cannot be read; NVML says: {error}"
            return None

    def _read(self) -> DeviceMemory:
        memory = self._library.nvmlDeviceGetMemoryInfo(self._handle)
        return DeviceMemory("cuda", self._name, int(memory.total), int(memory.free))


def _used_by(pid: int, lists: Sequence[Sequence[Any]]) -> int | None:
    used: list[list[int | None]] = [[p.usedGpuMemory for p in listed if p.pid == pid] for listed in lists]
    known = [[n for n in entries if n is not None] for entries in used]
    if not any(known) or known != used:
        return None
    # A process that computes and draws is in both lists, each time with all of its memory; one
    # that uses several instances of a partitioned GPU is in one list once for each.
    return max(sum(entries) for entries in known)


Identify = Callable[[int], tuple[str | None, bool]]
"""Name of a process, if it can be had, and whether it is this one or descends from it."""

_MAX_NAME = 64


def identify_process(pid: int) -> tuple[str | None, bool]:
    try:
        process = psutil.Process(pid)
        name = "".join(c for c in process.name()[:_MAX_NAME] if c.isprintable())
        own = os.getpid()
        return name or None, pid == own or any(parent.pid == own for parent in process.parents())
    except (psutil.Error, ValueError):
        return None, False


def _pynvml() -> NvmlLibrary:
    try:
        import pynvml  # loads the driver's library, which a machine without a GPU lacks
    except ImportError as error:
        raise NoGpu("the nvidia-ml-py package is not installed") from error
    library: NvmlLibrary = pynvml
    return library


# --- host ------------------------------------------------------------------------------------------


class HostMeter:
    """The host's RAM, or as much of it as the process's control groups allow.

    Memory of a process is its resident set, which includes the pages of a mapped model file.
    """

    def __init__(
        self,
        *,
        note: str | None = None,
        cgroup_root: Path = Path("/sys/fs/cgroup"),
        own_cgroups: Path = Path("/proc/self/cgroup"),
    ) -> None:
        self.note = note
        self._cgroups = tuple(_cgroup_directories(cgroup_root, own_cgroups))
        self._cpu_times: tuple[float, float] | None = None  # busy and all, at the sample before

    def device(self) -> DeviceMemory:
        ram = psutil.virtual_memory()
        total, free = int(ram.total), int(ram.available)
        for directory in self._cgroups:
            if (limit := _cgroup_limit(directory)) is not None:
                total = min(total, limit)
                free = min(free, limit - _cgroup_used(directory))
        return DeviceMemory("cpu", "host memory", total, max(free, 0))

    def process_bytes(self, pid: int) -> int | None:
        try:
            return int(psutil.Process(pid).memory_info().rss)
        except (psutil.Error, ValueError):
            return None

    def processes(self) -> tuple[DeviceProcess, ...] | None:
        """None: on the host every process has memory, and none is a stranger to the device."""
        return None

    def sample(self, at_s: float) -> DeviceSample:
        device = self.device()
        times = psutil.cpu_times()
        now = (sum(times) - times.idle - getattr(times, "iowait", 0.0), sum(times))
        before, self._cpu_times = self._cpu_times, now
        utilisation = None
        if before is not None and now[1] > before[1]:
            utilisation = min(max((now[0] - before[0]) / (now[1] - before[1]), 0.0), 1.0)
        return DeviceSample(
            at_s=at_s,
            total_bytes=device.total_bytes,
            free_bytes=device.free_bytes,
            utilisation=utilisation,
        )


_V2_FILES = ("memory.max", "memory.current")
_V1_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes")
_RECLAIMABLE = ("inactive_file", "active_file")


def _cgroup_directories(root: Path, own_cgroups: Path) -> Iterator[Path]:
    """The process's memory control groups, innermost first, up to the root that it can see."""
    for line in _text(own_cgroups).splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            base = root
        elif "memory" in controllers.split(","):
            base = root / "memory"
        else:
            continue
        inner = base.joinpath(*(part for part in Path(path).parts if part not in ("/", "..")))
        while True:
            yield inner
            if inner == base:
                break
            inner = inner.parent


def _cgroup_limit(directory: Path) -> int | None:
    """None where there is no limit; in version 1 "no limit" is a number larger than any RAM."""
    return next((n for name in (_V2_FILES[0], _V1_FILES[0]) if (n := _number(directory / name))), None)


def _cgroup_used(directory: Path) -> int:
    """Without page cache, which the kernel takes back when memory is short."""
    used = next((n for name in (_V2_FILES[1], _V1_FILES[1]) if (n := _number(directory / name))), 0)
    fields: Counter[str] = Counter()
    for line in _text(directory / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if value.isdecimal():
            fields[key.removeprefix("total_")] = int(value)
    return max(used - sum(fields[name] for name in _RECLAIMABLE), 0)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    """Empty for what is not there or not readable: control groups are a refinement, not a need."""
    try:
        return path.read_text("ascii", errors="replace")
    except OSError:
        return ""
