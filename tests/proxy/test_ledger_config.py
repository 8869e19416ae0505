"""[ledger] of models.toml: where rows are kept, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.errors import ConfigError
from proxy.config import Config, load_config
from proxy.ledger_place import DEFAULT_RETENTION_S
from proxy.reload import needs_restart


def loaded(folder: Path, text: str) -> Config:
    path = folder / "models.toml"
    path.write_text(text)
    return load_config(path, {"HOTSEAT_HOME": str(folder / "home"), "HOME": "/home/someone"})


def test_a_file_in_hotseats_home_by_default(tmp_path: Path) -> None:
    ledger = loaded(tmp_path, "").ledger
    assert ledger is not None
    assert ledger.path == tmp_path / "home" / "ledger.sqlite3"
    assert ledger.journal == tmp_path / "home" / "ledger.sqlite3.journal"
    assert (ledger.retention_s, ledger.url) == (DEFAULT_RETENTION_S, None)


@pytest.mark.parametrize(
    ("path", "expected"), [("sub/l.db", "{}/sub/l.db"), ("~/l.db", "/home/someone/l.db"), ("/l.db", "/l.db")]
)
def test_a_path_is_relative_to_the_file(tmp_path: Path, path: str, expected: str) -> None:
    ledger = loaded(tmp_path, f'[ledger]\npath = "{path}"\nretention = "never"\n').ledger
    assert ledger is not None
    assert str(ledger.path) == expected.format(tmp_path)
    assert ledger.retention_s is None


def test_a_server_of_postgresql_has_its_journal_at_home(tmp_path: Path) -> None:
    one, other = (
        loaded(tmp_path, f'[ledger]\nurl = "postgresql://me@db.example/{name}?sslmode=require"\n').ledger
        for name in ("one", "other")
    )
    assert one is not None
    assert other is not None
    assert (one.path, one.place) == (None, "postgresql://me@db.example/one?sslmode=require")
    assert one.journal.parent == tmp_path / "home"
    assert one.journal != other.journal


def test_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, "[ledger]\nenabled = false\n").ledger is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('url = "postgresql://me:secret@db/one"', "put that into PGPASSWORD or ~/.pgpass"),
        ('url = "postgresql://me@db/one?password=secret"', "put that into PGPASSWORD or ~/.pgpass"),
        ('url = "mysql://me@db/one"', "for a file of SQLite use path"),
        ('url = "sqlite:///secret"', "for a file of SQLite use path"),
        ('url = "postgresql://me@db"', "expected the name of a database"),
        ('path = "a"\nurl = "postgresql://me@db/one"', "found both: keep one"),
        ('retention = "1m"', "expected 3600"),
        ('retention = "for ever"', "expected seconds"),
        ('file = "x"', "unknown key"),
    ],
)
def test_what_is_wrong_is_named_and_no_password_repeated(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"[ledger]\n{text}\n")
    assert expected in caught.value.message
    assert "models.toml" in caught.value.message
    assert "secret" not in caught.value.message


def test_another_ledger_needs_a_restart(tmp_path: Path) -> None:
    before, after = loaded(tmp_path, ""), loaded(tmp_path, '[ledger]\npath = "x"\n')
    assert needs_restart(before, after) == ("ledger",)
