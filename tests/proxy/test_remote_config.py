"""[providers] and [routes] of models.toml, and where keys come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference.errors import ConfigError
from proxy.config import Config, load_config
from proxy.providers import KINDS
from proxy.routing import Route, route_table

KEY = "sk-canary-0123456789"


def load(folder: Path, text: str, **environ: str) -> Config:
    (folder / "models.toml").write_text(text)
    return load_config(folder / "models.toml", environ)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "compatible"])
def test_a_known_provider_needs_nothing_but_its_name(tmp_path: Path, name: str) -> None:
    row = KINDS[name]
    provider = load(tmp_path, f"[providers.{name}]", **{row.api_key_env or "": KEY}).providers[name]
    assert (provider.kind, provider.base_url, provider.dialects) == (name, row.base_url, row.dialects)
    assert provider.api_key == KEY
    assert provider.key_header == row.key_header


def test_a_kind_under_another_name_with_its_own_terms(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
[providers.mine]
kind = "openrouter"
base_url = "http://127.0.0.1:9/v1"
dialects = ["responses"]
key_header = "x-api-key"
idle_timeout = "7s"
retries = 0
retry_delay = "10ms"
""",
    )
    mine = config.providers["mine"]
    assert (mine.kind, mine.base_url, mine.dialects) == (
        "openrouter",
        "http://127.0.0.1:9/v1",
        ("responses",),
    )
    assert (mine.key_header, mine.api_key_env, mine.lacks_key) == ("x-api-key", "OPENROUTER_API_KEY", True)
    assert (mine.idle_timeout_s, mine.retries, mine.retry_delay_s) == (7.0, 0, 0.01)


def test_a_server_without_a_key(tmp_path: Path) -> None:
    box = load(tmp_path, '[providers.box]\nbase_url = "http://box.lan:8000/v1"').providers["box"]
    assert (box.kind, box.api_key_env, box.lacks_key) == ("compatible", None, False)


def key_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return '[providers.openai]\napi_key_file = "./key"\n'


def test_a_key_in_a_file(tmp_path: Path) -> None:
    provider = load(tmp_path, key_file(tmp_path, f"{KEY}\n")).providers["openai"]
    assert provider.api_key == KEY
    assert provider.api_key_env is None
    assert provider.key_place == "./key"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    text = key_file(tmp_path, "other") + 'api_key_env = "K"'
    assert load(tmp_path, text, K=KEY).providers["openai"].api_key == KEY
    assert load(tmp_path, text).providers["openai"].api_key == "other"


def test_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    assert load(tmp_path, '[providers.openai]\napi_key_file = "./nope"').providers["openai"].lacks_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        load(tmp_path, key_file(tmp_path, KEY, mode))


@pytest.mark.parametrize("text", [f"{KEY} {KEY}", f"{KEY}\n{KEY}", "é" * 20, KEY + "\x7f", "x" * 5000])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, key_file(tmp_path, text))
    assert KEY not in caught.value.message
    assert "providers.openai.api_key_file" in caught.value.message


def test_a_folder_or_a_pipe_is_no_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in (".", "./pipe"):
        with pytest.raises(ConfigError, match="not a regular file"):
            load(tmp_path, f'[providers.openai]\napi_key_file = "{name}"')


BASE = """
[models.m]
path = "m.gguf"
aliases = ["alias"]
[providers.zai]
[providers.openrouter]
[routes.a]
provider = "openrouter"
model = "v/a"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[providers.x]\nkind = "openruter"\nbase_url = "https://x"', ["providers.x.kind", "'openrouter'"]),
        ("[providers.x]", ["providers.x.base_url", "openrouter"]),
        ('[providers.local]\nbase_url = "https://x"', ["providers.local", "rename"]),
        ('[providers.x]\nbase_url = "https://x"\ndialects = ["soap"]', ["dialects", "expected"]),
        (f'[providers.zai]\napi_key_file = "{KEY}"', ["api_key_file", "a path that begins"]),
        (BASE + 'fallbacks = ["b"]', ["routes.a.fallbacks", "no such model"]),
        (BASE + 'fallbacks = ["a"]', ["routes.a.fallbacks", "already"]),
        (BASE + 'fallbacks = ["m", "alias"]', ["routes.a.fallbacks", "already"]),
        (BASE + "context_length = 0", ["routes.a.context_length", "1 or more"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    for word in words:
        assert word in caught.value.message
    assert KEY not in caught.value.message


def test_fallbacks_become_routes_and_those_without_a_key_are_left_out(tmp_path: Path) -> None:
    text = (
        BASE + 'fallbacks = ["b", "alias"]\n[routes.b]\nprovider = "zai"\nmodel = "glm"\nfallbacks = ["m"]\n'
    )
    local, b = Route("local", "m"), Route("zai", "glm")
    with_keys = route_table(load(tmp_path, text, OPENROUTER_API_KEY=KEY, ZAI_API_KEY=KEY))
    assert with_keys.resolve("a") == Route("openrouter", "v/a", fallbacks=(b, local))
    assert with_keys.resolve("b").fallbacks == (local,)
    with_one = route_table(load(tmp_path, text, OPENROUTER_API_KEY=KEY))
    assert with_one.resolve("a").fallbacks == (local,)
