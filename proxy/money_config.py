"""What models.toml says of money and of who may spend it: [keys], [budgets], [energy], [prices].

A key comes from the environment or from a file that nobody else may read, and is gone when this is done:
what is kept is its SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, BeforeValidator, Field

from inference.errors import ConfigError
from proxy.callers import Budget, Caller, ScopedKey
from proxy.config_section import EnvName, Section, matches
from proxy.model_files import expand_home, state_home
from proxy.prices import MAX_BOOK_BYTES, PriceBook, parse_book
from proxy.rates import Rate, parse_rate

SHIPPED_BOOK = Path(__file__).with_name("prices.toml")
MAX_KEYS = 1000
MIN_KEY_CHARS, MAX_KEY_CHARS = 16, 1000
DEFAULT_RESERVE_USD = Decimal(1)

_USD = re.compile(r"\d{1,9}(\.\d{1,12})?")


def _usd(value: object) -> Decimal:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if _USD.fullmatch(text) is None:
        raise ValueError('expected US dollars in quotes, as in "5.00"')
    return Decimal(text)


def _positive(value: Decimal) -> Decimal:
    if value == 0:
        raise ValueError("expected more than 0")
    return value


Usd = Annotated[Decimal, BeforeValidator(_usd)]
PositiveUsd = Annotated[Decimal, BeforeValidator(_usd), AfterValidator(_positive)]
ModelPattern = Annotated[
    str, matches(r"[A-Za-z0-9._:+@/*-]{1,128}", 'a model\'s name, in which "*" stands for any text')
]
Text = Annotated[str, Field(min_length=1, max_length=4096)]

# --- sections ----------------------------------------------------------------------------------


class BudgetSection(Section):
    usd: Usd
    per: Literal["day", "total"]


class KeySection(Section):
    """One of `env` and `file`. `models` None: any."""

    env: EnvName | None = None
    file: Text | None = None
    models: Annotated[list[ModelPattern], Field(min_length=1, max_length=1000)] | None = None
    budget: BudgetSection | None = None
    rate: Annotated[Rate, BeforeValidator(parse_rate)] | None = None
    admin: bool = False


class BudgetsSection(Section):
    usd_per_day: Usd | None = None
    reserve_usd: PositiveUsd | None = None


class EnergySection(Section):
    usd_per_kwh: Usd | None = None


class PricesSection(Section):
    book: Text | None = None


class MoneySections(Protocol):
    """The part of the file's sections that is read here."""

    @property
    def keys(self) -> Mapping[str, KeySection]: ...
    @property
    def budgets(self) -> BudgetsSection: ...
    @property
    def energy(self) -> EnergySection: ...
    @property
    def prices(self) -> PricesSection: ...


# --- what becomes of them ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MoneyConfig:
    """`usd_per_day` None: no limit for all callers together. `reserve_usd`: held for a request to a provider
    whose price is not known. `usd_per_kwh` None: local answers cost nothing, and the ledger says so."""

    keys: tuple[ScopedKey, ...] = field(default=(), repr=False)
    usd_per_day: Decimal | None = None
    reserve_usd: Decimal = DEFAULT_RESERVE_USD
    usd_per_kwh: Decimal | None = None
    book: PriceBook = field(default_factory=PriceBook, repr=False)


class OnKey(Protocol):
    """Makes the error about one key of the file."""

    def __call__(self, key: tuple[str, ...], message: str) -> ConfigError: ...


def money_config(
    sections: MoneySections,
    folder: Path,
    environ: Mapping[str, str],
    error: OnKey,
    plain_keys: Iterable[str],
) -> MoneyConfig:
    """`folder`: that of models.toml. `plain_keys`: those of server.api_keys_env. Raises ConfigError."""
    budgets = sections.budgets
    return MoneyConfig(
        keys=_keys(sections.keys, folder, environ, error, plain_keys),
        usd_per_day=budgets.usd_per_day,
        reserve_usd=budgets.reserve_usd or DEFAULT_RESERVE_USD,
        usd_per_kwh=sections.energy.usd_per_kwh,
        book=_book(sections.prices, folder, environ, error),
    )


def _keys(
    sections: Mapping[str, KeySection],
    folder: Path,
    environ: Mapping[str, str],
    error: OnKey,
    plain_keys: Iterable[str],
) -> tuple[ScopedKey, ...]:
    if len(sections) > MAX_KEYS:
        raise error(("keys",), f"expected at most {MAX_KEYS} keys, found {len(sections)}: remove some")
    owners = {digest_of(key.encode()): "a key of server.api_keys_env" for key in plain_keys}
    keys = []
    for name, section in sections.items():
        place = ("keys", name)
        digest = digest_of(_key_text(section, folder, environ, place, error).encode())
        if digest in owners:
            raise error(place, f"has the same value as {owners[digest]}: make another one")
        owners[digest] = f"keys.{name}"
        keys.append(ScopedKey(_caller(name, section), digest))
    return tuple(keys)


def _caller(name: str, section: KeySection) -> Caller:
    budget = section.budget
    return Caller(
        name=name,
        models=None if section.models is None else tuple(section.models),
        budget=None if budget is None else Budget(budget.usd, budget.per),
        rate=section.rate,
        is_admin=section.admin,
    )


def digest_of(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _key_text(
    section: KeySection, folder: Path, environ: Mapping[str, str], place: tuple[str, ...], error: OnKey
) -> str:
    """The value is in no message, and neither is the path: a key may have been pasted there."""
    if (section.env is None) == (section.file is None):
        found = "both" if section.env else "neither"
        raise error(place, f"expected one of env and file, found {found}: keep one")
    if section.env is not None:
        where, key = (*place, "env"), environ.get(section.env, "").strip()
        if not key:
            raise error(where, f"the environment variable {section.env} is not set: export it")
    else:
        where = (*place, "file")
        path = folder / expand_home(section.file or "", environ)
        try:
            key = read_secret(path)
        except (OSError, ValueError) as failure:
            reason = failure.strerror if isinstance(failure, OSError) else failure
            raise error(where, f"the key cannot be read: {reason}") from failure
    if not MIN_KEY_CHARS <= len(key) <= MAX_KEY_CHARS or re.search(r"[^\x21-\x7e]", key):
        raise error(
            where,
            f"expected a key of {MIN_KEY_CHARS} to {MAX_KEY_CHARS} printable ASCII characters without blanks:"
            " make one with `openssl rand -hex 24`",
        )
    return key


def read_secret(path: Path) -> str:
    """The text of a file that only its owner can read, without surrounding blanks. What is looked at is the
    open file: it cannot be exchanged in between. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file: name one")
        if status.st_mode & 0o077:
            raise ValueError(
                f"others may use the file (mode {stat.S_IMODE(status.st_mode):04o}): run chmod 600 on it"
            )
        data = file.read(4 * MAX_KEY_CHARS)
    return data.decode("ascii", "replace").strip()


# --- the price book ------------------------------------------------------------------------------


def user_book(section: PricesSection, folder: Path, environ: Mapping[str, str]) -> Path:
    """Where the user's own book is, or would be."""
    if section.book is not None:
        return (folder / expand_home(section.book, environ)).absolute()
    return state_home(environ) / "prices.toml"


def _book(section: PricesSection, folder: Path, environ: Mapping[str, str], error: OnKey) -> PriceBook:
    path = user_book(section, folder, environ)
    shipped = read_book(SHIPPED_BOOK)
    if path.exists():
        return shipped.under(read_book(path))
    if section.book is not None:
        remedy = "correct the path, or write it with `hotseat prices update`"
        raise error(("prices", "book"), f"{path} does not exist: {remedy}")
    return shipped


def read_book(path: Path) -> PriceBook:
    """Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BOOK_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: correct [prices] book") from error
    if len(data) > MAX_BOOK_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BOOK_BYTES} bytes: is this a price book?")
    try:
        return parse_book(data.decode(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from error
