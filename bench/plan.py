"""A plan: which configurations try which tasks, how often, within which bounds. TOML -> one frozen Plan.

name = "demo"
seed = 7                                  # of the order, and of tasks that are made by seed
attempts = 5
parallel = 1                              # trials at once
config = "demo-models.toml"               # beside the plan: it has a server of its own, with these models
policy = "native"                         # native | neutral | encouraged | required: delegation
context = 16384                           # tokens, where that is less than a model has; not given: all of it
native_names = false                      # true: harnesses are told what models are called, and go by that
record = false                            # true: keep what providers answer
replay = "../jobs/friday"                 # a job that recorded, from here: providers answer as they did then
caps = { wall = "30m", idle = "5m", tokens = 2000000, requests = 500, usd = "5.00" }
tasks = ["smoke", { name = "migrate-30", n = 5 }]

[configurations.opencode-local]
harness = "opencode"                      # opencode | codex | claude-code | oracle | nop
main = "qwen3.6-35b-a3b"
small = "qwen3.6-35b-a3b"                 # main, if it is not given
subagents = { helper = "smollm2-135m" }   # or { helper = { model = "…", effort = "low" } }
effort = "high"

[models]                                  # put other models in the place of those above
"qwen3.6-35b-a3b" = "smollm2-135m"
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from bench.errors import PlanError
from bench.reading import bounded_text, first_complaint
from bench.results import MODELLESS
from bench.task import Task, named_task
from bench.watch import Caps

PLANS = Path(__file__).parent / "plans"
MAX_PLAN_BYTES = 256 * 1024
MAX_CELLS = 100_000

Policy = Literal["native", "neutral", "encouraged", "required"]
HarnessName = Literal["opencode", "codex", "claude-code", "oracle", "nop"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """`main` "": a harness that asks no model."""

    name: str
    harness: HarnessName
    main: str
    small: str
    subagents: Mapping[str, str]
    effort: str | None
    policy: Policy
    subagent_efforts: Mapping[str, str] = field(
        default_factory=dict
    )  # by the sub-agent, where it has its own
    context: int | None = None  # tokens that a request may have; None: all that its model has

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that may be asked, once each."""
        named = (self.main, self.small, *self.subagents.values())
        return tuple(dict.fromkeys(name for name in named if name))


@dataclass(frozen=True, slots=True)
class Cell:
    """One trial to be made. `seed`: of its task, the same for every configuration."""

    configuration: Configuration
    task: Task
    attempt: int
    seed: int

    @property
    def trial(self) -> str:
        """A name for folders and for resuming: the same cell has it again."""
        words = f"{self.task.label}-{self.configuration.name}-{self.attempt}"
        return re.sub(r"[^A-Za-z0-9._-]+", "_", words)


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    seed: int
    attempts: int
    parallel: int
    caps: Caps
    tasks: tuple[Task, ...]
    configurations: tuple[Configuration, ...]
    config: Path | None = None  # of a server of its own
    native_names: bool = False
    record: bool = False
    replay: Path | None = None  # the folder of a job that recorded
    text: str = field(default="", repr=False)

    def cells(self) -> list[Cell]:
        """In the order in which they are run: attempt by attempt, and in each a shuffle of its own, so that
        neither the hour nor what ran before falls on one configuration."""
        order: list[Cell] = []
        for attempt in range(1, self.attempts + 1):
            round_ = [
                Cell(configuration, task, attempt, self._seed_of(task, attempt))
                for configuration in self.configurations
                for task in self.tasks
            ]
            random.Random(f"{self.seed}:{attempt}").shuffle(round_)
            order += round_
        return order

    def _seed_of(self, task: Task, attempt: int) -> int:
        return random.Random(f"{self.seed}:{task.label}:{attempt}").randrange(2**31)


# --- the file ----------------------------------------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Caps(_Section):
    wall: float = Field(default=1800.0, gt=0, le=24 * 3600)
    idle: float = Field(default=300.0, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    requests: int | None = Field(default=None, gt=0)
    usd: Decimal | None = Field(default=None, ge=0)

    @field_validator("wall", "idle", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return seconds(value) if isinstance(value, str) else value


Context = Annotated[int, Field(ge=1024, le=2**31)]


def by_model_alone(subagents: Any) -> Any:
    """A sub-agent may be given so: as a table it has no more than a model then."""
    if not isinstance(subagents, dict):
        return subagents
    return {name: {"model": one} if isinstance(one, str) else one for name, one in subagents.items()}


class _SubAgent(_Section):
    model: str
    effort: str | None = None


class _Configuration(_Section):
    harness: HarnessName
    main: str = ""
    small: str = ""
    subagents: Annotated[dict[str, _SubAgent], BeforeValidator(by_model_alone)] = {}
    effort: str | None = None
    policy: Policy | None = None
    context: Context | None = None


class _PlanFile(_Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = 0
    attempts: int = Field(default=5, ge=1, le=1000)
    parallel: int = Field(default=1, ge=1, le=64)
    config: str | None = Field(default=None, min_length=1, max_length=256)
    policy: Policy = "native"
    context: Context | None = None
    native_names: bool = False
    record: bool = False
    replay: str | None = Field(default=None, min_length=1, max_length=1024)
    caps: _Caps = _Caps()
    tasks: tuple[str | dict[str, int | str], ...] = Field(min_length=1)
    configurations: dict[str, _Configuration] = Field(min_length=1)
    models: dict[str, str] = {}


def seconds(text: str) -> float:
    """ "90", "90s", "1.5m", "2h". Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text.strip())
    if match is None:
        raise ValueError('expected a duration such as "90s", "30m" or "2h"')
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[match[2]]


def named_plan(name: str, remap: Mapping[str, str] | None = None) -> Plan:
    """A file, or one of Hotseat's own by its name. `remap`: as [models], and before it. Raises BenchError."""
    path = Path(name)
    if "/" not in name and not path.exists():
        path = PLANS / f"{name.removesuffix('.toml')}.toml"
    return load_plan(path, remap)


def load_plan(path: Path, remap: Mapping[str, str] | None = None) -> Plan:
    """Raises PlanError, and TaskError for its tasks."""
    known = ", ".join(sorted(found.stem for found in PLANS.glob("*.toml")))
    text = bounded_text(path, MAX_PLAN_BYTES, PlanError, f"; Hotseat's own plans are: {known}")
    try:
        file = _PlanFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        raise PlanError(f"{path}: {first_complaint(error)}") from error
    return _plan(path, file, text, {**file.models, **(remap or {})})


def _plan(path: Path, file: _PlanFile, text: str, remap: Mapping[str, str]) -> Plan:
    if file.record and file.replay is not None:
        raise PlanError(f"{path}: replay: a job records or replays, not both: leave one out")
    plan = Plan(
        name=file.name,
        seed=file.seed,
        attempts=file.attempts,
        parallel=file.parallel,
        caps=Caps(file.caps.wall, file.caps.idle, file.caps.tokens, file.caps.requests, file.caps.usd),
        tasks=tuple(_task(path, entry) for entry in file.tasks),
        configurations=tuple(
            _configuration(path, name, section, file, remap) for name, section in file.configurations.items()
        ),
        config=_server_config(path, file.config),
        native_names=file.native_names,
        record=file.record,
        replay=None if file.replay is None else path.parent / file.replay,
        text=text,
    )
    trials = [cell.trial for cell in plan.cells()]
    if len(trials) > MAX_CELLS:
        raise PlanError(f"{path}: {len(trials)} trials, more than {MAX_CELLS}: lower attempts")
    if len(set(trials)) < len(trials):
        raise PlanError(f"{path}: two tasks or two configurations have the same name")
    unused = set(remap) - {name for section in file.configurations.values() for name in _named(section)}
    if unused:
        raise PlanError(f"{path}: models: no configuration names {', '.join(sorted(unused))}")
    return plan


def _server_config(path: Path, name: str | None) -> Path | None:
    if name is None:
        return None
    config = path.parent / name
    if not config.is_file():
        raise PlanError(f"{path}: config: expected a models.toml at {config}, found none")
    return config


def _task(path: Path, entry: str | Mapping[str, int | str]) -> Task:
    """A name, or a table with the name and the parameters; a folder is relative to the plan."""
    given = {"name": entry} if isinstance(entry, str) else entry
    name = given.get("name")
    if not isinstance(name, str):
        raise PlanError(f"{path}: tasks: expected a name in {dict(given)!r}")
    parameters = {key: value for key, value in given.items() if key != "name"}
    return named_task(str(path.parent / name) if "/" in name else name, parameters)


def _configuration(
    path: Path, name: str, section: _Configuration, file: _PlanFile, remap: Mapping[str, str]
) -> Configuration:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", name):
        raise PlanError(
            f"{path}: configurations: {name!r}: expected letters, digits and . _ + - (64 at most)"
        )
    if (section.harness in MODELLESS) != (not section.main):
        wanted = "no main model" if section.harness in MODELLESS else "a main model"
        raise PlanError(f"{path}: configurations.{name}.main: {section.harness} takes {wanted}")
    return Configuration(
        name=name,
        harness=section.harness,
        main=remap.get(section.main, section.main),
        small=remap.get(section.small or section.main, section.small or section.main),
        subagents={name: remap.get(one.model, one.model) for name, one in section.subagents.items()},
        effort=section.effort,
        policy=section.policy or file.policy,
        context=section.context or file.context,
        subagent_efforts={name: one.effort for name, one in section.subagents.items() if one.effort},
    )


def _named(section: _Configuration) -> tuple[str, ...]:
    return (section.main, section.small, *(agent.model for agent in section.subagents.values()))
