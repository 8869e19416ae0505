"""Fault 32: addresses that somebody else chose. A redirect is not followed, wherever it leads; an image's URL
is not fetched here; a file is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fake_wire import Stunt
from tests.proxy.remote_rig import remote
from tests.proxy.rig import run
from tests.proxy.sockets import connections

METADATA = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"


TARGETS = [METADATA, "http://localhost:{port}/api/paas/v4/chat/completions", "file:///etc/passwd"]


@pytest.mark.parametrize("target", TARGETS)
def test_fault_32_redirects_are_not_followed(tmp_path: Path, target: str) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            location = target.format(port=far.zai.port)
            for status in (301, 302, 303, 307, 308):
                far.openrouter.script(Stunt(status, {"location": location}))
                with connections() as seen:
                    got, answer, headers = await far.chat("sonnet")
                assert (got, answer["error"]["code"]) == (502, "provider_bad_answer")
                assert "location" not in headers
                assert location not in str(answer), "the client is not sent there either"
                assert {port for _, port in seen} <= {far.rig.port, far.openrouter.port}
                assert (await far.chat("sonnet"))[0] == 200
            assert len(far.openrouter.posted) == 10
            assert not far.zai.asked

    run(main())


URLS = [
    METADATA,
    "http://127.0.0.1:{port}/secret",
    "http://[::1]:{port}/",
    "file:///etc/passwd",
    "ftp://10.0.0.1/a",
]


def image_bodies(url: str) -> list[tuple[str, dict[str, Any]]]:
    """In each dialect: the path and a body that shows an image by its address."""
    chat = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    messages = [{"type": "image", "source": {"type": "url", "url": url}}]
    responses = [{"type": "input_image", "image_url": url, "detail": "auto"}]
    return [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": chat}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": messages}], "max_tokens": 9}),
        ("/v1/responses", {"input": [{"role": "user", "content": responses}]}),
    ]


@pytest.mark.parametrize("model", ["echo", "sonnet", "glm-messages"])
def test_fault_32_images_are_not_fetched(tmp_path: Path, model: str) -> None:
    """Refused, or told to the provider as it is: in no case is anybody asked from here for it."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            parts = {far.rig.port, far.openrouter.port, far.zai.port}
            for url in URLS:
                for path, body in image_bodies(url.format(port=far.zai.port)):
                    with connections() as seen:
                        status, _, _ = await far.rig.post(path, {"model": model, **body})
                    assert status in (200, 400), (path, url)
                    assert {port for _, port in seen} <= parts
            assert all(asked.method == "POST" for asked in far.zai.asked), "nobody came for the image"

    run(main())
