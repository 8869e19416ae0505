"""Scoped keys, runs and budgets over HTTP: a whole server, and fakes of those who are paid."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from proxy.prices import PriceBook, PriceEntry, Rates, book_text, day_of
from tests.fake_openrouter import PRICES, SONNET
from tests.fake_wire import Failure, Reply, Stunt, Wire
from tests.proxy.remote_rig import HELLO, KEYS, remote, write_files
from tests.proxy.rig import Rig, run, serving_file

OWNER_KEY = "canary-owner-0123456789"
CI_KEY = "canary-ci-0123456789abcd"
BOSS_KEY = "canary-boss-0123456789ab"
ENVIRON = {**KEYS, "OWNERS": OWNER_KEY, "CI": CI_KEY, "BOSS": BOSS_KEY}
MODELS = "".join(f'[models.{name}]\npath = "echo.toml"\nengine = "scripted"\n' for name in ("echo", "second"))
SCOPED = '[keys.ci]\nenv = "CI"\nmodels = ["echo"]\n[keys.boss]\nenv = "BOSS"\nadmin = true\n'
OWNED = '[server]\napi_keys_env = "OWNERS"\n'

Answer = tuple[int, Any, Mapping[str, str]]


def auth(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def ask(rig: Rig, key: str, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
    body = {"model": "echo", "messages": HELLO, "max_tokens": 50} | fields
    headers = {"x-api-key": key, "content-type": "application/json"}
    async with rig.http.post(rig.url + path, json=body, headers=headers) as response:
        return response.status, await response.json(), response.headers


async def call(rig: Rig, method: str, path: str, key: str, body: Any = None) -> Answer:
    async with rig.http.request(method, rig.url + path, json=body, headers=auth(key)) as response:
        return response.status, await response.json(), response.headers


async def rows(rig: Rig, key: str = OWNER_KEY) -> list[Any]:
    _, body, _ = await call(rig, "GET", "/api/requests", key)
    found: list[Any] = body["requests"]
    return found


def test_what_each_key_may(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving_file(
            write_files(tmp_path, OWNED + MODELS + SCOPED), **dict[str, Any](ENVIRON)
        ) as rig:
            for key in (OWNER_KEY, CI_KEY, BOSS_KEY):
                assert (await ask(rig, key))[0] == 200
            status, body, _ = await ask(rig, CI_KEY, model="second")
            assert (status, body["error"]["code"], body["error"]["param"]) == (
                403,
                "model_not_allowed",
                "model",
            )
            status, body, _ = await ask(rig, CI_KEY, "/v1/messages", model="second")
            assert (status, body["type"], body["error"]["type"]) == (403, "error", "permission_error")
            for path in ("/api/state", "/metrics"):
                for key, expected in ((OWNER_KEY, 200), (BOSS_KEY, 200), (CI_KEY, 403), ("wrong", 401)):
                    async with rig.http.get(rig.url + path, headers=auth(key)) as response:
                        assert response.status == expected
            assert sorted(row["key"] for row in await rows(rig)) == ["", "boss", "ci", "ci", "ci"]

    run(main())


def test_a_key_sees_and_counts_with_the_models_that_it_may_ask(tmp_path: Path) -> None:
    text = OWNED + MODELS + SCOPED + '[roles]\nmain = "echo"\nsubagent = "second"\n'

    async def main() -> None:
        async with serving_file(write_files(tmp_path, text), **dict[str, Any](ENVIRON)) as rig:
            for key, seen, roles in (
                (CI_KEY, ["echo"], {"main"}),
                (BOSS_KEY, ["echo", "second"], {"main", "subagent"}),
            ):
                _, listed, _ = await call(rig, "GET", "/v1/models", key)
                assert [model["id"] for model in listed["data"]] == seen
                assert set(listed["roles"]) == roles
            for model, status in (("echo", 200), ("main", 200), ("second", 403), ("subagent", 403)):
                assert (await call(rig, "GET", f"/v1/models/{model}", CI_KEY))[0] == status
                body = {"model": model, "messages": HELLO}
                counted, said, _ = await call(rig, "POST", "/v1/messages/count_tokens", CI_KEY, body)
                assert counted == status
                assert status == 200 or said["error"]["type"] == "permission_error"

    run(main())


def test_a_key_with_models_does_not_let_the_provider_choose_others(tmp_path: Path) -> None:
    """OpenRouter takes one of `models` where `model` fails; the rest of a body goes on as it is."""
    more = '[keys.ci]\nenv = "CI"\nmodels = ["sonnet"]\n[keys.boss]\nenv = "BOSS"\n'

    async def main() -> None:
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            for field, value in (("models", ["openai/dearest"]), ("preset", "dear")):
                chosen: dict[str, Any] = {field: value}
                status, body, _ = await ask(far.rig, CI_KEY, model="sonnet", **chosen)
                assert (status, body["error"]["code"], body["error"]["param"]) == (
                    403,
                    "model_not_allowed",
                    field,
                )
                assert not far.openrouter.posted
            assert (await ask(far.rig, CI_KEY, model="sonnet", models=None))[0] == 200
            assert (await ask(far.rig, BOSS_KEY, model="sonnet", models=["a/b"]))[0] == 200
            assert far.openrouter.posted[-1].body["models"] == ["a/b"], "its owner may"

    run(main())


_HALF = b"".join(
    b"event: %s\ndata: %s\n\n" % (name, data)
    for name, data in (
        (
            b"message_start",
            b'{"type":"message_start","message":{"content":[],"usage":{"input_tokens":1000,"output_tokens":1}}}',
        ),
        (
            b"content_block_start",
            b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        ),
        (
            b"content_block_delta",
            b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"all of it"}}',
        ),
    )
)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_who_leaves_in_the_middle_has_not_paid_for_a_single_token(tmp_path: Path, path: str) -> None:
    """Messages say at the start what the prompt takes and that one token was made: no price of the answer. A
    client that left just before the end would have had it for nearly nothing, again and again."""
    rates = Rates(Decimal("0.000001"), Decimal("0.00001"))
    write_files(tmp_path, "")
    entry = PriceEntry("zai-messages", "glm-5", day_of(0), "the fake's own", rates)
    (tmp_path / "book.toml").write_text(book_text(PriceBook([entry])))
    more = '[prices]\nbook = "./book.toml"\n[budgets]\nusd_per_day = "0.2"\n'
    body = {"model": "glm-messages", "messages": HELLO, "max_tokens": 10_000, "stream": True}

    async def main() -> None:
        async with remote(tmp_path, more=more) as far:
            far.zai.script(Stunt(headers={"content-type": "text/event-stream"}, body=_HALF, hangs=True))
            async with far.rig.http.post(far.rig.url + path, json=body) as response:
                await response.content.readline()
            while not (rows := await far.rows()):
                continue
            [row] = rows
            assert (row["status"], row["input_tokens"], row["output_tokens"]) == (499, 1000, 1)
            assert (row["cost_usd"], row["price_source"]) == (None, "unknown")
            async with far.rig.http.post(far.rig.url + path, json=body | {"max_tokens": 11_000}) as response:
                assert response.status == 402, "what was held for it is spent"

    run(main())


def test_an_answer_that_broke_off_may_have_cost_something(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.zai.script(Reply(wire=Wire(ends_at=100, resets=True)), Stunt(drops=True))
            for _ in range(2):
                assert (await far.chat("glm"))[0] == 502
                row, *_ = await far.rows()
                assert (row["code"], row["cost_usd"], row["price_source"]) == (
                    "provider_error",
                    None,
                    "unknown",
                )

    run(main())


def test_a_key_with_a_rate_is_told_when_to_come_back(tmp_path: Path) -> None:
    text = OWNED + MODELS + '[keys.ci]\nenv = "CI"\nrate = "2/h"\n'

    async def main() -> None:
        async with serving_file(write_files(tmp_path, text), **dict[str, Any](ENVIRON)) as rig:
            answers = [await ask(rig, CI_KEY) for _ in range(3)]
            assert [status for status, _, _ in answers] == [200, 200, 429]
            _, body, headers = answers[2]
            assert body["error"]["code"] == "rate_limited"
            assert 1790 <= int(headers["retry-after"]) <= 1800

    run(main())


def test_a_run_from_its_announcement_to_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving_file(
            write_files(tmp_path, OWNED + MODELS + SCOPED), **dict[str, Any](ENVIRON)
        ) as rig:
            asked = {"name": "night", "max_requests": 3, "models": ["echo"]}
            status, minted, headers = await call(rig, "POST", "/api/runs", OWNER_KEY, asked)
            assert (status, minted["run"], minted["base_url"]) == (201, "night", f"{rig.url}/r/night")
            assert headers["cache-control"] == "no-store"
            token = minted["token"]

            assert (await ask(rig, token))[0] == 200
            assert (await ask(rig, token, "/r/night/v1/chat/completions"))[0] == 200
            assert (await ask(rig, token, "/r/day/v1/chat/completions"))[0] == 403
            assert (await ask(rig, CI_KEY, "/r/night/v1/chat/completions"))[0] == 403
            assert (await ask(rig, token, model="second"))[0] == 403
            assert (await call(rig, "POST", "/api/runs", token, {}))[0] == 403
            assert (await ask(rig, token, "/v1/messages"))[0] == 200
            status, body, _ = await ask(rig, token, "/v1/messages")
            assert (status, body["error"]["type"]) == (402, "billing_error")

            done = [row for row in await rows(rig) if row["status"] == 200]
            assert [(row["run"], row["key"]) for row in done] == [("night", "night")] * 3
            assert (await call(rig, "POST", "/api/runs", OWNER_KEY, asked))[0] == 409
            status, ended, _ = await call(rig, "DELETE", "/api/runs/night", OWNER_KEY)
            assert (status, ended["run"], ended["loads"]) == (200, "night", 1)
            assert (await ask(rig, token))[0] == 401
            assert (await call(rig, "DELETE", "/api/runs/night", OWNER_KEY))[0] == 404

    run(main())


def test_runs_are_for_those_who_may_announce_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving_file(
            write_files(tmp_path, OWNED + MODELS + SCOPED), **dict[str, Any](ENVIRON)
        ) as rig:
            for key, expected in ((OWNER_KEY, 201), (BOSS_KEY, 201), (CI_KEY, 403), ("wrong", 401)):
                assert (await call(rig, "POST", "/api/runs", key, {}))[0] == expected
            assert (await call(rig, "POST", "/api/runs", OWNER_KEY, {"name": "ci"}))[0] == 409
            names = {(await call(rig, "POST", "/api/runs", OWNER_KEY))[1]["run"] for _ in range(3)}
            assert len(names) == 3

    run(main())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"nmae": "x"}, "nmae"),
        ({"budget_usd": -1}, "budget_usd"),
        ({"budget_usd": "NaN"}, "budget_usd"),
        ({"budget_usd": "Infinity"}, "budget_usd"),
        ({"budget_usd": "1e-999999999"}, "budget_usd"),
        ({"budget_usd": "0." + "0" * 12 + "1"}, "budget_usd"),
        ({"max_requests": 0}, "max_requests"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": 1e9}, "ttl_s"),
        ({"models": []}, "models"),
        ({"models": ["a\n"]}, "models"),
        ([], "object"),
    ],
)
def test_a_run_is_announced_in_the_right_words(tmp_path: Path, body: Any, expected: str) -> None:
    async def main() -> None:
        async with serving_file(write_files(tmp_path, MODELS)) as rig:
            status, answer, _ = await call(rig, "POST", "/api/runs", "", body)
            assert status == 400
            assert answer["error"]["code"] == "invalid_request"
            assert expected in answer["error"]["message"] + str(answer["error"]["param"])

    run(main())


# --- budgets -----------------------------------------------------------------------------------


def book(folder: Path) -> str:
    """As the fake bills. A request of these tests holds at most 0.00105: 100 tokens in, 50 out."""
    price = PRICES[SONNET]
    rates = Rates(price.prompt, price.completion, price.cached, price.cache_write)
    entry = PriceEntry("openrouter", SONNET, day_of(0.0), "the fake", rates)
    (folder / "book.toml").write_text(book_text(PriceBook([entry])))
    return '[prices]\nbook = "book.toml"\n'


CAPPED = '[keys.ci]\nenv = "CI"\nbudget = { usd = "0.003", per = "total" }\n'


async def first(tasks: set[asyncio.Task[Answer]], n: int) -> list[Answer]:
    """The answers of the `n` that are done first; they are taken out of `tasks`."""
    answers: list[Answer] = []
    while len(answers) < n:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks -= done
        answers += [task.result() for task in done]
    return answers


@pytest.mark.parametrize("model", ["sonnet", "local-at-last"])
def test_concurrent_requests_cannot_run_past_a_budget(tmp_path: Path, model: str) -> None:
    async def main() -> None:
        more = OWNED + book(tmp_path) + CAPPED
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            provider = far.openrouter
            provider.respond(lambda _: Reply(wire=Wire(stall_after=0)))
            tasks = {asyncio.create_task(ask(far.rig, CI_KEY, model=model)) for _ in range(12)}
            await provider.until(lambda: provider.n_running == 3)
            refused = await first(tasks, 9)
            assert {(status, body["error"]["code"]) for status, body, _ in refused} == {
                (402, "budget_exceeded")
            }
            provider.resume()
            assert [status for status, _, _ in await first(tasks, 3)] == [200] * 3
            assert provider.billed.cost < Decimal("0.003")
            assert len(provider.posted) == 3

    run(main())


def test_a_budget_is_spent_by_what_requests_really_cost(tmp_path: Path) -> None:
    """Far less than what was held for them: a good many fit, and none after the last that could."""

    async def main() -> None:
        more = OWNED + book(tmp_path) + CAPPED
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            n_answered = 0
            status, body, headers = await ask(far.rig, CI_KEY, model="sonnet")
            while status == 200 and n_answered < 200:
                n_answered += 1
                status, body, headers = await ask(far.rig, CI_KEY, model="sonnet")
            assert (status, body["error"]["code"]) == (402, "budget_exceeded")
            assert headers["x-should-retry"] == "false"
            assert n_answered > 5
            assert len(far.openrouter.posted) == n_answered
            spent = far.openrouter.billed.cost
            assert spent <= Decimal("0.003") < spent + Decimal("0.00105")
            assert (await ask(far.rig, CI_KEY, model="echo"))[0] == 200
            assert (await ask(far.rig, OWNER_KEY, model="sonnet"))[0] == 200

    run(main())


def test_what_was_spent_is_known_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        more = OWNED + book(tmp_path) + CAPPED
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            while (await ask(far.rig, CI_KEY, model="sonnet"))[0] == 200:
                pass
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            assert (await ask(far.rig, CI_KEY, model="sonnet"))[0] == 402
            assert far.openrouter.asked == []

    run(main())


def test_what_nobody_could_price_is_known_after_a_restart(tmp_path: Path) -> None:
    """A model without a price, in a budget for one such request. A restart forgot it, and gave another."""

    async def main() -> None:
        more = OWNED + '[keys.ci]\nenv = "CI"\nbudget = { usd = "1.5", per = "total" }\n'
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            assert (await ask(far.rig, CI_KEY, model="glm-coding"))[0] == 200
            status, body, _ = await ask(far.rig, CI_KEY, model="glm-coding")
            assert (status, "$0.5 is left" in body["error"]["message"]) == (402, True)
            before = await rows(far.rig)
            assert [(row["cost_usd"], row["assumed_usd"], row["payer"]) for row in before] == [
                (None, None, "ci"),
                (None, "1", "ci"),
            ]
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            status, body, _ = await ask(far.rig, CI_KEY, model="glm-coding")
            assert (status, "$0.5 is left" in body["error"]["message"]) == (402, True)
            assert far.zai.asked == []

    run(main())


def ledger_at(folder: Path) -> sqlite3.Connection:
    """As another program opens it."""
    (path,) = folder.rglob("ledger.sqlite3")
    return sqlite3.connect(path, isolation_level=None)


def test_a_locked_ledger_holds_up_who_has_a_budget_and_nobody_else(tmp_path: Path) -> None:
    """The first reading of an account was made on the event loop: every stream stood still with it."""

    async def main() -> None:
        more = OWNED + book(tmp_path) + CAPPED
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            with contextlib.closing(ledger_at(tmp_path)) as other:
                other.execute("BEGIN EXCLUSIVE")
                assert (await ask(far.rig, CI_KEY))[0] == 200, "a model of this machine asks for no budget"
                asking = asyncio.create_task(ask(far.rig, CI_KEY, model="sonnet"))
                for _ in range(20):
                    assert (await ask(far.rig, OWNER_KEY, model="sonnet"))[0] == 200
                assert not asking.done()
                status, body, headers = await asking
                assert (status, body["error"]["code"]) == (503, "ledger_unavailable")
                assert int(headers["retry-after"]) > 0
                other.execute("ROLLBACK")
            while (await ask(far.rig, CI_KEY, model="sonnet"))[0] == 503:
                pass
            assert (await ask(far.rig, CI_KEY, model="sonnet"))[0] == 200

    run(main())


def test_two_servers_with_one_ledger_know_of_each_other(tmp_path: Path) -> None:
    async def main() -> None:
        more = OWNED + book(tmp_path) + CAPPED
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            while (await ask(far.rig, CI_KEY, model="sonnet"))[0] == 200:
                pass
            await call(far.rig, "GET", "/api/runs/r", OWNER_KEY)  # which waits until its own are written
            async with serving_file(tmp_path / "models.toml", **dict[str, Any](ENVIRON)) as beside:
                n_asked = len(far.openrouter.asked)
                assert (await ask(beside, CI_KEY, model="sonnet"))[0] == 402
                assert len(far.openrouter.asked) == n_asked

    run(main())


def test_a_run_does_not_get_round_the_budget_of_the_key_that_announced_it(tmp_path: Path) -> None:
    async def main() -> None:
        boss = '[keys.boss]\nenv = "BOSS"\nadmin = true\nbudget = { usd = "0.003", per = "total" }\n'
        more = OWNED + book(tmp_path) + boss
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            _, minted, _ = await call(far.rig, "POST", "/api/runs", BOSS_KEY, {})
            while (answer := await ask(far.rig, minted["token"], model="sonnet"))[0] == 200:
                assert far.openrouter.billed.cost <= Decimal("0.003")
            assert (answer[0], "budget of key 'boss'" in answer[1]["error"]["message"]) == (402, True)
            assert (await ask(far.rig, BOSS_KEY, model="sonnet"))[0] == 402
            assert {(row["key"], row["payer"]) for row in await rows(far.rig)} == {
                (minted["run"], "boss"),
                ("boss", "boss"),
            }
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            assert (await ask(far.rig, BOSS_KEY, model="sonnet"))[0] == 402, "also after a restart"
            _, minted, _ = await call(far.rig, "POST", "/api/runs", BOSS_KEY, {})
            assert (await ask(far.rig, minted["token"], model="sonnet"))[0] == 402

    run(main())


def test_counting_tokens_is_free_whatever_is_left(tmp_path: Path) -> None:
    """What a model without a price may cost was held for it, and refused."""

    async def main() -> None:
        more = OWNED + '[keys.ci]\nenv = "CI"\nbudget = { usd = "0", per = "total" }\n'
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            body = {"model": "glm-messages", "messages": HELLO}
            _, said, _ = await call(far.rig, "POST", "/v1/messages/count_tokens", CI_KEY, body)
            assert said["error"]["hotseat"]["code"] == "tokens_not_countable", "it got as far as that"

    run(main())


def test_what_a_provider_refuses_costs_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        more = OWNED + book(tmp_path) + CAPPED
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            far.openrouter.respond(lambda _: Failure(400, "bad request"))
            assert [(await ask(far.rig, CI_KEY, model="sonnet"))[0] for _ in range(10)] == [400] * 10
            far.openrouter.respond(lambda _: Reply())
            assert (await ask(far.rig, CI_KEY, model="sonnet"))[0] == 200

    run(main())


def test_the_sdks_know_what_a_used_up_budget_is(tmp_path: Path) -> None:
    async def main() -> None:
        more = OWNED + '[keys.ci]\nenv = "CI"\nbudget = { usd = "0", per = "day" }\n'
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            ours = await far.openai(CI_KEY, max_retries=3)
            with pytest.raises(openai.APIStatusError) as refused:
                await ours.chat.completions.create(model="sonnet", messages=HELLO)
            assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
            theirs = await far.anthropic(CI_KEY, max_retries=3)
            with pytest.raises(anthropic.APIStatusError) as told:
                await theirs.messages.create(model="sonnet", messages=HELLO, max_tokens=5)
            assert told.value.status_code == 402
            assert "the day budget of key 'ci'" in str(told.value)
            assert far.openrouter.asked == []
            assert len(await rows(far.rig)) <= 2  # none was repeated

    run(main())


def test_a_runs_budget_and_the_servers_day(tmp_path: Path) -> None:
    async def main() -> None:
        more = OWNED + book(tmp_path) + '[budgets]\nusd_per_day = "0.0095"\n'
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            _, minted, _ = await call(far.rig, "POST", "/api/runs", OWNER_KEY, {"budget_usd": "0.002"})
            while (await ask(far.rig, minted["token"], model="sonnet"))[0] == 200:
                pass
            first_spent = far.openrouter.billed.cost
            assert first_spent <= Decimal("0.002")
            status, body, _ = await ask(far.rig, minted["token"], model="sonnet")
            assert (status, "budget of run" in body["error"]["message"]) == (402, True)
            while (await ask(far.rig, OWNER_KEY, model="sonnet"))[0] == 200:
                pass
            status, body, _ = await ask(far.rig, OWNER_KEY, model="sonnet")
            assert (status, "day budget of the server" in body["error"]["message"]) == (402, True)
            assert first_spent < far.openrouter.billed.cost <= Decimal("0.0095")

    run(main())


# --- keys never show ---------------------------------------------------------------------------


def test_keys_and_tokens_are_in_nothing_that_the_server_says_or_keeps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> list[str]:
        said: list[str] = []

        async def heard(answer: Answer) -> Answer:
            said.append(f"{answer[1]} {dict(answer[2])}")
            return answer

        more = OWNED + book(tmp_path) + CAPPED + '[keys.boss]\nenv = "BOSS"\nadmin = true\n'
        async with remote(tmp_path, more=more, environ=ENVIRON) as far:
            rig = far.rig
            token = (await call(rig, "POST", "/api/runs", OWNER_KEY, {"name": "night"}))[1]["token"]
            for key in (OWNER_KEY, CI_KEY, BOSS_KEY, token, token + "0", CI_KEY[:-1]):
                for path in ("/v1/chat/completions", "/v1/messages", "/r/x/v1/responses", "/nowhere"):
                    await heard(await ask(rig, key, path, model="sonnet"))
                for path in ("/api/state", "/api/requests", "/api/requests?run=night", "/v1/models"):
                    await heard(await call(rig, "GET", path, key))
                await heard(await call(rig, "POST", "/api/reload", key))
            async with rig.http.get(f"{rig.url}/metrics", headers=auth(OWNER_KEY)) as response:
                said.append(await response.text())
            await heard(await call(rig, "DELETE", "/api/runs/night", OWNER_KEY))
            said += [f"{asked.headers} {asked.body}" for asked in far.openrouter.asked]
        return [*said, token.rsplit("-", 1)[1]]

    *said, secret = run(main())
    kept = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("SQLite" in text for text in kept)
    everything = "\n".join([*said, *kept, caplog.text])
    assert "night" in everything
    assert secret not in everything
    assert "canary" not in everything
