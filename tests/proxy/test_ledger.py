"""The ledger between requests and its database: nothing waits for it, and what it cannot keep it counts."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.errors import WorkerCrashed
from proxy.ledger import Ledger
from proxy.ledger_journal import Journal, segment_paths
from proxy.ledger_place import LedgerConfig, sqlite_ledger
from proxy.ledger_schema import MIGRATIONS, LedgerVersionError
from proxy.ledger_store import open_store
from proxy.request_log import RequestLog
from tests.proxy.ledger_rig import PATIENCE_S, logging_to, names_at, rows_at, serve, started, warnings

NOBODY = 65534


def died_with(config: LedgerConfig) -> None:
    """A server was killed: "done" had ended, "running" had not."""
    journal = Journal(config.journal)
    assert journal.open()
    log = logging_to(journal)
    serve(log, "done")
    with log.track("running", "r", "d") as running:
        running.attempt_begins("far", "m")
        journal.close(is_done=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


def test_what_ends_is_in_the_database_soon(path: Path) -> None:
    ledger = Ledger(sqlite_ledger(path))
    with started(ledger) as log:
        with log.track("two", "r", "d") as record:
            record.attempt_begins("far", "m")
            record.attempt_failed(WorkerCrashed("x"))
            record.attempt_begins("local", "m")
        serve(log, "one")
        assert ledger.flush(PATIENCE_S)
        assert sorted((row.request_id, row.attempt) for row in rows_at(path)) == [
            *(("one", 1), ("two", 1), ("two", 2)),
        ]
        status = ledger.status()
    assert (status.written, status.waiting, status.dropped, status.deferred, status.lost) == (3, 0, 0, 0, 0)
    assert (status.error, status.journal_error, status.place) == (None, None, str(path))


def test_a_stop_writes_what_waits_and_leaves_no_journal(path: Path) -> None:
    ledger = Ledger(sqlite_ledger(path), batch_s=3600)
    with started(ledger) as log:
        serve(log, *map(str, range(1200)))
    assert len(rows_at(path)) == 1200
    assert os.listdir(path.parent) == [path.name]


def test_what_ends_after_the_stop_is_counted(path: Path) -> None:
    ledger = Ledger(sqlite_ledger(path))
    with started(ledger) as log:
        pass
    serve(log, "late")
    assert ledger.status().dropped == 1
    assert rows_at(path) == []


def test_after_a_death_what_ended_is_there_and_what_did_not_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    died_with(sqlite_ledger(path))
    for lost in (1, 0):
        ledger = Ledger(sqlite_ledger(path))
        with started(ledger) as log:
            serve(log, f"after {lost}")
            assert ledger.flush(PATIENCE_S)
            assert ledger.status().lost == lost
    said = warnings(caplog, "under way when the server died")
    assert said == ["1 requests were under way when the server died: running"]
    found = {row.request_id: (row.status, row.code, row.fault, row.upstream) for row in rows_at(path)}
    assert set(found) == {"done", "running", "after 0", "after 1"}
    assert found["running"] == (0, "lost", "proxy", "far")
    assert found["done"] == (200, "", None, "local")


def test_a_journal_is_read_again_after_a_death_in_its_reading(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its rows are there already, and what was under way was said."""
    config = sqlite_ledger(path)
    died_with(config)
    [segment] = segment_paths(config.journal)
    kept = segment.read_bytes()
    with started(Ledger(config)) as log:
        serve(log, "running 2")
    before = rows_at(path)
    segment.write_bytes(kept)
    again = Ledger(config)
    with started(again):
        pass
    assert rows_at(path) == before
    assert (again.status().lost, len(warnings(caplog, "under way"))) == (0, 1)
    assert segment_paths(config.journal) == []


def test_the_journal_of_a_living_server_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = Ledger(sqlite_ledger(path)), Ledger(sqlite_ledger(path))
    with started(one) as log:
        running = log.track("running", "r", "d")
        record = running.__enter__()
        record.attempt_begins("local", "m")
        with started(other) as second:
            serve(second, "other")
        running.__exit__(None, None, None)
    assert warnings(caplog, "under way") == []
    assert [(row.request_id, row.status) for row in rows_at(path)] == [("running", 200), ("other", 200)]


def test_a_full_segment_goes_when_its_rows_are_safe(path: Path) -> None:
    config = sqlite_ledger(path)
    journal = Journal(config.journal, segment_bytes=1000)
    ledger = Ledger(config, journal=journal)
    with started(ledger) as log:
        for number in range(200):
            serve(log, str(number))
        assert ledger.flush(PATIENCE_S)
        assert len(segment_paths(config.journal)) <= 2
    assert len(rows_at(path)) == 200


def test_a_place_that_is_missing_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "later" / "ledger.sqlite3"
    path.parent.write_text("in the way")
    ledger = Ledger(sqlite_ledger(path), retry_s=0.01)
    with started(ledger) as log:
        serve(log, "one")
        assert not ledger.flush(0.1)
        status = ledger.status()
        path.parent.unlink()
        assert ledger.flush(PATIENCE_S)
        assert ledger.status().error is None
    assert status.error is not None
    assert (status.waiting >= 1, status.dropped) == (True, 0)
    assert names_at(path) == ["one"]
    assert len(warnings(caplog, "takes no rows")) == 1
    assert len(warnings(caplog, "takes rows again")) == 1


def test_what_is_too_much_to_wait_stays_in_the_journal_for_the_next_start(tmp_path: Path) -> None:
    """The database lies in a folder that is not there; its journal can be written."""
    path = tmp_path / "in the way" / "ledger.sqlite3"
    path.parent.write_text("")
    config = LedgerConfig(path, tmp_path / "journal")
    ledger = Ledger(config, max_waiting=3, retry_s=0.01)
    with started(ledger) as log:
        serve(log, *map(str, range(10)))
        status = ledger.status()
        assert status.dropped == 0
        assert status.waiting + status.deferred == 10
        assert status.deferred >= 4
    path.parent.unlink()
    with started(Ledger(config)):
        pass
    assert names_at(path) == sorted(map(str, range(10)))
    assert segment_paths(config.journal) == []


def test_what_stays_in_the_journal_stays_when_the_rest_is_written(tmp_path: Path) -> None:
    path = tmp_path / "in the way" / "ledger.sqlite3"
    path.parent.write_text("")
    config = LedgerConfig(path, tmp_path / "journal")
    ledger = Ledger(config, max_waiting=3, retry_s=0.01)
    with started(ledger) as log:
        serve(log, *map(str, range(10)))
        path.parent.unlink()
        assert ledger.flush(PATIENCE_S)
    assert len(names_at(path)) == 10 - ledger.status().deferred < 10
    with started(Ledger(config)):
        pass
    assert names_at(path) == sorted(map(str, range(10)))


def test_what_neither_takes_is_dropped_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "in the way" / "ledger.sqlite3"
    path.parent.write_text("")
    ledger = Ledger(sqlite_ledger(path), max_waiting=3, retry_s=3600)
    with started(ledger) as log:
        serve(log, *map(str, range(10)))
        status = ledger.status()
    assert status.waiting + status.dropped == 10
    assert status.dropped >= 4
    assert (status.deferred, status.journal_error is not None) == (0, True)
    assert "did not take either are lost" in caplog.text


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 60 kB, until the test makes room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    yield
    make_room()
    signal.signal(signal.SIGXFSZ, handler)


def make_room() -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_holds_nobody_up_and_costs_no_row_that_can_wait(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(sqlite_ledger(path), retry_s=0.01)
    with started(ledger) as log:
        begun_s = time.perf_counter()
        serve(log, *map(str, range(500)))
        assert time.perf_counter() - begun_s < 5
        while ledger.status().error is None:
            assert not ledger.flush(0.05)
        status = ledger.status()
        make_room()
        assert ledger.flush(PATIENCE_S)
    assert (status.error is not None, status.journal_error is not None) == (True, True)
    assert status.dropped == 0
    assert len(rows_at(path)) == 500
    assert len(warnings(caplog, "takes no rows")) == 1


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """Of a user who may not write there: root may write everywhere."""
    folder = Path(tempfile.mkdtemp(prefix="hotseat-ledger-"))
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_is_read_only_holds_nobody_up(
    read_only_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(sqlite_ledger(read_only_folder / "ledger.sqlite3"), retry_s=3600)
    with started(ledger) as log:
        serve(log, "one")
        status = ledger.status()
    assert status.error is not None
    assert "ermission denied" in status.error
    assert status.journal_error is not None
    [said] = warnings(caplog, "takes no rows")
    assert "name another place in [ledger]" in said


def test_a_file_that_is_no_database_holds_nobody_up(path: Path) -> None:
    path.write_text("my notes, which nobody may overwrite" * 100)
    ledger = Ledger(sqlite_ledger(path), retry_s=3600)
    with started(ledger) as log:
        serve(log, "one")
        assert "not a database" in str(ledger.status().error)
    assert path.read_text().startswith("my notes")


def test_a_row_that_the_database_refuses_takes_no_other_with_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(sqlite_ledger(path), batch_s=3600)
    with started(ledger) as log:
        serve(log, "before")
        with log.track("impossible", "r", "d") as record:
            record.status = 2**70
        serve(log, "after")
        assert ledger.flush(PATIENCE_S)
        status = ledger.status()
    assert names_at(path) == ["after", "before"]
    assert (status.written, status.dropped, status.error) == (2, 1, None)
    assert len(warnings(caplog, "request impossible")) == 1


def test_a_ledger_of_a_later_version_keeps_the_server_from_starting(path: Path) -> None:
    open_store(sqlite_ledger(path), migrations=(*MIGRATIONS, ("CREATE TABLE later (x TEXT)",))).close()
    with pytest.raises(LedgerVersionError, match="version 3"):
        Ledger(sqlite_ledger(path)).start()


def test_a_database_server_that_is_down_holds_nobody_up(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed")
    config = LedgerConfig(None, tmp_path / "journal", f"postgresql://nobody@/x?host={tmp_path}")
    ledger = Ledger(config, retry_s=3600)
    with started(ledger) as log:
        serve(log, "one")
        assert ledger.status().error is not None
    assert len(segment_paths(config.journal)) == 1


def test_rows_older_than_their_retention_go_at_the_start(path: Path) -> None:
    with started(Ledger(sqlite_ledger(path))) as log:
        serve(log, "old")
        with log.track("new", "r", "d") as record:
            record.started_at += 10_000
    kept = Ledger(sqlite_ledger(path, retention_s=-5_000.0), batch_s=0.0)
    with started(kept):
        assert kept.flush(PATIENCE_S)
        while "old" in names_at(path):
            assert kept.flush(PATIENCE_S)
    assert names_at(path) == ["new"]


def test_a_server_that_serves_is_not_told_of_prices_that_fail(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def price(record: object) -> None:
        raise ArithmeticError("no such price")

    ledger = Ledger(sqlite_ledger(path))
    with started(ledger):
        log = RequestLog(on_begin=ledger.begin, price=price, on_end=ledger.end)
        with caplog.at_level(logging.ERROR), log.track("one", "r", "d") as record:
            record.attempt_begins("far", "m")
    [row] = rows_at(path)
    assert (row.cost_usd, row.status) == (None, 200)
    assert warnings(caplog, "request one has no price") != []
