"""What the rows of a run prove."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.evidence import (
    Expected,
    Row,
    cost_of,
    delegations_of,
    energy_of,
    gap_sentence,
    gaps,
    merged,
    nodes_of,
    parallel_s,
    reasons_against,
    union_s,
    waited_s,
    wire_of,
)
from bench.results import Claimed, Tokens

BEGUN = 1000.0
BOTH = Expected("big", "big", ("little",))


def row(number: int, start_s: float, end_s: float, **given: Any) -> Row:
    fields: dict[str, Any] = {
        "request_id": f"r{number}",
        "started_at": BEGUN + start_s,
        "ended_at": BEGUN + end_s,
        "node": "m",
        "role": "main",
        "requested_model": "big",
        "model": "big",
        "upstream": "local",
        "status": 200,
        "input_tokens": 100,
        "cached_tokens": 40,
        "output_tokens": 10,
        "cost_usd": Decimal("0.01"),
    }
    return Row(**(fields | given))


def sub(number: int, start_s: float, end_s: float, node: str = "s", **given: Any) -> Row:
    fields = {
        "node": node,
        "parent_node": "m",
        "role": "subagent",
        "requested_model": "little",
        "model": "little",
    }
    return row(number, start_s, end_s, **(fields | given))


def test_totals_by_agent_and_model() -> None:
    rows = [
        row(1, 0, 2, queue_s=0.5, load_s=0.5),
        sub(2, 2, 5, tool_calls=1),
        row(3, 5, 6),
        row(4, 6, 7, model="x"),
    ]
    main, helper, other = nodes_of(reversed(rows), BEGUN)
    assert (main.requests, main.tokens.input, main.first_s, main.last_s) == (2, 200, 0, 6)
    assert (main.busy_s, main.waited_s) == (2, 1)
    assert (helper.role, helper.parent_node, helper.tool_calls, helper.model) == (
        "subagent",
        "m",
        1,
        "little",
    )
    assert other.model == "x"
    assert delegations_of(rows) == 1


def test_attempts_of_a_request_are_one_request_and_all_their_tokens() -> None:
    rows = [row(1, 0, 1, status=503, attempt=1), row(1, 1, 2, attempt=2), row(2, 2, 3, status=500)]
    [main] = nodes_of(rows, BEGUN)
    assert (main.requests, main.failed_requests, main.tokens.input, main.cost_usd) == (
        2,
        1,
        300,
        Decimal("0.03"),
    )


def test_a_sum_with_an_unknown_price_is_not_known() -> None:
    assert cost_of([row(1, 0, 1), row(2, 1, 2, cost_usd=None)]) is None
    assert cost_of(
        [row(1, 0, 1), row(2, 1, 2, cost_usd=None, attempt=0, input_tokens=0, output_tokens=0)]
    ) == Decimal("0.01")
    assert cost_of([]) == 0
    assert energy_of([row(1, 0, 1)]) is None
    assert energy_of([row(1, 0, 1, energy_j=2.0), row(2, 0, 1)]) == 2.0


def test_what_a_recording_answered_was_paid_for_before() -> None:
    rows = [
        row(1, 0, 1),
        row(2, 1, 2, price_source="replay"),
        row(3, 2, 3, price_source="replay", cost_usd=None),
    ]
    assert cost_of(rows) == Decimal("0.01")
    assert wire_of(rows, 0).usd == Decimal("0.01")


def test_a_sub_agent_is_named_as_in_the_configuration() -> None:
    rows = [row(1, 0, 1, requested_model="model-1"), sub(2, 1, 2, requested_model="model-2", status=404)]
    (reason,) = reasons_against(rows, BOTH, names={"model-1": "big", "model-2": "little"})
    assert reason.startswith("a sub-agent on little was never answered")


def test_overlapping_sub_agents_are_seen_to_overlap() -> None:
    rows = [sub(1, 0, 10, "a"), sub(2, 4, 12, "b"), sub(3, 5, 6, "a"), row(4, 20, 30)]
    assert parallel_s(rows) == 6
    assert parallel_s([sub(1, 0, 10, "a"), sub(2, 10, 12, "b")]) == 0
    assert parallel_s([row(1, 0, 10), row(2, 5, 9)]) == 0  # one agent's own


def test_waits_that_overlap_count_once() -> None:
    assert (
        waited_s([row(1, 0, 9, load_s=4), sub(2, 1, 9, queue_s=2, load_s=3), row(3, 20, 21, queue_s=1)]) == 7
    )


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))))
def test_merged_spans_cover_the_same_time(spans: list[tuple[int, int]]) -> None:
    covered = {at for start, end in spans for at in range(start, end)}
    assert union_s((float(start), float(end)) for start, end in spans) == len(covered)
    found = merged([(float(start), float(end)) for start, end in spans])
    assert all(first[1] < second[0] for first, second in pairwise(found))


def test_a_run_as_expected_counts() -> None:
    assert reasons_against([row(1, 0, 1), sub(2, 1, 2), row(3, 2, 3)], BOTH, names={}) == ()
    assert reasons_against([row(1, 0, 1)], BOTH, names={}) == ()  # it may choose not to delegate
    assert reasons_against([], Expected("", ""), names={}) == ()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no request of it was answered"),
        ([row(1, 0, 1, status=500)], "no request of it was answered"),
        ([sub(1, 0, 1)], "its main model, big, never answered"),
        ([row(1, 0, 1), row(2, 1, 2, model="gpt")], "a model that it does not name answered: gpt"),
        (
            [row(1, 0, 1), sub(2, 1, 2, status=404, code="model_not_found", attempt=0, model="")],
            "a sub-agent on little was never answered (404 model_not_found)",
        ),
        ([row(1, 0, 1), row(2, 1, 1, status=0, code="lost")], "1 of its requests have no end in the ledger"),
        ([row(1, 0, 1), row(2, 1, 2, status=500, fault="proxy")], "Hotseat failed 1 of its requests"),
    ],
)
def test_what_makes_a_run_no_evidence(rows: list[Row], reason: str) -> None:
    assert reason in reasons_against(rows, BOTH, names={})


def test_a_sub_agent_that_was_answered_at_last_counts() -> None:
    rows = [row(1, 0, 1), sub(2, 1, 2, status=503), sub(3, 2, 3)]
    assert reasons_against(rows, BOTH, names={}) == ()


def test_a_provider_has_its_own_names() -> None:
    remote = [row(1, 0, 1, model="vendor/big-4.7", upstream="openrouter")]
    assert reasons_against(remote, BOTH, names={"vendor/big-4.7": "big"}) == ()
    assert reasons_against(remote, BOTH, names={}) != ()


def test_a_run_without_models_asks_none() -> None:
    assert reasons_against([row(1, 0, 1)], Expected("", ""), names={}) != ()


def test_what_a_watch_is_fed() -> None:
    rows = [
        row(1, 0, 9, answer_sha="late"),
        row(2, 0, 1, answer_sha="early"),
        row(3, 0, 2, status=500),
        row(4, 0, 3),
    ]
    wire = wire_of(rows, in_flight=2)
    assert (wire.requests, wire.in_flight, wire.tokens, wire.usd) == (4, 2, 440, Decimal("0.04"))
    assert [answered.answer for answered in wire.answers] == ["early", "late"]


def test_gaps() -> None:
    wire = Tokens(input=13_200, cached=0, output=1_090, reasoning=0)
    claimed = Claimed(tokens=gaps(wire, {"input": 2_200, "output": 90, "cached": 0, "reasoning": None}))
    assert claimed.tokens["input"].wire - (claimed.tokens["input"].claimed or 0) == 11_000
    assert gap_sentence(claimed) == (
        "input 13,200 on the wire, 2,200 claimed; output 1,090 on the wire, 90 claimed"
    )
    assert gap_sentence(Claimed(tokens=gaps(wire, {"input": 13_200, "output": 1_090}))) == ""
