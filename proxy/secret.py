"""A key as a value that does not show itself."""

from __future__ import annotations


class Secret(str):
    """A key. Compares and encodes as text, but shows itself only through `reveal()`.

    repr, str and format all hide it: what is interpolated into a log line or an error by
    accident is "<secret>".
    """

    __slots__ = ()

    def reveal(self) -> str:
        return str.__str__(self)[:]

    def __repr__(self) -> str:
        return "<secret>"

    def __str__(self) -> str:
        return "<secret>"

    def __format__(self, format_spec: str) -> str:
        return "<secret>"
