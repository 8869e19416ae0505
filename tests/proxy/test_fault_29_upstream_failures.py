"""Fault 29: a provider that refuses, limits, fails or is not there. Each failure has one status and one code
here, is the right exception in both SDKs, and is asked again only where that is safe and may help."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import Any

import aiohttp.web
import anthropic
import openai
import pytest

from tests.fake_answers import Answer
from tests.fake_openrouter import SONNET
from tests.fake_wire import Failure, Reply, Stunt, Wire
from tests.fake_zai import NO_BALANCE, OVERLOADED, PLAN_USED_UP, TOO_MANY_AT_ONCE, TOO_OFTEN
from tests.proxy.remote_rig import HELLO, Remote, config_text, remote, write_files
from tests.proxy.rig import Rig, run, serving_file
from tests.proxy.served import self_signed, unused_address

TRIES = 3
"""The first and two repetitions: what the configuration says where it is silent."""

ONLY_A_CODE = Failure(429, "您的账户已欠费", "1113")
"""Words are no help in a language that nobody here reads."""


# What a provider says, what its client is told, and how often the provider was asked.
FAILURES: dict[str, tuple[Failure | Stunt, int, str, int]] = {
    "bad request": (Failure(400, "temperature: too hot"), 400, "invalid_request", 1),
    "our key": (Failure(401, "No auth credentials found"), 502, "provider_rejected_key", 1),
    "no credits": (Failure(402, "Insufficient credits"), 402, "provider_unpaid", 1),
    "moderated": (Failure(403, "flagged"), 403, "provider_forbids", 1),
    "no model": (Failure(404, "No endpoints found"), 404, "provider_unknown_model", 1),
    "limited": (Failure(429, "slow down"), 429, "provider_rate_limit", TRIES),
    "down": (Failure(502, "Provider returned error"), 502, "provider_error", TRIES),
    "nobody": (Failure(503, "no provider available"), 503, "provider_overloaded", TRIES),
    "web page": (Stunt(200, {"content-type": "text/html"}, body=b"<html>"), 502, "provider_bad_answer", 1),
    "reset": (Stunt(drops=True), 502, "provider_error", 1),
    "error inside": (Failure(200, "Provider returned error", 502), 502, "provider_error", TRIES),
    "limit inside": (Failure(200, "Rate limit exceeded", 429), 429, "provider_rate_limit", TRIES),
    "overflow": (
        Failure(400, "This endpoint's maximum context length is 64 tokens. However, you requested 99"),
        400,
        "context_length_exceeded",
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_fault_29_openrouter(tmp_path: Path, case: str) -> None:
    async def main() -> None:
        response, status, code, tries = FAILURES[case]
        async with remote(tmp_path) as far:
            client = await far.openai()
            for is_streamed in (False, True):
                far.openrouter.script(*[response] * tries)
                with pytest.raises(openai.APIStatusError) as failed:
                    await client.chat.completions.create(model="sonnet", messages=HELLO, stream=is_streamed)
                assert (failed.value.status_code, failed.value.code) == (status, code)
                assert [asked.bill for asked in far.openrouter.posted] == [None] * tries
                row = (await far.rows())[0]
                assert (row["status"], row["code"]) == (status, code)
                assert row["fault"] == ("client" if status == 400 else "provider")
                assert (await far.chat("sonnet"))[0] == 200, "and the next request is served"
                far.openrouter.asked.clear()

    run(main())


async def _by_openai(far: Remote) -> Any:
    client = await far.openai()
    return await client.chat.completions.create(model="sonnet", messages=HELLO)


async def _by_responses(far: Remote) -> Any:
    client = await far.openai()
    return await client.responses.create(model="sonnet", input="hello")


async def _by_anthropic(far: Remote) -> Any:
    client = await far.anthropic()
    return await client.messages.create(model="sonnet", messages=HELLO, max_tokens=99)


async def _by_anthropic_stream(far: Remote) -> Any:
    client = await far.anthropic()
    async with client.messages.stream(model="sonnet", messages=HELLO, max_tokens=99) as stream:
        return await stream.get_final_message()


CLASSES: dict[str, str] = {
    "bad request": "BadRequestError",
    "moderated": "PermissionDeniedError",
    "no model": "NotFoundError",
    "limited": "RateLimitError",
    "down": "InternalServerError",
}


ASKS = {
    "chat": (_by_openai, openai),
    "responses": (_by_responses, openai),
    "messages": (_by_anthropic, anthropic),
    "messages streamed": (_by_anthropic_stream, anthropic),
}


@pytest.mark.parametrize("way", ASKS)
def test_fault_29_is_the_right_exception_in_every_sdk(tmp_path: Path, way: str) -> None:
    async def main() -> None:
        ask, sdk = ASKS[way]
        async with remote(tmp_path) as far:
            for case, name in CLASSES.items():
                far.openrouter.script(*[FAILURES[case][0]] * FAILURES[case][3])
                with pytest.raises(getattr(sdk, name)):
                    await ask(far)
                await ask(far)

    run(main())


def test_fault_29_a_failure_that_passes_is_not_seen_by_the_client(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Failure(503), Failure(429), Reply())
            status, answer, _ = await far.chat("sonnet")
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "you said: hello there")
            rows = await far.rows()
            assert [row["status"] for row in rows] == [200, 429, 503], "each attempt is a row"
            assert [row["attempt"] for row in rows] == [3, 2, 1]
            assert len({row["request_id"] for row in rows}) == 1

    run(main())


def test_fault_29_retry_after_is_obeyed(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Failure(429, headers={"retry-after": "1"}), Reply())
            status, _, _ = await far.chat("sonnet")
            first, second = far.openrouter.posted
            assert status == 200
            assert second.at_s - first.at_s >= 1.0

    run(main())


def test_fault_29_a_long_retry_after_is_the_clients_to_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.respond(lambda _: Failure(429, headers={"retry-after": "600"}))
            client = await far.openai()
            with pytest.raises(openai.RateLimitError) as limited:
                await client.chat.completions.create(model="sonnet", messages=HELLO)
            assert limited.value.response.headers["retry-after"] == "600"
            assert len(far.openrouter.posted) == 1

    run(main())


@pytest.mark.parametrize("failure", [NO_BALANCE, PLAN_USED_UP, ONLY_A_CODE], ids=["balance", "plan", "code"])
@pytest.mark.parametrize("model", ["glm", "glm-coding", "glm-messages"])
def test_fault_29_a_429_for_want_of_money_is_not_retried(
    tmp_path: Path, model: str, failure: Failure
) -> None:
    """Neither here nor by the SDK, which repeats every 429 that does not forbid it."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            far.zai.respond(lambda _: failure)
            if model == "glm-messages":
                theirs = await far.anthropic(max_retries=2)
                with pytest.raises(anthropic.APIStatusError) as unpaid:
                    await theirs.messages.create(model=model, messages=HELLO, max_tokens=99)
                status = unpaid.value.status_code
            else:
                client = await far.openai(max_retries=2)
                with pytest.raises(openai.APIStatusError) as refused:
                    await client.chat.completions.create(model=model, messages=HELLO)
                status = refused.value.status_code
            assert status == 402
            assert len(far.zai.posted) == 1

    run(main())


@pytest.mark.parametrize("failure", [TOO_MANY_AT_ONCE, TOO_OFTEN, OVERLOADED], ids=["1302", "1303", "1305"])
def test_fault_29_a_429_that_passes_is_retried(tmp_path: Path, failure: Failure) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.zai.script(failure, Reply())
            assert (await far.chat("glm"))[0] == 200
            assert len(far.zai.posted) == 2

    run(main())


@pytest.mark.parametrize(
    "wire",
    [Wire(ends_at=600), Wire(ends_at=600, resets=True), Wire(error_after=1)],
    ids=["end", "reset", "error"],
)
def test_fault_29_after_the_first_byte_nothing_is_asked_again(tmp_path: Path, wire: Wire) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(Answer("one two three"), wire))
            client = await far.openai()
            stream = await client.chat.completions.create(model="careful", messages=HELLO, stream=True)
            with pytest.raises(openai.APIError):
                async for chunk in stream:
                    assert chunk.choices[0].finish_reason is None
            assert len(far.openrouter.posted) == 1
            assert not far.zai.posted, "nor anywhere else"

    run(main())


# --- nobody there ------------------------------------------------------------------------------


def test_fault_29_connection_refused(tmp_path: Path) -> None:
    async def main() -> None:
        text = config_text(f"{unused_address()}/v1", f"{unused_address()}/v4")
        async with serving_file(write_files(tmp_path, text), OPENROUTER_API_KEY="k", ZAI_API_KEY="k") as rig:
            status, answer, _ = await _ask(rig, "sonnet")
            assert (status, answer["error"]["code"]) == (502, "provider_unreachable")
            status, answer, _ = await _ask(rig, "careful")
            assert (status, answer["model"]) == (200, "echo"), "the last of the fallbacks"

    run(main())


async def _ask(rig: Rig, model: str) -> tuple[int, Any, Any]:
    return await rig.chat({"model": model})


def test_fault_29_no_tls_where_it_should_be(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path / "one") as far:
            address = far.openrouter.url.replace("http:", "https:")
            path = write_files(tmp_path / "two", config_text(f"{address}/api/v1", f"{address}/v4"))
            async with serving_file(path, OPENROUTER_API_KEY="k", ZAI_API_KEY="k") as rig:
                status, answer, _ = await _ask(rig, "sonnet")
                assert (status, answer["error"]["code"]) == (502, "provider_unreachable")
            assert not far.openrouter.asked

    run(main())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_fault_29_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    async def main() -> None:
        seen: list[str] = []

        async def handle(request: aiohttp.web.Request) -> aiohttp.web.Response:
            seen.append(request.path)
            return aiohttp.web.json_response({})

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self_signed(tmp_path))
        app = aiohttp.web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        address = f"https://localhost:{runner.addresses[0][1]}/v1"
        path = write_files(tmp_path, config_text(address, address))
        try:
            async with serving_file(path, OPENROUTER_API_KEY="k", ZAI_API_KEY="k") as rig:
                status, answer, _ = await _ask(rig, "sonnet")
                assert (status, answer["error"]["code"]) == (502, "provider_unreachable")
                assert "certificate" in answer["error"]["message"]
        finally:
            await runner.cleanup()
        assert not seen, "no key and no prompt went there"

    run(main())


# --- fallbacks and cooldown --------------------------------------------------------------------


def test_fault_29_the_next_in_the_list_answers(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.respond(lambda _: Failure(502))
            far.zai.script(Reply(Answer("from afar")), TOO_MANY_AT_ONCE, TOO_MANY_AT_ONCE, TOO_MANY_AT_ONCE)
            status, answer, headers = await far.chat("careful")
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "from afar")
            assert headers["x-hotseat-upstream"] == "zai"
            status, _, headers = await far.chat("careful")
            assert (status, headers["x-hotseat-upstream"]) == (200, "local")
            assert (await far.rows())[0]["model"] == "echo"

    run(main())


def test_fault_29_a_stream_may_still_move_while_nothing_was_said(tmp_path: Path) -> None:
    """Translated for one provider, then for the other: the client sees one message."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            overloaded = Failure(200, "overloaded", 503, as_event=True)
            far.openrouter.script(*[overloaded] * TRIES)
            far.zai.script(Reply(Answer("from afar")))
            theirs = await far.anthropic()
            async with theirs.messages.stream(model="careful", messages=HELLO, max_tokens=99) as stream:
                kinds = [event.type async for event in stream]
                message = await stream.get_final_message()
            assert kinds.count("message_start") == 1
            assert message.content[-1].text == "from afar"  # type: ignore[union-attr]

    run(main())


def test_fault_29_what_the_request_says_wrongly_goes_nowhere_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Failure(400, "messages: too strange"))
            assert (await far.chat("careful"))[0] == 400
            assert not far.zai.posted

    run(main())


def test_fault_29_who_fails_again_and_again_is_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path, each="retries = 0") as far:
            far.openrouter.respond(lambda _: Failure(502))
            told = [await far.chat("sonnet") for _ in range(12)]
            codes = [answer["error"]["code"] for _, answer, _ in told]
            status, _, headers = told[-1]
            assert codes[0] == "provider_error"
            assert codes[-1] == "provider_cooling_down"
            assert (status, int(headers["retry-after"]) > 0) == (503, True)
            n_asked = len(far.openrouter.posted)
            assert n_asked == codes.count("provider_error") < 12
            assert (await far.chat("careful"))[0] == 200, "its fallback is asked at once"
            assert len(far.openrouter.posted) == n_asked
            assert (await far.chat("glm"))[0] == 200, "others are not to blame"

    run(main())


def test_fault_29_one_success_ends_the_count(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path, each="retries = 0") as far:
            for _ in range(4):
                far.openrouter.script(Failure(502), Failure(502), Failure(502), Reply())
            statuses = [(await far.chat("sonnet"))[0] for _ in range(16)]
            assert statuses == [502, 502, 502, 200] * 4

    run(main())


def test_fault_29_no_key_is_said_before_anything_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path, environ={"ZAI_API_KEY": "x"}) as far:
            status, answer, _ = await far.chat("sonnet")
            assert (status, answer["error"]["code"]) == (503, "provider_key_missing")
            assert "OPENROUTER_API_KEY" in answer["error"]["message"]
            assert not far.openrouter.asked

    run(main())


def test_fault_29_the_models_name_there_is_not_a_secret_the_route_is_what_is_shown(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            models = {model["id"] for model in (await far.rig.get("/v1/models"))["data"]}
            assert {"sonnet", "glm", "echo"} <= models
            assert SONNET not in models

    run(main())
