"""Nothing that costs money is asked before somebody has said so: a plan's models, a judge under any name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench.cli import bench
from bench.consent import agree, sold_models
from bench.errors import PlanError
from bench.ground import Address, ground
from bench.job import Job
from bench.plan import Plan, load_plan
from bench.trial import Ground
from tests.bench.fake_harnesses import fake_harnesses
from tests.proxy.served import Serving, serving_config

CONFIG = """
[server.limits]
keepalive = 0.2
[models.big]
path = "big.toml"
engine = "scripted"
[roles]
main = "big"
small = "far-away"
[providers.far]
base_url = "http://127.0.0.1:9/v1"
[routes."far-away"]
provider = "far"
model = "vendor/model"
"""
PLAN = """
name = "p"
tasks = ["smoke"]
[configurations.one]
harness = "codex"
main = "big"
[configurations.two]
harness = "codex"
main = "small"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "big.toml").write_text("[model]\nmemory_bytes = 1000\n")
    (folder / "models.toml").write_text(CONFIG)
    with serving_config(folder, folder / "models.toml") as served:
        yield served


def stands(plan: Plan, folder: Path, url: str) -> Ground:
    environ = {"HOTSEAT_HARNESSES": str(fake_harnesses(folder / "bin")), "PATH": "/usr/bin:/bin"}

    async def main() -> Ground:
        async with ground(Job(folder / "job", "job", ()), plan, Address(url, None), environ) as found:
            return found

    return asyncio.run(main())


def test_what_is_sold_of_a_plan_and_its_judge(server: Serving, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(PLAN)
    plan = load_plan(tmp_path / "p.toml")
    found = stands(plan, tmp_path, server.url)
    free = replace(plan, configurations=plan.configurations[:1])
    replays = replace(plan, replay=tmp_path)
    assert sold_models(plan, found) == ["far-away"]
    assert sold_models(free, found) == []
    assert sold_models(replays, found) == []
    for judge, sold in (("far-away", ["far-away"]), ("small", ["far-away"]), ("main", []), ("none", [])):
        assert sold_models(free, found, judge) == sold
        assert sold_models(replays, found, judge) == sold


def test_a_race_asks_before_a_judge_that_is_named_by_its_role(server: Serving, tmp_path: Path) -> None:
    environ = {"HOTSEAT_HARNESSES": str(fake_harnesses(tmp_path / "bin"))}
    words = ["race", "smoke", "--with", "codex:big", "--judge", "small", "--job", str(tmp_path / "job")]
    ended = CliRunner().invoke(bench, [*words, "--url", server.url], env=environ)
    assert ended.exit_code == 1
    assert "Error: far-away may cost money: add --yes to have them asked\n" in ended.stderr
    assert list((tmp_path / "job" / "trials").iterdir()) == []


def test_nobody_is_asked_where_nothing_is_sold_or_somebody_has_said_yes() -> None:
    agree([], yes=False)
    agree(["a"], yes=True)
    with pytest.raises(PlanError, match="a, b may cost money: add --yes to have them asked"):
        agree(["a", "b"], yes=False)


@pytest.mark.parametrize(("answer", "goes_on"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_somebody_is_asked(answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def asking() -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        agree(["a"], yes=False)

    ended = CliRunner().invoke(asking, input=answer)
    assert "a may cost money. Go on? [y/N]: " in ended.stderr
    assert (ended.exit_code == 0) == goes_on
