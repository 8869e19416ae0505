"""What the ledger's rows of a run prove: who worked, on what, when, for how much, and if it counts. Pure.

A harness's own log is a claim. A delegation happened if a sub-agent's request was answered; a model was used
if the wire says so; a run is evidence only if the models that it is about answered, and no others did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from bench.results import Claimed, Gap, NodeTotals, Role, Tokens
from bench.watch import Answered, Wire

MAX_NAMED = 3
REPLAY = "replay"
"""The price source of what a recording answered: its cost was paid when it was made."""
RECENT_ANSWERS = 200
_UNKNOWN_MODEL = 404


class Row(BaseModel):
    """A row of the ledger, as far as it matters here. Times in epoch seconds; `status` 0: never ended."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    request_id: str
    attempt: int = 1
    started_at: float
    ended_at: float
    node: str = ""
    parent_node: str = ""
    role: Role = "unattributed"
    harness: str = ""
    dialect: str = ""
    requested_model: str = ""
    model: str = ""
    upstream: str = ""
    status: int = 0
    code: str = ""
    fault: str | None = None
    finish_reason: str = ""
    queue_s: float = 0.0
    load_s: float = 0.0
    total_s: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tool_calls: int = 0
    cost_usd: Decimal | None = None
    price_source: str = ""
    energy_j: float | None = None
    system_sha: str = ""
    tools_sha: str = ""
    answer_sha: str = ""

    @property
    def is_asked(self) -> bool:
        """Whether an upstream was asked: a refusal of Hotseat's own has attempt 0."""
        return self.attempt > 0

    @property
    def is_answered(self) -> bool:
        return self.status == 200

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            input=self.input_tokens,
            cached=self.cached_tokens,
            output=self.output_tokens,
            reasoning=self.reasoning_tokens,
        )

    @property
    def spent_usd(self) -> Decimal | None:
        return Decimal(0) if self.price_source == REPLAY else self.cost_usd

    @property
    def waited_s(self) -> float:
        return self.queue_s + self.load_s


@dataclass(frozen=True, slots=True)
class Expected:
    """What a configuration says should happen. `subagents`: their models; "" for a run that asks no model."""

    main: str
    small: str
    subagents: tuple[str, ...] = ()

    @property
    def models(self) -> frozenset[str]:
        return frozenset(name for name in (self.main, self.small, *self.subagents) if name)


# --- who worked --------------------------------------------------------------------------------


def nodes_of(rows: Iterable[Row], begun_at: float) -> tuple[NodeTotals, ...]:
    """Totals of each agent on each model, in the order of their first requests. Failed attempts count: they
    may have cost something."""
    groups: dict[tuple[str, Role, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.started_at):
        groups.setdefault((row.node, row.role, row.model, row.upstream), []).append(row)
    return tuple(_node(group, begun_at) for group in groups.values())


def _node(rows: Sequence[Row], begun_at: float) -> NodeTotals:
    first = rows[0]
    return NodeTotals(
        node=first.node,
        parent_node=first.parent_node,
        role=first.role,
        model=first.model,
        upstream=first.upstream,
        requests=len({row.request_id for row in rows}),
        failed_requests=len({row.request_id for row in rows} - {r.request_id for r in rows if r.is_answered}),
        tokens=sum((row.tokens for row in rows), Tokens()),
        tool_calls=sum(row.tool_calls for row in rows),
        cost_usd=cost_of(rows),
        first_s=first.started_at - begun_at,
        last_s=max(row.ended_at for row in rows) - begun_at,
        busy_s=union_s((row.started_at + row.waited_s, row.ended_at) for row in rows),
        waited_s=union_s((row.started_at, row.started_at + row.waited_s) for row in rows),
    )


def cost_of(rows: Iterable[Row]) -> Decimal | None:
    """None as soon as one is not known: a sum without it would be too small."""
    total = Decimal(0)
    for row in rows:
        if row.spent_usd is None:
            if row.is_asked and (row.input_tokens or row.output_tokens):
                return None
            continue
        total += row.spent_usd
    return total


def energy_of(rows: Iterable[Row]) -> float | None:
    known = [row.energy_j for row in rows if row.energy_j is not None]
    return sum(known) if known else None


def delegations_of(rows: Iterable[Row]) -> int:
    """Sub-agents of which at least one request was answered."""
    return len({row.node for row in rows if row.role == "subagent" and row.is_answered})


# --- when --------------------------------------------------------------------------------------


def waited_s(rows: Iterable[Row]) -> float:
    """Of the wall clock, in which a request waited for its turn or for a load: what the second clock leaves
    out. Waits that overlap count once."""
    return union_s((row.started_at, row.started_at + row.waited_s) for row in rows)


def parallel_s(rows: Iterable[Row]) -> float:
    """In which two agents or more were being answered."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.is_asked and row.node:
            spans.setdefault(row.node, []).append((row.started_at, row.ended_at))
    edges = sorted(
        edge for node in spans.values() for start, end in merged(node) for edge in ((start, 1), (end, -1))
    )
    total, running = 0.0, 0
    for (at, step), (until, _) in pairwise(edges):
        running += step
        total += (until - at) if running >= 2 else 0.0
    return total


def union_s(spans: Iterable[tuple[float, float]]) -> float:
    return sum(end - start for start, end in merged(spans))


def merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time, in spans that do not touch."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


# --- while it runs -----------------------------------------------------------------------------


def wire_of(rows: Sequence[Row], in_flight: int) -> Wire:
    """What a watch is fed. An answer without a digest is told apart by its counts."""
    ended = sorted((row for row in rows if row.is_answered), key=lambda row: row.ended_at)
    return Wire(
        requests=len({row.request_id for row in rows}),
        in_flight=in_flight,
        tokens=sum(row.input_tokens + row.output_tokens for row in rows),
        usd=sum((row.spent_usd for row in rows if row.spent_usd is not None), Decimal(0)),
        answers=tuple(
            Answered(row.node, row.answer_sha) for row in ended[-RECENT_ANSWERS:] if row.answer_sha
        ),
    )


# --- whether it counts -------------------------------------------------------------------------


def reasons_against(rows: Sequence[Row], expected: Expected, *, names: Mapping[str, str]) -> tuple[str, ...]:
    """Why a run is no evidence; empty: it is. `names`: what a row's model is called in the configuration,
    where the provider, or the run, has a name of its own for it."""
    if not expected.models:
        return ("requests came from a run that asks no model",) if rows else ()
    asked = [row for row in rows if row.is_asked]
    answered = [row for row in asked if row.is_answered]
    reasons: list[str] = []
    if not answered:
        reasons.append("no request of it was answered")
    elif not any(_name(row, names) == expected.main for row in answered):
        reasons.append(f"its main model, {expected.main}, never answered")
    reasons += _unexpected(answered, expected, names)
    reasons += _unanswered_subagents(rows, names)
    lost = sum(row.status == 0 for row in asked)
    if lost:
        reasons.append(f"{lost} of its requests have no end in the ledger")
    broken = sum(row.fault == "proxy" and row.status >= 500 for row in rows)
    if broken:
        reasons.append(f"Hotseat failed {broken} of its requests")
    return tuple(reasons)


def _unexpected(answered: Sequence[Row], expected: Expected, names: Mapping[str, str]) -> list[str]:
    others = sorted({_name(row, names) for row in answered} - expected.models)
    return [f"a model that it does not name answered: {name}" for name in others[:MAX_NAMED]]


def _unanswered_subagents(rows: Sequence[Row], names: Mapping[str, str]) -> list[str]:
    """A sub-agent that was sent out and never answered is no "0 delegations": it is a broken set-up."""
    subagents = [row for row in rows if row.role == "subagent"]
    silent = sorted({row.node for row in subagents} - {row.node for row in subagents if row.is_answered})
    reasons = []
    for node in silent[:MAX_NAMED]:
        last = max((row for row in subagents if row.node == node), key=lambda row: row.ended_at)
        said = f"{last.status} {last.code}".strip()
        asked = last.requested_model or last.model
        reasons.append(f"a sub-agent on {names.get(asked, asked)} was never answered ({said})")
    return reasons


def _name(row: Row, names: Mapping[str, str]) -> str:
    return names.get(row.model, row.model)


# --- against what the harness says ---------------------------------------------------------------


def gaps(wire: Tokens, claimed: Mapping[str, int | None]) -> dict[str, Gap]:
    """By class of tokens, everything on the wire beside what the harness says of itself."""
    return {name: Gap(wire=getattr(wire, name), claimed=claimed.get(name)) for name in Tokens.model_fields}


def gap_sentence(claimed: Claimed) -> str:
    """ "" where all is as it says."""
    parts = [
        f"{name} {gap.wire:,} on the wire, "
        + ("not said" if gap.claimed is None else f"{gap.claimed:,} claimed")
        for name, gap in claimed.tokens.items()
        if gap.wire != gap.claimed and (gap.wire or gap.claimed)
    ]
    return "; ".join(parts)
