"""Where a ledger is. Apart from what reads models.toml: the process that writes rows needs no more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_RETENTION_S = 400 * 86400.0
"""A year can still be compared with the one before it."""


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """One of `path`, a file of SQLite, and `url`. Names of journal files begin with `journal`."""

    path: Path | None
    journal: Path
    url: str | None = None
    retention_s: float | None = DEFAULT_RETENTION_S

    @property
    def place(self) -> str:
        """Where the rows are, for people."""
        return str(self.path) if self.path is not None else str(self.url)


def sqlite_ledger(path: Path, retention_s: float | None = DEFAULT_RETENTION_S) -> LedgerConfig:
    return LedgerConfig(path=path, journal=path.with_name(f"{path.name}.journal"), retention_s=retention_s)
