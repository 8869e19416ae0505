"""What the ledger knows, over HTTP: requests, the totals of a run, what was spent."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response

from proxy.ledger_queries import By
from proxy.ledger_reads import LedgerReads

MAX_LISTED_REQUESTS = 1000

_json = msgspec.json.Encoder()


def ledger_router(reads: LedgerReads) -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.get("/requests")
    async def requests(
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED_REQUESTS)] = 100,
        run: Annotated[str | None, Query(max_length=64)] = None,
        model: Annotated[str | None, Query(max_length=256)] = None,
        until: Annotated[float | None, Query(ge=0, le=2**40)] = None,
    ) -> Response:
        return _response(await reads.newest(limit, run=run, model=model, until=until))

    @router.get("/runs/{run}")
    async def run_totals(run: str) -> Response:
        return _response(await reads.run_totals(run))

    @router.get("/spend")
    async def spend(by: By = "day", since: Annotated[float | None, Query(ge=0, le=2**40)] = None) -> Response:
        return _response(await reads.spending(by, since))

    return router


def _response(value: Any) -> Response:
    return Response(_json.encode(value), media_type="application/json")
