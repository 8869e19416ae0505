"""Numbers and foreign text in the words of a report. Pure."""

from __future__ import annotations

from decimal import Decimal

from bench.stats import Interval

UNKNOWN = "unknown"
NONE = "–"
_DIGITS_OF_SMALL_SUMS = 3


def printable(text: str) -> str:
    """On one line, without what a terminal would obey or what turns writing around. Names, errors and
    findings come from harnesses, models and task files."""
    return "".join(char if char.isprintable() else " " for char in text)


def usd(amount: Decimal | None) -> str:
    """ "$5.13", "$0.0042", "$0.00000025": never $0 for what is not."""
    if amount is None:
        return UNKNOWN
    if amount == 0:
        return "$0"
    if abs(amount) >= 1:
        return f"${amount:,.2f}"
    places = max(2, _DIGITS_OF_SMALL_SUMS - 1 - amount.adjusted())
    short = f"{amount:.{places}f}"
    whole, _, digits = short.partition(".")
    return f"${whole}.{digits.rstrip('0'):0<2}"


def reward(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def interval(found: Interval | None, digits: int = 2) -> str:
    return NONE if found is None else f"{found.low:.{digits}f}–{found.high:.{digits}f}"


def percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f} %"


def percents(found: Interval) -> str:
    return f"{100 * found.low:.0f}–{100 * found.high:.0f} %"


def seconds(value: float | None) -> str:
    """ "12 ms", "0.8 s", "43 s", "11 min 02 s", "2 h 05 min"."""
    if value is None:
        return NONE
    if value == 0:
        return "0 s"
    if value < 0.1:
        return f"{1000 * value:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def count(value: int) -> str:
    return f"{value:,}"


def gibibytes(value: int | None) -> str:
    return NONE if value is None else f"{value / 2**30:.1f} GiB"


def joules(value: float) -> str:
    """Watt-hours once they are worth one."""
    if 0 < value < 9.5:
        return f"{value:.2g} J"
    return f"{value:.0f} J" if value < 3600 else f"{value / 3600:,.1f} Wh"


def times(ratio: float) -> str:
    return f"{factor(ratio)} ×"


def factor(ratio: float) -> str:
    """With three digits or all of the whole."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
