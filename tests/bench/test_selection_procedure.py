"""Whole selections with judges of known habits."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from bench.candidates import Field
from bench.errors import ProxyError
from bench.selection.calibration import Calibration, calibrated
from bench.selection.examination import case_of, examined
from bench.selection.judge import Judge, Reply, Seat, TooLong
from bench.selection.known_truth import KnownField
from bench.selection.procedure import Prepared, Selected, select_field
from bench.selection.prompts import Prompt
from bench.selection.record import Selection
from bench.selection.run import selection_file
from tests.bench.judged_fields import (
    Choose,
    Habit,
    at_random,
    best,
    candidate,
    field_of,
    first,
    mostly_first,
    said,
    simulated_fields,
)


def selected(field: Field, judge: Judge, **options: bool) -> Selected:
    return asyncio.run(select_field(field, "the task", judge, name="j", run="r", **options))


def all_of(fields: Sequence[Field], choose: Choose) -> list[Selection]:
    """As a job's selections are kept; rewards are what is to be found."""
    judge = Habit(choose)

    async def main() -> list[Selected]:
        return [
            await select_field(field, "the task", judge, name="j", run="r", rewards_are_hidden=True)
            for field in fields
        ]

    return list(selection_file(asyncio.run(main()), "j", "r").selections)


# --- 200 simulated selections ----------------------------------------------------------------------

FIELDS = simulated_fields(200)


class _NoCosts:
    async def of(self, request_ids: Sequence[str]) -> None:
        return None


@functools.cache
def cases() -> list[tuple[KnownField, Prepared]]:
    """Reading 600 patches takes seconds."""
    known = [KnownField(field, "the task", {}) for field in FIELDS]
    return [(one, case) for one in known if isinstance(case := case_of(one), Prepared)]


def calibration(judge: Judge, count: int = 200) -> Calibration:
    seat = Seat(judge, "r", _NoCosts())

    async def main() -> Calibration:
        done = [await examined(known, case, seat, 1) for known, case in cases()[:count]]
        assert len(done) == count
        return calibrated("j", "r", "simulated", done)

    return asyncio.run(main())


def misled(choose: Choose) -> Habit:
    """Its notes prefer the worst."""
    return Habit(choose, score=lambda worth: 10 - worth)


@pytest.mark.parametrize("choose", [first, mostly_first(0.8)], ids=["always the first", "four times of five"])
def test_a_planted_preference_for_the_first_is_flagged_and_all_its_verdicts_are_ties(choose: Choose) -> None:
    found = all_of(FIELDS, choose)
    assert {one.decision for one in found} == {"tie"}
    judged = calibration(misled(choose))
    assert (judged.bias.level, judged.bias.position) == ("biased", "first")
    worth = {one.method: one for one in judged.worths}
    assert worth["listwise"].ties == 200
    assert worth["listwise"].reward == pytest.approx(worth["random"].reward)
    assert judged.use != "listwise"
    assert "BIASED BY POSITION" in judged.advice


def test_a_perfect_judge_chooses_as_the_oracle_does() -> None:
    judged = calibration(misled(best))
    worth = {one.method: one for one in judged.worths}
    for method in ("listwise", "pairwise"):
        assert worth[method].reward == worth["oracle"].reward
        assert (worth[method].right, worth[method].ties, worth[method].agreement) == (1.0, 0, 1.0)
    assert worth["pointwise"].reward < worth["random"].reward
    assert judged.bias.level == "none seen"
    assert judged.use in ("pairwise", "listwise")
    assert [one.outcome for one in judged.against_random] == ["worse", "better", "better"]


def test_a_judge_at_random_is_worth_what_random_choices_are() -> None:
    judged = calibration(misled(at_random()))
    worth = {one.method: one for one in judged.worths}
    for method in ("listwise", "pairwise"):
        assert worth[method].interval.holds(worth["random"].reward)
        assert worth[method].right_interval.holds(worth["random"].right)
    assert judged.use is None
    assert judged.advice.startswith("j is worse than choosing at random (pointwise): do not use it")


def test_an_unread_judge_is_worth_as_much_as_chance_and_not_to_be_used() -> None:
    @dataclass(frozen=True)
    class Babble:
        room_chars: int = 20_000

        async def ask(self, prompt: Prompt) -> Reply:
            return Reply("I like them all.")

    judged = calibration(Babble(), 20)
    assert [one.abstentions for one in judged.worths] == [0, 20, 20, 20, 0]
    assert judged.advice == (
        "j is no better than choosing at random, as far as 20 fields show: do not use it."
    )
    assert judged.problems[0].startswith("a note could not be read")


# --- one field -------------------------------------------------------------------------------------


def test_what_fails_the_checks_is_not_compared_and_equals_stand_for_each_other() -> None:
    found = selected(
        field_of(
            candidate("a", "worth = 5", "x = 1", visible=1.0, outputs={"p": "1"}),
            candidate("b", "worth = 5", visible=1.0, outputs={"p": "1"}),
            candidate("c", "worth = 7", visible=1.0, outputs={"p": "2"}),
            candidate("d", "worth = 9", visible=0.5, outputs={"p": "3"}),
        ),
        Habit(best),
    ).selection
    assert (found.decision, found.configuration, found.basis) == ("chosen", "c", "behaviour")
    standing = {one.configuration: one for one in found.standings}
    assert standing["d"].left_out == "passes 50 % of the checks; the best 100 %"
    assert [standing[name].cluster for name in "abc"] == [0, 0, 1]
    assert [standing[name].is_compared for name in "abcd"] == [False, True, True, False]
    assert standing["c"].firsts == len(found.orders) == 2
    assert found.asked.questions == 4  # two notes, two orders
    assert found.asked.input_tokens == 400


def test_one_cluster_is_chosen_without_asking_and_not_called_right() -> None:
    judge = Habit(best)
    found = selected(field_of(candidate("a", "x = 1"), candidate("b", "x = 1  # mine")), judge).selection
    assert (found.decision, found.configuration, judge.seen) == ("unanimous", "a", [])
    assert "does not show that they are right" in found.why
    only = selected(field_of(candidate("a", "x = 1"), candidate("b", "x = 2", reward=0.1)), judge).selection
    assert only.why == "the only candidate that is left: chosen without asking a judge"


def test_nobody_is_left() -> None:
    lost = candidate("a", outcome="infrastructure", reward=None)
    assert selected(field_of(lost), Habit(best)).selection.decision == "abstained"


def test_notes_go_with_their_candidate_into_every_order() -> None:
    judge = Habit(best, score=lambda worth: worth / 2)
    selected(field_of(candidate("a", "worth = 8"), candidate("b", "worth = 4")), judge)
    compared = [prompt.user for prompt in judge.seen if prompt.schema_name == "ranking"]
    assert len(compared) == 2
    for text in compared:
        _, one, other = text.split("## Candidate ")
        for part in (one, other):
            assert ("score 4 of 10" in part) == ("worth = 8" in part)


def test_no_prompt_tells_who_made_it() -> None:
    judge = Habit(best)
    named = candidate("x").result.manifest.model_copy(update={"models": {"glm-9": "vendor/glm-9x"}})
    selected(
        field_of(
            candidate("codex-solo", "worth = 1", "by = 'GLM-9 (vendor/glm-9x), codex-solo'", manifest=named),
            candidate("other-one", "worth = 2", "by = 'Claude Code'", "# other-one was here", manifest=named),
        ),
        judge,
    )
    for prompt in judge.seen:
        text = (prompt.system + prompt.user).lower()
        for name in ("codex", "glm", "vendor", "other-one", "claude", "t1-"):
            assert name not in text


@dataclass
class _Broken:
    """Cannot be asked from question `after` on."""

    after: int
    error: Exception
    room_chars: int = 20_000
    asked: int = 0

    async def ask(self, prompt: Prompt) -> Reply:
        self.asked += 1
        if self.asked > self.after:
            raise self.error
        return said("x", score=5)


def test_a_judge_that_cannot_be_asked_abstains_with_the_reason() -> None:
    judge = _Broken(1, ProxyError("the budget of the run is spent"))
    found = selected(field_of(candidate("a", "worth = 1"), candidate("b", "worth = 2")), judge).selection
    assert (found.decision, found.trial, found.why) == ("abstained", None, "the budget of the run is spent")
    assert judge.asked == 2  # it is left alone after that
    assert found.asked.questions == 1


def test_a_prompt_that_is_too_long_is_asked_again_with_less() -> None:
    @dataclass
    class Short(Habit):
        async def ask(self, prompt: Prompt) -> Reply:
            if prompt.chars > 6_000:
                raise TooLong("too long")
            return await Habit.ask(self, prompt)

    long = [f"line_{number} = {number}" for number in range(2000)]
    judge = Short(best)
    found = selected(
        field_of(candidate("a", "worth = 1", *long), candidate("b", "worth = 2", *long)), judge
    ).selection
    assert (found.decision, found.configuration) == ("chosen", "b")
    assert any("a change was cut to" in problem for problem in found.asked.problems)


def test_a_judge_without_room_says_what_to_do() -> None:
    fields = field_of(candidate("a", "worth = 1", "x = 1" * 200), candidate("b", "worth = 2", "x = 2" * 200))
    found = selected(fields, Habit(best, room_chars=1_200)).selection
    assert found.decision == "abstained"
    assert "take a judge with a larger context" in found.why


def test_reasons_are_those_for_the_chosen_one_and_letters_are_explained() -> None:
    found = selected(
        field_of(candidate("a", "worth = 1"), candidate("b", "worth = 2")), Habit(best)
    ).selection
    assert len(found.reasons) == 1  # the same words twice
    assert found.reasons[0] in ("r (A: a, B: b)", "r (A: b, B: a)")
