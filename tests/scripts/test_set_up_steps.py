"""What of the set-up is still to do."""

from __future__ import annotations

from bootstrap.engine_flags import EngineRequest
from bootstrap.steps import STEPS, Stamp, StepName, fingerprint, outstanding, read_stamp, write_stamp

WANTED: dict[StepName, str] = {
    "environment": "e",
    "runtime": "r",
    "development": "d",
    "engine": "k",
    "project": "p",
}
ALL_DONE = Stamp(WANTED)


def test_nothing_is_done_in_a_fresh_clone() -> None:
    assert outstanding("serve", WANTED, Stamp(), models_in_place=False) == STEPS["serve"]


def test_nothing_is_to_do_at_a_second_start() -> None:
    for purpose in STEPS:
        assert outstanding(purpose, WANTED, ALL_DONE, models_in_place=True) == ()


def test_a_new_clone_takes_the_models_that_are_there() -> None:
    assert "models" not in outstanding("serve", WANTED, Stamp(), models_in_place=True)


def test_only_what_changed_is_done_again() -> None:
    changed: dict[StepName, str] = {**WANTED, "engine": "other flags"}
    assert outstanding("serve", changed, ALL_DONE, models_in_place=True) == ("engine",)
    assert outstanding("check", changed, ALL_DONE, models_in_place=True) == ()


def test_deleted_models_are_fetched_again() -> None:
    assert outstanding("serve", WANTED, ALL_DONE, models_in_place=False) == ("models",)
    assert outstanding("check", WANTED, ALL_DONE, models_in_place=False) == ()


def test_a_moved_clone_starts_over() -> None:
    moved: dict[StepName, str] = {**WANTED, "environment": "elsewhere"}
    assert outstanding("check", moved, ALL_DONE, models_in_place=True) == STEPS["check"]


def test_a_killed_step_is_done_again() -> None:
    for step in ("runtime", "engine", "project"):
        begun = read_stamp(write_stamp(ALL_DONE.without(step)))
        assert outstanding("serve", WANTED, begun, models_in_place=True) == (step,)


def test_tests_after_serving_add_what_tests_need() -> None:
    served = Stamp({name: WANTED[name] for name in ("environment", "runtime", "engine", "project")})
    assert outstanding("test", WANTED, served, models_in_place=True) == ("development",)


def test_a_stamp_comes_back_as_it_was() -> None:
    stamp = ALL_DONE.having({"engine": "cuda key"}, EngineRequest(True, "86;120", "-DX=1 '-DY=a b'"))
    assert read_stamp(write_stamp(stamp)) == stamp


def test_a_damaged_stamp_says_nothing() -> None:
    whole = write_stamp(ALL_DONE)
    for end in range(len(whole) - 2):
        assert read_stamp(whole[:end]) == Stamp()
    for text in ("[]", "null", '{"done": [], "engine": {}}', '{"done": {}, "engine": []}', '{"done": 1}'):
        assert read_stamp(text) == Stamp()


def test_a_fingerprint_knows_where_one_part_ends() -> None:
    assert fingerprint(b"ab", b"c") != fingerprint(b"a", b"bc")
    assert fingerprint(b"ab") == fingerprint(b"ab")
