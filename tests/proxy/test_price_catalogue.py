"""OpenRouter's catalogue: read from a fake over HTTP, compared with a book, written to a file."""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import ConfigError
from proxy.cli import main
from proxy.price_catalogue import BadCatalogue, read_page, updated
from proxy.price_update import own_book, update_from, write_book
from proxy.prices import PriceBook, PriceEntry, Rates, parse_book
from tests.fake_answers import Price
from tests.fake_openrouter import PRICES, SONNET, openrouter, openrouter_url
from tests.proxy.served import error_line, unused_address

D = Decimal
URL = "https://openrouter.example/api/v1/models"
DAY = datetime.date(2026, 11, 1)
LATER = datetime.date(2026, 11, 9)


def page(*models: Any, following: str | None = None) -> bytes:
    return json.dumps({"data": list(models), "links": {"next": following}}).encode()


def card(name: str = "a/b", **pricing: Any) -> dict[str, Any]:
    return {"id": name, "pricing": {"prompt": "0.000001", "completion": "0.000002"} | pricing, "new_field": 1}


def read(body: bytes, url: str = URL) -> list[PriceEntry]:
    return list(read_page(body, url, "openrouter", DAY).entries)


# --- a page ------------------------------------------------------------------------------------


def test_prices_are_exact_and_classes_find_their_names() -> None:
    classes = {
        "input_cache_read": "0.0000001",
        "input_cache_write": "0.00000125",
        "internal_reasoning": "0.000003",
    }
    (entry,) = read(page(card(**classes, image="0.5", web_search="0.01", request="0")), URL + "?offset=5")
    assert entry == PriceEntry(
        "openrouter",
        "a/b",
        DAY,
        URL,
        Rates(D("0.000001"), D("0.000002"), D("0.0000001"), D("0.00000125"), D("0.000003")),
    )


def test_zero_is_a_price_but_not_of_what_has_none_of_its_own() -> None:
    (entry,) = read(page(card(prompt="0", completion="0", internal_reasoning="0", input_cache_write="0")))
    assert entry.rates == Rates(D(0), D(0))
    (entry,) = read(page(card(input_cache_read="0")))
    assert entry.rates.cached_input == 0


@pytest.mark.parametrize(
    "model",
    [
        card(prompt="-1"),
        card(completion="-1"),
        card(prompt="abc"),
        card(prompt="7"),
        card(prompt=None),
        card(completion=""),
        card(prompt=0.000001),
        card(input_cache_read="NaN"),
        card(name=""),
        card(name="x" * 257),
        card(name="a\nb"),
        {"id": "a/b"},
    ],
    ids=str,
)
def test_models_without_a_price_that_could_be_paid_are_left_out(model: dict[str, Any]) -> None:
    assert [entry.model for entry in read(page(model, card("c/d")))] == ["c/d"]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"data": 3}', b'{"data": [{}]}', b"\xff", page() + b"x", b'{"data": [1]}']
)
def test_what_is_no_catalogue(body: bytes) -> None:
    with pytest.raises(BadCatalogue):
        read(body)


@pytest.mark.parametrize(
    "following",
    [
        *("http://openrouter.example/api/v1/models?offset=1", "https://evil.example/api/v1/models?offset=1"),
        *("//evil.example/api/v1/models", "/api/v1/keys", "https://openrouter.example:444/api/v1/models"),
        *("file:///etc/passwd", "https://user@openrouter.example/api/v1/models"),
    ],
)
def test_the_next_page_is_at_the_same_place_or_not_followed(following: str) -> None:
    with pytest.raises(BadCatalogue, match="not followed"):
        read(page(card(), following=following))


def test_the_next_page_may_be_relative() -> None:
    found = read_page(page(following="/api/v1/models?offset=500&limit=500"), URL, "openrouter", DAY)
    assert found.next_url == f"{URL}?offset=500&limit=500"
    assert read_page(page(), URL, "openrouter", DAY).next_url is None


@given(st.binary(max_size=300) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: (
    st.lists(x) | st.dictionaries(st.sampled_from(["data", "id", "pricing", "links", "next", "prompt"]), x)
)).map(msgspec.json.encode))  # fmt: skip
def test_whatever_comes_is_a_page_or_a_bad_catalogue(body: bytes) -> None:
    try:
        read(body)
    except BadCatalogue:
        return


# --- what changed ------------------------------------------------------------------------------


def entry(model: str, dollars: str, day: datetime.date = DAY, provider: str = "openrouter") -> PriceEntry:
    return PriceEntry(provider, model, day, "s", Rates(D(dollars), D(dollars)))


def test_only_what_changed_gets_an_entry_and_the_old_ones_stay() -> None:
    book = PriceBook(
        [entry("same", "0.1"), entry("dearer", "0.1"), entry("gone", "0.1"), entry("x", "1", provider="zai")]
    )
    found = updated(
        book, [entry("same", "0.1"), entry("dearer", "0.2"), entry("new", "0.3")], "openrouter", LATER
    )
    assert [(c.kind, c.model) for c in found.changes] == [
        ("changed", "dearer"),
        ("new", "new"),
        ("gone", "gone"),
    ]
    assert found.n_unchanged == 1
    assert [(e.model, e.date, e.rates.input) for e in found.book.entries] == [
        ("dearer", DAY, D("0.1")),
        ("dearer", LATER, D("0.2")),
        ("gone", DAY, D("0.1")),
        ("new", LATER, D("0.3")),
        ("same", DAY, D("0.1")),
        ("x", DAY, D(1)),
    ]


def test_twice_on_a_day_leaves_one_entry_of_that_day() -> None:
    book = updated(PriceBook(), [entry("a", "0.1")], "openrouter", DAY).book
    book = updated(book, [entry("a", "0.2")], "openrouter", DAY).book
    assert [(e.date, e.rates.input) for e in book.entries] == [(DAY, D("0.2"))]
    again = updated(book, [entry("a", "0.2")], "openrouter", DAY)
    assert again.changes == ()
    assert again.book == book


# --- over HTTP ---------------------------------------------------------------------------------

MANY = {f"vendor/model-{n:02}": Price(D(n).scaleb(-8), D(n).scaleb(-7), D(n).scaleb(-9)) for n in range(23)}


@pytest.mark.parametrize("size", [1, 5, 23, 500])
def test_all_pages_of_the_catalogue(size: int) -> None:
    async def main() -> None:
        fake = openrouter(MANY, page=size)
        async with fake.running():
            found = await update_from(openrouter_url(fake), "openrouter", PriceBook(), DAY)
        assert [e.model for e in found.book.entries] == sorted(MANY)
        assert found.book.entries[7].rates.input == D("0.00000007")
        assert all(asked.header("authorization") is None for asked in fake.asked)
        assert len(fake.asked) == -(-23 // size)

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/nowhere", ""])
def test_an_answer_that_is_no_catalogue_changes_nothing(path: str) -> None:
    async def main() -> None:
        fake = openrouter()
        async with fake.running():
            with pytest.raises(ConfigError, match="nothing was changed"):
                await update_from(fake.url + path, "openrouter", PriceBook(), DAY)

    asyncio.run(main())


def test_an_empty_catalogue_is_none() -> None:
    async def main() -> None:
        fake = openrouter({"a": Price(D(5), D(5))})
        async with fake.running():
            with pytest.raises(ConfigError, match="no model with a price"):
                await update_from(openrouter_url(fake), "openrouter", PriceBook(), DAY)

    asyncio.run(main())


def test_nobody_there() -> None:
    with pytest.raises(ConfigError, match="no connection"):
        asyncio.run(update_from(unused_address(), "openrouter", PriceBook(), DAY))


# --- the file and the command --------------------------------------------------------------------


def test_a_book_is_written_whole_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "prices.toml"
    book = PriceBook([entry("a", "0.1")])
    assert own_book(path) == PriceBook()
    write_book(path, book)
    assert own_book(path) == book
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_book_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.mkdir()
    with pytest.raises(ConfigError, match="another place"):
        write_book(path, PriceBook())
    assert list(tmp_path.iterdir()) == [path]


def hotseat(folder: Path, *arguments: str) -> Result:
    environ = {"HOTSEAT_HOME": str(folder / "home"), "HOTSEAT_OFFLINE": None}
    words = ["prices", *arguments, "--config", str(folder / "models.toml")]
    return CliRunner().invoke(main, words, env=environ)


def test_update_shows_what_changed_and_the_list_has_it(tmp_path: Path) -> None:
    fake = openrouter()
    with fake.in_thread():
        config = (
            f'[providers.openrouter]\nbase_url = "{openrouter_url(fake)}"\n[prices]\nbook = "mine.toml"\n'
        )
        (tmp_path / "models.toml").write_text(config)
        missing = hotseat(tmp_path)
        assert "prices update" in error_line(missing)

        tried = hotseat(tmp_path, "update", "--dry-run")
        assert tried.exit_code == 0
        assert f"new      {SONNET}: 3 / 15" in tried.stdout
        assert not (tmp_path / "mine.toml").exists()

        assert hotseat(tmp_path, "update").exit_code == 0
        again = hotseat(tmp_path, "update")
        assert f"0 changes, {len(PRICES)} prices as before" in again.stdout

    listed = hotseat(tmp_path)
    assert SONNET in listed.stdout
    assert "claude-opus-4-7" in listed.stdout  # the shipped one
    rows = json.loads(hotseat(tmp_path, "--json").stdout)
    (sonnet,) = [row for row in rows if row["model"] == SONNET]
    assert sonnet["usd_per_token"]["input"] == "0.000003"
    assert sonnet["source"] == f"{openrouter_url(fake)}/models"


def test_a_change_of_price_keeps_the_old_one_for_its_days(tmp_path: Path) -> None:
    old = datetime.date(2026, 1, 2)
    book = PriceBook([PriceEntry("openrouter", SONNET, old, "s", Rates(D("0.000009"), D("0.00001")))])
    write_book(tmp_path / "home" / "prices.toml", book)
    fake = openrouter()
    with fake.in_thread():
        (tmp_path / "models.toml").write_text(
            f'[providers.openrouter]\nbase_url = "{openrouter_url(fake)}"\n'
        )
        told = hotseat(tmp_path, "update")
    assert f"changed  {SONNET}: 9 / 10 -> 3 / 15" in told.stdout
    kept = parse_book((tmp_path / "home" / "prices.toml").read_text(), "b")
    found = kept.find("openrouter", SONNET, old + datetime.timedelta(days=3))
    assert found is not None
    assert found.rates.input == D("0.000009")


def test_offline_no_socket_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def refuse(_: socket.socket, address: object) -> None:
        opened.append(address)
        raise OSError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    (tmp_path / "models.toml").write_text('[providers.openrouter]\nbase_url = "http://127.0.0.1:9"\n')
    assert "--offline" in error_line(hotseat(tmp_path, "update", "--offline"))
    assert not (tmp_path / "home").exists()
    assert opened == []
    assert "no connection" in error_line(hotseat(tmp_path, "update"))
    assert opened


def test_update_of_a_provider_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text('[providers.openrouter]\nbase_url = "http://127.0.0.1:9"\n')
    assert "did you mean 'openrouter'" in error_line(hotseat(tmp_path, "update", "--provider", "openruter"))
