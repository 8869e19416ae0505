"""`hotseat bench report` and `compare`, over folders as a job leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import bench
from bench.cli_report import compare, report
from bench.reports.json_report import from_json
from bench.results import TrialResult, write_result
from tests.bench.report_results import not_run, result
from tests.bench.simulated_job import CONTENDERS, simulated, write_job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs") / "friday"
    write_job(folder, simulated(contenders=CONTENDERS[2:], tasks=("t1", "t2"), attempts=2))
    return folder


def folder_of(folder: Path, *results: TrialResult) -> Path:
    for found in results:
        (folder / "trials" / found.trial).mkdir(parents=True)
        write_result(folder / "trials" / found.trial, found)
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    return folder


def ran(*words: str | Path) -> Result:
    name, *rest = map(str, words)
    return CliRunner().invoke({"report": report, "compare": compare}[name], rest)


def test_the_report_goes_to_the_terminal(job: Path) -> None:
    ended = ran("report", job)
    assert ended.exit_code == 0
    assert ended.stdout.startswith("REPORT\nJob friday, plan simulated: 8 of 8 trials; Linux, 16 CPUs\n")
    assert "local and thrifty: no detectable difference" in ended.stdout


def test_files_are_written_whole_and_named(job: Path, tmp_path: Path) -> None:
    page, text = tmp_path / "r.html", tmp_path / "r.md"
    ended = ran("report", job, "--html", page, "--markdown", text)
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert ended.stderr == f"wrote {page}\nwrote {text}\n"
    assert page.read_text().startswith("<!doctype html>")
    assert 'class="waits"' in page.read_text()
    assert text.read_text().startswith("# Report")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.md"]


def test_json_has_the_requests_of_each_trial(job: Path) -> None:
    found = from_json(ran("report", job, "--json").stdout)
    assert [summary.name for summary in found.configurations] == ["local", "thrifty"]
    assert all(trial.spans for trial in found.trials)


def test_the_same_folder_twice_is_one_job(job: Path) -> None:
    found = from_json(ran("report", job, job / ".." / "friday", "--json").stdout)
    assert len(found.trials) == 8


def test_rows_and_a_job_file_that_cannot_be_read_cost_no_results(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "old", result(), not_run(attempt=2))
    (folder / "job.json").write_text("[")
    (folder / "trials" / "t1-a-1" / "rows.jsonl").write_text('{"request_id": 1\n')
    ended = ran("report", folder, "--json")
    found = from_json(ended.stdout)
    assert [trial.spans for trial in found.trials] == [(), ()]
    assert (found.jobs[0].name, found.jobs[0].planned, found.excluded[0].kind) == (
        "old",
        None,
        "infrastructure",
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "expected a job's folder, found neither trials nor job.json in it"),
        ({"trials/x/result.json": "[]"}, "format None, and this version of Hotseat reads 1"),
    ],
)
def test_a_folder_that_is_no_job_is_named(tmp_path: Path, given: dict[str, str], said: str) -> None:
    for name, text in given.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    ended = ran("report", tmp_path)
    assert ended.exit_code == 1
    assert said in ended.stderr
    assert str(tmp_path) in ended.stderr


def test_a_file_that_cannot_be_written_is_named(job: Path, tmp_path: Path) -> None:
    ended = ran("report", job, "--html", tmp_path / "none" / "r.html")
    assert ended.exit_code == 1
    assert "name a place that can be written" in ended.stderr


@pytest.mark.parametrize("name", ["report", "compare"])
def test_the_group_has_both(name: str) -> None:
    ended = CliRunner().invoke(bench, [name, "--help"])
    assert ended.exit_code == 0
    assert "--json" in ended.stdout


def test_no_job_is_a_usage_error() -> None:
    assert ran("report").exit_code == 2


# --- compare ----------------------------------------------------------------------------------------------


def test_two_configurations_of_a_job(job: Path) -> None:
    ended = ran("compare", f"{job}:local", f"{job}:thrifty")
    assert ended.exit_code == 0
    assert "local and thrifty: no detectable difference (" in ended.stdout
    assert "in wall time" in ended.stdout
    assert "MANIFEST" not in ended.stdout


def test_two_jobs_name_by_name(tmp_path: Path) -> None:
    before = folder_of(tmp_path / "before", result("a"), result("b"), result("c"))
    after = folder_of(tmp_path / "after", result("a", reward=1.0), result("b"), result("d"))
    found = json.loads(ran("compare", before, after, "--json").stdout)
    pairs = [(pair["comparison"]["a"], pair["comparison"]["b"]) for pair in found["pairs"]]
    assert pairs == [("before/a", "after/a"), ("before/b", "after/b")]
    assert {summary["name"] for summary in found["configurations"]} == {
        name for pair in pairs for name in pair
    }


def test_jobs_of_one_configuration_each_need_no_names(tmp_path: Path) -> None:
    one, two = folder_of(tmp_path / "a:b", result("x")), folder_of(tmp_path / "two", result("y"))
    found = json.loads(ran("compare", one, two, "--json").stdout)
    assert (found["pairs"][0]["comparison"]["a"], found["pairs"][0]["comparison"]["b"]) == ("x", "y")


def test_what_is_no_side_is_explained(job: Path, tmp_path: Path) -> None:
    empty = folder_of(tmp_path / "empty")
    other = folder_of(tmp_path / "other", result("x"))
    for words, said in (
        ((job, job), "name one of each as JOB:CONFIGURATION"),
        ((job, other), "expected two configurations, found local, thrifty in"),
        ((f"{job}:none", job), "has no results of 'none', but of local, thrifty"),
        ((f"{job}:thrifty", f"{job}:thrifty"), "expected two configurations"),
        ((tmp_path / "absent", job), "expected the folder of a job, or FOLDER:CONFIGURATION"),
        ((empty, job), "no trial of it has come to its end: run it first"),
    ):
        ended = ran("compare", *words)
        assert ended.exit_code == 1
        assert said in ended.stderr
