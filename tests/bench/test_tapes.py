"""What providers answer in a job, recorded once and replayed without them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.aliases import replayed
from bench.errors import BenchError
from bench.harnesses.installed import Installed
from bench.plan import Cell, Configuration
from bench.proxy_client import connected
from bench.results import TrialResult
from bench.sandbox import Isolation
from bench.server import fetch_offer
from bench.session import Contestant, Server
from bench.tapes import Tape, Tapes, recorded_in, recording_name
from bench.task import named_task
from bench.trial import Ground, run_trial
from bench.watch import Caps
from bench.workspace import Workspace
from tests.bench.stand_in import INTERPRETER, StandIn
from tests.fake_openrouter import SONNET, openrouter, openrouter_url
from tests.proxy.remote_rig import KEYS, config_text, write_files
from tests.proxy.rig import Rig, run, serving_file
from tests.proxy.sockets import connections

NOWHERE = "http://127.0.0.1:9/api/v1"
PROGRAM = (
    'pathlib.Path("greeting.txt").write_text("ready\\n"); where = str(pathlib.Path.cwd())\n'
    'first = ask("I work in " + where); second = ask(first + PROMPT)\n'
    "say(text=second, session=SESSION, tokens=[1, 0, 1, 0])\n"
)


def cell(**given: str) -> Cell:
    configuration = Configuration("far", "opencode", "sonnet", "sonnet", {}, None, "native", **given)  # type: ignore[arg-type]
    return Cell(configuration, named_task("smoke"), attempt=1, seed=5)


@contextlib.asynccontextmanager
async def ground(rig: Rig, folder: Path, tapes: Tapes) -> AsyncIterator[Ground]:
    async with connected(rig.url, None) as client:
        offer = await asyncio.to_thread(fetch_offer, rig.url, None)
        offer = offer if tapes.recorded is None else replayed(offer)
        installed = Installed(StandIn(PROGRAM), INTERPRETER, "1.2.3")
        contestant = Contestant(installed, Server(client, offer), Isolation(None, "not wanted here"))
        yield Ground(
            "job", folder / "trials", Caps(30.0), "0.1.0", {"opencode": contestant}, client, tapes=tapes
        )


async def tried(rig: Rig, folder: Path, tapes: Tapes) -> TrialResult:
    async with ground(rig, folder, tapes) as stands:
        return await run_trial(cell(), stands)


def test_a_job_is_recorded_once_and_replayed_offline_for_nothing(tmp_path: Path) -> None:
    """The harness tells the model where it works, as the real ones do: it must be the same place again."""

    async def record() -> TrialResult:
        far = openrouter()
        async with far.running():
            path = write_files(tmp_path, config_text(openrouter_url(far), NOWHERE))
            async with serving_file(path, **dict[str, Any](KEYS)) as rig:
                return await tried(rig, tmp_path / "live", Tapes(records=True, job="live"))

    async def replay() -> TrialResult:
        path = write_files(tmp_path, config_text(NOWHERE, NOWHERE))
        with connections() as seen:
            async with serving_file(path, offline=True) as rig:
                recorded = recorded_in(tmp_path / "live", [cell()])
                again = await tried(rig, tmp_path / "again", Tapes(recorded=recorded, job="again"))
                assert set(seen) - {("127.0.0.1", -1)} == {("127.0.0.1", rig.port)}  # -1: it was looked up
                return again

    live = run(record())
    assert (live.outcome, live.validity, live.error) == ("scored", "VALID", "")
    assert live.cost_usd is not None
    assert live.cost_usd > 0
    assert live.manifest.recording.startswith("live-smoke")
    assert (live.manifest.models, live.manifest.aliases) == ({"sonnet": SONNET}, {"sonnet": "model-1"})
    again = run(replay())
    assert (again.outcome, again.validity, again.error) == ("scored", "VALID", "")
    assert (again.manifest.replay, again.manifest.recording) == (live.manifest.recording, "")
    assert again.cost_usd == Decimal(0)
    assert [node.cost_usd for node in again.nodes] == [Decimal(0)]
    assert (again.tokens, again.reward) == (live.tokens, live.reward)
    said = [
        (tmp_path / name / "trials" / cell().trial / "build.stdout").read_text() for name in ("live", "again")
    ]
    assert said[0] == said[1]


def test_what_was_not_recorded_is_no_trial(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no trials in it"):
        recorded_in(tmp_path, [cell()])
    (tmp_path / "trials").mkdir()
    with pytest.raises(
        BenchError, match=r"no recording of smoke-far-1: run its plan there with record = true"
    ):
        recorded_in(tmp_path, [cell()])
    with pytest.raises(BenchError, match="was not recorded"):
        Tapes(recorded={}).of(cell())
    nobody = replace(cell(), configuration=replace(cell().configuration, harness="nop"))
    assert recorded_in(tmp_path, [nobody]) == {}
    assert Tapes(records=True).of(nobody) is None
    assert Tapes().of(cell()) is None


def test_a_recording_has_a_name_of_its_own_that_a_server_takes() -> None:
    names = {recording_name("a job/of (mine)", "migrate-30_n_5_-x" * 9) for _ in range(5)}
    assert len(names) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", name) for name in names)


def test_a_taped_trial_works_where_it_worked_before(tmp_path: Path) -> None:
    task, place = named_task("smoke"), Tape("live-smoke-0123", "replay").place
    with Workspace.made_for(task, 1, place) as first:
        root = first.root
        with pytest.raises(BenchError, match="there already"), Workspace.made_for(task, 1, place):
            pass
        assert root.is_dir()
    with Workspace.made_for(task, 1, place) as again:
        assert again.root == root
    assert Tape("live-smoke-0124", "replay").place != place
