"""What tokens cost: the price book, and the cost of one request. Pure, and exact to the last digit.

A book is a list of dated entries. An entry holds from its day until the next one of the same provider and
model; a request is priced by the one of its own day. What no entry covers has no price: its cost is
unknown, and is said to be, never guessed.

    provider said what it took    that                         "provider"
    remote, broke off or left     none                         "unknown"
    remote, in the book           tokens × rates               "book:<day of the entry>"
    remote, refused or never got  zero                         "not answered"
    remote, else                  none                         "unknown"
    local, energy and tariff      energy × tariff              "energy"
    local, else                   zero, and why                "local: no power reading", "local: no tariff"
    replayed from a recording     as above, paid by nobody     "replay"

Rates are USD for one token. A class without a rate of its own: reasoning is billed as output, which it is
part of; cached and written tokens are not priced, so that a request with some has no known cost.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Any, Protocol

from inference.errors import ConfigError

LOCAL = "local"
NOT_ANSWERED, UNKNOWN = "not answered", "unknown"
REPLAY = "replay"
MAX_BOOK_BYTES = 16 * 2**20
MAX_RATE_CHARS, MAX_RATE_PLACES = 40, 30
MAX_RATE = Decimal(1)
"""USD for a token. More is a price per million tokens where one per token belongs."""

MAX_COST_USD = Decimal(10) ** 9
MAX_COST_PLACES = 40
"""Of a request's cost, digits after the point: written out, 1E-999999999 would take a gigabyte."""

CLIENT_LEFT = 499
TIMED_OUT = 504
ENERGY_PLACES = Decimal("1e-12")
J_PER_KWH = 3_600_000

_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""A sum that had to be rounded is a defect, and raises: rates have at most 40 digits, counts 18."""

_NUMBER = re.compile(r"\d{1,20}(\.\d{1,30})?([eE]-?\d{1,2})?")


@dataclass(frozen=True, slots=True)
class Rates:
    """USD for one token of each class. None: no rate of its own (see above)."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None


RATE_CLASSES = tuple(field.name for field in fields(Rates))


@dataclass(frozen=True, slots=True)
class LongPrompt:
    """Other rates for all tokens of a request whose prompt has more than `above_tokens`."""

    above_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """`source`: where the price was seen. `provider` and `model` as in [providers] and [routes]."""

    provider: str
    model: str
    date: datetime.date
    source: str
    rates: Rates
    long_prompt: LongPrompt | None = None

    def rates_for(self, input_tokens: int) -> Rates:
        if self.long_prompt is not None and input_tokens > self.long_prompt.above_tokens:
            return self.long_prompt.rates
        return self.rates


class PriceBook:
    def __init__(self, entries: Iterable[PriceEntry] = ()) -> None:
        self.entries = tuple(sorted(entries, key=lambda e: (e.provider, e.model, e.date)))
        self._by_name: dict[tuple[str, str], list[PriceEntry]] = {}
        for entry in self.entries:
            self._by_name.setdefault((entry.provider, entry.model), []).append(entry)

    def find(self, provider: str, model: str, day: datetime.date) -> PriceEntry | None:
        """The newest entry that is not after `day`."""
        found = None
        for entry in self._by_name.get((provider, model), ()):
            if entry.date <= day:
                found = entry
        return found

    def under(self, other: PriceBook) -> PriceBook:
        """Both. What `other` has of a provider's model hides all that this one has of it."""
        own = [e for e in self.entries if (e.provider, e.model) not in other._by_name]
        return PriceBook([*own, *other.entries])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PriceBook) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)


# --- the cost of a request -----------------------------------------------------------------------


class Tokens(Protocol):
    """Counts. Input includes cached and cache-write tokens, output includes reasoning tokens."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...


class Attempt(Tokens, Protocol):
    """What a record, and an attempt of it that failed, say of themselves. `status` 0: none was had."""

    @property
    def upstream(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def status(self) -> int: ...
    @property
    def ttft_s(self) -> float | None: ...
    @property
    def reported_cost_usd(self) -> Decimal | None: ...
    @property
    def is_uncounted(self) -> bool:
        """Its provider may have done more than what is counted."""

    @property
    def price_source(self) -> str:
        """REPLAY if it was answered from a recording."""


class Record(Attempt, Protocol):
    """A request's record, as far as it concerns its price. `attempt` 0: no upstream was asked."""

    @property
    def attempt(self) -> int: ...

    energy_j: float | None
    cost_usd: Decimal | None
    price_source: str


@dataclass(frozen=True, slots=True)
class Price:
    """`cost_usd` None: unknown."""

    cost_usd: Decimal | None
    source: str


def price_record(record: Record, book: PriceBook, usd_per_kwh: Decimal | None) -> None:
    """Fill `cost_usd` and `price_source`, from what the record says. A request that no upstream was asked
    for has neither."""
    if not record.attempt:
        return
    if record.upstream == LOCAL and record.reported_cost_usd is None:
        price = local_price(record.energy_j, usd_per_kwh)
    else:
        price = attempt_price(record, book)
    record.cost_usd, record.price_source = price.cost_usd, price.source


def attempt_price(attempt: Attempt, book: PriceBook) -> Price:
    """Of one attempt at a provider."""
    price = _live_price(attempt, book)
    return replace(price, source=REPLAY) if attempt.price_source == REPLAY else price


def _live_price(attempt: Attempt, book: PriceBook) -> Price:
    reported_usd = believed(attempt.reported_cost_usd)
    if reported_usd is not None:
        return Price(reported_usd, "provider")
    if attempt.is_uncounted:
        return Price(None, UNKNOWN)
    if not (attempt.input_tokens or attempt.output_tokens):
        return Price(Decimal(0), NOT_ANSWERED) if _was_refused(attempt) else Price(None, UNKNOWN)
    entry = book.find(attempt.upstream, attempt.model, day_of(attempt.started_at))
    cost_usd = None if entry is None else token_cost(entry.rates_for(attempt.input_tokens), attempt)
    if entry is None or cost_usd is None:
        return Price(None, UNKNOWN)
    return Price(cost_usd, f"book:{entry.date.isoformat()}")


def believed(cost_usd: Decimal | None) -> Decimal | None:
    """None for what a provider cannot have charged: budgets and sums would never get over it."""
    if cost_usd is None or not cost_usd.is_finite() or not 0 <= cost_usd <= MAX_COST_USD:
        return None
    exponent = cost_usd.as_tuple().exponent
    return cost_usd if isinstance(exponent, int) and exponent >= -MAX_COST_PLACES else None


def _was_refused(attempt: Attempt) -> bool:
    """Ended by an error before anything came, and by nothing on our side: what a provider refuses it does
    not bill. When the client left or time ran out the provider may still be at work."""
    is_error = attempt.status == 0 or attempt.status >= 400
    return is_error and attempt.ttft_s is None and attempt.status not in (CLIENT_LEFT, TIMED_OUT)


def token_cost(rates: Rates, tokens: Tokens) -> Decimal | None:
    """None: some of the tokens have no rate."""
    plain = max(0, tokens.input_tokens - tokens.cached_tokens - tokens.cache_write_tokens)
    reasoning = rates.output if rates.reasoning is None else rates.reasoning
    parts = (
        (plain, rates.input),
        (tokens.cached_tokens, rates.cached_input),
        (tokens.cache_write_tokens, rates.cache_write),
        (max(0, tokens.output_tokens - tokens.reasoning_tokens), rates.output),
        (tokens.reasoning_tokens, reasoning),
    )
    total = Decimal(0)
    for count, rate in parts:
        if not count:
            continue
        if rate is None:
            return None
        total = _EXACT.add(total, _EXACT.multiply(Decimal(count), rate))
    return total


def most_usd(entry: PriceEntry, input_tokens: int, output_tokens: int) -> Decimal:
    """The most that so many tokens can cost, whatever their classes."""
    rates = entry.rates_for(input_tokens)
    dearest_input = max(rates.input, rates.cached_input or rates.input, rates.cache_write or rates.input)
    dearest_output = max(rates.output, rates.reasoning or rates.output)
    return _EXACT.add(
        _EXACT.multiply(Decimal(input_tokens), dearest_input),
        _EXACT.multiply(Decimal(output_tokens), dearest_output),
    )


def local_price(energy_j: float | None, usd_per_kwh: Decimal | None) -> Price:
    """Measured energy is no exact number, and neither is its cost: it ends at 1e-12 USD."""
    if energy_j is None:
        return Price(Decimal(0), "local: no power reading")
    if usd_per_kwh is None:
        return Price(Decimal(0), "local: no tariff")
    cost_usd = Decimal(repr(energy_j)) * usd_per_kwh / J_PER_KWH
    return Price(cost_usd.quantize(ENERGY_PLACES), "energy")


def day_of(at_s: float) -> datetime.date:
    """Days are UTC's everywhere: prices, budgets, reports."""
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).date()


# --- the book as text ----------------------------------------------------------------------------

_ENTRY_KEYS = {"provider", "model", "date", "source", "long_prompt", *RATE_CLASSES}


def parse_book(text: str, shown_path: str) -> PriceBook:
    """Raises ConfigError naming the entry, the key, what was found and what was expected."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{shown_path}: not valid TOML: {error}: correct that line") from error
    unknown = sorted(set(document) - {"price"})
    if unknown:
        raise ConfigError(f"{shown_path}: {unknown[0]}: unknown key; the book is made of [[price]] tables")
    found = document.get("price", [])
    if not isinstance(found, list):
        raise ConfigError(f"{shown_path}: price: expected [[price]] tables, with two brackets")
    entries = [_entry(raw, f"{shown_path}: price {n}") for n, raw in enumerate(found, start=1)]
    seen: set[tuple[str, str, datetime.date]] = set()
    for entry in entries:
        key = (entry.provider, entry.model, entry.date)
        if key in seen:
            raise ConfigError(
                f"{shown_path}: {entry.provider} {entry.model} has two prices of {entry.date}: remove one"
            )
        seen.add(key)
    return PriceBook(entries)


def _entry(raw: Any, place: str) -> PriceEntry:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{place}: expected a [[price]] table")
    unknown = sorted(set(raw) - _ENTRY_KEYS)
    if unknown:
        raise ConfigError(f"{place}: {unknown[0]}: unknown key; known: {', '.join(sorted(_ENTRY_KEYS))}")
    date = raw.get("date")
    if not isinstance(date, datetime.date) or isinstance(date, datetime.datetime):
        raise ConfigError(f"{place}: date: expected a day without quotes, as in date = 2026-11-01")
    long_prompt = raw.get("long_prompt")
    return PriceEntry(
        provider=_text(raw, "provider", place),
        model=_text(raw, "model", place),
        date=date,
        source=_text(raw, "source", place),
        rates=_rates(raw, place),
        long_prompt=None if long_prompt is None else _long_prompt(long_prompt, place),
    )


def _long_prompt(raw: Any, place: str) -> LongPrompt:
    above = raw.get("above_tokens") if isinstance(raw, Mapping) else None
    if not isinstance(above, int) or isinstance(above, bool) or above < 1:
        raise ConfigError(f"{place}: long_prompt.above_tokens: expected the number of tokens, 1 or more")
    unknown = sorted(set(raw) - {"above_tokens", *RATE_CLASSES})
    if unknown:
        raise ConfigError(f"{place}: long_prompt.{unknown[0]}: unknown key")
    return LongPrompt(above, _rates(raw, f"{place}: long_prompt"))


def _rates(raw: Mapping[str, Any], place: str) -> Rates:
    given = {name: _rate(raw[name], f"{place}: {name}") for name in RATE_CLASSES if name in raw}
    for name in ("input", "output"):
        if name not in given:
            raise ConfigError(f"{place}: {name}: missing; add the USD for one token")
    return Rates(**given)


def _rate(value: object, place: str) -> Decimal:
    try:
        return read_rate(value)
    except ValueError as error:
        raise ConfigError(f"{place} = {str(value)[:MAX_RATE_CHARS]}: {error}") from error


def read_rate(value: object) -> Decimal:
    """USD for one token, as text or an exact number. Raises ValueError."""
    expected = 'expected USD for one token, as in "0.000005" for 5 USD per million'
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(expected)
    text = str(value)
    if len(text) > MAX_RATE_CHARS or _NUMBER.fullmatch(text) is None:
        raise ValueError(expected)
    rate = Decimal(text)
    if rate > MAX_RATE:
        raise ValueError(f"{expected}; this is more than {MAX_RATE} USD for one token")
    if _EXACT.remainder(rate.scaleb(MAX_RATE_PLACES, _EXACT), Decimal(1)):
        raise ValueError(f"{expected}, with at most {MAX_RATE_PLACES} decimal places")
    return rate


def _text(raw: Mapping[str, Any], key: str, place: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 1000 or not value.isprintable():
        raise ConfigError(f"{place}: {key}: expected text in quotes, at most 1000 characters")
    return value


def book_text(book: PriceBook, comment: str = "") -> str:
    """What `parse_book` reads back as the same book."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for entry in book.entries:
        lines += ["", "[[price]]"]
        lines += [f"{key} = {_quoted(getattr(entry, key))}" for key in ("provider", "model")]
        lines += [f"date = {entry.date.isoformat()}", f"source = {_quoted(entry.source)}"]
        lines += [f"{name} = {value}" for name, value in _rate_texts(entry.rates)]
        if entry.long_prompt is not None:
            rates = ", ".join(f"{name} = {value}" for name, value in _rate_texts(entry.long_prompt.rates))
            lines.append(f"long_prompt = {{ above_tokens = {entry.long_prompt.above_tokens}, {rates} }}")
    return "\n".join(lines) + "\n"


def _rate_texts(rates: Rates) -> list[tuple[str, str]]:
    given = ((name, getattr(rates, name)) for name in RATE_CLASSES)
    return [(name, f'"{rate:f}"') for name, rate in given if rate is not None]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
