"""Models whose engine is a command, in models.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.errors import ConfigError
from inference.gpu import DeviceMemory
from inference.model_spec import ModelSpec
from proxy.config import load_config
from proxy.inventory import Surveyed, survey

HEAD = '[models.m]\nengine = "command"\n'
HOST = DeviceMemory(kind="cpu", name="test", total_bytes=2**34, free_bytes=2**34)


def write(folder: Path, text: str) -> Path:
    (folder / "x.gguf").write_bytes(b"GGUF")
    path = folder / "models.toml"
    path.write_text(text)
    return path


def spec_of(folder: Path, text: str) -> ModelSpec:
    return load_config(write(folder, text), {"HOME": "/home/u"}).models["m"].spec


def surveyed(folder: Path, text: str) -> Surveyed:
    [found] = survey(load_config(write(folder, text), {"HOTSEAT_HOME": str(folder / "home")}), HOST)
    return found


def test_all_keys(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        HEAD
        + """
path = "x.gguf"
command = ["llama-server", "-m", "{path}", "--port", "{port}", "-c", "{n_ctx_total}", "-np", "{slots}"]
env = { GGML_LOG = "{name}" }
health_path = "/v1/models"
health_timeout = "5s"
stop_command = ["stopper", "{pid}"]
""",
    )
    assert spec.engine == "command"
    assert spec.command[:2] == ("llama-server", "-m")
    assert (spec.env, spec.health_path, spec.health_timeout_s) == ({"GGML_LOG": "{name}"}, "/v1/models", 5.0)
    assert spec.stop_command == ("stopper", "{pid}")
    assert spec.path == str(tmp_path / "x.gguf")


def test_without_a_file_memory_says_what_it_takes(tmp_path: Path) -> None:
    text = HEAD + 'command = ["vllm", "--port={port}"]\nmemory = "8GiB"'
    assert (spec_of(tmp_path, text).path, spec_of(tmp_path, text).memory_bytes) == ("", 8 * 2**30)
    found = surveyed(tmp_path, text)
    assert (found.estimated_bytes, found.problem, found.state) == (8 * 2**30, None, "unloaded")
    assert found.pool_model().estimated_bytes == 8 * 2**30


def test_a_folder_is_a_model_where_memory_is_given(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    text = HEAD + 'path = "weights"\ncommand = ["vllm", "{path}", "--port={port}"]\n'
    assert surveyed(tmp_path, text + 'memory = "8GiB"').problem is None
    assert "not a regular file" in str(surveyed(tmp_path, text).problem)


def test_a_gguf_is_read_before_anything_is_started(tmp_path: Path) -> None:
    """Fault 26: a broken file is refused by our parser, whatever engine would load it."""
    found = surveyed(tmp_path, HEAD + 'path = "x.gguf"\ncommand = ["s", "{path}", "{port}"]')
    assert found.problem is not None


@pytest.mark.parametrize(
    ("program", "found"),
    [("llama-server", "llama-server"), ("./bin/s", "{folder}/bin/s"), ("~/s", "/home/u/s"), ("/x/s", "/x/s")],
)
def test_a_program_with_a_slash_is_relative_to_the_file(tmp_path: Path, program: str, found: str) -> None:
    spec = spec_of(tmp_path, HEAD + f'command = ["{program}", "{{port}}"]\nmemory = 1')
    assert spec.command[0] == found.replace("{folder}", str(tmp_path))


REFUSED = {
    "no command": ("memory = 1", ["models.m.command", "needs it"]),
    "empty command": ("command = []\nmemory = 1", ["models.m.command"]),
    "unknown placeholder": (
        'command = ["s", "{prot}", "{port}"]\nmemory = 1',
        ["models.m.command", "unknown placeholder {prot}", "did you mean", "'port'"],
    ),
    "unknown placeholder in env": (
        'command = ["s", "{port}"]\nenv = { A = "{what}" }\nmemory = 1',
        ["models.m.env", "unknown placeholder {what}", "n_ctx"],
    ),
    "pid is of the stop command": (
        'command = ["s", "{port}", "{pid}"]\nmemory = 1',
        ["models.m.command", "unknown placeholder {pid}"],
    ),
    "unknown placeholder in the stop command": (
        'command = ["s", "{port}"]\nstop_command = ["x", "{p}"]\nmemory = 1',
        ["models.m.stop_command", "unknown placeholder {p}"],
    ),
    "a path and no file": (
        'command = ["s", "{path}", "{port}"]\nmemory = 1',
        ["models.m.command", "{path}", "source"],
    ),
    "no port": ('command = ["s"]\nmemory = 1', ["models.m.command", "expected {port}"]),
    "no memory": ('command = ["s", "{port}"]', ["models.m.memory", "needed without a model file", '"8GiB"']),
    "bad memory": ('command = ["s", "{port}"]\nmemory = "much"', ["models.m.memory"]),
    "bad health path": (
        'command = ["s", "{port}"]\nmemory = 1\nhealth_path = "x"',
        ["models.m.health_path", "/health"],
    ),
    "line break in the health path": (
        'command = ["s", "{port}"]\nmemory = 1\nhealth_path = "/a\\r\\nb"',
        ["models.m.health_path"],
    ),
    "bad name in env": ('command = ["s", "{port}"]\nmemory = 1\nenv = { "A=B" = "x" }', ["models.m.env"]),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(tmp_path: Path, text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        spec_of(tmp_path, HEAD + text)
    for part in expected:
        assert part in caught.value.message
    assert "\n" not in caught.value.message


def test_a_value_in_env_is_not_repeated(tmp_path: Path) -> None:
    text = HEAD + 'command = ["s", "{port}"]\nmemory = 1\nenv = { TOKEN = ["canary-1"] }'
    with pytest.raises(ConfigError) as caught:
        spec_of(tmp_path, text)
    assert "canary-1" not in caught.value.message


@pytest.mark.parametrize("key", ['command = ["s", "{port}"]', "memory = 1", 'health_path = "/x"', "env = {}"])
def test_other_engines_have_no_such_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match='only a model with engine = "command" has it'):
        spec_of(tmp_path, f'[models.m]\npath = "x.gguf"\n{key}')


def test_a_source_that_is_not_there_is_missing_for_a_command_too(tmp_path: Path) -> None:
    found = surveyed(tmp_path, HEAD + 'source = "hf:o/r/x.gguf"\ncommand = ["s", "{path}", "{port}"]')
    assert found.state == "not downloaded"
