"""What a job needs is looked for before its first trial."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.consent import sold_models
from bench.errors import BenchError
from bench.ground import Address, ground
from bench.job import Job
from bench.own_server import LEASH, own_server
from bench.plan import Plan, load_plan
from bench.trial import Ground
from proxy.config import ProviderConfig, RouteConfig
from tests.bench.fake_harnesses import fake_harnesses
from tests.proxy.rig import Setup, run, serving

SCRIPT = "[model]\nmemory_bytes = 1000\n"
PLAN = """
name = "p"
parallel = {parallel}
tasks = ["smoke"]
[configurations.one]
harness = "codex"
main = "{main}"
"""


def plan_of(folder: Path, main: str = "big", parallel: int = 1, text: str = PLAN) -> Plan:
    (folder / "p.toml").write_text(text.format(main=main, parallel=parallel))
    return load_plan(folder / "p.toml")


def environ(folder: Path) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    programs = fake_harnesses(folder / "bin")
    return {
        "HOTSEAT_HARNESSES": str(programs),
        "HOTSEAT_HOME": str(folder / "home"),
        "PATH": os.environ["PATH"],
    }


async def stands(plan: Plan, folder: Path, url: str | None, environ: dict[str, str]) -> Ground:
    async with ground(Job(folder / "job", "job", ()), plan, Address(url, None), environ) as found:
        return found


def test_a_job_stands_on_a_server_its_harnesses_and_walls(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(models={"big": SCRIPT})) as rig:
            found = await stands(plan_of(tmp_path), tmp_path, rig.url, environ(tmp_path))
            (contestant,) = found.contestants.values()
            assert contestant.harness.name == "codex"
            assert contestant.installed.version
            assert found.hotseat
            assert sold_models(plan_of(tmp_path), found) == []

    run(main())


@pytest.mark.parametrize(
    ("main_model", "parallel", "expected"),
    [
        ("bigg", 1, r"configuration one: the server has no model 'bigg': .*--map bigg=MODEL; it has big"),
        ("embed", 1, "makes embeddings"),
        ("big", 3, "3 trials at once, and big has 2 slots: use --parallel 2"),
    ],
)
def test_a_model_that_will_not_do(tmp_path: Path, main_model: str, parallel: int, expected: str) -> None:
    async def main() -> None:
        models = Setup(models={"big": SCRIPT, "embed": SCRIPT}, embedding_models=("embed",))
        async with serving(tmp_path, models) as rig:
            with pytest.raises(BenchError, match=expected):
                await stands(plan_of(tmp_path, main_model, parallel), tmp_path, rig.url, environ(tmp_path))

    run(main())


def test_a_harness_or_a_program_that_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        env = environ(tmp_path)
        (tmp_path / "bin" / "codex").write_text("#!/bin/sh\nexit 1\n")
        with pytest.raises(BenchError, match=r"codex at .* does not start: run scripts/install-harnesses"):
            await stands(plan_of(tmp_path), tmp_path, "http://127.0.0.1:9", env)

    run(main())


def test_who_asks_no_model_needs_no_server(tmp_path: Path) -> None:
    async def main() -> None:
        text = PLAN.replace('harness = "codex"\nmain = "{main}"', 'harness = "oracle"')
        found = await stands(plan_of(tmp_path, text=text), tmp_path, "http://127.0.0.1:9", {})
        assert (found.client, found.contestants) == (None, {})

    run(main())


def test_models_that_others_sell_are_asked_only_if_somebody_said_so(tmp_path: Path) -> None:
    async def main() -> None:
        far = ProviderConfig("far", "http://127.0.0.1:9/v1")
        route = RouteConfig("far-away", "far", "vendor/model")
        models = Setup(models={"big": SCRIPT}, providers={"far": far}, routes={"far-away": route})
        async with serving(tmp_path, models) as rig:
            plan = plan_of(tmp_path, "far-away")
            found = await stands(plan, tmp_path, rig.url, environ(tmp_path / "env"))
            assert sold_models(plan, found) == ["far-away"]
            words = ["run", str(tmp_path / "p.toml"), "--job", str(tmp_path / "job"), "--url", rig.url]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "proxy.cli", "bench", *words, "--quiet"),
                cwd=Path(__file__).parents[2],
                env={**os.environ, "HOTSEAT_HARNESSES": str(tmp_path / "env" / "bin")},
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await process.communicate()
            assert process.returncode == 1
            assert said.decode().strip() == "hotseat: far-away may cost money: add --yes to have them asked"

    run(main())


def test_a_plan_has_a_server_of_its_own_for_as_long_as_it_needs_it(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "big.toml").write_text(SCRIPT)
        config = tmp_path / "models.toml"
        config.write_text('[models.big]\npath = "big.toml"\nengine = "scripted"\n')
        text = 'config = "models.toml"\n' + PLAN.lstrip()
        plan = plan_of(tmp_path, text=text)
        job = Job(tmp_path / "job", "job", ())
        async with ground(job, plan, Address(None, None), environ(tmp_path)) as found:
            assert found.client is not None
            assert set((await found.client.state()).models) == {"big"}
            servers = [one for one in psutil.Process().children(recursive=True) if "serve" in one.cmdline()]
            assert servers
        assert not any(one.is_running() for one in servers)
        assert (tmp_path / "job" / "server" / "serve.log").exists()
        config.write_text("nonsense = 1\n")
        with pytest.raises(BenchError, match=r"did not start: .*nonsense"):
            async with own_server(config, tmp_path / "folder", environ(tmp_path / "again")):
                pass

    run(main())


def test_what_is_on_a_leash_ends_with_whoever_holds_it(tmp_path: Path) -> None:
    """Also when that one is killed: the kernel closes the pipe."""
    program = (
        "import subprocess, sys\n"
        f"held = [sys.executable, {str(LEASH)!r}, 'sh', '-c', 'echo $$; sleep 600']\n"
        "subprocess.Popen(held, stdin=subprocess.PIPE).wait()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = psutil.Process(int(holder.stdout.readline()))
    holder.kill()
    holder.wait()
    holder.stdout.close()
    child.wait(timeout=30)


def test_a_leash_ends_as_what_is_on_it_did() -> None:
    command = [sys.executable, str(LEASH), "sh", "-c", "exit 7"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as leash:
        assert leash.wait(timeout=30) == 7
