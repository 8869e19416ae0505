"""What a candidate's program did on probe inputs, as a task's checks or a race's own probes wrote it down.

verifier/behaviour.json, with no verdict in it:

    {"probes": [{"name": "a row over the limit", "input": "…", "output": "…",
                 "question": "Are rows over the limit left out, or cut to it?", "reading": "left out"}]}

`question` is what to ask the author of the specification where candidates differ; `reading` is a word for
this output.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.errors import BenchError
from bench.reading import bounded_if_there, first_complaint

BEHAVIOUR = "behaviour.json"
MAX_BEHAVIOUR_BYTES = 64 * 1024
MAX_PROBES = 200


class Probe(BaseModel):
    """One input, and what came out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    output: str
    input: str = ""
    question: str = ""
    reading: str = ""


class Behaviour(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    probes: tuple[Probe, ...] = Field(min_length=1, max_length=MAX_PROBES)

    @model_validator(mode="after")
    def _names_differ(self) -> Behaviour:
        names = [probe.name for probe in self.probes]
        if len(set(names)) < len(names):
            raise ValueError("two probes have the same name")
        return self

    @cached_property
    def signature(self) -> str:
        """SHA-256 of what came out of which probe: equal for candidates that do the same."""
        did = sorted((probe.name, probe.output) for probe in self.probes)
        return hashlib.sha256(json.dumps(did).encode()).hexdigest()


def read_behaviour(path: Path) -> Behaviour | None:
    """None: no probe was made. Raises BenchError."""
    if (data := bounded_if_there(path, MAX_BEHAVIOUR_BYTES)) is None:
        return None
    try:
        return Behaviour.model_validate_json(data)
    except ValidationError as error:
        raise BenchError(f"{path}: {first_complaint(error)}") from error
