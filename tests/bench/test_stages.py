"""A specification worked through: a real server, real processes, a stand-in harness, a real repository."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click.testing
import pytest
from click.testing import CliRunner

from bench.cli import bench
from bench.cli_report import read_job
from bench.cli_stages import stages
from bench.errors import BenchError
from bench.harnesses.installed import Installed
from bench.job import opened
from bench.plan import Cell, Configuration, Plan
from bench.proxy_client import connected
from bench.reports.recomputed import report_of
from bench.results import TrialResult, read_result
from bench.sandbox import Isolation
from bench.server import fetch_offer
from bench.session import Contestant, Server
from bench.spec import parse_spec
from bench.stage_review import Review
from bench.stages import Wanted, plan_of, review, run_stages, staged
from bench.trial import Ground
from bench.watch import Caps
from tests.bench.stand_in import INTERPRETER, StandIn
from tests.proxy.rig import Setup, run, serving

CAPS = Caps(wall_s=60.0, idle_s=60.0)
PATIENCE_S = 110.0
SPEC = """# Totals

## Stage: sum
Write total.py.
### Acceptance
- It sums. check: `test "$(python3 total.py)" = 6`

## Stage: greet
Write greeting.txt.
### Acceptance
- It greets. check: `grep -qx ready greeting.txt`

## Stage: words
### Acceptance
- It reads well.
"""
USAGE = "usage = { input_tokens = 100, cached_tokens = 20, output_tokens = 10 }"
SCRIPTS = {
    "big": f'[model]\nmemory_bytes = 10\n[[turn]]\ntext = "yes"\n{USAGE}\n',
    "little": f'[model]\nmemory_bytes = 10\n[[turn]]\ntext = "done"\n{USAGE}\n',
}
WORK = """
import re
ask(PROMPT)
number = re.search(r"stage (\\d) of 3", PROMPT)[1]
state = pathlib.Path("STATE.md")
state.write_text(state.read_text() + f"stage {number} was here\\n")
SUM = "print(sum(int(line) for line in open('numbers.txt')))\\n"
if number == "1":
    pathlib.Path("total.py").write_text(SUM)
if number == "2":
    pathlib.Path("greeting.txt").write_text("ready\\n")
say(text="done", session=SESSION, tokens=[100, 20, 10, 0])
"""
BREAKS = WORK.replace('write_text("ready', 'write_text("reddy') + (
    'if number == "2": pathlib.Path("total.py").unlink()\n'
)


PLAN = Plan("totals", seed=0, attempts=1, parallel=1, caps=CAPS, tasks=(), configurations=())


def configuration(name: str, model: str) -> Configuration:
    return Configuration(name, "opencode", model, model, {}, None, "native")


FIRST, SECOND = configuration("first", "big"), configuration("second", "little")


def repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "numbers.txt").write_text("1\n2\n3\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start")
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


class Seen:
    def __init__(self) -> None:
        self.cells: list[str] = []
        self.begun = asyncio.Event()

    def began(self, cell: Cell) -> None:
        self.cells.append(cell.trial)
        self.begun.set()

    def ended(self, cell: Cell, result: TrialResult) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Place:
    """`job`: the folder. `contestant`: without a program."""

    job: Path
    repository: Path
    contestant: Contestant

    async def worked(
        self, program: str = WORK, text: str = SPEC, seen: Seen | None = None, **changes: Any
    ) -> tuple[Review, list[str]]:
        """One start of the command: the review, and the trials that it made."""
        spec = parse_spec(text.encode())
        start_from = changes.pop("start_from", None)
        wanted = Wanted(
            spec=spec,
            text=text.encode(),
            repository=self.repository,
            configurations=(FIRST, SECOND, FIRST),
            start_from=spec.stages[start_from - 1] if start_from else None,
            check_s=30.0,
        )
        wanted = replace(wanted, **changes)
        seen = seen or Seen()
        client = self.contestant.server.client
        with opened(self.job, plan_of(PLAN, wanted.configurations), {}, ()) as job:
            found = await asyncio.to_thread(staged, job, wanted)
            contestant = replace(self.contestant, installed=Installed(StandIn(program), INTERPRETER, "1"))
            ground = Ground(job.name, job.trials, CAPS, "0.1.0", {"opencode": contestant}, client)
            await run_stages(found, ground, seen)
            return review(job, spec), seen.cells

    def told(self, trial: str) -> str:
        return (self.job / "trials" / trial / "instruction.md").read_text()

    def result(self, trial: str) -> TrialResult:
        return read_result(self.job / "trials" / trial / "result.json")


@contextlib.asynccontextmanager
async def place(folder: Path, scripts: dict[str, str] = SCRIPTS) -> AsyncIterator[Place]:
    async with serving(folder, Setup(models=scripts)) as rig, connected(rig.url, None) as client:
        offer = await asyncio.to_thread(fetch_offer, rig.url, None)
        installed = Installed(StandIn(""), INTERPRETER, "1")
        contestant = Contestant(installed, Server(client, offer), Isolation(None, "not wanted here"))
        yield Place(folder / "job", repository(folder / "repo"), contestant)


ALL = ["1-sum-first-1", "2-greet-second-1", "3-words-first-1"]


def test_each_stage_is_fresh_and_starts_from_what_the_one_before_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            before = git(here.repository, "status", "--porcelain=v2", "--branch")
            found, made = await here.worked()
            assert made == ALL
            assert [one.state for one in found.stages] == ["passed", "passed", "unverified"]
            assert found.is_done
            assert [one.quality for one in found.stages] == [1.0, 1.0, 1.0]
            models = [here.result(trial).nodes[0].model for trial in ALL]
            assert models == ["big", "little", "big"]
            assert len({here.result(trial).run for trial in ALL}) == 3
            assert len({here.result(trial).task_digest for trial in ALL}) == 3
            assert found.spent.tokens.input == 300
            second = here.told(ALL[1])
            assert "Of 1 checks so far 1 passed." in second
            assert "- total.py (new): +1 -0" in second
            assert "STATE.md (" not in second
            assert "stage 1 was here" in second
            assert "stage 1 was here\nstage 2 was here" in here.told(ALL[2])
            assert git(here.repository, "status", "--porcelain=v2", "--branch") == before
            git(here.repository, "apply", "--index", str(here.job / "stages.patch"))
            assert git(here.repository, "diff", "--cached", "--name-only").split() == [
                "greeting.txt",
                "total.py",
            ]
            report = report_of([read_job(here.job, with_spans=True)])
            assert (report.jobs[0].planned, report.jobs[0].finished) == (3, 3)
            again, made = await here.worked()
            assert (again, made) == (found, [])

    run(main(), PATIENCE_S)


def test_it_ends_at_a_stage_that_fails_and_goes_on_as_it_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            found, made = await here.worked(BREAKS)
            assert made == ALL[:2]
            assert [one.state for one in found.stages] == ["passed", "failed", "not run"]
            assert [(end.stage, end.item) for end in found.stages[1].broken] == [(1, 1)]
            assert (await here.worked(BREAKS))[1] == []
            first = here.job / "trials" / ALL[0] / "result.json"
            stamp = first.stat().st_mtime_ns

            found, made = await here.worked(BREAKS, goes_on=True)
            assert made == ALL[2:]
            assert [one.state for one in found.stages] == ["passed", "failed", "unverified"]
            told = here.told(ALL[2])
            assert "Of 2 checks so far 0 passed." in told
            assert "FAILED, of stage 1: It sums." in told
            assert "FAILED, of stage 2: It greets." in told
            assert "total.py': [Errno 2]" in told
            assert "- total.py (deleted): +0 -1" in told

            found, made = await here.worked(WORK, start_from=2, configurations=(SECOND, FIRST, FIRST))
            assert made == ["2-greet-first-1", "3-words-first-2"]
            assert found.is_done
            assert [one.tries for one in found.stages] == [1, 2, 2]
            assert (found.spent.tries, found.spent.redone) == (5, 2)
            assert "stage 2 was here" in here.told("3-words-first-2")
            assert first.stat().st_mtime_ns == stamp
            assert (here.job / "trials" / ALL[1] / "result.json").exists()

    run(main(), PATIENCE_S)


def test_what_was_interrupted_is_done_again_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            seen = Seen()
            slow = WORK.replace('if number == "2":\n', 'if number == "2":\n    time.sleep(600)\n')
            task = asyncio.create_task(here.worked(slow, seen=seen))
            while len(seen.cells) < 2:
                seen.begun.clear()
                await seen.begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            record = json.loads((here.job / "stages.json").read_text())
            assert [one["trial"] for one in record["kept"]] == ALL[:2]
            found, made = await here.worked()
            assert made == ALL[1:]
            assert found.is_done
            assert (found.spent.tries, found.spent.redone) == (3, 0)

    run(main(), PATIENCE_S)


def test_a_stage_that_could_not_be_run_is_run_by_the_next_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path, SCRIPTS | {"little": '[load]\nfail = "the scripted cause"\n'}) as here:
            found, made = await here.worked()
            assert made == ALL[:2]
            assert [one.state for one in found.stages] == ["passed", "could not be run", "not run"]
            assert "the scripted cause" in found.stages[1].how_ended
            found, made = await here.worked(configurations=(FIRST, FIRST, FIRST))
            assert made == ["2-greet-first-1", "3-words-first-1"]
            assert found.is_done

    run(main(), PATIENCE_S)


def test_a_job_knows_its_specification_its_state_file_and_its_start(tmp_path: Path) -> None:
    idle = Configuration("idle", "nop", "", "", {}, None, "native")
    repo = repository(tmp_path / "repo")
    text = SPEC.replace('test "$(python3 total.py)" = 6', "grep -q 1 numbers.txt")
    text = text.split("## Stage: words")[0]

    async def worked(text: str, start_from: int | None = None, **changes: Any) -> tuple[Review, list[str]]:
        spec = parse_spec(text.encode())
        stage = spec.stages[start_from - 1] if start_from else None
        wanted = replace(Wanted(spec, text.encode(), repo, (idle,) * 2, stage, check_s=30.0), **changes)
        seen = Seen()
        with opened(tmp_path / "job", plan_of(PLAN, wanted.configurations), {}, ()) as job:
            found = staged(job, wanted)
            await run_stages(found, Ground(job.name, job.trials, CAPS, "0.1.0", {}), seen)
            return review(job, spec), seen.cells

    async def main() -> None:
        found, made = await worked(text)
        assert made == ["1-sum-idle-1", "2-greet-idle-1"]
        with pytest.raises(BenchError, match="rewritten"):
            await worked(text.replace("Write total.py.", "Write it."))
        with pytest.raises(BenchError, match=r"use --state STATE\.md"):
            await worked(text, state="OTHER.md")
        (repo / "numbers.txt").write_text("2\n3\n")
        git(repo, "commit", "-qam", "later")  # the job goes on from the commit that it began with
        mended = text.replace("Write total.py.", "Write it.").replace("ready greeting", "3 numbers")
        found, made = await worked(mended, start_from=1, repository=None)
        assert made == ["1-sum-idle-2", "2-greet-idle-2"]
        assert found.is_done
        assert (tmp_path / "job" / "spec.md").read_text() == mended
        assert (tmp_path / "job" / "stages.patch").read_bytes() == b""

    asyncio.run(main())


def test_its_patch_is_that_of_the_stages_that_count(tmp_path: Path) -> None:
    """Whatever moment a start was killed at; and a start that finds no server has changed nothing."""
    idle = Configuration("idle", "nop", "", "", {}, None, "native")
    repo, text = (
        repository(tmp_path / "repo"),
        SPEC.split("## Stage: greet")[0].replace('"$(python3 total.py)" = 6', "1"),
    )
    spec = parse_spec(text.encode())
    wanted = Wanted(spec, text.encode(), repo, (idle,), check_s=30.0)
    path = tmp_path / "job" / "stages.patch"
    with opened(tmp_path / "job", plan_of(PLAN, (idle,)), {}, ()) as job:
        asyncio.run(run_stages(staged(job, wanted), Ground(job.name, job.trials, CAPS, "0.1.0", {}), Seen()))
        path.unlink()
        assert staged(job, wanted).left == ()
        assert path.exists()
        kept = {one: one.read_bytes() for one in (path, job.folder / "stages.json", job.folder / "spec.md")}
        again = staged(job, replace(wanted, text=text.encode() + b"\n", start_from=spec.stages[0]))
        assert again.left == spec.stages
        assert {one: one.read_bytes() for one in kept} == kept
        asyncio.run(
            run_stages(replace(again, left=()), Ground(job.name, job.trials, CAPS, "0.1.0", {}), Seen())
        )
        assert path.exists()


# --- the command ---------------------------------------------------------------------------------


def command(folder: Path, *options: str, repo: Path | None = None) -> click.testing.Result:
    words = [str(folder / "SPEC.md"), "--repo", str(repo or folder / "repo"), "--job", str(folder / "job")]
    return CliRunner(env={"HOTSEAT_SERVER": ""}).invoke(stages, [*words, *options])


def test_the_command_without_a_model(tmp_path: Path) -> None:
    repository(tmp_path / "repo")
    (tmp_path / "SPEC.md").write_text(SPEC)
    plan = tmp_path / "mine.toml"
    plan.write_text('name = "mine"\ntasks = ["smoke"]\n[configurations.idle]\nharness = "nop"\n')
    done = command(tmp_path, "--with", "nop", "--stage", "greet=idle", "--plan", str(plan), "--json")
    said = json.loads(done.stdout)
    assert [one["state"] for one in said["stages"]] == ["failed", "not run", "not run"]
    assert said["stages"][0]["failed"][0]["command"] == 'test "$(python3 total.py)" = 6'
    assert "to do: 1-sum, by nop\nto do: 2-greet, by idle\n" in done.stderr
    done = command(tmp_path, "--with", "nop", "--quiet", "--go-on")
    assert done.stderr == ""
    assert "stage 1 failed: --from 1 runs it again\n" in done.stdout
    assert "# Stages of Totals" in (tmp_path / "job" / "review.md").read_text()
    assert (tmp_path / "job" / ".gitignore").read_text() == "*\n"


def test_its_folder_is_nobody_elses(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    (tmp_path / "SPEC.md").write_text(SPEC)
    words = [str(tmp_path / "SPEC.md"), "--repo", str(repo), "--job", str(repo), "--with", "nop"]
    done = CliRunner(env={"HOTSEAT_SERVER": ""}).invoke(stages, words)
    assert "it holds .git and no such job: take a new folder with --job" in done.stderr
    assert sorted(path.name for path in repo.iterdir()) == [".git", "numbers.txt"]


def test_what_its_stages_did_is_taken_over_together(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    text = "## Stage: one\n### Acceptance\n- ok. check: `true`\n## Stage: two\n### Acceptance\n- good\n"
    (tmp_path / "SPEC.md").write_text(text)
    assert command(tmp_path, "--with", "nop").exit_code == 0
    patch = b"--- a/numbers.txt\n+++ b/numbers.txt\n@@ -1,3 +1,2 @@\n 1\n-2\n 3\n"
    (tmp_path / "job" / "stages.patch").write_bytes(b"diff --git a/numbers.txt b/numbers.txt\n" + patch)
    words = ["apply", str(tmp_path / "job")]
    done = CliRunner().invoke(bench, [*words, "2-two-nop-1"])
    assert "its stages stand on each other, and are taken over together" in done.stderr
    done = CliRunner().invoke(bench, [*words, "--json"])
    said = json.loads(done.stdout)
    assert (said["trial"], said["configuration"], said["files"]) == ("stages", "nop", ["numbers.txt"])
    assert "note: not all of its stages passed: 2 (two) unverified" in done.stderr
    assert git(repo, "status", "--porcelain") == " M numbers.txt\n"
    subprocess.run(said["undo"], shell=True, check=True)
    assert git(repo, "status", "--porcelain") == ""
    (tmp_path / "job" / "stages.patch").unlink()
    assert "no stage of it is finished" in CliRunner().invoke(bench, words).stderr


def test_what_cannot_be_done_is_said_in_a_line(tmp_path: Path) -> None:
    repository(tmp_path / "repo")
    (tmp_path / "SPEC.md").write_text(SPEC)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "SPEC.md").write_text("# nothing\n")
    cases = [
        ("", (), "who does stage 1 (sum)? Say it with --with or --stage"),
        ("", ("--stage", "1=nop", "--stage", "greet=nop"), "who does stage 3 (words)?"),
        ("", ("--with", "nop", "--stage", "9=nop"), "there is no stage '9'"),
        ("", ("--with", "nop", "--stage", "1"), "expected STAGE=CONFIG"),
        ("", ("--with", "nop", "--stage", "1=nop", "--stage", "sum=nop"), "stage 1 is there twice"),
        ("", ("--with", "oracle"), "a stage has no solution of its own"),
        ("", ("--with", "nobody:x"), "expected HARNESS:MODEL"),
        ("", ("--with", "nop", "--state", "../x"), "expected the name of a file"),
        ("bad", ("--with", "nop"), "no stages"),
        ("", ("--with", "nop", "--from", "2"), "stage 2 stands on stage 1"),
    ]
    for folder, options, expected in cases:
        done = command(tmp_path / folder, *options)
        assert (done.exit_code, done.stdout) == (1, ""), options
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert "no git repository" in command(tmp_path, "--with", "nop", repo=tmp_path / "bad").stderr
    other = repository(tmp_path / "other")
    assert "was begun with" in command(tmp_path, "--with", "nop", repo=other).stderr
