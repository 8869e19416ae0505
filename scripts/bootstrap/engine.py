"""The engine: llama-cpp-python built from its pinned sources, once per machine and set of flags.

The package is published as sources only, and pip's own cache of built wheels ignores the flags:
it could hand out a build that crashes here. So the wheel lies under a key made of version,
platform and flags in Hotseat's home, and pip's cache is bypassed. A new clone then installs it
in seconds. Python's version is not in the key: the wheel fits every Python 3.

    <home>/sdists/<sha256>/llama_cpp_python-….tar.gz
    <home>/wheels/<version>-<key>/llama_cpp_python-….whl
    <home>/wheels/<version>-<key>/build.json          what it was built from, and its SHA-256
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from bootstrap import engine_flags, toolchain
from bootstrap.commands import run_logged
from bootstrap.engine_flags import EngineRequest
from bootstrap.failures import CommandFailed, SetupError
from bootstrap.lockfiles import blocks, hashes, version
from bootstrap.places import Places
from bootstrap.storage import only_file, replace_directory, require_free, scratch_directory, sha256
from bootstrap.tools import Tools

DISTRIBUTION = "llama-cpp-python"
_BUILD_BYTES = 2 * 2**30
_CUDA_BUILD_BYTES = 8 * 2**30
_LOADS = "import llama_cpp; llama_cpp.llama_backend_init(); print(llama_cpp.llama_print_system_info())"


@dataclass(frozen=True, slots=True)
class Build:
    """One way to compile the sources. Equal keys mean interchangeable results."""

    version: str
    sdist_sha256: str
    platform: str
    flags: tuple[str, ...]
    cuda: bool

    @property
    def key(self) -> str:
        told = json.dumps([self.version, self.sdist_sha256, self.platform, self.flags])
        return f"{self.version}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def wanted_build(places: Places, request: EngineRequest) -> Build:
    """The Python package's build for this machine. `request` has its architectures resolved."""
    return _build(places, request, engine_flags.PACKAGE_FLAGS)


def wanted_server_build(places: Places, request: EngineRequest) -> Build:
    """The same sources and CPU flags, built as llama.cpp's own server."""
    return _build(places, request, engine_flags.SERVER_FLAGS)


def require_means(tools: Tools, build: Build) -> None:
    """Raises SetupError, before anything is downloaded, if it must be compiled and cannot be."""
    if cached_wheel(tools.places, build) is None:
        toolchain.require_compilers(tools.environ, cuda=build.cuda)
        needed = _CUDA_BUILD_BYTES if build.cuda else _BUILD_BYTES
        require_free(tools.places.home, needed, "building the engine")


def install(tools: Tools, build: Build) -> None:
    """The engine into .venv, from the cache if it is there and still loads, else newly built."""
    cached = cached_wheel(tools.places, build)
    if cached is not None:
        tools.progress.step(f"engine: installing llama-cpp-python {build.version}, built earlier")
        if _fails_to_load(tools, cached) is None:
            return
        tools.progress.step("engine: the earlier build does not load any more, so it is built again")
        shutil.rmtree(cached.parent)
        require_means(tools, build)
    wheel = _built_wheel(tools, build)
    if (why := _fails_to_load(tools, wheel)) is not None:
        shutil.rmtree(wheel.parent)
        raise SetupError(
            f"the engine was built and does not load: {why}\n"
            "  remedy: check HOTSEAT_CMAKE_ARGS and the CUDA driver; HOTSEAT_CUDA=0 builds for the CPU"
        )


def fetch_sources(tools: Tools) -> Path:
    """The pinned source archive, verified."""
    lock = tools.places.locks / "engine.txt"
    (expected,) = hashes(blocks(lock.read_text("utf-8"))[DISTRIBUTION])
    kept = tools.places.sdists / expected
    if (sources := only_file(kept, "*.tar.gz")) and sha256(sources) == expected:
        return sources
    tools.progress.step("engine: downloading the sources of llama-cpp-python (77 MB)")
    with scratch_directory(tools.places, "sdist") as scratch:
        options = ("--no-binary", ":all:", "--no-build-isolation")
        tools.pip_download(
            "sdist", lock, scratch / "made", *options, doing="downloading the engine's sources"
        )
        replace_directory(scratch / "made", kept)
    sources = only_file(kept, "*.tar.gz")
    if sources is None or sha256(sources) != expected:
        raise SetupError(
            f"the engine's sources in {kept} are not the pinned ones\n  remedy: delete it and try again"
        )
    return sources


def describe(build: Build, wheel: Path) -> None:
    """Put build.json beside a wheel: what it was built from, for people, and its SHA-256."""
    told = {
        "version": build.version,
        "sdist_sha256": build.sdist_sha256,
        "platform": build.platform,
        "flags": build.flags,
        "wheel_sha256": sha256(wheel),
    }
    (wheel.parent / "build.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def cached_wheel(places: Places, build: Build) -> Path | None:
    """The wheel with this key, unless it is damaged."""
    directory = places.wheels / build.key
    wheel = only_file(directory, "*.whl")
    try:
        told = json.loads((directory / "build.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if wheel is None or not isinstance(told, dict) or told.get("wheel_sha256") != sha256(wheel):
        return None
    return wheel


def _build(places: Places, request: EngineRequest, purpose_flags: tuple[str, ...]) -> Build:
    block = blocks((places.locks / "engine.txt").read_text("utf-8"))[DISTRIBUTION]
    (sdist_sha256,) = hashes(block)
    flags = engine_flags.cpu_flags(platform.machine(), toolchain.cpu_features())
    if request.cuda and request.cuda_arch:
        flags += engine_flags.cuda_flags(request.cuda_arch)
    flags += purpose_flags + engine_flags.extra_flags(request.cmake_args)
    return Build(version(block), sdist_sha256, sysconfig.get_platform(), flags, request.cuda)


def _built_wheel(tools: Tools, build: Build) -> Path:
    sources = fetch_sources(tools)
    device, duration = ("CUDA", "20 to 60 minutes") if build.cuda else ("the CPU", "2 to 10 minutes")
    tools.progress.step(
        f"engine: compiling llama-cpp-python {build.version} for {device} (once per machine, {duration})"
    )
    with scratch_directory(tools.places, "wheel") as scratch:
        made = scratch / "made"
        options = ("--verbose", "--no-deps", "--no-cache-dir", "--no-index", "--no-build-isolation")
        env = tools.compile_environment(cuda=build.cuda, CMAKE_ARGS=shlex.join(build.flags))
        tools.pip(
            "engine-build",
            "wheel",
            *options,
            "--wheel-dir",
            made,
            sources,
            doing="building the engine",
            env=env,
        )
        wheel = only_file(made, "*.whl")
        if wheel is None:
            raise SetupError(f"building the engine left no wheel\n  full output: {tools.log('engine-build')}")
        kept = tools.places.wheels / build.key
        describe(build, wheel)
        replace_directory(made, kept)
        return kept / wheel.name


def _fails_to_load(tools: Tools, wheel: Path) -> str | None:
    """Install it, then load it in a process of its own. None if it loads, else why not."""
    options = ("--no-deps", "--no-index", "--no-cache-dir", "--force-reinstall")
    tools.pip("engine-install", "install", *options, wheel, doing="installing the engine")
    try:
        run_logged([tools.places.python, "-c", _LOADS], log=tools.log("engine-load"), env=tools.environment())
    except CommandFailed as failure:
        return f"status {failure.returncode}: {failure.tail[-1] if failure.tail else 'no output'}"
    return None
