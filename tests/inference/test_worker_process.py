"""SilenceWatch without a process. What processes do: test_pool.py and test_faults_workers.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.worker_process import LOOKS, SilenceWatch


def looks_until_stalled(watch: SilenceWatch, *, heard: int = 0, is_owed: bool = True) -> int | None:
    for number in range(1, 10 * LOOKS):
        if watch.look(is_owed=is_owed, heard=heard):
            return number
    return None


def test_a_silence_is_over_the_limit_whenever_it_began() -> None:
    assert looks_until_stalled(SilenceWatch(80.0)) == LOOKS + 2, "the first saw a request, maybe a moment old"
    assert SilenceWatch(80.0).interval_s == 80.0 / LOOKS


def test_who_owes_nothing_may_be_silent() -> None:
    watch = SilenceWatch(1.0)
    assert looks_until_stalled(watch, is_owed=False) is None
    assert looks_until_stalled(watch) == LOOKS + 2


@given(words=st.lists(st.integers(1, LOOKS), max_size=20))
def test_a_word_within_the_limit_is_enough(words: list[int]) -> None:
    """A word every so many looks, never more than the limit apart."""
    watch = SilenceWatch(1.0)
    for heard, n_looks in enumerate(words):
        assert not any(watch.look(is_owed=True, heard=heard) for _ in range(n_looks))
    assert looks_until_stalled(watch, heard=len(words)) == LOOKS + 2


def test_a_request_that_comes_after_a_silence_is_given_its_time() -> None:
    watch = SilenceWatch(1.0)
    for _ in range(LOOKS):
        assert not watch.look(is_owed=True, heard=1)
    assert not watch.look(is_owed=False, heard=1)
    assert looks_until_stalled(watch, heard=1) == LOOKS + 2
