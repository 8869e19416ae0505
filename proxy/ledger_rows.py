"""Rows of the ledger: what is kept of each attempt at an upstream, and the rows of a finished request. Pure.

A row has no text of a prompt or an answer, and the name of a key, never the key. (request_id, attempt) is
its identity. Attempts count from 1; attempt 0 is a request that ended while nothing was asked of an
upstream: refused by Hotseat, only counted, or given up between two attempts.
"""

from __future__ import annotations

import datetime
import functools
from decimal import Decimal
from typing import Any

import msgspec

from inference.errors import Fault
from proxy.attribution import Role
from proxy.charges import Charge, charge_of
from proxy.prices import believed
from proxy.request_log import FailedAttempt, RequestRecord

LOST_CODE = "lost"
MAX_TEXT_CHARS = 256

MAX_COUNT = 2**53
"""Of tokens: what a provider claims beyond it is no count, and no integer of a database."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; `started_at` and `ended_at` since the epoch; `day` in UTC.

    `status` 0 with the code "lost": under way when the server died. `cost_usd` None: not known. `policy`:
    which one it was treated by, or "untreated" (policies.py). `answer_sha`: of its text and calls, in a run.
    `payer`: the key whose budgets it is charged to. `assumed_usd`: with how much, where a provider was asked
    and nobody knows what it cost.
    """

    request_id: str
    attempt: int = 0
    started_at: float
    ended_at: float
    day: str
    run: str = ""
    node: str = ""
    parent_node: str = ""
    role: Role = "unattributed"
    harness: str = ""
    key: str = ""
    dialect: str = ""
    requested_model: str = ""
    model: str = ""
    upstream: str = ""
    stream: bool = False
    status: int = 0
    code: str = ""
    fault: Fault | None = None
    finish_reason: str = ""
    queue_s: float = 0.0
    load_s: float = 0.0
    ttft_s: float | None = None
    decode_s: float = 0.0
    total_s: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    decode_tokens: int = 0
    tool_calls: int = 0
    reported_cost_usd: Decimal | None = None
    cost_usd: Decimal | None = None
    price_source: str = ""
    energy_j: float | None = None
    system_sha: str = ""
    tools_sha: str = ""
    policy: str = ""
    answer_sha: str = ""
    reused_tokens: int | None = None
    first_difference: int | None = None
    culprit: str = ""
    payer: str = ""
    assumed_usd: Decimal | None = None


COLUMNS = Row.__struct_fields__


def rows_of(record: RequestRecord) -> list[Row]:
    """Of a finished request: its failed attempts, and how it ended."""
    return [*(failed_row(record, failed) for failed in record.attempts), last_row(record)]


def last_row(record: RequestRecord) -> Row:
    """The first attempt is charged with all of the request's time, also what was spent before it."""
    is_later = record.attempt > 1
    started_at = record.attempt_started_at if is_later else record.started_at
    ended_at = record.started_at + record.total_s
    return Row(
        **_of_request(record),
        attempt=record.attempt,
        started_at=started_at,
        ended_at=ended_at,
        day=day_of(started_at),
        model=_short(record.model),
        upstream=_short(record.upstream),
        status=record.status,
        code=_short(record.code),
        fault=record.fault,
        finish_reason=_short(record.finish_reason),
        queue_s=record.queue_s,
        load_s=record.load_s,
        ttft_s=record.ttft_s,
        decode_s=record.decode_s,
        total_s=max(0.0, ended_at - started_at) if is_later else record.total_s,
        input_tokens=_count(record.input_tokens),
        cached_tokens=_count(record.cached_tokens),
        cache_write_tokens=_count(record.cache_write_tokens),
        output_tokens=_count(record.output_tokens),
        reasoning_tokens=_count(record.reasoning_tokens),
        decode_tokens=_count(record.decode_tokens),
        tool_calls=_count(record.tool_calls),
        answer_sha=_short(record.answer_sha),
        **_costs(record, charge_of(record, record.attempt, record.assumed_usd)),
        energy_j=record.energy_j,
        reused_tokens=record.reused_tokens,
        first_difference=record.first_difference,
        culprit=_short(record.culprit),
    )


def failed_row(record: RequestRecord, failed: FailedAttempt) -> Row:
    """An attempt after which another one followed."""
    return Row(
        **_of_request(record),
        attempt=failed.number,
        started_at=failed.started_at,
        ended_at=failed.started_at + failed.total_s,
        day=day_of(failed.started_at),
        model=_short(failed.model),
        upstream=_short(failed.upstream),
        status=failed.status,
        code=_short(failed.code),
        fault=failed.fault,
        queue_s=failed.queue_s,
        load_s=failed.load_s,
        ttft_s=failed.ttft_s,
        decode_s=failed.decode_s,
        total_s=failed.total_s,
        input_tokens=_count(failed.input_tokens),
        cached_tokens=_count(failed.cached_tokens),
        cache_write_tokens=_count(failed.cache_write_tokens),
        output_tokens=_count(failed.output_tokens),
        reasoning_tokens=_count(failed.reasoning_tokens),
        tool_calls=_count(failed.tool_calls),
        **_costs(failed, charge_of(failed, failed.number, record.assumed_usd)),
    )


def begun_row(record: RequestRecord) -> Row:
    """The attempt that begins, as it will be known if nothing more is ever heard of it."""
    return Row(
        **_of_request(record),
        attempt=record.attempt,
        started_at=record.attempt_started_at,
        ended_at=record.attempt_started_at,
        day=day_of(record.attempt_started_at),
        model=_short(record.model),
        upstream=_short(record.upstream),
        code=LOST_CODE,
        fault="proxy",
        price_source="unknown",
        assumed_usd=charge_of(record, record.attempt, record.assumed_usd).assumed_usd,
    )


def _of_request(record: RequestRecord) -> dict[str, Any]:
    return {
        "request_id": record.request_id,
        "run": _short(record.run),
        "node": _short(record.node),
        "parent_node": _short(record.parent_node),
        "role": record.role,
        "harness": _short(record.harness),
        "key": _short(record.key),
        "payer": _short(record.payer),
        "dialect": record.dialect,
        "requested_model": _short(record.requested_model),
        "stream": record.stream,
        "system_sha": _short(record.system_sha),
        "tools_sha": _short(record.tools_sha),
        "policy": _short(record.policy),
    }


def _costs(of: RequestRecord | FailedAttempt, charge: Charge) -> dict[str, Any]:
    return {
        "reported_cost_usd": believed(of.reported_cost_usd),
        "cost_usd": charge.cost_usd,
        "assumed_usd": charge.assumed_usd,
        "price_source": _short(charge.source),
    }


def day_of(at_s: float) -> str:
    """The day in UTC: one that does not depend on where a server stands or on the time of the year."""
    return _day(int(at_s // 86400))


@functools.lru_cache(maxsize=16)
def _day(number: int) -> str:
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=number)).isoformat()


def _count(claimed: int) -> int:
    return claimed if 0 <= claimed <= MAX_COUNT else min(max(claimed, 0), MAX_COUNT)


def _short(text: str) -> str:
    """Bounded, and text that every database takes: no NUL, no half of a character."""
    if len(text) <= MAX_TEXT_CHARS and text.isascii() and "\0" not in text:
        return text
    return text[:MAX_TEXT_CHARS].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
