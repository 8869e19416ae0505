"""A failed set-up names the cause and the remedy."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from bootstrap.commands import run_logged, tool_environment
from bootstrap.engine_flags import EngineRequest
from bootstrap.failures import CommandFailed, SetupError, explain
from bootstrap.places import find_places
from bootstrap.storage import require_free
from bootstrap.toolchain import require_compilers, resolve_architectures
from proxy.model_files import hotseat_home

PATIENCE_S = 10

NO_NETWORK = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<HTTPSConnection object>:
 Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')'
ERROR: No matching distribution found for aiohttp==3.14.5"""


def failure(*tail: str) -> CommandFailed:
    return CommandFailed("pip", 1, list(tail), Path("/logs/packages.log"))


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            NO_NETWORK,
            "the package index cannot be reached",
        ),
        ("ERROR: No matching distribution found for aiohttp==3.14.5", "the package index has no file"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "a downloaded file is not the pinned one",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        ("fatal error: error writing to /tmp/ccX.s: No space left on device", "disk is full"),
        ("CMake Error: No CMAKE_CXX_COMPILER could be found.", "C++ compiler does not work"),
        ("c++: fatal error: Killed signal terminated program cc1plus", "memory ran out"),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_120'", "cannot build for the GPU"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "certificate is not trusted"),
        ("npm error code EINTEGRITY", "a downloaded package is not the pinned one"),
        ("npm ERR! code ENOTFOUND", "the npm registry cannot be reached"),
        ("npm error code ETIMEDOUT", "the npm registry cannot be reached"),
        ("npm error code ETARGET", "does not have a version that is pinned"),
        ("npm error code SELF_SIGNED_CERT_IN_CHAIN", "the npm registry's certificate is not trusted"),
        ("npm error nospc ENOSPC: no space left on device, write", "disk is full"),
        ("OSError: [Errno 13] Permission denied: '/x/.venv/lib'", "cannot be written to"),
    ],
)
def test_a_known_cause_is_named_with_its_remedy(said: str, cause: str) -> None:
    message = str(explain(failure("Collecting aiohttp", *said.split("\n")), "installing packages"))
    assert message.startswith("installing packages failed: ")
    assert cause in message
    assert "\n  remedy: " in message
    assert "/logs/packages.log" in message


def test_an_unknown_cause_shows_the_last_words() -> None:
    message = str(explain(failure(*(f"line {number}" for number in range(50))), "building the engine"))
    assert "line 49" in message
    assert "line 3\n" not in message


def test_a_tool_that_fails_leaves_its_output_in_a_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "tool.log"
    lines: list[str] = []
    with pytest.raises(CommandFailed) as caught:
        run_logged(
            ["sh", "-c", "echo out; echo err >&2; exit 3"], log=log, env=os.environ, on_line=lines.append
        )
    assert (caught.value.returncode, caught.value.tail) == (3, ["out", "err"])
    assert lines == ["out\n", "err\n"]
    assert log.read_text() == "out\nerr\n"


def test_a_stopped_set_up_ends_what_its_tools_have_started(tmp_path: Path) -> None:
    """Ctrl-C during a build: the compilers under ninja under pip end too."""
    grandchild: list[int] = []  # a file descriptor that is readable when that process has ended

    def interrupt(line: str) -> None:
        grandchild.append(os.pidfd_open(int(line)))
        raise KeyboardInterrupt

    script = "sleep 600 & echo $!; wait"
    with pytest.raises(KeyboardInterrupt):
        run_logged(["sh", "-c", script], log=tmp_path / "tool.log", env=os.environ, on_line=interrupt)
    ended, _, _ = select.select(grandchild, [], [], PATIENCE_S)
    os.close(grandchild[0])
    assert ended, "what the shell had started still runs"


def test_flags_from_outside_do_not_reach_the_compiler() -> None:
    environ = {"CXXFLAGS": "-march=native", "CFLAGS": "-O0", "CMAKE_ARGS": "-DGGML_NATIVE=ON", "HOME": "/h"}
    cleaned = tool_environment(environ | {"SKBUILD_CMAKE_ARGS": "x", "SOURCE_DATE_EPOCH": "1"}, CC="gcc")
    assert {"HOME": "/h", "CC": "gcc"}.items() <= cleaned.items()
    assert not cleaned.keys() & {
        "CXXFLAGS",
        "CFLAGS",
        "CMAKE_ARGS",
        "SKBUILD_CMAKE_ARGS",
        "SOURCE_DATE_EPOCH",
    }


def programs(directory: Path, **scripts: str) -> dict[str, str]:
    """An environment in which only these programs exist."""
    for name, text in scripts.items():
        program = directory / name.replace("cxx", "c++")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return {"PATH": str(directory)}


CMAKE = "echo cmake version 3.25.1"


def test_missing_cmake_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"cmake is missing\n  remedy: .*apt install cmake"):
        require_compilers(programs(tmp_path, cc="", cxx=""), cuda=False)


def test_old_cmake_is_named_with_its_version(tmp_path: Path) -> None:
    environ = programs(tmp_path, cmake="echo cmake version 3.16.3", cc="", cxx="")
    with pytest.raises(SetupError, match=r"cmake 3\.21 or later, .* is 3\.16\n  remedy: "):
        require_compilers(environ, cuda=False)


def test_missing_cxx_compiler_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no C\+\+ compiler .*c\+\+, g\+\+.*\n  remedy: .*build-essential"):
        require_compilers(programs(tmp_path, cmake=CMAKE, cc=""), cuda=False)


def test_a_chosen_compiler_that_is_not_there_is_named(tmp_path: Path) -> None:
    environ = programs(tmp_path, cmake=CMAKE, cc="", cxx="") | {"CXX": "g++-99 -m64"}
    with pytest.raises(SetupError, match=r"g\+\+-99"):
        require_compilers(environ, cuda=False)


def test_a_complete_toolchain_passes(tmp_path: Path) -> None:
    require_compilers(programs(tmp_path, cmake=CMAKE, cc="", cxx=""), cuda=False)


def test_cuda_without_a_gpu_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="HOTSEAT_CUDA_ARCH"):
        resolve_architectures(EngineRequest(cuda=True), programs(tmp_path))


def test_cuda_architectures_come_from_the_driver(tmp_path: Path) -> None:
    environ = programs(tmp_path, **{"nvidia-smi": "echo 12.0; echo 8.9"})
    assert resolve_architectures(EngineRequest(cuda=True), environ).cuda_arch == "89;120"
    named = EngineRequest(cuda=True, cuda_arch="90")
    assert resolve_architectures(named, environ) == named


def test_too_little_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"needs 1048576\.0 GiB in .* GiB free\n  remedy: .*HOTSEAT_HOME"):
        require_free(tmp_path, 2**50, "building the engine")


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": "/h"},
        {"HOME": "/h", "XDG_CACHE_HOME": "/c"},
        {"HOME": "/h", "XDG_CACHE_HOME": ""},
        {"HOME": "/h", "HOTSEAT_HOME": "~/x", "XDG_CACHE_HOME": "/c"},
        {"HOME": "/h", "HOTSEAT_HOME": "/x"},
    ],
)
def test_set_up_and_server_agree_on_the_home(environ: dict[str, str]) -> None:
    assert find_places(Path("/clone"), environ).home == hotseat_home(environ)
