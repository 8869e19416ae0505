"""The log as a file: only ever added to, merged in any order, and nothing in it or beside it is lost."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest

from bench import knowledge
from bench.errors import BenchError
from bench.knowledge import (
    FOLDER,
    LOG_FILE,
    append,
    begin,
    entries_of,
    find_log,
    import_log,
    read_log,
    whereabouts,
)
from bench.note_entries import Entry, TrialEntry, line_of, retraction
from bench.note_rollup import Reading, roll_up
from bench.note_standing import standing
from bench.results import RESULT, Manifest
from tests.bench.noted_trials import NOW_S, PLAN, changed, job_folder, noted, settings_by_model
from tests.bench.report_results import not_run, result

TWO = settings_by_model("a", "b")
SHARED: list[Entry] = [noted("a", f"t{i}", i / 7, age_days=3 * i, setting=TWO["a"]) for i in range(5)]
ANNS: list[Entry] = [noted("b", f"t{i}", i / 9, age_days=i, setting=TWO["b"], by="ann") for i in range(7)]
BOBS: list[Entry] = [
    *(noted("a", f"t{i}", i / 11, number=2, age_days=5 * i, setting=TWO["a"]) for i in range(6)),
    retraction(SHARED[2].id, "the checks were wrong", "bob", NOW_S),
    noted("b", "t3", 3 / 9, age_days=3, setting=TWO["b"], by="bob", note="saw it too"),
]


def log_of(path: Path, *entries: Entry) -> Path:
    append(path, entries)
    return path


def added_up(log: Path) -> object:
    return roll_up(standing(read_log(log).entries), Reading(NOW_S))


EXPECTED = roll_up(standing([*SHARED, *ANNS, *BOBS]), Reading(NOW_S))


# --- two people -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("ann", "bob"), ("bob", "ann"), ("ann", "bob", "ann", "bob")])
def test_two_logs_imported_in_any_order_and_twice_add_up_to_the_same(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    log_of(tmp_path / "ann", *SHARED, *ANNS)
    log_of(tmp_path / "bob", *BOBS, *reversed(SHARED))
    merged = tmp_path / "merged"
    for name in order:
        import_log(merged, tmp_path / name)
    assert added_up(merged) == EXPECTED
    assert added_up(tmp_path / "ann") != EXPECTED
    assert len(merged.read_bytes().splitlines()) == len({entry.id for entry in [*SHARED, *ANNS, *BOBS]})


def git(folder: Path, *words: str) -> str:
    home = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(folder)}
    who = {f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        env={"PATH": os.environ["PATH"], **home, **who},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    begin(folder)
    return folder / FOLDER / LOG_FILE


@pytest.mark.parametrize("first", ["ann", "bob"])
@pytest.mark.parametrize("begun_together", [True, False])
def test_git_merges_two_branches_without_a_conflict(tmp_path: Path, first: str, begun_together: bool) -> None:
    log = repository(tmp_path / "r")
    folder = log.parent.parent
    append(log, SHARED if begun_together else [])
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "begin")
    for name, entries in (("ann", [*SHARED, *ANNS]), ("bob", [*SHARED, *BOBS])):
        git(folder, "switch", "-qc", name, "main")
        append(log, entries)
        git(folder, "commit", "-qam", name)
    git(folder, "switch", "-q", "main")
    for name in (first, {"ann": "bob", "bob": "ann"}[first]):
        git(folder, "merge", "-q", "--no-edit", name)
    found = read_log(log)
    assert (found.strange, found.newer) == ((), ())
    assert added_up(log) == EXPECTED


def test_git_would_conflict_without_the_attributes(tmp_path: Path) -> None:
    """So the test above shows something; and markers left in a log are named, and take no entry with them."""
    log = repository(tmp_path / "r")
    folder = log.parent.parent
    (log.parent / ".gitattributes").unlink()
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "begin")
    for name, entries in (("ann", ANNS), ("bob", BOBS)):
        git(folder, "switch", "-qc", name, "main")
        append(log, [*SHARED, *entries])
        git(folder, "commit", "-qam", name)
    with pytest.raises(AssertionError, match="CONFLICT"):
        git(folder, "merge", "--no-edit", "ann")
    found = read_log(log)
    assert {one.line.why[:17] for one in found.strange if hasattr(one.line, "why")} == {"a conflict marker"}
    assert added_up(log) == EXPECTED


# --- one file -------------------------------------------------------------------------------------


def test_what_is_known_is_not_added_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert append(log, [*SHARED, *SHARED]) == 5
    before = log.read_bytes()
    assert append(log, [*SHARED, *ANNS[:1]]) == 1
    assert log.read_bytes() == before + line_of(ANNS[0]) + b"\n"
    assert append(log, []) == 0


def test_a_line_that_was_cut_off_is_named_and_spoils_no_other(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", *SHARED)
    torn = log.read_bytes()[:-20]
    log.write_bytes(torn)
    assert append(log, SHARED) == 1
    assert log.read_bytes() == torn + b"\n" + line_of(SHARED[-1]) + b"\n"
    found = read_log(log)
    assert len(found.entries) == 5
    assert [(one.number, one.line.line) for one in found.strange] == [(5, torn.splitlines()[-1])]


def test_foreign_lines_stay_where_they_are_and_are_named_by_number(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\n# my notes\r\n" + line_of(SHARED[0]) + b"\r\n\xff\n")
    append(log, SHARED)
    found = read_log(log)
    assert [one.number for one in found.strange] == [2, 4]
    assert found.entries == tuple(SHARED)
    assert b"# my notes\r\n" in log.read_bytes()


def test_import_keeps_what_it_cannot_read_once_beside_the_log(tmp_path: Path) -> None:
    log, other = tmp_path / "log", tmp_path / "other"
    later = changed(line_of(SHARED[1]), format=2)
    damaged = line_of(SHARED[2])[:-9]
    other.write_bytes(b"\n".join([damaged, line_of(SHARED[0]), later, b"\xffhello", damaged]))
    found = import_log(log, other)
    assert (found.new, found.known, found.newer) == (1, 0, 1)
    assert [one.number for one in found.apart] == [1, 4, 5]
    again = import_log(log, other)
    assert (again.new, again.known, again.newer) == (0, 1, 0)
    assert log.read_bytes() == line_of(SHARED[0]) + b"\n" + later + b"\n"
    assert (tmp_path / "log.apart").read_bytes() == damaged + b"\n\xffhello\n"


def test_a_line_of_a_later_version_is_passed_on_and_not_counted(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", SHARED[0])
    later = changed(line_of(SHARED[1]), format=2)
    with log.open("ab") as file:
        file.write(later + b"\n")
    assert len(read_log(log).entries) == 1
    import_log(tmp_path / "third", log)
    assert later in (tmp_path / "third").read_bytes()


def test_many_who_add_at_once_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    at_once = threading.Barrier(4)

    def add(own: list[Entry]) -> None:
        at_once.wait()
        for entry in own:
            append(log, [*SHARED, entry])

    threads = [
        threading.Thread(target=add, args=(part,)) for part in (ANNS[:3], ANNS[3:], BOBS[:4], BOBS[4:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_log(log)
    assert found.strange == ()
    assert len(found.entries) == len({entry.id for entry in [*SHARED, *ANNS, *BOBS]})
    assert added_up(log) == EXPECTED


def test_who_adds_waits_for_who_is_adding_and_sees_what_was_added(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", SHARED[0])
    added: list[int] = []
    with log.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: added.append(append(log, SHARED)))
        thread.start()
        thread.join(timeout=0.3)
        assert thread.is_alive()
        file.write(b"".join(line_of(entry) + b"\n" for entry in SHARED[1:4]))
    thread.join()
    assert (added, read_log(log).entries) == ([1], tuple(SHARED))


@pytest.mark.parametrize("linked", [FOLDER, f"{FOLDER}/{LOG_FILE}"])
def test_a_link_in_a_repository_is_not_followed(tmp_path: Path, linked: str) -> None:
    """Else a repository could have lines written to any file of who works in it."""
    target = tmp_path / "target"
    (target if linked == FOLDER else tmp_path).mkdir(exist_ok=True)
    victim = target / LOG_FILE if linked == FOLDER else target
    victim.write_text("precious")
    (tmp_path / "r").mkdir()
    if linked != FOLDER:
        (tmp_path / "r" / FOLDER).mkdir()
    (tmp_path / "r" / linked).symlink_to(target)
    log = tmp_path / "r" / FOLDER / LOG_FILE
    with pytest.raises(BenchError, match="a link"):
        append(log, SHARED)
    with pytest.raises(BenchError, match="a link"):
        read_log(log)
    assert victim.read_text() == "precious"


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BenchError, match="expected a file"):
        read_log(tmp_path / "pipe")
    with pytest.raises(BenchError, match="pipe"):
        append(tmp_path / "pipe", SHARED)
    with pytest.raises(BenchError, match="Is a directory"):
        append(tmp_path, SHARED)
    with pytest.raises(BenchError, match="No such file"):
        read_log(tmp_path / "none")


def test_a_log_that_is_too_large_is_neither_read_nor_written(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(knowledge.MAX_LOG_BYTES + 1)
    with pytest.raises(BenchError, match="begin another log"):
        read_log(log)
    with log.open("r+b") as file:
        file.truncate(knowledge.MAX_LOG_BYTES - 10)
    with pytest.raises(BenchError, match="it would have more than"):
        append(log, SHARED)
    assert log.stat().st_size == knowledge.MAX_LOG_BYTES - 10


# --- where it is ----------------------------------------------------------------------------------


def test_the_log_is_found_upwards_and_not_outside_of_the_repository(tmp_path: Path) -> None:
    begin(tmp_path)
    inner = tmp_path / "r" / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "r" / ".git").mkdir()
    assert find_log(inner) is None
    assert find_log(tmp_path) == tmp_path / FOLDER / LOG_FILE
    begin(tmp_path / "r")
    assert find_log(inner) == tmp_path / "r" / FOLDER / LOG_FILE


def test_without_a_repository_the_log_of_a_parent_is_not_taken(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "a").mkdir()
    assert find_log(tmp_path / "a") is None


def test_a_log_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / FOLDER / LOG_FILE
    assert begin(tmp_path) == [log, log.parent / ".gitattributes"]
    append(log, SHARED)
    before = log.read_bytes()
    assert begin(tmp_path) == []
    assert log.read_bytes() == before


# --- from a job -----------------------------------------------------------------------------------


def test_entries_of_a_job_say_what_was_asked_for_and_where_the_result_is(tmp_path: Path) -> None:
    job = job_folder(
        tmp_path / "friday",
        result("a", tags=("python",), scores={"visible": 1.0}),
        result("b"),
        not_run("b", attempt=2),
        models={"theirs": "ours"},
    )
    made = entries_of(job, note="quick", by="ann", tags=["mine"])
    entries = [entry for entry in made if isinstance(entry, TrialEntry)]
    assert [(entry.evidence.trial, entry.outcome.counts) for entry in entries] == [
        ("t1-a-1", True),
        ("t1-b-1", True),
        ("t1-b-2", False),
    ]
    first, second = entries[0], entries[1]
    assert (first.note, first.by, first.task.tags) == ("quick", "ann", ("mine", "python"))
    what = first.configuration
    assert (what.harness, what.version, what.main, what.small) == ("codex", "1", "ours", "ours")
    assert (what.effort, what.policy) == ("high", "native")
    assert {name: (one.model, one.effort) for name, one in what.subagents.items()} == {
        "helper": ("small", None),
        "scout": ("ours", "low"),
    }
    assert second.configuration.main == "mapped-by-plan"
    assert [(one.configuration.context, one.configuration.native_names) for one in (first, second)] == [
        (16384, False),
        (8192, False),
    ]
    path = job / "trials" / "t1-a-1" / RESULT
    assert first.evidence.result_sha == hashlib.sha256(path.read_bytes()).hexdigest()
    assert entries_of(job, note="quick", by="ann", tags=["mine"]) == made


def test_who_asks_no_model_is_not_noted(tmp_path: Path) -> None:
    oracle = result("oracle", manifest=Manifest(hotseat="0", harness="oracle", harness_version=""))
    assert entries_of(job_folder(tmp_path / "j", oracle)) == []


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("x = ", "plan.toml: it cannot be read"),
        ("name = 'x'", "plan.toml: configurations: Field required"),
        ("[configurations.a]\nmain = 'x'", "plan.toml: configurations.a.harness: Field required"),
        (PLAN.replace("configurations.a", "configurations.z"), "has no configuration 'a'"),
    ],
)
def test_a_job_whose_plan_does_not_tell_is_refused(tmp_path: Path, plan: str, said: str) -> None:
    job = job_folder(tmp_path / "j", result("a"), plan=plan)
    with pytest.raises(BenchError, match=said):
        entries_of(job)


def test_a_folder_that_is_no_job_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="expected a job's folder, found no trials in it"):
        entries_of(tmp_path)
    job = job_folder(tmp_path / "j", result("a"))
    (job / "plan.toml").unlink()
    with pytest.raises(BenchError, match=r"plan\.toml: No such file or directory: it says what was run"):
        entries_of(job)


def test_whereabouts_of_a_result(tmp_path: Path) -> None:
    job_folder(tmp_path / "friday", result("a"))
    path = tmp_path / "friday" / "trials" / "t1-a-1" / RESULT
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert whereabouts(tmp_path, "friday", "t1-a-1", sha) == "here"
    assert whereabouts(tmp_path, "monday", "t1-a-1", sha) == "not here"
    path.write_text("{}")
    assert whereabouts(tmp_path, "friday", "t1-a-1", sha) == "changed"


@pytest.mark.parametrize(
    ("jobs", "job", "trial"),
    [
        ("friday/x", "..", "t1-a-1"),
        ("friday", ".", "t1-a-1"),
        ("friday", "", "t1-a-1"),
        ("x", "../friday", "t1-a-1"),
        (".", "friday", "../trials/t1-a-1"),
        (".", "friday", "a\0b"),
    ],
)
def test_a_log_cannot_have_files_elsewhere_looked_at(tmp_path: Path, jobs: str, job: str, trial: str) -> None:
    job_folder(tmp_path / "friday", result("a"))
    for folder in ("x", "friday/x"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "friday" / "trials" / "t1-a-1" / RESULT
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert whereabouts(tmp_path, "friday", "t1-a-1", sha) == "here"
    assert whereabouts(tmp_path / jobs, job, trial, sha) == "not here"
