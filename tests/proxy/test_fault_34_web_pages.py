"""Fault 34: a web page in a browser on this machine. It cannot call a loopback server: not under its own name
(DNS rebinding), not across origins, not by a form, and it is not told that it may (no CORS)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.rig import Rig, question, run, serving

BODY = json.dumps(question()).encode()
JSON = {"content-type": "application/json"}


async def posted(rig: Rig, headers: dict[str, str]) -> tuple[int, Any]:
    async with rig.http.post(f"{rig.url}/v1/chat/completions", data=BODY, headers=headers) as response:
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]
        return response.status, await response.json()


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
    ],
)
def test_fault_34_pages_are_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            status, answer = await posted(rig, JSON | headers)
            assert (status, answer["error"]["code"]) == (403, "forbidden")
            assert (await posted(rig, JSON))[0] == 200, "and the same without it is served"

    run(main())


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_fault_34_forms_are_refused(tmp_path: Path, kind: str) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            status, answer = await posted(rig, {"content-type": kind})
            assert (status, answer["error"]["code"]) == (415, "unsupported_media_type")

    run(main())


def test_fault_34_a_preflight_gets_no_permission(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
            for origin in ({"origin": "https://evil.example"}, {}):
                url = f"{rig.url}/v1/chat/completions"
                async with rig.http.options(url, headers=asks | origin) as response:
                    assert response.status in (403, 405)
                    assert not [n for n in response.headers if n.lower().startswith("access-control-")]

    run(main())


@pytest.mark.parametrize("path", ["/api/unload", "/api/models/echo/load", "/api/reload"])
def test_fault_34_operation_is_guarded_too(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
                async with rig.http.post(rig.url + path, headers=headers) as response:
                    assert response.status == 403

    run(main())
