from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from inference.errors import ConfigError
from inference.gpu import (
    DeviceMemory,
    DeviceProcess,
    DeviceSample,
    HostMeter,
    MemoryMeter,
    NvmlMeter,
    budget_bytes,
    identify_process,
    open_meter,
)

GIB = 2**30


class FakeNvmlError(Exception):
    pass


@dataclass
class FakeNvml:
    """A scripted NVML: each call answers from a field, or raises the error in `failing`."""

    total: int = 32 * GIB
    free: int = 30 * GIB
    gpus: int = 1
    compute: list[tuple[int, int | None]] = field(default_factory=list)
    graphics: list[tuple[int, int | None]] = field(default_factory=list)
    utilisation: int = 93
    failing: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    NVMLError: type[Exception] = FakeNvmlError

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.failing:
                raise self.NVMLError(self.failing[name])
            return self.answer(name, arguments)

        return call

    def answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        match name:
            case "nvmlInit":
                return None
            case "nvmlDeviceGetCount":
                return self.gpus
            case "nvmlDeviceGetHandleByIndex":
                return f"gpu {arguments[0]}"
            case "nvmlDeviceGetName":
                return f"Test {arguments[0]}"
            case "nvmlDeviceGetUUID":
                return f"GPU-{arguments[0][-1]}"
            case "nvmlSystemGetDriverVersion":
                return "580.1"
            case "nvmlDeviceGetMemoryInfo":
                return SimpleNamespace(total=self.total, free=self.free, used=self.total - self.free)
            case "nvmlDeviceGetComputeRunningProcesses":
                return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.compute]
            case "nvmlDeviceGetGraphicsRunningProcesses":
                return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.graphics]
            case "nvmlDeviceGetUtilizationRates":
                return SimpleNamespace(gpu=self.utilisation, memory=41)
            case "nvmlDeviceGetPowerUsage":
                return 312_500
            case "nvmlDeviceGetTotalEnergyConsumption":
                return 98_765_432
            case "nvmlDeviceGetTemperature":
                assert arguments[1] == 0
                return 61
            case "nvmlDeviceGetClockInfo":
                return {1: 2407, 2: 14001}[arguments[1]]
        raise AssertionError(name)


@dataclass
class FixedMeter:
    memory: DeviceMemory

    def device(self) -> DeviceMemory:
        return self.memory

    def process_bytes(self, pid: int) -> int | None:
        return None

    def processes(self) -> None:
        return None


def note_of(meter: NvmlMeter) -> str:
    return meter.note or ""


def nvml_meter(library: FakeNvml, device: str = "cuda:0") -> NvmlMeter:
    meter = open_meter(device, library=library)
    assert isinstance(meter, NvmlMeter)
    return meter


# --- choosing --------------------------------------------------------------------------------------


def test_auto_takes_the_first_gpu() -> None:
    meter = nvml_meter(FakeNvml(), "auto")
    assert meter.device() == DeviceMemory("cuda", "Test gpu 0", 32 * GIB, 30 * GIB)
    assert (meter.uuid, meter.driver_version, meter.note) == ("GPU-0", "580.1", None)


def test_a_gpu_is_chosen_by_number() -> None:
    meter = nvml_meter(FakeNvml(gpus=3), "cuda:2")
    assert (meter.device().name, meter.uuid) == ("Test gpu 2", "GPU-2")


def test_the_host_is_measured_on_request_without_touching_nvml() -> None:
    library = FakeNvml()
    meter = open_meter("cpu", library=library)
    assert isinstance(meter, HostMeter)
    assert (meter.note, library.calls) == (None, [])


MISSING = [
    (FakeNvml(failing={"nvmlInit": "Driver Not Loaded"}), "Driver Not Loaded"),
    (FakeNvml(gpus=0), "this machine has no NVIDIA GPU"),
    (FakeNvml(failing={"nvmlDeviceGetCount": "Unknown Error"}), "Unknown Error"),
    (FakeNvml(failing={"nvmlDeviceGetMemoryInfo": "Insufficient Permissions"}), "Insufficient Permissions"),
]


@pytest.mark.parametrize(("library", "why"), MISSING)
def test_fault_21_auto_without_a_usable_gpu_measures_the_host_and_says_why(
    library: FakeNvml, why: str
) -> None:
    meter = open_meter("auto", library=library)
    assert meter.device().kind == "cpu"
    assert meter.note is not None
    assert why in meter.note


@pytest.mark.parametrize(("library", "why"), MISSING)
def test_a_named_gpu_that_is_unusable_is_a_configuration_error(library: FakeNvml, why: str) -> None:
    with pytest.raises(
        ConfigError, match=rf'memory\.device = "cuda:0": .*{why}.* set memory\.device = "cpu"'
    ):
        open_meter("cuda:0", library=library)


def test_a_gpu_number_beyond_those_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"this machine has 2 NVIDIA GPU\(s\), cuda:0 to cuda:1"):
        open_meter("cuda:2", library=FakeNvml(gpus=2))


@pytest.mark.parametrize("device", ["", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:0 ", "CPU", "cuda:99999"])
def test_other_device_names_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match='expected "auto", "cuda:N" or "cpu", found'):
        open_meter(device, library=FakeNvml())


def test_the_installed_nvml_is_opened_or_its_absence_explained() -> None:
    meter = open_meter("auto")
    assert isinstance(meter, NvmlMeter) or meter.note is not None
    assert 0 < meter.device().free_bytes <= meter.device().total_bytes


def test_measuring_loads_no_engine_and_no_cuda() -> None:
    code = (
        "import sys; from inference.gpu import open_meter; open_meter('auto').device();"
        "maps = open('/proc/self/maps').read();"
        "sys.exit('llama_cpp' in sys.modules or 'libcuda.so' in maps or 'libcudart' in maps)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60, check=False).returncode == 0


# --- NVML ------------------------------------------------------------------------------------------


def test_memory_is_read_anew_each_time() -> None:
    library = FakeNvml()
    meter = nvml_meter(library)
    library.free = 5 * GIB
    assert meter.device().free_bytes == 5 * GIB


@pytest.mark.parametrize(
    ("compute", "graphics", "expected"),
    [
        pytest.param([(7, 3 * GIB), (8, GIB)], [], 3 * GIB, id="computes"),
        pytest.param([], [(7, GIB)], GIB, id="draws"),
        pytest.param([(7, 3 * GIB)], [(7, 3 * GIB)], 3 * GIB, id="does both, and is counted once"),
        pytest.param([(7, GIB), (7, 2 * GIB)], [], 3 * GIB, id="uses two instances of the GPU"),
        pytest.param([(8, GIB)], [(9, GIB)], None, id="not listed"),
        pytest.param([(7, None)], [], None, id="hidden by the driver"),
        pytest.param([(7, None)], [(7, GIB)], None, id="hidden in one list"),
        pytest.param([(7, 0)], [], 0, id="listed with nothing"),
    ],
)
def test_memory_of_a_process(
    compute: list[tuple[int, int | None]], graphics: list[tuple[int, int | None]], expected: int | None
) -> None:
    assert nvml_meter(FakeNvml(compute=compute, graphics=graphics)).process_bytes(7) == expected


def test_fault_21_nvml_failing_later_is_told_and_not_raised() -> None:
    library = FakeNvml(compute=[(7, GIB)])
    meter = nvml_meter(library)
    library.failing = {"nvmlDeviceGetMemoryInfo": "GPU is lost"}
    library.free = 0
    assert meter.device().free_bytes == 30 * GIB
    told = "Test gpu 0 cannot be read, its last known memory is shown; NVML says: GPU is lost"
    assert note_of(meter) == told
    library.failing = {}
    assert meter.device().free_bytes == 0
    assert note_of(meter) == ""
    library.failing = {"nvmlDeviceGetGraphicsRunningProcesses": "Not Supported"}
    assert meter.process_bytes(7) is None
    assert "Not Supported" in note_of(meter)


# --- samples ---------------------------------------------------------------------------------------

WHOLE = DeviceSample(
    at_s=5.0,
    total_bytes=32 * GIB,
    free_bytes=30 * GIB,
    utilisation=0.93,
    memory_utilisation=0.41,
    power_w=312.5,
    energy_j=98765.432,
    temperature_c=61,
    clock_mhz=2407,
    memory_clock_mhz=14001,
)


def test_a_sample_of_a_gpu_has_its_units() -> None:
    assert nvml_meter(FakeNvml()).sample(5.0) == WHOLE


@pytest.mark.parametrize(
    ("call", "hidden"),
    [
        ("nvmlDeviceGetMemoryInfo", {"total_bytes", "free_bytes"}),
        ("nvmlDeviceGetUtilizationRates", {"utilisation", "memory_utilisation"}),
        ("nvmlDeviceGetPowerUsage", {"power_w"}),
        ("nvmlDeviceGetTotalEnergyConsumption", {"energy_j"}),
        ("nvmlDeviceGetTemperature", {"temperature_c"}),
        ("nvmlDeviceGetClockInfo", {"clock_mhz", "memory_clock_mhz"}),
    ],
)
def test_what_the_driver_hides_is_none_and_the_rest_is_there(call: str, hidden: set[str]) -> None:
    library = FakeNvml()
    meter = nvml_meter(library)
    library.failing = {call: "Not Supported"}
    assert meter.sample(5.0) == dataclasses.replace(WHOLE, **dict.fromkeys(hidden))


def test_processes_on_the_gpu_are_named_and_strangers_told_apart() -> None:
    names: dict[int, tuple[str | None, bool]] = {7: ("python", True), 8: ("blender", False), 9: (None, False)}
    library = FakeNvml(compute=[(7, 3 * GIB), (9, None)], graphics=[(8, GIB), (7, 3 * GIB)])
    meter = NvmlMeter(library, identify=names.__getitem__)
    assert meter.processes() == (
        DeviceProcess(7, "python", 3 * GIB, is_foreign=False),
        DeviceProcess(8, "blender", GIB, is_foreign=True),
        DeviceProcess(9, None, None, is_foreign=True),
    )
    library.failing = {"nvmlDeviceGetComputeRunningProcesses": "Not Supported"}
    assert meter.processes() is None
    assert "Not Supported" in note_of(meter)


def test_this_process_and_its_children_are_not_foreign() -> None:
    name, is_ours = identify_process(os.getpid())
    assert (bool(name), is_ours) == (True, True)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert identify_process(child.pid) == ("cat", True)
    assert identify_process(child.pid) == (None, False)
    assert identify_process(os.getppid())[1] is False


def test_a_sample_of_the_host_has_memory_and_cpu_and_no_more() -> None:
    meter = HostMeter()
    first = meter.sample(1.0)
    assert first == DeviceSample(1.0, first.total_bytes, first.free_bytes)  # no interval yet
    while (second := meter.sample(2.0)).utilisation is None:
        sum(range(10_000))  # until the kernel's clock has ticked
    assert 0.0 <= second.utilisation <= 1.0
    assert (second.power_w, second.energy_j, second.clock_mhz) == (None, None, None)
    assert meter.processes() is None


# --- host ------------------------------------------------------------------------------------------


def host_meter(directory: Path, own: str, files: dict[str, str]) -> HostMeter:
    for name, text in files.items():
        path = directory / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "own").write_text(own)
    (directory / "memory.max").write_text("1\n")  # outside, and not to be read
    return HostMeter(cgroup_root=directory / "fs", own_cgroups=directory / "own")


def test_without_limits_the_host_has_its_ram(tmp_path: Path) -> None:
    device = host_meter(tmp_path, "0::/a\n", {"a/memory.max": "max\n"}).device()
    assert device.total_bytes == psutil.virtual_memory().total
    assert 0 < device.free_bytes <= device.total_bytes
    absent = HostMeter(cgroup_root=tmp_path / "none", own_cgroups=tmp_path / "none").device()
    assert absent.total_bytes == device.total_bytes


MEGA = 10**6
STAT = f"anon {70 * MEGA}\ninactive_file {20 * MEGA}\nactive_file {10 * MEGA}\nodd line here\n"


@pytest.mark.parametrize(
    ("own", "files"),
    [
        pytest.param(
            "0::/box/worker\n",
            {
                "box/worker/memory.max": "max",
                "box/memory.max": f"{200 * MEGA}",
                "box/memory.current": f"{100 * MEGA}",
                "box/memory.stat": STAT,
            },
            id="version 2, limited above",
        ),
        pytest.param(
            "0::/../../elsewhere\n",
            {"memory.max": f"{200 * MEGA}", "memory.current": f"{100 * MEGA}", "memory.stat": STAT},
            id="version 2, seen from inside a container",
        ),
        pytest.param(
            "5:cpu,memory:/box\n4:cpuset:/x\n",
            {
                "memory/box/memory.limit_in_bytes": f"{200 * MEGA}",
                "memory/box/memory.usage_in_bytes": f"{100 * MEGA}",
                "memory/box/memory.stat": STAT.replace("inactive", "total_inactive").replace(
                    "\nact", "\ntotal_act"
                ),
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            id="version 1",
        ),
        pytest.param(
            "0::/a/b\n",
            {
                "a/b/memory.max": f"{900 * MEGA}",
                "a/memory.max": f"{200 * MEGA}",
                "a/memory.current": f"{100 * MEGA}",
                "a/memory.stat": STAT,
            },
            id="the tightest of nested limits",
        ),
    ],
)
def test_control_groups_limit_the_host(own: str, files: dict[str, str], tmp_path: Path) -> None:
    device = host_meter(tmp_path, own, files).device()
    assert device.total_bytes == 200 * MEGA
    assert device.free_bytes == 130 * MEGA  # page cache counts as free


def test_a_full_control_group_has_nothing_free(tmp_path: Path) -> None:
    files = {"memory.max": f"{200 * MEGA}", "memory.current": f"{300 * MEGA}"}
    assert host_meter(tmp_path, "0::/\n", files).device().free_bytes == 0


def test_resident_set_of_a_process() -> None:
    meter: MemoryMeter = HostMeter()
    mine = meter.process_bytes(os.getpid())
    assert mine is not None
    assert mine > 10 * MEGA
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert meter.process_bytes(ended.pid) is None
    assert meter.process_bytes(-1) is None


# --- budget ----------------------------------------------------------------------------------------


def gpu(total: int, free: int) -> FixedMeter:
    return FixedMeter(DeviceMemory("cuda", "Test GPU", total, free))


def ram(total: int, free: int = 0) -> FixedMeter:
    return FixedMeter(DeviceMemory("cpu", "host memory", total, free))


@pytest.mark.parametrize(
    ("meter", "configured", "reserve", "expected"),
    [
        (gpu(32 * GIB, 32 * GIB), None, GIB, 31 * GIB),
        (gpu(32 * GIB, 20 * GIB), None, GIB, 19 * GIB),  # others hold 12 GiB
        (gpu(32 * GIB, 20 * GIB), 28 * GIB, GIB, 28 * GIB),  # as the user says
        (gpu(32 * GIB, GIB), 32 * GIB, GIB, 32 * GIB),
        (ram(64 * GIB), None, GIB, 48 * GIB),  # three quarters
        (ram(4 * GIB), None, 2 * GIB, 2 * GIB),
        (ram(64 * GIB), 60 * GIB, GIB, 60 * GIB),
    ],
)
def test_budget(meter: FixedMeter, configured: int | None, reserve: int, expected: int) -> None:
    assert budget_bytes(meter, configured, reserve) == expected


@pytest.mark.parametrize("configured", [33 * GIB, 0, -1])
def test_a_budget_the_device_does_not_have_is_refused(configured: int) -> None:
    with pytest.raises(
        ConfigError, match=r"memory\.budget: expected at most the 32\.00 GiB of Test GPU, found"
    ):
        budget_bytes(gpu(32 * GIB, 30 * GIB), configured, GIB)


@pytest.mark.parametrize("meter", [gpu(32 * GIB, GIB), ram(GIB)])
def test_a_reserve_that_leaves_nothing_is_refused(meter: FixedMeter) -> None:
    with pytest.raises(ConfigError, match=r"1\.00 GiB .*nothing is left for models: lower memory\.reserve"):
        budget_bytes(meter, None, GIB)
