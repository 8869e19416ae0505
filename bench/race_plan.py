"""The plan of a race, out of what somebody says on a command line. Pure.

A configuration is HARNESS:MODEL[+SUBAGENTMODEL][@EFFORT], or one of a plan's by its name. A race is kept as a
plan like any other, so that whatever reads a job reads it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from bench.errors import PlanError
from bench.plan import HarnessName, Plan
from bench.results import MODELLESS
from bench.task import Parameters

SUBAGENT = "helper"
MAX_PARALLEL = 8
"""Harnesses at once, if nothing else is said: each is a process of some hundred MB."""

_HARNESSES: tuple[str, ...] = get_args(HarnessName)
_SHORT = {"claude": "claude-code"}
_LABEL = re.compile(r"(?P<name>[^()]+)(?:\((?P<chosen>[^()]*)\))?")


@dataclass(frozen=True, slots=True)
class RacePlan:
    """`task`: as a plan names it. `parallel` None: as many as there are, within MAX_PARALLEL."""

    name: str
    task: str | Mapping[str, int | str]
    entrants: Sequence[str]
    parallel: int | None = None
    wall: str | None = None
    usd: str | None = None


def plan_text(wanted: RacePlan, base: Plan | None) -> str:
    """TOML. `base`: a plan whose configurations, models, caps and server the race is run with; no entrants
    then means all of its configurations. Raises PlanError."""
    given: dict[str, Any] = tomllib.loads(base.text) if base else {}
    configurations = _configurations(wanted.entrants, given.get("configurations", {}))
    caps = {**given.get("caps", {}), **({"wall": wanted.wall} if wanted.wall else {})}
    caps |= {"usd": wanted.usd} if wanted.usd else {}
    config = {"config": str(base.config.absolute())} if base and base.config else {}
    plan = {
        **given,
        "name": wanted.name,
        "attempts": 1,
        "parallel": wanted.parallel or min(len(configurations), MAX_PARALLEL),
        **config,
        "tasks": [wanted.task],
        **({"caps": caps} if caps else {}),
        "configurations": configurations,
        "models": _used(given.get("models", {}), configurations),
    }
    origin = f" on the plan {base.name}" if base else ""
    return f"# A race{origin}.\n\n" + _toml(plan)


def task_named(label: str) -> str | dict[str, int | str]:
    """ "migrate-30" or "migrate-30(n=5)", as a plan has it. Raises PlanError."""
    match = _LABEL.fullmatch(label.strip())
    if match is None:
        raise PlanError(f"{label!r}: expected a task such as bugfix-5 or migrate-30(n=5)")
    chosen = [part.partition("=") for part in (match["chosen"] or "").split(",") if part.strip()]
    if any(not equals for _, equals, _ in chosen):
        raise PlanError(f"{label!r}: expected NAME=VALUE in the brackets")
    parameters = {name.strip(): _value(value.strip()) for name, _, value in chosen}
    name = match["name"]
    name = str(Path(name).absolute()) if "/" in name else name
    return {"name": name, **parameters} if parameters else name


def label_parts(task: str | Mapping[str, int | str]) -> tuple[str, Parameters]:
    """The name and the parameters of what task_named gave."""
    if isinstance(task, str):
        return task, {}
    return str(task["name"]), {name: value for name, value in task.items() if name != "name"}


def _value(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else text


# --- configurations -------------------------------------------------------------------------------


def _configurations(entrants: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    if not entrants and not known:
        raise PlanError("--with: say who races: opencode:MODEL,codex:MODEL, or names out of a --plan")
    found: dict[str, Any] = {}
    for word in entrants or known:
        name, configuration = (word, known[word]) if word in known else _entrant(word, known)
        if name in found:
            raise PlanError(f"--with: {word} is there twice: each candidate needs a name of its own")
        found[name] = configuration
    return found


def _entrant(word: str, known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Its name, and what a plan says of it."""
    harness, colon, models = word.partition(":")
    harness = _SHORT.get(harness, harness)
    if harness in MODELLESS and not models:
        return harness, {"harness": harness}
    if not colon or harness not in _HARNESSES or harness in MODELLESS:
        names = f"; the plan has {', '.join(known)}" if known else "; names of a plan need --plan"
        raise PlanError(
            f"--with: {word!r}: expected HARNESS:MODEL[+SUBAGENTMODEL][@EFFORT], with opencode, codex or"
            f" claude-code as the harness{names}"
        )
    named, at, effort = models.rpartition("@") if "@" in models else (models, "", "")
    main, plus, helper = named.partition("+")
    if not main or (at and not effort) or (plus and not helper):
        raise PlanError(f"--with: {word!r}: expected HARNESS:MODEL[+SUBAGENTMODEL][@EFFORT]")
    configuration: dict[str, Any] = {"harness": harness, "main": main}
    configuration |= {"subagents": {SUBAGENT: helper}} if helper else {}
    configuration |= {"effort": effort} if effort else {}
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", word).strip("-")[:64], configuration


def _used(models: Mapping[str, str], configurations: Mapping[str, Any]) -> dict[str, str]:
    """A plan complains of a model in [models] that no configuration names."""
    named: set[str] = set()
    for one in configurations.values():
        named |= {one.get("main", ""), one.get("small", "")}
        for agent in one.get("subagents", {}).values():
            named.add(agent if isinstance(agent, str) else agent["model"])
    return {name: model for name, model in models.items() if name in named}


# --- TOML -----------------------------------------------------------------------------------------


def _toml(plan: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in plan.items() if name not in ("configurations", "models")}
    lines = [f"{_key(name)} = {_literal(value)}" for name, value in plain.items()]
    for name, section in plan["configurations"].items():
        lines += ["", f"[configurations.{_key(name)}]"]
        lines += [f"{_key(key)} = {_literal(value)}" for key, value in section.items()]
    if plan["models"]:
        lines += ["", "[models]"]
        lines += [f"{_key(name)} = {_literal(model)}" for name, model in plan["models"].items()]
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _quoted(value)
        case Mapping():
            pairs = ", ".join(f"{_key(name)} = {_literal(one)}" for name, one in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case list() | tuple():
            return f"[{', '.join(_literal(one) for one in value)}]"
        case _:
            raise PlanError(f"the plan holds {value!r}, which a race cannot keep")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    """JSON's strings are TOML's basic strings, but for DEL and halves of pairs."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
