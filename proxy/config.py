"""models.toml and the environment -> one frozen Config.

Other modules get these values passed in; only the composition roots (cli.py, scripts, tests)
call `load_config`. Which keys the file may have, and what is wrong with those it has, is
config_file.py's; where a model's file lies is model_files.py's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from inference.chat import Sampling
from inference.errors import ConfigError
from inference.model_spec import ModelSpec
from proxy.command_config import command_fields
from proxy.config_file import (
    COMMAND_KEYS,
    FileSections,
    KvStoreSection,
    LimitsSection,
    MemorySection,
    ModelSection,
    RolesSection,
    ServerSection,
    key_error,
    near_names,
    read_sections,
)
from proxy.ledger_config import ledger_config
from proxy.ledger_place import LedgerConfig
from proxy.model_files import ModelFile, expand_home, find_path, find_source, hotseat_home, state_home
from proxy.money_config import MoneyConfig, money_config
from proxy.remote_config import (
    ProviderConfig as ProviderConfig,
)
from proxy.remote_config import (
    RouteConfig as RouteConfig,
)
from proxy.remote_config import (
    check_fallbacks,
    provider_config,
    route_config,
)
from proxy.secret import Secret as Secret

SHIPPED = Path(__file__).parents[1] / "models.toml"
MAX_FILE_BYTES = 2**20
DEFAULT_API_KEYS_ENV = "HOTSEAT_API_KEY"  # where the client takes its key from, too


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client may cost. In models.toml: [server.limits], keys without the unit."""

    max_body_bytes: int = 32 * 2**20
    header_timeout_s: float = 20.0
    body_timeout_s: float = 60.0
    keepalive_s: float = 5.0  # period of SSE comments while an answer is not there yet
    request_timeout_s: float = 3600.0
    max_queue_per_model: int = 64
    max_queue_total: int = 512
    max_wait_s: float = 10.0  # a waiter for another model gives way to running traffic no longer than this
    client_stall_s: float = 120.0  # a client that takes nothing for so long loses its slot
    shutdown_grace_s: float = 30.0
    min_residency_s: float = 0.0  # after a load, before a model may leave for another of its priority
    memory_wait_s: float = 10.0  # for GPU memory that the budget counts on and others hold
    load_timeout_s: float = 600.0  # a load without progress
    decode_stall_s: float = 120.0  # a worker with requests and without a sign of life
    stop_grace_s: float = 5.0  # between asking a worker to stop and killing it


@dataclass(frozen=True, slots=True)
class ServerConfig:
    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = field(default=(), repr=False)  # elements are Secret
    allowed_hosts: tuple[str, ...] = ()
    watch: bool = True  # reload the file when it changes
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """`budget_bytes` None: what the device has free, less `reserve_bytes`."""

    device: str = "auto"
    budget_bytes: int | None = None
    reserve_bytes: int = 2**30
    spare_workers: bool = True  # a process of each engine kept started, for the next load


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """`missing`: why the file is not there and what to do, or None. `spec.path` is where it belongs."""

    spec: ModelSpec
    source: str
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """`models`, `providers`, `routes` by name. `roles` map to canonical model or route names.

    `background`: names and patterns of names ("*" is any text) that mean the role `small`.
    """

    path: Path
    server: ServerConfig = ServerConfig()
    memory: MemoryConfig = MemoryConfig()
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    background: tuple[str, ...] = ()
    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)
    routes: Mapping[str, RouteConfig] = field(default_factory=dict)
    offline: bool = False
    models_dir: Path = Path("models")
    money: MoneyConfig = field(default_factory=MoneyConfig)
    ledger: LedgerConfig | None = None  # None: none is kept
    recordings: Path | None = None  # None: no run can record or replay


def load_config(
    path: Path,
    environ: Mapping[str, str],
    *,
    host: str | None = None,
    port: int | None = None,
    budget_bytes: int | Literal["auto"] | None = None,
    offline: bool = False,
) -> Config:
    """Read `path`; the keyword arguments override it. Raises ConfigError."""
    text = read_config_text(path)
    origin = _Origin(path.absolute(), text, str(path), environ, hotseat_home(environ) / "models")
    sections = read_sections(text, str(path))
    models = {name: _model(origin, sections, name) for name in sections.models}
    providers = {
        name: provider_config(name, section, environ, origin.path.parent, origin.error)
        for name, section in sections.providers.items()
    }
    routes = {
        name: route_config(name, section, providers, origin.error)
        for name, section in sections.routes.items()
    }
    names = _canonical_names(origin, models, routes)
    check_fallbacks(routes, names, origin.error)
    memory = sections.memory
    server = _server(origin, sections.server, host, port)
    return Config(
        path=origin.path,
        server=server,
        memory=MemoryConfig(
            device=memory.device,
            budget_bytes=_budget(memory, budget_bytes),
            reserve_bytes=memory.reserve,
            spare_workers=memory.spare_workers,
        ),
        models=MappingProxyType(models),
        roles=MappingProxyType(_roles(origin, sections.roles, names)),
        background=_background(origin, sections.roles, names),
        providers=MappingProxyType(providers),
        routes=MappingProxyType(routes),
        offline=offline,
        models_dir=origin.models_dir,
        recordings=state_home(environ) / "recordings",
        ledger=ledger_config(sections.ledger, state_home(environ), origin.path.parent, environ, origin.error),
        money=money_config(sections, origin.path.parent, environ, origin.error, server.api_keys),
    )


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the sections came from: needed to find files and variables, and to word errors."""

    path: Path
    text: str
    shown_path: str
    environ: Mapping[str, str]
    models_dir: Path

    def error(self, key: tuple[str, ...], message: str, *, value: object = None) -> ConfigError:
        return key_error(self.text, self.shown_path, key, message, value)


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path:
    """`path` if given, else a models.toml: of the working directory, the user's, or the one that lies
    beside this checkout of Hotseat. Raises ConfigError."""
    if path is not None:
        return path
    user = Path(expand_home("~/.config/hotseat/models.toml", environ))
    candidates = [Path("models.toml"), user, SHIPPED]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    places = " or ".join(str(candidate) for candidate in candidates[:2])
    raise ConfigError(f"no configuration: expected {places}: name one with --config")


def read_config_text(path: Path) -> str:
    """Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: name the models.toml with --config") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes: is this a models.toml?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from error


def _server(origin: _Origin, section: ServerSection, host: str | None, port: int | None) -> ServerConfig:
    return ServerConfig(
        host=host or section.host,
        port=section.port if port is None else port,
        api_keys=_api_keys(origin, section.api_keys_env),
        allowed_hosts=tuple(section.allowed_hosts),
        watch=section.watch,
        limits=_limits(section.limits),
    )


def _budget(section: MemorySection, override: int | Literal["auto"] | None) -> int | None:
    if override == "auto":
        return None
    return section.budget if override is None else override


def _api_keys(origin: _Origin, env_name: str | None) -> tuple[str, ...]:
    """The keys in the named variable, separated by commas. A variable that the file names must be set:
    serving without the key that was asked for would be a silent default."""
    value = origin.environ.get(env_name or DEFAULT_API_KEYS_ENV, "")
    keys = [key for key in re.split(r"[,\s]+", value) if key]
    if env_name and not keys:
        message = "that environment variable is not set: export it, or remove the key"
        raise origin.error(("server", "api_keys_env"), message, value=env_name)
    if any(re.search(r"[^\x21-\x7e]", key) for key in keys):
        message = f"{env_name or DEFAULT_API_KEYS_ENV}: expected keys of printable ASCII, separated by commas"
        raise origin.error(("server", "api_keys_env"), message)
    return tuple(Secret(key) for key in keys)


def _limits(section: LimitsSection) -> Limits:
    """Keys carry no unit in the file, fields do: max_body -> max_body_bytes, max_wait -> max_wait_s."""
    units = {"max_body": "_bytes", "max_queue_per_model": "", "max_queue_total": ""}
    given = section.model_dump(exclude_none=True)
    return Limits(**{key + units.get(key, "_s"): value for key, value in given.items()})


def _model(origin: _Origin, sections: FileSections, name: str) -> ModelEntry:
    section = sections.models[name]
    fields = _spec_fields(sections, section) | _kv_store_fields(origin, sections.memory.kv_store)
    is_command = fields.get("engine") == "command"
    if is_command or section.model_fields_set & set(COMMAND_KEYS):
        fields |= command_fields(section, partial(_model_error, origin, name), is_command=is_command)
        fields["command"] = _found_program(origin, fields["command"])
    found, source = _model_file(origin, name, section, is_command=is_command)
    template = fields.pop("chat_template", None)
    if template is not None:
        template_file = find_path(template, origin.path.parent, origin.environ)
        fields["chat_template"] = str(template_file.path)
        if found.missing is None and template_file.missing:
            found = ModelFile(found.path, f"chat_template: {template_file.missing}")
    file_path = str(found.path) if source else ""
    spec = ModelSpec(name=name, path=file_path, aliases=tuple(section.aliases), **fields)
    if spec.n_ubatch > spec.n_batch:
        message = f"more than n_batch, which is {spec.n_batch}: lower it, or raise n_batch"
        raise origin.error(("models", name, "n_ubatch"), message, value=spec.n_ubatch)
    return ModelEntry(spec=spec, source=source, missing=found.missing)


def _model_error(origin: _Origin, name: str, key: str, message: str, value: object = None) -> ConfigError:
    return origin.error(("models", name, key), message, value=value)


def _found_program(origin: _Origin, command: tuple[str, ...]) -> tuple[str, ...]:
    """A first word with a slash is a path, and like others relative to the file; one without is in PATH."""
    program = expand_home(command[0], origin.environ)
    if "/" in program:
        program = str((origin.path.parent / program).absolute())
    return (program, *command[1:])


def _model_file(
    origin: _Origin, name: str, section: ModelSection, *, is_command: bool
) -> tuple[ModelFile, str]:
    """For a command the file is optional, and may be a folder where `memory` says what it takes."""
    if is_command and section.path is None and section.source is None:
        return ModelFile(Path()), ""
    if section.path is not None and section.source is None:
        file = find_path(section.path, origin.path.parent, origin.environ)
        if is_command and section.memory is not None and file.path.is_dir():
            return ModelFile(file.path), section.path
        return file, section.path
    if section.source is not None and section.path is None:
        try:
            return find_source(section.source, origin.models_dir), section.source
        except ValueError as error:
            message = f"{error}; for a file of your own use path"
            raise origin.error(("models", name, "source"), message, value=section.source) from error
    found = "both" if section.path is not None else "neither"
    raise origin.error(("models", name), f"expected one of source and path, found {found}: keep one")


def _spec_fields(sections: FileSections, section: ModelSection) -> dict[str, Any]:
    """[defaults] under the model's own keys; `sampling` is merged key by key."""
    default = sections.defaults.model_dump(exclude_unset=True)
    own = section.model_dump(exclude_unset=True, exclude={"source", "path", "aliases", *COMMAND_KEYS})
    fields = default | own
    if "kv_ram" in fields:
        fields["kv_ram_bytes"] = fields.pop("kv_ram")
    if "idle_unload" in fields:
        fields["idle_unload_s"] = fields.pop("idle_unload")
    if "sampling" in fields:
        fields["sampling"] = Sampling(**(default.get("sampling", {}) | own.get("sampling", {})))
    return fields


def _kv_store_fields(origin: _Origin, section: KvStoreSection | None) -> dict[str, Any]:
    """Where sequences of an unloaded model are kept: one folder, and its bounds, for all models."""
    if section is None:
        return {"kv_store": None}
    folder = origin.models_dir.parent / "kv"
    if section.path is not None:
        folder = (origin.path.parent / expand_home(section.path, origin.environ)).absolute()
    return {
        "kv_store": str(folder),
        "kv_store_limit_bytes": section.limit,
        "kv_store_max_age_s": section.max_age,
    }


def _canonical_names(
    origin: _Origin, models: Mapping[str, ModelEntry], routes: Mapping[str, RouteConfig]
) -> dict[str, str]:
    """Every name a client may ask for, with the model or route it means. Each may mean one thing only."""
    names = {name: name for name in models}
    for name in routes:
        if name in names:
            raise origin.error(("routes", name), "a model has this name too: rename one of them")
        names[name] = name
    for model, entry in models.items():
        for alias in entry.spec.aliases:
            if alias in names:
                message = f'alias "{alias}" already means "{names[alias]}": remove it from one of them'
                raise origin.error(("models", model, "aliases"), message)
            names[alias] = model
    return names


def _roles(origin: _Origin, section: RolesSection, names: Mapping[str, str]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, target in section.model_dump(exclude_none=True, exclude={"background"}).items():
        if target not in names:
            message = f"no such model, alias or route; {near_names(target, sorted(names))}"
            raise origin.error(("roles", role), message, value=target)
        if role in names:
            message = f'a model, alias or route is called "{role}" too: rename it, or remove the role'
            raise origin.error(("roles", role), message)
        roles[role] = names[target]
    return roles


def _background(origin: _Origin, section: RolesSection, names: Mapping[str, str]) -> tuple[str, ...]:
    """A pattern may cover the name of a model, which still means the model; one that is nothing else
    would never be asked."""
    key = ("roles", "background")
    if section.background and section.small is None:
        message = 'the role "small" answers them, and is not set: add small = "MODEL"'
        raise origin.error(key, message, value=section.background)
    for pattern in section.background:
        if pattern in names:
            message = f'a model, alias or route is called "{pattern}", and is meant by it: remove the pattern'
            raise origin.error(key, message)
    return tuple(section.background)
