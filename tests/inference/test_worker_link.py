"""WorkerLink without a worker: each event to its request, and nothing left behind."""

from __future__ import annotations

import asyncio

import pytest

from inference.chat import ChatRequest, Finish, Message, TextDelta, Usage
from inference.errors import HotseatError, ShuttingDown, WorkerCrashed
from inference.messages import (
    Alive,
    Cancel,
    FrameReader,
    FromWorker,
    Generate,
    LoadProgress,
    Memory,
    Output,
    Outputs,
    ToWorker,
    frame,
    to_worker_decoder,
)
from inference.worker_link import WorkerLink

REQUEST = ChatRequest(model="m", messages=(Message(role="user", content="hello"),))
FINISH = Finish(reason="stop", usage=Usage())


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = FrameReader()
        self.said: list[ToWorker] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += [to_worker_decoder.decode(body) for body in self.frames.feed(bytes(data))]

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class Bench:
    def __init__(self) -> None:
        self.heard: list[FromWorker] = []
        self.broken: list[str] = []
        self.link = WorkerLink(self.heard.append, self.broken.append, on_lost=lambda: None)
        self.wire = Wire()
        self.link.connection_made(self.wire)

    def arrive(self, data: bytes) -> None:
        while data:
            buffer = self.link.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.link.buffer_updated(size)
            data = data[size:]

    def outputs(self, *outputs: Output) -> None:
        self.arrive(frame(Outputs(outputs=list(outputs))))


def test_each_event_goes_to_its_request_and_the_last_word_ends_it() -> None:
    bench = Bench()
    one, two = bench.link.open(REQUEST), bench.link.open(REQUEST)
    assert [type(message) for message in bench.wire.said] == [Generate, Generate]
    bench.outputs(
        Output(one.request_id, TextDelta(text="1")),
        Output(two.request_id, TextDelta(text="2")),
        Output(one.request_id, FINISH),
    )
    assert list(one.events) == [TextDelta(text="1"), FINISH]
    assert list(two.events) == [TextDelta(text="2")]
    assert bench.link.open_requests == 1
    bench.link.close(one)
    assert not any(isinstance(message, Cancel) for message in bench.wire.said), "it had ended"
    bench.link.close(two)
    assert bench.wire.said[-1] == Cancel(request_id=two.request_id)
    assert bench.link.open_requests == 0


def test_what_was_cancelled_while_on_its_way_is_dropped() -> None:
    bench = Bench()
    stream = bench.link.open(REQUEST)
    bench.link.close(stream)
    bench.outputs(Output(stream.request_id, FINISH), Output(999, FINISH))
    assert not stream.events
    assert not bench.broken


def test_frames_in_pieces_and_larger_than_the_buffer() -> None:
    bench = Bench()
    stream = bench.link.open(REQUEST)
    long = TextDelta(text="x" * 200_000)
    data = frame(Outputs(outputs=[Output(stream.request_id, long)])) + frame(LoadProgress(fraction=0.5))
    for start in range(0, len(data), 1000):
        bench.arrive(data[start : start + 1000])
    bench.arrive(data)
    assert list(stream.events) == [long, long]
    assert bench.heard == [LoadProgress(fraction=0.5)] * 2


def test_another_language_is_reported() -> None:
    bench = Bench()
    bench.arrive(b"\x04\0\0\0GET ")
    bench.arrive(b"\xff\xff\xff\xff")
    assert len(bench.broken) == 2


def test_failing_tells_all_now_and_later() -> None:
    bench = Bench()
    stream = bench.link.open(REQUEST)
    error = WorkerCrashed("died").info()
    bench.link.fail(error)
    assert list(stream.events) == [error]
    assert bench.link.open_requests == 0
    with pytest.raises(WorkerCrashed, match="died"):
        bench.link.open(REQUEST)


def test_abandoning_tells_the_reader_and_the_worker_once() -> None:
    bench = Bench()
    stream = bench.link.open(REQUEST)
    error = ShuttingDown("over").info()
    bench.link.abandon(stream, error)
    bench.link.abandon(stream, error)
    assert list(stream.events) == [error]
    assert bench.wire.said[1:] == [Cancel(request_id=stream.request_id)]


def test_words_are_owed_while_requests_are_open_and_after_a_cancel() -> None:
    bench = Bench()
    owed = [bench.link.is_owed_words]
    stream = bench.link.open(REQUEST)
    owed.append(bench.link.is_owed_words)
    bench.outputs(Output(stream.request_id, FINISH))
    owed.append(bench.link.is_owed_words)
    bench.link.close(bench.link.open(REQUEST))
    owed.append(bench.link.is_owed_words)
    bench.arrive(frame(Memory(rss_bytes=1)))
    owed.append(bench.link.is_owed_words)  # growing is no life
    bench.arrive(frame(Alive()))
    owed.append(bench.link.is_owed_words)
    assert owed == [False, True, False, True, True, False]
    assert bench.link.frames_heard == 2
    assert bench.heard == [Memory(rss_bytes=1)], "the rest is the link's alone"


def test_nothing_is_written_to_a_closed_wire() -> None:
    bench = Bench()
    stream = bench.link.open(REQUEST)
    bench.link.disconnect()
    bench.link.close(stream)
    assert len(bench.wire.said) == 1


def test_a_reader_is_woken_once_per_frame() -> None:
    async def main() -> None:
        bench = Bench()
        stream = bench.link.open(REQUEST)
        reader = asyncio.create_task(stream.wait())
        await asyncio.sleep(0)
        bench.outputs(Output(stream.request_id, TextDelta(text="1")), Output(stream.request_id, FINISH))
        await reader
        assert len(stream.events) == 2
        waiting = bench.link.open(REQUEST)
        gone = asyncio.create_task(waiting.wait())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        bench.link.fail(HotseatError("over").info())
        await waiting.wait()

    asyncio.run(main())
