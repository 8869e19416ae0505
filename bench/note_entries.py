"""Entries of the knowledge log: what a trial showed, or that an entry is taken back. A JSON line each. Pure.

An entry's id is the SHA-256 of all the rest of it, written canonically. So the same entry is the same line
on every machine, a line that was changed or cut off shows, and entries form a set: their order says nothing.

    {"format": 1, "kind": "trial", "id": …, "at": when the trial began, "by": …, "task": {…},
     "configuration": {…}, "outcome": {…}, "cost_usd": …, …, "note": …, "evidence": {…}}
    {"format": 1, "kind": "retraction", "id": …, "at": …, "by": …, "retracts": the id of an entry, "why": …}
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from bench.errors import BenchError
from bench.results import UNVERIFIED, Outcome, TrialResult

FORMAT = 1
MAX_LINE_BYTES = 64 * 1024
MAX_NOTE_CHARS = 4000
MAX_TAGS = 64
SHORT_CHARS = 10
"""So much of an id or of a hash is shown to people."""

_CONFLICT_MARKERS = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")

Name = Annotated[str, StringConstraints(max_length=256)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^\S+$")]
Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Note = Annotated[str, StringConstraints(max_length=MAX_NOTE_CHARS)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Dated(_Line):
    """`at`: in UTC, 2026-11-02T14:03:11Z."""

    at: str

    @model_validator(mode="after")
    def _is_a_date(self) -> Self:
        if stamp(when_s(self.at)) != self.at:
            raise ValueError("expected a date as 2026-11-02T14:03:11Z")
        return self

    @cached_property
    def at_s(self) -> float:
        """In epoch seconds."""
        return when_s(self.at)

    @cached_property
    def id(self) -> str:
        return _id_of(self.model_dump(mode="json"))


class NotedTask(_Line):
    label: Name
    digest: Name
    tags: tuple[Tag, ...] = Field(max_length=MAX_TAGS)


class NotedSubAgent(_Line):
    model: Name
    effort: Name | None


class NotedConfiguration(_Line):
    """`sha`: of all but the name, which is anybody's choice."""

    name: Name
    sha: Sha
    harness: Name
    version: Name
    main: Name
    small: Name
    subagents: dict[Name, NotedSubAgent]
    effort: Name | None
    policy: Name
    context: int | None = Field(ge=1)  # tokens that a request may have; None: all that its model has
    native_names: bool  # whether models go by their own names

    @model_validator(mode="after")
    def _is_what_it_says(self) -> Self:
        if self.sha != _sha(_canonical(self.model_dump(mode="json", exclude={"name", "sha"}))):
            raise ValueError("sha: it is not that of the configuration")
        return self

    @cached_property
    def sha_of_any_version(self) -> str:
        """The same for every version of the harness."""
        return _sha(_canonical(self.model_dump(mode="json", exclude={"name", "sha", "version"})))


class NotedOutcome(_Line):
    """`counts`: VALID, with a reward, and checked: only then is it evidence."""

    word: Outcome
    validity: Literal["VALID", "INVALID"]
    counts: bool
    reward: float | None = Field(ge=0, le=1)
    scores: dict[Name, float]

    @property
    def is_unverified(self) -> bool:
        return UNVERIFIED in self.scores

    @model_validator(mode="after")
    def _counts_with_a_reward(self) -> Self:
        is_checked = self.reward is not None and not self.is_unverified
        if self.counts != (self.validity == "VALID" and is_checked):
            raise ValueError(
                "counts: expected true of what is VALID, has a reward and was checked, and of nothing else"
            )
        return self


class NotedEvidence(_Line):
    """Where the rest of it is. `result_sha`: of the bytes of result.json; whoever tells of them tells of the
    same trial."""

    job: Name
    trial: Name
    run: Name
    result_sha: Sha


class TrialEntry(_Dated):
    """`models`: by name, the hash of the file or the provider's id, as far as known. Times in seconds."""

    format: Literal[1]  # FORMAT
    kind: Literal["trial"]
    by: Name
    task: NotedTask
    configuration: NotedConfiguration
    outcome: NotedOutcome
    cost_usd: Decimal | None = Field(ge=0, le=10**9, decimal_places=60)
    wall_s: float = Field(ge=0)
    waited_s: float = Field(ge=0)
    energy_j: float | None = Field(ge=0)
    models: dict[Name, Name]
    note: Note
    evidence: NotedEvidence

    @cached_property
    def facts(self) -> str:
        """What was measured, without what people said of it: alike in all entries of one trial."""
        measured = self.model_dump(mode="json", exclude={"by": True, "note": True, "task": {"tags"}})
        return _canonical(measured)


class Retraction(_Dated):
    """Takes an entry back, and with it the trial that it tells of; or another retraction."""

    format: Literal[1]  # FORMAT
    kind: Literal["retraction"]
    by: Name
    retracts: Sha
    why: Note


Entry = TrialEntry | Retraction
_KINDS: Mapping[str, type[TrialEntry] | type[Retraction]] = {"trial": TrialEntry, "retraction": Retraction}


@dataclass(frozen=True, slots=True)
class Newer:
    """An undamaged line that a later version of Hotseat has written. `line`: without its end."""

    line: bytes
    id: str
    format: int


@dataclass(frozen=True, slots=True)
class Strange:
    """A line that is no entry, and why."""

    line: bytes
    why: str


# --- making them -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """What a plan says of a configuration. `subagents`: model and effort by name."""

    harness: str
    main: str
    small: str
    subagents: Mapping[str, tuple[str, str | None]]
    effort: str | None
    context: int | None = None
    native_names: bool = False


def trial_entry(
    result: TrialResult,
    result_sha: str,
    setting: Setting,
    *,
    note: str = "",
    by: str = "",
    tags: Sequence[str] = (),
) -> TrialEntry:
    """`tags`: beside the task's own. Made of the result and these words alone: the same call gives the same
    entry at any time. Raises BenchError."""
    try:
        return TrialEntry(
            format=1,
            kind="trial",
            at=stamp(result.started_at),
            by=by,
            task=NotedTask(
                label=result.task,
                digest=result.task_digest,
                tags=tuple(sorted({*result.tags, *tags})),
            ),
            configuration=noted_configuration(
                result.configuration, setting, result.manifest.harness_version, result.policy
            ),
            outcome=NotedOutcome(
                word=result.outcome,
                validity=result.validity,
                counts=result.counts,
                reward=result.verified_reward,
                scores={name: score for name, score in result.scores.items() if math.isfinite(score)},
            ),
            cost_usd=result.cost_usd,
            wall_s=result.wall_s,
            waited_s=result.waited_s,
            energy_j=result.energy_j,
            models=dict(result.manifest.models),
            note=note,
            evidence=NotedEvidence(job=result.job, trial=result.trial, run=result.run, result_sha=result_sha),
        )
    except ValidationError as error:
        raise BenchError(f"{result.trial}: it cannot be noted: {_first_of(error)}") from error
    except (ValueError, OverflowError) as error:  # a date or a number that is none
        raise BenchError(f"{result.trial}: it cannot be noted: {error}") from error


def noted_configuration(name: str, setting: Setting, version: str, policy: str) -> NotedConfiguration:
    subagents = {
        called: NotedSubAgent(model=model, effort=effort)
        for called, (model, effort) in sorted(setting.subagents.items())
    }
    what: dict[str, Any] = {
        "harness": setting.harness,
        "version": version,
        "main": setting.main,
        "small": setting.small,
        "effort": setting.effort,
        "policy": policy,
        "context": setting.context,
        "native_names": setting.native_names,
    }
    described = what | {"subagents": {called: one.model_dump() for called, one in subagents.items()}}
    return NotedConfiguration(name=name, sha=_sha(_canonical(described)), subagents=subagents, **what)


def retraction(retracts: str, why: str, by: str, at_s: float) -> Retraction:
    """Raises BenchError."""
    try:
        return Retraction(format=1, kind="retraction", at=stamp(at_s), by=by, retracts=retracts, why=why)
    except ValidationError as error:
        raise BenchError(f"the retraction cannot be noted: {_first_of(error)}") from error


# --- lines -----------------------------------------------------------------------------------------


def line_of(entry: Entry) -> bytes:
    """Without its end."""
    return _canonical({**entry.model_dump(mode="json"), "id": entry.id}).encode()


def read_line(line: bytes) -> Entry | Newer | Strange:
    """Never raises: what is no entry says why."""
    line = line.strip()
    if len(line) > MAX_LINE_BYTES:
        return Strange(line, f"{len(line)} bytes, more than {MAX_LINE_BYTES}")
    if line.startswith(_CONFLICT_MARKERS):
        return Strange(line, "a conflict marker of git: delete it, and keep the lines of both sides")
    try:
        found = json.loads(line.decode(), object_pairs_hook=_unique, parse_constant=_refused)
        if not isinstance(found, dict):
            return Strange(line, "no JSON object")
        claimed, version = found.pop("id", None), found.get("format")
        content = _canonical(found)
        if claimed != _sha(content):
            return Strange(line, "its id is not that of its content: changed, damaged, or no note")
    except (ValueError, RecursionError) as error:
        return Strange(line, f"not JSON: {error}")
    if isinstance(version, int) and version > FORMAT:
        return Newer(line, claimed, version)
    return _entry(line, str(found.get("kind")), content)


def _entry(line: bytes, kind: str, content: str) -> Entry | Strange:
    model = _KINDS.get(kind)
    if model is None:
        return Strange(line, f"kind: expected one of {', '.join(_KINDS)}, found {kind!r:.80}")
    try:
        entry: Entry = model.model_validate_json(content)
    except ValidationError as error:
        return Strange(line, _first_of(error))
    if _canonical(entry.model_dump(mode="json")) != content:
        return Strange(line, "numbers or texts in it are not written as Hotseat writes them")
    return entry


def _first_of(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']}" if key else str(first["msg"])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _id_of(content: Mapping[str, Any]) -> str:
    return _sha(_canonical(content))


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _sha(text: str) -> str:
    """Raises ValueError for half a surrogate pair, which is no text."""
    return hashlib.sha256(text.encode()).hexdigest()


# --- dates -----------------------------------------------------------------------------------------


def stamp(at_s: float) -> str:
    """Epoch seconds, the fraction cut off."""
    return datetime.fromtimestamp(math.floor(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def when_s(at: str) -> float:
    """Raises ValueError."""
    return datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
