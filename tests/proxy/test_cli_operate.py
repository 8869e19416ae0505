"""`hotseat reload`, and a real server whose file is edited under it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.client import Client
from tests.proxy.served import CONFIG, Serving, error_line, serving, write_config

NOT_WATCHED = CONFIG.replace("[server.limits]", "[server]\nwatch = false\n[server.limits]")


def hotseat(server: Serving, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--server", server.url])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as served:
        yield served


def names(server: Serving) -> set[str]:
    return {model["name"] for model in Client(server.url, None).state()["models"]}


def test_a_server_follows_its_file(server: Serving) -> None:
    file = server.folder / "models.toml"
    hotseat(server, "load", "quick")
    pid = min(server.workers(), key=lambda child: child.create_time()).pid  # the others are spare

    file.write_text(CONFIG + "[models.third]\n")
    assert server.process.stderr is not None
    said = server.process.stderr.readline()
    assert "the old configuration stays" in said
    assert "models.third" in said
    assert "second" in names(server)

    file.write_text(CONFIG.replace("[models.second]", "[models.third]"))
    while "third" not in names(server):
        pass
    assert "second" not in names(server)
    assert pid in [child.pid for child in server.workers()]

    code, stderr = server.stop()
    assert (code, stderr) == (0, "")


def test_hotseat_reload(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        write_config(tmp_path, NOT_WATCHED)
        answer = json.loads(hotseat(server, "reload", "--json").stdout)
        assert (answer["needs_restart"], answer["removed"]) == (["server.watch"], [])
        assert "quick" in answer["kept"]
        text = hotseat(server, "reload")
        assert "kept: quick, second" in text.stdout
        assert "removed: -\n" in text.stdout
        assert text.stderr == "these keys wait for a restart: server.watch\n"
        write_config(tmp_path, "[server\n")
        assert "not valid TOML" in error_line(hotseat(server, "reload"))
        assert "quick" in hotseat(server, "ps", "--all").stdout
