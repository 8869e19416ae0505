"""What a harness lives through: a worker that dies in mid-answer, and a model that takes its time to load."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from inference.chat import ToolCall
from tests.integration.harness_rig import (
    LONG,
    MAIN,
    NAMES,
    Bench,
    Job,
    Outcome,
    Seen,
    Server,
    bench,
    require,
    run,
)
from tests.integration.harness_scripts import HANDS, script, turn

pytestmark = pytest.mark.harness


# --- a crash -----------------------------------------------------------------------------------


def crashing(name: str) -> str:
    """The worker dies in the middle of a tool call, once."""
    hands = HANDS[name]
    fault = {"kind": "kill", "after_chunks": 6, "once_file": "crashed"}
    return script(
        turn("write", hands.write("log.txt", "one\n"), match={"step": 1}),
        turn("end", text="Done.", match={"contains": "two is there"}),
        turn("add", hands.run("echo two >> log.txt; echo two is there"), text="I go on.", fault=fault),
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_a_crash_cuts_off_is_asked_for_again(name: str, tmp_path: Path) -> None:
    """Codex and Claude Code keep what was said before the call, and none keeps the half call."""
    require(name)

    async def main() -> None:
        async with bench(tmp_path, Server({MAIN: crashing(name)})) as here:
            outcome = await here.work(name, Job("Keep a log."))
            assert outcome.said.final_text == "Done.", outcome.ended
            assert outcome.ended.exit_code == 0, outcome.ended
            assert (here.workdir(name) / "log.txt").read_text() == "one\ntwo\n"
            assert here.turns() == ["write", "add", "add", "end"]
            _, cut_off, again, _ = here.seen()
            assert _calls(again) == _calls(cut_off)
            assert again.texts("tool") == cut_off.texts("tool")
            _, crashed, *_ = await here.records(MAIN)
            assert (crashed["code"], crashed["fault"]) == ("worker_crashed", "worker")
            assert crashed["ttft_s"] is not None

    run(main())


def _calls(seen: Seen) -> list[ToolCall]:
    return [call for message in seen.request.messages for call in message.tool_calls]


# --- a long load -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wait:
    """Each CLI gives up, and asks again, when it hears nothing for `patience_s`."""

    load_s: float
    patience_s: int
    keepalive: str = ""  # a line of [server.limits]


SHORT = Wait(load_s=8, patience_s=3, keepalive="keepalive = 1")
AGES = Wait(load_s=90, patience_s=15)


@pytest.mark.parametrize(
    "wait",
    [pytest.param(SHORT, id="8s"), pytest.param(AGES, id="90s", marks=(pytest.mark.timeout(300), *LONG))],
)
def test_a_load_is_waited_for_longer_than_silence_would_be(wait: Wait, tmp_path: Path) -> None:
    """All three wait for the same load, and nobody asks twice."""
    for name in NAMES:
        require(name)

    async def main() -> None:
        source = script(turn("greet", text="Here I am."), load={"seconds": wait.load_s})
        async with bench(tmp_path, Server({MAIN: source}, limits=wait.keepalive)) as here:
            first, *others = NAMES  # opencode takes longest to start
            working = [asyncio.ensure_future(here.work(first, impatient(first, wait)))]
            await here.rig.until(MAIN, lambda model: model["state"] == "loading")
            working += [asyncio.ensure_future(here.work(name, impatient(name, wait))) for name in others]
            for outcome in await asyncio.gather(*working):
                _check_greeted(outcome)
            await _check_waits(here, wait)

    run(main(), patience_s=wait.load_s + 60)


def impatient(name: str, wait: Wait) -> Job:
    """Timeouts as long as a user would not set them, so that the test need not take hours."""
    patience_ms = wait.patience_s * 1000
    job = Job("Are you there?", limit_s=wait.load_s + 40)
    match name:
        case "opencode":
            return replace(
                job,
                replaced={
                    '"headerTimeout": false': f'"headerTimeout": {patience_ms}',
                    '"chunkTimeout": 1800000': f'"chunkTimeout": {patience_ms}',
                },
            )
        case "codex":
            patience = {"stream_idle_timeout_ms = 1800000": f"stream_idle_timeout_ms = {patience_ms}"}
            return replace(job, replaced=patience)
        case _:  # until the first byte; within a stream, 10 s at least
            watchdog = {"CLAUDE_ENABLE_BYTE_WATCHDOG": "1", "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": "10000"}
            return replace(job, environment={"API_TIMEOUT_MS": str(patience_ms), **watchdog})


def _check_greeted(outcome: Outcome) -> None:
    assert outcome.said.final_text == "Here I am.", outcome.ended
    assert outcome.said.errors == (), outcome.ended


async def _check_waits(here: Bench, wait: Wait) -> None:
    records = await here.records(MAIN)
    assert [record["status"] for record in records] == [200] * len(NAMES)
    assert {record["dialect"] for record in records} == {"chat-completions", "responses", "messages"}
    assert all(record["load_s"] + record["queue_s"] > wait.patience_s for record in records), records
