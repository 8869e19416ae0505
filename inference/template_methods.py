"""Methods of texts, lists and dicts that need care in chat templates: called in place of Python's own.

What could be much larger than its arguments has its size computed first. Lists and dicts that the
template made itself may be changed by it, those that it was given may not, nor those inside another
value (template_meter.py tells why).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from typing import Any, Final

from inference.template_filters import (
    MAX_ELEMENTS,
    MAX_WIDTH_DIGITS,
    count_lines,
    expect_elements,
    expect_fields,
    expect_search,
    join_texts,
    listed,
    percent,
    replaced,
)
from inference.template_meter import LimitExceeded
from inference.template_sandbox import BoundedEnvironment


def _call_replace(environment: BoundedEnvironment, text: str, old: str, new: str, count: int = -1) -> str:
    return replaced(environment.meter, text, old, new, count)


def _call_join(environment: BoundedEnvironment, text: str, items: Iterable[str]) -> str:
    texts = list(environment.meter.each(items))
    if not all(isinstance(item, str) for item in texts):
        raise TypeError("join: every item must be a string")
    return join_texts(environment.meter, text, texts)


def _call_split(
    environment: BoundedEnvironment, text: str, sep: str | None = None, maxsplit: int = -1
) -> list[str]:
    return _split(text.split, sep, maxsplit)


def _call_rsplit(
    environment: BoundedEnvironment, text: str, sep: str | None = None, maxsplit: int = -1
) -> list[str]:
    expect_search(text, sep)
    return _split(text.rsplit, sep, maxsplit)


def _split(split: Callable[[str | None, int], list[str]], sep: str | None, maxsplit: int) -> list[str]:
    parts = split(sep, MAX_ELEMENTS if maxsplit < 0 else min(maxsplit, MAX_ELEMENTS))
    expect_elements(len(parts))
    return parts


def _call_splitlines(environment: BoundedEnvironment, text: str, keepends: bool = False) -> list[str]:
    expect_elements(count_lines(text))
    return text.splitlines(keepends)


def _searching(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(environment: BoundedEnvironment, text: str, sought: str | None = None, *where: int) -> Any:
        expect_search(text, sought)
        return method(text, sought, *where)

    return call


def _call_copy(environment: BoundedEnvironment, value: Any) -> Any:
    return value.copy()  # a container: what is copied is bounded, and the copy is weighed


# Of lists and dicts that the template made itself: it cannot change what it was given.


def _call_append(environment: BoundedEnvironment, values: list[Any], value: Any) -> None:
    environment.meter.put(value, values)
    values.append(value)


def _call_insert(environment: BoundedEnvironment, values: list[Any], index: int, value: Any) -> None:
    environment.meter.put(value, values)
    values.insert(index, value)


def _call_extend(environment: BoundedEnvironment, values: list[Any], more: Iterable[Any]) -> None:
    meter = environment.meter
    meter.expect_change(values)
    added = meter.made(listed(meter, more))
    meter.expect(meter.weigh(values) + meter.weigh(added))
    values.extend(added)
    meter.changed(values)


def _call_update(
    environment: BoundedEnvironment, mapping: dict[Any, Any], more: Any = (), **named: Any
) -> None:
    meter = environment.meter
    meter.expect_change(mapping)
    added = meter.made(dict(more, **named))
    meter.expect(meter.weigh(mapping) + meter.weigh(added))
    mapping.update(added)
    meter.changed(mapping)


def _call_setdefault(
    environment: BoundedEnvironment, mapping: dict[Any, Any], key: Any, value: Any = None
) -> Any:
    if key not in mapping:
        _call_update(environment, mapping, {key: value})
    return mapping[key]


def _shrinking(method: str) -> Callable[..., Any]:
    def call(environment: BoundedEnvironment, container: Any, *args: Any) -> Any:
        environment.meter.expect_change(container)
        removed = getattr(container, method)(*args)
        environment.meter.changed(container)
        return removed

    return call


class _Formatter(string.Formatter):
    """`str.format` within the sandbox: a field is an argument and nothing of it, widths are bounded."""

    def __init__(self, environment: BoundedEnvironment) -> None:
        self._environment = environment

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, str]:
        if re.search(r"[.\[]", field_name):
            raise TypeError("format: fields of fields are not available in chat templates")
        found, key = super().get_field(field_name, args, kwargs)
        return found, str(key)

    def format_field(self, value: Any, format_spec: str) -> str:
        if re.search(rf"\d{{{MAX_WIDTH_DIGITS + 1}}}", format_spec):
            raise LimitExceeded(f"it formatted with a width of more than {MAX_WIDTH_DIGITS} digits")
        if not isinstance(value, int | float):
            value = self._environment.meter.text(value)
        return str(format(value, format_spec))


def _call_format(environment: BoundedEnvironment, text: str, *args: Any, **kwargs: Any) -> str:
    expect_fields(environment.meter, text.count("{"), (*args, *kwargs.values()))
    return _Formatter(environment).vformat(text, args, kwargs)


def _call_percent(environment: BoundedEnvironment, text: str, values: Any) -> str:
    return percent(environment.meter, text, values)


METHODS: Final[dict[str, Callable[..., Any]]] = {
    "%": _call_percent,
    "append": _call_append,
    "clear": _shrinking("clear"),
    "copy": _call_copy,
    "extend": _call_extend,
    "format": _call_format,
    "insert": _call_insert,
    "items": lambda environment, mapping: list(mapping.items()),
    "join": _call_join,
    **{
        name: _searching(getattr(str, name))
        for name in ("lstrip", "rfind", "rindex", "rpartition", "rstrip", "strip")
    },
    "keys": lambda environment, mapping: list(mapping),
    "pop": _shrinking("pop"),
    "replace": _call_replace,
    "rsplit": _call_rsplit,
    "split": _call_split,
    "setdefault": _call_setdefault,
    "splitlines": _call_splitlines,
    "update": _call_update,
    "values": lambda environment, mapping: list(mapping.values()),
}
"""Called in place of the method: the environment, the value whose method it is, the arguments."""
