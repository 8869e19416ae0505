"""The soak itself, short; and that what it looks for is found: an eye that sees nothing proves nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchkit.soak_plan import Asked, ClientPlan
from benchkit.soak_verdict import Judged, Reply, Verdict, busy, check_records, judge, overfull, read_stream
from benchkit.soak_watch import MAX_ZOMBIE_LOOKS, ProcessWatch
from benchkit.soak_world import (
    DIMENSIONS,
    FAULTS,
    SCRIPTED,
    TRAPS,
    Variant,
    World,
    expected_answer,
    question,
    script,
)
from inference.engines.script import parse_script
from proxy.config import load_config

ROOT = Path(__file__).parents[2]

ASKED = Asked(
    run="c1-1",
    model="steady",
    endpoint="chat/completions",
    stream=True,
    lane=None,
    mood="plain",
    word="w1",
    has_known_answer=True,
    leaving=None,
)


@pytest.mark.slow
def test_short_soak_finds_nothing_wrong(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchkit.soak", "--seconds", "8"),
            *("--seed", "4", "--clients", "8", "--no-real"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    figures = {line["figure"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert figures["soak_violations"]["value"] == 0
    assert figures["soak_violations"]["requests"] > len(SCRIPTED)
    assert figures["soak_violations"]["endings"]["finished"] > 0
    assert list(tmp_path.iterdir()) == []


# --- what it serves and asks -----------------------------------------------------------------------


def test_every_variant_of_the_configuration_is_read_but_the_broken_one(tmp_path: Path) -> None:
    world = World(tmp_path, None)
    for variant in (Variant(), Variant(has_guest=False), Variant(steady_n_ctx=5000)):
        world.write(variant)
        config = load_config(world.config, {})
        assert ("guest" in config.models) is variant.has_guest
        assert config.models["steady"].spec.n_ctx == variant.steady_n_ctx
        assert all(entry.missing is None for entry in config.models.values())
    world.write(Variant(is_broken=True))
    with pytest.raises(Exception, match="TOML"):
        load_config(world.config, {})


def test_every_script_is_valid_and_has_a_turn_for_every_mood() -> None:
    for model in SCRIPTED:
        parsed = parse_script(script(model))
        assert {turn.fault.kind for turn in parsed.turn if turn.fault} == set(FAULTS)
        assert parsed.load.once_file == model.trap


def test_a_trap_is_set_by_its_absence(tmp_path: Path) -> None:
    world = World(tmp_path, None)
    world.disarm()
    assert all((tmp_path / name).exists() for name in TRAPS)
    world.set_trap(TRAPS[0])
    world.set_trap(TRAPS[0])
    assert not (tmp_path / TRAPS[0]).exists()


def test_the_same_seed_asks_the_same() -> None:
    def asked(seed: int) -> list[Asked]:
        plan = ClientPlan(seed, 3, SCRIPTED)
        return [plan.next() for _ in range(300)]

    first = asked(1)
    assert first == asked(1)
    assert first != asked(2)
    assert len({one.run for one in first}) == 300
    assert {one.endpoint for one in first} == {"chat/completions", "completions", "embeddings"}
    assert {one.mood for one in first} == {"plain", *FAULTS}
    assert {one.lane for one in first} == {None, "batch", "exclusive"}
    assert all(one.stream is False for one in first if one.endpoint == "embeddings")
    assert all(one.mood == "plain" for one in first if one.lane == "exclusive")
    assert {one.leaving.since for one in first if one.leaving} == {"sent", "first byte"}


def test_the_question_names_its_fault() -> None:
    assert question("w1", "plain") == "say w1"
    assert question("w1", "kill") == "say w1 and kill"


# --- what it makes of an answer ----------------------------------------------------------------------

ERROR = {
    "message": "the worker died",
    "type": "server_error",
    "code": "worker_crashed",
    "hotseat": {"code": "worker_crashed"},
}


def event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def text(content: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]})


FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = b"data: [DONE]\n\n"
FAILED = event({"error": ERROR})
WHOLE = b": keep-alive\n\n" + text(expected_answer("w1")) + FINISH + DONE


def streamed(body: bytes, **changes: Any) -> Reply:
    return replace(Reply(status=200, headers={}, body=body, whole=True), **changes)


def test_a_finished_stream_and_a_failed_one_are_right() -> None:
    assert judge(ASKED, streamed(WHOLE)) == Verdict("finished")
    assert judge(ASKED, streamed(text("w1 ") + FAILED)) == Verdict("failed", "worker_crashed")
    assert judge(ASKED, streamed(FAILED)) == Verdict("failed", "worker_crashed")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (text("w1 ") + FAILED + DONE, "a clean end after a failure"),
        (text("w1 ") + FINISH + FAILED, "finish reason"),
        (text("w1 "), "without finish reason and without an error"),
        (text(expected_answer("w1")) + DONE, "without finish reason"),
        (text(expected_answer("w1")) + FINISH, r"without \[DONE\]"),
        (WHOLE + text("more"), "1 events after the last one"),
        (WHOLE + b"data: {", "inside an event"),
        (text("w1 ") + FINISH + DONE, "another text"),
        (text(expected_answer("w2")) + FINISH + DONE, "another text"),
        (event({"error": {**ERROR, "code": "internal_error"}}), "unexpected error"),
        (event({"error": {"code": "worker_crashed"}}), "without message"),
        (event({"error": {**ERROR, "code": "engine_fault"}}), "failed by itself"),
        (b"", "without an error"),
    ],
)
def test_a_stream_that_ends_wrongly(body: bytes, problem: str) -> None:
    verdict = judge(ASKED, streamed(body))
    assert verdict.ending == "wrong"
    assert any(re.search(problem, found) for found in verdict.problems), verdict


def test_a_finish_where_a_crash_was_due_is_wrong() -> None:
    verdict = judge(replace(ASKED, mood="kill"), streamed(WHOLE))
    assert "it was to end in kill" in verdict.problems[0]


def test_a_cut_or_stuck_answer_is_wrong_and_a_left_one_is_not() -> None:
    assert "was cut" in judge(ASKED, streamed(text("w1 "), whole=False)).problems[0]
    assert "no end after 25.0 s" in judge(ASKED, Reply(stuck=True, total_s=25.0)).problems[0]
    assert judge(ASKED, streamed(text("w1 ") + b"data: {", whole=False, left=True)) == Verdict("left")
    left_after_both = judge(ASKED, streamed(FAILED + DONE, whole=False, left=True))
    assert "a clean end after a failure" in left_after_both.problems[0]


def test_a_text_in_another_order_of_chunks_is_the_same_text() -> None:
    whole = expected_answer("w1")
    for cut in range(len(whole)):
        assert read_stream(text(whole[:cut]) + text(whole[cut:]) + FINISH + DONE).text == whole


def refusal(status: int, code: str, **headers: str) -> Reply:
    body = json.dumps({"error": {**ERROR, "code": code}}).encode()
    return Reply(status=status, headers=headers, body=body, whole=True)


def test_a_refusal_needs_its_status_its_shape_and_its_header() -> None:
    assert judge(ASKED, refusal(502, "worker_crashed")) == Verdict("failed", "worker_crashed")
    assert judge(ASKED, refusal(503, "overloaded", **{"retry-after": "1"})).ending == "failed"
    assert "without Retry-After" in judge(ASKED, refusal(503, "overloaded")).problems[0]
    assert "expected 502" in judge(ASKED, refusal(500, "worker_crashed")).problems[0]
    assert "unexpected error" in judge(ASKED, refusal(500, "internal_error")).problems[0]
    plain = Reply(status=500, body=b"Internal Server Error", whole=True)
    assert "without an error object" in judge(ASKED, plain).problems[0]


def test_answers_that_are_not_streamed() -> None:
    asked = replace(ASKED, stream=False)
    choice = {"message": {"content": expected_answer("w1")}, "finish_reason": "stop"}
    assert judge(asked, streamed(json.dumps({"choices": [choice]}).encode())) == Verdict("finished")
    unfinished = {**choice, "finish_reason": None}
    assert judge(asked, streamed(json.dumps({"choices": [unfinished]}).encode())).ending == "wrong"
    vectors = replace(asked, endpoint="embeddings")
    answer = json.dumps({"data": [{"embedding": [0.5] * DIMENSIONS}]}).encode()
    assert judge(vectors, streamed(answer)) == Verdict("finished")
    assert judge(vectors, streamed(b'{"data": []}')).ending == "wrong"


# --- what it makes of the server's own word -------------------------------------------------------------


def record(**changes: Any) -> dict[str, Any]:
    return {"run": "c1-1", "request_id": "r1", "status": 200, "code": "", **changes}


def test_one_record_for_each_request_that_says_the_same() -> None:
    finished = Judged(ASKED, Reply(headers={"x-hotseat-request-id": "r1"}), Verdict("finished"))
    failed = Judged(ASKED, Reply(), Verdict("failed", "worker_crashed"))
    left = Judged(ASKED, Reply(), Verdict("left"))
    assert check_records([finished], [record()]) == []
    assert check_records([failed], [record(status=502, code="worker_crashed")]) == []
    assert check_records([left], [record(status=499, code="client_gone")]) == []
    assert "0 records" in check_records([finished], [])[0]
    assert "2 records" in check_records([finished], [record(), record(request_id="r2")])[0]
    assert "of request r1" in check_records([finished], [record(request_id="r2")])[0]
    assert "it finished" in check_records([finished], [record(status=502, code="worker_crashed")])[0]
    assert "it failed" in check_records([failed], [record()])[0]
    assert "no outcome" in check_records([left], [record(status=0)])[0]


def model(**changes: Any) -> dict[str, Any]:
    idle = {"name": "m", "state": "ready", "leases": 0, "queued": 0, "slots": 2, "estimated_bytes": 60}
    return {**idle, **changes}


def test_a_server_at_rest_has_no_leases_no_waiters_and_nobody_on_the_move() -> None:
    def state(*models: dict[str, Any]) -> dict[str, Any]:
        return {"device": {"budget_bytes": 100}, "models": models}

    assert busy(state(model(), model(state="failed"))) == []
    moving = (model(leases=1), model(queued=1), model(state="loading"), model(state="unloading"))
    assert len(busy(state(*moving))) == len(moving)
    assert overfull(state(model(leases=2), model(state="unloaded"))) == []
    assert "3 leases" in overfull(state(model(leases=3)))[0]
    assert "120 of 100" in overfull(state(model(), model(state="unloading")))[0]


def test_a_zombie_is_told_of_once_and_only_if_it_stays() -> None:
    watch = ProcessWatch()
    zombie = {7: psutil.STATUS_ZOMBIE, 8: psutil.STATUS_SLEEPING}
    looks = [watch.look(zombie, 1, 2) for _ in range(MAX_ZOMBIE_LOOKS + 2)]
    assert [bool(found) for found in looks] == [
        number == MAX_ZOMBIE_LOOKS - 1 for number in range(len(looks))
    ]
    assert watch.look({}, 1, 2) == []
    assert watch.look(zombie, 1, 2) == []
    assert "3 workers" in watch.look({}, 3, 2)[0]
    assert watch.most_workers == 3
