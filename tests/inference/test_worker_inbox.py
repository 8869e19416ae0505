"""Inbox: the order of the wire, whichever thread reads."""

from __future__ import annotations

import itertools
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.messages import Cancel, ToWorker, frame, to_worker_decoder
from inference.worker_inbox import Inbox

TIMEOUT_S = 20.0


class Wired:
    """An inbox at one end of a socket, and the thread that reads for it when it is lent."""

    def __init__(self) -> None:
        self.pool, self.connection = socket.socketpair()
        self.readers: set[str] = set()
        self.inbox: Inbox[ToWorker] = Inbox(self.connection, self._receive)
        self.has_ended = threading.Event()
        self.thread = threading.Thread(target=self._read, name="reader")
        self.thread.start()

    def _receive(self, body: bytes) -> ToWorker:
        self.readers.add(threading.current_thread().name)
        return to_worker_decoder.decode(body)

    def _read(self) -> None:
        try:
            self.inbox.read_when_lent()
        except EOFError:
            self.has_ended.set()

    def close(self) -> None:
        self.pool.close()
        self.inbox.lend()
        self.thread.join(TIMEOUT_S)
        self.connection.close()
        assert self.has_ended.is_set()


def cancels(*ids: int) -> bytes:
    return b"".join(frame(Cancel(request_id=number)) for number in ids)


def ids(items: list[ToWorker]) -> list[int]:
    return [item.request_id for item in items if isinstance(item, Cancel)]


STEPS = st.lists(st.sampled_from(["send", "send", "lend", "look", "wait", "sleep"]), max_size=30)
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=10)


@settings(max_examples=60)
@given(steps=STEPS, cuts=CUTS)
def test_nothing_is_lost_and_nothing_overtakes(steps: list[str], cuts: list[int]) -> None:
    wired = Wired()
    try:
        n_frames = 20
        data = cancels(*range(n_frames))
        size = len(data) // n_frames
        sent, heard, lengths = 0, list[int](), itertools.cycle(cuts)
        for step in steps:
            match step:
                case "send":
                    length = next(lengths)
                    wired.pool.sendall(data[sent : sent + length])
                    sent = min(len(data), sent + length)
                case "lend":
                    wired.inbox.lend()
                case "look":
                    heard += ids(wired.inbox.take(0))
                case "wait":
                    heard += ids(wired.inbox.take(0.0001))
                case "sleep" if sent // size > len(heard):  # else nothing would wake it
                    heard += ids(wired.inbox.take(None))
        wired.pool.sendall(data[sent:])
        while len(heard) < n_frames:
            heard += ids(wired.inbox.take(None))
        assert heard == list(range(n_frames))
    finally:
        wired.close()


def test_who_waits_reads_and_who_lends_does_not() -> None:
    wired = Wired()
    try:
        wired.pool.sendall(cancels(1))
        assert ids(wired.inbox.take(TIMEOUT_S)) == [1]
        assert wired.readers == {"reader"}, "lent from the start"
        wired.readers.clear()
        wired.inbox.take_back()
        wired.pool.sendall(cancels(2, 3))
        assert ids(wired.inbox.take(None)) == [2], "one frame; what is behind it can wait for the step"
        assert ids(wired.inbox.take(0)) == [3]
        assert wired.readers == {"MainThread"}
        wired.readers.clear()
        wired.inbox.lend()
        wired.pool.sendall(cancels(4))
        assert ids(wired.inbox.take(TIMEOUT_S)) == [4]
        assert wired.readers == {"reader"}
    finally:
        wired.close()


def test_what_the_waiting_thread_left_is_read_by_the_other() -> None:
    wired = Wired()
    try:
        wired.inbox.take_back()
        wired.pool.sendall(cancels(1, 2, 3))
        assert ids(wired.inbox.take(None)) == [1]
        wired.inbox.lend()
        heard: list[int] = []
        while len(heard) < 2:
            heard += ids(wired.inbox.take(TIMEOUT_S))
        assert heard == [2, 3]
    finally:
        wired.close()


def test_the_end_is_seen_by_the_thread_that_does_not_read() -> None:
    """The main thread may be caught in a step that was to be short."""
    wired = Wired()
    wired.inbox.take_back()
    wired.pool.close()
    assert wired.has_ended.wait(TIMEOUT_S)
    with pytest.raises(EOFError):
        wired.inbox.take(None)
    wired.close()
