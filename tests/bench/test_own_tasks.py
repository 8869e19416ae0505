"""Hotseat's own tasks: what is there twice is the same, and a seed changes what it should."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bench.task import TASKS, named_task, own_tasks, prepare
from bench.task_check import SEED, Checked, check_task, solve
from bench.verifier import Verdict, verify

GENERATED = sorted(path.parent.parent.name for path in TASKS.glob("*/environment/generate.py"))


def copies(name: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in TASKS.glob(f"*/tests/**/{name}")}


@pytest.mark.parametrize("name", ["probe.py", "outcome.py"])
def test_what_stands_beside_several_checks_is_one_thing(name: str) -> None:
    found = copies(name)
    assert len(found) > 1
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("name", ["api_check.py", "api_description.py", "api_ruby.py"])
def test_copies_of_our_own_modules_are_true(name: str) -> None:
    assert set(copies(name).values()) == {(TASKS.parent / name).read_bytes()}


def test_the_package_that_is_judged_by_is_the_one_that_was_given() -> None:
    task = TASKS / "chat-app"
    package = "parley/__init__.py"
    given = (task / "environment" / "workspace" / package).read_bytes()
    assert (task / "tests" / "real" / package).read_bytes() == given


@pytest.mark.parametrize(
    ("task", "given", "kept"),
    [
        ("optimise", "slow.py", "original/slow.py"),
        ("fork-spec", "tests/test_expenses.py", "visible/test_expenses.py.txt"),
    ],
)
def test_what_is_judged_beside_is_what_was_given(task: str, given: str, kept: str) -> None:
    folder = TASKS / task
    assert (folder / "tests" / kept).read_bytes() == (
        folder / "environment" / "workspace" / given
    ).read_bytes()


@pytest.mark.parametrize("name", GENERATED)
def test_checks_know_what_the_generator_made(name: str) -> None:
    task = TASKS / name
    assert (task / "tests" / "start.py").read_bytes() == (task / "environment" / "generate.py").read_bytes()


@pytest.mark.parametrize("name", own_tasks())
def test_every_task_builds_for_harbor(name: str) -> None:
    assert "/app" in (TASKS / name / "environment" / "Dockerfile").read_text()


def made(name: str, at: Path, seed: int) -> dict[str, bytes]:
    at.mkdir()
    prepare(named_task(name), at, seed)
    return {path.relative_to(at).as_posix(): path.read_bytes() for path in at.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", GENERATED)
def test_a_seed_is_a_workspace(name: str, tmp_path: Path) -> None:
    first, again, other = (made(name, tmp_path / f"{i}", seed) for i, seed in enumerate((1, 1, 2)))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("name", "parameters", "seed"),
    [
        ("migrate-30", {"n": 30}, 7),
        ("novel-api", {}, 8),
        ("research-impl", {}, 9),
        ("translate-24", {"n": 6}, 10),
        ("optimise", {}, 11),
    ],
)
def test_other_seeds_and_sizes_tell_right_from_wrong(
    name: str, parameters: dict[str, int], seed: int
) -> None:
    async def nothing_and_the_oracle() -> list[Checked]:
        found: list[Checked] = []
        async for checked in check_task(named_task(name, parameters), seed):
            found.append(checked)
            if checked.solution == "oracle":
                break
        return found

    found = asyncio.run(nothing_and_the_oracle())
    assert [checked.verdict.reward for checked in found] == [0, 1]


OUTLIVES = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(3, 256)
        with open("mine", "w") as file:
            file.write(str(os.getpid()))
        os.rename("mine", "alive")
        while not os.path.exists("ended"):
            time.sleep(0.01)
    os._exit(0)
while not os.path.exists("alive"):
    time.sleep(0.01)
answer = 42
"""


def test_nothing_that_a_program_starts_outlives_its_answers(tmp_path: Path) -> None:
    """It could write over the reward, once the checks have."""
    (tmp_path / "theirs.py").write_text(OUTLIVES)
    asked = (
        "import probe; from pathlib import Path;"
        f" print(probe.answers([probe.Group(({str(tmp_path)!r},), 'import theirs', ('theirs.answer',))],"
        f" Path({str(tmp_path)!r})))"
    )
    folder = TASKS / "fork-spec" / "tests"
    command = [sys.executable, "-B", "-c", asked]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    try:
        assert done.stdout == "[['42']]\n", done.stderr
        pid = int((tmp_path / "alive").read_text())
        assert not Path(f"/proc/{pid}").exists()
    finally:
        (tmp_path / "ended").touch()


@pytest.mark.parametrize(
    ("task", "solution", "broken"),
    [
        ("translate-24", "copies", {"labels", "form", "german"}),  # of the form: a title that is the same
        ("translate-24", "code", {"code"}),
        ("translate-24", "terms", {"labels"}),
        ("translate-24", "links", {"links"}),
        ("translate-24", "halfway", {"german"}),
        ("optimise", "half", {"nearest", "ways", "busiest"}),
        ("fork-spec", "filters", {"meant"}),
        ("fork-spec", "refuses", {"meant"}),
        ("fork-spec", "ignores", {"meant", "consistent"}),
        ("fork-spec", "mixes", {"meant", "consistent"}),
        ("rails-rubyllm", "secret", {"no_secret"}),
        ("rails-rubyllm", "unfinished", {"integration", "readme", "docker"}),
    ],
)
def test_each_way_to_be_wrong_costs_what_it_should(
    task: str, solution: str, broken: set[str], tmp_path: Path
) -> None:
    scores = judged(task, solution, tmp_path).scores
    assert {name for name, score in scores.items() if score < 1} == broken


def test_an_application_on_a_gem_that_was_imagined_is_worth_about_half(tmp_path: Path) -> None:
    """It is built well, and does not answer."""
    verdict = judged("rails-rubyllm", "hallucinated", tmp_path)
    assert verdict.scores["ruby_llm_as_it_is"] == 0
    assert verdict.reward is not None
    assert 0.3 <= verdict.reward <= 0.6


FRAMES = """
import sys
frame = sys._getframe()
while frame is not None:
    cost = frame.f_globals.get("cost")
    if cost is not None:
        frame.f_globals["cost"] = lambda *given, cost=cost: (1e-9, cost(*given)[1])
    frame = frame.f_back
"""
DAEMON = """
import os, marshal
slowly = dict(globals())
def elsewhere(name):
    def call(*given):
        reads, writes = os.pipe()
        first = os.fork()
        if not first:
            os.setsid()
            if os.fork():
                os._exit(0)
            try:
                os.write(writes, marshal.dumps(slowly[name](*given)))
            finally:
                os._exit(0)
        os.waitpid(first, 0)
        os.close(writes)
        return marshal.loads(open(reads, "rb").read())
    return call
for name in ("pairs",):
    globals()[name] = elsewhere(name)
"""


def verdict_on(name: str, files: dict[str, str], root: Path, **parameters: int) -> Verdict:
    """Of the workspace as it was given, with these files in it."""

    async def main() -> Verdict:
        task = named_task(name, parameters)
        for folder in ("app", "logs"):
            (root / folder).mkdir()
        prepare(task, root / "app", SEED)
        for path, text in files.items():
            (root / "app" / path).parent.mkdir(exist_ok=True)
            (root / "app" / path).write_text(text)
        return await verify(task, root / "app", root / "logs", SEED)

    return asyncio.run(main())


def test_no_program_is_fast_that_only_says_so(tmp_path: Path) -> None:
    """It reaches for whoever holds the clock, and has the work done by a process that nobody waits for."""
    slow = (TASKS / "optimise" / "environment" / "workspace" / "slow.py").read_text()
    assert verdict_on("optimise", {"slow.py": slow + FRAMES + DAEMON}, tmp_path).reward == 0


def test_a_page_without_an_end_is_wrong_and_does_not_hold_up_the_checks(tmp_path: Path) -> None:
    """As of a model that repeats itself: 200 kB of comments that begin took them 100 s a page."""
    pages = {f"de/{path.name}": "<!-- " * 40_000 for path in english_pages(6)}
    assert verdict_on("translate-24", pages, tmp_path, n=6).reward == 0


def english_pages(n: int) -> list[Path]:
    with tempfile.TemporaryDirectory() as folder:
        prepare(named_task("translate-24", {"n": n}), Path(folder), SEED)
        return sorted(Path(folder, "en").iterdir())


def judged(name: str, solution: str, root: Path) -> Verdict:
    async def main() -> Verdict:
        task = named_task(name)
        for folder in ("app", "home", "logs"):
            (root / folder).mkdir()
        prepare(task, root / "app", SEED)
        await solve(task, task.solutions()[solution], root, SEED)
        return await verify(task, root / "app", root / "logs", SEED)

    return asyncio.run(main())
