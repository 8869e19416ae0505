"""The request header `x-hotseat-lane`: how a request wants to be run. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from inference.errors import InvalidRequest
from inference.scheduler_events import Lane

HEADER = b"x-hotseat-lane"
_LANES: dict[bytes, Lane] = {b"interactive": "interactive", b"batch": "batch", b"exclusive": "exclusive"}
_MAX_SHOWN = 40


def lane_of(headers: Iterable[tuple[bytes, bytes]]) -> Lane:
    """`interactive` unless the header says otherwise. Raises InvalidRequest."""
    values = [value for name, value in headers if name == HEADER]
    if not values:
        return "interactive"
    lane = _LANES.get(values[0].strip())
    if lane is None or len(values) > 1:
        found = ascii(b", ".join(values).decode("latin-1")[:_MAX_SHOWN])
        raise InvalidRequest(
            f"x-hotseat-lane: expected one of interactive, batch, exclusive, found {found}",
            param="x-hotseat-lane",
        )
    return lane
