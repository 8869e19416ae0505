"""The ledger's table, and how an older one becomes today's. Forward only; one version number.

Money is kept as decimal text, and as NUMERIC where a database has it: a provider says what a request cost
with as many digits as it likes, and integers of any unit would round some of them. Sums are of decimals
(`exact_sum`), so they agree to the last digit; SQLite's own SUM() would add floats.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    NUMERIC,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Double,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    types,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from inference.errors import ConfigError

MIGRATION_LOCK = 0x486F7473656174
"""Of PostgreSQL: two servers that start at once do not migrate at once."""


class Money(TypeDecorator[Decimal]):
    """A decimal with all its digits."""

    impl = types.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(types.Text())
        return dialect.type_descriptor(NUMERIC())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return money_text(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def money_text(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


class exact_sum(GenericFunction[Decimal]):  # noqa: N801  (the name of an SQL function)
    """The sum of a Money column; None where nothing is added. In SQLite it is registered by ledger_store."""

    type = Money()
    inherit_cache = True


@compiles(exact_sum, "postgresql")
def _sum_numeric(element: exact_sum, compiler: SQLCompiler, **kw: Any) -> str:
    return f"sum({compiler.process(element.clauses, **kw)})"


ATTEMPTS = Table(
    "attempts",
    MetaData(),
    Column("request_id", Text, primary_key=True),
    Column("attempt", BigInteger, primary_key=True),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("day", Text, nullable=False),
    *(
        Column(name, Text, nullable=False)
        for name in (
            *("run", "node", "parent_node", "role", "harness", "key", "dialect", "requested_model"),
            *("model", "upstream"),
        )
    ),
    Column("stream", Boolean, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("code", Text, nullable=False),
    Column("fault", Text),
    Column("finish_reason", Text, nullable=False),
    Column("queue_s", Double, nullable=False),
    Column("load_s", Double, nullable=False),
    Column("ttft_s", Double),
    Column("decode_s", Double, nullable=False),
    Column("total_s", Double, nullable=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in (
            *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
            *("decode_tokens", "tool_calls"),
        )
    ),
    Column("reported_cost_usd", Money),
    Column("cost_usd", Money),
    Column("price_source", Text, nullable=False),
    Column("energy_j", Double),
    Column("system_sha", Text, nullable=False),
    Column("tools_sha", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("answer_sha", Text, nullable=False),
    Column("reused_tokens", BigInteger),
    Column("first_difference", BigInteger),
    Column("culprit", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("assumed_usd", Money),
    Column("server", Text, nullable=False),
)
"""As today's version has it. The rows of ledger_rows.Row, column by column, and by which server each was
written; "": read from the journal of one that died."""

MONEY_COLUMNS = ("reported_cost_usd", "cost_usd", "assumed_usd")

_VERSION_1 = (
    """CREATE TABLE attempts (
    request_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    started_at {double} NOT NULL,
    ended_at {double} NOT NULL,
    day TEXT NOT NULL,
    run TEXT NOT NULL,
    node TEXT NOT NULL,
    parent_node TEXT NOT NULL,
    role TEXT NOT NULL,
    harness TEXT NOT NULL,
    key TEXT NOT NULL,
    dialect TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    stream BOOLEAN NOT NULL,
    status BIGINT NOT NULL,
    code TEXT NOT NULL,
    fault TEXT,
    finish_reason TEXT NOT NULL,
    queue_s {double} NOT NULL,
    load_s {double} NOT NULL,
    ttft_s {double},
    decode_s {double} NOT NULL,
    total_s {double} NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    decode_tokens BIGINT NOT NULL,
    tool_calls BIGINT NOT NULL,
    reported_cost_usd {money},
    cost_usd {money},
    price_source TEXT NOT NULL,
    energy_j {double},
    system_sha TEXT NOT NULL,
    tools_sha TEXT NOT NULL,
    policy TEXT NOT NULL,
    answer_sha TEXT NOT NULL,
    reused_tokens BIGINT,
    first_difference BIGINT,
    culprit TEXT NOT NULL,
    PRIMARY KEY (request_id, attempt)
)""",
    "CREATE INDEX attempts_ended_at ON attempts (ended_at)",
    "CREATE INDEX attempts_run ON attempts (run, ended_at)",
    "CREATE INDEX attempts_paid ON attempts (started_at, key, cost_usd) WHERE {paid}",
)

_VERSION_2 = (
    "ALTER TABLE attempts ADD COLUMN payer TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempts ADD COLUMN assumed_usd {money}",
    "ALTER TABLE attempts ADD COLUMN server TEXT NOT NULL DEFAULT ''",
    "UPDATE attempts SET payer = key",
    "DROP INDEX attempts_paid",
    """CREATE INDEX attempts_charged ON attempts (started_at, payer, server, cost_usd, assumed_usd)
    WHERE {charged}""",
)
"""Whose budget a row is charged to, with how much where its cost is not known, and which server wrote it."""

Migration = tuple[str, ...]
"""Statements that lead from one version to the next. {double} and {money} are types, {paid} and {charged}
conditions."""

MIGRATIONS: tuple[Migration, ...] = (_VERSION_1, _VERSION_2)
"""The version is how many of them were carried out. What was released is never changed, only followed."""

_WORDS = {
    "sqlite": {
        "double": "REAL",
        "money": "TEXT",
        "paid": "cost_usd <> '0' AND price_source <> 'replay'",
        "charged": "(cost_usd <> '0' OR assumed_usd IS NOT NULL) AND price_source <> 'replay'",
    },
    "postgresql": {
        "double": "DOUBLE PRECISION",
        "money": "NUMERIC",
        "paid": "cost_usd <> 0 AND price_source <> 'replay'",
        "charged": "(cost_usd <> 0 OR assumed_usd IS NOT NULL) AND price_source <> 'replay'",
    },
}


def charged(dialect: str) -> str:
    """The condition of the index of what budgets are charged with: a query must say it literally to use
    that."""
    return _WORDS[dialect]["charged"]


class LedgerVersionError(ConfigError):
    """The ledger was written by a later Hotseat."""


def migrate(connection: Connection, place: str, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Bring the ledger to today's version, in the transaction of `connection`. Raises LedgerVersionError."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS ledger_version (version BIGINT NOT NULL)")
    version = connection.exec_driver_sql("SELECT max(version) FROM ledger_version").scalar() or 0
    if version > len(migrations):
        raise LedgerVersionError(
            f"the ledger {place} has version {version}, this Hotseat knows {len(migrations)}: "
            "use the Hotseat that wrote it or a later one, or name another ledger in [ledger]"
        )
    if version == len(migrations):
        return
    for statements in migrations[version:]:
        for statement in statements:
            connection.exec_driver_sql(statement.format(**_WORDS[dialect]))
    connection.exec_driver_sql("DELETE FROM ledger_version")
    connection.exec_driver_sql(f"INSERT INTO ledger_version VALUES ({len(migrations)})")
