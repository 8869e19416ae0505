"""What models.toml may say: its keys, their bounds, and how a wrong one is reported.

Text in, validated sections out. Unknown keys are errors. Every error names file, line, key, the
value found, what was expected, and the remedy, in one line.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from inference.errors import ConfigError
from inference.model_spec import EngineName, KvType, Pooling
from inference.toolcall_formats import FORMATS
from proxy.config_section import MAX_N_CTX, EnvName, Name, PositiveSeconds, RouteName, Seconds, Section, Text
from proxy.config_section import matches as _matches
from proxy.ledger_config import LedgerSection
from proxy.money_config import BudgetsSection, EnergySection, KeySection, PricesSection
from proxy.remote_sections import ProviderSection, RouteSection
from proxy.units import parse_bytes, parse_duration_s

TOOL_FORMATS = tuple(known.name for known in FORMATS)
MAX_SLOTS = 256
MAX_WORDS = 1000  # of a command
MIN_PATTERN_CHARS = 3  # of a background name, beside "*"
MAX_SHOWN = 80  # characters of a wrong value repeated in an error

# --- values ------------------------------------------------------------------------------------


def _n_gpu_layers(value: object) -> object:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10_000):
        return value
    raise ValueError('expected "all" or the number of layers on the GPU, 0 or more')


def _flash_attn(value: object) -> object:
    if isinstance(value, bool) or value == "auto":
        return value
    raise ValueError('expected true, false or "auto"')


def _idle_unload(value: object) -> object:
    return None if value == "never" else parse_duration_s(value)


def _kv_store(value: object) -> object:
    if value is True:
        raise ValueError('expected { path = "…", limit = "20GiB", max_age = "7d" }, any of them, or false')
    return None if value is False else value


def _budget(value: object) -> object:
    return None if value == "auto" else parse_bytes(value)


def _tool_format(value: str) -> str:
    if value not in TOOL_FORMATS:
        raise ValueError(f"expected one of {', '.join(TOOL_FORMATS)}")
    return value


def _env(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name) is None:
            raise ValueError(f"expected names of environment variables, found {name[:40]!r}")
    return value


def _name_pattern(value: str) -> str:
    """A pattern that is hardly more than "*" would be a silent default for every wrong name."""
    if re.fullmatch(r"[A-Za-z0-9._:+@/*-]{1,128}", value) is None:
        raise ValueError('expected a model name in which "*" stands for any text, like "claude-haiku-*"')
    if len(value.replace("*", "")) < MIN_PATTERN_CHARS:
        raise ValueError(f'expected at least {MIN_PATTERN_CHARS} characters beside "*"')
    return value


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Queue = Annotated[int, Field(ge=1, le=100_000)]
NamePattern = Annotated[str, AfterValidator(_name_pattern)]
HostName = Annotated[str, _matches(r"[A-Za-z0-9._:\[\]-]{1,255}", "a host name or address, without scheme")]
Device = Annotated[str, _matches(r"auto|cpu|cuda:\d{1,2}", '"auto", "cpu" or "cuda:0"')]


# --- sections ----------------------------------------------------------------------------------


class LimitsSection(Section):
    """Keys of proxy.config.Limits without their unit; None: the default there."""

    max_body: Annotated[int, Field(ge=1024, le=2**32), BeforeValidator(parse_bytes)] | None = None
    header_timeout: PositiveSeconds | None = None
    body_timeout: PositiveSeconds | None = None
    keepalive: PositiveSeconds | None = None
    request_timeout: PositiveSeconds | None = None
    max_queue_per_model: Queue | None = None
    max_queue_total: Queue | None = None
    max_wait: Seconds | None = None
    client_stall: PositiveSeconds | None = None
    shutdown_grace: Seconds | None = None
    min_residency: Seconds | None = None
    memory_wait: Seconds | None = None
    load_timeout: PositiveSeconds | None = None
    decode_stall: PositiveSeconds | None = None
    stop_grace: Seconds | None = None


class ServerSection(Section):
    host: HostName = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    api_keys_env: EnvName | None = None
    allowed_hosts: list[HostName] = Field(default=[], max_length=100)
    watch: bool = True
    limits: LimitsSection = LimitsSection()


class KvStoreSection(Section):
    """`path` None: kv/ in Hotseat's home."""

    path: Text | None = None
    limit: Bytes = 20 * 2**30
    max_age: PositiveSeconds = 7 * 86400.0


class MemorySection(Section):
    device: Device = "auto"
    budget: Annotated[int | None, BeforeValidator(_budget)] = None
    reserve: Bytes = 2**30
    kv_store: Annotated[KvStoreSection | None, BeforeValidator(_kv_store)] = KvStoreSection()
    spare_workers: bool = True


class SamplingSection(Section):
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repeat_last_n: Annotated[int, Field(ge=0, le=MAX_N_CTX)] | None = None
    dry_multiplier: Annotated[float, Field(ge=0, le=100)] | None = None
    dry_base: Annotated[float, Field(ge=1, le=100)] | None = None
    dry_allowed_length: Annotated[int, Field(ge=0, le=MAX_N_CTX)] | None = None
    dry_penalty_last_n: Annotated[int, Field(ge=-1, le=MAX_N_CTX)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None


class DefaultsSection(Section):
    """Model keys that make sense for every model. None: not given, ModelSpec has the default."""

    engine: EngineName | None = None
    n_ctx: Annotated[int, Field(ge=16, le=MAX_N_CTX)] | None = None
    slots: Annotated[int, Field(ge=1, le=MAX_SLOTS)] | None = None
    n_gpu_layers: Annotated[int | Literal["all"], BeforeValidator(_n_gpu_layers)] | None = None
    kv_type: KvType | None = None
    kv_ram: Annotated[int | None, BeforeValidator(parse_bytes)] = None
    flash_attn: Annotated[bool | Literal["auto"], BeforeValidator(_flash_attn)] | None = None
    n_batch: Annotated[int, Field(ge=1, le=65536)] | None = None
    n_ubatch: Annotated[int, Field(ge=1, le=65536)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    swa_full: bool | None = None
    kv_unified: bool | None = None
    embeddings: bool | None = None
    pooling: Pooling | None = None
    chat_template: Text | None = None
    tool_format: Annotated[str, AfterValidator(_tool_format)] | None = None
    stabilise_prefix: bool | None = None
    sampling: SamplingSection | None = None
    idle_unload: Annotated[float | None, BeforeValidator(_idle_unload)] = None
    pinned: bool | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] | None = None
    preload: bool | None = None


class ModelSection(DefaultsSection):
    """`command` to `memory` are of the engine "command"."""

    source: Text | None = None
    path: Text | None = None
    command: Annotated[list[Text], Field(min_length=1, max_length=MAX_WORDS)] | None = None
    env: Annotated[dict[str, Text], AfterValidator(_env)] | None = None
    health_path: Annotated[str, _matches(r"/[!-~]{0,500}", 'a path like "/health"')] | None = None
    health_timeout: Annotated[float, Field(gt=0, le=60), BeforeValidator(parse_duration_s)] | None = None
    stop_command: Annotated[list[Text], Field(min_length=1, max_length=MAX_WORDS)] | None = None
    memory: Annotated[int | None, BeforeValidator(parse_bytes)] = None
    aliases: list[Name] = Field(default=[], max_length=100)


class RolesSection(Section):
    main: RouteName | None = None
    small: RouteName | None = None
    subagent: RouteName | None = None
    background: list[NamePattern] = Field(default=[], max_length=100)


class FileSections(Section):
    server: ServerSection = ServerSection()
    memory: MemorySection = MemorySection()
    defaults: DefaultsSection = DefaultsSection()
    models: dict[Name, ModelSection] = Field(default={})
    roles: RolesSection = RolesSection()
    providers: dict[Name, ProviderSection] = Field(default={})
    routes: dict[RouteName, RouteSection] = Field(default={})
    keys: dict[Name, KeySection] = Field(default={})
    budgets: BudgetsSection = BudgetsSection()
    energy: EnergySection = EnergySection()
    prices: PricesSection = PricesSection()
    ledger: LedgerSection = LedgerSection()


# Keys that exist in the wider design. Accepting them without effect would be a lie, and "unknown
# key" would be a riddle.
_NOT_IN_THIS_VERSION = {
    ("providers", "*", "prices"): "prices are in the book that [prices] names",
}
COMMAND_KEYS = ("command", "env", "health_path", "health_timeout", "stop_command", "memory")
_NOT_A_DEFAULT = {"source", "path", "aliases", *COMMAND_KEYS}


def read_sections(text: str, file: str) -> FileSections:
    """The validated content of `text`. Raises ConfigError for the first thing that is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}: correct that line") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: not valid TOML: nested too deeply") from error
    try:
        return FileSections.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        message = _problem_text(problems[0], text, file)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(message + more) from error


# --- errors ------------------------------------------------------------------------------------


def key_error(
    text: str, file: str, key: tuple[str | int, ...], message: str, value: object = None
) -> ConfigError:
    """A ConfigError about `key`: where it stands, the value found if given, then `message`."""
    found = "" if value is None else f" = {_shown(value)}"
    return ConfigError(f"{_place(text, file, key)}{found}: {message}")


def near_names(name: str, known: list[str]) -> str:
    """ "did you mean 'x'?", or the known names where none is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + ", ".join(known) if known else "there are none"


def _shown(value: object) -> str:
    """A value found, close to how TOML writes it and short enough for one line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


# Where people paste keys by mistake: what stands there is never repeated.
_MAY_HOLD_A_KEY = {"api_keys_env", "api_key_env", "api_key_file", "base_url", "url", "headers", "env", "keys"}
_REQUIRED = {"provider", "model"}


def _problem_text(problem: Any, text: str, file: str) -> str:
    is_name = "[key]" in problem["loc"]
    loc = tuple(part for part in problem["loc"] if part != "[key]")
    place = _place(text, file, loc)
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key; {_unknown_key_remedy(loc)}"
    if problem["type"] == "missing":
        return f"{place}: missing; add it"
    if is_name:
        return f"{place}: {_expected(problem)}; rename it"
    value = "" if _MAY_HOLD_A_KEY & set(loc) else f" = {_shown(problem['input'])}"
    remedy = "correct it" if loc[-1] in _REQUIRED else "correct it or remove it"
    return f"{place}{value}: {_expected(problem)}; {remedy}"


def _expected(problem: Any) -> str:
    kind, ctx = problem["type"], problem.get("ctx", {})
    match kind:
        case "value_error":
            return str(ctx["error"])
        case "literal_error":
            return f"expected {ctx['expected']}"
        case "greater_than_equal":
            return f"expected {ctx['ge']} or more"
        case "greater_than":
            return f"expected more than {ctx['gt']}"
        case "less_than_equal":
            return f"expected {ctx['le']} or less"
        case "less_than":
            return f"expected less than {ctx['lt']}"
        case _ if kind in _EXPECTED_TYPES:
            return f"expected {_EXPECTED_TYPES[kind]}"
        case _:
            return str(problem["msg"]).lower()


_EXPECTED_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def _unknown_key_remedy(loc: tuple[str | int, ...]) -> str:
    for pattern, reason in _NOT_IN_THIS_VERSION.items():
        if len(pattern) == len(loc) and all(p in ("*", part) for p, part in zip(pattern, loc, strict=True)):
            return f"{reason}: remove it"
    *table, key = loc
    if table == ["defaults"] and key in _NOT_A_DEFAULT:
        return 'it belongs to one model: move it under [models."NAME"]'
    return near_names(str(key), _known_keys(table))


def _known_keys(table: list[str | int]) -> list[str]:
    """The keys that the table at `table` may have, read from the sections above."""
    section: type[Section] = FileSections
    parts = iter(table)
    for part in parts:
        annotation = section.model_fields[str(part)].annotation
        (section,) = _sections_in(annotation)
        if get_origin(annotation) is dict:
            next(parts, None)  # the name that the user chose
    return list(section.model_fields)


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for arg in get_args(annotation) for found in _sections_in(arg)]


def _place(text: str, file: str, key: tuple[str | int, ...]) -> str:
    line = _line_of(text, key)
    dotted = ".".join(_quoted(part) for part in key)
    return f"{file}:{line}: {dotted}" if line else f"{file}: {dotted}"


def _quoted(part: str | int) -> str:
    return str(part) if re.fullmatch(r"[\w-]+", str(part)) else f'"{part}"'


_HEADER_LINE = re.compile(r"\s*(\[[^\[\]]+\])\s*(?:#.*)?")
_KEY_LINE = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w.\s-])+?)\s*=""")


def _line_of(text: str, key: tuple[str | int, ...]) -> int | None:
    """The line where `key`, or failing that the table it is in, begins. A cheap scan, not a parser:
    text inside a multi-line string could fool it, into a wrong line number and nothing worse."""
    table: tuple[str, ...] = ()
    best_line, best_depth = None, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER_LINE.fullmatch(line):
            table = here = _key_path(header[1])
        elif match := _KEY_LINE.match(line):
            here = table + _key_path(f"{match[1]} = 0")
        else:
            continue
        if len(here) > best_depth and here == key[: len(here)]:
            best_line, best_depth = number, len(here)
    return best_line


def _key_path(line: str) -> tuple[str, ...]:
    """`[a."b.c"]` or `a."b.c" = 0` -> ("a", "b.c")."""
    try:
        document: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(document, Mapping) and document:
        part, document = next(iter(document.items()))
        path.append(part)
    return tuple(path)
