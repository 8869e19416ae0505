"""Fault 35: no key, a wrong one, an empty one, the beginning of the right one, the right one in the wrong
place: 401, whatever the path; and the answer shows no key. Binding beyond loopback without one: test_cli.py
(test_serve_refuses), test_auth.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import Secret
from tests.proxy.rig import Setup, question, run, serving

KEY = "sk-canary-0123456789abcdef"
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "none": ({}, ""),
    "empty": ({"authorization": "Bearer "}, ""),
    "empty too": ({"x-api-key": ""}, ""),
    "wrong": ({"authorization": "Bearer sk-other"}, ""),
    "beginning": ({"authorization": f"Bearer {KEY[:-1]}"}, ""),
    "longer": ({"authorization": f"Bearer {KEY}x"}, ""),
    "other case": ({"authorization": f"Bearer {KEY.upper()}"}, ""),
    "basic": ({"authorization": f"Basic {KEY}"}, ""),
    "cookie": ({"cookie": f"api_key={KEY}"}, ""),
    "query": ({}, f"?api_key={KEY}&key={KEY}&authorization=Bearer%20{KEY}"),
}


@pytest.mark.parametrize("case", WRONG)
def test_fault_35_is_401(tmp_path: Path, case: str) -> None:
    async def main() -> None:
        headers, query = WRONG[case]
        async with serving(tmp_path, Setup(api_keys=(Secret(KEY),))) as rig:
            for path in ("/v1/models", "/api/state", "/metrics", "/nothing", "/r/run/v1/models"):
                async with rig.http.get(rig.url + path + query, headers=headers) as response:
                    assert response.status == 401, path
                    assert KEY not in await response.text()
            for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/unload"):
                async with rig.http.post(
                    rig.url + path + query, json=question(), headers=headers
                ) as response:
                    assert response.status == 401, path
                    assert KEY not in await response.text()
            good = {"authorization": f"Bearer {KEY}"}
            async with rig.http.get(f"{rig.url}/v1/models", headers=good) as response:
                assert response.status == 200

    run(main())
