"""The process that writes the ledger: what it answers, and what becomes of rows when it dies or stops."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from proxy.ledger import Ledger
from proxy.ledger_journal import Journal
from proxy.ledger_place import LedgerConfig, sqlite_ledger
from proxy.ledger_process import Written
from proxy.ledger_writer import LedgerWriter, WriterGoneError
from proxy.request_log import RequestLog
from tests.proxy.ledger_rig import PATIENCE_S, names_at, serve, started, warnings
from tests.proxy.rig import children_that_run


@pytest.fixture
def config(tmp_path: Path) -> LedgerConfig:
    return sqlite_ledger(tmp_path / "ledger.sqlite3")


@pytest.fixture
def writer(config: LedgerConfig) -> Iterator[LedgerWriter]:
    writer = LedgerWriter(config, "me")
    yield writer
    writer.end()


def process() -> psutil.Process:
    """Of this test's only writer, once it has been started."""
    [found] = children_that_run("proxy.ledger_process")
    return found


def is_over(writer: psutil.Process) -> bool:
    return not writer.is_running() or writer.status() == psutil.STATUS_ZOMBIE


def lines_of(folder: Path, *names: str) -> list[bytes]:
    """What the journal says of requests that ended."""
    journal = Journal(folder / "journal")
    assert journal.open()
    lines: list[bytes] = []
    log = RequestLog(on_begin=journal.begin, on_end=lambda record: lines.append(journal.end(record)[0]))
    serve(log, *names)
    journal.close(is_done=True)
    return lines


def test_a_batch_is_in_the_database_when_it_is_answered_and_only_once(
    config: LedgerConfig, writer: LedgerWriter, tmp_path: Path
) -> None:
    lines = lines_of(tmp_path, "one", "two")
    assert writer.write(lines) == Written(2)
    assert names_at(tmp_path / "ledger.sqlite3") == ["one", "two"]
    writer.write([*lines, *lines_of(tmp_path, "three")])
    assert names_at(tmp_path / "ledger.sqlite3") == ["one", "three", "two"]


def test_a_line_that_is_none_takes_no_other_with_it(writer: LedgerWriter, tmp_path: Path) -> None:
    one, two = lines_of(tmp_path, "one", "two")
    written = writer.write([one, b'E{"request_id": 5}\n', b"E\xff\n", two])
    assert written.rows == 2
    assert [refused.request_id for refused in written.refused] == ['E{"request_id": 5}', "E\ufffd"]
    assert all(refused.cause for refused in written.refused)
    assert names_at(tmp_path / "ledger.sqlite3") == ["one", "two"]


def test_a_batch_larger_than_any_buffer_goes_through(writer: LedgerWriter, tmp_path: Path) -> None:
    lines = lines_of(tmp_path, *map(str, range(10_000)))
    assert sum(map(len, lines)) > 2**21
    assert writer.write(lines) == Written(10_000)


def test_it_knows_no_key_of_a_provider_and_libpqs_password(
    config: LedgerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-canary")
    monkeypatch.setenv("PGPASSWORD", "for libpq")
    writer = LedgerWriter(config, "me")
    writer.write(lines_of(tmp_path, "one"))
    environ = process().environ()
    writer.end()
    assert environ["PGPASSWORD"] == "for libpq"
    assert "sk-canary" not in str(environ)


def test_it_ends_when_the_server_is_gone_and_not_by_its_signals(writer: LedgerWriter, tmp_path: Path) -> None:
    writer.write(lines_of(tmp_path, "one"))
    found = process()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        found.send_signal(number)
    assert writer.write(lines_of(tmp_path, "two")) == Written(1)
    assert process() == found
    writer.end(grace_s=PATIENCE_S)  # as far as it can tell, a server that dies does no more
    assert is_over(found)


def test_one_that_stands_still_is_ended(writer: LedgerWriter, tmp_path: Path) -> None:
    writer.write(lines_of(tmp_path, "one"))
    found = process()
    found.suspend()
    with pytest.raises(WriterGoneError, match="not answered within"):
        writer.write(lines_of(tmp_path, "two"), answer_s=0.2)
    assert is_over(found)
    assert names_at(tmp_path / "ledger.sqlite3") == ["one"]
    assert writer.write(lines_of(tmp_path, "two")) == Written(1)


def test_a_ledger_starts_a_new_one_and_loses_nothing(
    config: LedgerConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(config, retry_s=0.01)
    with started(ledger) as log:
        serve(log, "before")
        assert ledger.flush(PATIENCE_S)
        for number in range(3):
            process().kill()
            serve(log, f"after {number}")
            assert ledger.flush(PATIENCE_S)
        status = ledger.status()
    assert names_at(tmp_path / "ledger.sqlite3") == ["after 0", "after 1", "after 2", "before"]
    assert (status.written, status.waiting, status.dropped, status.error) == (4, 0, 0, None)
    assert len(warnings(caplog, "its writer, a process, has ended")) == 3
    assert len(warnings(caplog, "takes rows again")) == 3


def test_a_stop_does_not_wait_for_one_that_stands_still(
    config: LedgerConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its rows are in the journal, for the next start."""
    ledger = Ledger(config, close_s=0.2)
    with started(ledger) as log:
        serve(log, "one")
        assert ledger.flush(PATIENCE_S)
        found = process()
        found.suspend()
        serve(log, "two")
    assert len(warnings(caplog, "1 rows are not in the ledger")) == 1
    assert names_at(tmp_path / "ledger.sqlite3") == ["one"]
    found.wait(PATIENCE_S)
    with started(Ledger(config)):
        pass
    assert names_at(tmp_path / "ledger.sqlite3") == ["one", "two"]
