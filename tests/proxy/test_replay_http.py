"""Recording what providers answer in a run, and replaying it: without a net, byte for byte, and never
anything else. The replaying server has no keys, runs offline, and a guard watches its sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests import fake_openrouter, fake_zai
from tests.fake_answers import Answer
from tests.fake_wire import Failure, Reply, Wire
from tests.proxy.remote_rig import HELLO, config_text, remote, write_files
from tests.proxy.rig import Rig, run, serving_file
from tests.proxy.sockets import connections

CHUNKED = Reply(Answer(text="one two three four"), Wire(cuts=(10, 11, 90, 200, 333), comments=True))


async def announce(rig: Rig, name: str, **fields: Any) -> str:
    status, answer, _ = await rig.post("/api/runs", {"name": name, **fields})
    assert status == 201, answer
    token: str = answer["token"]
    return token


async def end(rig: Rig, name: str) -> Any:
    async with rig.http.delete(f"{rig.url}/api/runs/{name}") as response:
        assert response.status == 200
        return await response.json()


async def raw(rig: Rig, token: str, path: str, **body: Any) -> tuple[int, bytes]:
    headers = {"authorization": f"Bearer {token}"}
    async with rig.http.post(rig.url + path, json=body, headers=headers) as response:
        return response.status, await response.read()


@contextlib.asynccontextmanager
async def replaying(folder: Path, *, offline: bool = True, more: str = "") -> AsyncIterator[Rig]:
    """Another server later, where no provider can be reached and no key is set."""
    nowhere = "http://127.0.0.1:9"
    text = config_text(f"{nowhere}/api/v1", nowhere, more=more)
    text = text.replace(
        f'[providers.zai-messages]\nbase_url = "{nowhere}"',
        f'[providers.zai-messages]\nbase_url = "{nowhere}/api/anthropic"',
    )
    text = text.replace(
        f'[providers.zai]\nbase_url = "{nowhere}"', f'[providers.zai]\nbase_url = "{nowhere}/api/paas/v4"'
    )
    path = write_files(folder, text)
    with connections() as seen:
        async with serving_file(path, offline=offline) as rig:
            yield rig
            assert {port for _, port in seen} <= {rig.port}


async def rows(rig: Rig, name: str) -> list[Any]:
    found: list[Any] = (await rig.get(f"/api/requests?run={name}"))["requests"]
    return found


CHAT: dict[str, Any] = {"messages": HELLO, "max_tokens": 40}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT | {"model": "sonnet", "stream": True}),
    ("/v1/chat/completions", CHAT | {"model": "sonnet"}),
    (
        "/v1/chat/completions",
        CHAT | {"model": "sonnet", "stream": True, "stream_options": {"include_usage": True}},
    ),
    ("/v1/messages", CHAT | {"model": "glm-messages", "stream": True}),
    ("/v1/messages", CHAT | {"model": "glm-messages"}),
]


def test_a_replay_is_the_recording_byte_for_byte(tmp_path: Path) -> None:
    async def record() -> list[tuple[int, bytes]]:
        async with remote(tmp_path) as far:
            far.openrouter.script(CHUNKED)
            token = await announce(far.rig, "live", record="tape")
            live = [await raw(far.rig, token, path, **body) for path, body in ASKED]
            ended = await end(far.rig, "live")
            assert (ended["recording"]["answers"], ended["recording"]["left_out"]) == (5, 0)
            return live

    async def replay() -> list[tuple[int, bytes]]:
        async with replaying(tmp_path) as rig:
            token = await announce(rig, "again", replay="tape")
            return [await raw(rig, token, path, **body) for path, body in ASKED]

    live = run(record())
    again = run(replay())
    assert [status for status, _ in live] == [200] * 5
    assert again == live


def test_the_sdks_read_a_replay_as_they_read_the_provider(tmp_path: Path) -> None:
    """Also where it is translated, and where two servers were asked until one answered."""

    async def session(rig: Rig, token: str) -> list[Any]:
        told: list[Any] = []
        client = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=token, max_retries=0)
        theirs = anthropic.AsyncAnthropic(base_url=rig.url, api_key=token, max_retries=0)
        async with client, theirs:
            stream = await client.chat.completions.create(model="sonnet", messages=HELLO, stream=True)
            told.append([chunk.to_dict() async for chunk in stream])
            whole = await client.chat.completions.create(model="careful", messages=HELLO)
            told.append((whole.choices[0].message.content, whole.usage))
            for model in ("glm-messages", "sonnet"):
                async with theirs.messages.stream(model=model, messages=HELLO, max_tokens=9) as events:
                    text = [event async for event in events.text_stream]
                    final = await events.get_final_message()
                told.append((text, final.content, final.stop_reason, final.usage.output_tokens))
            response = await client.responses.create(model="glm", input="hello")
            told.append((response.output_text, response.usage))
        return told

    async def record() -> list[Any]:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(), *[Failure(503, "overloaded")] * 3)
            return await session(far.rig, await announce(far.rig, "live", record="tape"))

    async def replay() -> tuple[list[Any], list[Any]]:
        async with replaying(tmp_path) as rig:
            told = await session(rig, await announce(rig, "again", replay="tape"))
            return told, await rows(rig, "again")

    live = run(record())
    again, attempts = run(replay())
    assert again == live
    assert [row["status"] for row in attempts if row["requested_model"] == "careful"] == [200, 503, 503, 503]


def test_what_was_not_recorded_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    """Also where a local model stands behind it: nobody else answers in a replay."""

    async def record() -> None:
        async with remote(tmp_path) as far:
            token = await announce(far.rig, "live", record="tape")
            assert (await raw(far.rig, token, "/v1/chat/completions", model="local-at-last", **CHAT))[
                0
            ] == 200

    async def replay() -> None:
        async with replaying(tmp_path) as rig:
            token = await announce(rig, "again", replay="tape")
            client = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=token, max_retries=0)
            theirs = anthropic.AsyncAnthropic(base_url=rig.url, api_key=token, max_retries=0)
            other: Any = [*HELLO, {"role": "user", "content": "and you?"}]
            async with client, theirs:
                for stream in (False, True):
                    with pytest.raises(openai.NotFoundError) as refused:
                        await client.chat.completions.create(
                            model="local-at-last", messages=other, max_tokens=40, stream=stream
                        )
                    assert refused.value.code == "not_recorded"
                    assert "'tape' does not have POST /api/v1/chat/completions" in refused.value.message
                    assert "messages[1] is not in it" in refused.value.message
                with pytest.raises(anthropic.NotFoundError, match="nearest recorded request is number 1"):
                    await theirs.messages.create(model="glm-messages", messages=other, max_tokens=9)
            assert {(row["status"], row["code"]) for row in await rows(rig, "again")} == {
                (404, "not_recorded")
            }

    run(record())
    run(replay())


def test_a_fallback_that_was_not_recorded_is_said_to_be(tmp_path: Path) -> None:
    """And not the failure for which it is asked."""

    async def record() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(*[Failure(503, "overloaded")] * 3)
            token = await announce(far.rig, "live", record="tape")
            assert (await raw(far.rig, token, "/v1/chat/completions", model="sonnet", **CHAT))[0] == 503

    async def replay() -> None:
        async with replaying(tmp_path) as rig:
            token = await announce(rig, "again", replay="tape")
            status, body = await raw(rig, token, "/v1/chat/completions", model="careful", **CHAT)
            assert status == 404
            assert b"to zai for glm" in body

    run(record())
    run(replay())


def test_a_replay_costs_what_it_cost_and_nobody_pays(tmp_path: Path) -> None:
    """The run's totals have it; budgets, and what was spent, do not."""
    fields = CHAT | {"model": "sonnet"}

    async def record() -> Decimal:
        async with remote(tmp_path) as far:
            token = await announce(far.rig, "live", record="tape")
            assert (await raw(far.rig, token, "/v1/chat/completions", **fields))[0] == 200
            [row] = await rows(far.rig, "live")
            assert row["price_source"] == "provider"
            return Decimal(row["cost_usd"])

    async def replay(cost: Decimal) -> None:
        async with replaying(tmp_path, more='[budgets]\nusd_per_day = "0.0000001"\n') as rig:
            token = await announce(rig, "again", replay="tape", budget_usd="0")
            for _ in range(3):
                assert (await raw(rig, token, "/v1/chat/completions", **fields))[0] == 200
            found = await rows(rig, "again")
            assert {(Decimal(row["cost_usd"]), row["price_source"]) for row in found} == {(cost, "replay")}
            totals = (await rig.get("/api/runs/again"))["totals"]
            assert (Decimal(totals["cost_usd"]), totals["unpriced"]) == (3 * cost, 0)
            spent = await rig.get("/api/spend?by=run")
            assert {group["group"]: Decimal(group["cost_usd"]) for group in spent["groups"]} == {
                "live": cost,
                "again": Decimal(0),
            }
            assert Decimal(spent["total"]["cost_usd"]) == cost

    run(replay(run(record())))


def test_what_broke_off_breaks_off_again(tmp_path: Path) -> None:
    fields = CHAT | {"model": "sonnet", "stream": True}

    async def record() -> tuple[int, bytes]:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(Answer(text="one two three"), Wire(ends_at=700, resets=True)))
            token = await announce(far.rig, "live", record="tape")
            return await raw(far.rig, token, "/v1/chat/completions", **fields)

    async def replay() -> tuple[int, bytes]:
        async with replaying(tmp_path) as rig:
            token = await announce(rig, "again", replay="tape")
            return await raw(rig, token, "/v1/chat/completions", **fields)

    status, live = run(record())
    assert status == 200
    assert b"provider_unreachable" in live or b"error" in live
    assert b"[DONE]" not in live
    _, again = run(replay())
    assert again.partition(b'"error"')[0] == live.partition(b'"error"')[0]
    assert b'"error"' in again


def test_a_key_that_the_provider_repeats_is_in_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(Answer(text=f"your key is {fake_openrouter.KEY} indeed")))
            token = await announce(far.rig, "live", record="tape")
            _, live = await raw(far.rig, token, "/v1/chat/completions", model="sonnet", **CHAT)
            await raw(far.rig, token, "/v1/messages", model="glm-messages", **CHAT)
            assert b"<redacted>" in live
            files = [path for path in (tmp_path / "home" / "recordings").rglob("*") if path.is_file()]
            assert len(files) == 3
            secrets = [fake_openrouter.KEY, fake_zai.KEY, token]
            for path in files:
                data = path.read_bytes().lower()
                assert not [secret for secret in secrets if secret.lower().encode() in data]
                assert b"authorization" not in data

    run(main())


def test_an_answer_whose_client_left_is_not_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(Answer(text="one two three four"), Wire(stall_after=2)))
            token = await announce(far.rig, "live", record="tape")
            body = CHAT | {"model": "sonnet", "stream": True}
            headers = {"authorization": f"Bearer {token}"}
            url = f"{far.rig.url}/v1/chat/completions"
            async with far.rig.http.post(url, json=body, headers=headers) as response:
                await response.content.readany()
            await far.openrouter.until(lambda: far.openrouter.asked[0].outcome == "client gone")
            while (await far.rig.get("/api/runs/live"))["in_flight"]:
                continue
            assert (await end(far.rig, "live"))["recording"]["answers"] == 0

    run(main())


BAD = {
    "record and replay": ({"record": "a", "replay": "a"}, 400, "invalid_request"),
    "a path": ({"record": "../a"}, 400, "invalid_request"),
    "a hidden name": ({"record": ".a"}, 400, "invalid_request"),
    "not there": ({"replay": "nothing"}, 404, "recording_not_found"),
    "under way": ({"replay": "taken"}, 409, "recording_taken"),
    "there already": ({"record": "taken"}, 409, "recording_taken"),
}


def test_what_an_announcement_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            await announce(far.rig, "live", record="taken")
            for fields, status, code in BAD.values():
                found, answer, _ = await far.rig.post("/api/runs", fields)
                assert (found, answer["error"]["code"]) == (status, code), answer
            found, _, _ = await far.rig.post("/api/runs", {"name": "live", "record": "never-used"})
            assert found == 409
            await announce(far.rig, "other", record="never-used")
            await end(far.rig, "live")
            await announce(far.rig, "again", replay="taken")

    run(main())
