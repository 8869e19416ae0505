"""What a report says, before anybody has chosen how it looks. Plain values: it goes through JSON and back.

Beside every number stand its n, its interval and what was left out. Money is Decimal, and None as soon as a
part of it is not known; `known_usd` is then the part that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from bench.convergence import Convergence
from bench.results import MODELLESS, NodeTotals, Role, Tokens
from bench.selection.record import SelectionFile
from bench.stats import Interval
from bench.verdicts import Comparison

FORMAT: Final = 1

Kind = Literal["infrastructure", "verifier-failed", "INVALID", "unverified"]
"""Why a trial is no evidence: it could not be run, not be graded, was not what it should have been, or there
was nothing to grade it by."""

Measure = Literal["cost", "wall", "active"]

Axis = Literal["usd", "s", "j"]
"""What a trial takes: dollars, seconds of the active clock, joules."""

Answer = Literal["more for more", "no more for more", "not known"]
"""What a dearer configuration gets; the last where these trials cannot tell."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """`planned`: the trials that it was asked for; None where that is not known."""

    name: str
    plan: str = ""
    planned: int | None = None
    finished: int = 0
    began_at: float | None = None
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Mean:
    """`n` trials of `tasks` tasks; every task counts the same. `interval` None: one trial has none."""

    value: float
    interval: Interval | None
    n: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Share:
    count: int
    n: int
    interval: Interval  # Wilson


@dataclass(frozen=True, slots=True)
class Quartiles:
    low: float
    median: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all trials, those that are no evidence too: they were paid for. `mean`: of those that are, and only
    if the cost of each is known."""

    total_usd: Decimal | None
    known_usd: Decimal
    unknown_trials: int
    mean: Mean | None
    per_success_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Delegations:
    """Trials in which a sub-agent was answered, of those that are VALID. `exact_upper`: Clopper-Pearson,
    where there were none."""

    share: Share
    exact_upper: float | None
    total: int
    brief_chars: Quartiles | None
    return_chars: Quartiles | None
    parallel_s: float


@dataclass(frozen=True, slots=True)
class Energy:
    joules: float
    known_trials: int


@dataclass(frozen=True, slots=True)
class Finding:
    text: str
    trials: int


@dataclass(frozen=True, slots=True)
class ConfigurationSummary:
    """`counted`: VALID and with a reward. `reward_if_excluded`: what the mean would be if everything that was
    left out were worth 0, and if it were worth 1. Clocks in seconds, of trials that count. `pass_at` and
    `pass_power`: pass@k and pass^k by k, means over tasks."""

    name: str
    harness: str
    harness_versions: tuple[str, ...]
    policies: tuple[str, ...]
    models: Mapping[Role, tuple[str, ...]]
    trials: int
    valid: int
    counted: int
    excluded: Mapping[Kind, int]
    outcomes: Mapping[str, int]
    reward: Mean | None
    reward_if_excluded: Interval | None
    success: Share
    pass_at: Mapping[int, float]
    pass_power: Mapping[int, float]
    cost: Cost
    wall: Quartiles | None
    active: Quartiles | None
    overhead: Quartiles | None
    tokens: Tokens
    cached_share: float | None
    requests: int
    failed_requests: int
    tool_calls: int
    delegations: Delegations
    swaps: int
    peak_vram_bytes: int | None
    energy: Energy | None
    findings: tuple[Finding, ...]
    neighbours: int = 0  # trials at work on the same server, beside one of these, at most
    models_vram_bytes: int | None = None  # the most of its own models that were loaded at once
    replayed: int = 0  # trials that recordings answered

    @property
    def competes(self) -> bool:
        return self.harness not in MODELLESS


@dataclass(frozen=True, slots=True)
class TaskCell:
    """One configuration at one task. `interval`: Wilson of the mean reward."""

    configuration: str
    trials: int
    counted: int
    successes: int
    reward: float | None
    interval: Interval | None
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TaskRow:
    task: str
    digest: str
    tags: tuple[str, ...]
    cells: tuple[TaskCell, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """`detectable`: the smallest true difference that these very trials would find; None: none at all."""

    comparison: Comparison
    sentence: str
    detectable: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much `a` takes as `b`. `ratio` None: it cannot be said, `sentence` says why.
    `interval` None: one task has no bounds."""

    measure: Measure
    a: str
    b: str
    tasks: int
    ratio: float | None
    interval: Interval | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Beaten:
    """By one that gets as much or more for as much or less. `is_clear`: so say the 95 % intervals of both
    differences too, over enough tasks."""

    by: str
    is_clear: bool


@dataclass(frozen=True, slots=True)
class MapPoint:
    """One configuration: what it takes and what it gets, means over the same tasks as all others."""

    configuration: str
    amount: Mean
    reward: Mean
    beaten: tuple[Beaten, ...]


@dataclass(frozen=True, slots=True)
class Unplaced:
    configuration: str
    why: str


@dataclass(frozen=True, slots=True)
class Worth:
    """Is `dear` worth it where `cheap` would do? Differences of the first less the second, paired by task,
    with 95 % intervals; `p` is adjusted for all questions of the map. `per_point`: what one more point of a
    hundred costs; `per_point_interval` None: it has no upper end. `at_least`: what a point costs at the
    upper end of `points`, where nobody knows whether there is any."""

    dear: str
    cheap: str
    tasks: int
    n_dear: int
    n_cheap: int
    points: float
    points_interval: Interval
    extra: float
    extra_interval: Interval
    p: float
    answer: Answer
    per_point: float | None
    per_point_interval: Interval | None
    at_least: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class CostMap:
    """`tag` "": of all tasks. `tasks`: those that all points have, of `tasks_in_all`. `front`: whom nobody
    beats, from the cheapest on."""

    tag: str
    axis: Axis
    tasks: tuple[str, ...]
    tasks_in_all: int
    points: tuple[MapPoint, ...]
    front: tuple[str, ...]
    unplaced: tuple[Unplaced, ...]
    worth: tuple[Worth, ...]


@dataclass(frozen=True, slots=True)
class Design:
    """What a comparison of this size can find: `tasks` that all configurations have, `attempts` at the least
    often tried. In rewards of 0..1. `by_seen`: from the spread of these results; None if they have none."""

    tasks: int
    attempts: int
    by_assumed: float | None
    by_seen: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class NodeRow:
    """All agents of one role on one model, over the trials of a configuration. `trials`: in which there was
    one; `agents`: how many."""

    configuration: str
    role: Role
    model: str
    upstream: str
    trials: int
    agents: int
    requests: int
    failed_requests: int
    tool_calls: int
    tokens: Tokens
    cost_usd: Decimal | None
    busy_s: float
    waited_s: float


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A harness's own word against the wire, over the trials in which it gives one. `what`: a class of
    tokens, "delegations" or "usd". `differing`: trials in which the two are not equal."""

    harness: str
    version: str
    what: str
    trials: int
    silent: int
    wire: Decimal
    claimed: Decimal
    differing: int


@dataclass(frozen=True, slots=True)
class Excluded:
    trial: str
    task: str
    configuration: str
    attempt: int
    kind: Kind
    reasons: tuple[str, ...]
    reward: float | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A thing that numbers depend on, for one configuration: every value seen, and in how many trials."""

    configuration: str
    key: str
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class AnchorRow:
    """What was published of a harness's combinations, in its order, beside what was found here."""

    what: str
    harness: str
    published: str
    here: str


@dataclass(frozen=True, slots=True)
class Span:
    """A request. Seconds since the harness was started; it waited for a queue or a load until `answers_s`."""

    node: str
    role: Role
    model: str
    upstream: str
    start_s: float
    answers_s: float
    end_s: float
    is_answered: bool


@dataclass(frozen=True, slots=True)
class TrialView:
    """`spans`: request by request, where the rows of the trial are there."""

    trial: str
    job: str
    task: str
    configuration: str
    attempt: int
    outcome: str
    why_ended: str
    error: str
    validity: str
    invalid_because: tuple[str, ...]
    is_counted: bool
    reward: float | None
    wall_s: float
    active_s: float
    cost_usd: Decimal | None
    delegations: int
    findings: tuple[str, ...]
    nodes: tuple[NodeTotals, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """`notes`: what a reader must know before any number."""

    format: Literal[1]  # FORMAT
    title: str
    jobs: tuple[JobInfo, ...]
    notes: tuple[str, ...]
    configurations: tuple[ConfigurationSummary, ...]
    tasks: tuple[TaskRow, ...]
    pairs: tuple[Pair, ...]
    ratios: tuple[Ratio, ...]
    design: Design | None
    nodes: tuple[NodeRow, ...]
    claims: tuple[ClaimRow, ...]
    excluded: tuple[Excluded, ...]
    manifests: tuple[ManifestRow, ...]
    anchors: tuple[AnchorRow, ...]
    trials: tuple[TrialView, ...]
    maps: tuple[CostMap, ...] = ()
    convergence: tuple[Convergence, ...] = ()
    selections: tuple[SelectionFile, ...] = ()
