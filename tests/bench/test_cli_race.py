"""`hotseat bench race` and `hotseat bench apply` as somebody types them, on candidates that ask no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import bench
from bench.race import Race, Request, Size, user_race, write_race
from bench.race_end import Ended
from bench.results import Manifest, TrialResult, write_result
from bench.selection.record import Selection, SelectionFile, write_selection
from tests.bench.user_repository import fingerprint, git, make_repository, patch_of, write

CHECK = 'python3 -c "from f import f; assert f(2) == 4"'


def said(*words: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(bench, [str(word) for word in words], input=stdin)


def test_a_race_of_one_of_hotseats_tasks(tmp_path: Path) -> None:
    done = said("race", "smoke", "--with", "oracle,nop", "--job", tmp_path / "job", "--json")
    assert done.exit_code == 0, done.output
    ended = json.loads(done.stdout)
    rewards = {one["configuration"]: (one["reward"], one["added"]) for one in ended["candidates"]}
    assert rewards == {"oracle": (1.0, 4), "nop": (0.0, 0)}
    assert list(rewards) == ["oracle", "nop"]
    assert (ended["task"], ended["repo"], ended["baseline"], ended["selections"]) == ("smoke", "", None, None)
    again = said("race", "smoke", "--with", "oracle,nop", "--job", tmp_path / "job")
    assert again.exit_code == 0
    assert "begins" not in again.stderr
    assert "oracle     scored   1.00" in again.stdout
    assert "apply" not in again.stdout


def test_a_race_on_a_users_repository(tmp_path: Path) -> None:
    repo, job = make_repository(tmp_path / "repo"), tmp_path / "repo" / "jobs" / "one"
    before = fingerprint(repo)
    done = said(
        *("race", "--prompt", "-", "--repo", repo, "--with", "nop", "--check", CHECK, "--check", "true"),
        *("--probe", "three=python3 -c 'import f; print(f.f(3))'", "--tag", "maths", "--job", job),
        stdin="Double it.\n",
    )
    assert done.exit_code == 0, done.output
    assert "before anybody begins, 1 of 2 checks pass" in done.stderr
    assert "nop        scored   1 of 2  nothing" in done.stdout
    kept = json.loads((job / "race.json").read_text())
    assert (kept["prompt"], kept["baseline"], kept["configurations"]) == ("Double it.\n", 0.5, ["nop"])
    assert kept["tags"] == ["maths"]
    assert {name: seen for name, seen in fingerprint(repo).items() if not name.startswith("jobs/")} == before
    assert git(repo, "status", "--porcelain") == ""


def test_checks_that_all_pass_before_and_no_checks_at_all_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(tmp_path / "repo")
    (tmp_path / "p.md").write_text("Double it.")
    monkeypatch.chdir(tmp_path)
    given = ("race", "--prompt", "p.md", "--repo", "repo", "--with", "nop")
    done = said(*given, "--check", "true", "--job", "a")
    assert done.exit_code == 0, done.output
    assert "they can tell who breaks something" in done.stderr
    done = said(*given, "--job", "b")
    assert "nothing is verified" in done.stderr
    assert "unverified" in done.stdout
    quiet = said(*given, "--job", "c", "--quiet")
    assert quiet.stderr == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("race",), "expected TASK, or --prompt FILE and --repo PATH"),
        (("race", "smoke", "--check", "true"), "TASK brings its prompt"),
        (("race", "smoke"), "--with: say who races"),
        (("race", "nothing", "--with", "nop"), "there is no task 'nothing'"),
        (("race", "smoke", "--with", "nop:x"), "expected HARNESS:MODEL"),
        (("race", "smoke", "--with", "nop", "--plan", "nowhere"), "Hotseat's own plans are"),
        (("race", "smoke", "--with", "nop", "--wall", "soon"), "expected a duration"),
        (("race", "--prompt", "none", "--repo", "."), "No such file"),
        (("race", "--prompt", "p.md", "--repo", ".", "--probe", "x"), "expected NAME=COMMAND"),
        (("race", "--prompt", "p.md", "--repo", ".", "--tag", "A b"), "a-z 0-9"),
        (("race", "--prompt", "empty", "--repo", ".", "--with", "nop"), "it is empty"),
        (("race", "--prompt", "p.md", "--repo", ".", "--with", "nop"), "no git repository"),
        (("race", "--prompt", "p.md", "--repo", ".", "--with", "nop", "--notes"), "nothing to note"),
        (
            ("race", "--prompt", "p.md", "--repo", ".", "--check", "true", "--with", "nop", "--notes"),
            "has no .hotseat/notes.jsonl",
        ),
    ],
)
def test_what_cannot_be_raced_is_said_in_a_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.md").write_text("Double it.")
    (tmp_path / "empty").write_text(" \n")
    done = said(*words)
    assert done.exit_code != 0
    assert message in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output
    assert list(tmp_path.glob("jobs/*/trials")) == []


def test_a_race_of_our_own_task_begins_the_notes_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = said("race", "smoke", "--with", "nop", "--notes")
    assert done.exit_code == 0, done.output
    assert f"notes: begins {tmp_path / '.hotseat' / 'notes.jsonl'}" in done.output
    assert (tmp_path / ".hotseat" / "notes.jsonl").read_bytes() == b"", "nop is no configuration of anybody"


def test_the_next_command_names_the_best_candidate_and_can_be_pasted(tmp_path: Path) -> None:
    job = tmp_path / "my jobs"
    race = Race(repo="/r", prompt="p", task="t", task_digest="d")
    results = [
        result(f"t-{name}-1", name, "t", "d", reward=worth) for name, worth in (("a", 0.0), ("b", 1.0))
    ]
    ended = Ended(job, race, results, {one.trial: Size(1, 1, 0) for one in results})
    assert f"take one over: hotseat bench apply '{job}' b" in ended.text()


def test_another_race_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    assert said("race", "smoke", "--with", "nop", "--job", tmp_path / "job").exit_code == 0
    done = said("race", "smoke", "--with", "nop,oracle", "--job", tmp_path / "job")
    assert "its race has other configurations or bounds" in done.output
    done = said("race", "bugfix-5", "--with", "nop", "--job", tmp_path / "job")
    assert "it is the race of smoke" in done.output


# --- apply ----------------------------------------------------------------------------------------


def raced(folder: Path, **patches: bytes) -> tuple[Path, Path]:
    """A repository, and a job with a trial for each patch."""
    repo, job = make_repository(folder / "repo"), folder / "job"
    race = user_race(job, Request(repo, "Double it.\n\nPlease.", (CHECK,)))
    write_race(job, race.model_copy(update={"configurations": tuple(patches)}))
    for name, patch in patches.items():
        trial = job / "trials" / f"{race.task}-{name}-1"
        trial.mkdir(parents=True)
        (trial / "diff.patch").write_bytes(patch)
        write_result(trial, result(trial.name, name, race.task, race.task_digest))
    return repo, job


def result(trial: str, name: str, task: str, digest: str, **given: Any) -> TrialResult:
    fields: dict[str, Any] = {
        "job": "job", "trial": trial, "run": "r", "task": task, "task_digest": digest, "configuration": name,
        "attempt": 1, "seed": 1, "policy": "native", "started_at": 0.0, "outcome": "scored",
        "why_ended": "exited", "validity": "VALID", "reward": 1.0, "wall_s": 1.0, "waited_s": 0.0,
        "overhead_s": 0.0, "verifier_s": 0.0,
        "manifest": Manifest(hotseat="1", harness="codex", harness_version="1"),
    }  # fmt: skip
    return TrialResult(**fields | given)


@pytest.fixture(name="doubled")
def _doubled(tmp_path: Path) -> bytes:
    return patch_of(make_repository(tmp_path / "model"), {"f.py": "def f(x):\n    return 2 * x\n"})


def chosen(job: Path, *decisions: tuple[str, str | None]) -> None:
    selections = tuple(
        Selection(
            task="t", task_digest="d", attempt=1, judge="m", run="r", basis="patch",
            decision="chosen" if trial else "tie", trial=trial, configuration=name, why="because",
            standings=(),
        )
        for name, trial in decisions
    )  # fmt: skip
    write_selection(job, SelectionFile(judge="m", run="r", selections=selections))


def test_a_candidate_is_taken_over_by_its_name_or_its_trial(tmp_path: Path, doubled: bytes) -> None:
    repo, job = raced(tmp_path, codex=doubled, other=b"")
    done = said("apply", job, "codex", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["place"], told["files"], told["merged"]) == ("the working tree", ["f.py"], False)
    assert git(repo, "status", "--porcelain") == " M f.py\n"
    done = said("apply", job, "codex")
    assert "uncommitted changes where the patch goes: f.py" in done.output
    git(repo, "checkout", "--quiet", "f.py")
    done = said("apply", job, told["trial"])
    assert done.exit_code == 0
    assert "undo: git -C " in done.stdout
    assert "whoever made it changed nothing" in said("apply", job, "other").output
    assert "no trial or configuration 'x': it has codex, other" in said("apply", job, "x").output


def test_without_a_name_it_is_what_was_chosen(tmp_path: Path, doubled: bytes) -> None:
    repo, job = raced(tmp_path, codex=doubled, other=doubled)
    assert "nobody has chosen yet: name a candidate (codex, other)" in said("apply", job).output
    chosen(job, ("codex", None))
    assert "tie: because: name a candidate" in said("apply", job).output
    trial = next(path.name for path in (job / "trials").iterdir() if "codex" in path.name)
    chosen(job, ("codex", trial), ("other", trial))
    assert "2 trials were chosen: name one" in said("apply", job).output
    chosen(job, ("codex", trial))
    done = said("apply", job)
    assert f"codex ({trial}): 1 file in the working tree of {repo}" in done.stdout


def test_a_branch_takes_its_message_from_the_prompt(tmp_path: Path, doubled: bytes) -> None:
    repo, job = raced(tmp_path, codex=doubled)
    write(repo, {"f.py": "mine\n"})
    done = said("apply", job, "codex", "--branch", "try")
    assert done.exit_code == 0, done.output
    assert git(repo, "log", "-1", "--format=%s", "try") == "Double it.\n"
    assert (repo / "f.py").read_text() == "mine\n"


def test_another_clone_may_be_named(tmp_path: Path, doubled: bytes) -> None:
    repo, job = raced(tmp_path, codex=doubled)
    git(tmp_path, "clone", "--quiet", str(repo), "clone")
    assert said("apply", job, "codex", "--repo", tmp_path / "clone").exit_code == 0
    assert git(tmp_path / "clone", "status", "--porcelain") == " M f.py\n"
    assert git(repo, "status", "--porcelain") == ""


def test_a_trial_that_does_not_count_is_noted(tmp_path: Path, doubled: bytes) -> None:
    _, job = raced(tmp_path, codex=doubled)
    (folder,) = (job / "trials").iterdir()
    race = json.loads((job / "race.json").read_text())
    bad = result(
        folder.name,
        "codex",
        race["task"],
        race["task_digest"],
        validity="INVALID",
        invalid_because=("no wire",),
    )
    write_result(folder, bad)
    assert "note: this trial is scored, INVALID: no wire" in said("apply", job, "codex").stderr


def test_a_job_without_a_repository_wants_one(tmp_path: Path) -> None:
    assert said("race", "smoke", "--with", "oracle", "--job", tmp_path / "job").exit_code == 0
    assert "name one with --repo" in said("apply", tmp_path / "job", "oracle").output
    repo = make_repository(tmp_path / "repo")
    assert said("apply", tmp_path / "job", "oracle", "--repo", repo).exit_code == 0
    assert "?? " in git(repo, "status", "--porcelain")


def test_a_race_that_is_not_noted_leaves_no_notes_and_one_that_is_does(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"f.py": "x = 1\n", ".hotseat/notes.jsonl": ""})
    given = ("race", "--prompt", "-", "--repo", repo, "--with", "nop", "--check", "true")
    assert said(*given, "--job", tmp_path / "a", stdin="Do it.").exit_code == 0
    assert (repo / ".hotseat" / "notes.jsonl").read_text() == ""
    done = said(*given, "--job", tmp_path / "b", "--notes", stdin="Do it.")
    assert done.exit_code == 0, done.output
    assert "notes: " in done.stderr
