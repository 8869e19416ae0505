"""Digests of answers: equal for equal answers, by whichever dialect and in whichever pieces they come."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference.chat import ChatEvent, Finish, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from proxy.answer import NO_WAITS, Answer, Served
from proxy.answer_digest import DIGEST_CHARS, AnswerDigest, DigestingMeter
from proxy.answer_meters import meter_for
from proxy.dialects import anthropic_messages, chat_completions, responses
from proxy.providers import KINDS, DialectName
from proxy.sse_reader import SseReader
from tests.proxy.harness_headers import HARNESSES, sent
from tests.proxy.remote_rig import remote
from tests.proxy.rig import run

SERVED = Served("42", "m", 1_800_000_000)
FINISH = Finish(reason="tool_calls", usage=Usage(input_tokens=3, output_tokens=5))
DIALECTS: dict[DialectName, tuple[Any, dict[str, Any]]] = {
    "chat-completions": (chat_completions, {"messages": [{"role": "user", "content": "hi"}]}),
    "anthropic-messages": (
        anthropic_messages,
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
    ),
    "responses": (responses, {"input": "hi"}),
}
ANSWER: list[ChatEvent] = [
    ReasoningDelta(text="hm"),
    TextDelta(text="Grüße, "),
    TextDelta(text="Welt"),
    ToolCallDelta(index=0, id="c0", name="read"),
    ToolCallDelta(index=0, arguments='{"path": '),
    ToolCallDelta(index=0, arguments='"a", "n": 1}'),
    ToolCallDelta(index=1, id="c1", name="list", arguments="{}"),
    FINISH,
]


def digest(*events: ChatEvent) -> str:
    made = AnswerDigest()
    made.add(events)
    return made.hexdigest()


def passed(dialect: DialectName, events: list[ChatEvent], *, stream: bool) -> str:
    """Of what a provider says in its own dialect."""
    module, fields = DIALECTS[dialect]
    call = module.decode_request(json.dumps({"model": "m", "stream": stream, **fields}).encode())
    meter = DigestingMeter(meter_for(dialect, KINDS["compatible"]), dialect)
    if stream:
        encoder = module.StreamEncoder(call, SERVED)
        data = encoder.begin() + b"".join(encoder.encode([event], NO_WAITS) for event in events)
        for event in SseReader().feed(data):
            meter.event(event)
    else:
        answer = Answer()
        for each in events:
            answer.add(each)
        meter.whole(module.encode_response(call, answer, FINISH, SERVED, NO_WAITS))
    assert meter.seen.has_end
    return meter.sha


def test_the_same_answer_has_the_same_digest_in_every_dialect() -> None:
    found = {passed(dialect, ANSWER, stream=stream) for dialect in DIALECTS for stream in (True, False)}
    assert found == {digest(*ANSWER)}
    assert len(digest(*ANSWER)) == DIGEST_CHARS


def test_what_counts() -> None:
    call = ToolCallDelta(index=0, id="a", name="read", arguments='{"a": 1, "b": 2}')
    others: dict[str, list[ChatEvent]] = {
        "text": [TextDelta(text="other")],
        "nothing": [FINISH],
        "call": [call],
        "another name": [ToolCallDelta(index=0, name="write", arguments='{"a": 1, "b": 2}')],
        "other arguments": [ToolCallDelta(index=0, name="read", arguments='{"a": 1, "b": 3}')],
        "no JSON": [ToolCallDelta(index=0, name="read", arguments='{"a": 1')],
        "text that says the call": [TextDelta(text='read{"a": 1, "b": 2}')],
        "twice": [call, ToolCallDelta(index=1, name="read", arguments='{"a": 1, "b": 2}')],
        "name and arguments run together": [
            ToolCallDelta(index=0, name='read{"a"', arguments=': 1, "b": 2}')
        ],
    }
    assert len({digest(*events) for events in others.values()}) == len(others)


def test_what_does_not_count() -> None:
    call = ToolCallDelta(index=0, id="a", name="read", arguments='{"a": 1, "b": 2}')
    same = ToolCallDelta(index=3, id="other", name="read", arguments='{"b":2,"a":1}')
    assert digest(call) == digest(same) == digest(ReasoningDelta(text="so"), call, FINISH)


@given(st.text(max_size=30), st.sets(st.integers(0, 30)))
def test_the_pieces_do_not_count(text: str, cuts: set[int]) -> None:
    places = [0, *sorted(cuts), len(text)]
    pieces = [TextDelta(text=text[a:b]) for a, b in pairwise(places)]
    assert digest(*pieces) == digest(TextDelta(text=text))


def test_what_cannot_be_read_has_no_digest() -> None:
    meter = DigestingMeter(meter_for("chat-completions", KINDS["compatible"]), "chat-completions")
    choice = {"index": 0, "delta": {"content": {"odd": 1}}, "finish_reason": "stop"}
    for event in SseReader().feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"):
        meter.event(event)
    assert meter.seen.has_end
    assert meter.sha == ""


def test_rows_of_runs_have_it_and_no_others(tmp_path: Path) -> None:
    """Local, passed on and translated; equal answers of one model are equal."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            for harness in HARNESSES:
                for model in ("echo", "sonnet", "glm-messages"):
                    for stream in (False, True):
                        asked = sent(harness, "subagent", stream=stream)
                        for prefix in ("/r/one", ""):
                            status, _ = await post(
                                far.rig.http, far.rig.url + prefix + asked.path, asked, model
                            )
                            assert status == 200
            rows = (await far.rig.get("/api/requests?limit=1000"))["requests"]
            assert {row["answer_sha"] for row in rows if not row["run"]} == {""}
            of_run = [(row["harness"], row["model"], row["answer_sha"]) for row in rows if row["run"]]
            assert len(of_run) == 18
            assert all(len(sha) == DIGEST_CHARS for _, _, sha in of_run)
            assert len(set(of_run)) == 9  # streamed or not, it is the same answer

    async def post(http: Any, url: str, asked: Any, model: str) -> tuple[int, bytes]:
        body = {**asked.body, "model": model}
        async with http.post(url, json=body, headers=asked.headers) as response:
            return response.status, await response.read()

    run(main())
