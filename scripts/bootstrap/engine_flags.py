"""Which engine to build: cmake flags from the CPU's features and the user's wishes (pure).

GGML_NATIVE stays off. With it, ggml compiles for all that the building CPU has; on CPUs with AMX
(Sapphire Rapids and later, seen in a virtual machine) every prefill then ends in a segmentation
fault in ggml_backend_amx_mul_mat. Naming the features gives the same speed without AMX.

GGML_OPENMP stays off. Its spinning barriers cut decode from about 100 to under 1 token/s when
as many threads as cores compete with other work; ggml's own thread pool degrades gracefully.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from bootstrap.failures import SetupError

X86_MACHINES = frozenset({"x86_64", "amd64"})

# ggml's option -> the names in /proc/cpuinfo that all must be there. Every one is set by name, on
# or off: ggml's defaults depend on the environment.
_X86_OPTIONS: dict[str, tuple[str, ...]] = {
    "GGML_SSE42": ("sse4_2",),
    "GGML_AVX": ("avx",),
    "GGML_AVX2": ("avx2",),
    "GGML_FMA": ("fma",),
    "GGML_F16C": ("f16c",),
    "GGML_BMI2": ("bmi2",),
}
_AVX512 = ("avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw")
_AVX512_OPTIONS: dict[str, tuple[str, ...]] = {
    "GGML_AVX512": _AVX512,
    "GGML_AVX512_VBMI": (*_AVX512, "avx512vbmi"),
    "GGML_AVX512_VNNI": (*_AVX512, "avx512_vnni"),
    "GGML_AVX512_BF16": (*_AVX512, "avx512_bf16"),
}

_BASE = ("-DGGML_NATIVE=OFF", "-DGGML_OPENMP=OFF")

# The Python package needs the libraries alone: half of llama.cpp's build is not for us.
PACKAGE_FLAGS = (
    "-DLLAVA_BUILD=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
)

# Without its web page: the sources hold no built one, and building it would need npm or a download.
SERVER_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What the user asked for. `cuda_arch` None: the architectures of the GPUs here."""

    cuda: bool = False
    cuda_arch: str | None = None
    cmake_args: str = ""


def engine_request(environ: Mapping[str, str], last: EngineRequest) -> EngineRequest:
    """HOTSEAT_CUDA, HOTSEAT_CUDA_ARCH, HOTSEAT_CMAKE_ARGS; what is not set stays as it was last time.

    So `HOTSEAT_CUDA=1 scripts/serve` once, and plain `scripts/serve` ever after.
    """
    cuda = environ.get("HOTSEAT_CUDA")
    if cuda not in (None, "0", "1"):
        raise SetupError(
            f"HOTSEAT_CUDA is {cuda!r}\n  remedy: set it to 1 for the CUDA engine, to 0 for the CPU's"
        )
    arch = environ.get("HOTSEAT_CUDA_ARCH", last.cuda_arch) or None
    if arch is not None and not re.fullmatch(
        r"[0-9]+[a-z]?(-real|-virtual)?(;[0-9]+[a-z]?(-real|-virtual)?)*", arch
    ):
        raise SetupError(
            f'HOTSEAT_CUDA_ARCH is {arch!r}\n  remedy: set it as cmake wants it: "120" or "86;120"'
        )
    return EngineRequest(
        cuda=last.cuda if cuda is None else cuda == "1",
        cuda_arch=arch,
        cmake_args=environ.get("HOTSEAT_CMAKE_ARGS", last.cmake_args),
    )


def cpu_features(cpuinfo: str) -> frozenset[str]:
    """The feature names of the first processor in /proc/cpuinfo; empty if it names none."""
    match = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def cpu_flags(machine: str, features: frozenset[str]) -> tuple[str, ...]:
    """Flags for a CPU engine that runs on this CPU and cannot crash on it."""
    if machine.lower() not in X86_MACHINES:
        return _BASE
    always = tuple(
        f"-D{option}={'ON' if features.issuperset(needed) else 'OFF'}"
        for option, needed in _X86_OPTIONS.items()
    )
    where_present = tuple(
        f"-D{option}=ON" for option, needed in _AVX512_OPTIONS.items() if features.issuperset(needed)
    )
    return _BASE + always + where_present


def cuda_flags(architectures: str) -> tuple[str, ...]:
    return ("-DGGML_CUDA=ON", f"-DCMAKE_CUDA_ARCHITECTURES={architectures}")


def extra_flags(cmake_args: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(cmake_args))
    except ValueError as error:
        raise SetupError(
            f"HOTSEAT_CMAKE_ARGS cannot be read: {error}\n  remedy: balance its quotes"
        ) from error


def architectures(compute_caps: str) -> str:
    """nvidia-smi's answer to `--query-gpu=compute_cap` -> cmake's list: "8.6", "12.0" -> "86;120"."""
    found = re.findall(r"^\s*(\d+)\.(\d)\s*$", compute_caps, re.MULTILINE)
    return ";".join(sorted({major + minor for major, minor in found}, key=int))


def build_jobs(cpus: int, free_bytes: int, *, cuda: bool) -> int:
    """Compilers at once: one per core, as far as memory goes.

    llama.cpp's largest files take 1.5 GiB each, its CUDA kernels 3 GiB.
    """
    each = (3 if cuda else 1.5) * 2**30
    return max(1, min(cpus, int(free_bytes // each)))
