"""One cell with a real server, real processes and a stand-in harness: what is seen, judged and kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.harnesses.installed import Installed
from bench.plan import Cell, Configuration
from bench.proxy_client import connected
from bench.results import TrialResult, read_result
from bench.sandbox import Isolation
from bench.server import fetch_offer
from bench.session import Contestant, Server, folders_of
from bench.task import Task, load_task, named_task
from bench.trial import BEGUN, Ground, run_trial
from bench.watch import Caps
from tests.bench.stand_in import INTERPRETER, StandIn
from tests.proxy.rig import Rig, Setup, run, serving

GREET = 'pathlib.Path("greeting.txt").write_text("ready\\n")\n'
END = 'say(text="done", session=SESSION, tokens=[7, 0, 3, 0])\n'
CAPS = Caps(wall_s=30.0, idle_s=30.0)
OPEN = Isolation(None, "not wanted here")
USAGE = "usage = { input_tokens = 100, cached_tokens = 20, output_tokens = 10 }"
SCRIPTS = {
    "big": f'[model]\nmemory_bytes = 10\n[[turn]]\ntext = "yes"\n{USAGE}\n',
    "little": f'[model]\nmemory_bytes = 10\n[[turn]]\ntext = "done"\n{USAGE}\n',
    "ghost": '[[turn]]\n[turn.fault]\nkind = "error"\ncode = "model_not_found"\nmessage = "gone"\n',
    "other": "",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A job's folder, and the server beside it."""

    folder: Path
    rig: Rig
    ground: Ground

    async def tried(
        self, program: str, task: Task | None = None, caps: Caps = CAPS, **given: Any
    ) -> TrialResult:
        cell = the_cell(task or named_task("smoke"), **given)
        result = await run_trial(cell, replace(self.with_program(program), caps=caps))
        assert read_result(self.folder / cell.trial / "result.json") == result
        return result

    def with_program(self, program: str) -> Ground:
        contestant = self.ground.contestants["opencode"]
        installed = Installed(StandIn(program), INTERPRETER, "1.2.3")
        return replace(self.ground, contestants={"opencode": replace(contestant, installed=installed)})

    def kept(self, name: str) -> str:
        return (self.folder / the_cell(named_task("smoke")).trial / name).read_text()


def the_cell(task: Task, **given: Any) -> Cell:
    fields: dict[str, Any] = {
        "name": "pair",
        "harness": "opencode",
        "main": "big",
        "small": "big",
        "subagents": {"helper": "little"},
        "effort": None,
        "policy": "native",
    }
    return Cell(Configuration(**(fields | given)), task, attempt=1, seed=5)


@contextlib.asynccontextmanager
async def place(
    folder: Path, scripts: dict[str, str] = SCRIPTS, budget_bytes: int = 2**40
) -> AsyncIterator[Place]:
    setup = Setup(models=scripts, budget_bytes=budget_bytes)
    async with serving(folder, setup) as rig, connected(rig.url, None) as client:
        offer = await asyncio.to_thread(fetch_offer, rig.url, None)
        contestant = Contestant(Installed(StandIn(""), INTERPRETER, "1.2.3"), Server(client, offer), OPEN)
        trials = folder / "trials"
        yield Place(trials, rig, Ground("job", trials, CAPS, "0.1.0", {"opencode": contestant}, client))


def test_a_trial_from_its_workspace_to_its_result(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            program = (
                f'{GREET}ask("one"); ask("chore", SUBS["helper"], "agent-1"); ask("two")\n'
                'say(text="done", session=SESSION, tokens=[200, 40, 20, 0], delegated=True)\n'
            )
            result = await here.tried(program)
            assert (result.outcome, result.validity, result.error) == ("scored", "VALID", "")
            assert (result.reward, result.scores) == (0.5, {"greeting": 1.0, "total": 0.0})
            nodes = [(node.role, node.model, node.requests, node.tokens.input) for node in result.nodes]
            assert nodes == [("main", "big", 2, 200), ("subagent", "little", 1, 100)]
            assert (result.delegations, result.brief_chars) == (1, (5,))
            gap = result.claimed.tokens["input"]
            assert (gap.wire, gap.claimed) == (300, 200)
            assert result.findings == ()
            assert result.manifest.harness_version == "1.2.3"
            assert result.manifest.isolation.startswith("none: not wanted here")
            assert result.manifest.context == {"big": 4096, "little": 4096}
            assert result.manifest.cache == "cold"
            assert (result.swaps, result.wall_s > 0, result.verifier_s > 0) == (0, True, True)
            assert (result.load_waits, result.neighbours, result.server_swaps) == (0, 0, 0)
            assert result.manifest.aliases == {"big": "model-1", "little": "model-2"}
            assert set(result.manifest.models) == {"big", "little"}
            assert result.manifest.models["big"].startswith("sampled-sha256:")
            assert result.manifest.sampling == dict.fromkeys(("main", "subagent"), "max_tokens=100")
            assert "+ready" in here.kept("diff.patch")
            assert len(here.kept("rows.jsonl").splitlines()) == 3
            assert '"text": "done"' in here.kept("build.stdout")
            run_name = json.loads(here.kept(BEGUN))["run"]
            assert run_name == result.run
            status, _, _ = await here.rig.post("/r/" + run_name + "/v1/messages", {}, allow_redirects=False)
            assert status != 200
            again = await here.tried(program)
            assert again.manifest.cache == "warm"
            assert again.run != result.run

    run(main())


def test_a_harness_is_told_neutral_names_unless_the_plan_says_otherwise(tmp_path: Path) -> None:
    async def main() -> None:
        told = 'say(text=MAIN + " " + SUBS["helper"], session=SESSION)\n'
        async with place(tmp_path) as here:
            result = await here.tried('ask("one")\n' + told)
            assert (result.validity, '"model-1 model-2"' in here.kept("build.stdout")) == ("VALID", True)
            rows = [json.loads(line) for line in here.kept("rows.jsonl").splitlines()]
            assert [(row["requested_model"], row["model"]) for row in rows] == [("model-1", "big")]
            ground = replace(here.with_program('ask("one")\n' + told), native_names=True)
            result = await run_trial(the_cell(named_task("smoke")), ground)
            assert (result.validity, '"big little"' in here.kept("build.stdout")) == ("VALID", True)
            assert result.manifest.aliases == {}

    run(main())


def test_a_cap_on_the_context_is_told_and_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            program = 'assert ask("word " * 2000) == "400"; ask("one")\n' + END
            result = await here.tried(program, context=1024)
            assert (result.validity, result.outcome) == ("VALID", "scored"), result
            assert (result.manifest.context_cap, set(result.manifest.context.values())) == (1024, {1024})
            refused, _ = (json.loads(line) for line in here.kept("rows.jsonl").splitlines())
            assert refused["code"] == "context_length_exceeded"

    run(main())


def test_loads_are_counted_for_the_trial_whose_requests_made_them_necessary(tmp_path: Path) -> None:
    """The models do not fit together. Each trial's own: the other's are not its doing."""

    async def main() -> None:
        async with place(tmp_path, budget_bytes=15) as here:
            program = 'ask("one"); ask("chore", SUBS["helper"], "agent-1"); ask("two")\n' + END
            result = await here.tried(program)
            assert (result.swaps, result.load_waits, result.server_swaps) == (2, 2, 2)
            assert result.waited_s > 0
            calm = await here.tried('ask("one")\n' + END, subagents={})
            assert (calm.swaps, calm.load_waits) == (0, 0)

    run(main())


def test_two_trials_at_once_say_that_they_were_not_alone(tmp_path: Path) -> None:
    """They wait for each other's word in a file."""

    async def main() -> None:
        meeting = (
            f'here = pathlib.Path("{tmp_path}"); (here / SESSION).write_text("")\n'
            'while len(list(here.glob("meet-*"))) < 2: time.sleep(0.02)\n'
        )
        async with place(tmp_path) as here:
            programs = [f'ask("x"); SESSION = "meet-{i}"\n{meeting}{END}' for i in range(2)]
            async with asyncio.TaskGroup() as group:
                trials = [
                    group.create_task(run_trial(the_cell(named_task("smoke"), name=f"pair{i}"), ground))
                    for i, ground in enumerate(map(here.with_program, programs))
                ]
            results = [trial.result() for trial in trials]
            assert [(one.neighbours, one.validity) for one in results] == [(1, "VALID")] * 2

    run(main())


def test_a_circle_ends_a_trial(tmp_path: Path) -> None:
    """The same two answers again and again: by their digests, which the rows have."""

    async def main() -> None:
        turns = '[[turn]]\nmatch = {{ user_contains = "{}" }}\ntext = "{} again"\n'
        scripts = {**SCRIPTS, "big": turns.format("left", "right") + turns.format("right", "left")}
        async with place(tmp_path, scripts) as here:
            result = await here.tried('said = "left"\nwhile True: said = ask(said)')
            assert (result.why_ended, result.outcome, result.validity) == ("loop", "capped", "VALID")
            shas = [json.loads(line)["answer_sha"] for line in here.kept("rows.jsonl").splitlines()]
            assert len(set(shas)) == 2
            assert len(shas) >= 12
            varied = 'for i in range(40): ask("say " + str(i))\n' + END
            echo = {**SCRIPTS, "big": ""}
        (tmp_path / "echo").mkdir()
        async with place(tmp_path / "echo", echo) as here:
            result = await here.tried(varied)
            assert (result.why_ended, result.outcome) == ("exited", "scored")

    run(main())


def test_each_phase_is_told_in_the_same_session(tmp_path: Path) -> None:
    async def main() -> None:
        task = two_phases(tmp_path / "two-phases")
        program = (
            'name = "second" if sys.argv[2:] == ["resumed"] else "first"\n'
            'pathlib.Path(name).write_text(SESSION + " " + PROMPT); ask(PROMPT)\n'
            'say(text=name, session="of-my-own", tokens=[100, 20, 10, 0])\n'
        )
        async with place(tmp_path) as here:
            result = await here.tried(program, task)
            assert (result.reward, result.error) == (1.0, "")
            gaps = {name: (gap.wire, gap.claimed) for name, gap in result.claimed.tokens.items()}
            assert gaps["input"] == (200, 200)
            assert result.claimed.cost_usd == Decimal("1.0")
            broken = await here.tried('ask(PROMPT); say(error="it broke")', task)
            assert (broken.outcome, broken.error) == (
                "agent-failed",
                "it broke; 1 of its phases were not begun",
            )
            assert broken.reward == 0

    run(main())


def two_phases(folder: Path) -> Task:
    check = (
        'cd "$HOTSEAT_APP"; ok=0\n'
        '[ "$(cat first)" = "session-1 Build." ] && [ "$(cat second)" = "of-my-own Validate." ] && ok=1\n'
        'echo $ok > "$HOTSEAT_LOGS/verifier/reward.txt"\n'
    )
    files = {
        "task.toml": '[[steps]]\nname = "build"\n[[steps]]\nname = "validate"\n',
        "steps/build/instruction.md": "Build.",
        "steps/validate/instruction.md": "Validate.",
        "environment/workspace/notes.txt": "notes\n",
        "tests/test.sh": check,
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return load_task(folder)


def test_a_sub_agent_that_is_never_answered_is_no_zero_delegations(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            program = 'ask("one"); assert ask("chore", SUBS["helper"], "agent-1") == "404"\n' + END
            result = await here.tried(program, subagents={"helper": "ghost"})
            assert (result.validity, result.delegations, result.counts) == ("INVALID", 0, False)
            assert result.invalid_because == (
                "a sub-agent on ghost was never answered (404 model_not_found)",
            )
            assert result.outcome == "scored"

    run(main())


def test_a_model_that_the_configuration_does_not_name_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            result = await here.tried('assert ask("one", "other") == "403"; ask("two")\n' + END)
            assert result.validity == "VALID", result
            assert result.outcome == "scored"

    run(main())


def test_a_harness_that_asks_nothing_is_no_evidence(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            result = await here.tried(END)
            assert (result.validity, result.invalid_because) == (
                "INVALID",
                ("no request of it was answered",),
            )

    run(main())


def test_an_agent_that_looks_beside_its_repository_or_bends_it_is_caught(tmp_path: Path) -> None:
    async def main() -> None:
        task = replace(named_task("smoke"), protected=("numbers.txt",))
        program = (
            'found = [path.read_text() for path in pathlib.Path("..").glob("*.md")]\n'
            'pathlib.Path("numbers.txt").write_text("1"); ask("one")\nsay(text=found[0], session=SESSION)\n'
        )
        async with place(tmp_path) as here:
            result = await here.tried(program, task)
            assert result.findings == (
                "read beside its repository (seen in logs)",
                "changed numbers.txt, which it was told to leave",
            )

    run(main())


@pytest.mark.parametrize(
    ("program", "caps", "why", "outcome"),
    [
        ("ask('x')\nwhile True: time.sleep(1)", replace(CAPS, wall_s=1.5), "wall", "timed-out"),
        ("while True: ask('x')", replace(CAPS, requests=5), "requests", "capped"),
        ("while True: ask('x')", replace(CAPS, tokens=500), "tokens", "capped"),
    ],
)
def test_caps_end_it_and_what_it_left_is_judged(
    tmp_path: Path, program: str, caps: Caps, why: str, outcome: str
) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            result = await here.tried(GREET + program, caps=caps)
            assert (result.why_ended, result.outcome, result.reward) == (why, outcome, 0.5)
            assert result.wall_s < 15

    run(main())


def test_what_cannot_be_run_is_a_result_too(tmp_path: Path) -> None:
    async def main() -> None:
        broken = '[load]\nfail = "the scripted cause"\n'
        async with place(tmp_path, {**SCRIPTS, "big": broken}) as here:
            result = await here.tried(GREET)
            assert (result.outcome, result.validity, result.reward) == ("infrastructure", "INVALID", None)
            assert "the scripted cause" in result.error
            task = replace(named_task("smoke"), requires=("no-such-program",))
            result = await here.tried(GREET, task)
            assert "no-such-program" in result.error

    run(main())


def test_the_oracle_and_nobody_ask_no_model_and_count(tmp_path: Path) -> None:
    async def main() -> None:
        ground = Ground("job", tmp_path, CAPS, "0.1.0", {})
        none = {"main": "", "small": "", "subagents": {}}
        rewards = {}
        for harness in ("oracle", "nop"):
            cell = the_cell(named_task("smoke"), name=harness, harness=harness, **none)
            result = await run_trial(cell, ground)
            assert (result.validity, result.outcome, result.run, result.nodes) == ("VALID", "scored", "", ())
            rewards[harness] = result.reward
        assert rewards == {"oracle": 1.0, "nop": 0.0}

    run(main())


def test_what_a_killed_start_left_is_cleared_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            cell = the_cell(named_task("smoke"))
            folder = here.folder / cell.trial
            folder.mkdir(parents=True)
            (folder / "half.txt").write_text("")
            _, ticket, _ = await here.rig.post("/api/runs", {"name": "left-over"})
            (folder / BEGUN).write_text(json.dumps({"run": ticket["run"], "workspace": "/"}))
            await here.tried("ask('x')\n" + END)
            assert not (folder / "half.txt").exists()
            status, _, _ = await here.rig.post("/api/runs", {"name": "left-over"})
            assert status == 201  # it had been ended

    run(main())


def test_cancelling_a_trial_leaves_no_result_and_no_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with place(tmp_path) as here:
            cell = the_cell(named_task("smoke"))
            program = "ask('x')\ntime.sleep(600)"
            task = asyncio.create_task(run_trial(cell, here.with_program(program)))
            while not (await here.rig.get("/api/requests"))["requests"]:
                assert not task.done()
            begun = json.loads((here.folder / cell.trial / BEGUN).read_text())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not (here.folder / cell.trial / "result.json").exists()
            assert not os.path.exists(begun["workspace"])  # noqa: ASYNC240
            assert not [one for one in psutil.process_iter() if begun["workspace"] in _command(one)]
            status, _, _ = await here.rig.post("/api/runs", {"name": begun["run"]})
            assert status == 201  # its token was ended with it

    run(main())


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def test_a_program_needs_the_packages_around_it(tmp_path: Path) -> None:
    packages = tmp_path / "node_modules"
    (packages / "thing" / "bin").mkdir(parents=True)
    (packages / ".bin").mkdir()
    (packages / "thing" / "bin" / "thing.js").write_text("")
    link = packages / ".bin" / "thing"
    link.symlink_to("../thing/bin/thing.js")
    assert folders_of(link) == [packages / ".bin", packages / "thing" / "bin", packages]
