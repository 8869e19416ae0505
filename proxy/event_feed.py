"""A streamed answer's bytes to ChatEvents by the rules of a dialect: what all have in common. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from inference.chat import ChatEvent, Finish
from proxy.sse_reader import SseEvent, SseReader
from proxy.upstream_errors import BadAnswer, UpstreamError

Take = Callable[[SseEvent], list[ChatEvent]]


class EventFeed:
    """`take` says what an event of the stream means; after a Finish nothing is looked at any more. It raises
    UpstreamError. What came in the same piece before an error is handed over first: look at `error`.
    `at_end` says what the end of the stream means where no Finish came before: the last events, Finish among
    them, or an error."""

    def __init__(self, take: Take, at_end: Callable[[], list[ChatEvent]], max_event_bytes: int) -> None:
        self._take = take
        self._at_end = at_end
        self._reader = SseReader(max_event_bytes)
        self.is_done = False
        self.error: UpstreamError | None = None

    def feed(self, data: bytes) -> list[ChatEvent]:
        if self.is_done or self.error is not None:
            return []
        return self._handed_over(partial(self._reader.feed, data))

    def end(self) -> list[ChatEvent]:
        """The stream is over. Raises the error, if there is one."""
        if self.is_done:
            return []
        events = [] if self.error is not None else self._handed_over(self._reader.end)
        if self.error is not None:
            raise self.error
        if not self.is_done:
            events += self._at_end()
            self.is_done = True
        return events

    def _handed_over(self, read: Callable[[], Iterable[SseEvent]]) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        try:
            for event in read():
                events += self._take(event)
                if events and isinstance(events[-1], Finish):
                    self.is_done = True
                    break
        except UpstreamError as error:
            self.error = error
        return events


def unended(ending: str) -> Callable[[], list[ChatEvent]]:
    """For EventFeed: a stream is whole only with its last event, `ending`."""

    def at_end() -> list[ChatEvent]:
        raise BadAnswer(f"the answer ended without {ending}")

    return at_end
