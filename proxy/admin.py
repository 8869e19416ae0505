"""Everything that is not inference: health, models, state, load, unload, reload, events, logs, metrics.
What the ledger knows is in ledger_api.py. Nothing here but `load` and `reload` ever loads a model."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import Receive, Scope, Send

from inference.device_sampler import KEPT_SAMPLES, NO_SAMPLES, DeviceSampler
from inference.gpu import MemoryMeter
from inference.messages import PrefixReport
from inference.model_spec import ModelSpec
from inference.pool import ModelState, PoolEvent, PoolState, WorkerPool
from proxy import sse
from proxy.boundary import REQUEST_ID, send_json
from proxy.callers import CALLER, OWNER, Caller
from proxy.config import RouteConfig
from proxy.errors import NotLocal
from proxy.event_stream import EventStream
from proxy.file_identities import FileIdentities
from proxy.gate import check_model, may_ask
from proxy.live import Current, Live
from proxy.metrics import Metrics
from proxy.news import News
from proxy.operation import Operation
from proxy.presence import Presence
from proxy.request_log import RequestLog
from proxy.routing import SMALL, run_of
from proxy.treatments import Treatment, Treatments

_json = msgspec.json.Encoder()


class HealthEndpoint:
    """Cheap and keyless: whether the server answers, and nothing about what it serves."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, b'{"status":"ok"}', [])


class ModelsEndpoint:
    """/v1/models and /v1/models/{name}: the configured models, and what a client can really use of each."""

    def __init__(self, live: Live, pool: WorkerPool, treatments: Treatments) -> None:
        self._live = live
        self._pool = pool
        self._treatments = treatments
        self._created_s = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        treatment = self._treatments.of(run_of(scope["path_params"]))
        name = scope["path_params"].get("name")
        caller: Caller = scope.get(CALLER, OWNER)
        now = self._live.now
        states = {state.name: state for state in self._pool.state().models}
        if name is None:
            known = [self._model(entry.spec, states[model]) for model, entry in now.config.models.items()]
            known += [self._route(now, route) for route in now.config.routes.values()]
            answer: dict[str, Any] = _allowed(_named(known, treatment), dict(now.config.roles), caller)
        elif now.routes.is_remote(meant := treatment.meant(name)):
            route = _route_meant(now, meant)
            check_model(caller, name, route.model)
            (answer,) = _named([self._route(now, route)], treatment)
        else:
            model = now.routes.resolve(meant).model
            check_model(caller, name, model)
            (answer,) = _named([self._model(now.config.models[model].spec, states[model])], treatment)
        await send_json(send, _json.encode(answer), [(b"x-hotseat-request-id", scope[REQUEST_ID].encode())])

    def _model(self, spec: ModelSpec, state: ModelState) -> dict[str, Any]:
        # A worker that is leaving may be of an earlier configuration.
        n_ctx = state.facts.n_ctx if state.facts and state.state == "ready" else spec.n_ctx
        return {
            "id": state.name,
            "object": "model",
            "created": self._created_s,
            "owned_by": "hotseat",
            "context_length": n_ctx,
            "embeddings": spec.embeddings,
            "state": state.state,
            "aliases": list(spec.aliases),
            "error": state.error,
        }

    def _route(self, now: Current, route: RouteConfig) -> dict[str, Any]:
        """A remote one; `context_length` only where the configuration says it."""
        provider = now.config.providers[route.provider]
        state = "offline" if now.config.offline else "no key" if provider.lacks_key else "ready"
        row = {
            "id": route.name,
            "object": "model",
            "created": self._created_s,
            "owned_by": route.provider,
            "remote_model": route.model,
            "embeddings": False,
            "state": state,
            "aliases": [],
            "error": None,
        }
        told = {"context_length": route.context_length, "max_output_tokens": route.max_output_tokens}
        return row | {name: limit for name, limit in told.items() if limit is not None}


def _named(rows: list[dict[str, Any]], treatment: Treatment) -> list[dict[str, Any]]:
    """With what the run calls them, and no more context than it has."""
    for row in rows:
        meant = (row["id"], *row["aliases"])
        row["aliases"] = [*row["aliases"], *(name for name, of in treatment.aliases.items() if of in meant)]
        if treatment.context is not None:
            limits = (row.get("context_length"), treatment.context.limit)
            row["context_length"] = min(limit for limit in limits if limit is not None)
    return rows


def _allowed(known: list[dict[str, Any]], roles: dict[str, str], caller: Caller) -> dict[str, Any]:
    """The list of all that a caller may ask, by any of the names that it has."""

    def names(row: dict[str, Any]) -> list[str]:
        meant = [row["id"], *row["aliases"]]
        return [*meant, row.get("remote_model", ""), *(role for role, of in roles.items() if of in meant)]

    rows = [row for row in known if any(may_ask(caller.models, name) for name in names(row))]
    there = {name for row in rows for name in (row["id"], *row["aliases"])}
    left = {role: of for role, of in roles.items() if of in there}
    return {"object": "list", "data": rows, "roles": left}


def _route_meant(now: Current, name: str) -> RouteConfig:
    """By its name, that of a role, or a background name."""
    config = now.config
    canonical = name if name in config.routes else config.roles.get(name, config.roles.get(SMALL, ""))
    return config.routes[canonical]


class EventsEndpoint:
    """/api/events: what the pool does and the server says, as server-sent events, until it begins to stop."""

    def __init__(self, pool: WorkerPool, news: News, live: Live, stopping: asyncio.Event) -> None:
        self._pool = pool
        self._news = news
        self._live = live
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-hotseat-request-id", scope[REQUEST_ID].encode())]
        stream = EventStream(send, headers, keepalive_s=self._live.now.limits.keepalive_s)
        async with self._pool.events() as events:
            with self._news.events() as news:
                due_s = await stream.keep_alive()
                async with (
                    Presence(receive, due=due_s, on_due=stream.keep_alive),
                    asyncio.TaskGroup() as group,
                ):
                    tasks = (
                        group.create_task(_write_events(events, stream)),
                        group.create_task(_write_events(news, stream)),
                        group.create_task(self._stopping.wait()),
                    )
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in tasks:
                        task.cancel()
        await stream.write(b"", more=False)


async def _write_events(events: AsyncIterator[PoolEvent], stream: EventStream) -> None:
    async for event in events:
        await stream.write(sse.data(event))


class MetricsEndpoint:
    """/metrics: Prometheus' text. Behind the key like the rest: names of models are in it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = Response(await self._metrics.text(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})
        await response(scope, receive, send)


def admin_router(
    operation: Operation,
    pool: WorkerPool,
    meter: MemoryMeter,
    log: RequestLog,
    sampler: DeviceSampler | None = None,
) -> APIRouter:
    """The JSON routes under /api."""
    ledger = operation.ledger
    files = FileIdentities()
    router = APIRouter(prefix="/api")

    def local_name(name: str) -> str:
        routes = operation.live.now.routes
        if routes.is_remote(name):
            raise NotLocal(f"'{name}' is a remote route: it is neither loaded nor unloaded", param="model")
        return routes.resolve(name).model

    @router.get("/state")
    async def state() -> Response:
        return _response({**_state(pool.state(), meter), "ledger": ledger.status() if ledger else None})

    @router.get("/device")
    async def device(samples: Annotated[int, Query(ge=0, le=KEPT_SAMPLES)] = 60) -> Response:
        return _response(sampler.report(samples) if sampler is not None else NO_SAMPLES)

    @router.post("/models/{name:path}/load")
    async def load(name: str) -> Response:
        model = local_name(name)
        await pool.load(model)
        return _response(_model_state(pool.state(), model))

    @router.post("/models/{name:path}/unload")
    async def unload(name: str) -> Response:
        model = local_name(name)
        await pool.unload(model)
        return _response(_model_state(pool.state(), model))

    @router.post("/unload")
    async def unload_all() -> Response:
        await pool.unload_all()
        return _response(_state(pool.state(), meter))

    if (reloader := operation.reloader) is not None:

        @router.post("/reload")
        async def reload() -> Response:
            return _response(await reloader.reload())

    @router.get("/models/{name:path}/log")
    async def model_log(name: str) -> Response:
        return _response({"lines": pool.log_tail(local_name(name))})

    @router.get("/models/{name:path}/file")
    async def model_file(name: str) -> Response:
        entry = operation.live.now.config.models[local_name(name)]
        return _response(await files.of(entry.spec))

    @router.get("/requests/{request_id}/prefix")
    async def prefix(request_id: str) -> Response:
        report = log.prefix(request_id)
        return _response(_prefix(request_id, report))

    return router


def _prefix(request_id: str, report: PrefixReport | None) -> dict[str, Any]:
    """`report` null: `reason` says why there is none."""
    if report is None:
        reason = (
            "no engine reported on this request: it never got a slot, or its engine keeps no prompt cache"
        )
        return {"request_id": request_id, "report": None, "reason": reason}
    shown = {name: getattr(report, name) for name in report.__struct_fields__}
    causes = [{name: getattr(cause, name) for name in cause.__struct_fields__} for cause in report.causes]
    return {"request_id": request_id, "report": shown | {"culprit": report.culprit, "causes": causes}}


def _response(value: Any) -> Response:
    return Response(_json.encode(value), media_type="application/json")


def _state(state: PoolState, meter: MemoryMeter) -> dict[str, Any]:
    device = meter.device()
    return {
        "device": {
            "kind": device.kind,
            "name": device.name,
            "total_bytes": device.total_bytes,
            "free_bytes": device.free_bytes,
            "budget_bytes": state.budget_bytes,
        },
        "models": [_shown(model) for model in state.models],
        "swaps": state.swaps,
    }


def _model_state(state: PoolState, name: str) -> dict[str, Any]:
    return next(_shown(model) for model in state.models if model.name == name)


def _shown(model: ModelState) -> dict[str, Any]:
    return {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
