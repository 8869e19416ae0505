"""POST /api/runs announces a run and answers with its token; DELETE /api/runs/NAME ends it.

The token is in this answer alone. Only unscoped keys and those with admin = true come here (auth.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response

from inference.errors import HotseatError, InvalidRequest
from proxy.callers import CALLER, OWNER
from proxy.context_cap import ContextCap
from proxy.errors import RunTaken
from proxy.gate import MoneyGate
from proxy.limits import read_body
from proxy.live import Live
from proxy.policies import Policy
from proxy.recording import NAME
from proxy.routing import RUN_TOKEN, RouteTable
from proxy.run_notes import RunNotes
from proxy.run_tokens import DEFAULT_TTL_S, MAX_TTL_S, Minted, RunTerms, RunTokens
from proxy.treatments import Treatment, Treatments

MAX_MODELS = 100
MAX_REQUESTS = 10**9
MAX_CONTEXT = 2**31
MAX_BUDGET_USD, MAX_BUDGET_PLACES = 10**9, 12
ALIAS = RUN_TOKEN
MAX_VOLATILE = 8
VolatileText = Annotated[str, msgspec.Meta(min_length=8, max_length=256)]
"""A short one would be in every text, and make different ones equal."""

RecordingName = Annotated[str, msgspec.Meta(pattern=f"^{NAME}$")]
NO_STORE = {"cache-control": "no-store"}


class RunRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`models`: names and patterns of them ("*" is any text). A budget is exact as text: "0.10". `policy`:
    see policies.py; `record`, `replay`: the name of a recording of what providers answer. `aliases`: names
    that mean models in this run alone; `context`: the most tokens that prompt and answer of a request may
    have; `volatile`: texts that `system_sha` and `tools_sha` leave out."""

    name: Annotated[str, msgspec.Meta(pattern=f"^{RUN_TOKEN.pattern}$", max_length=64)] | None = None
    budget_usd: Decimal | None = None
    max_requests: Annotated[int, msgspec.Meta(ge=1, le=MAX_REQUESTS)] | None = None
    models: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_MODELS)] | None = None
    ttl_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_TTL_S)] = DEFAULT_TTL_S
    policy: Policy = "native"
    record: RecordingName | None = None
    replay: RecordingName | None = None
    aliases: Annotated[dict[str, str], msgspec.Meta(max_length=MAX_MODELS)] = {}
    context: Annotated[int, msgspec.Meta(ge=1, le=MAX_CONTEXT)] | None = None
    volatile: Annotated[tuple[VolatileText, ...], msgspec.Meta(max_length=MAX_VOLATILE)] = ()


def runs_router(runs: RunTokens, gate: MoneyGate, treatments: Treatments, live: Live) -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.post("/runs")
    async def announce(request: Request) -> Response:
        asked = read_request(await read_body(request.receive))
        if asked.name in gate.key_names():
            raise RunTaken(
                f"a key of [keys] is called {asked.name!r}, and has its own account: take another name"
            )
        now = live.now
        check_aliases(asked.aliases, now.routes if asked.replay is None else now.replayed_routes)
        models = None if asked.models is None else (*asked.models, *asked.aliases)
        terms = RunTerms(asked.budget_usd, asked.max_requests, models)
        treatment = await treatments.prepared(_treatment(asked), asked.record, asked.replay)
        try:
            minted = runs.mint(asked.name, terms, asked.ttl_s, request.scope.get(CALLER, OWNER))
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
        treatment = treatments.end(run)
        if treatment.notes is not None:
            ended |= treatment.notes.summary
        if treatment.recording is not None:
            ended["recording"] = treatment.recording.summary
        _keep(runs, gate, treatments)
        return Response(msgspec.json.encode(ended), media_type="application/json")

    return router


def _keep(runs: RunTokens, gate: MoneyGate, treatments: Treatments) -> None:
    under_way = runs.under_way()
    gate.keep_runs(under_way)
    treatments.keep_runs(under_way)


def check_aliases(aliases: Mapping[str, str], routes: RouteTable) -> None:
    """Raises InvalidRequest, UnknownModel. An alias that is a model's name would take that from the run."""
    for alias, model in aliases.items():
        if not routes.knows(model):
            raise routes.unknown(model, param="aliases")
        if routes.knows(alias):
            raise InvalidRequest(
                f"aliases: the server has a model {alias!r}: take another name", param="aliases"
            )


def _treatment(asked: RunRequest) -> Treatment:
    cap = None if asked.context is None else ContextCap(asked.context)
    return Treatment(
        asked.policy, aliases=asked.aliases, volatile=asked.volatile, context=cap, notes=RunNotes()
    )


def read_request(body: bytes) -> RunRequest:
    """Raises InvalidRequest."""
    try:
        asked = msgspec.json.decode(body or b"{}", type=RunRequest)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{error}: correct the body") from error
    usd = asked.budget_usd
    if usd is not None and not is_budget(usd):
        raise InvalidRequest(
            f"expected US dollars, 0 to {MAX_BUDGET_USD}, with at most {MAX_BUDGET_PLACES} decimal places",
            param="budget_usd",
        )
    for pattern in asked.models or ():
        if not 0 < len(pattern) <= 128 or not pattern.isprintable():
            raise InvalidRequest("expected names of models, at most 128 characters each", param="models")
    for alias in asked.aliases:
        if not ALIAS.fullmatch(alias):
            raise InvalidRequest(
                f"aliases: {alias[:128]!r}: expected A-Z a-z 0-9 . _ - and at most 64 of them",
                param="aliases",
            )
    if asked.record is not None and asked.replay is not None:
        raise InvalidRequest("a run records or replays, not both: leave one out", param="replay")
    return asked


def is_budget(usd: Decimal) -> bool:
    """Written out, 1e-999999999 would be a message of a gigabyte."""
    exponent = usd.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -MAX_BUDGET_PLACES and 0 <= usd <= MAX_BUDGET_USD


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
    if treatment.aliases:
        shown["aliases"] = treatment.aliases
    if treatment.context is not None:
        shown["context"] = treatment.context.limit
    if treatment.recording is not None:
        shown["record"] = treatment.recording.name
    if treatment.replay is not None:
        shown |= {"replay": treatment.replay.name, "answers": treatment.replay.n_answers}
    return shown
