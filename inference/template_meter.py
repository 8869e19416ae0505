"""What one render of a chat template may use, and has used: processor time, bytes, size of values."""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from jinja2.exceptions import SecurityError
from jinja2.runtime import Macro, Undefined
from jinja2.utils import Namespace

MAX_VALUE: Final = 16 * 1024 * 1024
"""Weight of the largest value, the output included: its characters, and ELEMENT for each thing in it."""

ELEMENT: Final = 16
MAX_DEPTH: Final = 100  # of nested containers
MAX_INT_BITS: Final = 4096

RENDER_CPU_S: Final = 2.0
FREE_BYTES: Final = 64 * 1024 * 1024
"""What one render may make in all, and this much more for each byte that it is given:"""
BYTES_PER_INPUT_BYTE: Final = 64

TICKS_PER_LOOK: Final = 64
BYTES_PER_TICK: Final = 4096

CONTAINERS = frozenset({list, dict, tuple})
_SCALARS = frozenset({int, float, bool, types.NoneType, range})


class LimitExceeded(Exception):
    """The template wanted more than a render may use."""


class Meter:
    """What one render has used. `clock` is the processor time of the rendering thread, in seconds."""

    def __init__(self, seconds: float = RENDER_CPU_S, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ends_at = clock() + seconds
        self._ticks_left = TICKS_PER_LOOK
        self._bytes_left = FREE_BYTES
        # The container is kept with its weight, for as long as its id stands for it.
        self._known: dict[int, tuple[object, int, int]] = {}
        # Ids of containers that may not change: those given, and whatever is in another container,
        # whose known weight would then be wrong.
        self._fixed: set[int] = set()

    def allow_input(self, value: Any) -> None:
        """What the template is given: it may make more of more, and may not change it."""
        self._bytes_left += BYTES_PER_INPUT_BYTE * self.weigh(value)
        self._fixed.add(id(value))

    def expect_change(self, container: Any) -> None:
        """Before a container is changed: it must be the template's own, and part of no other."""
        if id(container) in self._fixed:
            raise SecurityError(
                f"a {type(container).__name__} that was given, or is part of another value, cannot be changed"
            )

    def put(self, added: Any, container: list[Any]) -> None:
        """Before `added` becomes an element of a list. Costs no more the longer the list is."""
        self.expect_change(container)
        if added is container:
            raise SecurityError("a list cannot be put into itself")
        list_weight, list_height = self._weigh_container(container, 0)
        weight, height = self.weigh(added), self.height(added)
        self.expect(list_weight + weight)
        self._spend(ELEMENT)
        self._known[id(container)] = (container, list_weight + weight, max(list_height, height + 1))
        self._weigh_container(container, 0)
        if height:
            self._fixed.add(id(added))

    def changed(self, container: Any) -> None:
        """After a container was changed in another way: it is weighed again."""
        self._known.pop(id(container), None)
        self.made(container)

    def tick(self, ticks: int = 1) -> None:
        """Before or after a step; one tick stands for about a microsecond at most."""
        self._ticks_left -= ticks
        if self._ticks_left < 0:
            self.look()

    def look(self) -> None:
        """At the clock: where a step may take long; else every few ticks, as this costs as much as one."""
        self._ticks_left = TICKS_PER_LOOK
        if self._clock() > self._ends_at:
            raise LimitExceeded(f"it ran longer than {self._seconds:g} s")

    def expect(self, size: int) -> None:
        """Before something of this size is made."""
        if size > MAX_VALUE:
            raise LimitExceeded(f"it made a value larger than {MAX_VALUE} bytes")

    def made(self, value: Any) -> Any:
        """After a value was made. Returns it, or what must be used instead."""
        kind = type(value)
        if kind is str:
            self.made_text(len(value))
        elif kind is list or kind is dict or kind is tuple:
            self.weigh(value)
            self._spend(ELEMENT * len(value))
        elif kind is int:
            self.tick()
            if value.bit_length() > MAX_INT_BITS:
                raise LimitExceeded(f"it made a number of more than {MAX_INT_BITS} bits")
        elif isinstance(value, Iterator):
            return self.each(value)
        elif kind not in _SCALARS and not isinstance(value, (Undefined, Namespace, Macro)):
            raise SecurityError(f"it made a value of type {kind.__name__!r}, which templates cannot have")
        return value

    def made_text(self, length: int) -> None:
        if length > MAX_VALUE:
            raise LimitExceeded(f"it made a text of more than {MAX_VALUE} characters")
        self._spend(length)

    def made_slice(self, value: Any, source: Any) -> Any:
        """A part of a container weighs no more than the whole, so its elements need not be gone through."""
        if type(value) not in CONTAINERS:
            return self.made(value)
        weight, height = self._weigh_container(source, 0)
        self._known[id(value)] = (value, weight, height)
        self._spend(ELEMENT * len(value))
        return value

    def _spend(self, n_bytes: int) -> None:
        self._bytes_left -= n_bytes
        if self._bytes_left < 0:
            raise LimitExceeded("it made too many large values")
        self.tick(1 + n_bytes // BYTES_PER_TICK)

    def weigh(self, value: Any, depth: int = 0) -> int:
        """Characters and elements in a plain value, counted as often as it is reached."""
        kind = type(value)
        if kind is str:
            return ELEMENT + len(value)
        if kind in _SCALARS or isinstance(value, Undefined):
            return ELEMENT
        if kind is not list and kind is not dict and kind is not tuple:
            raise SecurityError(f"a {kind.__name__!r} cannot be printed, compared or put into a list")
        return self._weigh_container(value, depth)[0]

    def height(self, value: Any) -> int:
        """How deep containers are nested in a plain value; 0 for none."""
        return self._weigh_container(value, 0)[1] if type(value) in CONTAINERS else 0

    def _weigh_container(self, value: Any, depth: int) -> tuple[int, int]:
        known = self._known.get(id(value))
        if known is None:
            if depth > MAX_DEPTH:
                raise LimitExceeded(f"it nested values more than {MAX_DEPTH} deep")
            weight, height = ELEMENT, 1
            self.tick(1 + len(value) // 4)
            for item in _contents(value):
                if type(item) in CONTAINERS:
                    self._fixed.add(id(item))
                    item_weight, item_height = self._weigh_container(item, depth + 1)
                    weight += item_weight
                    height = max(height, item_height + 1)
                else:
                    weight += self.weigh(item)
            known = self._known[id(value)] = (value, weight, height)
        _, weight, height = known
        self.expect(weight)
        if depth + height > MAX_DEPTH:
            raise LimitExceeded(f"it nested values more than {MAX_DEPTH} deep")
        return weight, height

    def text(self, value: Any) -> str:
        """What `{{ value }}` shows."""
        if type(value) is str:
            return value
        self.weigh(value)
        text = str(value)
        self.made_text(len(text))
        return text

    def each(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._ticks_left -= 1  # tick(), inlined: this is where templates spend their time
            if self._ticks_left < 0:
                self.look()
            yield value


def _contents(container: Any) -> Iterable[Any]:
    if type(container) is not dict:
        return container  # type: ignore[no-any-return]
    return [item for pair in container.items() for item in pair]
