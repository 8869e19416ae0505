"""`hotseat launch` against a real server: what a harness is started with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.server import ServerTrouble, fetch_offer
from proxy.cli import main
from tests.bench.fake_harnesses import fake_harnesses
from tests.proxy.served import (
    CANARY,
    CONFIG,
    ROOT,
    START_TIMEOUT_S,
    Serving,
    environment,
    error_line,
    serving_config,
    unused_address,
    write_config,
)

ROLES = (
    '[roles]\nmain = "quick"\nsmall = "second"\n[models.vectors]\npath = "second.toml"\nengine = "scripted"\n'
)
KEYED = f"{CONFIG}{ROLES}embeddings = true\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serve")
    fake_harnesses(folder / "bin")
    with serving_config(folder, write_config(folder, KEYED), HOTSEAT_API_KEY=CANARY) as started:
        yield started


def environ(server: Serving) -> dict[str, str]:
    folder = server.folder
    return environment(
        folder,
        HOTSEAT_SERVER=server.url,
        HOTSEAT_API_KEY=f"{CANARY},another",
        HOTSEAT_HARNESSES=str(folder / "bin"),
        XDG_DATA_HOME=str(folder / "data"),
        ANTHROPIC_API_KEY="sk-real",
    )


def hotseat(server: Serving, *arguments: str, **more: str) -> Result:
    return CliRunner().invoke(main, ["launch", *arguments], env={**environ(server), **more})


def test_the_offer_of_a_real_server(server: Serving) -> None:
    offer = fetch_offer(server.url, CANARY)
    assert offer.roles == {"main": "quick", "small": "second"}
    found = {model.name: model for model in offer.models}
    assert found["quick"].context_length == 4096
    assert found["quick"].aliases == ("q",)
    assert (found["quick"].is_local, found["quick"].problem) == (True, None)
    assert found["vectors"].embeddings
    assert "not downloaded" in (found["absent"].problem or "")


def test_launch_becomes_the_harness(server: Serving, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proxy.cli", "launch", "claude", "--", "--continue", "two words"]
    environ_ = {**environ(server), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environ_,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=True,
    )
    said = done.stdout.splitlines()
    assert said[0] == str(tmp_path)
    home = server.folder / "data" / "hotseat" / "launch" / "claude"
    assert f"CLAUDE_CONFIG_DIR={home}/claude" in said
    assert f"ANTHROPIC_BASE_URL={server.url}" in said
    assert f"ANTHROPIC_AUTH_TOKEN={CANARY}" in said
    assert "ANTHROPIC_DEFAULT_HAIKU_MODEL=small" in said
    assert f"HOME={environ_['HOME']}" in said
    assert not [line for line in said if line.startswith("ANTHROPIC_API_KEY=")]
    assert said[-4:] == [
        "argument: --model",
        "argument: quick",
        "argument: --continue",
        "argument: two words",
    ]
    assert home.stat().st_mode & 0o777 == 0o700
    assert done.stderr.startswith(
        "hotseat: note: quick has 4096 tokens of context, and claude-code's own prompt"
    )
    assert done.stderr.count("\n") == 1


def test_print_does_nothing_and_tells_no_key(server: Serving) -> None:
    result = hotseat(server, "opencode", "--print", "--main", "second", "--subagent", "scout=q")
    assert result.exit_code == 0
    assert CANARY not in result.output
    assert not (server.folder / "data" / "hotseat" / "launch" / "opencode").exists()
    config = result.stdout.split("opencode.json <<'HOTSEAT_END'\n")[1].split("HOTSEAT_END")[0]
    assert json.loads(config)["agent"]["scout"]["model"] == "hotseat/quick"
    assert "hotseat/second" in result.stdout.splitlines()[-2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["codex", "--main", "quik"], "the server has no model 'quik': it has quick"),
        (["codex", "--main", "vectors"], "'vectors' makes embeddings"),
        (["codex", "--main", "absent"], "not downloaded"),
        (["codex", "--main", "far-away"], "answered by far, for which the server has no key"),
        (["codex", "--subagent", "scout"], "expected NAME=MODEL, found 'scout'"),
        (["codex", "--subagent", "a=q", "--subagent", "a=q"], "two sub-agents are called 'a'"),
        (["codex", "--effort", "huge"], "Codex knows minimal, low, medium, high"),
        (["codex", "--url", unused_address()], "(connection refused): start one with scripts/serve"),
        (["codex", "--url", "ftp://x"], "expected an address like"),
        (["codex", "--url", "http://x:99999"], "expected an address like"),
        (["codex", "--url", "http://me:secret@x"], "hotseat: --url: expected an address like"),
        (["codecs"], "'codecs' is not one of 'opencode', 'codex', 'claude'"),
    ],
)
def test_trouble_is_one_line_with_its_remedy(server: Serving, arguments: list[str], said: str) -> None:
    assert said in error_line(hotseat(server, *arguments))


def test_a_wrong_key_and_none(server: Serving) -> None:
    assert "set HOTSEAT_API_KEY" in error_line(hotseat(server, "codex", HOTSEAT_API_KEY="wrong"))
    with pytest.raises(ServerTrouble, match="wants a key"):
        fetch_offer(server.url, None)


def test_an_address_has_no_path_but_v1(server: Serving) -> None:
    assert fetch_offer(f"{server.url}/v1/", CANARY).url == server.url
    with pytest.raises(ServerTrouble, match="--url"):
        fetch_offer(f"{server.url}/other", CANARY)


def test_help_imports_nothing_of_it_and_launch_no_server() -> None:
    """`hotseat --help` and `hotseat ps` pay for no other package."""
    code = (
        "import sys; from click.testing import CliRunner; from proxy.cli import main;"
        "result = CliRunner().invoke(main, ['{}', '--help']); assert result.exit_code == 0, result.output;"
        "print([name for name in sys.modules if name.startswith('{}')]); assert 'launch' in result.output"
    )
    for command, package in (("--help", "bench"), ("launch", "fastapi")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(command, package)],
            cwd=ROOT,
            env=_plain(os.environ),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=True,
        )
        assert done.stdout.strip() == "[]"


def _plain(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in environ}
