"""`hotseat spend`: from a server or from the file, as table, JSON and CSV, to the last digit."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import socket
import time
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.ledger_place import sqlite_ledger
from proxy.ledger_rows import Row, day_of
from proxy.ledger_store import open_store
from tests.proxy.rig import question, run, serving_file
from tests.proxy.served import error_line

NOON = 1793534400.0  # of 2026-11-01, UTC
COSTS = ("0.1", "0.2", "0.000000000000000000000000000001")


def row(number: int, **fields: object) -> Row:
    values: dict[str, object] = {"started_at": NOON, "ended_at": NOON, "day": "2026-11-01"} | fields
    return Row(request_id=str(number), attempt=1, **values)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a ledger, and no server."""
    (tmp_path / "models.toml").write_text("")
    monkeypatch.setenv("HOTSEAT_HOME", str(tmp_path / "home"))
    store = open_store(sqlite_ledger(tmp_path / "home" / "ledger.sqlite3"))
    rows = [row(n, model="far", cost_usd=Decimal(cost), input_tokens=1000) for n, cost in enumerate(COSTS)]
    rows.append(row(8, model="near", fault="worker", energy_j=7200.0, cost_usd=Decimal(0)))
    yesterday = {"ended_at": NOON - 86400, "day": "2026-10-31"}
    rows.append(row(9, model="=near()", cost_usd=None, output_tokens=7, **yesterday))
    store.write(rows)
    store.close()
    return tmp_path


def spend(folder: Path, *arguments: str) -> Result:
    """From the file: whatever else runs on this machine."""
    where = [] if "--server" in arguments else ["--file"]
    return CliRunner().invoke(main, ["spend", "--config", str(folder / "models.toml"), *where, *arguments])


def test_a_table_by_day(folder: Path) -> None:
    done = spend(folder)
    assert (done.exit_code, done.stderr) == (0, "")
    head, first, second, total = done.stdout.splitlines()
    assert head.split()[:4] == ["DAY", "REQUESTS", "FAILED", "INPUT"]
    assert first.split() == [
        *("2026-11-01", "4", "1", "3000", "0", "0", "0", "2", "Wh"),
        "0.300000000000000000000000000001",
    ]
    assert second.endswith("0 and 1 of unknown cost")
    assert total.split()[:2] == ["total", "5"]


def test_json_has_every_digit(folder: Path) -> None:
    found = json.loads(spend(folder, "--by", "model", "--json").stdout)
    assert [group["group"] for group in found["groups"]] == ["far", "=near()", "near"]
    assert found["groups"][0]["cost_usd"] == "0.300000000000000000000000000001"
    assert (found["by"], found["total"]["requests"], found["total"]["unpriced"]) == ("model", 5, 1)


def test_csv_with_failures_by_fault_and_no_formula(folder: Path) -> None:
    lines = list(csv.DictReader(spend(folder, "--by", "model", "--csv").stdout.splitlines()))
    assert [line["model"] for line in lines] == ["far", "'=near()", "near"]
    assert (lines[0]["cost_usd"], lines[0]["energy_j"]) == ("0.300000000000000000000000000001", "")
    assert [line["failed_worker"] for line in lines] == ["0", "0", "1"]


@pytest.mark.parametrize(("since", "days"), [("2026-11-01", 1), ("2026-10-31", 2), ("2026-11-02", 0)])
def test_since_a_day(folder: Path, since: str, days: int) -> None:
    assert len(json.loads(spend(folder, "--since", since, "--json").stdout)["groups"]) == days


def test_since_some_time(folder: Path) -> None:
    now = time.time()
    store = open_store(sqlite_ledger(folder / "home" / "ledger.sqlite3"))
    store.write([row(20, started_at=now, ended_at=now - 1800, day=day_of(now), model="new")])
    store.close()
    by_model = ("--by", "model", "--json", "--since")
    assert [g["group"] for g in json.loads(spend(folder, *by_model, "1h").stdout)["groups"]] == ["new"]
    assert json.loads(spend(folder, *by_model, "10m").stdout)["groups"] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--since", "soon"), "expected a day like 2026-11-01"),
        (("--by", "mood"), "mood"),
        (("--csv", "--json"), "expected one of --csv and --json"),
        (("--server", "http://127.0.0.1:1"), "no server at http://127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder: Path, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in error_line(spend(folder, *arguments))


def test_no_ledger_yet_none_at_all_and_no_database(folder: Path) -> None:
    (folder / "models.toml").write_text('[ledger]\npath = "other"\n')
    assert "begins with the first `hotseat serve`" in error_line(spend(folder))
    assert not (folder / "other").exists()
    (folder / "other").write_text("my notes" * 100)
    assert "not a database" in error_line(spend(folder))
    (folder / "models.toml").write_text("[ledger]\nenabled = false\n")
    assert "set enabled = true" in error_line(spend(folder))


def test_rows_that_only_the_next_start_reads_are_mentioned(folder: Path) -> None:
    (folder / "home" / "ledger.sqlite3.journal.1").write_text("")
    done = spend(folder)
    assert done.exit_code == 0
    assert "come with the next start of the server" in done.stderr


def test_without_a_server_the_file_is_read(folder: Path) -> None:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 8080), timeout=1):
        pytest.skip("something listens on Hotseat's port")
    done = CliRunner().invoke(main, ["spend", "--config", str(folder / "models.toml"), "--json"])
    assert json.loads(done.stdout)["total"]["requests"] == 5


def test_a_running_server_is_asked(tmp_path: Path) -> None:
    (tmp_path / "echo.toml").write_text("")
    path = tmp_path / "models.toml"
    path.write_text('[models.echo]\nengine = "scripted"\npath = "echo.toml"\n')

    async def ask() -> None:
        async with serving_file(path) as rig:
            await rig.chat({})
            await rig.post("/r/trial/v1/chat/completions", question())
            arguments = ["spend", "--by", "run", "--json", "--server", rig.url]
            done = await asyncio.to_thread(CliRunner().invoke, main, arguments)
            groups = {group["group"]: group["requests"] for group in json.loads(done.stdout)["groups"]}
            assert groups == {"": 1, "trial": 1}

    run(ask())
