"""What is kept of a selection: JOB/selection.json, written whole after each field.

{"format": 1, "judge": MODEL, "run": RUN, "bias": …, "selections": [Selection, …]}
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import BenchError
from bench.reading import bounded_if_there, first_complaint, versioned, write_whole
from bench.selection.prompts import Note
from bench.selection.verdict import Bias, Said

SELECTION = "selection.json"
FORMAT = 1
MAX_SELECTION_BYTES = 64 * 2**20

Decision = Literal["chosen", "tie", "abstained", "unanimous"]
"""unanimous: there was one cluster, and nobody was asked."""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Standing(_Kept):
    """One candidate. `cluster`: from 0, the largest first; None: it was left out, for the reason in
    `left_out`. `checks`: the share of the checks that counted. `firsts`: in how many orders it was first."""

    trial: str
    configuration: str
    cluster: int | None = None
    is_compared: bool = False
    left_out: str = ""
    checks: float | None = None
    patch_chars: int
    note: Note | None = None
    firsts: int = 0


class Shown(_Kept):
    """One question to the judge: trials in the order in which they were shown, and ranked, the best first."""

    order: tuple[str, ...]
    said: Said
    ranking: tuple[str, ...] = ()
    reason: str = ""


class Asked(_Kept):
    """What the judge was asked for one field. `cost_usd` from the ledger; None: it is not known.
    `seconds`: on the clock, waits included. `problems`: what went wrong or did not fit."""

    questions: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    seconds: float = 0.0
    problems: tuple[str, ...] = ()


class Selection(_Kept):
    """Of one field. `trial`: what was chosen; None for a tie or an abstention. `agreement`: that two orders
    put the same candidate first. `reasons`: the judge's, where it put the chosen one first; its letters are
    replaced by configurations."""

    task: str
    task_digest: str
    attempt: int
    judge: str
    run: str
    basis: Literal["behaviour", "patch"]
    decision: Decision
    trial: str | None = None
    configuration: str | None = None
    why: str
    reasons: tuple[str, ...] = ()
    standings: tuple[Standing, ...]
    orders: tuple[Shown, ...] = ()
    agreement: float | None = None
    follows_position: bool = False
    asked: Asked = Asked()


class SelectionFile(_Kept):
    format: Literal[1] = 1  # FORMAT
    judge: str
    run: str
    bias: Bias | None = None  # of the judge, over all fields that it compared
    selections: tuple[Selection, ...]


def write_selection(job: Path, file: SelectionFile) -> None:
    """Whole or not at all. Raises BenchError."""
    write_whole(job / SELECTION, file.model_dump_json(indent=1) + "\n")


def read_selection_file(job: Path) -> SelectionFile | None:
    """None: nobody has selected yet. Raises BenchError."""
    path = job / SELECTION
    if (data := bounded_if_there(path, MAX_SELECTION_BYTES)) is None:
        return None
    found = versioned(path, data, FORMAT)
    try:
        return SelectionFile.model_validate(found)
    except ValidationError as error:
        raise BenchError(f"{path}: {first_complaint(error)}") from error


def read_selection(job: Path) -> list[Selection] | None:
    """Raises BenchError."""
    file = read_selection_file(job)
    return None if file is None else list(file.selections)
