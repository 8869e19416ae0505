"""What a job knows of its stages: JOB/stages.json, and where the next start goes on.

    kept    the stages that have been begun, first to last, each with the trial that counts for it
    tries   every trial that was ever begun: what was redone has been paid for too

A stage is finished when its trial has a result that is not "infrastructure". A stage that is done again takes
the later ones with it: they stand on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import BenchError, SpecError
from bench.reading import bounded_if_there, first_complaint, versioned, write_whole
from bench.results import TrialResult
from bench.spec import Spec, Stage

FORMAT = 1
STAGES_FILE = "stages.json"
MAX_RECORD_BYTES = 16 * 2**20


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Try(_Kept):
    """One trial of a stage. `digest`: of the stage's text when it was begun."""

    label: str
    digest: str
    trial: str
    configuration: str


class Record(_Kept):
    """`head`: the commit that all began with; `limits`: what of the user's working tree is not in it.
    `state`: the name of the file that stages hand on."""

    format: Literal[1] = 1  # FORMAT
    title: str
    repository: str
    head: str
    limits: tuple[str, ...] = ()
    state: str
    check_s: float = Field(gt=0)
    kept: tuple[Try, ...] = ()
    tries: tuple[Try, ...] = ()

    def begun(self, one: Try) -> Record:
        """With a trial that is about to be run."""
        tries = (*(other for other in self.tries if other.trial != one.trial), one)
        return self.model_copy(update={"kept": (*self.kept, one), "tries": tries})

    def cut(self, count: int) -> Record:
        """With the first `count` stages alone."""
        return self.model_copy(update={"kept": self.kept[:count]})

    def attempt(self, stage: Stage, configuration: str, results: Mapping[str, TrialResult]) -> int:
        """The number of the next trial: one that left no result is done again under its own."""
        done = [one for one in self.tries if one.label == stage.label and one.trial in results]
        return 1 + sum(results[one.trial].configuration == configuration for one in done)


def resumed(
    record: Record, spec: Spec, results: Mapping[str, TrialResult], start_from: Stage | None
) -> Record:
    """The record with what need not be done again. Raises SpecError if that is of another specification, and
    BenchError if `start_from` stands on what has not been done."""
    finished = [one for one in record.kept if is_finished(results.get(one.trial))]
    if start_from is not None:
        if len(finished) < start_from.number - 1:
            missing = spec.stages[len(finished)]
            raise BenchError(
                f"stage {start_from.number} stands on stage {missing.number} ({missing.name}), which is not"
                f" finished: use --from {missing.number}"
            )
        finished = finished[: start_from.number - 1]
    _check_same(finished, spec)
    return record.cut(len(finished))


def is_finished(result: TrialResult | None) -> bool:
    return result is not None and result.outcome != "infrastructure"


def _check_same(finished: Sequence[Try], spec: Spec) -> None:
    if len(finished) > len(spec.stages):
        raise SpecError(
            f"the job has {len(finished)} finished stages and the specification {len(spec.stages)}:"
            " take another folder with --job"
        )
    for one, stage in zip(finished, spec.stages, strict=False):
        if (one.label, one.digest) != (stage.label, stage.digest):
            raise SpecError(
                f"stage {stage.number} ({stage.name}) has been rewritten since it was run: use"
                f" --from {stage.number} to run it and the later ones again"
            )


# --- the file --------------------------------------------------------------------------------------

_ANOTHER = ": take another folder with --job"


def read_record(job: Path) -> Record | None:
    """None: the job has none. Blocks. Raises BenchError."""
    path = job / STAGES_FILE
    if (data := bounded_if_there(path, MAX_RECORD_BYTES)) is None:
        return None
    found = versioned(path, data, FORMAT, _ANOTHER)
    try:
        return Record.model_validate(found)
    except ValidationError as error:
        raise BenchError(f"{path}: {first_complaint(error)}{_ANOTHER}") from error


def write_record(job: Path, record: Record) -> None:
    """Whole or not at all, also when the machine stops."""
    write_whole(job / STAGES_FILE, record.model_dump_json(indent=1) + "\n")
