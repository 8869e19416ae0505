"""What the configurations of a finished job were, out of the plan that was kept with it.

A result says who answered; what was asked for (a sub-agent that was never called, an effort) is in the plan.
Its tasks and its server's file need not be there any more, so it is read for its configurations alone.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bench.errors import BenchError
from bench.job import JOB_FILE, MAX_JOB_BYTES, PLAN_FILE
from bench.note_entries import Setting
from bench.plan import MAX_PLAN_BYTES, by_model_alone
from bench.reading import bounded_text, first_complaint


class _Section(BaseModel):
    """What is not read here was checked when the plan was run."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _SubAgent(_Section):
    model: str
    effort: str | None = None


class _Configuration(_Section):
    harness: str
    main: str = ""
    small: str = ""
    subagents: Annotated[dict[str, _SubAgent], BeforeValidator(by_model_alone)] = {}
    effort: str | None = None
    context: int | None = None


class _Plan(_Section):
    configurations: dict[str, _Configuration] = Field(min_length=1)
    models: dict[str, str] = {}
    context: int | None = None
    native_names: bool = False


class _Job(_Section):
    models: dict[str, str] = {}


_Kind = TypeVar("_Kind", bound=_Section)


def settings_of(job: Path) -> dict[str, Setting]:
    """By the configuration's name, with the models that were put in the place of the plan's. Blocks. Raises
    BenchError."""
    plan = _read(job / PLAN_FILE, _Plan, tomllib.loads, MAX_PLAN_BYTES)
    began = _read(job / JOB_FILE, _Job, json.loads, MAX_JOB_BYTES)
    models = {**plan.models, **began.models}
    return {name: _setting(one, plan, models) for name, one in plan.configurations.items()}


def _setting(one: _Configuration, plan: _Plan, models: dict[str, str]) -> Setting:
    small = one.small or one.main
    return Setting(
        harness=one.harness,
        main=models.get(one.main, one.main),
        small=models.get(small, small),
        subagents={
            name: (models.get(agent.model, agent.model), agent.effort)
            for name, agent in one.subagents.items()
        },
        effort=one.effort,
        context=one.context or plan.context,
        native_names=plan.native_names,
    )


def _read(path: Path, kind: type[_Kind], parse: Callable[[str], Any], limit: int) -> _Kind:
    text = bounded_text(path, limit, hint=": it says what was run")
    try:
        return kind.model_validate(parse(text))
    except ValidationError as error:
        raise BenchError(f"{path}: {first_complaint(error)}") from error
    except ValueError as error:
        raise BenchError(f"{path}: it cannot be read: {error}") from error
