"""How a fake provider's answers go on the wire, and what can go wrong there: scripts as data, and streams
cut into packets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.fake_answers import Answer, Frame

# --- what a request is answered ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wire:
    """How an answer is sent. Positions are bytes of the stream; `after` counts events, comments too.

    `cuts`: where one packet ends and the next begins. `stall_after`: silent until `resume`, or for ever.
    `error_after`: then the provider's mid-stream error, and no more. `ends_at`: the connection ends there,
    in order or with a reset. `pace_s`: between two packets.
    """

    newline: bytes = b"\n"
    comments: bool = False
    cuts: tuple[int, ...] = ()
    n_usage: int = 1
    has_done: bool = True
    has_last_blank_line: bool = True
    stall_after: int | None = None
    error_after: int | None = None
    ends_at: int | None = None
    resets: bool = False
    pace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    answer: Answer = field(default_factory=Answer)
    wire: Wire = field(default_factory=Wire)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in the provider's envelope. `status` is HTTP's; 200 is an error inside a good answer, which
    then says `code`. `code` "": what the provider says for that status. `metadata`: where it has any.
    `as_event`: the error is the first event of a stream."""

    status: int
    message: str = "Provider returned error"
    code: str | int = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    as_event: bool = False


@dataclass(frozen=True, slots=True)
class Stunt:
    """What no provider documents. `body` is repeated `times` (None: until the client has gone), after
    `head`; `hangs`: then silence. `drops`: reset before a word is said."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    head: bytes = b""
    body: bytes = b""
    times: int | None = 1
    hangs: bool = False
    drops: bool = False
    pace_s: float = 0.0


Response: TypeAlias = Reply | Failure | Stunt


# --- packets -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Packet:
    data: bytes
    made: int = 0
    usage_ends: int | None = None  # the usage is told when so much of it has left


@dataclass(frozen=True, slots=True)
class Step:
    data: bytes
    made: int = 0
    tells_usage: bool = False
    stalls: bool = False
    is_last: bool = False


def sent(frames: Sequence[Frame], wire: Wire) -> Iterator[Frame]:
    for index, frame in enumerate(frames):
        if wire.error_after is not None and index >= wire.error_after:
            return
        if frame.kind == "done" and not wire.has_done:
            continue
        yield from [frame] * (wire.n_usage if frame.kind == "usage" else 1)


def packet_of(frame: Frame, wire: Wire) -> Packet:
    data = frame.encode(wire.newline)
    if frame.kind == "done" and not wire.has_last_blank_line:
        data = data.rstrip()
    return Packet(data, frame.made, len(data) if frame.kind == "usage" else None)


def steps_of(packets: Sequence[Packet], wire: Wire) -> Iterator[Step]:
    """Packets cut where the wire says so, until it ends."""
    position = 0
    for index, packet in enumerate(packets):
        if index == wire.stall_after:
            yield Step(b"", stalls=True)
        end = position + len(packet.data)
        cuts = [cut - position for cut in wire.cuts if position < cut < end]
        for start, stop in zip([0, *cuts], [*cuts, len(packet.data)], strict=True):
            data = packet.data[start:stop]
            is_last = wire.ends_at is not None and position + stop >= wire.ends_at
            if is_last and wire.ends_at is not None:
                data = data[: max(0, wire.ends_at - position - start)]
            whole = start + len(data) == len(packet.data)
            tells = packet.usage_ends is not None and start + len(data) >= packet.usage_ends
            yield Step(data, packet.made if whole else 0, tells, is_last=is_last)
            if is_last:
                return
        position = end
    if wire.stall_after is not None and wire.stall_after >= len(packets):
        yield Step(b"", stalls=True)


def stream_of(frames: Sequence[Frame], wire: Wire, comment: str) -> bytes:
    """All bytes of a stream, as `wire` sends them."""
    packets = with_comments([packet_of(frame, wire) for frame in sent(frames, wire)], wire, comment)
    return b"".join(step.data for step in steps_of(packets, wire))


def with_comments(packets: Sequence[Packet], wire: Wire, comment: str) -> Sequence[Packet]:
    """One before each."""
    if not wire.comments:
        return packets
    spoken = Packet(f": {comment}".encode() + wire.newline * 2)
    return [part for packet in packets for part in (spoken, packet)]
