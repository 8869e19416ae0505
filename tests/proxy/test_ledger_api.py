"""What the ledger knows, over HTTP: from memory and from the file, of this server's life and before it."""

from __future__ import annotations

import asyncio
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.errors import LedgerUnavailable
from proxy.ledger import Ledger
from proxy.ledger_place import sqlite_ledger
from proxy.ledger_reads import MAX_READS, LedgerReads, SpentInLedger
from proxy.request_log import RequestLog
from tests.proxy.rig import Rig, question, run, serving_file

CONFIG = """
[models.echo]
engine = "scripted"
path = "echo.toml"
[models.other]
engine = "scripted"
path = "echo.toml"
"""


def config(folder: Path, ledger: str = "") -> Path:
    (folder / "echo.toml").write_text('[[turn]]\ntext = "one two three"\n')
    path = folder / "models.toml"
    path.write_text(CONFIG + ledger)
    return path


async def ask(rig: Rig, run_name: str = "", model: str = "echo") -> str:
    """The request's id."""
    prefix = f"/r/{run_name}" if run_name else ""
    status, _, headers = await rig.post(f"{prefix}/v1/chat/completions", question(model=model))
    assert status == 200
    return headers["x-hotseat-request-id"]


async def ids(rig: Rig, query: str = "") -> list[str]:
    return [row["request_id"] for row in (await rig.get(f"/api/requests{query}"))["requests"]]


def test_requests_of_earlier_servers_are_listed_after_those_of_this_one(tmp_path: Path) -> None:
    path = config(tmp_path)

    async def main() -> None:
        async with serving_file(path) as rig:
            old = [await ask(rig, "a"), await ask(rig, "b", "other")]
            assert await ids(rig) == old[::-1]
        async with serving_file(path) as rig:
            new = [await ask(rig, "b"), await ask(rig, "a")]
            assert await ids(rig) == [new[1], new[0], old[1], old[0]]
            assert await ids(rig, "?limit=3") == [new[1], new[0], old[1]]
            assert await ids(rig, "?run=b") == [new[0], old[1]]
            assert await ids(rig, "?model=other") == [old[1]]
            assert await ids(rig, "?model=nobody") == []

    run(main())


def test_two_servers_with_one_ledger_list_both_theirs(tmp_path: Path) -> None:
    path = config(tmp_path)

    async def main() -> None:
        async with serving_file(path) as one, serving_file(path) as other:
            asked = [await ask(one), await ask(other), await ask(one)]
            await other.get("/api/runs/r")  # which waits until its own are written
            assert await ids(one) == asked[::-1]

    run(main())


def test_a_row_has_the_documented_fields(tmp_path: Path) -> None:
    fields = """request_id started_at run node parent_node role harness dialect requested_model model upstream
        attempt status fault finish_reason queue_s load_s ttft_s decode_s total_s input_tokens cached_tokens
        output_tokens reasoning_tokens tool_calls cost_usd price_source energy_j system_sha tools_sha"""

    async def main() -> None:
        async with serving_file(config(tmp_path)) as rig:
            await ask(rig, "trial")
            [from_memory] = (await rig.get("/api/requests"))["requests"]
        async with serving_file(config(tmp_path)) as rig:
            [from_file] = (await rig.get("/api/requests"))["requests"]
        assert set(fields.split()) <= set(from_file)
        assert from_file == from_memory
        assert (from_file["attempt"], from_file["run"], from_file["output_tokens"]) == (1, "trial", 3)

    run(main())


def test_totals_of_a_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving_file(config(tmp_path)) as rig:
            await ask(rig, "r")
            await ask(rig, "r", "other")
            await ask(rig, "q")
            status, _, _ = await rig.post("/r/r/v1/chat/completions", question(model="nobody"))
            assert status == 404
            totals = await rig.get("/api/runs/r")
            nothing = await rig.get("/api/runs/unheard-of")
        whole = totals["totals"]
        assert (whole["requests"], whole["attempts"], whole["output_tokens"]) == (3, 2, 6)
        assert whole["failures"] == {"client": 1}
        assert totals["in_flight"] == 0
        assert Decimal(whole["cost_usd"]) == 0
        assert {(node["role"], node["model"]) for node in totals["nodes"]} == {
            *(("unattributed", "echo"), ("unattributed", "other"), ("unattributed", "")),
        }
        assert (nothing["totals"]["requests"], nothing["nodes"], nothing["first_at"]) == (0, [], None)

    run(main())


def test_spending_over_http(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving_file(config(tmp_path)) as rig:
            await ask(rig)
            await ask(rig, "", "other")
            await ask(rig)
            spending = await rig.get("/api/spend?by=model")
            nothing = await rig.get("/api/spend?since=99999999999")
            async with rig.http.get(f"{rig.url}/api/spend?by=mood") as response:
                assert response.status == 400
        assert [(group["group"], group["requests"]) for group in spending["groups"]] == [
            ("echo", 2),
            ("other", 1),
        ]
        assert (spending["total"]["requests"], spending["total"]["output_tokens"]) == (3, 9)
        assert (nothing["groups"], nothing["total"]["requests"]) == ([], 0)

    run(main())


def test_counting_tokens_is_listed_as_no_attempt(tmp_path: Path) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}

    async def main() -> None:
        async with serving_file(config(tmp_path)) as rig:
            await rig.post("/r/r/v1/messages/count_tokens", body)
            [row] = (await rig.get("/api/requests"))["requests"]
            totals = await rig.get("/api/runs/r")
        assert (row["dialect"], row["attempt"], row["run"], row["model"]) == ("count-tokens", 0, "r", "echo")
        assert (row["input_tokens"], row["output_tokens"]) == (0, 0)
        assert (totals["totals"]["requests"], totals["totals"]["attempts"]) == (1, 0)
        assert totals["totals"]["unpriced"] == 0

    run(main())


def test_state_and_metrics_show_how_the_ledger_fares(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving_file(config(tmp_path)) as rig:
            await ask(rig)
            await rig.get("/api/runs/r")  # which waits for what ended before
            state = (await rig.get("/api/state"))["ledger"]
            async with rig.http.get(f"{rig.url}/metrics") as response:
                text = await response.text()
        assert (state["written"], state["waiting"], state["dropped"], state["error"]) == (1, 0, 0, None)
        assert state["place"].endswith("home/ledger.sqlite3")
        assert "hotseat_ledger_rows_total 1.0" in text
        assert "hotseat_ledger_dropped_rows_total 0.0" in text

    run(main())


def test_without_a_ledger_what_is_in_memory_is_listed(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving_file(config(tmp_path, "[ledger]\nenabled = false\n")) as rig:
            asked = await ask(rig)
            assert await ids(rig) == [asked]
            assert (await rig.get("/api/state"))["ledger"] is None
            async with rig.http.get(f"{rig.url}/api/runs/r") as response:
                assert response.status == 404
                error = (await response.json())["error"]
        assert error["code"] == "no_ledger"
        assert "enabled = true" in error["message"]
        assert not (tmp_path / "home" / "ledger.sqlite3").exists()

    run(main())


def test_a_ledger_that_cannot_be_asked_says_so_and_memory_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("")
    ledger = '[ledger]\npath = "in-the-way/ledger"\n'

    async def main() -> None:
        async with serving_file(config(tmp_path, ledger)) as rig:
            asked = await ask(rig)
            assert await ids(rig, "?limit=1") == [asked]
            listed = await rig.get("/api/requests?limit=2")
            assert [row["request_id"] for row in listed["requests"]] == [asked]
            assert "cannot be asked now" in listed["incomplete"]
            async with rig.http.get(f"{rig.url}/api/spend") as response:
                assert response.status == 503
                assert (await response.json())["error"]["code"] == "ledger_unavailable"
            assert (await rig.get("/api/state"))["ledger"]["waiting"] == 1

    run(main())


@pytest.mark.parametrize("query", ["?limit=0", "?limit=1001", "?run=" + "x" * 65, "?model=" + "x" * 257])
def test_questions_are_bounded(tmp_path: Path, query: str) -> None:
    async def main() -> None:
        async with (
            serving_file(config(tmp_path)) as rig,
            rig.http.get(f"{rig.url}/api/requests{query}") as response,
        ):
            assert response.status == 400

    run(main())


def test_no_more_than_some_questions_at_once(tmp_path: Path) -> None:
    ledger = Ledger(sqlite_ledger(tmp_path / "l"))
    ledger.start()
    reads = LedgerReads(ledger, RequestLog())
    going = threading.Event()

    async def main() -> None:
        waiting = [asyncio.create_task(reads._in_thread(going.wait)) for _ in range(MAX_READS)]
        await asyncio.sleep(0)
        with pytest.raises(LedgerUnavailable, match="ask again later"):
            await reads.run_totals("r")
        going.set()
        await asyncio.gather(*waiting)
        assert (await reads.run_totals("r")).totals.requests == 0

    run(main())
    ledger.close()


def test_no_thread_of_a_reader_outlives_the_loop(tmp_path: Path) -> None:
    """They did: two of each server stayed until the interpreter's end."""

    async def main() -> None:
        async with serving_file(config(tmp_path)) as rig:
            await rig.get("/api/runs/r")

    before = set(threading.enumerate())
    run(main())
    assert not {thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()}


def test_a_budget_is_told_what_others_spent(tmp_path: Path) -> None:
    """An earlier server, and one that runs beside this one; not what this one spends itself."""
    config = sqlite_ledger(tmp_path / "l")
    earlier, beside, ledger = Ledger(config), Ledger(config), Ledger(config)
    spend(earlier, "a", "0.000000000000000001")
    earlier.close()
    spend(beside, "a", "0.2")
    spend(beside, "b", "7")
    assert beside.flush(10.0)
    spend(ledger, "a", "1000")
    spent = SpentInLedger(ledger)
    assert spent.spent_usd(key="a", since_s=None) == Decimal("0.200000000000000001")
    assert spent.spent_usd(key=None, since_s=time.time() + 1) == 0
    assert spent.spent_usd(key=None, since_s=0.0) == Decimal("7.200000000000000001")
    beside.close()
    ledger.close()
    with pytest.raises(LedgerUnavailable):
        spent.spent_usd(key="a", since_s=None)


def spend(ledger: Ledger, payer: str, cost: str) -> None:
    if ledger.store is None:
        ledger.start()
    with RequestLog(on_end=ledger.end).track(f"{payer} {cost}", "", "d") as record:
        record.payer, record.cost_usd = payer, Decimal(cost)
