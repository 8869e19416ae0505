"""`hotseat bench map`, and the sections on agreement, over folders as a job leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from bench.cli import bench
from bench.reports.json_report import from_json
from bench.results import TrialResult, write_result
from tests.bench.report_results import not_run, result
from tests.bench.simulated_job import CONTENDERS, simulated, write_job
from tests.bench.test_report_html import HOSTILE, Page

PATCH = "diff --git a/app.py b/app.py\n--- a/app.py\n+++ b/app.py\n@@ -0,0 +1 @@\n+x = {value}\n"
QUESTION = "Are rows over the limit left out, or cut to it?"


def ran(*words: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(bench, list(map(str, words)))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs") / "friday"
    write_job(folder, simulated(contenders=CONTENDERS[2:], tasks=("t1", "t2"), attempts=2))
    return folder


def test_the_map_goes_to_the_terminal(job: Path) -> None:
    ended = ran("map", job)
    assert ended.exit_code == 0
    assert ended.stdout.startswith("WHAT IT COSTS, WHAT IT GETS\n")
    assert "By dollars: Is thrifty worth it where local would do? Not known" in ended.stdout
    assert "Not on the map by joules: thrifty" in ended.stdout


def test_one_axis_and_one_tag(job: Path) -> None:
    found = json.loads(ran("map", job, "--tag", "python", "--axis", "s", "--json").stdout)
    assert (found["kind"], found["format"]) == ("hotseat-bench-map", 1)
    assert [one["axis"] for one in found["maps"]] == ["s"]
    assert [one["configuration"] for one in found["maps"][0]["points"]] == ["local", "thrifty"]


def test_a_drawing_is_written_whole_and_says_who_is_not_on_it(job: Path, tmp_path: Path) -> None:
    ended = ran("map", job, "--axis", "j", "--svg", tmp_path / "m.svg")
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert ended.stderr.startswith(f"wrote {tmp_path / 'm.svg'}\nnot on it: thrifty (energy is known of 0 of")
    assert ElementTree.parse(tmp_path / "m.svg").getroot().tag.endswith("svg")
    assert [path.name for path in tmp_path.iterdir()] == ["m.svg"]


def test_by_dollars_if_nothing_is_said(job: Path, tmp_path: Path) -> None:
    ran("map", job, "--svg", tmp_path / "m.svg")
    assert "dollars a trial" in (tmp_path / "m.svg").read_text()


def test_what_cannot_be_mapped_is_explained(job: Path, tmp_path: Path) -> None:
    free = folder_of(tmp_path / "free", result("a", cost_usd=None))
    broken = folder_of(tmp_path / "broken", not_run())
    empty = folder_of(tmp_path / "empty")
    for words, said in (
        ((job, "--tag", "none"), "no task is tagged 'none': it has python"),
        ((free, "--tag", "none"), "its tasks have none"),
        ((empty,), "no trial of a model has ended"),
        ((free, "--svg", tmp_path / "x.svg"), "by usd: a: cost is known of 0 of 1 trial"),
        ((broken, "--svg", tmp_path / "x.svg"), "a: no trial of it counts"),
        ((job, "--svg", tmp_path / "none" / "x.svg"), "name a place that can be written"),
    ):
        ended = ran("map", *words)
        assert ended.exit_code == 1, words
        assert said in ended.stderr
    assert not (tmp_path / "x.svg").exists()


# --- agreement --------------------------------------------------------------------------------------------


def folder_of(folder: Path, *results: TrialResult, did: dict[str, str] | None = None) -> Path:
    """`did`: what each configuration answered to the one probe."""
    (folder / "trials").mkdir(parents=True)
    for found in results:
        kept = folder / "trials" / found.trial
        (kept / "verifier").mkdir(parents=True)
        (kept / "diff.patch").write_text(PATCH.format(value=repr(found.configuration)))
        if did is not None:
            probe = {"name": "over the limit", "output": did[found.configuration], "question": QUESTION}
            probe["reading"] = did[found.configuration]
            (kept / "verifier" / "behaviour.json").write_text(json.dumps({"probes": [probe]}))
        write_result(kept, found)
    return folder


READINGS = {"a": "left out", "b": "cut", "c": "refused"}


@pytest.fixture
def forked(tmp_path: Path) -> Path:
    trials = [result(name, scores={"visible": 1.0}, reward=0.5, attempt=n) for name in "abc" for n in (1, 2)]
    return folder_of(tmp_path / "forked", *trials, did=READINGS)


def test_three_readings_are_reported_as_an_unclear_task_with_the_question(forked: Path) -> None:
    ended = ran("report", forked)
    assert ended.exit_code == 0
    said = " ".join(ended.stdout.split())
    assert "AGREEMENT" in said
    assert "attempt 1: 3 candidates did 3 different things, and the checks pass them all" in said
    assert f"the task is underspecified. Ask: {QUESTION}" in said
    assert "t1 a 2 behaviour 2 of 2 0.00" in said
    found = from_json(ran("report", forked, "--json").stdout)
    assert [(one.where, one.kind) for one in found.convergence] == [
        ("attempt 1", "underspecified"),
        ("attempt 2", "underspecified"),
        ("a", "shared misconception"),
        ("b", "shared misconception"),
        ("c", "shared misconception"),
    ]


def test_markdown_and_the_page_have_the_fork(forked: Path, tmp_path: Path) -> None:
    files = tmp_path / "r.md", tmp_path / "r.html"
    assert ran("report", forked, "--markdown", files[0], "--html", files[1]).exit_code == 0
    assert "| t1 | attempt 1 | over the limit | cut | b |" in files[0].read_text()
    page = Page(files[1].read_text())
    assert {"Agreement", "What it costs, what it gets"} <= set(page.words)
    assert QUESTION in page.text


def test_configurations_of_several_jobs_have_the_names_of_the_report(forked: Path, tmp_path: Path) -> None:
    other = folder_of(
        tmp_path / "other", result("a", task_digest="9" * 64), result("b", task_digest="9" * 64), did=READINGS
    )
    found = from_json(ran("report", forked, other, "--json").stdout)
    groups = {(one.task, one.where): one.groups for one in found.convergence}
    assert [group.members for group in groups["t1 [99999999]", "attempt 1"]] == [("other/a",), ("other/b",)]


def test_a_page_takes_nothing_from_a_probe(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "j", result("a"), result("b"), did={"a": HOSTILE, "b": "x"})
    ran("report", folder, "--html", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    Page(text)
    assert "<img" not in text


def test_probes_that_cannot_be_read_cost_no_results(forked: Path) -> None:
    (forked / "trials" / "t1-a-1" / "verifier" / "behaviour.json").write_text("{")
    ended = ran("report", forked)
    assert ended.exit_code == 0
    assert "forked: how far candidates agree or which was chosen is not said:" in ended.stdout
    assert "AGREEMENT" not in ended.stdout


def test_who_stands_alone_is_in_no_section(tmp_path: Path) -> None:
    assert "AGREEMENT" not in ran("report", folder_of(tmp_path / "j", result("a"))).stdout
