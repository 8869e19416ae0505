"""Races with a real server, real processes and a stand-in harness; a user's repository is only read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bench.candidates import clusters, fields_of
from bench.errors import BenchError
from bench.harnesses.installed import Installed
from bench.job import opened
from bench.plan import Cell, Plan
from bench.proxy_client import connected
from bench.race import (
    Line,
    Race,
    Request,
    baseline,
    kept_plan,
    line_up,
    patch_size,
    read_race,
    run_race,
    size_of,
    task_race,
    user_race,
    write_race,
)
from bench.race_board import State
from bench.race_order import Models, Room
from bench.race_plan import RacePlan, plan_text
from bench.repository import Repository
from bench.results import TrialResult, read_result
from bench.sandbox import Isolation
from bench.server import fetch_offer
from bench.session import Contestant, Server
from bench.task import load_task, named_task
from bench.trial import Ground
from bench.user_task import ProbeCommand
from bench.watch import Caps, Wire
from tests.bench.stand_in import INTERPRETER, StandIn
from tests.bench.user_repository import commit, fingerprint, git, make_repository, write
from tests.proxy.rig import Rig, Setup, run, serving

CAPS = Caps(wall_s=30.0, idle_s=30.0)
USAGE = "usage = { input_tokens = 100, output_tokens = 10 }"
DOUBLES = 'python3 -c "from f import f; assert f(2) == 4"'
PRINTS = ProbeCommand("What is f(3)?", 'python3 -c "from f import f; print(f(3))"')
WORK = """
answer = ask(PROMPT)
if answer != "nothing":
    pathlib.Path("f.py").write_text("def f(x):\\n    return " + answer + "\\n")
say(text="done", session=SESSION, tokens=[100, 0, 10, 0])
"""


def script(text: str, memory_bytes: int = 10) -> str:
    """Of a model that answers every question with the same words."""
    return f'[model]\nmemory_bytes = {memory_bytes}\n[[turn]]\ntext = "{text}"\n{USAGE}\n'


SCRIPTS = {
    "right": script("2 * x"),
    "subtle": script("x + 2"),
    "also-right": script("x + x"),
    "idle": script("nothing"),
}


@dataclass
class Seen:
    """A watcher that remembers."""

    said: list[tuple[str, str]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    together: list[set[str]] = field(default_factory=list)
    wires: dict[str, Wire] = field(default_factory=dict)

    def began(self, cell: Cell) -> None:
        self.said.append(("began", cell.configuration.name))
        self.running.add(cell.configuration.name)
        self.together.append(set(self.running))

    def saw(self, cell: Cell, state: State, wire: Wire) -> None:
        if wire.requests:
            self.wires[cell.configuration.name] = wire

    def ended(self, cell: Cell, result: TrialResult) -> None:
        self.said.append(("ended", cell.configuration.name))
        self.running.remove(cell.configuration.name)

    def draw(self) -> None: ...


def the_plan(folder: Path, entrants: Sequence[str], task: Any = "./task", **more: Any) -> Plan:
    return kept_plan(folder, plan_text(RacePlan("race", task, entrants, **more), None), {})


@contextlib.asynccontextmanager
async def server(folder: Path, program: str = WORK, **setup: Any) -> AsyncIterator[tuple[Rig, Ground]]:
    """And the ground of a job in `folder`/job."""
    given: dict[str, Any] = {"models": SCRIPTS, "slots": 4} | setup
    async with serving(folder, Setup(**given)) as rig, connected(rig.url, None) as client:
        offer = await asyncio.to_thread(fetch_offer, rig.url, None)
        installed = Installed(StandIn(program), INTERPRETER, "1.2.3")
        contestant = Contestant(installed, Server(client, offer), Isolation(None, "not wanted here"))
        trials = folder / "job" / "trials"
        yield rig, Ground("job", trials, CAPS, "0.1.0", {"opencode": contestant}, client)


def test_a_race_on_a_users_repository_from_its_prompt_to_its_patches(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    write(repo, {"f.py": "uncommitted\n"})
    before = fingerprint(repo)
    job_folder = tmp_path / "job"

    async def main() -> None:
        race = user_race(job_folder, Request(repo, "Double it.", (DOUBLES,), (PRINTS,), ("maths",)))
        assert race.head == git(repo, "rev-parse", "HEAD").strip()
        assert race.limits == ("uncommitted changes are not in it: f.py",)
        plan = the_plan(job_folder, [f"opencode:{name}" for name in ("right", "subtle", "also-right")])
        assert (await baseline(job_folder, plan.tasks[0])).scores == {"visible": 0.0}
        async with server(tmp_path) as (_, ground):
            with opened(job_folder, plan, {}, plan.cells()) as job:
                line = await line_up(plan.cells(), ground, plan.parallel)
                seen = Seen()
                await run_race(line, ground, seen)
                results = {one.configuration: one for one in job.finished().values()}
        assert {name: one.reward for name, one in results.items()} == {
            "opencode-right": 1.0,
            "opencode-subtle": 1.0,
            "opencode-also-right": 1.0,
        }
        assert all(one.validity == "VALID" for one in results.values())
        assert {tag for one in results.values() for tag in one.tags} == {"race", "maths"}
        assert seen.together[-1] == set(results)

    run(main())
    (found,) = fields_of(job_folder)
    assert [[one.name for one in group.candidates] for group in clusters(found.candidates)] == [
        ["opencode-also-right", "opencode-right"],
        ["opencode-subtle"],
    ]
    assert found.candidates[0].behaviour is not None
    assert found.candidates[0].behaviour.probes[0].question == "What is f(3)?"
    assert patch_size(job_folder, found.candidates[0].result.trial) == size_of(
        "diff --git a/f.py b/f.py\n@@ -2 +2 @@\n-a\n+b\n"
    )
    assert fingerprint(repo) == before
    git(repo, "checkout", "--quiet", "f.py")
    for one in found.candidates:
        git(repo, "apply", "--check", str(one.folder / "diff.patch"))


def test_candidates_wait_for_the_slots_of_their_model(tmp_path: Path) -> None:
    async def main() -> None:
        async with server(tmp_path, slots=1) as (_, ground):
            task_race(tmp_path / "job", named_task("smoke"))
            entrants = ["opencode:right", "opencode:right+right", "opencode:subtle"]
            plan = the_plan(tmp_path / "job", entrants, "smoke")
            line = await line_up(plan.cells(), ground, 3)
            seen = Seen()
            await run_race(line, ground, seen)
            on_right = {"opencode-right", "opencode-right+right"}
            assert all(not on_right <= running for running in seen.together)
            assert any("opencode-subtle" in running and running & on_right for running in seen.together)
            assert len(seen.said) == 6

    run(main())


def test_models_that_do_not_fit_together_are_each_loaded_once(tmp_path: Path) -> None:
    async def main() -> None:
        gib = 2**30
        models = {"a": script("x", 3 * gib), "b": script("x", 3 * gib), "c": script("x", gib)}
        async with server(tmp_path, models=models, budget_bytes=4 * gib + 2**20) as (rig, ground):
            task_race(tmp_path / "job", named_task("smoke"))
            entrants = ["opencode:a", "opencode:b", "opencode:a+c", "opencode:b+c", "opencode:c"]
            plan = the_plan(tmp_path / "job", entrants, "smoke")
            line = await line_up(plan.cells(), ground, 5)
            seen = Seen()
            await run_race(line, ground, seen)
            assert {frozenset(one) for one in line.models if one} == {
                frozenset(one) for one in ("a", "b", "c", "ac", "bc")
            }
            for running in seen.together:
                letters = {letter for name in running for letter in name.removeprefix("opencode-")}
                assert not {"a", "b"} <= letters
            state = await rig.get("/api/state")
            assert state["swaps"] <= 2
            assert len(list(ground.folder.glob("*/result.json"))) == 5

    run(main())


def test_a_watcher_hears_what_the_wire_says(tmp_path: Path) -> None:
    """The harness goes on until it was seen."""
    program = (
        WORK + 'import time\nwhile not pathlib.Path(os.environ["HOME"], "seen").exists(): time.sleep(0.01)\n'
    )

    class Ending(Seen):
        def saw(self, cell: Cell, state: State, wire: Wire) -> None:
            super().saw(cell, state, wire)
            if wire.requests == 1 and not wire.in_flight:
                begun = json.loads((tmp_path / "job" / "trials" / cell.trial / "begun.json").read_text())
                (Path(begun["workspace"]) / "home" / "seen").touch()

    async def main() -> None:
        async with server(tmp_path, program) as (_, ground):
            task_race(tmp_path / "job", named_task("smoke"))
            plan = the_plan(tmp_path / "job", ["opencode:right"], "smoke")
            seen = Ending()
            await run_race(await line_up(plan.cells(), ground, 1), ground, seen)
            assert seen.wires["opencode-right"].tokens == 110

    run(main())


def test_a_race_that_is_cancelled_ends_its_candidates_and_keeps_no_half_result(tmp_path: Path) -> None:
    async def main() -> None:
        program = 'ask("one"); import signal; signal.pause()\n'
        async with server(tmp_path, program) as (_, ground):
            task_race(tmp_path / "job", named_task("smoke"))
            plan = the_plan(tmp_path / "job", ["opencode:right", "opencode:subtle"], "smoke")
            both = asyncio.Event()

            class Starting(Seen):
                def saw(self, cell: Cell, state: State, wire: Wire) -> None:
                    super().saw(cell, state, wire)
                    if len(self.wires) == 2:
                        both.set()

            line = await line_up(plan.cells(), ground, 2)
            racing = asyncio.create_task(run_race(line, ground, Starting()))
            await both.wait()
            racing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await racing
            begun = [json.loads(path.read_text()) for path in ground.folder.glob("*/begun.json")]
            assert len(begun) == 2
            assert not any(map(os.path.exists, (one["workspace"] for one in begun)))
            assert list(ground.folder.glob("*/result.json")) == []

    run(main())


def test_who_asks_no_model_needs_no_server(tmp_path: Path) -> None:
    async def main() -> None:
        task_race(tmp_path / "job", named_task("smoke"))
        plan = the_plan(tmp_path / "job", ["oracle", "nop"], "smoke")
        ground = Ground("job", tmp_path / "job" / "trials", CAPS, "0", {})
        line = await line_up(plan.cells(), ground, 2)
        assert set(line.models) == {Models()}
        await run_race(line, ground, Seen())
        found = [read_result(path) for path in ground.folder.glob("*/result.json")]
        assert {one.configuration: one.reward for one in found} == {"oracle": 1.0, "nop": 0.0}

    run(main())


def test_an_infrastructure_failure_is_a_result_like_any_other(tmp_path: Path) -> None:
    """And does not end the others."""

    async def main() -> None:
        task_race(tmp_path / "job", named_task("smoke"))
        plan = the_plan(tmp_path / "job", ["opencode:gone", "nop"], "smoke")
        ground = Ground("job", tmp_path / "job" / "trials", CAPS, "0", {})
        cells = tuple(plan.cells())
        seen = Seen()
        await run_race(Line(cells, (Models(),) * 2, Room(2)), ground, seen)
        found = [read_result(path) for path in ground.folder.glob("*/result.json")]
        assert {one.outcome for one in found} == {"infrastructure", "scored"}

    run(main())


# --- what is kept of it ---------------------------------------------------------------------------


def test_a_race_that_was_begun_goes_on_from_its_own_commit(tmp_path: Path) -> None:
    repo, job = make_repository(tmp_path / "repo"), tmp_path / "job"
    asked = Request(repo, "Double it.", (DOUBLES,), (), ("maths",), 90.5)
    first = user_race(job, asked)
    write(repo, {"f.py": "later\n"})
    commit(repo, "two")
    assert user_race(job, asked) == first == read_race(job)
    assert (job / ".gitignore").read_text() == "*\n"
    for other, what in (
        (replace(asked, prompt="Else."), "prompt"),
        (replace(asked, checks=()), "checks"),
        (replace(asked, probes=(PRINTS,)), "probes"),
        (replace(asked, repository=make_repository(tmp_path / "other")), "repository"),
        (replace(asked, tags=("maths", "more")), "tags"),
        (replace(asked, check_s=600.0), r"limit for each check \(--check-timeout\)"),
    ):
        with pytest.raises(BenchError, match=f"its race has another {what}"):
            user_race(job, other)
    with pytest.raises(BenchError, match="it is the race of repo-double-it"):
        task_race(job, named_task("smoke"))
    task_race(tmp_path / "ours", named_task("smoke"))
    with pytest.raises(BenchError, match="its race has another repository"):
        user_race(tmp_path / "ours", asked)


def test_a_race_that_was_killed_before_it_was_noted_begins_again(tmp_path: Path) -> None:
    repo, job = make_repository(tmp_path / "repo"), tmp_path / "job"
    asked = Request(repo, "Double it.", (DOUBLES,))
    first = user_race(job, asked)
    (job / "race.json").unlink()
    assert user_race(job, asked) == first


@pytest.mark.parametrize("name", ["task/own.md", ".gitignore", "notes.md"])
def test_a_folder_with_somebodys_own_files_is_no_jobs(tmp_path: Path, name: str) -> None:
    repo, mine = make_repository(tmp_path / "repo"), tmp_path / "mine"
    write(mine, {name: "mine\n"})
    before = fingerprint(mine)
    with pytest.raises(BenchError, match="and no such job: take a new folder with --job"):
        user_race(mine, Request(repo, "Double it."))
    with pytest.raises(BenchError, match="and no such job: take a new folder with --job"):
        task_race(mine, named_task("smoke"))
    assert fingerprint(mine) == before


def test_a_race_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "--quiet")
    with pytest.raises(BenchError, match="it has no commit HEAD: commit something first"):
        user_race(tmp_path / "job", Request(repo, "Double it."))
    commit_of = make_repository(tmp_path / "other")
    with pytest.raises(BenchError, match="more than 24 h"):
        user_race(tmp_path / "job", Request(commit_of, "Double it.", ("true",) * 3, check_s=36_000.0))
    assert not (tmp_path / "job").exists()


def test_its_task_and_plan_are_read_again_by_whoever_reads_jobs(tmp_path: Path) -> None:
    repo, job = make_repository(tmp_path / "repo"), tmp_path / "job"
    race = user_race(job, Request(repo, "Double it.", (DOUBLES,)))
    plan = the_plan(job, ["nop"])
    assert (race.task, race.task_digest) == (plan.tasks[0].label, plan.tasks[0].digest)
    assert load_task(job / "task") == plan.tasks[0]
    with opened(job, plan, {}, plan.cells()):
        assert the_plan(job, ["nop"]) == plan
    with pytest.raises(BenchError, match="its race has other configurations or bounds"):
        the_plan(job, ["nop", "codex:a"])


def test_nobody_knows_the_solution_of_a_users_task(tmp_path: Path) -> None:
    user_race(tmp_path / "job", Request(make_repository(tmp_path / "repo"), "Double it."))
    with pytest.raises(BenchError, match="oracle: nobody knows the solution"):
        the_plan(tmp_path / "job", ["nop", "oracle"])


def test_a_check_whose_program_is_missing_is_found_out_before_anybody_is_paid(tmp_path: Path) -> None:
    user_race(
        tmp_path / "job",
        Request(make_repository(tmp_path / "repo"), "Double it.", ("true", "no-such-program -q")),
    )
    with pytest.raises(BenchError, match=r"--check 'no-such-program -q' ended with exit code 127"):
        asyncio.run(baseline(tmp_path / "job", load_task(tmp_path / "job" / "task")))


def test_a_file_that_is_no_race_is_named(tmp_path: Path) -> None:
    assert read_race(tmp_path) is None
    (tmp_path / "race.json").write_text('{"prompt": 1}')
    with pytest.raises(BenchError, match=r"race\.json: prompt: "):
        read_race(tmp_path)
    race = Race(prompt="p", task="t", task_digest="d")
    write_race(tmp_path, race)
    assert read_race(tmp_path) == race


def test_a_repository_with_attributes_of_its_own_gets_patches_that_apply(tmp_path: Path) -> None:
    """Its line ends would be changed on the way into the workspace."""
    repo = make_repository(tmp_path / "repo", {"f.py": "def f(x):\r\n    return x\r\n"})
    write(repo, {".gitattributes": "*.py text eol=lf\n"})
    git(repo, "add", ".gitattributes")
    git(repo, "commit", "--quiet", "--message", "attributes")
    job = tmp_path / "job"
    user_race(job, Request(repo, "Double it."))
    plan = the_plan(job, ["opencode:right"])

    async def main() -> None:
        program = WORK.replace("\\n", "\\r\\n")
        async with server(tmp_path, program) as (_, ground):
            await run_race(await line_up(plan.cells(), ground, 1), ground, Seen())

    run(main())
    (found,) = fields_of(job)
    (candidate,) = found.candidates
    assert candidate.result.scores == {"unverified": 1.0}
    places = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    repository = Repository.at(repo)
    repository.git("read-tree", "HEAD", places=places)
    repository.git("apply", "--cached", str(candidate.folder / "diff.patch"), places=places)
