"""Background names and the role `small`: answered by who is there, never by making somebody leave."""

from __future__ import annotations

from pathlib import Path

from tests.proxy.rig import Rig, Setup, question, run, serving

ROOM_FOR_ONE = 1000
SCRIPT = "[model]\nmemory_bytes = 600\n"
SETUP = Setup(
    {"big": SCRIPT, "other": SCRIPT, "little": SCRIPT},
    budget_bytes=ROOM_FOR_ONE,
    roles={"main": "big", "small": "little"},
    background=("claude-haiku-*", "small_model"),
)


async def answerer(rig: Rig, name: str) -> str:
    status, answer, headers = await rig.post("/v1/chat/completions", question(model=name))
    assert (status, answer["model"]) == (200, headers["x-hotseat-model"])
    return headers["x-hotseat-model"]


async def states(rig: Rig) -> dict[str, str]:
    return {model["name"]: model["state"] for model in (await rig.get("/api/state"))["models"]}


def test_the_resident_model_stands_in_and_nobody_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, SETUP) as rig:
            await rig.post("/api/models/big/load")
            for name in ("claude-haiku-4-5", "small_model", "small", "background"):
                assert await answerer(rig, name) == "big"
            assert await states(rig) == {"big": "ready", "other": "unloaded", "little": "unloaded"}
            assert (await rig.get("/api/state"))["swaps"] == 0
            row = (await rig.get("/api/requests?limit=1"))["requests"][0]
            assert (row["requested_model"], row["model"]) == ("background", "big")

    run(main())


def test_the_role_s_own_model_if_it_is_there_or_nobody_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, SETUP) as rig:
            assert await answerer(rig, "claude-haiku-4-5") == "little"
            assert await answerer(rig, "claude-haiku-4-5") == "little"
            assert await answerer(rig, "other") == "other"  # its own name still swaps
            assert await answerer(rig, "small") == "other"
            assert (await rig.get("/api/state"))["swaps"] == 1

    run(main())


def test_the_model_used_last_stands_in(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(SETUP.models, roles=SETUP.roles, background=SETUP.background, budget_bytes=1300)
        async with serving(tmp_path, setup) as rig:
            for used in ("big", "other", "big"):
                await answerer(rig, used)
                assert await answerer(rig, "small_model") == used
            assert (await states(rig))["little"] == "unloaded"

    run(main())


def test_fault_8_an_unknown_name_is_no_request_for_another_model(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, SETUP) as rig:
            await rig.post("/api/models/big/load")
            for name in ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku"):
                status, answer, headers = await rig.post("/v1/chat/completions", question(model=name))
                assert (status, answer["error"]["code"]) == (404, "model_not_found")
                assert "x-hotseat-model" not in headers
            assert await states(rig) == {"big": "ready", "other": "unloaded", "little": "unloaded"}

    run(main())


def test_an_embedding_model_neither_stands_in_nor_is_stood_in_for(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup({"vectors": SCRIPT, "little": SCRIPT}, embedding_models=("vectors",), roles=SETUP.roles)
        async with serving(tmp_path, setup) as rig:
            body = {"model": "vectors", "input": "text"}
            status, _, headers = await rig.post("/v1/embeddings", body)
            assert (status, headers["x-hotseat-model"]) == (200, "vectors")
            assert await answerer(rig, "small") == "little"
            await rig.post("/api/models/little/unload")
            status, _, headers = await rig.post("/v1/embeddings", body | {"model": "small"})
            assert (status, headers["x-hotseat-model"]) == (200, "little")

    run(main())


def test_probes_load_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, SETUP) as rig, rig.pool.events() as events:
            paths = ["/", "/health", "/v1/models", "/r/run/v1/models", "/metrics"]
            paths += [f"/v1/models/{name}" for name in ("big", "small", "claude-haiku-4-5", "nothing")]
            paths += ["/api/state", "/api/device", "/api/requests", "/api/models/big/log"]
            for path in paths:
                for method in ("GET", "HEAD"):
                    async with rig.http.request(method, rig.url + path) as response:
                        assert response.status in (200, 404, 405)
            assert set((await states(rig)).values()) == {"unloaded"}
            await rig.post("/api/models/other/load")
            async for event in events:
                assert (event.kind, event.model) == ("loading", "other")  # the first that happened at all
                break

    run(main())
