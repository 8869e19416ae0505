"""The ledger's database, SQLite and PostgreSQL: versions, exact sums, rows once, readers and the writer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from proxy import ledger_queries
from proxy.ledger_place import LedgerConfig, sqlite_ledger
from proxy.ledger_rows import COLUMNS, Row
from proxy.ledger_schema import MIGRATIONS, LedgerVersionError
from proxy.ledger_store import Store, open_store
from tests.proxy.postgres_server import postgres

VERSION_1 = Path(__file__).parents[1] / "recordings" / "ledger" / "version-1.sql"
READ_S = 20.0


def row(request_id: str, attempt: int = 1, **fields: object) -> Row:
    values: dict[str, object] = {"started_at": 1e9, "ended_at": 1e9 + 1, "day": "2001-09-09", "model": "m"}
    return Row(request_id=request_id, attempt=attempt, **{**values, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def postgres_address() -> Iterator[str]:
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerConfig:
    if request.param == "sqlite":
        return sqlite_ledger(tmp_path / "ledger.sqlite3")
    address = request.getfixturevalue("postgres_address")
    return LedgerConfig(None, tmp_path / "journal", address)


@pytest.fixture
def store(config: LedgerConfig) -> Iterator[Store]:
    opened = open_store(config)
    yield opened
    empty(opened)
    opened.close()


def empty(store: Store) -> None:
    while store.expire(1e15):
        continue


def newest(store: Store, limit: int = 100, run: str | None = None, model: str | None = None) -> list[Row]:
    with store.reading(READ_S) as connection:
        return ledger_queries.newest(connection, limit, run, model)


def test_a_row_comes_back_as_it_was(store: Store) -> None:
    full = row(
        *("id", 2),
        run="r",
        node="n\u00e9 \ufffd",
        role="subagent",
        stream=True,
        fault="provider",
        ttft_s=0.125,
        output_tokens=2**53,
        energy_j=1.5,
        reused_tokens=0,
        culprit="tools",
        cost_usd=Decimal("0.1234567890123456789012345678901234567890"),
        price_source="provider",
    )
    store.write([full, row("bare")])
    assert newest(store) == [full, row("bare")]


def test_a_row_is_there_once_and_the_first_one_stays(store: Store) -> None:
    store.write([row("id", cost_usd=Decimal(1))])
    store.write([row("id", cost_usd=Decimal(2)), row("id", 2)])
    assert [(found.attempt, found.cost_usd) for found in newest(store)] == [(2, None), (1, 1)]
    assert store.known([row("id"), row("id", 7), row("other")]) == {("id", 1)}
    assert store.known([]) == set()


@pytest.mark.parametrize("n_rows", [3, 4, 16, 39])
def test_many_rows_at_once_come_back_as_they_were(store: Store, n_rows: int) -> None:
    """However many statements that takes; one is there already."""
    rows = [row(str(i), ended_at=1e9 - i, output_tokens=i, cost_usd=Decimal(i)) for i in range(n_rows)]
    store.write([rows[1]])
    store.write(rows)
    assert newest(store) == rows


def test_newest_by_their_end_filtered_and_bounded(store: Store) -> None:
    store.write([row(str(i), ended_at=1e9 - i, run="ab"[i % 2], model="xy"[i // 2 % 2]) for i in range(8)])
    assert [found.request_id for found in newest(store, 3)] == ["0", "1", "2"]
    assert [found.request_id for found in newest(store, run="b")] == ["1", "3", "5", "7"]
    assert [found.request_id for found in newest(store, run="b", model="y")] == ["3", "7"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.decimals(-(10**6), 10**6, allow_nan=False, places=None), max_size=30))
def test_sums_are_exact(store: Store, costs: list[Decimal]) -> None:
    believable = [cost for cost in costs if int(cost.as_tuple().exponent) >= -40]
    store.write([row(str(i), cost_usd=cost, run="r") for i, cost in enumerate(believable)])
    with store.reading(READ_S) as connection:
        totals = ledger_queries.run_totals(connection, "r").totals
    empty(store)
    assert Fraction(totals.cost_usd) == sum(map(Fraction, believable))


def test_a_hundred_thousandths_of_a_cent_are_no_float(store: Store) -> None:
    """0.1 + 0.2, and a sum that a float or 64 bits would round."""
    costs = ["0.1", "0.2", "123456789.000000000000000001", "0.000000000000000000000000000001"]
    store.write([row(cost, cost_usd=Decimal(cost)) for cost in costs])
    with store.reading(READ_S) as connection:
        spending = ledger_queries.spending(connection, "model", None)
    assert str(spending.total.cost_usd) == "123456789.300000000000000001000000000001"


def test_totals_by_node_and_model(store: Store) -> None:
    sub = {"run": "r", "node": "s", "parent_node": "m", "role": "subagent", "harness": "codex"}
    store.write(
        [
            row(
                "1",
                1,
                run="r",
                model="far",
                upstream="zai",
                fault="provider",
                status=429,
                node="m",
                role="main",
            ),
            row(
                "1", 2, run="r", upstream="local", node="m", role="main", input_tokens=5, cost_usd=Decimal(0)
            ),
            row("2", 1, **sub, output_tokens=3, energy_j=2.0, tool_calls=1, cost_usd=Decimal("0.5")),
            row("3", 1, **sub, output_tokens=4, energy_j=3.0, cost_usd=None),
            row("4", 0, run="r", fault="client", started_at=2e9, ended_at=2e9),
            row("5", 1, run="other", output_tokens=1000),
        ]
    )
    with store.reading(READ_S) as connection:
        found = ledger_queries.run_totals(connection, "r")
        nothing = ledger_queries.run_totals(connection, "nobody's")
    whole = found.totals
    assert (whole.requests, whole.attempts, whole.output_tokens, whole.energy_j) == (4, 4, 7, 5.0)
    assert (whole.cost_usd, whole.unpriced) == (Decimal("0.5"), 2)
    assert whole.failures == {"provider": 1, "client": 1}
    assert (found.first_at, found.last_at, found.is_complete) == (1e9, 2e9, True)
    nodes = {(group.node, group.model): group for group in found.nodes}
    assert set(nodes) == {("m", "far"), ("m", "m"), ("s", "m"), ("", "m")}
    assert nodes["s", "m"].requests == 2
    assert (nodes["s", "m"].tool_calls, nodes["s", "m"].parent_node, nodes["s", "m"].harness) == (
        1,
        "m",
        "codex",
    )
    assert (nodes["", "m"].role, nodes["", "m"].requests, nodes["", "m"].attempts) == ("unattributed", 1, 0)
    assert (nothing.totals, nothing.nodes, nothing.first_at) == (ledger_queries.Totals(), [], None)


@pytest.mark.parametrize("by", ["day", "model", "run", "key", "node", "upstream"])
def test_spending_by(store: Store, by: ledger_queries.By) -> None:
    column: str = by
    cheap, dear, old = ({column: f"2001-09-0{day}"} for day in (8, 7, 6))
    store.write(
        [
            row("1", 1, **cheap, cost_usd=Decimal("0.01")),
            row("2", 1, **cheap, cost_usd=Decimal("0.02")),
            row("3", 1, **dear, cost_usd=Decimal(5)),
            row("4", 1, **old, cost_usd=Decimal(100), ended_at=5e8),
        ]
    )
    with store.reading(READ_S) as connection:
        found = ledger_queries.spending(connection, by, 6e8)
    groups = [(group.group, group.requests, group.cost_usd) for group in found.groups]
    expected = [("2001-09-08", 2, Decimal("0.03")), ("2001-09-07", 1, Decimal(5))]
    assert groups == (expected if by == "day" else expected[::-1])
    assert (found.total.requests, found.total.cost_usd) == (3, Decimal("5.03"))


def test_what_a_budget_asks(store: Store) -> None:
    store.write(
        [
            row("1", payer="a", cost_usd=Decimal("0.25"), started_at=100.0),
            row("2", payer="a", cost_usd=Decimal("0.5"), started_at=200.0),
            row("3", payer="b", cost_usd=Decimal(4), started_at=200.0),
            row("4", payer="a", cost_usd=None, started_at=200.0),
            row("5", payer="a", cost_usd=Decimal(0), started_at=200.0),
            row("6", payer="", key="a", cost_usd=Decimal(0), started_at=200.0),
        ]
    )
    with store.reading(READ_S) as connection:
        spent = ledger_queries.charged_usd
        assert spent(connection, "a", None) == Decimal("0.75")
        assert spent(connection, "a", 200.0) == Decimal("0.5")
        assert spent(connection, None, 200.0) == Decimal("4.5")
        assert spent(connection, "c", None) == 0


def test_what_nobody_could_price_is_charged_as_it_was_assumed(store: Store) -> None:
    store.write(
        [
            row("1", payer="a", cost_usd=None, assumed_usd=Decimal("0.25")),
            row("2", payer="a", cost_usd=Decimal(2), assumed_usd=None),
            row("3", payer="a", cost_usd=None, assumed_usd=Decimal(9), price_source="replay"),
        ]
    )
    with store.reading(READ_S) as connection:
        assert ledger_queries.charged_usd(connection, "a", None) == Decimal("2.25")
        spending = ledger_queries.spending(connection, "key", None)
    total = spending.total
    assert (total.cost_usd, total.unpriced) == (Decimal(2), 1), "what is assumed is not shown as a cost"


def test_a_servers_own_rows_are_left_out(store: Store) -> None:
    store.write([row("1", cost_usd=Decimal(1))], "one")
    store.write([row("2", cost_usd=Decimal(2))], "other")
    store.write([row("3", cost_usd=Decimal(4))])
    with store.reading(READ_S) as connection:
        charged = [
            ledger_queries.charged_usd(connection, None, None, but=but) for but in (None, "one", "other")
        ]
    assert charged == [7, 6, 5]


def test_what_was_replayed_was_not_spent(store: Store) -> None:
    paid, played = Decimal("0.5"), Decimal("0.25")
    store.write(
        [
            row("live", key="a", payer="a", run="r", cost_usd=paid, price_source="provider"),
            row("again", key="a", payer="a", run="r", cost_usd=played, price_source="replay"),
            row("unknown", key="a", payer="a", run="r", cost_usd=None, price_source="replay"),
        ]
    )
    with store.reading(READ_S) as connection:
        assert ledger_queries.charged_usd(connection, "a", None) == paid
        spending = ledger_queries.spending(connection, "key", None)
        assert [(group.cost_usd, group.unpriced, group.requests) for group in spending.groups] == [
            (paid, 0, 3)
        ]
        assert (spending.total.cost_usd, spending.total.unpriced) == (paid, 0)
        totals = ledger_queries.run_totals(connection, "r").totals
        assert (totals.cost_usd, totals.unpriced) == (paid + played, 1)


def test_a_run_says_how_many_of_its_requests_were_treated(store: Store) -> None:
    policies = ["neutral", "neutral", "untreated", ""]
    store.write([row(str(i), run="r", policy=policy) for i, policy in enumerate(policies)])
    store.write([row("0", 2, run="r", policy="neutral")])
    with store.reading(READ_S) as connection:
        totals = ledger_queries.run_totals(connection, "r")
        assert (totals.treated, totals.untreated) == (2, 1)
        nobody = ledger_queries.run_totals(connection, "other")
        assert (nobody.treated, nobody.untreated) == (0, 0)


def test_a_budget_is_summed_from_an_index_of_what_cost_something(tmp_path: Path) -> None:
    store = open_store(sqlite_ledger(tmp_path / "l"))
    asked: list[str] = []
    with store.reading(READ_S) as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        raw.set_trace_callback(asked.append)
        ledger_queries.charged_usd(connection, "a", 5.0, but="me")
        raw.set_trace_callback(None)
        [statement] = [sql for sql in asked if "exact_sum" in sql]
        plan = connection.execute(text("EXPLAIN QUERY PLAN " + statement)).all()
    store.close()
    assert "attempts_charged" in str(plan)


def test_rows_expire(store: Store) -> None:
    store.write([row(str(i), ended_at=float(i)) for i in range(10)])
    assert store.expire(4.0) == 4
    assert [found.request_id for found in newest(store)] == [str(i) for i in range(9, 3, -1)]
    assert store.expire(4.0) == 0


def test_the_columns_of_a_new_ledger_are_those_of_a_row(config: LedgerConfig) -> None:
    store = open_store(config)
    with store.reading(READ_S) as connection:
        found = connection.execute(text("SELECT * FROM attempts")).keys()
    store.close()
    assert list(found) == [*COLUMNS, "server"]


def test_a_later_version_is_refused_with_what_to_do(config: LedgerConfig) -> None:
    later = (*MIGRATIONS, ("CREATE TABLE later (n BIGINT)",))
    open_store(config, migrations=later).close()
    with pytest.raises(
        LedgerVersionError, match=r"has version 3, this Hotseat knows 2: use the Hotseat"
    ) as caught:
        open_store(config)
    assert config.place in caught.value.message
    back = open_store(config, migrations=later)
    with back.reading(READ_S) as connection:
        connection.execute(text("DROP TABLE later"))
        connection.execute(text("UPDATE ledger_version SET version = 2"))
    back.close()


def of_version_1(path: Path) -> LedgerConfig:
    with sqlite3.connect(path) as database:
        database.executescript(VERSION_1.read_text())
    database.close()
    return sqlite_ledger(path)


def test_a_ledger_of_version_1_is_read(tmp_path: Path) -> None:
    store = open_store(of_version_1(tmp_path / "l"))
    found = newest(store)
    store.close()
    assert [(row.request_id[-1], row.attempt, row.status) for row in found] == [
        *(("2", 1, 499), ("1", 2, 200)),
        ("1", 1, 429),
    ]
    assert found[1].cost_usd == Decimal("0.000012345678901234567")
    assert (found[0].energy_j, found[0].price_source) == (1.5, "local: no power reading")


def test_a_ledger_of_version_1_is_charged_to_its_keys(tmp_path: Path) -> None:
    config = of_version_1(tmp_path / "l")
    with sqlite3.connect(tmp_path / "l") as database:
        database.execute("UPDATE attempts SET key = 'ci'")
    database.close()
    store = open_store(config)
    with store.reading(READ_S) as connection:
        charged = ledger_queries.charged_usd(connection, "ci", None, but="new")
        indexes = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index'")).scalars()
        assert {"attempts_charged", "attempts_paid"} & set(indexes) == {"attempts_charged"}
    store.close()
    assert charged == Decimal("0.000012345678901234567")


def test_a_ledger_of_version_1_is_led_to_later_versions(tmp_path: Path) -> None:
    config = of_version_1(tmp_path / "l")
    third = (
        "ALTER TABLE attempts ADD COLUMN note TEXT NOT NULL DEFAULT 'old'",
        "CREATE TABLE two (x {double})",
    )
    fourth = ("UPDATE attempts SET note = note || ' and older'",)
    open_store(config, migrations=(*MIGRATIONS, third)).close()
    store = open_store(config, migrations=(*MIGRATIONS, third, fourth))
    with store.reading(READ_S) as connection:
        assert {note for (note,) in connection.execute(text("SELECT note FROM attempts"))} == {
            "old and older"
        }
        assert connection.execute(text("SELECT version FROM ledger_version")).all() == [(4,)]
    store.write([row("new")])
    assert newest(store, 1, model="m")[0].request_id == "new"
    store.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    config = of_version_1(tmp_path / "l")
    broken = ("ALTER TABLE attempts ADD COLUMN note TEXT", "CREATE TABLE attempts (x TEXT)")
    with pytest.raises(OperationalError):
        open_store(config, migrations=(*MIGRATIONS, broken))
    store = open_store(config)
    with store.reading(READ_S) as connection:
        assert list(connection.execute(text("SELECT * FROM attempts")).keys()) == [*COLUMNS, "server"]
    store.close()


def test_two_servers_that_start_at_once_make_one_ledger(config: LedgerConfig) -> None:
    stores: list[Store] = []
    threads = [threading.Thread(target=lambda: stores.append(open_store(config))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, store in enumerate(stores):
        store.write([row(str(number))])
    assert len(newest(stores[0])) == len(stores) == 4
    empty(stores[0])
    for store in stores:
        store.close()


def test_readers_see_whole_commits_while_the_writer_goes_on(store: Store) -> None:
    """Each commit has two rows of one request; no reader may see one of them alone, or wait for the end."""
    n_commits, seen, done = 60, [], threading.Event()

    def read() -> None:
        while not done.is_set():
            with store.reading(READ_S) as connection:
                totals = ledger_queries.run_totals(connection, "r").totals
            seen.append((totals.requests, totals.attempts))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(n_commits):
        store.write([row(str(number), 1, run="r"), row(str(number), 2, run="r")])
    done.set()
    for reader in readers:
        reader.join()
    assert all(attempts == 2 * requests for requests, attempts in seen)
    assert newest(store, 1000, "r") != []


def test_a_question_that_takes_too_long_ends(store: Store) -> None:
    endless = "SELECT count(*) FROM attempts a, attempts b, attempts c, attempts d"
    store.write([row(str(i)) for i in range(300)])
    with pytest.raises(OperationalError), store.reading(0.05) as connection:
        connection.execute(text(endless)).all()
    assert len(newest(store, 10)) == 10


def test_a_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    store = open_store(sqlite_ledger(tmp_path / "new" / "l"))
    store.write([row("1")])
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    store.close()
    assert modes == {"l": 0o600, "l-wal": 0o600, "l-shm": 0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_servers_that_meet_at_a_new_file_wait_for_each_other(tmp_path: Path) -> None:
    """Who changes the mode of a file is not waited for by SQLite itself. One in ten meetings was an error."""
    errors: list[Exception] = []

    def start(config: LedgerConfig, together: threading.Barrier) -> None:
        together.wait()
        try:
            open_store(config).close()
        except Exception as error:
            errors.append(error)

    for number in range(60):
        config = sqlite_ledger(tmp_path / f"{number}.sqlite3")
        together = threading.Barrier(6)
        threads = [threading.Thread(target=start, args=(config, together)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
