"""The pool's end of one worker's socket: frames in, each event to the request it belongs to.

The hot path of every streamed token: one frame per decode step is decoded once, and each request
in it is woken once; no task, no queue object and no copy per token.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec

from inference.chat import EmbeddingRequest, Embeddings, Finish, GenerateRequest
from inference.errors import ErrorInfo, from_info
from inference.messages import (
    Alive,
    Cancel,
    Embed,
    Event,
    FrameReader,
    FromWorker,
    Generate,
    Memory,
    Output,
    Outputs,
    ToWorker,
    frame,
    from_worker_decoder,
)

READ_BYTES = 64 * 1024

_LAST_WORDS = (Finish, Embeddings, ErrorInfo)


class Stream:
    """The events of one request, between the socket and whoever reads them.

    Its length is bounded by what one request may produce: n_ctx tokens.
    """

    __slots__ = ("_wakeup", "events", "request_id")

    def __init__(self, request_id: int) -> None:
        self.request_id = request_id
        self.events: deque[Event] = deque()
        self._wakeup: asyncio.Future[None] | None = None

    def push(self, event: Event) -> None:
        self.events.append(event)
        wakeup = self._wakeup
        if wakeup is not None:
            self._wakeup = None
            if not wakeup.done():
                wakeup.set_result(None)

    async def wait(self) -> None:
        """Until there is an event. One reader."""
        while not self.events:
            self._wakeup = asyncio.get_running_loop().create_future()
            await self._wakeup


class WorkerLink(asyncio.BufferedProtocol):
    """`on_message` gets all that belongs to no request; `on_broken` hears why the worker must be killed."""

    def __init__(
        self,
        on_message: Callable[[FromWorker], None],
        on_broken: Callable[[str], None],
        on_lost: Callable[[], object],
    ) -> None:
        self._on_message = on_message
        self._on_broken = on_broken
        self._on_lost = on_lost
        self._frames = FrameReader()
        self._buffer = memoryview(bytearray(READ_BYTES))  # asyncio would allocate 256 KiB for every read
        self._streams: dict[int, Stream] = {}
        self._ids = itertools.count(1)
        self._transport: asyncio.Transport | None = None
        self._error: ErrorInfo | None = None
        self._has_cancelled = False  # and heard nothing since
        self.frames_heard = 0
        self.is_lost = asyncio.Event()
        self._has_failed = asyncio.Event()

    # --- requests ------------------------------------------------------------------------------

    def open(self, request: GenerateRequest | EmbeddingRequest) -> Stream:
        """Send a request. Raises what ended the worker if it is gone."""
        if self._error is not None:
            raise from_info(self._error)
        stream = Stream(next(self._ids))
        self._streams[stream.request_id] = stream
        if isinstance(request, EmbeddingRequest):
            self.send(Embed(request_id=stream.request_id, request=request))
        else:
            self.send(Generate(request_id=stream.request_id, request=request))
        return stream

    def close(self, stream: Stream) -> None:
        """Forget the request; if it had not said its last word, the worker forgets it too."""
        if self._streams.pop(stream.request_id, None) is not None:
            self.send(Cancel(request_id=stream.request_id))
            self._has_cancelled = True

    def abandon(self, stream: Stream, error: ErrorInfo) -> None:
        """Close a stream under its reader, who is told why."""
        if stream.request_id in self._streams:
            self.close(stream)
            stream.push(error)

    def fail(self, error: ErrorInfo) -> None:
        """The worker is gone: the last word to every request, and the answer to later ones."""
        self._error = error
        self._has_failed.set()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.push(error)

    async def failure(self) -> ErrorInfo:
        """What `fail` was told; waits for it."""
        await self._has_failed.wait()
        assert self._error is not None
        return self._error

    def condemn(self, why: str) -> None:
        """Have the worker killed, for what its server does or does not do."""
        self._on_broken(why)

    @property
    def open_requests(self) -> int:
        return len(self._streams)

    @property
    def is_owed_words(self) -> bool:
        """Whether a worker that is well would say something: a Cancel is answered too, so clients
        that give up and come back cannot hide a worker that has stopped."""
        return bool(self._streams) or self._has_cancelled

    # --- the socket ----------------------------------------------------------------------------

    def send(self, message: ToWorker) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(message))

    def disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost.set()
        self._on_lost()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            bodies = self._frames.feed(bytes(self._buffer[:nbytes]))
            messages = [from_worker_decoder.decode(body) for body in bodies]
        except (ValueError, msgspec.MsgspecError) as error:  # an absurd length, or not our language
            self._on_broken(f"it sent what cannot be understood: {error}")
            return
        for message in messages:
            if isinstance(message, Outputs):
                self._route(message.outputs)
            elif not isinstance(message, Alive):
                self._on_message(message)
            if not isinstance(message, Memory):  # it says nothing of the engine
                self.frames_heard += 1
                self._has_cancelled = False

    def _route(self, outputs: list[Output]) -> None:
        streams = self._streams
        for output in outputs:
            stream = streams.get(output.request_id)
            if stream is None:
                continue  # cancelled while this was on its way
            if isinstance(output.event, _LAST_WORDS):
                del streams[output.request_id]
            stream.push(output.event)
