"""What set-up consists of, and what of it is still to do (pure).

.venv carries a stamp: for each step the fingerprint of what it was done from. A step is done
again when that has changed (a lock file, the flags, the CPU), and only then: a second start
compares a few hashes and runs no tool. A step's entry is taken out before it begins and written
when it has ended, so a killed set-up is repaired by the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from bootstrap.engine_flags import EngineRequest

Purpose = Literal["serve", "test", "check", "peer", "harnesses"]
StepName = Literal["environment", "runtime", "development", "engine", "project", "models"]

# "development" installs a superset of "runtime", at the same versions, and settles both.
STEPS: dict[Purpose, tuple[StepName, ...]] = {
    "serve": ("environment", "runtime", "engine", "project", "models"),
    "test": ("environment", "development", "engine", "project", "models"),
    "check": ("environment", "development", "project"),
    "peer": ("environment", "runtime"),
    "harnesses": (),  # npm's, beside .venv: bootstrap/harnesses.py
}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What was done, and which engine was asked for."""

    done: Mapping[StepName, str] = field(default_factory=dict)
    engine: EngineRequest = field(default_factory=EngineRequest)

    def having(self, steps: Mapping[StepName, str], engine: EngineRequest) -> Stamp:
        return Stamp({**self.done, **steps}, engine)

    def without(self, step: StepName) -> Stamp:
        return Stamp({name: value for name, value in self.done.items() if name != step}, self.engine)


def outstanding(
    purpose: Purpose, wanted: Mapping[StepName, str], stamp: Stamp, *, models_in_place: bool
) -> tuple[StepName, ...]:
    """The steps to do now, in order. A new environment invalidates all that was installed in the old one."""
    steps = STEPS[purpose]
    if stamp.done.get("environment") != wanted["environment"]:
        return tuple(step for step in steps if step != "models" or not models_in_place)
    return tuple(
        step
        for step in steps
        if (not models_in_place if step == "models" else stamp.done.get(step) != wanted[step])
    )


def fingerprint(*parts: bytes) -> str:
    """One hash of several values; where one ends and the next begins counts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]


def write_stamp(stamp: Stamp) -> str:
    engine = {
        "cuda": stamp.engine.cuda,
        "cuda_arch": stamp.engine.cuda_arch,
        "cmake_args": stamp.engine.cmake_args,
    }
    return json.dumps({"done": dict(stamp.done), "engine": engine}, indent=2) + "\n"


def read_stamp(text: str) -> Stamp:
    """What `write_stamp` wrote. Anything else says nothing: all is to do."""
    try:
        told = json.loads(text)
        engine = told["engine"]
        steps: tuple[StepName, ...] = get_args(StepName)
        done = {step: value for step in steps if isinstance(value := told["done"].get(step), str)}
        return Stamp(
            done,
            EngineRequest(
                cuda=engine["cuda"] is True,
                cuda_arch=str(engine["cuda_arch"]) if engine["cuda_arch"] else None,
                cmake_args=str(engine["cmake_args"]),
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Stamp()
