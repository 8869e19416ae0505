"""A new configuration for a running server: what goes on, what changes, and what a broken file does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from proxy.config import Config, Limits, MemoryConfig, ServerConfig
from proxy.config_file import LimitsSection
from proxy.reload import LIVE_LIMITS, needs_restart
from tests.proxy.rig import Rig, question, run, serving_file, sse_events, workers

SCRIPT = """
[model]
memory_bytes = 600
[[turn]]
match.user_contains = "slowly"
text = "tick "
repeat = 40
tokens_per_second = 40.0
"""
HEAD = "[server]\nwatch = false\n"
BOTH = """
[models.a]
path = "script.toml"
engine = "scripted"
[models.b]
path = "script.toml"
engine = "scripted"
"""


def write(folder: Path, text: str = HEAD + BOTH) -> Path:
    (folder / "script.toml").write_text(SCRIPT)
    path = folder / "models.toml"
    path.write_text(text)
    return path


def worker_pids() -> set[int]:
    return {worker.pid for worker in workers()}


@asynccontextmanager
async def streaming(rig: Rig, model: str) -> AsyncIterator[AsyncIterator[str]]:
    """A slow answer that has begun: the rest of its events."""
    body = question("slowly", model) | {"stream": True}
    async with rig.http.post(f"{rig.url}/v1/chat/completions", json=body) as response:
        events = sse_events(response)
        async for data in events:
            if "tick" in data:
                break
        yield events


async def rest_of(events: AsyncIterator[str]) -> list[str]:
    return [data async for data in events if not data.startswith(":")]


async def listed(rig: Rig) -> list[str]:
    return [model["id"] for model in (await rig.get("/v1/models"))["data"]]


def test_peer_09_an_unchanged_model_keeps_its_worker_and_its_open_stream(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path)
        async with serving_file(path) as rig:
            async with streaming(rig, "a") as events:
                pids = worker_pids()
                write(
                    tmp_path,
                    '[server]\nport = 9999\nwatch = false\n[roles]\nmain = "a"\n' + BOTH.replace("b]", "c]"),
                )
                status, answer, _ = await rig.post("/api/reload")
                assert (status, answer) == (
                    200,
                    {
                        "kept": ["a"],
                        "changed": [],
                        "added": ["c"],
                        "removed": ["b"],
                        "needs_restart": ["server.port"],
                    },
                )
                assert await listed(rig) == ["a", "c"]
                assert (await rig.chat({"model": "main"}))[2]["x-hotseat-model"] == "a"
                assert (await rig.chat({"model": "b"}))[0] == 404
                assert pids <= worker_pids()
                assert (await rest_of(events))[-1] == "[DONE]"
            assert (await rig.chat({"model": "c"}))[0] == 200
            assert pids <= worker_pids()

    run(main())


def test_fault_40_a_removed_model_finishes_its_stream_and_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path)
        async with serving_file(path) as rig, rig.pool.events() as happening:
            async with streaming(rig, "b") as events:
                (pid,) = worker_pids()
                write(tmp_path, HEAD + BOTH.partition("[models.b]")[0])
                _, answer, _ = await rig.post("/api/reload")
                assert (answer["kept"], answer["removed"]) == (["a"], ["b"])
                status, refusal, _ = await rig.chat({"model": "b"})
                assert (status, refusal["error"]["code"]) == (404, "model_not_found")
                assert psutil.pid_exists(pid)
                assert (await rest_of(events))[-1] == "[DONE]"
            async for event in happening:
                if (event.kind, event.model) == ("unloaded", "b"):
                    break
            assert pid not in worker_pids()
            assert [model["name"] for model in (await rig.get("/api/state"))["models"]] == ["a"]

    run(main())


def test_a_changed_model_answers_under_its_new_form(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path)
        async with serving_file(path) as rig:
            await rig.chat({"model": "a"})
            pids = worker_pids()
            write(tmp_path, HEAD + BOTH.replace("[models.b]", "n_ctx = 777\n[models.b]"))
            _, answer, _ = await rig.post("/api/reload")
            assert (answer["kept"], answer["changed"]) == (["b"], ["a"])
            assert (await rig.get("/v1/models/a"))["context_length"] == 777
            assert (await rig.chat({"model": "a"}))[0] == 200
            assert (await rig.get("/v1/models/a"))["context_length"] == 777
            assert not pids & worker_pids()

    run(main())


def test_a_changed_model_in_use_finishes_under_its_old_form(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path)
        async with serving_file(path) as rig, streaming(rig, "a") as events:
            write(tmp_path, HEAD + BOTH.replace("[models.b]", "n_ctx = 777\n[models.b]"))
            await rig.post("/api/reload")
            status, answer, _ = await rig.chat({"model": "a"})  # waits for the new worker
            assert (status, answer["model"]) == (200, "a")
            assert (await rest_of(events))[-1] == "[DONE]"

    run(main())


WRONG = {
    "syntax": ("[models.a\n", "not valid TOML"),
    "unknown key": (HEAD + BOTH + "colour = 1\n", "models.b.colour: unknown key"),
    "role to nowhere": (HEAD + BOTH + '[roles]\nmain = "x"\n', 'roles.main = "x"'),
    "variable that is not set": ('[server]\napi_keys_env = "NOT_SET_ANYWHERE"\n', "is not set"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_fault_40_a_wrong_file_keeps_everything(
    tmp_path: Path, text: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        path = write(tmp_path, HEAD + BOTH + '[roles]\nmain = "b"\n')
        async with (
            serving_file(path) as rig,
            rig.http.get(f"{rig.url}/api/events") as response,
            streaming(rig, "a") as events,
        ):
            pids = worker_pids()
            path.write_text(text)
            status, answer, _ = await rig.post("/api/reload")
            assert (status, answer["error"]["code"]) == (400, "config_error")
            assert answer["error"]["message"].startswith(str(path))
            assert message in answer["error"]["message"]
            assert (await next_news(response))["detail"] == answer["error"]["message"]
            assert answer["error"]["message"] in caplog.text
            assert await listed(rig) == ["a", "b"]
            assert (await rig.chat({"model": "main"}))[2]["x-hotseat-model"] == "b"
            assert pids <= worker_pids()
            assert (await rest_of(events))[-1] == "[DONE]"

            path.unlink()
            assert (await rig.post("/api/reload"))[0] == 400
            assert (await rig.chat({"model": "a"}))[0] == 200

    run(main())


async def next_news(response: aiohttp.ClientResponse) -> Any:
    """The next event that is the server's own."""
    async for data in sse_events(response):
        if not data.startswith(":") and (event := json.loads(data))["model"] == "":
            return event
    raise AssertionError("the event stream ended")


def test_limits_keys_and_names_of_new_requests(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path)
        async with serving_file(path, OPS_KEY="sk-1", MORE_KEYS="sk-2") as rig:
            write(tmp_path, HEAD + 'api_keys_env = "OPS_KEY"\n[server.limits]\nmax_body = 1024\n' + BOTH)
            assert (await rig.post("/api/reload"))[0] == 200
            assert (await rig.chat({"model": "a"}))[0] == 401
            write(tmp_path, HEAD + 'api_keys_env = "MORE_KEYS"\n' + BOTH.replace("b]", "c]"))
            for key, status in (("sk-1", 200), ("sk-1", 401), ("sk-2", 200)):
                async with rig.http.post(f"{rig.url}/api/reload", headers={"x-api-key": key}) as response:
                    assert response.status == status

    run(main())


def test_another_address_is_not_in_force_before_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path)
        async with serving_file(path) as rig:
            write(tmp_path, HEAD + 'host = "10.0.0.7"\nallowed_hosts = ["box.lan"]\n' + BOTH)
            assert (await rig.post("/api/reload"))[1]["needs_restart"] == ["server.host"]
            for host, status in (("10.0.0.7", 403), ("box.lan", 200), ("127.0.0.1", 200)):
                async with rig.http.get(f"{rig.url}/api/state", headers={"host": host}) as response:
                    assert response.status == status

    run(main())


def test_a_body_limit_of_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path)
        async with serving_file(path) as rig:
            long = {"model": "a", "messages": [{"role": "user", "content": "x" * 2000}]}
            assert (await rig.chat(long))[0] == 200
            write(tmp_path, HEAD + "[server.limits]\nmax_body = 1024\n" + BOTH)
            await rig.post("/api/reload")
            assert (await rig.chat(long))[0] == 413

    run(main())


def test_a_file_that_arrived_makes_its_model_available(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path, HEAD + BOTH.replace('"script.toml"', '"late.toml"', 1))
        async with serving_file(path) as rig:
            assert (await rig.chat({"model": "a"}))[0] == 503
            (tmp_path / "late.toml").write_text(SCRIPT)
            _, answer, _ = await rig.post("/api/reload")
            assert answer["changed"] == ["a"]
            assert (await rig.chat({"model": "a"}))[0] == 200

    run(main())


# --- the file is watched -----------------------------------------------------------------------------


@pytest.mark.parametrize("replaces", [False, True], ids=["written in place", "replaced"])
def test_a_change_of_the_file_is_noticed(tmp_path: Path, replaces: bool) -> None:
    def save(text: str) -> None:
        if replaces:
            aside = tmp_path / ".models.toml.swp"
            aside.write_text(text)
            aside.rename(path)
        else:
            path.write_text(text)

    path = write(tmp_path, BOTH)

    async def main() -> None:
        async with serving_file(path) as rig, rig.http.get(f"{rig.url}/api/events") as response:
            (tmp_path / "other.toml").write_text("not the file")
            save(BOTH[:-4])  # half of a key
            event = await next_news(response)
            assert event["kind"] == "reload_failed"
            assert "not valid TOML" in event["detail"]
            assert await listed(rig) == ["a", "b"]
            save(BOTH.replace("b]", "c]"))
            event = await next_news(response)
            assert (event["kind"], event["detail"]) == ("reloaded", "kept: a; added: c; removed: b")
            assert await listed(rig) == ["a", "c"]

    run(main())


def test_a_link_is_watched_at_both_ends(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = write(tmp_path / "elsewhere", BOTH)
    (tmp_path / "script.toml").write_text(SCRIPT)
    link = tmp_path / "models.toml"
    link.symlink_to(target)

    async def main() -> None:
        async with serving_file(link) as rig, rig.http.get(f"{rig.url}/api/events") as response:
            target.write_text(BOTH.replace("b]", "c]"))
            assert (await next_news(response))["kind"] == "reloaded"
            other = tmp_path / "elsewhere" / "other.toml"
            other.write_text(BOTH)
            (tmp_path / "new-link").symlink_to(other)
            (tmp_path / "new-link").rename(link)
            assert (await next_news(response))["detail"] == "kept: a; added: b; removed: c"

    run(main())


# --- decisions ---------------------------------------------------------------------------------------


def test_what_needs_a_restart() -> None:
    started = Config(path=Path("models.toml"))
    new = Config(
        path=started.path,
        server=ServerConfig(host="::1", limits=Limits(max_wait_s=3, keepalive_s=1)),
        memory=MemoryConfig(budget_bytes=5),
        roles={"main": "a"},
    )
    assert needs_restart(started, started) == ()
    assert needs_restart(started, new) == ("server.host", "memory.budget", "server.limits.max_wait")


def test_every_other_limit_waits_for_a_restart_under_its_key() -> None:
    started = Config(path=Path("models.toml"))
    for field in dataclasses.fields(Limits):
        limits = dataclasses.replace(Limits(), **{field.name: 1})
        keys = needs_restart(started, dataclasses.replace(started, server=ServerConfig(limits=limits)))
        assert len(keys) == (field.name not in LIVE_LIMITS)
        for key in keys:
            assert key.removeprefix("server.limits.") in LimitsSection.model_fields


def test_keys_may_not_go_where_others_can_reach_the_server(tmp_path: Path) -> None:
    """The bind address stays what it was at the start; what is asked of it is asked again."""

    async def main() -> None:
        everywhere = HEAD + 'host = "0.0.0.0"\n'
        path = write(tmp_path, everywhere + BOTH)
        async with serving_file(path, OPS_KEY="sk-1", HOTSEAT_API_KEY="") as rig:
            status, answer, _ = await rig.post("/api/reload")
            assert status == 400
            assert "without an API key" in answer["error"]["message"]
            write(tmp_path, HEAD + BOTH)  # an address that needs none, and is not in force yet
            assert (await rig.post("/api/reload"))[0] == 400
            write(tmp_path, everywhere + 'api_keys_env = "OPS_KEY"\n' + BOTH)
            assert (await rig.post("/api/reload"))[0] == 200

    run(main())
