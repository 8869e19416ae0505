"""`hotseat bench notes`, over jobs as they lie in folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import bench
from bench.knowledge import append
from bench.note_entries import line_of
from tests.bench.noted_trials import changed, job_folder, noted
from tests.bench.report_results import result

REWARDS = {"a": 1.0, "b": 0.25}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A repository with a log and a job of two configurations, eight tasks each."""
    (tmp_path / ".git").mkdir()
    trials = [
        result(name, f"t{number}", reward=reward, tags=("python",), started_at=1.79e9)
        for name, reward in REWARDS.items()
        for number in range(8)
    ]
    job_folder(tmp_path / "jobs" / "j", *trials)
    with chdir(tmp_path):
        assert ran("init").exit_code == 0
        yield tmp_path


def ran(*words: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(bench, ["notes", *map(str, words)])


def asked(*words: str | Path) -> dict[str, Any]:
    ended = ran(*words, "--json")
    assert ended.exit_code == 0, ended.output
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_init_says_what_it_wrote_and_then_that_it_is_there(tmp_path: Path) -> None:
    with chdir(tmp_path):
        assert "no .hotseat/notes.jsonl: `hotseat bench notes init` begins one" in ran("rollup").output
        said = ran("init").stdout
        assert f"wrote {tmp_path}/.hotseat/notes.jsonl\nwrote {tmp_path}/.hotseat/.gitattributes\n" in said
        assert "merge=union" in said
        assert "merge=union" in (tmp_path / ".hotseat" / ".gitattributes").read_text()
        assert ran("init").stdout == f"{tmp_path}/.hotseat: the log is there already\n"


def test_a_job_is_added_once(place: Path) -> None:
    log = place / ".hotseat" / "notes.jsonl"
    assert ran("add", "jobs/j", "--by", "ann").stdout == f"{log}: 16 entries added, 0 known already\n"
    assert asked("add", "jobs/j", "--by", "ann") == {"log": str(log), "new": 0, "known": 16}


def test_nobody_is_named_who_did_not_say_so(place: Path) -> None:
    ran("add", "jobs/j")
    assert {one["remarks"] == [] for one in asked("list")["trials"]} == {True}
    assert b'"by":""' in (place / ".hotseat" / "notes.jsonl").read_bytes()


def test_from_a_job_to_a_suggestion(place: Path) -> None:
    ran("add", "jobs/j", "--note", "quick look")
    rows = asked("rollup", "--tag", "python", "--half-life", "none")["rows"]
    assert [(row["configuration"], row["mean_reward"], row["tasks"]) for row in rows] == [
        ("a", 1.0, 8),
        ("b", 0.25, 8),
    ]
    found = asked("suggest", "--tag", "python", "--half-life", "none")
    assert (found["verdict"], found["configuration"], found["compared"][0]["n"]) == ("named", "a", 8)
    assert found["sha"] == rows[0]["sha"]
    [claim] = asked("explain", "python", "a", "--half-life", "none")["claims"]
    assert {one["result"] for one in claim["behind"]} == {"here"}
    assert {one["remarks"][0]["note"] for one in claim["behind"]} == {"quick look"}
    assert claim["mean_reward"] == rows[0]["mean_reward"]


def test_text_says_the_same(place: Path) -> None:
    ran("add", "jobs/j")
    table = ran("rollup", "--half-life", "none").stdout.splitlines()
    assert table[0] == "TAG PYTHON (age does not matter)"
    assert table[2].split()[:5] == ["a", "1.00", "0.68–1.00", "8", "8"]
    said = ran("suggest", "--tag", "python", "--half-life", "none").stdout
    assert said.startswith("a: better on tasks tagged python than 1 other configuration tried there.\n")
    explained = ran("explain", "t3", "--half-life", "none").stdout
    assert "j/t3-a-1" in explained
    assert (
        "codex 1, main theirs, helper = small, scout = theirs (low), effort high, context 16,384" in explained
    )
    assert "16 of 16 noted trials\n" in ran("list").stdout


def test_a_trial_that_does_not_count_is_explained_without_a_weight(place: Path) -> None:
    append(place / ".hotseat" / "notes.jsonl", [noted(validity="INVALID", invalid_because=("x",))])
    said = ran("explain", "t1").stdout
    assert "a: nothing counts (0 trials of 0 tasks, 1 left out)" in said
    assert said.split("\n")[-3].split()[3:5] == ["INVALID", "–"]


def test_the_age_of_evidence_is_taken_from_the_clock(place: Path) -> None:
    append(place / ".hotseat" / "notes.jsonl", [noted(age_days=3000, tags=("old",))])
    [row] = asked("rollup", "--tag", "old")["rows"]
    assert 0 < row["effective_trials"] < 0.01


def test_what_is_taken_back_is_in_no_number_and_is_shown(place: Path) -> None:
    ran("add", "jobs/j")
    first = asked("explain", "t0", "a")["claims"][0]["behind"][0]["ids"][0]
    said = ran("retract", first[:12], "--why", "the checks were wrong", "--by", "bob").stdout
    assert said.startswith(f"{first[:10]} is taken back by ")
    assert asked("rollup")["retracted"] == 1
    assert asked("rollup")["rows"][0]["tasks"] == 7
    assert "TAKEN BACK by bob: the checks" in ran("explain", "t0").stdout
    assert "TAKEN BACK by bob" in ran("list").stdout
    undo = said.split()[-1]
    assert ran("retract", undo, "--why", "they were not").exit_code == 0
    assert asked("rollup")["rows"][0]["tasks"] == 8


@pytest.mark.parametrize("word", ["0000000000", ""])
def test_only_one_entry_can_be_meant(place: Path, word: str) -> None:
    ran("add", "jobs/j")
    ended = ran("retract", word, "--why", "x")
    assert ended.exit_code == 1
    assert "expected the beginning of one entry's id" in ended.output


def test_logs_are_imported_and_what_is_damaged_is_named_and_kept(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(line_of(noted()) + b"\n" + b"\x1b[31mhello\x07\n")
    ended = ran("import", other)
    log = place / ".hotseat" / "notes.jsonl"
    assert ended.stdout == f"{log}: 1 entry added from {other}, 0 known already\n"
    assert f"{other}:2: left out: not JSON" in ended.stderr
    assert not set("\x1b\x07") & set(ended.stderr)
    assert "kept apart in notes.jsonl.apart: 1" in ended.stderr
    found = asked("import", other)
    assert (found["new"], found["known"], found["apart"][0]["line"]) == (0, 1, 2)
    assert (place / ".hotseat" / "notes.jsonl.apart").read_bytes() == b"\x1b[31mhello\x07\n"


def test_strange_lines_in_the_log_are_named_with_every_answer(place: Path) -> None:
    ran("add", "jobs/j")
    with (place / ".hotseat" / "notes.jsonl").open("a") as file:
        file.write("hello\n" * 7)
    ended = ran("rollup")
    assert "notes.jsonl:17: left out: not JSON" in ended.stderr
    assert "and 2 lines more: see notes list" in ended.stderr
    assert len(asked("suggest", "--tag", "python")["lines_left_out"]) == 7
    assert "notes.jsonl:23: left out" in ran("list").stderr


def test_foreign_words_cannot_move_the_cursor(place: Path) -> None:
    append(place / ".hotseat" / "notes.jsonl", [noted(task="\x1b[2Jt", note="\x1b]0;x\x07", by="\rann")])
    for words in (("list",), ("rollup",), ("explain", "python"), ("suggest", "--tag", "python")):
        ended = ran(*words)
        assert ended.exit_code == 0
        assert not set("\x1b\x07\r") & set(ended.output), words


def test_foreign_tags_and_keys_cannot_move_the_cursor(place: Path) -> None:
    log = place / ".hotseat" / "notes.jsonl"
    entry = noted(tags=("\x1b[2Jtag", "python"))
    append(log, [entry])
    strange = changed(line_of(entry), **{"\x1b[2Jkey": 1})
    log.write_bytes(log.read_bytes() + strange + b"\n")
    for words in (("list",), ("rollup",), ("explain", "python"), ("suggest", "--tag", "python")):
        ended = ran(*words)
        assert "Extra inputs are not permitted" in ended.stderr, words
        assert "\x1b" not in ended.output, words


def test_what_nothing_checked_is_in_the_list_and_in_no_number(place: Path) -> None:
    append(
        place / ".hotseat" / "notes.jsonl", [noted(reward=1.0, scores={"unverified": 1.0}, tags=("race",))]
    )
    assert "unverified" in ran("list", "--tag", "race").stdout
    [row] = asked("rollup", "--tag", "race")["rows"]
    assert (row["mean_reward"], row["trials"], row["left_out"]) == (None, 0, 1)
    assert asked("suggest", "--tag", "race")["verdict"] == "none"


def test_another_log_can_be_named(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "team.jsonl"
    assert ran("add", "jobs/j", "--log", other).exit_code == 0
    assert len(asked("list", "--log", other)["trials"]) == 16
    assert asked("list")["trials"] == []
    ended = ran("rollup", "--log", tmp_path / "none.jsonl")
    assert (ended.exit_code, "there is no such log" in ended.output) == (1, True)


def test_a_tag_can_be_given_to_the_trials_of_a_task_that_has_none(place: Path) -> None:
    job_folder(place / "jobs" / "mine", result("a", "my-task"))
    ran("add", "jobs/mine", "--tag", "parsers", "--tag", "ours")
    assert [row["subject"] for row in asked("rollup")["rows"]] == ["ours", "parsers"]


def test_a_task_of_hotseats_own_brings_its_tags(place: Path) -> None:
    ran("add", "jobs/j")
    found = asked("suggest", "katas-12", "--half-life", "none")
    assert (found["basis"], found["configuration"]) == ("tasks tagged python", "a")


def test_a_task_that_only_the_log_knows_is_one(place: Path) -> None:
    ran("add", "jobs/j")
    found = asked("suggest", "t3", "--half-life", "none")
    assert (found["basis"], found["configuration"]) == ("tasks tagged python", "a")
    ended = ran("suggest", "t99")
    assert (ended.exit_code, "there is no task 't99' in the log" in ended.output) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("suggest",), "expected a TASK, or a --tag"),
        (("rollup", "--half-life", "soon"), 'expected a time such as "90d"'),
        (("explain", "cobol"), "nothing is noted with the tag or of the task 'cobol'"),
        (("explain", "python", "z"), "nothing is noted of z with the tag"),
        (("add", "."), "expected a job's folder, found no trials in it"),
        (("add", "jobs/j", "--tag", "two words"), "it cannot be noted: tags.1"),
    ],
)
def test_errors_are_said_in_one_line(place: Path, words: tuple[str, ...], said: str) -> None:
    ended = ran(*words)
    assert ended.exit_code in (1, 2)
    assert said in ended.output
    assert "Traceback" not in ended.output


def test_list_can_be_narrowed(place: Path) -> None:
    ran("add", "jobs/j")
    assert len(asked("list", "--task", "t3")["trials"]) == 2
    assert len(asked("list", "--tag", "cobol")["trials"]) == 0
    assert "3 of 16 noted trials: see --limit" in ran("list", "--limit", "3").stdout
