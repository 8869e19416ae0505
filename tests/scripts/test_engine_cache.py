"""Which built engine is taken from the cache: the one with these flags, and only if it is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bootstrap.engine import Build, cached_wheel, describe, wanted_build, wanted_server_build
from bootstrap.engine_flags import EngineRequest
from bootstrap.places import Places, find_places

ROOT = Path(__file__).parents[2]
BUILD = Build("0.3.36", "ab" * 32, "linux-x86_64", ("-DGGML_NATIVE=OFF", "-DGGML_AVX2=ON"), cuda=False)


def place_wheel(places: Places, build: Build) -> Path:
    wheel = places.wheels / build.key / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(b"compiled")
    describe(build, wheel)
    return wheel


def test_a_build_is_found_by_its_flags(tmp_path: Path) -> None:
    places = find_places(ROOT, {"HOTSEAT_HOME": str(tmp_path)})
    wheel = place_wheel(places, BUILD)
    assert cached_wheel(places, BUILD) == wheel
    for other in (
        replace(BUILD, flags=("-DGGML_NATIVE=ON", "-DGGML_AVX2=ON")),
        replace(BUILD, version="0.3.37"),
        replace(BUILD, sdist_sha256="cd" * 32),
        replace(BUILD, platform="linux-aarch64"),
    ):
        assert cached_wheel(places, other) is None


def test_a_damaged_or_undescribed_wheel_is_not_used(tmp_path: Path) -> None:
    places = find_places(ROOT, {"HOTSEAT_HOME": str(tmp_path)})
    wheel = place_wheel(places, BUILD)
    wheel.write_bytes(b"compil")
    assert cached_wheel(places, BUILD) is None
    wheel.write_bytes(b"compiled")
    assert cached_wheel(places, BUILD) == wheel
    for said in ("", "[]", "{}"):
        (wheel.parent / "build.json").write_text(said)
        assert cached_wheel(places, BUILD) is None


def test_a_build_says_what_it_was_built_from(tmp_path: Path) -> None:
    wheel = place_wheel(find_places(ROOT, {"HOTSEAT_HOME": str(tmp_path)}), BUILD)
    told = json.loads((wheel.parent / "build.json").read_text())
    assert told["flags"] == list(BUILD.flags)
    assert told["sdist_sha256"] == BUILD.sdist_sha256


def test_the_build_for_this_machine_is_safe_and_the_same_every_time() -> None:
    places = find_places(ROOT, {"HOME": "/nowhere"})
    build = wanted_build(places, EngineRequest())
    assert build == wanted_build(places, EngineRequest())
    assert "-DGGML_NATIVE=OFF" in build.flags
    assert not build.cuda


def test_cuda_and_further_flags_make_another_build() -> None:
    places = find_places(ROOT, {"HOME": "/nowhere"})
    requests = (
        EngineRequest(),
        EngineRequest(cuda=True, cuda_arch="120"),
        EngineRequest(cuda=True, cuda_arch="89"),
        EngineRequest(cmake_args="-DGGML_VULKAN=ON"),
    )
    assert len({wanted_build(places, request).key for request in requests}) == len(requests)


def test_the_peer_has_the_same_sources_and_cpu_flags() -> None:
    places = find_places(ROOT, {"HOME": "/nowhere"})
    ours, peer = wanted_build(places, EngineRequest()), wanted_server_build(places, EngineRequest())
    assert ours.sdist_sha256 == peer.sdist_sha256
    ggml = [[flag for flag in build.flags if flag.startswith("-DGGML_")] for build in (ours, peer)]
    assert ggml[0] == ggml[1]
    assert ours.key != peer.key
