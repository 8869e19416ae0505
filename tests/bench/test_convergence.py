"""What agreement and disagreement of candidates is called, and the numbers beside it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.behaviour import Behaviour, Probe
from bench.candidates import Candidate, Field
from bench.convergence import AGREED_SHARE, SILENT, Convergence, Kind, convergence, entropy, repeated
from tests.bench.report_results import not_run, result

PROBE = "a row over the limit"
QUESTION = "Are rows over the limit left out, or cut to it?"


def edit(value: object, path: str = "app.py") -> str:
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -0,0 +1 @@\n+x = {value}\n"


def candidate(name: str, did: str | None = None, *, patch: str | None = None, **about: Any) -> Candidate:
    """`did`: its answer to the one probe, also its reading."""
    probes = (Probe(name=PROBE, output=f"{did}!", input="f(9)", question=QUESTION, reading=did or ""),)
    behaviour = None if did is None else Behaviour(probes=probes)
    return Candidate(result(name, **about), Path(name), edit(did) if patch is None else patch, behaviour)


def field(*candidates: Candidate) -> Field:
    return Field("fork-spec", "0" * 64, 1, candidates)


def seen(*did: str, reward: Sequence[float | None] | float = 1.0, **about: Any) -> Convergence:
    rewards = reward if isinstance(reward, Sequence) else [reward] * len(did)
    pairs = zip("abcdefgh", did, rewards, strict=False)
    return convergence(field(*(candidate(name, one, reward=worth, **about) for name, one, worth in pairs)))


# --- kinds ------------------------------------------------------------------------------------------------


def test_three_readings_that_the_tests_all_pass_are_an_unclear_task() -> None:
    found = seen("filter", "cut", "refuse", scores={"visible": 1.0}, reward=[0.5, 1.0, 0.5])
    assert found.kind == "underspecified"
    assert found.questions == (QUESTION,)
    assert found.sentence == (
        "3 candidates did 3 different things, and the checks pass them all: the task is underspecified."
        f' Ask: {QUESTION} On "a row over the limit": filter (a); cut (b); refuse (c).'
    )


@pytest.mark.parametrize(
    ("did", "reward", "scores", "kind"),
    [
        (("x", "y", "z"), (1.0, 0.0, 0.0), {}, "hard"),
        (("x", "y", "z"), (0.0, 0.0, 0.0), {}, "hard"),
        (("x", "x", "x"), (0.0, 0.0, 0.0), {}, "shared misconception"),
        (("x", "x", "x"), (0.5, 0.5, 0.5), {"visible": 1.0}, "shared misconception"),
        (("x", "x", "x", "y"), (0.0, 0.0, 0.0, 1.0), {}, "shared misconception"),
        (("x", "x", "x"), (1.0, 1.0, 1.0), {"visible": 1.0}, "agreed, tests pass"),
        (("x", "x", "x"), (1.0, 1.0, 0.0), {}, "agreed, tests differ"),
        (("x", "x", "x"), (None, None, None), {}, "agreed, unverified"),
        (("x", "y", "z"), (None, None, None), {}, "different, unverified"),
        (("x", "x", "x"), (1.0, 1.0, 1.0), {"unverified": 1.0}, "agreed, unverified"),
        (("x", "y", "z"), (1.0, 1.0, 0.0), {"unverified": 1.0}, "different, unverified"),
        (("x", "y"), (1.0, 1.0), {}, "underspecified"),
        (("x", "x", "y"), (1.0, 1.0, 1.0), {}, "underspecified"),
        (("x",), (1.0,), {}, "alone"),
        ((), (), {}, "alone"),
    ],
)
def test_agreement_and_checks_together_make_the_kind(
    did: tuple[str, ...], reward: tuple[float | None, ...], scores: dict[str, float], kind: Kind
) -> None:
    assert seen(*did, reward=reward, scores=scores).kind == kind


@given(
    st.lists(st.sampled_from("xyz"), max_size=6),
    st.lists(st.sampled_from((None, 0.0, 0.5, 1.0)), min_size=6, max_size=6),
    st.sampled_from(({}, {"visible": 0.0}, {"visible": 1.0})),
)
def test_no_agreement_is_ever_called_right(did: list[str], rewards: list[float | None], scores: Any) -> None:
    found = seen(*did, reward=rewards[: len(did)], scores=scores)
    assert not {"correct", "right", "true", "solved", "confident"} & set(found.sentence.lower().split())
    agreeing = [worth for one, worth in zip(did, rewards, strict=False) if one == "x"]
    if found.kind == "agreed, tests pass":
        assert found.largest_share >= AGREED_SHARE
        assert {
            worth for one, worth in zip(did, rewards, strict=False) if one == max(did, key=did.count)
        } <= {1.0, None}
    if agreeing and did == ["x"] * len(did) and len(did) > 1 and 1.0 not in agreeing and None not in agreeing:
        assert found.kind == "shared misconception"


def test_hidden_checks_say_more_than_those_that_could_be_seen() -> None:
    found = seen("cut", "cut", "cut", scores={"visible": 1.0}, reward=0.5)
    assert found.sentence == (
        "3 of 3 did the same on every probe, and it passes the visible checks and fails hidden ones:"
        " a shared misconception, not an answer."
    )


def test_those_that_pass_may_part_where_others_fail() -> None:
    """The race of three: one right, one subtly wrong, one that fails its tests."""
    failing = candidate("failing", "crash", reward=0.0, scores={"visible": 0.5})
    rivals = [candidate(name, name, reward=0.5, scores={"visible": 1.0}) for name in ("cut", "filter")]
    found = convergence(field(*rivals, failing))
    assert found.kind == "hard"
    assert found.sentence.startswith(
        "3 candidates did 3 different things, and the checks pass cut and filter only: the task is hard for"
        f" them. Those that pass part as well. Ask: {QUESTION} On"
    )
    alone = convergence(field(rivals[0], candidate("x", "x", reward=0.0), failing))
    assert "Ask" not in alone.sentence
    assert alone.questions == ()


def test_an_even_fork_of_six_is_no_agreement() -> None:
    """Its entropy is lower than that of two against one."""
    found = seen(*"xxxyyy")
    assert found.entropy == pytest.approx(math.log(2) / math.log(6))
    assert found.kind == "underspecified"
    assert seen(*"xxxxy").kind == "agreed, tests pass"


def test_different_code_that_passes_is_only_that() -> None:
    found = convergence(field(*(candidate(name, patch=edit(name), reward=1.0) for name in "abc")))
    assert found.basis == "patch"
    assert found.kind == "different code, tests pass"
    assert found.entropy == pytest.approx(1.0)
    assert "underspecified" not in found.sentence
    same = convergence(field(*(candidate(name, patch=edit(1), reward=1.0) for name in "abc")))
    assert (same.kind, same.entropy) == ("agreed, tests pass", 0.0)


def test_to_change_nothing_is_no_misconception() -> None:
    idle = [candidate(name, patch="", reward=0.0) for name in "abc"]
    assert convergence(field(*idle)).kind == "nothing changed"
    assert convergence(field(*idle)).sentence == "3 of 3 changed nothing at all."


def test_who_is_no_evidence_is_named_and_left_out() -> None:
    broken = candidate("b", "x", validity="INVALID", invalid_because=("a sub-agent was never answered",))
    lost = Candidate(not_run("c"), Path("c"), "", None)
    found = convergence(field(candidate("a", "x", reward=1.0), broken, lost))
    assert (found.n, found.kind) == (1, "alone")
    assert found.left_out == ("b: a sub-agent was never answered", "c: it could not be run: no server")


# --- forks ------------------------------------------------------------------------------------------------


def test_outputs_with_one_reading_are_one_side() -> None:
    probes = [("cut", "10"), ("cut", "10.0"), ("left out", "0")]
    candidates = [
        Candidate(
            result(name, reward=1.0),
            Path(name),
            edit(name),
            Behaviour(probes=(Probe(name="over", output=output, reading=reading),)),
        )
        for name, (reading, output) in zip("abc", probes, strict=True)
    ]
    found = convergence(field(*candidates))
    assert len(found.groups) == 3
    assert [(side.words, side.members) for side in found.forks[0].sides] == [
        ("cut", ("a", "b")),
        ("left out", ("c",)),
    ]
    assert found.questions == ('On "over", which is meant: "cut" or "left out"?',)


def test_where_a_word_covers_all_that_was_done_the_outputs_are_the_sides() -> None:
    """Else the task would be called underspecified without a question."""
    candidates = [
        Candidate(
            result(name, reward=1.0),
            Path(name),
            edit(name),
            Behaviour(
                probes=(Probe(name="over", output=output, reading="left out", question="Cut or left out?"),)
            ),
        )
        for name, output in zip("ab", ("{}", "{'Bob': 0}"), strict=True)
    ]
    found = convergence(field(*candidates))
    assert found.kind == "underspecified"
    assert [(side.words, side.members) for side in found.forks[0].sides] == [
        ("{}", ("a",)),
        ("{'Bob': 0}", ("b",)),
    ]
    assert found.questions == ('On "over", which is meant: "{}" or "{\'Bob\': 0}"?',)


def test_the_most_even_fork_comes_first_and_agreement_is_none() -> None:
    answers = {"same": "1111", "one": "1112", "even": "1122"}
    candidates = [
        Candidate(
            result(name),
            Path(name),
            edit(name),
            Behaviour(probes=tuple(Probe(name=key, output=told[at]) for key, told in answers.items())),
        )
        for at, name in enumerate("abcd")
    ]
    assert [fork.probe for fork in convergence(field(*candidates)).forks] == ["even", "one"]


def test_a_probe_that_one_did_not_answer_is_a_side() -> None:
    partial = Candidate(result("b"), Path("b"), edit(2), Behaviour(probes=(Probe(name="other", output="1"),)))
    found = convergence(field(candidate("a", "x"), partial))
    assert [[side.words for side in fork.sides] for fork in found.forks] == [["x", SILENT], [SILENT, "1"]]


def test_many_questions_are_counted() -> None:
    probes = [
        tuple(Probe(name=f"p{n}", output=out, question=f"Is {n} meant?") for n in range(5)) for out in "xy"
    ]
    found = convergence(
        field(
            *(
                Candidate(result(name, reward=1.0), Path(name), edit(name), Behaviour(probes=asked))
                for name, asked in zip("ab", probes, strict=True)
            )
        )
    )
    assert len(found.questions) == 5
    assert "Ask: Is 0 meant? Is 1 meant? Is 2 meant? (2 more)" in found.sentence


# --- numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "value"),
    [
        ((), 0.0),
        ((1,), 0.0),
        ((5,), 0.0),
        ((1, 1), 1.0),
        ((1, 1, 1, 1), 1.0),
        ((2, 1), 0.5794),
        ((3, 1), 0.4056),
    ],
)
def test_entropy_is_of_the_most_that_there_can_be(sizes: tuple[int, ...], value: float) -> None:
    assert entropy(sizes) == pytest.approx(value, abs=1e-4)


def test_no_agreement_has_more_entropy_than_is_documented() -> None:
    def partitions(n: int, most: int) -> Any:
        yield from ([] for _ in range(n == 0))
        for first in range(min(n, most), 0, -1):
            yield from ([first, *rest] for rest in partitions(n - first, first))

    agreed = (sizes for n in range(2, 16) for sizes in partitions(n, n) if sizes[0] / n >= AGREED_SHARE)
    assert max(entropy(sizes) for sizes in agreed) == pytest.approx(0.4056, abs=1e-4)


def test_files_and_calls_in_common_are_means_over_pairs() -> None:
    """{a, b} and {a}: 1/2; with {c}: 0 and 0. Of calls only two pairs have any: {.json} against none."""
    patches = (edit("r.json()", "a.py") + edit(1, "b.py"), edit(1, "a.py"), edit(2, "c.py"))
    found = convergence(
        field(*(candidate(name, patch=patch) for name, patch in zip("abc", patches, strict=True)))
    )
    assert found.files.mean == pytest.approx(1 / 6)
    assert found.files.pairs == 3
    assert (found.calls.mean, found.calls.pairs) == (0.0, 2)
    assert convergence(field(candidate("a", patch=""), candidate("b", patch=""))).files.mean is None


def test_calls_read_without_a_grammar_are_said_to_be() -> None:
    both = [candidate(name, patch=edit(f"send({name})", "a.ts")) for name in "ab"]
    found = convergence(field(*both))
    assert (found.calls.mean, found.calls_by_words) == (1.0, True)
    assert not seen("x", "y").calls_by_words


def test_the_order_of_candidates_does_not_matter() -> None:
    every = [candidate(name, did, reward=1.0) for name, did in zip("abcd", "xyxz", strict=True)]
    found = {convergence(field(*order)) for order in itertools.permutations(every)}
    assert {(one.groups, one.entropy, one.kind, one.files) for one in found} == {
        (one.groups, one.entropy, one.kind, one.files) for one in list(found)[:1]
    }


# --- one configuration, several attempts ------------------------------------------------------------------


def attempts(*did: str | None, seeds: Sequence[int] = (5, 5, 5)) -> list[Field]:
    return [
        Field(
            "t",
            "0" * 64,
            number,
            (candidate("a", one, attempt=number, seed=seed, reward=1.0, patch=edit(1)),),
        )
        for number, (one, seed) in enumerate(zip(did, seeds, strict=False), 1)
    ]


def test_a_configuration_is_compared_with_itself() -> None:
    (found,) = repeated(attempts("x", "y", "x", seeds=(1, 2, 3)))
    assert (found.scope, found.where, found.n) == ("attempts", "a", 3)
    assert found.sentence.startswith("3 attempts did 2 different things")
    assert [group.members for group in found.groups] == [("attempt 1", "attempt 3"), ("attempt 2",)]
    assert found.kind == "underspecified"


def test_attempts_that_began_differently_are_not_compared_by_their_patches() -> None:
    assert repeated(attempts(None, None, seeds=(1, 2))) == []
    assert [found.n for found in repeated(attempts(None, None, seeds=(1, 1)))] == [2]
    assert repeated(attempts("x", None, seeds=(1, 2))) == []
    assert repeated(attempts("x")) == []
