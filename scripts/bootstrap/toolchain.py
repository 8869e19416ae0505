"""The compilers of this machine: what is there, what is missing, how much of it to use at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bootstrap import engine_flags
from bootstrap.engine_flags import EngineRequest
from bootstrap.failures import SetupError

_MIN_CMAKE = (3, 21)
_ANSWER_S = 60
_COMPILERS = {"C": ("CC", ("cc", "gcc", "clang")), "C++": ("CXX", ("c++", "g++", "clang++"))}


def require_compilers(environ: Mapping[str, str], *, cuda: bool) -> None:
    """Raises SetupError naming what is missing of cmake, the C and C++ compilers, and nvcc."""
    _require_cmake(environ)
    for language, (variable, usual) in _COMPILERS.items():
        chosen = environ.get(variable, "").split()
        candidates = (chosen[0],) if chosen else usual
        if not any(shutil.which(name, path=environ.get("PATH")) for name in candidates):
            raise SetupError(
                f"the engine is compiled here, and no {language} compiler was found:"
                f" looked for {', '.join(candidates)}\n"
                "  remedy: install one (Debian, Ubuntu: apt install build-essential;"
                " Fedora: dnf install gcc-c++)"
            )
    if cuda and nvcc(environ) is None:
        raise SetupError(
            "HOTSEAT_CUDA=1, and nvcc was found neither in CUDACXX, PATH, CUDA_HOME nor /usr/local/cuda\n"
            "  remedy: install the CUDA toolkit (12.8 or later for an RTX 5090), set CUDACXX to its nvcc,"
            " or set HOTSEAT_CUDA=0 for the CPU engine"
        )


def nvcc(environ: Mapping[str, str]) -> str | None:
    """The CUDA compiler that the build will use."""
    places = [environ.get("CUDACXX"), "nvcc"]
    places += [f"{home}/bin/nvcc" for home in (environ.get("CUDA_HOME"), "/usr/local/cuda") if home]
    found = (shutil.which(place, path=environ.get("PATH")) for place in places if place)
    return next((path for path in found if path), None)


def resolve_architectures(request: EngineRequest, environ: Mapping[str, str]) -> EngineRequest:
    """Fill in the architectures of the GPUs here where CUDA is wanted and none are named."""
    if not request.cuda or request.cuda_arch:
        return request
    found = engine_flags.architectures(
        _answer(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"], environ)
    )
    if not found:
        raise SetupError(
            "HOTSEAT_CUDA=1, and nvidia-smi names no GPU here\n"
            "  remedy: install the NVIDIA driver, or set HOTSEAT_CUDA_ARCH (120 for an RTX 5090),"
            " or set HOTSEAT_CUDA=0 for the CPU engine"
        )
    return replace(request, cuda_arch=found)


def cpu_features() -> frozenset[str]:
    try:
        return engine_flags.cpu_features(Path("/proc/cpuinfo").read_text("utf-8", errors="replace"))
    except OSError:
        return frozenset()


def build_jobs(*, cuda: bool) -> int:
    return engine_flags.build_jobs(len(os.sched_getaffinity(0)), _available_bytes(), cuda=cuda)


def _require_cmake(environ: Mapping[str, str]) -> None:
    cmake = shutil.which("cmake", path=environ.get("PATH"))
    if cmake is None:
        raise SetupError(
            "the engine is compiled here, and cmake is missing\n"
            "  remedy: install it (Debian, Ubuntu: apt install cmake; Fedora: dnf install cmake)"
        )
    match = re.search(r"(\d+)\.(\d+)", _answer([cmake, "--version"], environ))
    found = (int(match[1]), int(match[2])) if match else (0, 0)
    if found < _MIN_CMAKE:
        raise SetupError(
            f"the engine needs cmake {_MIN_CMAKE[0]}.{_MIN_CMAKE[1]} or later,"
            f" {cmake} is {found[0]}.{found[1]}\n"
            "  remedy: install a newer one, and put it first in PATH"
        )


def _answer(command: list[str], environ: Mapping[str, str]) -> str:
    """What a tool prints; nothing if it cannot be asked."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_S, check=True, env=dict(environ)
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _available_bytes() -> int:
    """Memory that new processes can have: what the kernel calls available, within the container's limit."""
    meminfo = Path("/proc/meminfo").read_text("ascii")
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    available = int(match[1]) * 1024 if match else 2**31
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
    except OSError:
        return available
    return min(available, int(limit)) if limit.isdigit() else available
