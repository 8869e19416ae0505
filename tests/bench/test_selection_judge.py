"""A judge over HTTP: what it is asked with, and what becomes of answers that are none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bench.errors import ProxyError
from bench.proxy_client import ProxyClient, RunTicket
from bench.selection.judge import (
    HttpJudge,
    JudgeModel,
    JudgeSettings,
    LedgerCosts,
    Reply,
    TooLong,
    judge_model,
    reply_of,
)
from bench.selection.prompts import NOTE_SCHEMA, Prompt
from tests.proxy.rig import run

MODEL = JudgeModel("m", 4096, 1365, is_local=True)
PROMPT = Prompt("system", "user", "note", NOTE_SCHEMA)
ANSWER: Mapping[str, Any] = {
    "choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3},
}


class FakeServer:
    """Gives its answers one after the other, the last one for good."""

    def __init__(self, *answers: tuple[int, object]) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        self.headers.append(request.headers)
        self.paths.append(request.path)
        status, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        known = {"retry-after": "0", "x-hotseat-request-id": f"r{len(self.bodies)}"}
        return web.json_response(answer, status=status, headers=known)


@contextlib.asynccontextmanager
async def served(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def asked(handler: Any, model: JudgeModel = MODEL) -> AsyncIterator[HttpJudge]:
    async with served(handler) as url, aiohttp.ClientSession() as session:
        yield HttpJudge(session, url, RunTicket("run-1", "secret"), model, JudgeSettings("m"))


def error(code: str, message: str = "said") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def test_a_question_is_bounded_strict_and_under_the_run() -> None:
    async def main() -> None:
        server = FakeServer((200, ANSWER))
        async with asked(server.answer) as judge:
            assert await judge.ask(PROMPT) == Reply("{}", "", "r1", 7, 3)
        (body,) = server.bodies
        assert (body["temperature"], body["max_tokens"], body["model"]) == (0, 1365, "m")
        schema = body["response_format"]["json_schema"]
        assert (schema["strict"], schema["schema"]) == (True, NOTE_SCHEMA)
        assert server.paths == ["/r/run-1/v1/chat/completions"]
        assert server.headers[0]["authorization"] == "Bearer secret"
        async with asked(server.answer, replace(MODEL, is_local=False)) as judge:
            await judge.ask(PROMPT)
        assert "maxLength" not in json.dumps(server.bodies[1])

    run(main())


def test_a_busy_server_is_asked_again_and_not_for_ever() -> None:
    async def main() -> None:
        server = FakeServer((503, error("busy")), (429, error("busy")), (200, ANSWER))
        async with asked(server.answer) as judge:
            assert (await judge.ask(PROMPT)).text == "{}"
        assert len(server.bodies) == 3
        server = FakeServer((503, error("busy", "come back")))
        async with asked(server.answer) as judge:
            assert await judge.ask(PROMPT) == Reply("", "no answer: come back", "r3")
        assert len(server.bodies) == 3

    run(main())


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_refusal_is_final(status: int) -> None:
    with pytest.raises(ProxyError, match="the judge m cannot be asked: the budget is spent"):
        reply_of("m", status, json.dumps(error("x", "the budget is spent")).encode(), "r")


def test_a_prompt_that_is_too_long_is_told_apart() -> None:
    with pytest.raises(TooLong):
        reply_of("m", 400, json.dumps(error("context_length_exceeded")).encode(), "r")
    assert reply_of("m", 400, json.dumps(error("other")).encode(), "r").problem == "no answer: said"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"\xff"]
)
def test_an_answer_that_is_none_is_a_problem_and_no_exception(data: bytes) -> None:
    assert reply_of("m", 200, data, "r") == Reply("", "an answer without choices", "r")


def test_an_answer_that_was_cut_off_is_said_to_be() -> None:
    cut = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    reply = reply_of("m", 200, json.dumps(cut).encode(), "r")
    assert (reply.text, reply.problem) == ("", "its answer did not come to an end")


def test_a_server_that_hangs_up_or_says_too_much_is_an_error_in_one_line() -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def babble(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * (2**21 + 1))

    async def main() -> None:
        for handler, said in ((hang_up, "the server was lost"), (babble, "more than 2097152 bytes")):
            async with asked(handler) as judge:
                with pytest.raises(ProxyError, match=said):
                    await judge.ask(PROMPT)

    run(main())


@pytest.mark.parametrize(
    ("row", "context", "answer", "is_local"),
    [
        ({"context_length": 2048, "owned_by": "hotseat"}, 2048, 682, True),
        ({"context_length": 200_000, "owned_by": "far"}, 200_000, 8192, False),
        ({"context_length": 200_000, "max_output_tokens": 1000}, 200_000, 1000, False),
        ({}, 32_768, 8192, False),
    ],
)
def test_room_is_what_an_answer_leaves(
    row: dict[str, Any], context: int, answer: int, is_local: bool
) -> None:
    model = judge_model("m", row)
    assert (model.context_length, model.answer_tokens, model.is_local) == (context, answer, is_local)
    assert 0 < model.room_chars <= 400_000


def test_what_makes_embeddings_cannot_judge() -> None:
    with pytest.raises(ProxyError, match="makes embeddings and cannot judge"):
        judge_model("m", {"embeddings": True})


def test_dollars_are_the_ledgers_of_every_attempt_at_these_questions() -> None:
    rows = [
        {"request_id": name, "attempt": attempt, "started_at": 1.0, "ended_at": 1.0, "status": 200,
         "input_tokens": 5, "cost_usd": cost}
        for name, attempt, cost in (("a", 1, "0.10"), ("a", 2, "0.02"), ("b", 1, "0.005"), ("c", 1, None))
    ]  # fmt: skip

    async def listed(request: web.Request) -> web.Response:
        return web.json_response({"requests": rows, "incomplete": None, "in_flight": 0})

    async def main() -> None:
        async with served(listed) as url, aiohttp.ClientSession() as session:
            costs = LedgerCosts(ProxyClient(session, url, None), "run")
            assert await costs.of(["a", "b"]) == Decimal("0.125")
            assert await costs.of([]) == 0
            assert await costs.of(["a", "c"]) is None  # not priced
            assert await costs.of(["a", "lost"]) is None  # no row

    run(main())
