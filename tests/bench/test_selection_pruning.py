"""Who is compared, and who is not and why."""

from __future__ import annotations

from bench.candidates import clusters
from bench.selection.prompts import MAX_CANDIDATES
from bench.selection.pruning import pruned, representative, visible_share
from tests.bench.judged_fields import candidate, field_of


def names(*candidates: object, hidden: bool = False) -> list[str]:
    found = pruned(field_of(*candidates), rewards_are_hidden=hidden)  # type: ignore[arg-type]
    return [one.name for one in found.compared]


def test_those_that_pass_all_visible_checks_are_compared_whatever_their_reward() -> None:
    a = candidate("a", "x = 1", visible=1.0, reward=0.2)
    b = candidate("b", "x = 2", visible=1.0, reward=1.0)
    c = candidate("c", "x = 3", visible=0.9, reward=1.0)
    assert names(a, b, c) == ["a", "b"]


def test_if_all_fail_the_best_share_is_kept() -> None:
    field = field_of(
        candidate("a", "x = 1", visible=0.5),
        candidate("b", "x = 2", visible=0.5),
        candidate("c", "x = 3", visible=0.25),
    )
    found = pruned(field, rewards_are_hidden=False)
    assert [one.name for one in found.compared] == ["a", "b"]
    assert found.left_out == {"t1-c-1": "passes 25 % of the checks; the best 50 %"}


def test_rewards_are_the_checks_unless_they_are_the_truth_to_be_found() -> None:
    a, b = candidate("a", "x = 1", reward=1.0), candidate("b", "x = 2", reward=0.5)
    assert names(a, b) == ["a"]
    assert names(a, b, hidden=True) == ["a", "b"]
    assert visible_share(a, rewards_are_hidden=True) is None
    assert visible_share(candidate("c", visible=0.5), rewards_are_hidden=True) == 0.5


def test_what_was_not_checked_is_not_held_against_anybody() -> None:
    unchecked = candidate("a", "x = 1", reward=None, outcome="verifier-failed")
    assert names(unchecked, candidate("b", "x = 2", reward=1.0)) == ["a", "b"]


def test_what_was_not_run_or_changed_nothing_is_left_out() -> None:
    lost = candidate("a", "x = 1", outcome="infrastructure", reward=None)
    idle, busy = candidate("b", visible=1.0), candidate("c", "x = 1", visible=0.5)
    found = pruned(field_of(lost, idle, busy), rewards_are_hidden=False)
    assert [one.name for one in found.compared] == ["c"]
    assert found.left_out == {"t1-a-1": "it could not be run", "t1-b-1": "it changed nothing"}
    assert names(idle) == ["b"]  # if nobody changed anything, that is what there is


def test_the_smallest_change_stands_for_its_cluster_and_names_break_ties() -> None:
    same = {"p": "1"}
    group = [
        candidate("c", "x = 100", outputs=same),
        candidate("b", "x = 1", outputs=same),
        candidate("a", "y = 1", outputs=same),
    ]
    (cluster,) = clusters(group)
    assert representative(cluster).name == "a"


def test_no_more_clusters_than_letters_are_compared() -> None:
    many = [candidate(f"n{number:02}", f"x = {number}") for number in range(MAX_CANDIDATES + 2)]
    found = pruned(field_of(*many), rewards_are_hidden=False)
    assert len(found.compared) == MAX_CANDIDATES
    assert found.left_out["t1-n09-1"].startswith("not compared: 8 clusters at most")
