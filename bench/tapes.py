"""What providers answered in the trials of a job, kept by the server, and given again in another job.

A recording is of one trial, and its name is in that trial's result: a job that replays another one looks
there. Both work in folders of the same name, which harnesses tell their models.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.errors import BenchError
from bench.plan import Cell
from bench.results import MODELLESS, results_of

MAX_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class Tape:
    """Of one trial: made, or played."""

    name: str
    use: Literal["record", "replay"]

    @property
    def place(self) -> str:
        """Of the folder in which its trial works."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Tapes:
    """Of a job. `recorded`: recordings by trial, to be replayed; None: nothing is."""

    records: bool = False
    recorded: Mapping[str, str] | None = None
    job: str = field(default="job")

    def of(self, cell: Cell) -> Tape | None:
        """Raises BenchError."""
        if cell.configuration.harness in MODELLESS:
            return None
        if self.recorded is not None:
            if cell.trial not in self.recorded:
                raise BenchError(f"{cell.trial} was not recorded in the job that is replayed")
            return Tape(self.recorded[cell.trial], "replay")
        return Tape(recording_name(self.job, cell.trial), "record") if self.records else None


NO_TAPES = Tapes()


def recording_name(job: str, trial: str) -> str:
    """Never used before: a recording is not overwritten, and a trial may be begun again."""
    ending = f"-{secrets.token_hex(4)}"
    words = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{job}-{trial}")
    return words[: MAX_NAME_CHARS - len(ending)] + ending


def recorded_in(job: Path, cells: Iterable[Cell]) -> Mapping[str, str]:
    """By trial. Raises BenchError if one of the cells has none there."""
    if not (job / "trials").is_dir():
        raise BenchError(f"{job}: expected the folder of a job that recorded, found no trials in it")
    found = {one.trial: one.manifest.recording for one in results_of(job) if one.manifest.recording}
    for cell in cells:
        if cell.configuration.harness not in MODELLESS and cell.trial not in found:
            raise BenchError(
                f"{job}: no recording of {cell.trial}: run its plan there with record = true, and here the"
                " same tasks, configurations and attempts"
            )
    return found
