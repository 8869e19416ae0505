"""What a lease hands over when several events have come before its reader wakes up."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from inference.chat import ChatRequest, Finish, TextDelta, Usage
from inference.errors import WorkerCrashed
from inference.lease import Lease
from inference.messages import Event, Output, Outputs, PromptProgress, frame
from inference.worker_link import WorkerLink

REQUEST = ChatRequest(model="m", messages=())
A, B, C = (TextDelta(text=text) for text in "abc")
END = Finish(reason="stop", usage=Usage())


def feed(link: WorkerLink, data: bytes) -> None:
    """As the event loop does."""
    link.get_buffer(len(data))[: len(data)] = data
    link.buffer_updated(len(data))


def link_with(*frames: list[Event]) -> WorkerLink:
    """A link to nowhere; the frames come one by one, for the request with id 1."""
    link = WorkerLink(lambda message: None, lambda why: None, lambda: None)
    loop = asyncio.get_running_loop()
    for events in frames:
        data = frame(Outputs(outputs=[Output(1, event) for event in events]))
        loop.call_soon(feed, link, data)
    return link


def batches_of(*frames: list[Event]) -> tuple[list[list[object]], Exception | None]:
    """The batches that a reader gets, and how it ended."""

    async def main() -> tuple[list[list[object]], Exception | None]:
        got: list[list[object]] = []
        lease = Lease("m", link_with(*frames), queue_s=0.0, load_s=0.0)
        try:
            async with aclosing(lease.generate_batches(REQUEST)) as batches:
                async for batch in batches:
                    got.append(list(batch))
                    await asyncio.sleep(0)
        except WorkerCrashed as error:
            return got, error
        return got, None

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_what_comes_together_is_handed_over_together() -> None:
    progress = PromptProgress(done=1, total=1, cached=0)
    got, error = batches_of([progress], [A, B], [C, END])
    assert ([event for batch in got for event in batch], error) == ([progress, A, B, C, END], None)
    assert len(got) < 5


def test_what_came_before_an_error_is_not_lost() -> None:
    got, error = batches_of([A, B, WorkerCrashed("it died").info()])
    assert got == [[A, B]]
    assert isinstance(error, WorkerCrashed)


def test_single_events_are_the_same() -> None:
    async def main() -> list[object]:
        lease = Lease("m", link_with([A, B], [END]), queue_s=0.0, load_s=0.0)
        return [event async for event in lease.generate(REQUEST)]

    assert asyncio.run(asyncio.wait_for(main(), 20)) == [A, B, END]


def test_closing_early_cancels_in_the_worker() -> None:
    async def main() -> None:
        link = link_with([A])
        lease = Lease("m", link, queue_s=0.0, load_s=0.0)
        async with aclosing(lease.generate_batches(REQUEST)) as batches:
            assert await anext(batches) == [A]
            assert link.open_requests == 1
        assert link.open_requests == 0

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("cut", range(1, 60))
def test_frames_cut_anywhere(cut: int) -> None:
    async def main() -> list[object]:
        link = WorkerLink(lambda message: None, lambda why: None, lambda: None)
        data = frame(Outputs(outputs=[Output(1, A), Output(1, END)]))
        loop = asyncio.get_running_loop()
        loop.call_soon(feed, link, data[:cut])
        loop.call_soon(feed, link, data[cut:])
        lease = Lease("m", link, queue_s=0.0, load_s=0.0)
        return [event async for event in lease.generate(REQUEST)]

    assert asyncio.run(asyncio.wait_for(main(), 20)) == [A, END]
