"""The journal: what a server that died had written is read again, whole lines of it, once."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.errors import WorkerCrashed
from proxy.ledger_journal import Journal, Replay, Segment, left_behind, segment_paths
from proxy.ledger_rows import Row
from proxy.request_log import RequestLog


def logging_to(journal: Journal) -> RequestLog:
    def end(record: object) -> None:
        journal.end(record)  # type: ignore[arg-type]

    return RequestLog(on_begin=journal.begin, on_attempt_failed=journal.attempt_failed, on_end=end)


def opened(prefix: Path, **options: int) -> Journal:
    journal = Journal(prefix, **options)
    assert journal.open()
    return journal


def died(journal: Journal) -> None:
    """Locks go with the process."""
    journal.close(is_done=False)


def replayed(prefix: Path) -> tuple[list[Row], list[Row], list[Segment]]:
    segments = left_behind(prefix)
    replay = Replay(segments)
    return list(replay), replay.lost(), segments


def keys(rows: list[Row]) -> list[tuple[str, int]]:
    return [(row.request_id, row.attempt) for row in rows]


def test_ended_failed_and_under_way(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    log = logging_to(journal)
    with log.track("done", "", "d") as done:
        done.attempt_begins("far", "m")
        done.attempt_failed(WorkerCrashed("x"))
        done.attempt_begins("local", "m")
    with log.track("refused", "", "d"):
        pass
    stack = [log.track("between", "", "d"), log.track("running", "", "d")]
    between, running = (entered.__enter__() for entered in stack)
    between.attempt_begins("far", "m")
    between.attempt_failed(WorkerCrashed("x"))
    running.attempt_begins("local", "m")
    died(journal)
    rows, lost, _ = replayed(tmp_path / "j")
    assert keys(rows) == [("done", 1), ("done", 2), ("refused", 0), ("between", 1)]
    assert keys(lost) == [("running", 1)]


def test_a_segment_has_one_owner(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    assert left_behind(tmp_path / "j") == []
    died(journal)
    found = left_behind(tmp_path / "j")
    assert len(found) == 1
    assert left_behind(tmp_path / "j") == []
    found[0].delete()
    assert segment_paths(tmp_path / "j") == []


def test_only_files_of_its_own_prefix(tmp_path: Path) -> None:
    (tmp_path / "j[1]").mkdir()
    journal = opened(tmp_path / "j[1]" / "a[b].journal")
    (tmp_path / "j[1]" / "other").write_text("B{}")
    died(journal)
    assert len(left_behind(tmp_path / "j[1]" / "a[b].journal")) == 1


def test_modes_let_nobody_else_read(tmp_path: Path) -> None:
    opened(tmp_path / "new" / "j")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in segment_paths(tmp_path / "new" / "j")] == [0o600]


def test_what_is_under_way_moves_to_the_next_segment(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j", segment_bytes=300)
    log = logging_to(journal)
    with log.track("long", "", "d") as long:
        long.attempt_begins("local", "m")
        with log.track("short", "", "d") as short:
            short.attempt_begins("local", "m")
        full = journal.take_full()
        assert full is not None
        assert len(segment_paths(tmp_path / "j")) == 2
        full.delete()
        assert journal.take_full() is None
        died(journal)
        rows, lost, segments = replayed(tmp_path / "j")
        assert (rows, keys(lost)) == ([], [("long", 1)])
        for segment in segments:
            segment.release()


def test_an_end_in_a_later_segment_is_an_end(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j", segment_bytes=200)
    log = logging_to(journal)
    with log.track("one", "", "d") as one:
        one.attempt_begins("local", "m")
        with log.track("other", "", "d"):
            pass
        assert journal.take_full() is not None  # and nobody deletes it
    died(journal)
    rows, lost, _ = replayed(tmp_path / "j")
    assert (sorted(keys(rows)), lost) == ([("one", 1), ("other", 0)], [])


def test_a_segment_whose_rows_are_nowhere_else_is_not_handed_out(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j", segment_bytes=100)
    log = logging_to(journal)
    with log.track("one", "", "d"):
        pass
    journal.keep()
    assert journal.take_full() is None
    assert len(segment_paths(tmp_path / "j")) == 2
    journal.close(is_done=True)
    assert keys(replayed(tmp_path / "j")[0]) == [("one", 0)]


def test_a_journal_that_is_done_leaves_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    with logging_to(journal).track("one", "", "d") as one:
        one.attempt_begins("local", "m")
    journal.close(is_done=True)
    assert segment_paths(tmp_path / "j") == []


def test_a_torn_last_line_costs_that_line_alone(tmp_path: Path) -> None:
    """Cut around every end of a line, and all over the others."""
    journal = opened(tmp_path / "j")
    log = logging_to(journal)
    for name in ("first", "second"):
        with log.track(name, "", "d") as record:
            record.attempt_begins("local", "m")
    died(journal)
    [path] = segment_paths(tmp_path / "j")
    written = path.read_bytes()
    ends = [at for at, byte in enumerate(written) if byte == ord("\n")]
    assert len(ends) == 4
    around = {end + off for end in ends for off in (-2, -1, 0, 1)} | set(range(0, len(written), 97))
    for cut in sorted(around, reverse=True):
        path.write_bytes(written[:cut])
        n_lines = sum(end <= cut for end in ends)
        rows, lost, [segment] = replayed(tmp_path / "j")
        assert (len(rows), len(lost)) == (n_lines // 2, n_lines % 2)
        segment.release()


@pytest.fixture
def file_limit() -> Iterator[int]:
    """No file of this process may grow beyond it: a full disk for whoever writes."""
    limit = 600
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, kept)


def test_a_full_disk_is_said_once_and_tears_no_other_line(
    tmp_path: Path, file_limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    journal = opened(tmp_path / "j")
    log = logging_to(journal)
    for number in range(10):
        with log.track(str(number), "", "d"):
            pass
    assert len([r for r in caplog.records if "is not written" in r.message]) == 1
    assert journal.error is not None
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with log.track("later", "", "d"):
        pass
    died(journal)
    rows, _, _ = replayed(tmp_path / "j")
    written = [row.request_id for row in rows]
    assert written[-1] == "later"
    assert journal.unwritten == 11 - len(written) > 0


def test_without_its_folder_it_counts_and_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "j")
    assert not journal.open()
    with logging_to(journal).track("one", "", "d"):
        pass
    assert journal.take_full() is None
    assert journal.unwritten == 1
    journal.close(is_done=True)


def test_a_segment_that_cannot_be_followed_is_bounded(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j", segment_bytes=300, limit_bytes=380)
    log = logging_to(journal)
    for number in range(30):
        with log.track(str(number), "", "d"):
            pass
        full = journal.take_full()
        assert full is None or number < 20
    sizes = [path.stat().st_size for path in segment_paths(tmp_path / "j")]
    assert sum(sizes) < 380 + 2 * 300 + 250
    assert journal.unwritten > 0
    died(journal)


def test_a_hostile_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "j.1"
    path.write_bytes(b"E{}\nX\n\xff\xfe\nE" + b"[" * 100_000 + b"\n\n" + os.urandom(100) + b"\n")
    replay = Replay(left_behind(tmp_path / "j"))
    assert (list(replay), replay.lost()) == ([], [])
    assert replay.torn_lines >= 4
