"""What the pool does while a command waits for it: one line on a terminal, overwritten and then gone."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self, TextIO

from proxy.client import Client, ClientError

_CLEAR_LINE = "\r\x1b[K"


class PoolProgress:
    """Shows pool events on `notes` between `begin` and `end`, if that is a terminal.

    The thread that reads them is a daemon: it sits in a read that only the server or the end of
    this process ends, and it holds nothing that needs closing.
    """

    def __init__(self, client: Client, notes: TextIO) -> None:
        self._client = client
        self._notes = notes
        self._lock = threading.Lock()  # protects the line: nothing is drawn after `end` has cleared it
        self._is_waiting = False

    def __enter__(self) -> Self:
        if self._notes.isatty():
            threading.Thread(target=self._follow, name="pool-progress", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def begin(self) -> None:
        with self._lock:
            self._is_waiting = True

    def end(self) -> None:
        with self._lock:
            if self._is_waiting and self._notes.isatty():
                self._notes.write(_CLEAR_LINE)
                self._notes.flush()
            self._is_waiting = False

    def _follow(self) -> None:
        try:
            for event in self._client.pool_events():
                with self._lock:
                    if self._is_waiting:
                        self._notes.write(_CLEAR_LINE + event_text(event))
                        self._notes.flush()
        except ClientError:
            return  # the command that waits meets the same error, and reports it


def event_text(event: dict[str, Any]) -> str:
    """`loading smollm2-135m 40%`, `ready smollm2-135m 0.812 s`"""
    kind, model, detail = (str(event.get(key, "")) for key in ("kind", "model", "detail"))
    if kind == "progress":
        kind, detail = "loading", f"{float(detail):.0%}" if detail.replace(".", "", 1).isdigit() else detail
    return " ".join(part for part in (kind, model, detail) if part)
