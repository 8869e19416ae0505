"""What the pool says to a worker, read by whichever of the worker's two threads has time for it.

While the engine has nothing to do, or makes short steps, the main thread reads the socket itself,
so that a request wakes one thread and not two in a row. While it makes long steps it lends the
right to read to the reader thread, so that requests are prepared beside the running step.

The right to read is a lock. Whoever holds it takes one frame after another off the wire and puts
what each became into one queue before it lets go: the order in the queue is the order on the
wire, whoever read it. A Cancel can neither overtake its Generate nor be lost.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from inference.messages import FrameReader

RECEIVE_BYTES = 256 * 1024
READ_INTERVAL_S = 0.001
"""How long words may lie while one short step follows the other: to look for them at each costs a
quarter of a chunk."""

_HANG_UP = getattr(select, "POLLRDHUP", 0)  # where it does not exist POLLHUP, always reported, must do

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """`receive` makes an item of a frame's body, in either thread; what it raises comes out of `take`
    or of `read_when_lent`. So does EOFError, the end of the socket. Lent from the start."""

    def __init__(self, connection: socket.socket, receive: Callable[[bytes], Item]) -> None:
        self._socket = connection
        self._receive = receive
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._right_to_read = threading.Lock()  # protects the two below and the order of the items
        self._frames = FrameReader()
        self._bodies: deque[bytes] = deque()  # read, but not received yet
        self._next_read_s = 0.0
        self._is_lent = True  # written by the main thread alone
        self._nudged, self._nudge = os.pipe()  # has the reader thread look at `_is_lent` again
        os.write(self._nudge, b"!")

    # --- main thread ---------------------------------------------------------------------------

    def take(self, wait_s: float | None) -> list[Item]:
        """What has come; waits for the first no longer than `wait_s` (None: until it comes)."""
        if not self._items.empty():
            return self._received()
        if wait_s is None:
            self.take_back()
            return self._read_until_one()
        if wait_s > 0:
            self.lend()  # a queue's wait is exact to microseconds, a poll's to milliseconds
            return self._received_within(wait_s)
        if not self._is_lent and (now_s := time.monotonic()) >= self._next_read_s:
            self._next_read_s = now_s + READ_INTERVAL_S
            self._read_what_is_there()
            return self._received()
        return []

    def lend(self) -> None:
        """Let the reader thread read, until `take` has to wait without end."""
        if not self._is_lent:
            self._is_lent = True
            self._right_to_read.release()
            os.write(self._nudge, b"!")

    def take_back(self) -> None:
        """Wait until the reader thread has let go."""
        if self._is_lent:
            self._is_lent = False
            if not self._right_to_read.acquire(blocking=False):
                os.write(self._nudge, b"!")
                self._right_to_read.acquire()

    def _read_until_one(self) -> list[Item]:
        """One frame only: what came right behind it may be the reader thread's, beside the step."""
        while not (items := self._received()):
            self._read(0)
            self._receive_one()
        return items

    def _read_what_is_there(self) -> None:
        try:
            self._read(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        while self._bodies:
            self._receive_one()

    def _received(self) -> list[Item]:
        items: list[Item] = []
        while not self._items.empty():  # nobody else takes
            items.append(self._items.get_nowait())
        return items

    def _received_within(self, wait_s: float) -> list[Item]:
        try:
            return [self._items.get(timeout=wait_s), *self._received()]
        except Empty:
            return []

    # --- reader thread -------------------------------------------------------------------------

    def read_when_lent(self) -> None:
        """Returns never. While the main thread reads, this one only sees the end of the socket, which
        must end a worker whose main thread is caught in a step that was to be short."""
        hang_up, words = self._poll(_HANG_UP), self._poll(select.POLLIN)
        while True:
            if self._is_ready(hang_up):
                raise EOFError("the pool has gone")
            if self._is_lent and self._right_to_read.acquire(blocking=False):  # else a nudge will come
                self._read_while_lent(words)
                self._right_to_read.release()

    def _read_while_lent(self, words: select.poll) -> None:
        while self._is_lent:
            if self._bodies:
                self._receive_one()
            elif self._is_ready(words):
                self._read(0)

    def _poll(self, events: int) -> select.poll:
        poll = select.poll()
        poll.register(self._socket, events)
        poll.register(self._nudged, select.POLLIN)
        return poll

    def _is_ready(self, poll: select.poll) -> bool:
        """Waits for the socket or a nudge; whether it was the socket."""
        ready = {fd for fd, _ in poll.poll()}
        if self._nudged in ready:
            os.read(self._nudged, 64)
        return self._socket.fileno() in ready

    # --- whoever has the right to read -----------------------------------------------------------

    def _read(self, flags: int) -> None:
        """Unless there are frames left: one read of the socket, which may make one or more whole."""
        if not self._bodies:
            data = self._socket.recv(RECEIVE_BYTES, flags)
            if not data:
                raise EOFError("the pool has closed the connection")
            self._bodies.extend(self._frames.feed(data))

    def _receive_one(self) -> None:
        if self._bodies:
            self._items.put(self._receive(self._bodies.popleft()))
