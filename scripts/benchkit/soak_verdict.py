"""Whether an answer, and what the server recorded of it, is one that a client may be given. Pure.

A request ends in exactly one way: finished; failed, by an error in its dialect's shape, as a status or
as the last event of a stream; or left by its client. Everything else is a problem, in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchkit.soak_plan import UNKNOWN_MODEL, Asked
from benchkit.soak_world import DIMENSIONS, expected_answer

Ending = Literal["finished", "failed", "left", "wrong"]

STATUS_OF = {
    "model_not_found": 404,
    "engine_fault": 500,
    "worker_crashed": 502,
    "overloaded": 503,
    "model_unloaded": 503,
    "load_failed": 503,
    "worker_stalled": 504,
    "request_timeout": 504,
    "shutting_down": 503,
}
"""Errors that the soak provokes. Any other is a bug of the server, or of the soak."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `whole`: the body ended as HTTP says it should. `left`: we hung up before that."""

    status: int = 0
    headers: Mapping[str, str] | None = None
    body: bytes = b""
    whole: bool = False
    left: bool = False
    stuck: bool = False
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    ending: Ending
    code: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A request that is over."""

    asked: Asked
    reply: Reply
    verdict: Verdict


@dataclass(slots=True)
class StreamSeen:
    """What the events of a stream say, whole ones only."""

    text: str = ""
    finish: str = ""
    error: dict[str, Any] | None = None
    is_done: bool = False
    after_the_end: int = 0
    fragment: bytes = b""


def judge(asked: Asked, reply: Reply) -> Verdict:
    if reply.stuck:
        return _wrong(f"no end after {reply.total_s:.1f} s (status {reply.status})")
    if reply.left:
        return Verdict(
            "left", problems=tuple(_contradictions(read_stream(reply.body))) if asked.stream else ()
        )
    if not reply.whole:
        return _wrong(f"the connection was cut after {len(reply.body)} bytes of body (status {reply.status})")
    if reply.status != 200:
        return _judge_refusal(reply)
    return judge_stream(asked, reply.body) if asked.stream else _judge_answer(asked, reply.body)


def judge_stream(asked: Asked, body: bytes) -> Verdict:
    seen = read_stream(body)
    problems = _contradictions(seen)
    if seen.fragment:
        problems.append(f"ends inside an event: {seen.fragment[-80:]!r}")
    if seen.error is not None:
        code, found = _typed_error(seen.error)
        problems += found
        return Verdict("wrong" if problems else "failed", code, tuple(problems))
    if not seen.finish or not seen.is_done:
        missing = "[DONE]" if seen.finish else "finish reason"
        problems.append(f"ends without {missing} and without an error: …{body[-120:]!r}")
    if seen.finish:
        problems += _wrong_text(asked, seen.text)
    return Verdict("wrong" if problems else "finished", problems=tuple(problems))


def read_stream(body: bytes) -> StreamSeen:
    seen = StreamSeen()
    *events, seen.fragment = body.split(b"\n\n")
    for event in events:
        if event.startswith(b":"):
            continue
        if seen.is_done or seen.error is not None:
            seen.after_the_end += 1
        if event == b"data: [DONE]":
            seen.is_done = True
            continue
        chunk = json.loads(event.removeprefix(b"data: "))
        seen.error = chunk.get("error", seen.error)
        for choice in chunk.get("choices", ()):
            seen.text += choice.get("text") or choice.get("delta", {}).get("content") or ""
            seen.finish = choice.get("finish_reason") or seen.finish
    return seen


def _contradictions(seen: StreamSeen) -> list[str]:
    problems = []
    if seen.error is not None and seen.is_done:
        problems.append("an error event and [DONE]: a clean end after a failure")
    if seen.error is not None and seen.finish:
        problems.append(f"an error event and the finish reason {seen.finish!r}")
    if seen.after_the_end:
        problems.append(f"{seen.after_the_end} events after the last one")
    return problems


def _judge_refusal(reply: Reply) -> Verdict:
    error = _object(reply.body).get("error")
    if not isinstance(error, dict):
        return _wrong(f"status {reply.status} without an error object: {reply.body[:120]!r}")
    code, problems = _typed_error(error)
    if STATUS_OF.get(code, reply.status) != reply.status:
        problems.append(f"error {code!r} with status {reply.status}, expected {STATUS_OF[code]}")
    if code == "overloaded" and "retry-after" not in (reply.headers or {}):
        problems.append("overloaded without Retry-After")
    return Verdict("wrong" if problems else "failed", code, tuple(problems))


def _typed_error(error: Mapping[str, Any]) -> tuple[str, list[str]]:
    code = str(error.get("code"))
    problems = []
    if not error.get("message") or not error.get("type") or not isinstance(error.get("hotseat"), dict):
        problems.append(f"an error without message, type or details: {error}")
    if code not in STATUS_OF:
        problems.append(f"unexpected error {code!r}: {error.get('message')}")
    if code == "engine_fault" and "scripted fault" not in str(error.get("message")):
        problems.append(f"an engine failed by itself: {error.get('message')}")
    return code, problems


def _judge_answer(asked: Asked, body: bytes) -> Verdict:
    answer = _object(body)
    if asked.endpoint == "embeddings":
        sizes = [len(item.get("embedding", ())) for item in answer.get("data", ())]
        return Verdict("finished") if sizes == [DIMENSIONS] else _wrong(f"expected one vector, found {sizes}")
    choices = answer.get("choices") or [{}]
    if not choices[0].get("finish_reason"):
        return _wrong(f"no finish reason: {body[:200]!r}")
    text = choices[0].get("text") or choices[0].get("message", {}).get("content") or ""
    problems = tuple(_wrong_text(asked, text))
    return Verdict("wrong" if problems else "finished", problems=problems)


def _wrong_text(asked: Asked, text: str) -> list[str]:
    """Half an answer with a finish, somebody else's words, and an end where a fault was to happen."""
    if asked.mood != "plain" or asked.model == UNKNOWN_MODEL:
        return [f"an answer with a finish, although it was to end in {asked.mood}: …{text[-60:]!r}"]
    if asked.has_known_answer and text.strip() != expected_answer(asked.word).strip():
        return [f"a finished answer with another text than {asked.word!r} over and over: …{text[-60:]!r}"]
    return []


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _wrong(problem: str) -> Verdict:
    return Verdict("wrong", problems=(problem,))


# --- the server's own record ---------------------------------------------------------------------


def check_records(judged: Iterable[Judged], records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every request has exactly one record, and it says what the client saw."""
    by_run: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_run.setdefault(str(record["run"]), []).append(record)
    problems = []
    for one in judged:
        found = by_run.get(one.asked.run, [])
        if len(found) != 1:
            problems.append(f"request {one.asked.run} ({one.verdict.ending}) has {len(found)} records")
        else:
            problems += [f"request {one.asked.run}: {what}" for what in _contradicted(one, found[0])]
    return problems


def _contradicted(one: Judged, record: Mapping[str, Any]) -> list[str]:
    problems = []
    status, code = record["status"], record["code"]
    told_id = (one.reply.headers or {}).get("x-hotseat-request-id")
    if told_id is not None and told_id != record["request_id"]:
        problems.append(f"the answer is of request {told_id}, the record of {record['request_id']}")
    if not status:
        problems.append("its record has no outcome")
    if one.verdict.ending == "finished" and (status != 200 or code):
        problems.append(f"it finished, its record says {status} {code!r}")
    if one.verdict.ending == "failed" and code != one.verdict.code:
        problems.append(f"it failed with {one.verdict.code!r}, its record says {status} {code!r}")
    return problems


# --- the server at rest ----------------------------------------------------------------------------


def busy(state: Mapping[str, Any]) -> list[str]:
    """What is still going on, by /api/state, when nobody asks for anything."""
    return [
        f"{model['name']} is {model['state']} with {model['leases']} leases and {model['queued']} waiting"
        for model in state["models"]
        if model["leases"] or model["queued"] or model["state"] in ("loading", "unloading")
    ]


def overfull(state: Mapping[str, Any]) -> list[str]:
    """More resident than the budget has room for, or more leases than slots, at any moment."""
    models: Sequence[Mapping[str, Any]] = state["models"]
    resident = [m for m in models if m["state"] in ("loading", "ready", "unloading")]
    taken = sum(m["estimated_bytes"] or 0 for m in resident)
    problems = [
        f"{m['name']}: {m['leases']} leases, {m['slots']} slots" for m in models if m["leases"] > m["slots"]
    ]
    if taken > state["device"]["budget_bytes"]:
        names = ", ".join(m["name"] for m in resident)
        problems.append(f"{names} are resident and take {taken} of {state['device']['budget_bytes']} bytes")
    return problems
