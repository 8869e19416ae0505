"""What stands: once each, whoever told of it; less what was taken back."""

from __future__ import annotations

import random

from bench.note_entries import Entry, TrialEntry, line_of, read_line, retraction
from bench.note_standing import Contradiction, Remark, standing
from tests.bench.noted_trials import NOW_S, changed, noted

FIRST = noted(number=1)
SECOND = noted(number=2, reward=1.0)


def taken_back(entry: Entry, why: str = "wrong", by: str = "") -> Entry:
    return retraction(entry.id, why, by, NOW_S)


def test_a_trial_told_of_twice_counts_once_with_the_words_of_both() -> None:
    mine = noted(by="ann", note="quick", tags=("python", "refactoring"))
    found = standing([FIRST, mine, SECOND, FIRST, noted(by="bob")])
    assert len(found.trials) == 2
    [told] = [trial for trial in found.trials if trial.entry.evidence == FIRST.evidence]
    assert len(told.ids) == 3
    assert told.remarks == (Remark("ann", "quick"), Remark("bob", ""))


def test_tags_of_all_that_tell_of_a_trial_are_its_tags() -> None:
    found = standing([noted(tags=("python",)), noted(tags=("refactoring",))])
    assert [trial.tags for trial in found.trials] == [("python", "refactoring")]


def test_entries_that_contradict_each_other_count_neither() -> None:
    """The same result.json cannot have two rewards."""
    outcome = FIRST.outcome.model_dump() | {"reward": 1.0}
    better = read_line(changed(line_of(FIRST), outcome=outcome))
    assert isinstance(better, TrialEntry)
    found = standing([better, SECOND, FIRST])
    assert [trial.entry for trial in found.trials] == [SECOND]
    ids = tuple(sorted({FIRST.id, better.id}))
    assert found.contradictions == (Contradiction(FIRST.evidence.result_sha, ids),)


def test_a_retraction_takes_the_trial_out_whoever_told_of_it() -> None:
    found = standing([noted(by="bob"), taken_back(FIRST, by="ann"), FIRST, SECOND])
    assert [trial.entry for trial in found.trials] == [SECOND]
    [gone] = found.withdrawn
    assert len(gone.trial.ids) == 2
    assert [one.by for one in gone.retractions] == ["ann"]


def test_a_retraction_of_what_is_not_known_waits_for_it() -> None:
    assert standing([taken_back(FIRST), SECOND]).withdrawn == ()
    assert len(standing([taken_back(FIRST), SECOND, FIRST]).withdrawn) == 1


def test_a_retraction_can_be_taken_back_and_that_too() -> None:
    chain: list[Entry] = [FIRST]
    for place in range(6):
        chain.append(taken_back(chain[-1], why=f"step {place}"))
        random.Random(place).shuffle(shuffled := list(chain))
        assert len(standing(shuffled).trials) == (0 if place % 2 == 0 else 1), place


def test_two_retractions_are_both_to_be_taken_back() -> None:
    one, two = taken_back(FIRST, "a"), taken_back(FIRST, "b")
    assert len(standing([FIRST, one, two, taken_back(one)]).trials) == 0
    assert len(standing([FIRST, one, two, taken_back(one), taken_back(two)]).trials) == 1


def test_a_chain_of_retractions_as_long_as_a_log_is_followed() -> None:
    chain: list[Entry] = [FIRST]
    for _ in range(3000):
        chain.append(taken_back(chain[-1]))
    assert len(standing(chain).trials) == 1
