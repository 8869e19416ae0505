"""Models that are loaded before anybody asks: in the background, and at nobody's cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.pool import PoolEvent
from inference.pool_state import ModelState, PoolState
from inference.scheduler_events import State
from proxy.preload import lacking
from tests.proxy.rig import Rig, run, serving_file

PLAIN = "[model]\nmemory_bytes = 600\n"


def write(folder: Path, models: dict[str, str], keys: dict[str, str] | None = None) -> Path:
    """`models`: name -> script; `keys`: name -> its keys beside the usual, instead of preload."""
    lines = ["[server]\nwatch = false"]
    for name, script in models.items():
        (folder / f"{name}.toml").write_text(script)
        own = (keys or {}).get(name, "preload = true")
        lines.append(f'[models.{name}]\npath = "{name}.toml"\nengine = "scripted"\n{own}')
    path = folder / "models.toml"
    path.write_text("\n".join(lines))
    return path


async def until_state(rig: Rig, name: str, state: str) -> None:
    await rig.until(name, lambda model: model["state"] == state)


def test_loaded_without_a_request_the_important_one_first(tmp_path: Path) -> None:
    async def main() -> None:
        keys = {"a": "", "c": "preload = true\npriority = 5"}
        async with serving_file(write(tmp_path, dict.fromkeys("abc", PLAIN), keys)) as rig:
            await until_state(rig, "b", "ready")
            assert (await rig.model("c"))["state"] == "ready"  # it was first
            assert (await rig.model("a"))["state"] == "unloaded"

    run(main())


def test_the_server_answers_while_a_preload_hangs(tmp_path: Path) -> None:
    async def main() -> None:
        hangs = "[model]\nmemory_bytes = 600\n[load]\nseconds = 3600.0\n"
        async with serving_file(write(tmp_path, {"a": hangs})) as rig:
            await until_state(rig, "a", "loading")
            assert await rig.get("/health") == {"status": "ok"}

    run(main())


def test_a_failed_preload_is_seen_and_the_next_one_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        broken = '[load]\nfail = "the scripted cause"\n'
        async with serving_file(write(tmp_path, {"a": broken, "b": PLAIN})) as rig:
            await until_state(rig, "b", "ready")
            failed = await rig.model("a")
            assert failed["state"] == "failed"
            assert "the scripted cause" in failed["error"]
            assert "'a' is not preloaded: " in caplog.text

    run(main())


def test_nobody_leaves_for_a_preload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        path = write(tmp_path, {"a": PLAIN, "b": PLAIN})
        async with serving_file(path, budget_bytes=1000) as rig:
            await until_state(rig, "a", "ready")
            while "'b' is not preloaded" not in caplog.text:
                await rig.get("/health")
            assert (await rig.model("a"))["state"] == "ready"
            assert (await rig.get("/api/state"))["swaps"] == 0

    run(main())


def test_a_model_that_a_reload_brings_is_preloaded(tmp_path: Path) -> None:
    async def main() -> None:
        path = write(tmp_path, {"a": PLAIN}, {"a": ""})
        async with serving_file(path) as rig, rig.pool.events() as events:
            write(tmp_path, {"a": PLAIN, "b": PLAIN}, {"a": ""})
            assert (await rig.post("/api/reload"))[1]["added"] == ["b"]
            seen: list[PoolEvent] = []
            async for event in events:
                seen.append(event)
                if event.kind == "ready":
                    break
            assert {event.model for event in seen} == {"b"}

    run(main())


@pytest.mark.parametrize(
    ("wanted", "others", "lacks"),
    [
        (("unloaded", 600), [], -400),
        (("unloaded", 600), [("ready", 300)], -100),
        (("unloaded", 600), [("ready", 300), ("loading", 200)], 100),
        (("unloaded", 600), [("unloading", 500)], 100),
        (("failed", 600), [("unloaded", 500)], -400),
        (("ready", 600), [("ready", 900)], 0),
    ],
)
def test_lacking(wanted: tuple[State, int], others: list[tuple[State, int]], lacks: int) -> None:
    models = [model("wanted", *wanted), *(model(f"m{i}", *other) for i, other in enumerate(others))]
    assert lacking("wanted", PoolState(tuple(models), 0, 1000)) == lacks
    assert lacking("removed meanwhile", PoolState(tuple(models), 0, 1000)) == 0


def model(name: str, state: State, n_bytes: int) -> ModelState:
    return ModelState(
        name=name,
        state=state,
        estimated_bytes=n_bytes,
        dry_run_bytes=None,
        dry_run_error=None,
        measured_bytes=None,
        measured_at_s=None,
        footprint_bytes=n_bytes,
        footprint_origin="estimate",
        leases=0,
        queued=0,
        slots=1,
        pinned=False,
        error=None,
        progress=None,
        facts=None,
    )
