"""POST /api/runs announces a run and answers with its token; DELETE /api/runs/NAME ends it.

The token is in this answer alone. Only unscoped keys and those with admin = true come here (auth.py).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response

from inference.errors import HotseatError, InvalidRequest
from proxy.errors import RunTaken
from proxy.gate import MoneyGate
from proxy.limits import read_body
from proxy.policies import Policy
from proxy.recording import NAME
from proxy.routing import RUN_TOKEN
from proxy.run_tokens import DEFAULT_TTL_S, MAX_TTL_S, Minted, RunTerms, RunTokens
from proxy.treatments import Treatment, Treatments

MAX_MODELS = 100
MAX_REQUESTS = 10**9
RecordingName = Annotated[str, msgspec.Meta(pattern=f"^{NAME}$")]
NO_STORE = {"cache-control": "no-store"}


class RunRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`models`: names and patterns of them ("*" is any text). A budget is exact as text: "0.10". `policy`:
    see policies.py; `record`, `replay`: the name of a recording of what providers answer."""

    name: Annotated[str, msgspec.Meta(pattern=f"^{RUN_TOKEN.pattern}$", max_length=64)] | None = None
    budget_usd: Decimal | None = None
    max_requests: Annotated[int, msgspec.Meta(ge=1, le=MAX_REQUESTS)] | None = None
    models: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_MODELS)] | None = None
    ttl_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_TTL_S)] = DEFAULT_TTL_S
    policy: Policy = "native"
    record: RecordingName | None = None
    replay: RecordingName | None = None


def runs_router(runs: RunTokens, gate: MoneyGate, treatments: Treatments) -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.post("/runs")
    async def announce(request: Request) -> Response:
        asked = read_request(await read_body(request.receive))
        if asked.name in gate.key_names():
            raise RunTaken(
                f"a key of [keys] is called {asked.name!r}, and has its own account: take another name"
            )
        models = None if asked.models is None else tuple(asked.models)
        terms = RunTerms(asked.budget_usd, asked.max_requests, models)
        treatment = await treatments.prepared(asked.policy, asked.record, asked.replay)
        try:
            minted = runs.mint(asked.name, terms, asked.ttl_s)
        except HotseatError:
            await treatments.discard(treatment)
            raise
        treatments.give(minted.run, treatment)
        _keep(runs, gate, treatments)
        shown = _shown(minted, f"{request.url.scheme}://{request.url.netloc}")
        answer = msgspec.json.encode(shown | _shown_treatment(treatment))
        return Response(answer, status_code=201, media_type="application/json", headers=NO_STORE)

    @router.delete("/runs/{name}")
    async def end(name: str) -> Response:
        run = runs.end(name)
        ended: dict[str, object] = {"run": run.name}
        if recording := treatments.end(run).recording:
            ended["recording"] = recording.summary
        _keep(runs, gate, treatments)
        return Response(msgspec.json.encode(ended), media_type="application/json")

    return router


def _keep(runs: RunTokens, gate: MoneyGate, treatments: Treatments) -> None:
    under_way = runs.under_way()
    gate.keep_runs(under_way)
    treatments.keep_runs(under_way)


def read_request(body: bytes) -> RunRequest:
    """Raises InvalidRequest."""
    try:
        asked = msgspec.json.decode(body or b"{}", type=RunRequest)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{error}: correct the body") from error
    usd = asked.budget_usd
    if usd is not None and not (usd.is_finite() and 0 <= usd <= 10**9):
        raise InvalidRequest("expected US dollars, 0 or more", param="budget_usd")
    for pattern in asked.models or ():
        if not 0 < len(pattern) <= 128 or not pattern.isprintable():
            raise InvalidRequest("expected names of models, at most 128 characters each", param="models")
    if asked.record is not None and asked.replay is not None:
        raise InvalidRequest("a run records or replays, not both: leave one out", param="replay")
    return asked


def _shown(minted: Minted, origin: str) -> dict[str, object]:
    run = minted.run
    return {
        "run": run.name,
        "token": minted.token,
        "base_url": f"{origin}/r/{run.name}",
        "expires_at": run.expires_at,
    }


def _shown_treatment(treatment: Treatment) -> dict[str, object]:
    shown: dict[str, object] = {} if treatment.policy == "native" else {"policy": treatment.policy}
    if treatment.recording is not None:
        shown["record"] = treatment.recording.name
    if treatment.replay is not None:
        shown |= {"replay": treatment.replay.name, "answers": treatment.replay.n_answers}
    return shown
