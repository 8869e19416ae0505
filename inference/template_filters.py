"""What a chat template may use: filters and tests; its methods are in template_methods.py.

The names are those that published chat templates use, and cheap relatives. Left out is what makes
large results from small arguments and is not used by templates (`center`, `batch`, `lipsum`, …),
and what breaks the sandbox's rules (`attr`, `xmlattr`). Each filter's result is measured; where it
could be much larger than its arguments, its size is computed first.
"""

from __future__ import annotations

import json
import re
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
    return join_texts(meter, meter.text(d), [meter.text(item) for item in meter.each(value)])


def join_texts(meter: Meter, separator: str, texts: list[str]) -> str:
    meter.expect(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def replaced(meter: Meter, value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = meter.text(value), meter.text(old), meter.text(new)
    if len(new) > len(old):
        found = text.count(old)
        meter.expect(len(text) + (len(new) - len(old)) * (found if count < 0 else min(found, count)))
    return text.replace(old, new, count)


def _indent(meter: Meter, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = meter.text(value)
    indention = width if isinstance(width, str) else _repeated(meter, " ", width)
    n_lines = count_lines(text)
    expect_elements(n_lines)
    meter.expect(len(text) + n_lines * len(indention))
    return jinja_filters.do_indent(text, indention, first, blank)


def _repeated(meter: Meter, text: str, times: int) -> str:
    meter.expect(len(text) * times)
    return text * times


def _trim(meter: Meter, value: Any, chars: str | None = None) -> str:
    text = meter.text(value)
    expect_search(text, chars)
    return text.strip(chars)


def expect_search(text: str, sought: str | None) -> None:
    """Searches from the left are linear in CPython; those from the right, and `strip`, are not."""
    if sought is not None and len(text) * len(sought) > MAX_SEARCH:
        raise LimitExceeded("it searched a long text for a long one")


def listed(meter: Meter, value: Any) -> list[Any]:
    if isinstance(value, str):
        expect_elements(len(value))
    return list(meter.each(value))


def _items(meter: Meter, value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Undefined):
        return []
    if not isinstance(value, dict):
        raise TypeError("Can only get item pairs from a mapping.")
    return list(value.items())


def _format(meter: Meter, value: Any, *args: Any, **kwargs: Any) -> str:
    return percent(meter, meter.text(value), kwargs or args)


def percent(meter: Meter, text: str, values: Any) -> str:
    """`text % values`."""
    expect_fields(meter, text.count("%"), values if isinstance(values, tuple) else (values,))
    if "%" in _PERCENT.sub("", text):
        raise TypeError("%: only fields like %s, %5d, %.2f and %(name)s are available in chat templates")
    for field in _PERCENT.finditer(text):
        if any(len(width) > MAX_WIDTH_DIGITS for width in field.groups("")):
            raise LimitExceeded(f"it formatted with a width of more than {MAX_WIDTH_DIGITS} digits")
    return str(text % values)


def expect_fields(meter: Meter, fields: int, values: Iterable[Any]) -> None:
    """Every field might show every value, at the largest width."""
    meter.expect(fields * (sum(map(meter.weigh, values)) + 10**MAX_WIDTH_DIGITS))


def _title(text: str) -> str:
    expect_elements(len(text))  # it is cut into words
    return jinja_filters.do_title(text)


def _same(meter: Meter, value: Any) -> Any:
    return value


def expect_elements(count: int) -> None:
    if count > MAX_ELEMENTS:
        raise LimitExceeded(f"it made a list of more than {MAX_ELEMENTS} elements")


def count_lines(text: str) -> int:
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
    "list": listed,
    "lower": _text_filter(str.lower),
    "replace": replaced,
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
