"""What each stage of a specification came to: its checks, those of the stages before, and what it cost. Pure,
but for `read_ended`.

A stage has passed when all of its own checks have, and none of an earlier stage that passed before fails now.
An item without a check is unverified, never passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bench.errors import BenchError
from bench.reading import bounded_if_there, first_complaint
from bench.results import Tokens, TrialResult
from bench.spec import Item, Spec, Stage
from bench.stage_record import Record, Try

CHECKS = "checks.json"
MAX_CHECKS_BYTES = 64 * 2**20

StageState = Literal["passed", "unverified", "failed", "could not be run", "not run"]
GOOD: tuple[StageState, ...] = ("passed", "unverified")


class CheckEnded(BaseModel):
    """How a check ended. `item` counts from 1; `exit_code` None: it took too long. `said`: the end of its
    output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: int
    item: int
    passed: bool
    exit_code: int | None
    seconds: float
    said: str


@dataclass(frozen=True, slots=True)
class StageReview:
    """`tries`: the trials that it took. `broken`: checks of earlier stages that passed before it and do so no
    more."""

    stage: Stage
    state: StageState
    configuration: str = ""
    tries: int = 0
    result: TrialResult | None = None
    ended: tuple[CheckEnded, ...] = ()
    checked: int = 0  # up to here
    broken: tuple[CheckEnded, ...] = ()

    @property
    def passed(self) -> int:
        return sum(one.passed for one in self.ended)

    @property
    def own_passed(self) -> int:
        return sum(one.passed for one in self.ended if one.stage == self.stage.number)

    @property
    def unverified(self) -> int:
        return len(self.stage.items) - len(self.stage.checks)

    @property
    def quality(self) -> float | None:
        """The share of all checks up to here that pass. None: there are none, or it was not run."""
        return self.passed / self.checked if self.checked and self.result is not None else None

    @property
    def how_ended(self) -> str:
        """ "" if the agent came to an end by itself."""
        result = self.result
        if result is None or result.why_ended == "exited":
            return result.error if result is not None and result.outcome == "agent-failed" else ""
        return result.error if result.outcome == "infrastructure" else result.why_ended


@dataclass(frozen=True, slots=True)
class Spent:
    """All tries of all stages, also those that were done again. `unpriced`: how many of them nobody could
    price; their dollars are not in `usd`."""

    tries: int
    redone: int
    usd: Decimal
    unpriced: int
    wall_s: float
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Review:
    job: str
    record: Record
    stages: tuple[StageReview, ...]
    spent: Spent

    @property
    def is_done(self) -> bool:
        return all(one.state in GOOD for one in self.stages)

    def item(self, ended: CheckEnded) -> Item:
        return self.stages[ended.stage - 1].stage.items[ended.item - 1]


def review_of(
    job: str,
    spec: Spec,
    record: Record,
    results: Mapping[str, TrialResult],
    ended: Mapping[str, Sequence[CheckEnded]],
) -> Review:
    """`results` and `ended` by trial."""
    stages: list[StageReview] = []
    for place, stage in enumerate(spec.stages):
        one = record.kept[place] if place < len(record.kept) else None
        tries = sum(other.label == stage.label and other.trial in results for other in record.tries)
        if one is None or one.trial not in results:
            stages.append(StageReview(stage, "not run", tries=tries))
        else:
            before = stages[-1].ended if stages else ()
            stages.append(
                _judged(spec, stage, one, results[one.trial], ended.get(one.trial, ()), before, tries)
            )
    return Review(job, record, tuple(stages), _spent(record, results))


def _judged(
    spec: Spec,
    stage: Stage,
    one: Try,
    result: TrialResult,
    ended: Sequence[CheckEnded],
    before: Iterable[CheckEnded],
    tries: int,
) -> StageReview:
    known = [
        end
        for end in ended
        if end.stage <= stage.number and end.item <= len(spec.stages[end.stage - 1].items)
    ]
    held = {(end.stage, end.item) for end in before if end.passed}
    broken = tuple(end for end in known if not end.passed and (end.stage, end.item) in held)
    return StageReview(
        stage=stage,
        state=_state(stage, result, known, broken),
        configuration=one.configuration,
        tries=tries,
        result=result,
        ended=tuple(known),
        checked=sum(len(other.checks) for other in spec.stages[: stage.number]),
        broken=broken,
    )


def _state(
    stage: Stage, result: TrialResult, ended: Sequence[CheckEnded], broken: Sequence[CheckEnded]
) -> StageState:
    if result.outcome == "infrastructure":
        return "could not be run"
    own = [end for end in ended if end.stage == stage.number]
    if broken or len(own) < len(stage.checks) or not all(end.passed for end in own):
        return "failed"
    if stage.checks:
        return "passed"
    return "unverified" if result.outcome == "scored" and result.validity == "VALID" else "failed"


def _spent(record: Record, results: Mapping[str, TrialResult]) -> Spent:
    paid = [results[one.trial] for one in record.tries if one.trial in results]
    kept = {one.trial for one in record.kept}
    return Spent(
        tries=len(paid),
        redone=sum(result.trial not in kept for result in paid),
        usd=sum((result.cost_usd for result in paid if result.cost_usd is not None), Decimal(0)),
        unpriced=sum(result.cost_usd is None and bool(result.run) for result in paid),
        wall_s=sum(result.wall_s for result in paid),
        tokens=sum((result.tokens for result in paid), Tokens()),
    )


# --- reading ---------------------------------------------------------------------------------------

_ENDED = TypeAdapter(tuple[CheckEnded, ...])


def read_ended(trial: Path) -> tuple[CheckEnded, ...]:
    """What the checks of a trial said; () if they wrote nothing. Blocks. Raises BenchError."""
    path = trial / "verifier" / CHECKS
    if (data := bounded_if_there(path, MAX_CHECKS_BYTES)) is None:
        return ()
    try:
        return _ENDED.validate_json(data)
    except ValidationError as error:
        raise BenchError(f"{path}: {first_complaint(error)}: run the stage again with --from") from error
