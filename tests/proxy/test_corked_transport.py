"""What reaches the kernel, and in how many pieces."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.corked_transport import CorkedTransport

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Wire(asyncio.Transport):
    """Each entry of `sent` is one write; b"" is the end."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.sent.append(b"".join(list_of_data))

    def close(self) -> None:
        self.sent.append(b"")

    def abort(self) -> None:
        self.sent.append(b"cut")


def told(*writes: bytes, rounds: int = 0, end: str = "") -> list[bytes]:
    """What is sent after these writes in one round of the event loop, `end`, and then so many rounds."""

    async def main() -> list[bytes]:
        wire = Wire()
        corked = CorkedTransport(wire, asyncio.get_running_loop())
        for data in writes:
            corked.write(data)
        if end:
            getattr(corked, end)()
        for _ in range(rounds):
            await asyncio.sleep(0)
        return list(wire.sent)

    return asyncio.run(main())


def test_a_head_goes_with_what_follows() -> None:
    assert told(HEAD, b"body") == [HEAD + b"body"]
    assert told(HEAD, b"body", rounds=3) == [HEAD + b"body"]
    assert told(HEAD, b"a", b"b", b"c") == [HEAD + b"a", b"b", b"c"]


def test_a_head_alone_waits_for_one_round() -> None:
    assert told(HEAD) == []
    assert told(HEAD, rounds=1) == [HEAD]


def test_what_is_no_head_waits_for_nothing() -> None:
    assert told(b"data: 1\n\n", b"data: 2\n\n") == [b"data: 1\n\n", b"data: 2\n\n"]


def test_two_answers_in_one_round_stay_in_order() -> None:
    assert told(HEAD, b"body", HEAD, b"next") == [HEAD + b"body", HEAD + b"next"]
    assert b"".join(told(HEAD, HEAD, rounds=1)) == HEAD + HEAD


def test_closing_sends_the_head_and_cutting_does_not() -> None:
    assert told(HEAD, end="close", rounds=1) == [HEAD, b""]
    assert told(HEAD, end="abort", rounds=1) == [b"cut"]
