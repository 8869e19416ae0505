"""The price book and the cost of a request: exact, dated, and unknown where it is not known."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import ConfigError
from proxy.money_config import SHIPPED_BOOK, read_book
from proxy.prices import (
    LongPrompt,
    PriceBook,
    PriceEntry,
    Rates,
    attempt_price,
    book_text,
    local_price,
    most_usd,
    parse_book,
    price_record,
    token_cost,
)

DAY = datetime.date(2026, 11, 1)
NOON = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC).timestamp()
D = Decimal


@dataclass
class Record:
    upstream: str = "far"
    model: str = "big"
    started_at: float = NOON
    status: int = 200
    ttft_s: float | None = 0.5
    attempt: int = 1
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    reported_cost_usd: Decimal | None = None
    is_uncounted: bool = False
    energy_j: float | None = None
    cost_usd: Decimal | None = None
    price_source: str = ""


def entry(day: datetime.date = DAY, model: str = "big", **rates: Decimal) -> PriceEntry:
    given_rates = {"input": D("0.000005"), "output": D("0.000025"), **rates}
    return PriceEntry("far", model, day, "https://far.example/pricing", Rates(**given_rates))


BOOK = PriceBook([entry(cached_input=D("0.0000005"), cache_write=D("0.00000625"))])


def priced(record: Record, book: PriceBook = BOOK, usd_per_kwh: Decimal | None = None) -> Record:
    price_record(record, book, usd_per_kwh)
    return record


# --- a request ---------------------------------------------------------------------------------


def test_each_class_at_its_own_rate() -> None:
    inputs = Record(input_tokens=1000, cached_tokens=600, cache_write_tokens=300)
    record = priced(replace(inputs, output_tokens=10, reasoning_tokens=4))
    # 100 plain, 600 cached, 300 written, 10 out
    assert record.cost_usd == D("0.0005") + D("0.0003") + D("0.001875") + D("0.00025")
    assert record.price_source == "book:2026-11-01"


def test_what_the_provider_says_wins_and_is_kept_beside() -> None:
    record = priced(Record(input_tokens=10, output_tokens=1, reported_cost_usd=D("0.00012345678901234567")))
    assert record.cost_usd == record.reported_cost_usd == D("0.00012345678901234567")
    assert record.price_source == "provider"


@pytest.mark.parametrize("said", ["NaN", "sNaN", "Infinity", "-1", "1E+400", "1E-999999999"])
def test_what_nobody_can_charge_is_not_believed(said: str) -> None:
    """A budget that has spent NaN refuses every request from then on, one that has spent -1 grows."""
    record = priced(Record(input_tokens=1000, output_tokens=1, reported_cost_usd=D(said)))
    assert (record.cost_usd, record.price_source) == (D("0.005025"), "book:2026-11-01")
    assert priced(Record(input_tokens=10, reported_cost_usd=D(said)), PriceBook()).cost_usd is None


def test_a_reported_zero_is_a_report() -> None:
    assert priced(Record(input_tokens=10, reported_cost_usd=D(0))).price_source == "provider"


@pytest.mark.parametrize(
    ("record", "book"),
    [
        (Record(input_tokens=10, output_tokens=1), PriceBook()),
        (Record(model="other", input_tokens=10, output_tokens=1), BOOK),
        (Record(upstream="other", input_tokens=10, output_tokens=1), BOOK),
        (Record(started_at=NOON - 86400, input_tokens=10, output_tokens=1), BOOK),
        (Record(input_tokens=10, cached_tokens=1, output_tokens=1), PriceBook([entry()])),
        (Record(input_tokens=10, cache_write_tokens=1, output_tokens=1), PriceBook([entry()])),
        (Record(status=499), BOOK),
        (Record(status=499, ttft_s=None), BOOK),
        (Record(status=504, ttft_s=None), BOOK),
        (Record(status=502, ttft_s=0.1), BOOK),
        (Record(status=200), BOOK),
        (Record(status=499, input_tokens=1000, output_tokens=1, is_uncounted=True), BOOK),
        (Record(status=502, ttft_s=None, is_uncounted=True), BOOK),
    ],
    ids=[
        *("empty book", "model", "provider", "before the first entry", "no rate for cached"),
        *("no rate for writes", "left, no usage", "left before the first token", "no answer in time"),
        *("broke off, no usage", "no usage", "left in the middle", "broke off before it began"),
    ],
)
def test_what_is_not_known_is_not_guessed(record: Record, book: PriceBook) -> None:
    priced(record, book)
    assert record.cost_usd is None
    assert record.price_source == "unknown"


@pytest.mark.parametrize("status", [0, 400, 401, 429, 500, 502])
def test_what_a_provider_refused_costs_nothing(status: int) -> None:
    record = priced(Record(status=status, ttft_s=None))
    assert (record.cost_usd, record.price_source) == (D(0), "not answered")


def test_nobody_was_asked() -> None:
    record = priced(Record(attempt=0, status=402, ttft_s=None))
    assert (record.cost_usd, record.price_source) == (None, "")


def test_reasoning_has_a_rate_of_its_own_where_the_book_says_so() -> None:
    book = PriceBook([entry(reasoning=D("0.00003"))])
    assert priced(Record(output_tokens=10, reasoning_tokens=4), book).cost_usd == 6 * D("0.000025") + 4 * D(
        "0.00003"
    )


def test_long_prompts_have_other_rates() -> None:
    long = replace(entry(), long_prompt=LongPrompt(1000, Rates(D("0.00001"), D("0.00004"))))
    book = PriceBook([long])
    assert priced(Record(input_tokens=1000, output_tokens=1), book).cost_usd == D("0.005025")
    assert priced(Record(input_tokens=1001, output_tokens=1), book).cost_usd == D("0.01005")


def test_the_entry_of_the_day() -> None:
    later = entry(DAY + datetime.timedelta(days=10), input=D("0.000001"))
    book = PriceBook([later, entry()])
    days = [0, 9, 10, 40]
    found = [priced(Record(started_at=NOON + d * 86400, input_tokens=1), book).price_source for d in days]
    assert found == ["book:2026-11-01"] * 2 + ["book:2026-11-11"] * 2


def test_an_own_book_hides_all_the_shipped_prices_of_a_model() -> None:
    own = PriceBook([entry(DAY, input=D("0.5"))])
    shipped = PriceBook([entry(DAY + datetime.timedelta(days=5)), entry(model="other")])
    both = shipped.under(own)
    assert [(e.model, e.rates.input) for e in both.entries] == [("big", D("0.5")), ("other", D("0.000005"))]


# --- this machine ------------------------------------------------------------------------------


def test_local_answers_cost_their_energy() -> None:
    record = priced(Record(upstream="local", energy_j=1800.0), usd_per_kwh=D("0.30"))
    assert record.cost_usd == D("0.00015")  # half a watt-hour
    assert record.price_source == "energy"


@pytest.mark.parametrize(
    ("energy_j", "tariff", "source"),
    [
        (None, D("0.30"), "local: no power reading"),
        (None, None, "local: no power reading"),
        (5.0, None, "local: no tariff"),
    ],
)
def test_local_answers_without_a_reading_or_tariff_say_so(
    energy_j: float | None, tariff: Decimal | None, source: str
) -> None:
    record = priced(Record(upstream="local", energy_j=energy_j), usd_per_kwh=tariff)
    assert (record.cost_usd, record.price_source) == (D(0), source)


@given(st.floats(0, 1e9), st.decimals(0, 10, places=4))
def test_energy_costs_what_it_costs(energy_j: float, usd_per_kwh: Decimal) -> None:
    cost_usd = local_price(energy_j, usd_per_kwh).cost_usd
    assert cost_usd is not None
    exact = Fraction(energy_j) * Fraction(usd_per_kwh) / 3_600_000
    assert abs(Fraction(cost_usd) - exact) <= Fraction(1, 10**12)


# --- exactness ---------------------------------------------------------------------------------

COUNTS = st.integers(0, 10**12)
RATES = st.integers(0, 10**9).map(lambda n: Decimal(n).scaleb(-18))


@given(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS), st.tuples(RATES, RATES, RATES, RATES, RATES))
def test_exact_to_the_last_digit(
    counts: tuple[int, int, int, int, int], rates: tuple[Decimal, Decimal, Decimal, Decimal, Decimal]
) -> None:
    plain, cached, written, spoken, thought = counts
    record = Record(
        input_tokens=plain + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=spoken + thought,
        reasoning_tokens=thought,
    )
    own = Rates(
        input=rates[0], cached_input=rates[1], cache_write=rates[2], output=rates[3], reasoning=rates[4]
    )
    cost_usd = token_cost(own, record)
    assert cost_usd is not None
    assert Fraction(cost_usd) == sum(
        (n * Fraction(rate) for n, rate in zip(counts, rates, strict=True)), Fraction(0)
    )
    most = most_usd(PriceEntry("p", "m", DAY, "s", own), record.input_tokens, record.output_tokens)
    assert most >= cost_usd


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_counts_that_contradict_each_other_never_pay_out(a: int, b: int, c: int, d: int, e: int) -> None:
    record = Record(
        input_tokens=a, cached_tokens=b, cache_write_tokens=c, output_tokens=d, reasoning_tokens=e
    )
    cost_usd = token_cost(BOOK.entries[0].rates, record)
    assert cost_usd is not None
    assert cost_usd >= 0


# --- the book as text --------------------------------------------------------------------------

NAMES = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20).filter(
    str.isprintable
)
OPTIONAL = st.none() | RATES
ALL_RATES = st.builds(
    Rates, input=RATES, output=RATES, cached_input=OPTIONAL, cache_write=OPTIONAL, reasoning=OPTIONAL
)
ENTRIES = st.builds(
    PriceEntry,
    provider=NAMES,
    model=NAMES,
    date=st.dates(datetime.date(2020, 1, 1), datetime.date(2030, 1, 1)),
    source=NAMES,
    rates=ALL_RATES,
    long_prompt=st.none() | st.builds(LongPrompt, st.integers(1, 10**7), ALL_RATES),
)


@given(st.lists(ENTRIES, max_size=5, unique_by=lambda e: (e.provider, e.model, e.date)))
def test_a_book_is_read_as_it_was_written(entries: list[PriceEntry]) -> None:
    book = PriceBook(entries)
    assert parse_book(book_text(book, "two\nlines"), "book.toml") == book


GOOD = """
[[price]]
provider = "p"
model = "m"
date = 2026-11-01
source = "s"
input = "0.000001"
output = 0.000002
"""


def test_numbers_without_quotes_are_exact_too() -> None:
    assert parse_book(GOOD, "b").entries[0].rates == Rates(D("0.000001"), D("0.000002"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[price]", ["not valid TOML"]),
        ("prices = 1", ["prices", "unknown key"]),
        ("price = 1", ["expected [[price]] tables"]),
        ("price = [1]", ["price 1", "expected a [[price]] table"]),
        (GOOD + "inptu = 1", ["price 1", "inptu", "unknown key"]),
        (GOOD.replace("2026-11-01", '"2026-11-01"'), ["price 1", "date"]),
        (GOOD.replace("2026-11-01", "2026-11-01T00:00:00"), ["date"]),
        (GOOD.replace('"0.000001"', '"-1"'), ["price 1: input = -1", "USD for one token"]),
        (GOOD.replace('"0.000001"', '"5"'), ["input = 5", "more than 1 USD"]),
        (GOOD.replace('"0.000001"', '"1e-31"'), ["input", "30 decimal places"]),
        (GOOD.replace('"0.000001"', '"nan"'), ["input"]),
        (GOOD.replace('"0.000001"', "true"), ["input"]),
        (GOOD.replace('input = "0.000001"\n', ""), ["input: missing"]),
        (GOOD.replace('source = "s"\n', ""), ["source", "expected text"]),
        (GOOD.replace('"m"', '"m\\n"'), ["model", "expected text"]),
        (GOOD + GOOD, ["p m has two prices of 2026-11-01"]),
        (GOOD + 'long_prompt = { above_tokens = 0, input = "0", output = "0" }', ["above_tokens"]),
        (GOOD + 'long_prompt = { above_tokens = 1, input = "0" }', ["output: missing"]),
        (GOOD + 'long_prompt = { above_tokens = 1, inptu = "0" }', ["long_prompt.inptu"]),
        (GOOD + "long_prompt = 7", ["above_tokens"]),
    ],
)
def test_wrong_books_are_refused(text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_book(text, "book.toml")
    assert caught.value.message.startswith("book.toml: ")
    for part in expected:
        assert part in caught.value.message


def test_the_shipped_book_is_whole_and_says_where_it_is_from() -> None:
    book = read_book(SHIPPED_BOOK)
    opus = book.find("anthropic", "claude-opus-4-7", DAY)
    assert opus is not None
    tokens = Record(input_tokens=10**6, output_tokens=10**6, reasoning_tokens=10**5)
    assert token_cost(opus.rates, tokens) == 30
    assert all("https://" in e.source for e in book.entries)
    assert all(e.rates.input < e.rates.output for e in book.entries)
    assert all(e.rates.cached_input is None or e.rates.cached_input < e.rates.input for e in book.entries)
    assert len(book.entries) >= 7


def test_an_attempt_that_failed_is_priced_like_a_request() -> None:
    failed = Record(status=502, input_tokens=10, output_tokens=2)
    assert attempt_price(failed, BOOK).cost_usd == D("0.0001")
