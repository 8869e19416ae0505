"""What a lock file says, and that it never says where files come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.lockfiles import blocks, hashes, main, problems, version

A, B = "a" * 64, "b" * 64
CLEAN = f"""# Written by scripts/lock
aiohttp==3.14.5 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
    # via
    #   -r locks/build.in
    #   hotseat (pyproject.toml)
click==8.5.1 ; python_version >= "3.11" \\
    --hash=sha256:{B}
"""
LOCKS = Path(__file__).parents[2] / "locks"


def test_blocks_by_name() -> None:
    found = blocks(CLEAN)
    assert list(found) == ["aiohttp", "click"]
    assert version(found["aiohttp"]) == "3.14.5"
    assert hashes(found["aiohttp"]) == {A, B}
    assert hashes(found["click"]) == {B}


def test_a_clean_lock_has_no_problems() -> None:
    assert problems(CLEAN) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://index.example/simple",
        "-i https://index.example/simple",
        "--extra-index-url=https://user:token@index.example/simple",
        "--find-links wheels",
        "--trusted-host index.example",
        "    # via https://index.example/simple",
        "    # from /home/someone/wheels",
        "    # from ~/wheels",
        "    #   -r ../other.in",
        "thing @ file:///home/someone/thing.whl",
        "./thing.whl",
        "thing==1.0",
        "thing>=1.0 \\",
        "-e .",
    ],
)
def test_an_address_a_path_or_a_loose_requirement_is_a_problem(line: str) -> None:
    (problem,) = problems(f"{CLEAN}{line}\n")
    assert line.strip() in problem


def test_a_pin_without_a_hash_is_a_problem() -> None:
    assert problems("thing==1.0 \\\n    # via other\n") == ["thing: no hash"]


def test_an_empty_lock_is_a_problem() -> None:
    assert problems("# nothing\n") == ["no requirement in it"]


def test_the_command_fails_for_one_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text(CLEAN)
    bad.write_text(f"{CLEAN}-i https://index.example/simple\n")
    assert main([str(good)]) == 0
    assert main([str(good), str(bad)]) == 1
    assert "bad.txt: line 10:" in capsys.readouterr().err
    assert main([]) == 1


def test_the_runtime_is_the_same_in_both_locks() -> None:
    runtime = blocks((LOCKS / "runtime.txt").read_text())
    development = blocks((LOCKS / "dev.txt").read_text())
    assert runtime.keys() <= development.keys()
    assert {name for name in runtime if hashes(runtime[name]) != hashes(development[name])} == set()


def test_the_engine_is_pinned_to_one_file_and_in_no_other_lock() -> None:
    (name,) = engine = blocks((LOCKS / "engine.txt").read_text())
    assert len(hashes(engine[name])) == 1
    for other in ("runtime.txt", "dev.txt"):
        assert name not in blocks((LOCKS / other).read_text())
