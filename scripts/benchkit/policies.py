"""What Hotseat's scheduler is compared with: strict FIFO, and draining one model before the next.

Both keep one model at a time, never two, and speak the scheduler's language (`handle`,
`next_deadline_s`), as far as requests and workers go. FIFO is what a server does that knows only
the order of arrival; batching is what one does that swaps when nobody asks for the loaded model any
more, and so lets overlapping clients of one model hold all others off for ever (llama.cpp #28443).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from inference.errors import ErrorInfo, InvalidRequest, LoadFailed, UnknownModel
from inference.scheduler_events import (
    Action,
    Cancelled,
    Event,
    Grant,
    LoadRequested,
    Reject,
    Released,
    Requested,
    SchedulerModel,
    Start,
    Stop,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
)

Order = Literal["fifo", "batching"]
Phase = Literal["nobody", "loading", "ready", "stopping"]


class OneModelAtATime:
    """Whose turn it is follows `order`; everything else is the same in both."""

    def __init__(self, models: Iterable[SchedulerModel], order: Order) -> None:
        self._slots = {model.name: model.slots for model in models}
        self._order = order
        self._queue: dict[int, str] = {}  # request id -> model, in order of arrival
        self._leases: set[int] = set()
        self._current = ""
        self._phase: Phase = "nobody"

    def next_deadline_s(self) -> float | None:
        return None  # neither of them knows of time

    def handle(self, event: Event, _now_s: float, /) -> list[Action]:
        return [*self._note(event), *self._advance()]

    def _note(self, event: Event) -> list[Action]:
        match event:
            case Requested() if event.model not in self._slots:
                return [Reject(event.request_id, UnknownModel(f"no model is called '{event.model}'").info())]
            case Requested():
                self._queue[event.request_id] = event.model
            case LoadRequested() | UnloadRequested():
                error = InvalidRequest("this policy serves requests and nothing else").info()
                return [Reject(event.request_id, error)]
            case Cancelled() | Released():
                self._queue.pop(event.request_id, None)
                self._leases.discard(event.request_id)
            case WorkerReady() if self._phase == "loading":
                self._phase = "ready"
            case WorkerExited():
                return self._on_exited(event.error)
            case _:
                pass
        return []

    def _on_exited(self, error: ErrorInfo | None) -> list[Action]:
        was, self._phase = self._phase, "nobody"
        self._leases.clear()
        if was != "loading":
            return []
        cause = error or LoadFailed("the worker ended while it was loading").info()
        return [Reject(request_id, cause) for request_id in self._take(self._current, len(self._queue))]

    def _advance(self) -> list[Action]:
        if self._phase == "ready":
            return self._serve()
        if self._phase == "nobody" and self._queue:
            self._current, self._phase = next(iter(self._queue.values())), "loading"
            return [Start(self._current)]
        return []

    def _serve(self) -> list[Action]:
        free = self._slots[self._current] - len(self._leases)
        granted = self._take(self._current, free)
        self._leases |= set(granted)
        actions: list[Action] = [Grant(request_id, self._current) for request_id in granted]
        if self._queue and not self._leases and next(iter(self._queue.values())) != self._current:
            self._phase = "stopping"
            actions.append(Stop(self._current))
        return actions

    def _take(self, model: str, at_most: int) -> list[int]:
        """Up to so many waiters of `model` whose turn it is, out of the queue."""
        taken: list[int] = []
        for request_id, wanted in self._queue.items():
            if len(taken) == at_most or (wanted != model and self._order == "fifo"):
                break
            if wanted == model:
                taken.append(request_id)
        for request_id in taken:
            del self._queue[request_id]
        return taken
