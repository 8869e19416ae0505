"""Streams cut into whole events, however the bytes were cut before."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.event_blocks import EventBlocks
from proxy.sse_reader import SseEvent, SseReader
from proxy.upstream_errors import BadAnswer

FIRST = b'event: a\ndata: {"t":"\xc3\xa9"}\n\n: PROCESSING\n\n'
STREAM = FIRST + b"data: 2\r\n\r\ndata: 3\r\rdata: 4\n\ndata: [DONE]\n\n"


def events_of(data: bytes) -> list[SseEvent]:
    reader = SseReader()
    return [*reader.feed(data), *reader.end()]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_blocks_are_whole_and_nothing_is_lost(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    blocks = EventBlocks()
    passed: list[bytes] = []
    for begin, end in itertools.pairwise(edges):
        for block in blocks.feed(STREAM[begin:end]):
            passed.append(block)
            whole = b"".join(passed)
            assert events_of(whole) == events_of(STREAM)[: len(events_of(whole))], "never half an event"
    assert b"".join(passed) + blocks.end() == STREAM


def test_a_block_goes_when_it_is_whole() -> None:
    blocks = EventBlocks()
    assert blocks.feed(b"data: 1\n") == []
    assert blocks.feed(b"\ndata: 2\n\ndata") == [b"data: 1\n\n", b"data: 2\n\n"]
    assert blocks.feed(b": 3") == []
    assert blocks.end() == b"data: 3"


def test_one_line_end_of_two_letters_is_no_blank_line() -> None:
    blocks = EventBlocks()
    assert blocks.feed(b"event: x\r\ndata: 1\r\n") == []
    assert blocks.feed(b"\r\n") == [b"event: x\r\ndata: 1\r\n\r\n"]


def test_an_event_without_end_is_bounded() -> None:
    blocks = EventBlocks(max_event_bytes=100)
    blocks.feed(b"x" * 100)
    with pytest.raises(BadAnswer, match="more than 100 bytes"):
        blocks.feed(b"x")
