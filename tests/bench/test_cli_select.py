"""`hotseat bench select` and `calibrate` against a running server whose judges are scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import bench
from bench.proxy_client import RunWish, connected
from bench.reports.json_report import from_json
from bench.results import write_result
from bench.selection.judge import JudgeSettings
from bench.selection.record import SELECTION, read_selection
from bench.selection.run import select_job
from tests.bench.judged_fields import candidate, patch_of
from tests.proxy.served import Serving, serving_config

PERFECT = r"""
[model]
memory_bytes = 1000
[[turn]]
match.system_contains = "You compare candidates."
match.user_matches = '''## Candidate (?P<best>[A-Z])\n(?:(?!\n## Candidate ).)*?min\('''
text = '''{"reason": "@{best} cuts the amount to the limit; the other drops it.",
    "verdict": "ranked", "ranking": ["@{best}"]}'''
usage = { input_tokens = 900, output_tokens = 30 }
[[turn]]
match.system_contains = "You examine one candidate."
match.user_contains = "if x <= limit"
text = '''{"criteria": [], "strengths": ["short and clear"], "problems": [], "score": 9}'''
[[turn]]
match.system_contains = "You examine one candidate."
text = '''{"criteria": [{"criterion": "limit", "met": "unclear"}], "strengths": [],
    "problems": ["odd"], "score": 6}'''
"""
FIRST = """
[model]
memory_bytes = 1000
[[turn]]
match.system_contains = "You compare candidates."
text = '{"reason": "A is best.", "verdict": "ranked", "ranking": ["A"]}'
[[turn]]
text = '{"score": 5}'
"""
CONFIG = """
[server.limits]
keepalive = 0.2
[defaults]
engine = "scripted"
n_ctx = 32768
[models.perfect]
path = "perfect.toml"
[models.first]
path = "first.toml"
slots = 4
[models.babble]
path = "babble.toml"
[models.tiny]
path = "babble.toml"
n_ctx = 300
[roles]
main = "perfect"
[providers.far]
base_url = "https://example.org/v1"
api_key_env = "FAR_KEY"
[routes."far-away"]
provider = "far"
model = "vendor/model"
"""
INSTRUCTION = "Amounts over the limit shall be restricted to it."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("served")
    for name, script in (
        ("perfect", PERFECT),
        ("first", FIRST),
        ("babble", "[model]\nmemory_bytes = 1000\n"),
    ):
        (folder / f"{name}.toml").write_text(script)
    (folder / "models.toml").write_text(CONFIG)
    with serving_config(folder, folder / "models.toml") as served:
        yield served


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """One right, one that filters where it should restrict, one that fails what everybody can see."""
    made = {
        "right": ("return [min(x, limit) for x in xs]  # by Claude", 1.0, 1.0, "1, 5"),
        "subtle": ("return [x for x in xs if x <= limit]", 0.6, 1.0, "1"),
        "failing": ("return xs", 0.2, 0.5, "1, 9"),
    }
    folder = tmp_path / "race"
    for name, (code, reward, visible, output) in made.items():
        one = candidate(name, code, reward=reward, visible=visible).result
        trial = folder / "trials" / one.trial
        (trial / "verifier").mkdir(parents=True)
        write_result(trial, one)
        (trial / "diff.patch").write_text(patch_of("def cut(xs, limit):", f"    {code}"))
        probes = [{"name": "over the limit", "input": "[1, 9], 5", "output": output}]
        (trial / "verifier" / "behaviour.json").write_text(json.dumps({"probes": probes}))
    (folder / "race.json").write_text(json.dumps({"prompt": INSTRUCTION}))
    return folder


def ran(*words: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(bench, list(map(str, words)))


def selected(job: Path, server: Serving, judge: str, *words: str | Path) -> Result:
    return ran("select", job, "--judge", judge, "--url", server.url, *words)


# --- select ----------------------------------------------------------------------------------------


def test_side_by_side_finds_the_right_one_where_notes_preferred_another_and_says_why(
    server: Serving, job: Path, tmp_path: Path
) -> None:
    page = tmp_path / "selection.md"
    ended = selected(job, server, "perfect", "--markdown", page)
    assert ended.exit_code == 0, ended.output
    (found,) = read_selection(job) or []
    assert (found.decision, found.configuration, found.trial) == ("chosen", "right", "t1-right-1")
    assert (found.agreement, found.follows_position, found.basis) == (1.0, False, "behaviour")
    scores = {one.configuration: one.note.score if one.note else None for one in found.standings}
    assert scores == {"right": 6, "subtle": 9, "failing": None}
    assert {order.order for order in found.orders} == {
        ("t1-right-1", "t1-subtle-1"),
        ("t1-subtle-1", "t1-right-1"),
    }
    assert (found.asked.questions, found.asked.cost_usd, found.asked.problems) == (4, Decimal(0), ())
    assert found.asked.input_tokens > 1800

    shown = " ".join(ended.stdout.split())
    assert "T1, ATTEMPT 1: RIGHT put first in 2 of 2 orders" in shown
    assert "alone, each was noted otherwise: subtle had 9 of 10 and right 6; seen side by side" in shown
    assert (
        "in the judge's words: B cuts the amount to the limit; the other drops it. (A: subtle, B: right)"
        in shown
    )
    assert "passes 50 % of the checks; the best 100 %" in shown
    assert "2 clusters by what they do on the probes" in shown

    text = page.read_text()
    assert text.startswith("# Selection\n")
    assert "## t1, attempt 1: right\n" in text
    assert "| right | 1 | 100 % |" in text


def test_every_form_of_the_report_shows_what_was_selected(server: Serving, job: Path, tmp_path: Path) -> None:
    assert "SELECTION" not in ran("report", job).stdout
    selected(job, server, "perfect")
    page, text = tmp_path / "report.html", tmp_path / "report.md"
    assert ran("report", job, "--html", page, "--markdown", text).exit_code == 0
    why = "seen side by side, the judge chose right"
    said = "t1, attempt 1: right: put first in 2 of 2 orders"
    for shown in (ran("report", job).stdout, text.read_text(), page.read_text()):
        assert said in " ".join(shown.split())
        assert why in " ".join(shown.split())
    assert page.read_text().count('id="selection"') == 1
    again = from_json(ran("report", job, "--json").stdout)
    assert [one.configuration for file in again.selections for one in file.selections] == ["right"]

    (job / SELECTION).write_text("{")
    assert "which was chosen is not said: " in " ".join(ran("report", job).stdout.split())


def test_the_selection_is_shown_again_without_asking(server: Serving, job: Path) -> None:
    before = ran("select", job)
    assert (before.exit_code, before.stderr) == (
        1,
        f"Error: {job}: nothing has been selected yet: name a model with --judge\n",
    )
    first = selected(job, server, "perfect")
    again = ran("select", job, "--url", "http://127.0.0.1:9")
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    said = json.loads(ran("select", job, "--json").stdout)
    assert (said["format"], said["judge"]) == (1, "perfect")
    assert said["selections"][0]["configuration"] == "right"
    assert said == json.loads((job / SELECTION).read_text())


def test_a_judge_that_takes_the_first_is_found_out(server: Serving, job: Path) -> None:
    ended = selected(job, server, "first")
    assert ended.exit_code == 0, ended.output
    (found,) = read_selection(job) or []
    assert (found.decision, found.trial, found.follows_position) == ("tie", None, True)
    assert "POSITION BIAS here: the judge chose whoever stood first in 2 of 2 orders" in " ".join(
        ended.stdout.split()
    )


def test_a_judge_that_says_nothing_useful_abstains(server: Serving, job: Path) -> None:
    selected(job, server, "babble")
    (found,) = read_selection(job) or []
    assert (found.decision, found.why) == ("abstained", "2 of 2 answers of the judge could not be read")
    assert "a ranking could not be read (2 times)" in found.asked.problems


def test_a_context_that_is_too_small_is_said(server: Serving, job: Path) -> None:
    selected(job, server, "tiny")
    (found,) = read_selection(job) or []
    assert found.decision == "abstained"
    assert "take a judge with a larger context" in found.why


def test_a_judge_may_be_a_role_and_sees_nobody_s_name(server: Serving, job: Path) -> None:
    selected(job, server, "main")
    (found,) = read_selection(job) or []
    assert (found.judge, found.configuration) == ("main", "right")


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("nobody", "there is no judge 'nobody': "),
        ("far-away", "far-away may cost money: add --yes to have it asked"),
    ],
)
def test_a_judge_that_cannot_be_asked(server: Serving, job: Path, judge: str, said: str) -> None:
    ended = selected(job, server, judge)
    assert ended.exit_code == 1
    assert ended.stderr.startswith(f"Error: {said}")
    assert ended.stderr.count("\n") == 1
    assert not (job / SELECTION).exists()


def test_a_provider_without_a_key_is_no_judge(server: Serving, job: Path) -> None:
    ended = selected(job, server, "far-away", "--yes")
    assert ended.stderr.startswith("Error: the judge 'far-away' cannot answer (no key)")


def test_a_job_that_is_none(server: Serving, tmp_path: Path) -> None:
    ended = selected(tmp_path, server, "perfect")
    assert "no finished trial of a configuration with a model: run it first" in ended.stderr


def test_a_task_that_nobody_knows_any_more(server: Serving, job: Path) -> None:
    (job / "race.json").unlink()
    ended = selected(job, server, "perfect")
    assert "what t1 asks for is not known here" in ended.stderr


def test_a_budget_is_no_less_than_nothing(server: Serving, job: Path) -> None:
    for budget in ("-1", "NaN"):
        assert selected(job, server, "perfect", "--budget", budget).exit_code == 2


def test_a_selection_that_is_damaged_is_named(job: Path) -> None:
    for text, said in (("{", "not JSON"), ('{"format": 9}', "format 9"), ('{"format": 1}', "judge: Field")):
        (job / SELECTION).write_text(text)
        assert said in ran("select", job).stderr


def test_the_run_of_a_judge_ends_with_it_and_its_rows_are_in_the_ledger(server: Serving, job: Path) -> None:
    async def main() -> tuple[str, int, list[str]]:
        async with connected(server.url, None) as client:
            (found,) = await select_job(job, JudgeSettings("perfect"), client)
            rows = (await client.settled(found.run)).rows
            again = await client.begin_run(RunWish(found.run, ("perfect",), 60.0))  # its name is free again
            await client.end_run(again.run)
            return found.run, len(rows), [row.model for row in rows]

    run, count, models = asyncio.run(main())
    assert run.startswith("select-race-")
    assert (count, set(models)) == (4, {"perfect"})


# --- calibrate -------------------------------------------------------------------------------------


def calibrated(server: Serving, judge: str, out: Path, *words: str | Path) -> Result:
    return ran("calibrate", judge, "--url", server.url, "--out", out, *words)


def test_a_tasks_own_solutions_are_the_truth(server: Serving, tmp_path: Path) -> None:
    out = tmp_path / "first.json"
    ended = calibrated(server, "first", out, "--tasks", "smoke")
    assert ended.exit_code == 0, ended.output
    said = json.loads(out.read_text())
    assert [len(one["names"]) for one in said["examined"]] == [3]
    truths = [dict(zip(one["names"], one["truths"], strict=True)) for one in said["examined"]]
    assert all(truth["oracle"] == 1 and truth["half"] < 1 for truth in truths)
    worth = {one["method"]: one for one in said["worths"]}
    assert (worth["listwise"]["ties"], worth["oracle"]["reward"]) == (1, 1)
    assert worth["listwise"]["reward"] == pytest.approx(worth["random"]["reward"])
    assert worth["listwise"]["spent"]["questions"] == 9  # three notes, six orders
    assert said["use"] is None
    shown = " ".join(ended.stdout.split())
    assert (
        "ADVICE 1 task cannot show that first is better than choosing at random; that takes 6 or more"
        in shown
    )


def test_a_finished_job_is_a_truth_too(server: Serving, job: Path, tmp_path: Path) -> None:
    out = tmp_path / "perfect.json"
    ended = calibrated(server, "perfect", out, "--job", job, "--markdown", tmp_path / "c.md")
    assert ended.exit_code == 0, ended.output
    worth = {one["method"]: one for one in json.loads(out.read_text())["worths"]}
    assert worth["listwise"]["reward"] == 1
    assert worth["pointwise"]["reward"] == pytest.approx(0.6)
    assert "best single" not in worth  # of one task nothing is known elsewhere
    assert (tmp_path / "c.md").read_text().startswith("# Calibration of perfect\n")


def test_nothing_to_choose_from_is_said(server: Serving, job: Path, tmp_path: Path) -> None:
    for name in ("subtle", "failing"):
        path = job / "trials" / f"t1-{name}-1" / "result.json"
        path.write_text(path.read_text().replace('"VALID"', '"INVALID"'))
    ended = calibrated(server, "perfect", tmp_path / "x.json", "--job", job)
    assert ended.stderr == (
        "Error: there is nothing to choose from: t1: fewer than two clusters: nothing to choose:"
        " take other tasks\n"
    )
