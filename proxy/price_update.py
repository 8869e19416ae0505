"""Bring the user's price book up to date from a provider's catalogue. One GET for each page, no key: the
catalogue is public."""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
from pathlib import Path

from inference.errors import ConfigError
from proxy.money_config import read_book
from proxy.price_catalogue import MAX_MODELS, MAX_PAGES, BadCatalogue, Update, read_page, updated
from proxy.prices import PriceBook, PriceEntry, book_text
from proxy.upstream_errors import UpstreamError
from proxy.upstreams.http_client import Deadlines, HttpClient

DEADLINES = Deadlines(connect_s=10.0, first_byte_s=30.0, idle_s=30.0)
MAX_PAGE_BYTES = 32 * 2**20
HEAD = (
    "Prices from a provider's catalogue, USD for one token: written by `hotseat prices update`, and yours\n"
    "to edit. An entry holds from its date until the next one of the same model."
)


async def update_from(base_url: str, provider: str, book: PriceBook, day: datetime.date) -> Update:
    """What the book of `day` is. Raises ConfigError for a catalogue that cannot be had."""
    try:
        async with HttpClient(keep_connections=True) as http:
            entries = await _catalogue(http, f"{base_url.rstrip('/')}/models", provider, day)
    except (BadCatalogue, UpstreamError) as error:
        raise ConfigError(f"{provider}: {error}: nothing was changed; try again later") from error
    if not entries:
        raise ConfigError(f"{provider}: its catalogue has no model with a price: nothing was changed")
    return updated(book, entries, provider, day)


async def _catalogue(http: HttpClient, url: str, provider: str, day: datetime.date) -> list[PriceEntry]:
    entries: list[PriceEntry] = []
    following: str | None = url
    for _ in range(MAX_PAGES):
        if following is None:
            return entries
        async with http.get(following, DEADLINES) as answer:
            if answer.status != 200:
                raise BadCatalogue(f"its catalogue answered with status {answer.status}")
            page = read_page(await answer.read(MAX_PAGE_BYTES), following, provider, day)
        entries += page.entries
        following = page.next_url
        if len(entries) > MAX_MODELS:
            raise BadCatalogue(f"its catalogue has more than {MAX_MODELS} models")
    raise BadCatalogue(f"its catalogue has more than {MAX_PAGES} pages")


def own_book(path: Path) -> PriceBook:
    """That of the user; empty where there is none yet. Raises ConfigError."""
    return read_book(path) if path.exists() else PriceBook()


def write_book(path: Path, book: PriceBook) -> None:
    """Whole or not at all: a reader sees the old book or the new one. Raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(book_text(book, HEAD))
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: name another place with [prices] book") from error
