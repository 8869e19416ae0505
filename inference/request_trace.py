"""A trace: who asked for which model when, and how long it was used. Values and their JSON lines, pure.

One request a line:

    {"at_s": 1.5, "model": "qwen3.6-35b-a3b", "service_s": 4.2, "client": "opencode-1"}

`from_records` makes one of what `GET /api/requests` lists, so that yesterday's traffic can be
played to another scheduler, another budget or another `max_wait`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from inference.errors import ConfigError
from inference.scheduler_events import Lane

MAX_REQUESTS = 100_000
MAX_LINE_BYTES = 4096
MAX_NAME_CHARS = 256
MAX_S = 30 * 86_400.0
"""No trace is longer than thirty days, and nothing in it takes longer."""

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_S)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]


class TracedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`at_s` counts from the trace's beginning; `service_s` is how long the lease is held.

    `client`: requests of one client do not overlap. A later one is sent at its time or when the one
    before it has ended, whichever is later, as a harness does that waits for its answer.
    `patience_s`: the client leaves so long after it asked, whether it waits or is being served.
    `kept_s`: seconds of prefill that the model's caches save the same client next time.
    """

    at_s: _Seconds
    model: _Name
    service_s: _Seconds
    lane: Lane = "interactive"
    client: _Name | None = None
    patience_s: _Seconds | None = None
    kept_s: _Seconds = 0.0


@dataclass(frozen=True, slots=True)
class RecordedTrace:
    """`n_skipped`: rows that tell of no use of a local model: remote, refused, or gone while waiting."""

    requests: tuple[TracedRequest, ...]
    n_skipped: int


def read_trace(lines: Iterable[str | bytes]) -> tuple[TracedRequest, ...]:
    """In order of arrival. Empty lines are allowed. Raises ConfigError naming the line."""
    decoder = msgspec.json.Decoder(TracedRequest)
    requests: list[TracedRequest] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            raise ConfigError(
                f"trace, line {number}: {len(line)} bytes, at most {MAX_LINE_BYTES} are read: "
                "one JSON object a line, with at_s, model and service_s"
            )
        if len(requests) == MAX_REQUESTS:
            raise ConfigError(
                f"trace, line {number}: more than {MAX_REQUESTS} requests: play it in several parts"
            )
        try:
            requests.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"trace, line {number}: {error}: expected a JSON object with at_s, model and service_s"
            ) from error
    return tuple(sorted(requests, key=lambda request: request.at_s))


def write_trace(requests: Iterable[TracedRequest]) -> Iterator[str]:
    """One line for each request, without line ends."""
    for request in requests:
        yield msgspec.json.encode(request).decode()


def from_records(rows: Iterable[Mapping[str, Any]]) -> RecordedTrace:
    """Of rows of `GET /api/requests`, in any order. The trace begins with the first request that counts.

    A lease was held for what is left of the whole time without the queue and the load. A row counts
    if it was answered: with a first token, or with 200 (embeddings have no first token). Of one that
    ended before, nobody knows how long it would have used the model.
    """
    recorded = [_row(row) for row in rows]
    served = sorted((row for row in recorded if row.was_served), key=lambda row: row.started_at)
    if len(served) > MAX_REQUESTS:
        raise ConfigError(f"{len(served)} requests were recorded, at most {MAX_REQUESTS} make a trace")
    requests = tuple(
        TracedRequest(row.started_at - served[0].started_at, row.model, row.service_s, row.lane)
        for row in served
        if row.started_at - served[0].started_at <= MAX_S
    )
    return RecordedTrace(requests, len(recorded) - len(requests))


class _Row(msgspec.Struct, frozen=True):
    """What a row tells of the use of a model; the ledger has more."""

    started_at: float
    model: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]
    queue_s: _Seconds
    load_s: _Seconds
    total_s: _Seconds
    upstream: str = "local"
    status: int = 0
    ttft_s: float | None = None
    lane: Lane = "interactive"

    @property
    def was_served(self) -> bool:
        return (
            self.model != "" and self.upstream == "local" and (self.status == 200 or self.ttft_s is not None)
        )

    @property
    def service_s(self) -> float:
        return max(0.0, self.total_s - self.queue_s - self.load_s)


def _row(row: Mapping[str, Any]) -> _Row:
    try:
        return msgspec.convert(row, _Row)
    except msgspec.ValidationError as error:
        name = str(row.get("request_id", "?"))[:MAX_NAME_CHARS]
        raise ConfigError(
            f"recorded request {name!r}: {error}: expected started_at, model, queue_s, load_s and total_s, "
            "as GET /api/requests lists them"
        ) from error
