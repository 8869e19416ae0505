"""What models.toml says of a model that is a command: checked, and made fields of ModelSpec. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from inference.command_line import PLACEHOLDERS, STOP_PLACEHOLDERS, placeholders_in
from inference.errors import ConfigError
from proxy.config_file import COMMAND_KEYS, ModelSection, near_names


class OnKey(Protocol):
    """Makes the error about one key of the model."""

    def __call__(self, key: str, message: str, value: object = None) -> ConfigError: ...


def command_fields(section: ModelSection, error: OnKey, *, is_command: bool) -> dict[str, Any]:
    """Raises ConfigError naming the key."""
    if not is_command:
        key = next(key for key in COMMAND_KEYS if key in section.model_fields_set)
        raise error(key, 'only a model with engine = "command" has it: add that, or remove the key')
    if section.command is None:
        raise error("command", 'engine = "command" needs it: the program and its arguments, as a list')
    env = section.env or {}
    has_file = section.path is not None or section.source is not None
    _check(section.command, "command", PLACEHOLDERS, error, has_file=has_file)
    _check(env.values(), "env", PLACEHOLDERS, error, has_file=has_file)
    _check(section.stop_command or (), "stop_command", STOP_PLACEHOLDERS, error, has_file=has_file)
    if "port" not in placeholders_in([*section.command, *env.values()]):
        raise error(
            "command", 'expected {port} in it: each start listens on another one, as in "--port", "{port}"'
        )
    if not has_file and section.memory is None:
        message = 'needed without a model file to estimate: what the server takes, as in memory = "8GiB"'
        raise error("memory", message)
    given = {
        "command": tuple(section.command),
        "env": env,
        "health_path": section.health_path,
        "health_timeout_s": section.health_timeout,
        "stop_command": tuple(section.stop_command or ()),
        "memory_bytes": section.memory,
    }
    return {name: value for name, value in given.items() if value is not None}


def _check(words: Iterable[str], key: str, known: Iterable[str], error: OnKey, *, has_file: bool) -> None:
    found = placeholders_in(words)
    for name in sorted(found - set(known)):
        raise error(key, f"unknown placeholder {{{name}}}; {near_names(name, sorted(known))}")
    if "path" in found and not has_file:
        raise error(key, "{path} stands for the model file, and there is none: add path or source")
