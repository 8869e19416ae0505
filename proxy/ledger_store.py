"""One database of the ledger: opened and migrated, written by one connection, read by others.

SQLite: WAL, so that readers never wait for the writer; synchronous=NORMAL, so that a commit does not wait
for the disk (docs/limits.md says what a loss of power may cost). The file is its owner's alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, delete, event, func, select, tuple_
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from inference.errors import ConfigError
from proxy.ledger_journal import FILE_MODE, FOLDER_MODE
from proxy.ledger_place import LedgerConfig
from proxy.ledger_rows import Row
from proxy.ledger_schema import ATTEMPTS, MIGRATIONS, MONEY_COLUMNS, Migration, migrate, money_text

BUSY_S = 5.0
"""How long a write waits for another process at the same file, and a connection for its server."""

BUSY_AGAIN_S = 0.02

EXPIRED_AT_ONCE = 5000

READERS = 3
_PROGRESS_OPCODES = 10_000  # of SQLite's machine, between two looks at the clock: about 0.1 ms

EXACT = Context(prec=100, traps=[Inexact])
"""Of sums: one that would have to be rounded is refused."""

StoreError = (SQLAlchemyError, OSError, sqlite3.Error)
"""What a database that cannot be used raises."""


class Store:
    """`write` and `expire` are for one thread; `reading` for up to READERS others."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer = writer
        self._reader = reader
        self._insert = _compiled_insert(writer.dialect)

    def write(self, rows: Sequence[Row], server: str = "") -> None:
        """One commit. A row that is there already stays as it is. `server`: whose requests they are; "": of
        one that is no more."""
        if not rows:
            return
        with self._writer.begin() as connection:
            values = [self._insert.values(row, server) for row in rows]
            connection.exec_driver_sql(self._insert.sql, values)

    def write_what_it_takes(self, rows: Sequence[Row], server: str = "") -> list[tuple[Row, Exception]]:
        """Those that it refuses, for what is in them. Raises one of StoreError where it takes nothing now."""
        try:
            self.write(rows, server)
        except Exception as error:
            if not is_about_values(error):
                raise
            if len(rows) == 1:
                return [(rows[0], error)]
            return [refused for row in rows for refused in self.write_what_it_takes([row], server)]
        return []

    def known(self, rows: Iterable[Row]) -> set[tuple[str, int]]:
        """Which of them are there already. A few hundred at most."""
        keys = [(row.request_id, row.attempt) for row in rows]
        if not keys:
            return set()
        identity = (ATTEMPTS.c.request_id, ATTEMPTS.c.attempt)
        with self._writer.begin() as connection:
            found = connection.execute(select(*identity).where(tuple_(*identity).in_(keys)))
            return {(request_id, attempt) for request_id, attempt in found}

    def expire(self, before: float) -> int:
        """Delete what ended before then, some thousand rows at once; how many those were."""
        identity = (ATTEMPTS.c.request_id, ATTEMPTS.c.attempt)
        old = select(*identity).where(ATTEMPTS.c.ended_at < before).limit(EXPIRED_AT_ONCE)
        with self._writer.begin() as connection:
            return connection.execute(delete(ATTEMPTS).where(tuple_(*identity).in_(old))).rowcount

    @contextlib.contextmanager
    def reading(self, limit_s: float) -> Generator[Connection]:
        """What takes longer than `limit_s` ends with an OperationalError."""
        with self._reader.begin() as connection, _bounded(connection, limit_s):
            yield connection

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()


def open_store(config: LedgerConfig, *, migrations: tuple[Migration, ...] = MIGRATIONS) -> Store:
    """Made where there is none yet. Raises ConfigError for one that this Hotseat cannot use, and one of
    StoreError where the disk or the server are in the way."""
    if config.path is not None:
        _make_file(config.path)
        writer, reader = _sqlite_engines(config.path)
    else:
        writer, reader = _postgresql_engines(str(config.url))
    try:
        with writer.begin() as connection:
            migrate(connection, config.place, migrations)
    except BaseException:
        writer.dispose()
        raise
    return Store(writer, reader)


def cause_of(error: BaseException) -> str:
    """In one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def is_about_values(error: BaseException) -> bool:
    """Whether the database refuses what is written, and not to be written to: trying again is vain."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return False
    return (
        not isinstance(error, OperationalError | InternalError | OSError) and type(error) is not DatabaseError
    )


@dataclass(frozen=True, slots=True)
class _Insert:
    """As the driver takes it: SQLAlchemy's own way from a row to its parameters costs twice what the
    database does. The server is the last column."""

    sql: str
    columns: Callable[[Row], tuple[Any, ...]]
    money: tuple[int, ...]  # places of what the driver cannot take as a decimal

    def values(self, row: Row, server: str) -> tuple[Any, ...]:
        values = self.columns(row)
        if any(values[place] is not None for place in self.money):
            written = list(values)
            for place in self.money:
                written[place] = money_text(values[place])
            values = tuple(written)
        return (*values, server)


def _compiled_insert(dialect: Dialect) -> _Insert:
    insert: Any = importlib.import_module(f"sqlalchemy.dialects.{dialect.name}").insert
    compiled = insert(ATTEMPTS).on_conflict_do_nothing().compile(dialect=dialect)
    *names, server = compiled.positiontup
    assert server == "server"
    money = MONEY_COLUMNS if dialect.name == "sqlite" else ()
    return _Insert(str(compiled), attrgetter(*names), tuple(names.index(name) for name in money))


# --- SQLite --------------------------------------------------------------------------------------


def _make_file(path: Path) -> None:
    """SQLite gives its other files the mode of this one."""
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))


def _sqlite_engines(path: Path) -> tuple[Engine, Engine]:
    url = URL.create("sqlite", database=str(path))
    options: dict[str, Any] = {
        "poolclass": QueuePool,
        "max_overflow": 0,
        "connect_args": {"timeout": BUSY_S, "check_same_thread": False},
    }
    writer = create_engine(url, pool_size=1, **options)
    reader = create_engine(url, pool_size=READERS, **options)
    # A transaction that reads first and then writes would fail at once if another server wrote between.
    for engine, begin in ((writer, "BEGIN IMMEDIATE"), (reader, "BEGIN")):
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", lambda connection, begin=begin: connection.exec_driver_sql(begin))
    return writer, reader


def _keep_a_log_ahead(connection: sqlite3.Connection) -> None:
    """WAL. Where several servers begin a file at once SQLite does not wait for the one that changes its mode:
    its time limit is for transactions."""
    due_s = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > due_s:
                raise
            time.sleep(BUSY_AGAIN_S)
        else:
            return


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin by the engine's "begin", DDL in them too
    _keep_a_log_ahead(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]


class _ExactSum:
    """Of decimals in text."""

    def __init__(self) -> None:
        self._sum: Decimal | None = None

    def step(self, value: str | None) -> None:
        if value is not None:
            self._sum = EXACT.add(self._sum or Decimal(0), Decimal(value))

    def finalize(self) -> str | None:
        return None if self._sum is None else format(self._sum, "f")


@contextlib.contextmanager
def _bounded(connection: Connection, limit_s: float) -> Generator[None]:
    if connection.dialect.name != "sqlite":
        connection.execute(select(func.set_config("statement_timeout", str(int(limit_s * 1000)), True)))
        yield
        return
    raw: Any = connection.connection.dbapi_connection
    ends_at_s = time.monotonic() + limit_s
    raw.set_progress_handler(lambda: time.monotonic() > ends_at_s, _PROGRESS_OPCODES)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


# --- PostgreSQL ----------------------------------------------------------------------------------


def _postgresql_engines(address: str) -> tuple[Engine, Engine]:
    """Passwords come from PGPASSWORD or ~/.pgpass, by libpq."""
    url = make_url(address).set(drivername="postgresql+psycopg")
    options: dict[str, Any] = {
        "max_overflow": 0,
        "pool_pre_ping": True,
        "paramstyle": "format",
        "connect_args": {"connect_timeout": int(BUSY_S), "application_name": "hotseat"},
    }
    try:
        return create_engine(url, pool_size=1, **options), create_engine(url, pool_size=READERS, **options)
    except ModuleNotFoundError as error:
        remedy = "`pip install 'hotseat[postgres]'` does, or keep the ledger in a file: [ledger] path"
        raise ConfigError(f"[ledger] url needs the driver {error.name}, install it: {remedy}") from error
