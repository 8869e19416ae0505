"""Why a request was prefilled, from the engine's slot to GET /api/requests/ID/prefix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.messages import PrefixCause, PrefixReport
from proxy.config import Secret
from proxy.errors import UnknownRequest
from proxy.request_log import RequestLog
from tests.inference import gguf_models
from tests.proxy.rig import Rig, Setup, question, run, serving

CANARY = "canary-0123456789"


async def asked(rig: Rig, colour: str) -> str:
    """Ask the tiny model, and return the request's id."""
    body: dict[str, Any] = {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": f"Workspace {CANARY}: {colour}. " + "Be careful. " * 40},
            {"role": "user", "content": "Go on."},
        ],
        "max_tokens": 2,
    }
    status, _, headers = await rig.chat(body)
    assert status == 200
    return headers["x-hotseat-request-id"]


def test_a_changed_system_prompt_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        tiny = gguf_models.write(gguf_models.llama(), tmp_path / "tiny.gguf", seed=3)
        async with serving(tmp_path, Setup({}, gguf_files={"tiny": tiny}, n_ctx=2048, slots=1)) as rig:
            first, second = await asked(rig, "red"), await asked(rig, "blue")
            cold = (await rig.get(f"/api/requests/{first}/prefix"))["report"]
            assert (cold["reused_tokens"], cold["culprit"], cold["source"]) == (0, "nothing cached", "none")

            answer = await rig.get(f"/api/requests/{second}/prefix")
            report = answer["report"]
            index = 1 + len(f"system\nWorkspace {CANARY}: ")
            assert answer["request_id"] == second
            assert report["culprit"] == "changed system prompt"
            assert report["first_difference"] == report["reused_tokens"] == index
            assert (report["in_prompt"][:9], report["in_cache"][:8]) == ("blue. Be ", "red. Be ")
            assert report["before"].endswith(f"{CANARY[4:]}: ")
            assert [(c["name"], c["side"]) for c in report["causes"]] == [("changed system prompt", "client")]

            listed = (await rig.get("/api/requests"))["requests"]
            assert [(r["reused_tokens"], r["first_difference"], r["culprit"]) for r in listed] == [
                (index, index, "changed system prompt"),
                (0, None, "nothing cached"),
            ]
            assert listed[0]["cached_tokens"] == index
            assert CANARY not in json.dumps(listed)
            log = (await rig.get("/api/models/tiny/log"))["lines"]
            assert f"prompt tokens reused (slot 0); first difference at token {index}: " in "".join(log)
            assert CANARY not in "".join(log)

    run(main())


def test_an_engine_that_reports_nothing_is_not_spoken_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            _, _, headers = await rig.post("/v1/chat/completions", question())
            answer = await rig.get(f"/api/requests/{headers['x-hotseat-request-id']}/prefix")
            assert answer["report"] is None
            assert "no engine reported" in answer["reason"]
            (record,) = (await rig.get("/api/requests"))["requests"]
            assert (record["reused_tokens"], record["first_difference"], record["culprit"]) == (
                None,
                None,
                "",
            )

    run(main())


def test_an_unknown_request_is_a_typed_404(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig, rig.http.get(f"{rig.url}/api/requests/none/prefix") as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"]) == (404, "request_not_found")
            assert "'none' is not known" in error["message"]

    run(main())


def test_windows_are_shown_to_whoever_has_a_key_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(api_keys=(Secret("sk-1"),))) as rig:
            keys: list[tuple[dict[str, str], int]] = [({}, 401), ({"authorization": "Bearer sk-1"}, 404)]
            for headers, status in keys:
                url = f"{rig.url}/api/requests/none/prefix"
                async with rig.http.get(url, headers=headers) as response:
                    assert response.status == status

    run(main())


def test_as_many_reports_as_records_are_kept() -> None:
    log = RequestLog(kept=2)
    cause = PrefixCause(name="unknown", side="client", tokens=3)
    report = PrefixReport(prompt_tokens=9, reused_tokens=5, source="slot", slot=0, causes=(cause,))
    for i in range(3):
        with log.track(str(i), "", "chat-completions") as record:
            log.explain(record, report)
            assert log.prefix(str(i)) is report  # while it still runs
    assert [log.prefix(str(i)) for i in (1, 2)] == [report, report]
    assert log.recent(1)[0].culprit == "unknown"
    with pytest.raises(UnknownRequest):
        log.prefix("0")
