"""What follows a failure, by values."""

from __future__ import annotations

import pytest

from proxy.provider_errors import failure_of, reported_by_body, reported_inside
from proxy.providers import KINDS
from proxy.retry_policy import (
    COOLDOWN_AFTER,
    COOLDOWN_S,
    GOOD,
    MAX_BACKOFF_S,
    MAX_COOLDOWN_S,
    MAX_RETRY_AFTER_S,
    PROBE_S,
    PROBE_WAIT_S,
    Failure,
    Patience,
    Repeat,
    Standing,
    after_failure,
    after_probe,
    let_through,
    next_step,
)
from proxy.upstream_errors import BadAnswer, Broken, Silent, Unreachable, Untrusted

PASSES = Failure(may_repeat=True, may_move=True, counts=True)
BROKEN = Failure(may_move=True, counts=True)
TWICE = Patience(retries=2, delay_s=0.5)


@pytest.mark.parametrize(
    ("failure", "repeated", "has_fallback", "step"),
    [
        (PASSES, 0, False, Repeat(0.5)),
        (PASSES, 1, False, Repeat(1.0)),
        (PASSES, 2, False, "give up"),
        (PASSES, 2, True, "move"),
        (BROKEN, 0, False, "give up"),
        (BROKEN, 0, True, "move"),
        (Failure(), 0, True, "give up"),
        (Failure(may_repeat=True), 2, True, "give up"),
    ],
)
def test_next_step(failure: Failure, repeated: int, has_fallback: bool, step: object) -> None:
    assert next_step(failure, repeated, TWICE, has_fallback=has_fallback, chance=1.0) == step


def test_retry_after_is_the_least_and_jitter_comes_on_top() -> None:
    asked = Failure(may_repeat=True, may_move=True, retry_after_s=10.0)
    for chance in (0.0, 0.5, 1.0):
        step = next_step(asked, 0, TWICE, has_fallback=False, chance=chance)
        assert isinstance(step, Repeat)
        assert 10.0 <= step.after_s <= 11.0
    assert next_step(asked, 0, TWICE, has_fallback=True, chance=0.0) == "move"


def test_a_long_retry_after_is_not_waited_for() -> None:
    asked = Failure(may_repeat=True, may_move=True, retry_after_s=MAX_RETRY_AFTER_S + 1)
    assert next_step(asked, 0, TWICE, has_fallback=False, chance=0.0) == "give up"


def test_back_off_is_spread_and_bounded() -> None:
    many = Patience(retries=100, delay_s=0.5)
    shortest = [next_step(PASSES, n, many, has_fallback=False, chance=0.0) for n in range(60)]
    longest = [next_step(PASSES, n, many, has_fallback=False, chance=1.0) for n in range(60)]
    assert shortest[:3] == [Repeat(0.25), Repeat(0.5), Repeat(1.0)]
    assert longest[-1] == Repeat(MAX_BACKOFF_S)


def test_a_model_that_fails_in_a_row_rests() -> None:
    standing = GOOD
    for _ in range(COOLDOWN_AFTER - 1):
        standing = after_failure(standing, PASSES, 100.0)
        assert standing.closed_for_s(100.0) == 0
    standing = after_failure(standing, PASSES, 100.0)
    assert standing.closed_for_s(100.0) == COOLDOWN_S
    assert standing.closed_for_s(100.0 + COOLDOWN_S) == 0
    again = after_failure(standing, PASSES, 200.0)
    assert again.closed_for_s(200.0) == COOLDOWN_S, "one request finds out"
    assert after_failure(standing, Failure(may_move=True), 100.0) == standing, "not its health"


def test_after_its_rest_one_request_finds_out_for_all() -> None:
    closed = Standing(COOLDOWN_AFTER, 100.0)
    probed = let_through(closed, 100.0)
    assert probed.closed_for_s(100.0) == PROBE_WAIT_S
    assert probed.closed_for_s(100.0 + PROBE_S - 0.5) == 0.5
    assert probed.closed_for_s(100.0 + PROBE_S) == 0, "one that hangs keeps the others away for a while only"
    good = after_probe(probed, 105.0, has_begun=True)
    assert good.closed_for_s(105.0) == 0
    assert let_through(good, 105.0) is good, "nobody waits for anybody any more"
    assert after_failure(good, PASSES, 106.0).closed_for_s(106.0) == COOLDOWN_S, "but it is on probation"
    gone = after_probe(probed, 105.0, has_begun=False)
    assert gone.closed_for_s(105.0) == 0
    assert let_through(gone, 105.0).closed_for_s(105.0) == PROBE_WAIT_S, "the next one finds out"
    assert after_failure(gone, PASSES, 105.0).closed_for_s(105.0) == COOLDOWN_S


def test_who_has_failed_a_few_times_is_asked_by_everybody() -> None:
    standing = Standing(COOLDOWN_AFTER - 1)
    assert let_through(standing, 0.0) is standing
    assert let_through(GOOD, 0.0) is GOOD


def test_a_rest_is_as_long_as_was_asked_within_bounds() -> None:
    standing = GOOD
    for _ in range(COOLDOWN_AFTER):
        standing = after_failure(standing, Failure(counts=True, retry_after_s=60.0), 0.0)
    assert standing.closed_for_s(0.0) == 60.0
    standing = after_failure(standing, Failure(counts=True, retry_after_s=1e9), 0.0)
    assert standing.closed_for_s(0.0) == MAX_COOLDOWN_S


# --- which failures are which ------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_what_passes_by_itself_is_repeated(status: int) -> None:
    failure = failure_of(reported_by_body(b"{}", status, 3.0, frozenset()))
    assert failure == Failure(may_repeat=True, may_move=True, counts=True, retry_after_s=3.0)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_requests_own_fault_is_nobody_elses(status: int) -> None:
    assert failure_of(reported_by_body(b"{}", status, None, frozenset())) == Failure()


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_the_accounts_fault_is_another_providers_chance(status: int) -> None:
    assert failure_of(reported_by_body(b"{}", status, None, frozenset())) == Failure(may_move=True)


@pytest.mark.parametrize("code", ['"1113"', "1113", '"1309"'])
def test_a_429_of_zai_without_balance_is_not_repeated(code: str) -> None:
    body = b'{"error":{"code":%s,"message":"x"}}' % code.encode()
    vain = KINDS["zai"].vain_codes
    assert failure_of(reported_by_body(body, 429, None, vain)) == Failure(may_move=True)


def test_a_429_of_zai_that_passes_is_repeated() -> None:
    body = b'{"error":{"code":"1302","message":"High concurrency"}}'
    assert failure_of(reported_by_body(body, 429, None, KINDS["zai"].vain_codes)).may_repeat


def test_errors_inside_an_answer_have_the_status_of_their_kind() -> None:
    assert failure_of(reported_inside({"type": "overloaded_error"}, frozenset())).may_repeat
    assert failure_of(reported_inside({"code": 502, "message": "x"}, frozenset())).may_repeat
    assert failure_of(reported_inside({"type": "invalid_request_error"}, frozenset())) == Failure()
    assert failure_of(reported_inside("what?", frozenset())) == BROKEN


def test_an_overflow_is_never_repeated() -> None:
    body = b'{"error":{"message":"prompt is too long: 9 tokens > 8 maximum"}}'
    assert failure_of(reported_by_body(body, 500, None, frozenset())) == Failure()


def test_only_what_was_never_asked_is_asked_again() -> None:
    assert failure_of(Unreachable("refused")) == PASSES
    assert not failure_of(Untrusted("certificate")).may_repeat
    for error in (Broken("x"), Silent("x"), BadAnswer("x")):
        assert failure_of(error) == BROKEN
