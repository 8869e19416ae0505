"""Where harnesses are found, what is said of them, and how their files are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.harnesses.base import Recipe
from bench.harnesses.installed import (
    HARNESSES,
    Installed,
    Verdict,
    ask,
    find,
    judge,
    pinned,
    verdicts,
    write_files,
)
from tests.bench.fake_harnesses import fake_harnesses

CLAUDE, CODEX = HARNESSES["claude"], HARNESSES["codex"]
PATH = "/usr/bin:/bin"


def test_a_program_is_looked_for_here_then_in_the_clone_then_in_path(tmp_path: Path) -> None:
    mine, path = fake_harnesses(tmp_path / "mine"), fake_harnesses(tmp_path / "path")
    clone = tmp_path / "clone"
    (clone / ".harnesses" / "node_modules").mkdir(parents=True)
    local = fake_harnesses(clone / ".harnesses" / "node_modules" / ".bin")
    environ = {"HOTSEAT_HARNESSES": str(mine), "PATH": str(path)}
    assert find("codex", environ, clone) == mine / "codex"
    assert find("codex", {"PATH": str(path)}, clone) == local / "codex"
    assert find("codex", {"PATH": str(path)}, tmp_path / "none") == path / "codex"
    assert find("codex", {"PATH": str(tmp_path)}, tmp_path / "none") is None


def test_the_version_is_asked_in_a_home_of_its_own(tmp_path: Path) -> None:
    folder = fake_harnesses(tmp_path / "bin", codex='touch "$HOME/touched"; echo codex-cli 1.2.3')
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOTSEAT_HARNESSES": str(folder), "PATH": PATH, "HOME": str(home)}
    assert ask(CODEX, environ) == Installed(CODEX, folder / "codex", "1.2.3")
    assert not list(home.iterdir())


@pytest.mark.parametrize("says", ["exit 1", "echo 1.2.3; exit 1", "echo no number"])
def test_a_program_that_does_not_say_its_version(tmp_path: Path, says: str) -> None:
    folder = fake_harnesses(tmp_path / "bin", codex=says)
    found = ask(CODEX, {"HOTSEAT_HARNESSES": str(folder), "PATH": PATH})
    assert judge(found, pinned()) == Verdict(
        "fail", f"codex: {folder}/codex does not start", "run scripts/install-harnesses"
    )


PINS = {"opencode": "1.0.0", "codex": "1.0.0", "claude": "2.1.330"}


@pytest.mark.parametrize(
    ("version", "status", "said"),
    [
        ("2.1.330", "ok", "claude-code 2.1.330 at /x/claude"),
        ("2.1.331", "note", "untested, Hotseat is tested with 2.1.330"),
        ("2.1.197", "note", "npm chooses it on Node 20 by itself"),
        ("1.9.999", "note", "one of 200,000 tokens"),
        ("2.1.198", "note", "untested"),
    ],
)
def test_what_is_said_of_a_version(version: str, status: str, said: str) -> None:
    verdict = judge(Installed(CLAUDE, Path("/x/claude"), version), PINS)
    assert verdict.status == status
    assert said in verdict.text
    assert (verdict.remedy == "") is (status == "ok")


def test_a_missing_harness_is_no_fault_and_without_pins_none_is_untested() -> None:
    missing = judge(Installed(CODEX, None), PINS)
    assert (missing.status, missing.text) == ("note", "codex: not installed")
    assert judge(Installed(CODEX, Path("/x"), "9.9.9"), {}).status == "ok"


def test_the_pins_are_the_lock_s(tmp_path: Path) -> None:
    assert pinned().keys() == {harness.binary for harness in HARNESSES.values()}
    assert pinned(tmp_path) == {}


def test_the_users_own_codex_configuration_is_looked_at(tmp_path: Path) -> None:
    environ = {
        "HOTSEAT_HARNESSES": str(fake_harnesses(tmp_path / "bin")),
        "PATH": PATH,
        "HOME": str(tmp_path),
    }
    assert [verdict.status for verdict in verdicts(environ)] == ["ok", "ok", "ok"]
    (tmp_path / ".codex").mkdir()
    config = tmp_path / ".codex" / "config.toml"
    config.write_text(
        '[model_providers.old]\nwire_api = "chat"\n[model_providers.new]\nwire_api = "responses"'
    )
    *_, trouble = verdicts(environ)
    assert trouble.status == "note"
    assert f'{config}: provider old has wire_api = "chat"' in trouble.text
    config.write_text("[broken")
    assert len(list(verdicts(environ))) == 3
    assert len(list(verdicts({**environ, "CODEX_HOME": str(tmp_path)}))) == 3


def test_files_are_for_this_user_only_and_seeds_are_written_once(tmp_path: Path) -> None:
    file, seed, merged = (tmp_path / "deep" / name for name in ("file", "seed", "merged"))
    recipe = Recipe({file: "1", merged: "new"}, {}, (), None, {seed: "s"}, {merged: lambda a, b: f"{a}+{b}"})
    write_files(recipe)
    seed.write_text("changed")
    file.write_text("changed")
    write_files(recipe)
    assert [path.read_text() for path in (file, seed, merged)] == ["1", "changed", "new+new"]
    assert {path.stat().st_mode & 0o777 for path in (file, merged)} == {0o600}
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700
    assert sorted(os.listdir(tmp_path / "deep")) == ["file", "merged", "seed"]
