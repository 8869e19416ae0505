"""Which flags the engine is compiled with: never those that crash, always those that are fast here."""

from __future__ import annotations

import pytest

from bootstrap.engine_flags import (
    EngineRequest,
    architectures,
    build_jobs,
    cpu_features,
    cpu_flags,
    engine_request,
    extra_flags,
)
from bootstrap.failures import SetupError

HASWELL = frozenset("sse4_2 avx avx2 fma f16c bmi2".split())
AVX512 = frozenset("avx512f avx512cd avx512vl avx512dq avx512bw".split())
SAPPHIRE_RAPIDS = (
    HASWELL | AVX512 | frozenset("avx512vbmi avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16".split())
)


def test_native_and_openmp_are_off_everywhere() -> None:
    for machine, features in (
        ("x86_64", SAPPHIRE_RAPIDS),
        ("x86_64", frozenset[str]()),
        ("aarch64", frozenset[str]()),
    ):
        assert {"-DGGML_NATIVE=OFF", "-DGGML_OPENMP=OFF"} <= set(cpu_flags(machine, features))


def test_amx_is_never_asked_for() -> None:
    assert not [flag for flag in cpu_flags("x86_64", SAPPHIRE_RAPIDS) if "AMX" in flag]


def test_avx512_by_name_where_the_cpu_has_all_of_it() -> None:
    on = {flag for flag in cpu_flags("x86_64", SAPPHIRE_RAPIDS) if "AVX512" in flag}
    assert on == {f"-DGGML_AVX512{part}=ON" for part in ("", "_VBMI", "_VNNI", "_BF16")}


@pytest.mark.parametrize("missing", sorted(AVX512))
def test_no_avx512_where_one_part_is_missing(missing: str) -> None:
    assert not [flag for flag in cpu_flags("x86_64", SAPPHIRE_RAPIDS - {missing}) if "AVX512" in flag]


def test_skylake_server_has_avx512_without_the_later_extensions() -> None:
    flags = cpu_flags("x86_64", HASWELL | AVX512)
    assert [flag for flag in flags if "AVX512" in flag] == ["-DGGML_AVX512=ON"]


@pytest.mark.parametrize(
    ("feature", "option"), [("avx2", "AVX2"), ("fma", "FMA"), ("f16c", "F16C"), ("bmi2", "BMI2")]
)
def test_what_an_old_cpu_lacks_is_off_by_name(feature: str, option: str) -> None:
    assert f"-DGGML_{option}=ON" in cpu_flags("x86_64", HASWELL)
    assert f"-DGGML_{option}=OFF" in cpu_flags("x86_64", HASWELL - {feature})


def test_a_cpu_that_names_nothing_gets_the_baseline() -> None:
    assert not [flag for flag in cpu_flags("x86_64", frozenset()) if flag.endswith("=ON")]


def test_features_of_the_first_processor() -> None:
    cpuinfo = "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: other\n"
    assert cpu_features(cpuinfo) == {"fpu", "avx2"}
    assert cpu_features("processor : 0\nFeatures : fp asimd\n") == frozenset()


def test_cuda_once_asked_for_stays() -> None:
    first = engine_request({"HOTSEAT_CUDA": "1", "HOTSEAT_CUDA_ARCH": "120"}, EngineRequest())
    assert first == EngineRequest(cuda=True, cuda_arch="120")
    assert engine_request({}, first) == first
    assert not engine_request({"HOTSEAT_CUDA": "0"}, first).cuda


@pytest.mark.parametrize("environ", [{"HOTSEAT_CUDA": "yes"}, {"HOTSEAT_CUDA_ARCH": "sm_120; rm -rf"}])
def test_nonsense_is_refused_with_a_remedy(environ: dict[str, str]) -> None:
    with pytest.raises(SetupError, match=r"HOTSEAT_CUDA(_ARCH)? is .*\n  remedy: "):
        engine_request(environ, EngineRequest())


def test_unbalanced_quotes_are_refused_with_a_remedy() -> None:
    assert extra_flags('-DA=1 "-DB=x y"') == ("-DA=1", "-DB=x y")
    with pytest.raises(SetupError, match="HOTSEAT_CMAKE_ARGS"):
        extra_flags('-DA="1')


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("12.0\n", "120"), ("12.0\n8.6\n8.6\n", "86;120"), ("", ""), ("[N/A]\n", ""), ("Failed: 1.2.3", "")],
)
def test_architectures_of_the_gpus(answer: str, expected: str) -> None:
    assert architectures(answer) == expected


def test_compilers_fit_cores_and_memory() -> None:
    assert build_jobs(16, 64 * 2**30, cuda=False) == 16
    assert build_jobs(16, 6 * 2**30, cuda=False) == 4
    assert build_jobs(16, 6 * 2**30, cuda=True) == 2
    assert build_jobs(16, 0, cuda=False) == 1
