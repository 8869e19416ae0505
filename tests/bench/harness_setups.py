"""A setup such as every harness adapter gets, for tests of what they make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.harnesses.base import ModelCard, Setup, SubAgent

HOME, WORK = Path("/home/me/.local/share/hotseat/launch/x"), Path("/project")
KEY = "sk-secret-0123456789"
HELPER = SubAgent("helper", "helper", 'Small "chores"', "You are small.\nBe brief.")
CARDS = (
    ModelCard("big", 131_072, 32_000),
    ModelCard("org/Qwen 3.6", 65_536, 16_384),
    ModelCard("helper", 32_768, 8192),
    ModelCard("tiny", 4096, 1024),
)


def setup(**changes: Any) -> Setup:
    given: dict[str, Any] = {
        "base_url": "http://127.0.0.1:8080",
        "api_key": KEY,
        "main": "big",
        "small": "tiny",
        "models": CARDS,
        "home": HOME,
        "workdir": WORK,
        "subagents": (HELPER,),
    }
    return Setup(**given | changes)
