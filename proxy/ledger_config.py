"""What models.toml says of the ledger: [ledger]. Where rows are kept, and for how long."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Protocol
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from inference.errors import ConfigError
from proxy.config_section import Section
from proxy.ledger_place import DEFAULT_RETENTION_S, LedgerConfig, sqlite_ledger
from proxy.model_files import expand_home
from proxy.units import parse_duration_s

FILE_NAME = "ledger.sqlite3"
_PASSWORD_PARAMETERS = frozenset({"password", "passfile", "sslpassword"})


def _url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme != "postgresql":
        raise ValueError('expected "postgresql://user@host/database"; for a file of SQLite use path')
    parameters = {name.lower() for name, _ in parse_qsl(url.query)}
    if url.password is not None or parameters & _PASSWORD_PARAMETERS:
        raise ValueError("expected an address without a password: put that into PGPASSWORD or ~/.pgpass")
    if not url.path.strip("/") or re.search(r"[^\x21-\x7e]", value):
        raise ValueError('expected the name of a database after the host: "postgresql://user@host/database"')
    return value


def _retention(value: object) -> object:
    return None if value == "never" else parse_duration_s(value)


class LedgerSection(Section):
    """One of `path` and `url`, or neither. `retention` None: rows are never deleted."""

    enabled: bool = True
    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    url: Annotated[str, Field(max_length=4096), AfterValidator(_url)] | None = None
    retention: Annotated[Annotated[float, Field(ge=3600)] | None, BeforeValidator(_retention)] = (
        DEFAULT_RETENTION_S
    )


class OnKey(Protocol):
    """Makes the error about one key of the file."""

    def __call__(self, key: tuple[str, ...], message: str) -> ConfigError: ...


def ledger_config(
    section: LedgerSection, home: Path, folder: Path, environ: Mapping[str, str], error: OnKey
) -> LedgerConfig | None:
    """None: no ledger is kept. `home`: Hotseat's; `folder`: that of models.toml. Raises ConfigError."""
    if section.path is not None and section.url is not None:
        raise error(("ledger",), "expected one of path and url, found both: keep one")
    if not section.enabled:
        return None
    if section.url is not None:
        digest = hashlib.sha256(section.url.encode()).hexdigest()[:8]
        journal = home / f"ledger-{digest}.journal"
        return LedgerConfig(None, journal, section.url, section.retention)
    path = home / FILE_NAME
    if section.path is not None:
        path = (folder / expand_home(section.path, environ)).absolute()
    return sqlite_ledger(path, section.retention)
