"""OpenRouter's catalogue of models as a price book, and what changed since the last one. Pure.

A page is `{"data": [{"id", "pricing": {…}}, …], "links": {"next": …}}`; prices are text, USD for one token.
A model whose price is not fixed ("-1", as of routers that choose another model) has no entry.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import msgspec

from proxy.prices import PriceBook, PriceEntry, Rates, read_rate

MAX_PAGES = 100
MAX_MODELS = 20_000
MAX_NAME_CHARS = 256

_CLASSES = {
    "input": "prompt",
    "output": "completion",
    "cached_input": "input_cache_read",
    "cache_write": "input_cache_write",
    "reasoning": "internal_reasoning",
}
_ZERO_IS_NONE = frozenset({"cache_write", "reasoning"})
"""Where the catalogue says 0 for what is not billed by itself: reasoning is in the completion's price."""


class BadCatalogue(Exception):
    """What came is no catalogue; the message says in what."""


class _Links(msgspec.Struct):
    next: str | None = None


class _Model(msgspec.Struct):
    id: str
    pricing: dict[str, Any] = {}


class _Page(msgspec.Struct):
    data: list[_Model]
    links: _Links = msgspec.field(default_factory=_Links)


@dataclass(frozen=True, slots=True)
class Page:
    """`next_url` None: the last one."""

    entries: tuple[PriceEntry, ...]
    next_url: str | None


def read_page(body: bytes, url: str, provider: str, day: datetime.date) -> Page:
    """`url`: where the page was. The next one must be at the same place. Raises BadCatalogue."""
    try:
        page = msgspec.json.decode(body, type=_Page)
    except msgspec.MsgspecError as error:
        raise BadCatalogue(f"the catalogue is not as documented: {error}") from error
    found = (_entry(model, url, provider, day) for model in page.data)
    return Page(tuple(entry for entry in found if entry is not None), _next_url(page.links.next, url))


def _entry(model: _Model, url: str, provider: str, day: datetime.date) -> PriceEntry | None:
    """None: it has no price that could be paid, or a name that could not be asked for."""
    if not 0 < len(model.id) <= MAX_NAME_CHARS or not model.id.isprintable():
        return None
    rates = {}
    for name, theirs in _CLASSES.items():
        value = model.pricing.get(theirs)
        if value is None or value == "":
            continue
        try:
            rate = read_rate(value if isinstance(value, str) else None)
        except ValueError:
            return None
        if rate or name not in _ZERO_IS_NONE:
            rates[name] = rate
    if "input" not in rates or "output" not in rates:
        return None
    return PriceEntry(provider, model.id, day, urlsplit(url)._replace(query="").geturl(), Rates(**rates))


def _next_url(link: str | None, url: str) -> str | None:
    if not link:
        return None
    following, here = urljoin(url, link), urlsplit(url)
    parts = urlsplit(following)
    if (parts.scheme, parts.netloc, parts.path) != (here.scheme, here.netloc, here.path):
        raise BadCatalogue("the catalogue's next page is at another address: not followed")
    return following


# --- what changed --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """Of one model. `was` None: it is new; `now` None: it is no longer offered, and keeps its last price."""

    kind: Literal["new", "changed", "gone"]
    model: str
    was: Rates | None
    now: Rates | None


@dataclass(frozen=True, slots=True)
class Update:
    book: PriceBook
    changes: tuple[Change, ...]
    n_unchanged: int


def updated(book: PriceBook, catalogue: Iterable[PriceEntry], provider: str, day: datetime.date) -> Update:
    """`book` with an entry of `day` for every price of `provider` that is new. Older entries stay: they are
    what requests of their days cost."""
    offered = {entry.model: entry for entry in catalogue}
    known = {entry.model: entry for entry in book.entries if entry.provider == provider}  # the newest each
    changes = []
    for model, entry in sorted(offered.items()):
        was = known.get(model)
        if was is None:
            changes.append(Change("new", model, None, entry.rates))
        elif was.rates != entry.rates or was.long_prompt is not None:
            changes.append(Change("changed", model, was.rates, entry.rates))
    changes += [Change("gone", m, known[m].rates, None) for m in sorted(set(known) - set(offered))]
    fresh = [replace(offered[change.model], date=day) for change in changes if change.now is not None]
    names = {entry.model for entry in fresh}
    kept = [e for e in book.entries if not (e.provider == provider and e.date == day and e.model in names)]
    return Update(PriceBook([*kept, *fresh]), tuple(changes), len(offered) - len(fresh))
