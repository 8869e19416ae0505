"""What is kept of a trial: one folder each, written once, from which every report is computed again.

JOB/plan.toml                  as it was run
JOB/job.json                   the machine, versions, the order of the cells
JOB/trials/TRIAL/result.json   TrialResult, written last and whole: a folder without one never finished
                begun.json     its run and workspace, for whoever has to clear up after a kill
                rows.jsonl     the ledger's rows of the trial's run
                PHASE.stdout   of the harness, for each phase; and PHASE.stderr
                diff.patch     what the agent changed
                verifier/      what the checks wrote
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import BenchError
from bench.reading import bounded, first_complaint, write_whole

FORMAT = 1
RESULT = "result.json"
MAX_RESULT_BYTES = 8 * 2**20

Outcome = Literal["scored", "agent-failed", "timed-out", "capped", "verifier-failed", "infrastructure"]
"""scored: the harness came to its end; agent-failed: it said or showed that it failed; timed-out, capped,
verifier-failed: as the words say; infrastructure: ours. All but the last two have a reward."""

UNVERIFIED = "unverified"
"""The score of a trial that nothing checked: its reward says only that something was changed."""

MODELLESS = ("oracle", "nop")
"""Harnesses that ask no model, and so cost nothing: they check a task, and compete with nobody."""

Role = Literal["main", "subagent", "auxiliary", "unattributed"]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tokens(_Kept):
    """`input` has the cached ones in it, `output` those of reasoning."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            input=self.input + other.input,
            cached=self.cached + other.cached,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )


class NodeTotals(_Kept):
    """One agent on one model, as the wire saw it. Seconds since the harness was started."""

    node: str
    parent_node: str
    role: Role
    model: str
    upstream: str
    requests: int
    failed_requests: int
    tokens: Tokens
    tool_calls: int
    cost_usd: Decimal | None  # None: a price is not known
    first_s: float
    last_s: float
    busy_s: float  # answering
    waited_s: float  # for a queue or a load


class Gap(_Kept):
    """A class of tokens as counted on the wire and as the harness says. `claimed` None: it does not say."""

    wire: int
    claimed: int | None


class Claimed(_Kept):
    """What the harness says of itself."""

    tokens: dict[str, Gap] = {}
    cost_usd: Decimal | None = None
    is_error: bool = False
    errors: tuple[str, ...] = ()
    delegations: int = 0


class Manifest(_Kept):
    """What else a number depends on. Hashes are SHA-256, "" where there is nothing to hash."""

    hotseat: str
    harness: str
    harness_version: str
    engine: str = ""
    models: dict[str, str] = {}  # name -> identity of the file, or the provider's id
    aliases: dict[str, str] = {}  # name -> what the harness was told; empty: the name
    prompt_sha: str = ""
    system_sha: dict[str, str] = {}  # role -> first one seen
    tools_sha: dict[str, str] = {}
    context: dict[str, int] = {}
    context_cap: int | None = None  # that the server kept
    sampling: dict[str, str] = {}  # role -> what its requests said
    sampling_defaults: dict[str, str] = {}  # name -> where they were silent
    price_book: str = ""
    isolation: str = ""
    cache: Literal["warm", "cold", "unknown"] = "unknown"
    slots: dict[str, int] = {}
    recording: str = ""  # of what providers answered
    replay: str = ""  # the recording that answered for them


class TrialResult(_Kept):
    """One attempt of one configuration at one task. Times in seconds, `started_at` in epoch seconds."""

    format: Literal[1] = 1  # FORMAT
    job: str
    trial: str
    run: str  # on the wire
    task: str  # with its parameters
    task_digest: str
    tags: tuple[str, ...] = ()
    configuration: str
    attempt: int = Field(ge=1)
    seed: int
    policy: str
    started_at: float
    outcome: Outcome
    why_ended: str
    error: str = ""
    validity: Literal["VALID", "INVALID"]
    invalid_because: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()  # what the agent should not have done
    reward: float | None = Field(ge=0, le=1)
    scores: dict[str, float] = {}
    wall_s: float  # of the harness, all phases
    waited_s: float  # of these, in loads, swaps and queues
    overhead_s: float  # ours, around it: workspace, warm-up, start of the process; not the checks
    verifier_s: float
    nodes: tuple[NodeTotals, ...] = ()
    delegations: int = 0  # sub-agents that were answered, on the wire
    brief_chars: tuple[int, ...] = ()  # what they were told, and what they gave back, where it is known
    return_chars: tuple[int, ...] = ()
    parallel_s: float = 0.0  # in which two agents or more were answered
    swaps: int = 0  # loads, after the warm-up, that a request of it was the first to wait for
    load_waits: int = 0  # requests that waited for a load, its own or another's
    neighbours: int = 0  # other trials on the same server, at once, at most
    server_swaps: int = 0  # meanwhile, whoever caused them
    peak_vram_bytes: int | None = None  # of the whole device, whoever held it
    models_vram_bytes: int | None = None  # of its own models that were loaded at once, as the server counts
    energy_j: float | None = None
    cost_usd: Decimal | None = None
    claimed: Claimed = Claimed()
    manifest: Manifest

    @property
    def tokens(self) -> Tokens:
        return sum((node.tokens for node in self.nodes), Tokens())

    @property
    def active_s(self) -> float:
        """The second clock: without what the harness waited for a model."""
        return max(0.0, self.wall_s - self.waited_s)

    @property
    def is_unverified(self) -> bool:
        return UNVERIFIED in self.scores

    @property
    def verified_reward(self) -> float | None:
        """None also where the reward says only that something was changed."""
        return None if self.is_unverified else self.reward

    @property
    def ended(self) -> bool:
        """Whether what it took is evidence, if or not anything checked what it made."""
        return self.validity == "VALID" and self.reward is not None

    @property
    def counts(self) -> bool:
        """Whether its reward is evidence."""
        return self.validity == "VALID" and self.verified_reward is not None


def write_result(folder: Path, result: TrialResult) -> None:
    write_whole(folder / RESULT, result.model_dump_json(indent=1) + "\n")


def read_result(path: Path) -> TrialResult:
    """Raises BenchError."""
    data = bounded(path, MAX_RESULT_BYTES)
    try:
        found = json.loads(data)
    except ValueError as error:
        raise BenchError(f"{path}: not JSON: {error}") from error
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise BenchError(f"{path}: format {version!r}, and this version of Hotseat reads {FORMAT}")
    try:
        return TrialResult.model_validate(found)
    except ValidationError as error:
        raise BenchError(f"{path}: {first_complaint(error)}") from error


def results_of(job: Path) -> Iterator[TrialResult]:
    """Every finished trial of a job, in the order of their names. Raises BenchError."""
    for path in sorted((job / "trials").glob(f"*/{RESULT}")):
        yield read_result(path)
