"""What is asked of the ledger: the newest rows, the totals of a run, what was spent. Each is one or two
statements on a connection of Store.reading; sums of money are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, distinct, func, select, text, true
from sqlalchemy.sql.elements import Label

from inference.errors import Fault
from proxy import ledger_rows
from proxy.ledger_schema import ATTEMPTS, charged, exact_sum
from proxy.policies import UNTREATED
from proxy.prices import REPLAY

MAX_GROUPS = 10_000

By = Literal["day", "model", "run", "key", "node", "upstream"]

_FAULTS: tuple[Fault, ...] = get_args(Fault)
_NODE = ("node", "parent_node", "role", "harness", "model", "upstream")
_ALWAYS = true()
_c = ATTEMPTS.c


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """`attempts` at an upstream, of `requests`; a request may be in several groups by its attempts.

    `cost_usd` is the sum of the costs that are known; `unpriced` rows have none. `failures` by fault.
    """

    requests: int = 0
    attempts: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tool_calls: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0
    energy_j: float | None = None
    failures: Mapping[str, int] = {}


class NodeTotals(Totals, frozen=True, kw_only=True):
    """Of one model under one node; `node` "" with the role "unattributed": no header said whose it was."""

    node: str
    parent_node: str
    role: str
    harness: str
    model: str
    upstream: str


class RunTotals(msgspec.Struct, frozen=True, kw_only=True):
    """`first_at` and `last_at` since the epoch; None: nothing of the run is known. `in_flight`: requests that
    have begun and are not in the sums. `treated`: requests that the run's policy was applied to; `untreated`:
    those of a main agent, or of nobody known, that it could not be applied to."""

    run: str
    first_at: float | None
    last_at: float | None
    totals: Totals
    nodes: Sequence[NodeTotals]
    is_complete: bool = True
    in_flight: int = 0
    treated: int = 0
    untreated: int = 0


class Spent(Totals, frozen=True, kw_only=True):
    group: str


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """By day the newest first, else what cost most first. `total` is not the sum of the groups: a request
    is in several where its attempts are."""

    by: By
    since: float | None
    groups: Sequence[Spent]
    total: Totals
    is_complete: bool = True


def newest(
    connection: Connection, limit: int, run: str | None, model: str | None, until: float | None = None
) -> list[ledger_rows.Row]:
    """By their end, the last first. `until`: those that ended then or before."""
    wanted = [_c.run == run] if run is not None else []
    wanted += [_c.model == model] if model is not None else []
    wanted += [_c.ended_at <= until] if until is not None else []
    query = select(*(_c[name] for name in ledger_rows.COLUMNS)).where(*wanted)
    query = query.order_by(_c.ended_at.desc(), _c.request_id.desc(), _c.attempt.desc()).limit(limit)
    return [ledger_rows.Row(**row) for row in connection.execute(query).mappings()]


def run_totals(connection: Connection, run: str) -> RunTotals:
    of_run = _c.run == run
    query = select(
        *_sums(),
        _requests(and_(_c.policy != "", _c.policy != UNTREATED)).label("treated"),
        _requests(_c.policy == UNTREATED).label("untreated"),
        func.min(_c.started_at),
        func.max(_c.ended_at),
    ).where(of_run)
    [whole] = connection.execute(query)
    columns = [_c[name] for name in _NODE]
    grouped = select(*columns, *_sums()).where(of_run).group_by(*columns).order_by(func.min(_c.started_at))
    found = connection.execute(grouped.limit(MAX_GROUPS + 1)).all()
    return RunTotals(
        run=run,
        first_at=whole[-2],
        last_at=whole[-1],
        totals=Totals(**_totals(whole)),
        nodes=[
            NodeTotals(**{name: row._mapping[name] for name in _NODE}, **_totals(row))
            for row in found[:MAX_GROUPS]
        ],
        is_complete=len(found) <= MAX_GROUPS,
        treated=whole._mapping["treated"],
        untreated=whole._mapping["untreated"],
    )


def spending(connection: Connection, by: By, since: float | None) -> Spending:
    """`since`: what ended then or later. What was replayed has cost nobody anything now."""
    is_paid = _c.price_source != REPLAY
    column = _c[by]
    wanted = [] if since is None else [_c.ended_at >= since]
    order: ColumnElement[Any] = column.desc() if by == "day" else func.count().desc()
    query = select(column.label("group"), *_sums(is_paid)).where(*wanted).group_by(column).order_by(order)
    rows = connection.execute(query.limit(MAX_GROUPS + 1)).all()
    groups = [Spent(group=row._mapping["group"], **_totals(row)) for row in rows[:MAX_GROUPS]]
    if by != "day":
        groups.sort(key=lambda row: (-row.cost_usd, -row.requests, row.group))
    [whole] = connection.execute(select(*_sums(is_paid)).where(*wanted))
    return Spending(
        by=by,
        since=since,
        groups=groups,
        total=Totals(**_totals(whole)),
        is_complete=len(rows) <= MAX_GROUPS,
    )


def charged_usd(
    connection: Connection, payer: str | None, since: float | None, but: str | None = None
) -> Decimal:
    """What budgets are charged with, for attempts that began then or later; `payer` None: all. What nobody
    could price is what was assumed. `but`: the server whose own attempts are left out."""
    wanted: list[Any] = [text(charged(connection.dialect.name))]
    wanted += [_c.payer == payer] if payer is not None else []
    wanted += [_c.started_at >= since] if since is not None else []
    wanted += [_c.server != but] if but is not None else []
    charge = func.coalesce(_c.cost_usd, _c.assumed_usd)
    return connection.execute(select(exact_sum(charge)).where(*wanted)).scalar() or Decimal(0)


_COUNTS = (
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    "tool_calls",
)


def _requests(where: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(distinct(case((where, _c.request_id))))


def _sums(is_paid: ColumnElement[bool] = _ALWAYS) -> list[Label[Any]]:
    """`is_paid`: the attempts whose cost counts."""
    return [
        func.count(distinct(_c.request_id)).label("requests"),
        func.sum(case((_c.attempt > 0, 1), else_=0)).label("attempts"),
        *(func.sum(_c[name]).label(name) for name in _COUNTS),
        exact_sum(case((is_paid, _c.cost_usd))).label("cost_usd"),
        func.sum(case((and_(_c.cost_usd.is_(None), _c.attempt > 0, is_paid), 1), else_=0)).label("unpriced"),
        func.sum(_c.energy_j).label("energy_j"),
        *(func.sum(case((_c.fault == fault, 1), else_=0)).label(f"fault_{fault}") for fault in _FAULTS),
    ]


def _totals(row: Any) -> dict[str, Any]:
    """Sums over nothing are NULL."""
    found = row._mapping
    failures = {fault: int(n) for fault in _FAULTS if (n := found[f"fault_{fault}"])}
    return {
        **{name: int(found[name] or 0) for name in ("requests", "attempts", *_COUNTS, "unpriced")},
        "cost_usd": found["cost_usd"] or Decimal(0),
        "energy_j": found["energy_j"],
        "failures": failures,
    }
