"""How many trials are at work on a server at once: with one alone, all that happens there is its doing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Stay:
    """`most`: of the others, at once, as long as it lasted."""

    def __init__(self) -> None:
        self.most = 0


class Neighbours:
    """Of one server; belongs to the event loop."""

    def __init__(self) -> None:
        self._stays: list[Stay] = []

    @contextlib.contextmanager
    def among(self) -> Iterator[Stay]:
        stay = Stay()
        self._stays.append(stay)
        for each in self._stays:
            each.most = max(each.most, len(self._stays) - 1)
        try:
            yield stay
        finally:
            self._stays.remove(stay)
