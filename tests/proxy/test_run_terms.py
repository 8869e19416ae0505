"""What a run was announced with, over HTTP: names of its own for models, a cap on the context, and what is
told of it at its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from inference.errors import ContextLengthExceeded
from proxy.context_cap import BYTES_PER_TOKEN, ContextCap
from tests.fake_answers import Answer, Tokens
from tests.fake_openrouter import SONNET
from tests.fake_wire import Reply
from tests.proxy.remote_rig import HELLO, Remote, remote
from tests.proxy.rig import Rig, Setup, run, serving

LONG = "word " * 900
ECHO: dict[str, Any] = {"messages": HELLO, "max_tokens": 20}


async def announced(rig: Rig, name: str, **terms: Any) -> str:
    status, answer, _ = await rig.post("/api/runs", {"name": name, **terms})
    assert status == 201, answer
    token: str = answer["token"]
    return token


async def ended(rig: Rig, name: str) -> dict[str, Any]:
    async with rig.http.delete(f"{rig.url}/api/runs/{name}") as response:
        told: dict[str, Any] = await response.json()
        return told


async def ask(rig: Rig, token: str, path: str = "/v1/chat/completions", **body: Any) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {token}"}
    async with rig.http.post(rig.url + path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def rows(rig: Rig, name: str) -> list[Any]:
    found: list[Any] = (await rig.get(f"/api/requests?run={name}"))["requests"]
    return found[::-1]


# --- names -------------------------------------------------------------------------------------------


def test_an_alias_means_its_model_in_every_dialect_and_rows_keep_the_model(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            aliases = {"model-a": "echo", "model-b": "sonnet"}
            token = await announced(far.rig, "neutral", models=["echo", "sonnet"], aliases=aliases)
            for model in aliases:
                for path in ("/v1/chat/completions", "/v1/messages"):
                    status, answer = await ask(far.rig, token, path, model=model, **ECHO)
                    assert status == 200, answer
                    assert model == "model-b" or answer["model"] == "model-a"
                status, answer = await ask(far.rig, token, "/v1/responses", model=model, input="hello")
                assert status == 200, answer
                assert answer["model"] == model  # translated for the provider, so the words are ours
            status, counted = await ask(
                far.rig, token, "/v1/messages/count_tokens", model="model-a", messages=HELLO
            )
            assert (status, counted["input_tokens"] > 0) == (200, True)
            answered = await rows(far.rig, "neutral")
            asked = [(row["requested_model"], row["upstream"], row["model"]) for row in answered]
            assert set(asked) == {
                ("model-a", "local", "echo"),
                ("model-b", "openrouter", SONNET),
            }
            assert all(b"model-b" not in posted.raw for posted in far.openrouter.posted)

    run(main())


def test_an_alias_is_of_its_run_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            await announced(far.rig, "neutral", aliases={"model-a": "echo"})
            other = await announced(far.rig, "other", aliases={"model-a": "sonnet"})
            assert (await ask(far.rig, other, model="model-a", **ECHO))[0] == 200
            assert (await rows(far.rig, "other"))[0]["upstream"] == "openrouter"
            status, refused, _ = await far.chat("model-a")
            assert (status, refused["error"]["code"]) == (404, "model_not_found")
            await ended(far.rig, "neutral")
            status, refused, _ = await far.rig.post(
                "/r/neutral/v1/chat/completions", {"model": "model-a", **ECHO}
            )
            assert status == 404

    run(main())


def test_a_run_is_shown_its_models_by_its_names(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            terms = {"models": ["echo"], "aliases": {"model-a": "echo"}, "context": 1000}
            token = await announced(far.rig, "neutral", **terms)
            headers = {"authorization": f"Bearer {token}"}
            async with far.rig.http.get(f"{far.rig.url}/v1/models", headers=headers) as response:
                (row,) = (await response.json())["data"]
            assert (row["id"], row["aliases"], row["context_length"]) == ("echo", ["model-a"], 1000)
            async with far.rig.http.get(f"{far.rig.url}/v1/models/model-a", headers=headers) as response:
                assert (await response.json())["id"] == "echo"
            async with far.rig.http.get(f"{far.rig.url}/v1/models") as response:
                assert all(row["aliases"] == [] for row in (await response.json())["data"])

    run(main())


@pytest.mark.parametrize(
    ("aliases", "status", "said"),
    [
        ({"model-a": "ecco"}, 404, "near names: echo"),
        ({"sonnet": "echo"}, 400, "the server has a model 'sonnet'"),
        ({"a b": "echo"}, 400, "A-Z a-z 0-9 . _ -"),
        ({f"m{i}": "echo" for i in range(101)}, 400, "aliases"),
    ],
)
def test_aliases_that_cannot_be(tmp_path: Path, aliases: dict[str, str], status: int, said: str) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            found, answer, _ = await far.rig.post("/api/runs", {"name": "neutral", "aliases": aliases})
            assert found == status
            assert said in answer["error"]["message"]
            assert (await far.rig.post("/api/runs", {"name": "neutral"}))[0] == 201  # it was not announced

    run(main())


# --- the context -------------------------------------------------------------------------------------


def test_a_cap_on_the_context_is_kept_to_the_token_by_our_own_engines(tmp_path: Path) -> None:
    """With the overflow error of each dialect; and an answer ends where prompt and answer are at the cap."""

    async def main() -> None:
        async with serving(tmp_path, Setup(n_ctx=4096)) as rig:
            free = await announced(rig, "free")
            status, answer = await ask(rig, free, model="echo", messages=[{"role": "user", "content": LONG}])
            n_tokens = answer["usage"]["prompt_tokens"]
            assert status == 200
            held = await announced(rig, "held", context=n_tokens)
            status, refused = await ask(rig, held, model="echo", messages=[{"role": "user", "content": LONG}])
            assert (status, refused["error"]["code"]) == (400, "context_length_exceeded")
            assert f"maximum context length is {n_tokens} tokens" in refused["error"]["message"]
            row = (await rows(rig, "held"))[0]
            assert (row["status"], row["code"], row["output_tokens"]) == (400, "context_length_exceeded", 0)
            room = await announced(rig, "room", context=n_tokens + 3)
            status, answer = await ask(rig, room, model="echo", messages=[{"role": "user", "content": LONG}])
            assert status == 200
            assert answer["choices"][0]["finish_reason"] == "length"
            assert answer["usage"]["total_tokens"] == n_tokens + 3
            client = anthropic.AsyncAnthropic(base_url=rig.url, api_key=held, max_retries=0)
            async with client:
                with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
                    await client.messages.create(
                        model="echo", max_tokens=5, messages=[{"role": "user", "content": LONG}]
                    )

    run(main())


def test_a_cap_is_kept_by_estimate_where_a_provider_answers(tmp_path: Path) -> None:
    """At four bytes a token at first, then at the rate that the last answer was counted with."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            token = await announced(far.rig, "held", context=2000)
            wide = [{"role": "user", "content": "x" * 9000}]
            status, refused = await ask(far.rig, token, model="sonnet", messages=wide)
            assert (status, refused["error"]["code"]) == (400, "context_length_exceeded")
            assert far.openrouter.posted == []
            far.openrouter.script(Reply(Answer(text="one", tokens=Tokens(input=600, output=3))))
            narrow = [{"role": "user", "content": "x" * 6000}]
            assert (await ask(far.rig, token, model="sonnet", messages=narrow))[0] == 200
            assert (await ask(far.rig, token, model="sonnet", messages=wide))[0] == 200  # ten bytes a token
            refused_row, *_ = await rows(far.rig, "held")
            assert (refused_row["attempt"], refused_row["status"]) == (0, 400)

    run(main())


def test_a_rate_is_learnt_within_reason() -> None:
    cap = ContextCap(1000)
    n_bytes = int(1000 * BYTES_PER_TOKEN)
    cap.check("a", n_bytes - 3)
    with pytest.raises(ContextLengthExceeded) as refused:
        cap.check("a", n_bytes)
    assert (refused.value.n_tokens, refused.value.n_ctx) == (1000, 1000)
    cap.learn("a", 8000, 1000)
    cap.check("a", 7000)
    with pytest.raises(ContextLengthExceeded):
        cap.check("b", 7000)
    cap.learn("a", 100, 10)  # too short to tell
    cap.learn("a", 10**6, 1000)  # an image
    with pytest.raises(ContextLengthExceeded):
        cap.check("a", 12_001)


def test_digests_of_a_run_leave_out_what_it_says_is_its_own(tmp_path: Path) -> None:
    """Of what is passed on, and of what a model here answers."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            for name in ("one-folder", "other-folder"):
                token = await announced(far.rig, name, volatile=[name])
                messages = [{"role": "system", "content": f"You work in {name}."}, *HELLO]
                for model in ("sonnet", "echo"):
                    assert (await ask(far.rig, token, model=model, messages=messages))[0] == 200
            both = [await rows(far.rig, name) for name in ("one-folder", "other-folder")]
            shas = {row["system_sha"] for found in both for row in found}
            assert len(shas) == 1
            assert shas != {""}
            status, refused, _ = await far.rig.post("/api/runs", {"volatile": ["a"]})
            assert (status, "volatile" in refused["error"]["message"]) == (400, True)

    run(main())


# --- what is told of it ------------------------------------------------------------------------------


def test_a_run_tells_how_it_asked_and_which_loads_were_its_doing(tmp_path: Path) -> None:
    """Two models that do not fit together: whoever comes first for one has it loaded."""

    async def main() -> None:
        script = "[model]\nmemory_bytes = 600\n"
        setup = Setup(models={"left": script, "right": script}, budget_bytes=1000)
        async with serving(tmp_path, setup) as rig:
            mover = await announced(rig, "mover")
            await rig.post("/api/models/left/load")
            stayer = await announced(rig, "stayer")
            assert (await ask(rig, stayer, model="left", temperature=0.5, **ECHO))[0] == 200
            for model in ("right", "right", "left"):
                assert (await ask(rig, mover, model=model, **ECHO))[0] == 200
            told = await ended(rig, "mover")
            assert (told["loads"], told["load_waits"]) == (2, 2)
            assert told["sampling"] == {"unattributed": ["max_tokens=20"]}
            told = await ended(rig, "stayer")
            assert (told["loads"], told["load_waits"]) == (0, 0)
            assert told["sampling"] == {"unattributed": ["temperature=0.5 max_tokens=20"]}

    run(main())


def test_of_two_that_wait_for_a_load_one_has_caused_it(tmp_path: Path) -> None:
    """Both ask while another model is at work, in whose place theirs is loaded then."""

    async def main() -> None:
        turn = '[[turn]]\ntext = "tick "\nrepeat = 10000\ntokens_per_second = 20.0\n'
        model = "[model]\nmemory_bytes = 600\n"
        setup = Setup(models={"busy": model + turn, "next": model}, budget_bytes=1000)
        async with serving(tmp_path, setup) as rig:
            tokens = [await announced(rig, name) for name in ("first", "second")]
            working = asyncio.create_task(rig.chat({"model": "busy"}))
            await rig.until("busy", lambda model: model["leases"] == 1)
            asking = [asyncio.create_task(ask(rig, token, model="next", **ECHO)) for token in tokens]
            await rig.until("next", lambda model: model["queued"] == 2)
            working.cancel()
            assert [status for status, _ in await asyncio.gather(*asking)] == [200, 200]
            told = [await ended(rig, name) for name in ("first", "second")]
            assert sorted(one["loads"] for one in told) == [0, 1]
            assert [one["load_waits"] for one in told] == [1, 1]

    run(main())


def test_what_a_provider_is_asked_is_noted_and_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            token = await announced(far.rig, "many")
            for i in range(12):
                bias = {str(n): 1 for n in range(100)}
                assert (await ask(far.rig, token, model="sonnet", top_p=i / 20, logit_bias=bias, **ECHO))[
                    0
                ] == 200
            (wishes,) = (await ended(far.rig, "many"))["sampling"].values()
            assert len(wishes) == 8
            assert wishes[0].startswith("top_p=0.0 ")
            assert all(len(wish) < 300 for wish in wishes)

    run(main())


def test_the_sdk_sees_an_overflow_that_it_knows(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            await _overflows(far)

    run(main())


async def _overflows(far: Remote) -> None:
    token = await announced(far.rig, "held", context=50)
    client = await far.openai(key=token)
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="glm", input=LONG)
    assert refused.value.code == "context_length_exceeded"
