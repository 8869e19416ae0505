"""A whole Hotseat with one local model and routes to fakes of OpenRouter and Z.ai, from a models.toml as a
user writes it, keys in the environment."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai

from tests import fake_openrouter, fake_zai
from tests.fake_openrouter import FLASH, SONNET, openrouter, openrouter_url
from tests.fake_provider import FakeProvider
from tests.fake_zai import GLM, anthropic_url, coding_url, general_url, zai
from tests.proxy.rig import Rig, serving_file

CLIENT_KEY = "sk-the-clients-own-key"
KEYS = {"OPENROUTER_API_KEY": fake_openrouter.KEY, "ZAI_API_KEY": fake_zai.KEY}
HELLO: list[Any] = [{"role": "user", "content": "hello there"}]

SCRIPT = "[model]\nmemory_bytes = 1000\n"
_QUICK = 'retry_delay = "1ms"'


@dataclass(frozen=True)
class Remote:
    rig: Rig
    openrouter: FakeProvider
    zai: FakeProvider

    async def openai(self, key: str = CLIENT_KEY, **terms: Any) -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(base_url=f"{self.rig.url}/v1", api_key=key, **{"max_retries": 0} | terms)
        return await self.rig.stack.enter_async_context(client)

    async def anthropic(self, key: str = CLIENT_KEY, **terms: Any) -> anthropic.AsyncAnthropic:
        client = anthropic.AsyncAnthropic(base_url=self.rig.url, api_key=key, **{"max_retries": 0} | terms)
        return await self.rig.stack.enter_async_context(client)

    async def chat(self, model: str, **fields: Any) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers."""
        return await self.rig.post("/v1/chat/completions", {"model": model, "messages": HELLO} | fields)

    async def rows(self) -> list[Any]:
        """Attempts, newest first."""
        found: list[Any] = (await self.rig.get("/api/requests"))["requests"]
        return found


def config_text(
    openrouter_at: str,
    zai_at: FakeProvider | str,
    *,
    each: str = _QUICK,
    limits: str = "",
    more: str = "",
) -> str:
    """`each`: lines in every provider's section. `zai_at` as text stands for all of its addresses."""
    if isinstance(zai_at, str):
        addresses = [zai_at] * 3
    else:
        addresses = [general_url(zai_at), coding_url(zai_at), anthropic_url(zai_at)]
    general, coding, messages = addresses
    return f"""
[server.limits]
keepalive = 30
{limits}
[models.echo]
path = "echo.toml"
engine = "scripted"
[providers.openrouter]
base_url = "{openrouter_at}"
{each}
[providers.zai]
base_url = "{general}"
{each}
[providers.zai-coding]
base_url = "{coding}"
{each}
[providers.zai-messages]
base_url = "{messages}"
{each}
[routes.sonnet]
provider = "openrouter"
model = "{SONNET}"
[routes.flash]
provider = "openrouter"
model = "{FLASH}"
[routes.glm]
provider = "zai"
model = "{GLM}"
[routes.glm-coding]
provider = "zai-coding"
model = "{GLM}"
[routes.glm-messages]
provider = "zai-messages"
model = "{GLM}"
[routes.careful]
provider = "openrouter"
model = "{SONNET}"
fallbacks = ["glm", "echo"]
[routes.local-at-last]
provider = "openrouter"
model = "{SONNET}"
fallbacks = ["echo"]
{more}
"""


def write_files(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "echo.toml").write_text(SCRIPT)
    path = folder / "models.toml"
    path.write_text(text)
    return path


@contextlib.asynccontextmanager
async def remote(
    folder: Path,
    *,
    each: str = _QUICK,
    limits: str = "",
    more: str = "",
    offline: bool = False,
    environ: Mapping[str, str] = KEYS,
) -> AsyncIterator[Remote]:
    far, further = openrouter(), zai()
    async with far.running(), further.running():
        text = config_text(openrouter_url(far), further, each=each, limits=limits, more=more)
        path = write_files(folder, text)
        async with serving_file(path, offline=offline, **dict[str, Any](environ)) as rig:
            yield Remote(rig, far, further)
