"""LogTail: bounded, and able to name a cause."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from inference.worker_log import CAUSE_CHARS, MAX_LINE_BYTES, LogTail


def tail_of(data: bytes, max_lines: int = 100) -> LogTail:
    log = LogTail(max_lines)
    log.feed(data)
    log.end()
    return log


@given(text=st.text(alphabet="ab\n", max_size=40), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_lines_are_the_same_however_they_were_cut(text: str, cuts: list[int]) -> None:
    log = LogTail(100)
    places = [0, *sorted(cuts), len(text)]
    for start, end in itertools.pairwise(places):
        log.feed(text[start:end].encode())
    log.end()
    assert log.lines() == text.removesuffix("\n").split("\n") if text else not log.lines()


def test_only_the_last_lines_are_kept() -> None:
    assert tail_of(b"1\n2\n3\n4\n", max_lines=2).lines() == ["3", "4"]


def test_an_endless_line_is_kept_once_and_cut() -> None:
    log = LogTail(10)
    for _ in range(50):
        log.feed(b"x" * 1000)
    log.feed(b"tail\nnext\n")
    first, second = log.lines()
    assert len(first) <= MAX_LINE_BYTES + 1000
    assert set(first) == {"x"}
    assert second == "next"


def test_bytes_that_are_no_text_do_not_hurt() -> None:
    assert tail_of(b"\xff\xfe ok\r\n").lines() == ["\ufffd\ufffd ok"]


def test_the_cause_is_the_telling_lines_without_the_noise_of_a_trace() -> None:
    log = tail_of(
        b"llama_model_loader: loaded meta data\n"
        b"llama_model_load: error loading model: missing tensor 'output.weight'\n"
        b"warming up\n"
        b"Traceback (most recent call last):\n"
        b'  File "/x/failed.py", line 1, in <module>\n'
        b"    load()\n"
    )
    assert log.cause() == "llama_model_load: error loading model: missing tensor 'output.weight'"


def test_without_telling_lines_the_last_ones_must_do() -> None:
    assert tail_of(b"one\n\ntwo\n").cause() == "one | two"
    assert tail_of(b"").cause() == ""


def test_the_cause_does_not_repeat_what_the_message_says() -> None:
    log = tail_of(b"inference.errors.LoadFailed: out of memory\nmmap failed\n")
    assert log.cause(besides="out of memory") == "mmap failed"


def test_the_cause_is_bounded() -> None:
    assert (
        len(tail_of(b"".join(b"error %d " % i + b"y" * 1900 + b"\n" for i in range(9))).cause())
        <= CAUSE_CHARS
    )


def test_what_every_request_says_is_never_the_cause() -> None:
    tail = LogTail(10)
    tail.feed(b"ggml_abort: out of memory\n")
    tail.feed(b"request 12: 0 of 80 prompt tokens reused; first difference at token 0: unknown\n")
    assert tail.cause() == "ggml_abort: out of memory"
