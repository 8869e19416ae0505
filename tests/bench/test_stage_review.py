"""What counts as done, where the next start goes on, and what is said of it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError, SpecError
from bench.results import TrialResult
from bench.spec import Spec, parse_spec
from bench.stage_record import Record, Try, read_record, resumed, write_record
from bench.stage_report import as_json, to_markdown, to_text
from bench.stage_review import CheckEnded, Review, read_ended, review_of
from tests.bench.report_results import result

TEXT = (
    "# Shop\n## Stage: parse\nRead.\n### Acceptance\n- It parses. check: `a`\n- It is plain.\n"
    "## Stage: show\n### Acceptance\n- It shows. check: `b`\n- It sums. check: `c`\n"
    "## Stage: words\n### Acceptance\n- It reads well.\n"
)
SPEC = parse_spec(TEXT.encode())
EMPTY = Record(title="Shop", repository="/repo", head="c" * 40, state="STATE.md", check_s=60)


def attempt_at(number: int, configuration: str = "solo", count: int = 1, spec: Spec = SPEC) -> Try:
    stage = spec.stages[number - 1]
    trial = f"{stage.label}-{configuration}-{count}"
    return Try(label=stage.label, digest=stage.digest, trial=trial, configuration=configuration)


def record_of(*tries: Try) -> Record:
    record = EMPTY
    for one in tries:
        record = record.begun(one)
    return record


def results_of(*tries: Try, **changes: Any) -> dict[str, TrialResult]:
    return {one.trial: result(one.configuration, one.label, int(one.trial[-1]), **changes) for one in tries}


def ended(stage: int, item: int, passed: bool, said: str = "") -> CheckEnded:
    return CheckEnded(
        stage=stage, item=item, passed=passed, exit_code=int(not passed), seconds=0.1, said=said
    )


FIRST, SECOND, THIRD = (attempt_at(number) for number in (1, 2, 3))


def test_finished_stages_are_not_done_again_and_unfinished_ones_are() -> None:
    record = record_of(FIRST, SECOND)
    assert resumed(record, SPEC, results_of(FIRST, SECOND), None).kept == (FIRST, SECOND)
    assert resumed(record, SPEC, results_of(FIRST), None).kept == (FIRST,)
    broken = results_of(FIRST) | results_of(SECOND, outcome="infrastructure")
    assert resumed(record, SPEC, broken, None).kept == (FIRST,)
    again = resumed(record, SPEC, results_of(FIRST, SECOND), SPEC.stages[1])
    assert again.kept == (FIRST,)
    assert again.tries == (FIRST, SECOND)
    assert resumed(EMPTY, SPEC, {}, SPEC.stages[0]).kept == ()
    with pytest.raises(BenchError, match=r"stage 3 stands on stage 2 \(show\).*--from 2"):
        resumed(record, SPEC, results_of(FIRST), SPEC.stages[2])


def test_a_stage_that_was_rewritten_is_not_taken_for_done() -> None:
    changed = parse_spec(TEXT.replace("Read.", "Read it all.").encode())
    record, results = record_of(FIRST, SECOND), results_of(FIRST, SECOND)
    with pytest.raises(SpecError, match=r"stage 1 \(parse\) has been rewritten.*--from 1"):
        resumed(record, changed, results, None)
    assert resumed(record, changed, results, changed.stages[0]).kept == ()
    later = parse_spec(TEXT.replace("It shows.", "It shows all.").encode())
    assert resumed(record, later, results, later.stages[1]).kept == (FIRST,)
    shorter = parse_spec(TEXT[: TEXT.index("## Stage: show")].encode())
    with pytest.raises(SpecError, match="2 finished stages and the specification 1"):
        resumed(record, shorter, results, None)


def test_a_try_that_left_a_result_is_never_written_over() -> None:
    stage = SPEC.stages[0]
    assert EMPTY.attempt(stage, "solo", {}) == 1
    assert record_of(FIRST).attempt(stage, "solo", {}) == 1
    results = results_of(FIRST)
    assert record_of(FIRST).attempt(stage, "solo", results) == 2
    assert record_of(FIRST).attempt(stage, "other", results) == 1
    assert record_of(FIRST).attempt(SPEC.stages[1], "solo", results) == 1
    assert record_of(FIRST).cut(0).begun(FIRST).tries == (FIRST,)


def test_a_record_is_kept_whole_or_refused(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    record = record_of(FIRST, SECOND)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    path = tmp_path / "stages.json"
    good = path.read_text()
    for bad, said in (
        ("{", "not JSON"),
        ("[]", "format None"),
        (good.replace('"format": 1', '"format": 2'), "format 2, and this version of Hotseat reads 1"),
        (good.replace('"head"', '"heads"'), "head"),
    ):
        path.write_text(bad)
        with pytest.raises(BenchError, match=said) as raised:
            read_record(tmp_path)
        assert "\n" not in str(raised.value)


def the_review(*checks: tuple[CheckEnded, ...], results: dict[str, TrialResult] | None = None) -> Review:
    tries = [attempt_at(number) for number in range(1, len(checks) + 1)]
    found = results_of(*tries) if results is None else results
    said = {one.trial: check for one, check in zip(tries, checks, strict=True)}
    return review_of("jobs/shop", SPEC, record_of(*tries), found, said)


GOOD_1 = (ended(1, 1, True),)
GOOD_2 = (ended(1, 1, True), ended(2, 1, True), ended(2, 2, True))


def test_a_stage_passes_with_its_own_checks_and_without_breaking_others() -> None:
    found = the_review(GOOD_1, GOOD_2, GOOD_2)
    assert [one.state for one in found.stages] == ["passed", "passed", "unverified"]
    assert found.is_done
    assert [(one.own_passed, one.passed, one.checked, one.unverified) for one in found.stages] == [
        (1, 1, 1, 1),
        (2, 3, 3, 0),
        (0, 3, 3, 1),
    ]
    assert [one.quality for one in found.stages] == [1.0, 1.0, 1.0]


def test_a_regression_fails_the_stage_that_made_it_and_not_the_next() -> None:
    worse = (ended(1, 1, False), ended(2, 1, True), ended(2, 2, True))
    found = the_review(GOOD_1, worse, worse)
    assert [one.state for one in found.stages] == ["passed", "failed", "unverified"]
    assert [len(one.broken) for one in found.stages] == [0, 1, 0]
    assert found.stages[1].quality == pytest.approx(2 / 3)
    assert not found.is_done
    text = to_text(found, 140)
    assert "stage 2 (show): BROKEN, of stage 1: It parses. [a] exit code 1" in text
    assert "stage 3 (words): still failing, of stage 1: It parses." in text
    assert "stage 2 failed: --from 2 runs it again\n" in text
    assert as_json(found)["stages"][1]["failed"][0]["broken"] is True


def test_checks_that_never_ended_have_not_passed() -> None:
    found = the_review(GOOD_1, GOOD_2[:2])
    assert [one.state for one in found.stages] == ["passed", "failed", "not run"]
    assert (found.stages[1].passed, found.stages[1].checked) == (2, 3)


def test_without_a_check_only_a_whole_trial_goes_on() -> None:
    tries = [FIRST, SECOND, THIRD]
    for changes in ({"outcome": "timed-out", "why_ended": "wall"}, {"validity": "INVALID"}):
        results = results_of(FIRST, SECOND) | results_of(THIRD, **changes)
        said = dict(zip((one.trial for one in tries), (GOOD_1, GOOD_2, GOOD_2), strict=True))
        found = review_of("j", SPEC, record_of(*tries), results, said)
        assert found.stages[2].state == "failed"


def test_a_check_that_the_specification_does_not_have_is_left_out() -> None:
    odd = (*GOOD_1, ended(1, 9, False), ended(3, 1, False))
    assert the_review(odd).stages[0].ended == GOOD_1


def test_what_was_done_again_was_paid_for_too() -> None:
    redone = attempt_at(2, count=2)
    record = record_of(FIRST, SECOND).cut(1).begun(redone)
    results = results_of(FIRST, SECOND) | results_of(redone, cost_usd=None)
    said = {FIRST.trial: GOOD_1, redone.trial: GOOD_2}
    found = review_of("j", SPEC, record, results, said)
    spent = found.spent
    assert (spent.tries, spent.redone, spent.usd, spent.unpriced) == (3, 1, Decimal("0.50"), 1)
    assert (spent.wall_s, spent.tokens.input) == (30.0, 300)
    assert found.stages[1].tries == 2
    text = to_text(found, 140)
    assert (
        "spent: 3 trials, 30 s, 300 tokens in and 30 out, $0.50, and 1 trial of unknown price;"
        " 1 of them done again" in text
    )


def test_the_review_in_words() -> None:
    text = to_text(the_review(GOOD_1, GOOD_2, GOOD_2), 140)
    assert "stage 1 (parse): unverified: It is plain." in text
    assert "all stages passed their checks; 2 items unverified: read them" in text
    assert "to take their work over: hotseat bench apply " in text
    hostile = the_review((ended(1, 1, False, "red\x1b[31m\n<b>|bold|</b>"),))
    text, page = to_text(hostile, 140), to_markdown(hostile)
    assert "\x1b" not in text + page
    assert "<b>" not in page
    assert "stage 1 failed: --from 1 runs it again, or --go-on to go on from what it left" in text
    assert "stage 1 is next" in to_text(review_of("j", SPEC, EMPTY, {}, {}), 140)
    broken = the_review((), results=results_of(FIRST, outcome="infrastructure", error="no such model"))
    text = to_text(broken, 140)
    assert "could not be run: mend it" in text
    json.dumps(as_json(broken))


def test_what_checks_wrote_is_read_or_refused(tmp_path: Path) -> None:
    assert read_ended(tmp_path) == ()
    (tmp_path / "verifier").mkdir()
    path = tmp_path / "verifier" / "checks.json"
    path.write_text(json.dumps([one.model_dump() for one in GOOD_2]))
    assert read_ended(tmp_path) == GOOD_2
    path.write_text('[{"stage": "x"}]')
    with pytest.raises(BenchError, match="run the stage again"):
        read_ended(tmp_path)
