"""`hotseat logs`: what workers say on stderr, and with -f what the pool does, as it happens.

Worker lines are fetched every second and compared with those already shown; pool events are
pushed, by a second thread that ends with its connection.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from proxy.client import Client, ClientError
from proxy.progress import event_text

POLL_S = 1.0

Show = Callable[[str], None]


def show_logs(client: Client, model: str | None, show: Show) -> None:
    """The kept lines of `model`, or of every model that has some."""
    for name in [model] if model else _model_names(client):
        for line in client.log_lines(name):
            show(_line(name, line, named=model is None))


def follow_logs(client: Client, model: str | None, show: Show) -> None:
    """Kept lines, then new ones and pool events, until the server goes: raises ClientError then."""
    news: queue.Queue[dict[str, Any] | ClientError] = queue.Queue(maxsize=1000)
    threading.Thread(target=_read_events, args=(client, news), name="pool-events", daemon=True).start()
    seen: dict[str, list[str]] = {}
    while True:
        for name in [model] if model else _model_names(client):
            lines = client.log_lines(name)
            for line in new_lines(seen.get(name, []), lines):
                show(_line(name, line, named=model is None))
            seen[name] = lines
        _show_news(news, model, show)


def new_lines(seen: Sequence[str], lines: Sequence[str]) -> Sequence[str]:
    """What `lines`, a window that moves on, has after the longest overlap with `seen`."""
    for overlap in range(min(len(seen), len(lines)), 0, -1):
        if list(seen[-overlap:]) == list(lines[:overlap]):
            return lines[overlap:]
    return lines


def _read_events(client: Client, news: queue.Queue[dict[str, Any] | ClientError]) -> None:
    try:
        for event in client.pool_events():
            news.put(event)
        news.put(ClientError("the server ended the event stream: it is shutting down"))
    except ClientError as error:
        news.put(error)


def _show_news(news: queue.Queue[dict[str, Any] | ClientError], model: str | None, show: Show) -> None:
    """What the pool does within the next POLL_S."""
    until = time.monotonic() + POLL_S
    while (left_s := until - time.monotonic()) > 0:
        try:
            event = news.get(timeout=left_s)
        except queue.Empty:
            return
        if isinstance(event, ClientError):
            raise event
        if event.get("kind") != "progress" and model in (None, event.get("model")):
            at = time.strftime("%H:%M:%S", time.localtime(float(event.get("at_s", 0))))
            show(f"{at} {event_text(event)}")


def _model_names(client: Client) -> list[str]:
    return [str(model["name"]) for model in client.state().get("models", [])]


def _line(model: str, line: str, *, named: bool) -> str:
    return f"{model} | {line}" if named else line
