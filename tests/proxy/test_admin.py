"""Everything that is not inference, over HTTP, and the keys in front of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from inference.device_sampler import DeviceSampler
from inference.gpu import DeviceProcess, DeviceSample
from proxy.config import Limits, Secret
from tests.proxy.rig import Rig, Setup, question, run, serving, sse_events

TWO = {
    "a": "[model]\nmemory_bytes = 600\n[load]\nstderr = 'a says hello'\n",
    "b": "[model]\nmemory_bytes = 600\n",
}


def test_health(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(api_keys=(Secret("sk-1"),))) as rig:
            assert await rig.get("/health") == {"status": "ok"}

    run(main())


def test_models(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(TWO, aliases={"a": ("first",)}, n_ctx=1234)
        async with serving(tmp_path, setup) as rig:
            listed = await rig.get("/v1/models")
            assert listed["object"] == "list"
            assert [(m["id"], m["object"], m["context_length"], m["state"]) for m in listed["data"]] == [
                ("a", "model", 1234, "unloaded"),
                ("b", "model", 1234, "unloaded"),
            ]
            sdk = await (await rig.openai()).models.list()
            assert [model.id for model in sdk.data] == ["a", "b"]
            assert (await rig.get("/r/run-1/v1/models/first"))["id"] == "a"
            async with rig.http.get(f"{rig.url}/v1/models/org/none") as response:
                assert response.status == 404
                assert (await response.json())["error"]["code"] == "model_not_found"
            assert (await rig.model("a"))["state"] == "unloaded"

    run(main())


def test_state_has_the_documented_shape(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(TWO, budget_bytes=1000)) as rig:
            state = await rig.get("/api/state")
            assert set(state) == {"device", "models", "swaps", "ledger"}
            assert {"kind", "total_bytes", "free_bytes", "budget_bytes"} <= set(state["device"])
            assert state["device"]["budget_bytes"] == 1000
            documented = {
                "name",
                "state",
                "estimated_bytes",
                "measured_bytes",
                "leases",
                "queued",
                "slots",
                "pinned",
                "error",
            }
            assert all(documented <= set(model) for model in state["models"])

    run(main())


def test_memory_of_a_model_is_shown_with_its_origins(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(TWO)) as rig:
            keys = ("estimated_bytes", "dry_run_bytes", "dry_run_error", "measured_at_s", "footprint_origin")
            assert [(await rig.model("a"))[key] for key in keys] == [600, None, None, None, "estimate"]
            rig.pool.correct("a", 700)
            model = await rig.model("a")
            assert (model["dry_run_bytes"], model["footprint_bytes"], model["footprint_origin"]) == (
                *(700, 700),
                "dry run",
            )

    run(main())


class ScriptedDevice:
    note = None

    def sample(self, at_s: float) -> DeviceSample:
        return DeviceSample(at_s, total_bytes=100, free_bytes=40, power_w=12.5)

    def processes(self) -> tuple[DeviceProcess, ...]:
        return (DeviceProcess(7, "python", 50, False), DeviceProcess(8, "blender", 10, True))


def test_device(tmp_path: Path) -> None:
    times = iter(range(100))
    sampler = DeviceSampler(ScriptedDevice(), clock=lambda: float(next(times)))
    for _ in range(3):
        sampler.take()

    async def main() -> None:
        async with serving(tmp_path, sampler=sampler) as rig:
            device = await rig.get("/api/device?samples=2")
            assert [sample["at_s"] for sample in device["samples"]] == [1.0, 2.0]
            assert device["latest"] == device["samples"][-1]
            assert (device["latest"]["power_w"], device["latest"]["temperature_c"]) == (12.5, None)
            assert [process["name"] for process in device["foreign"]] == ["blender"]
            assert len((await rig.get("/api/device"))["samples"]) == 3
            for query in ("samples=-1", "samples=x", "samples=100000"):
                async with rig.http.get(f"{rig.url}/api/device?{query}") as response:
                    assert response.status == 400
        async with serving(tmp_path) as rig:
            device = await rig.get("/api/device")
            assert (device["latest"], device["samples"], device["note"]) == (
                *(None, []),
                "the device is not sampled",
            )

    run(main())


def test_load_unload_and_swaps(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(TWO, budget_bytes=1000)) as rig:
            status, model, _ = await rig.post("/api/models/a/load")
            assert (status, model["state"]) == (200, "ready")
            await rig.post("/v1/chat/completions", question(model="b"))
            state = await rig.get("/api/state")
            assert [model["state"] for model in state["models"]] == ["unloaded", "ready"]
            assert state["swaps"] == 1
            status, model, _ = await rig.post("/api/models/b/unload")
            assert (status, model["state"]) == (200, "unloaded")
            await rig.post("/api/models/a/load")
            status, state, _ = await rig.post("/api/unload")
            assert (status, [model["state"] for model in state["models"]]) == (200, ["unloaded"] * 2)
            status, answer, _ = await rig.post("/api/models/c/load")
            assert (status, answer["error"]["code"]) == (404, "model_not_found")

    run(main())


def test_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(TWO)) as rig:
            assert await rig.get("/api/models/a/log") == {"lines": []}
            await rig.post("/api/models/a/load")
            assert "a says hello" in (await rig.get("/api/models/a/log"))["lines"]

    run(main())


def test_events(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(TWO, limits=Limits(keepalive_s=0.05))
        async with serving(tmp_path, setup) as rig, rig.http.get(f"{rig.url}/api/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            events = sse_events(response)
            assert await anext(events) == ": keep-alive"
            assert await anext(events) == ": keep-alive"
            await rig.post("/api/models/a/load")
            seen: list[dict[str, Any]] = []
            while not seen or seen[-1]["kind"] != "ready":
                text = await anext(events)
                if not text.startswith(":"):
                    seen.append(json.loads(text))
            assert seen[0]["kind"] == "loading"
            assert {event["model"] for event in seen} == {"a"}
            assert set(seen[0]) == {"kind", "model", "at_s", "detail"}
            rig.app.state.stopping.set()
            assert all([event.startswith(":") async for event in events])

    run(main())


CRASHES = """
[model]
memory_bytes = 600
[[turn]]
text = "one two three"
[turn.fault]
kind = "kill"
after_chunks = 1
"""


def test_events_tell_swaps_crashes_and_failures(tmp_path: Path) -> None:
    async def main() -> None:
        models = {**TWO, "crashes": CRASHES, "fails": '[load]\nfail = "the scripted cause"\n'}
        setup = Setup(models, budget_bytes=1000)
        async with serving(tmp_path, setup) as rig, rig.http.get(f"{rig.url}/api/events") as response:
            for model in ("a", "b", "crashes", "fails"):
                await rig.chat(question(model=model))
            seen = []
            async for text in sse_events(response):
                event = {"kind": "progress"} if text.startswith(":") else json.loads(text)
                if event["kind"] != "progress":
                    seen.append((event["kind"], event["model"]))
                if event["kind"] == "failed":
                    assert "the scripted cause" in event["detail"]
                    break
            swap = [("unloading", "a"), ("unloaded", "a"), ("loading", "b"), ("ready", "b")]
            assert seen[:6] == [("loading", "a"), ("ready", "a"), *swap]
            assert ("crashed", "crashes") in seen

    run(main())


def test_requests_are_listed_newest_first(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            for text in ("one", "two", "three"):
                await rig.chat(question(text))
            listed = (await rig.get("/api/requests?limit=2"))["requests"]
            assert len(listed) == 2
            assert listed[0]["started_at"] > listed[1]["started_at"]
            assert "three" not in json.dumps(listed)  # no prompt text
            for query in ("limit=0", "limit=x", "limit=100000", "run=" + "x" * 65):
                async with rig.http.get(f"{rig.url}/api/requests?{query}") as response:
                    assert response.status == 400
                    assert (await response.json())["error"]["param"] == query.partition("=")[0]

    run(main())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/models/", 404, "model_not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/api/state", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/chat/completions", 405, "method_not_allowed"),
    ],
)
def test_wrong_paths_and_methods(tmp_path: Path, method: str, path: str, status: int, code: str) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig, rig.http.request(method, rig.url + path) as response:
            assert response.status == status
            assert (await response.json())["error"]["code"] == code

    run(main())


def test_openapi_of_the_admin_api(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            assert "/api/state" in (await rig.get("/api/openapi.json"))["paths"]

    run(main())


KEY = "canary-sk-0123456789"


def test_fault_33_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 33 and 35: everything but /health needs the key, and nothing shows it."""
    caplog.set_level(logging.DEBUG)

    async def status_of(rig: Rig, path: str, **headers: str) -> int:
        async with rig.http.get(rig.url + path, headers=headers) as response:
            body = await response.text()
            assert KEY not in body
            if response.status == 401:
                assert json.loads(body)["error"]["type"] == "authentication_error"
                assert response.headers["www-authenticate"] == "Bearer"
            return response.status

    async def main() -> None:
        async with serving(tmp_path, Setup(api_keys=(Secret(KEY),))) as rig:
            for path in ("/v1/models", "/api/state", "/api/events", "/api/openapi.json", "/nothing", "/"):
                assert await status_of(rig, path) == 401
                assert await status_of(rig, path, authorization="Bearer wrong") == 401
                assert await status_of(rig, f"{path}?api_key={KEY}&key={KEY}") == 401
            for header in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}):
                assert await status_of(rig, "/v1/models", **header) == 200
                assert await status_of(rig, "/api/requests", **header) == 200

    run(main())
    assert KEY not in caplog.text


def test_no_prompt_in_logs_or_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """I5."""
    caplog.set_level(logging.DEBUG)
    canary = "canary-prompt-0123456789"

    async def main() -> None:
        script = '[[turn]]\ntext = "a b c"\n[turn.fault]\nkind = "kill"\nafter_chunks = 1\n'
        async with serving(tmp_path, Setup({"echo": script})) as rig:
            await rig.chat(question(canary))
            await rig.chat(question(canary) | {"top_k": -1})
            assert canary not in json.dumps(await rig.get("/api/requests"))
            assert canary not in json.dumps(await rig.get("/api/models/echo/log"))

    run(main())
    assert canary not in caplog.text


def test_stopping_ends_event_streams_and_refuses_requests(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            response = await rig.http.get(f"{rig.url}/api/events")
            rig.app.state.stopping.set()
            await rig.pool.drain(1.0)
            await response.read()
            status, answer, headers = await rig.chat({})
            assert (status, answer["error"]["code"]) == (503, "shutting_down")
            assert "retry-after" in headers

    run(main())
