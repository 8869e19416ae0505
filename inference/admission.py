"""Why a request is turned away, in words: pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from inference.errors import ErrorInfo, InsufficientMemory, Overloaded, UnknownModel
from inference.memory_budget import size
from inference.scheduler_events import SchedulerSettings
from inference.seat import Seat

FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
CRASH_WINDOW_S = 60.0
FREE_FAILURES = 1
"""So many loads in a row may fail before the next start has to wait."""

FREE_CRASHES = 2
"""The same for crashes within CRASH_WINDOW_S: a model that ran has shown that it can."""

BUSY_RETRY_S = 1.0
"""When to come back to a full queue of a model that is loaded; for others it is `max_wait_s`."""


def backoff_s(failures: int) -> float:
    """Pause after so many failures in a row: none, then doubling from FIRST_BACKOFF_S to MAX_BACKOFF_S."""
    if failures <= FREE_FAILURES:
        return 0.0
    return min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - FREE_FAILURES - 1, 16))


def queue_full(seat: Seat, seats: Collection[Seat], settings: SchedulerSettings) -> ErrorInfo | None:
    if len(seat.queue) >= settings.max_queue_per_model:
        full = f"the queue of model '{seat.name}' is full ({settings.max_queue_per_model} waiting)"
    elif sum(len(other.queue) for other in seats) >= settings.max_queue_total:
        full = f"the server's queue is full ({settings.max_queue_total} waiting)"
    else:
        return None
    retry_after_s = BUSY_RETRY_S if seat.phase == "ready" else max(BUSY_RETRY_S, settings.max_wait_s)
    return Overloaded(f"{full}: retry in {retry_after_s:.0f} s", retry_after_s=retry_after_s).info()


def unknown(model: str) -> ErrorInfo:
    return UnknownModel(f"no model is called '{model}'").info()


def still_failing(error: ErrorInfo, wait_s: float) -> ErrorInfo:
    wait_s = max(1.0, wait_s)
    message = f"{error.message} (it keeps failing; the next start is tried in {wait_s:.0f} s)"
    return msgspec.structs.replace(error, message=message, retry_after_s=wait_s)


def not_recovered(seat: Seat, need_bytes: int, free_bytes: int, held_by: str, waited_s: float) -> ErrorInfo:
    """The budget has room for the model, the device has not."""
    who = f"; on it: {held_by}" if held_by else "; nobody else is known to be on it"
    message = (
        f"model '{seat.name}' needs {size(need_bytes)} and the budget has room for it, but after "
        f"{waited_s:.0f} s the device has {size(free_bytes)} free{who}: end what holds it, or lower "
        "the budget"
    )
    return InsufficientMemory(message, retry_after_s=max(BUSY_RETRY_S, waited_s)).info()
