"""What a chat template may use: filters, tests, functions, and the methods that need care.

The names are those that published chat templates use, and cheap relatives. Left out is what makes
large results from small arguments and is not used by templates (`center`, `batch`, `lipsum`, …),
and what breaks the sandbox's rules (`attr`, `xmlattr`). Each filter's result is measured; where it
could be much larger than its arguments, its size is computed first.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests
from jinja2.environment import Environment
from jinja2.exceptions import FilterArgumentError
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, Undefined
from jinja2.utils import pass_context
from markupsafe import escape

from inference.template_meter import ELEMENT, MAX_VALUE, LimitExceeded, Meter
from inference.template_sandbox import BoundedEnvironment

MAX_ELEMENTS: Final = MAX_VALUE // ELEMENT
MAX_INDENT: Final = 16
MAX_SEARCH: Final = 256 * 1024 * 1024
"""Length of a text times length of what is sought in it, where CPython compares naively."""

MAX_WIDTH_DIGITS: Final = 4  # of a number in a format string

_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
# Possessive where a flag and a digit could be confused: this, too, runs on hostile text.
_PERCENT = re.compile(r"%(?:%|(?:\([^()]*\))?[#0\- +]*+(\d*+)(?:\.(\d*+))?[a-zA-Z])")


# --- filters -------------------------------------------------------------------------------------

Filter = Callable[..., Any]


def _text_filter(change: Callable[..., str]) -> Filter:
    def apply(meter: Meter, value: Any, *args: Any, **kwargs: Any) -> str:
        return change(meter.text(value), *args, **kwargs)

    return apply


def _tojson(
    meter: Meter,
    value: Any,
    indent: Any = None,
    ensure_ascii: bool = False,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers has it, not Jinja: no HTML escapes, no ASCII escapes, keys in their order."""
    weight = meter.weigh(value)
    if indent is not None:
        if not isinstance(indent, int) or indent > MAX_INDENT:
            raise FilterArgumentError(f"tojson: indent must be a number up to {MAX_INDENT}")
        meter.expect(weight // ELEMENT * indent * meter.height(value))
    if separators is not None and sum(map(len, separators)) > MAX_INDENT:
        raise FilterArgumentError("tojson: separators are too long")
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _join(meter: Meter, value: Iterable[Any], d: Any = "") -> str:
    return _join_texts(meter, meter.text(d), [meter.text(item) for item in meter.each(value)])


def _join_texts(meter: Meter, separator: str, texts: list[str]) -> str:
    meter.expect(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _replace(meter: Meter, value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = meter.text(value), meter.text(old), meter.text(new)
    if len(new) > len(old):
        found = text.count(old)
        meter.expect(len(text) + (len(new) - len(old)) * (found if count < 0 else min(found, count)))
    return text.replace(old, new, count)


def _indent(meter: Meter, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = meter.text(value)
    indention = width if isinstance(width, str) else _repeated(meter, " ", width)
    n_lines = _count_lines(text)
    _expect_elements(n_lines)
    meter.expect(len(text) + n_lines * len(indention))
    return jinja_filters.do_indent(text, indention, first, blank)


def _repeated(meter: Meter, text: str, times: int) -> str:
    meter.expect(len(text) * times)
    return text * times


def _trim(meter: Meter, value: Any, chars: str | None = None) -> str:
    text = meter.text(value)
    _expect_search(text, chars)
    return text.strip(chars)


def _expect_search(text: str, sought: str | None) -> None:
    """Searches from the left are linear in CPython; those from the right, and `strip`, are not."""
    if sought is not None and len(text) * len(sought) > MAX_SEARCH:
        raise LimitExceeded("it searched a long text for a long one")


def _list(meter: Meter, value: Any) -> list[Any]:
    if isinstance(value, str):
        _expect_elements(len(value))
    return list(meter.each(value))


def _items(meter: Meter, value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Undefined):
        return []
    if not isinstance(value, dict):
        raise TypeError("Can only get item pairs from a mapping.")
    return list(value.items())


def _format(meter: Meter, value: Any, *args: Any, **kwargs: Any) -> str:
    return _percent(meter, meter.text(value), kwargs or args)


def _title(text: str) -> str:
    _expect_elements(len(text))  # it is cut into words
    return jinja_filters.do_title(text)


def _same(meter: Meter, value: Any) -> Any:
    return value


def _expect_elements(count: int) -> None:
    if count > MAX_ELEMENTS:
        raise LimitExceeded(f"it made a list of more than {MAX_ELEMENTS} elements")


def _count_lines(text: str) -> int:
    return 1 + sum(map(text.count, _LINE_ENDS))


def _metered(apply: Filter) -> Filter:
    @pass_context
    def run(context: Context, *args: Any, **kwargs: Any) -> Any:
        meter = _environment(context).meter
        meter.look()
        return meter.made(apply(meter, *args, **kwargs))

    return run


def _of_jinja(name: str) -> Filter:
    """Jinja's own filter, given what it asks to be passed."""
    original: Filter = jinja_filters.FILTERS[name]
    wants = getattr(getattr(original, "jinja_pass_arg", None), "name", None)

    @pass_context
    def run(context: Context, *args: Any, **kwargs: Any) -> Any:
        environment = _environment(context)
        environment.meter.look()
        passed: tuple[Context | Environment | EvalContext, ...]
        match wants:
            case "context":
                passed = (context,)
            case "environment":
                passed = (environment,)
            case "eval_context":
                passed = (context.eval_ctx,)
            case _:
                passed = ()
        return environment.meter.made(original(*passed, *args, **kwargs))

    return run


def _environment(context: Context) -> BoundedEnvironment:
    environment = context.environment
    assert isinstance(environment, BoundedEnvironment)
    return environment


_OWN: dict[str, Filter] = {
    "capitalize": _text_filter(str.capitalize),
    "e": _text_filter(lambda text: str(escape(text))),
    "escape": _text_filter(lambda text: str(escape(text))),
    "format": _format,
    "indent": _indent,
    "items": _items,
    "join": _join,
    "list": _list,
    "lower": _text_filter(str.lower),
    "replace": _replace,
    "safe": _same,  # nothing is escaped here
    "string": _text_filter(str),
    "title": _text_filter(_title),
    "tojson": _tojson,
    "trim": _trim,
    "upper": _text_filter(str.upper),
}
_JINJA = (
    "abs count d default dictsort first float int last length map max min reject rejectattr reverse select "
    "selectattr sort unique"
).split()

FILTERS: Final[dict[str, Filter]] = {
    **{name: _metered(apply) for name, apply in _OWN.items()},
    **{name: _of_jinja(name) for name in _JINJA},
}


# --- tests ---------------------------------------------------------------------------------------


def _whole(value: Any) -> int:
    """`%` would format a string."""
    if not isinstance(value, int):
        raise TypeError(f"a whole number was expected, not a {type(value).__name__}")
    return value


def _ticking(test: Callable[..., bool]) -> Callable[..., bool]:
    @pass_context
    def run(context: Context, *args: Any) -> bool:
        _environment(context).meter.look()
        return test(*args)

    return run


_FREE_TESTS = (
    "boolean callable defined false float integer iterable mapping none number sameas sequence string true "
    "undefined"
).split()
_COMPARING_TESTS = (
    "== eq equalto != ne > gt greaterthan >= ge < lt lessthan <= le in"  # as costly as what they compare
).split()

_JINJA_TESTS: Mapping[str, Any] = jinja_tests.TESTS

TESTS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _JINJA_TESTS[name] for name in _FREE_TESTS},
    **{name: _ticking(_JINJA_TESTS[name]) for name in _COMPARING_TESTS},
    "divisibleby": lambda value, number: _whole(value) % _whole(number) == 0,
    "even": lambda value: _whole(value) % 2 == 0,
    "odd": lambda value: _whole(value) % 2 == 1,
}


# --- methods -------------------------------------------------------------------------------------


def _call_replace(environment: BoundedEnvironment, text: str, old: str, new: str, count: int = -1) -> str:
    return _replace(environment.meter, text, old, new, count)


def _call_join(environment: BoundedEnvironment, text: str, items: Iterable[str]) -> str:
    texts = list(environment.meter.each(items))
    if not all(isinstance(item, str) for item in texts):
        raise TypeError("join: every item must be a string")
    return _join_texts(environment.meter, text, texts)


def _call_split(
    environment: BoundedEnvironment, text: str, sep: str | None = None, maxsplit: int = -1
) -> list[str]:
    return _split(text.split, sep, maxsplit)


def _call_rsplit(
    environment: BoundedEnvironment, text: str, sep: str | None = None, maxsplit: int = -1
) -> list[str]:
    _expect_search(text, sep)
    return _split(text.rsplit, sep, maxsplit)


def _split(split: Callable[[str | None, int], list[str]], sep: str | None, maxsplit: int) -> list[str]:
    parts = split(sep, MAX_ELEMENTS if maxsplit < 0 else min(maxsplit, MAX_ELEMENTS))
    _expect_elements(len(parts))
    return parts


def _call_splitlines(environment: BoundedEnvironment, text: str, keepends: bool = False) -> list[str]:
    _expect_elements(_count_lines(text))
    return text.splitlines(keepends)


def _searching(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(environment: BoundedEnvironment, text: str, sought: str | None = None, *where: int) -> Any:
        _expect_search(text, sought)
        return method(text, sought, *where)

    return call


def _call_copy(environment: BoundedEnvironment, value: Any) -> Any:
    return value  # nothing here can change it


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
    _expect_fields(environment.meter, text.count("{"), (*args, *kwargs.values()))
    return _Formatter(environment).vformat(text, args, kwargs)


def _call_percent(environment: BoundedEnvironment, text: str, values: Any) -> str:
    return _percent(environment.meter, text, values)


def _percent(meter: Meter, text: str, values: Any) -> str:
    """`text % values`."""
    _expect_fields(meter, text.count("%"), values if isinstance(values, tuple) else (values,))
    if "%" in _PERCENT.sub("", text):
        raise TypeError("%: only fields like %s, %5d, %.2f and %(name)s are available in chat templates")
    for field in _PERCENT.finditer(text):
        if any(len(width) > MAX_WIDTH_DIGITS for width in field.groups("")):
            raise LimitExceeded(f"it formatted with a width of more than {MAX_WIDTH_DIGITS} digits")
    return str(text % values)


def _expect_fields(meter: Meter, fields: int, values: Iterable[Any]) -> None:
    """Every field might show every value, at the largest width."""
    meter.expect(fields * (sum(map(meter.weigh, values)) + 10**MAX_WIDTH_DIGITS))


METHODS: Final[dict[str, Callable[..., Any]]] = {
    "%": _call_percent,
    "copy": _call_copy,
    "format": _call_format,
    "items": lambda environment, mapping: list(mapping.items()),
    "join": _call_join,
    **{
        name: _searching(getattr(str, name))
        for name in ("lstrip", "rfind", "rindex", "rpartition", "rstrip", "strip")
    },
    "keys": lambda environment, mapping: list(mapping),
    "replace": _call_replace,
    "rsplit": _call_rsplit,
    "split": _call_split,
    "splitlines": _call_splitlines,
    "values": lambda environment, mapping: list(mapping.values()),
}
"""Called in place of the method: the environment, the value whose method it is, the arguments."""
