"""create_app: the HTTP surface, put together. Nothing happens at import time.

    Boundary            request id, typed errors
    └── AccessGuard     Host, Origin, key
        └── RequestLimits   media type, body size, body deadline
            ├── HotPaths        POSTs to the endpoints that generate: past FastAPI's own layers
            └── FastAPI         every other route

The socket's own limits are connection.py's: serve with `uvicorn_config`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from inference.chat import Sampling
from inference.device_sampler import DeviceSampler
from inference.errors import InvalidRequest
from inference.gpu import MemoryMeter
from inference.pool import WorkerPool
from inference.token_counts import TokenCounter
from proxy.accounting import accounting
from proxy.admin import EventsEndpoint, HealthEndpoint, MetricsEndpoint, ModelsEndpoint, admin_router
from proxy.auth import AccessGuard
from proxy.boundary import Boundary
from proxy.connection import DECLINED_UPGRADE
from proxy.count_tokens import CountTokensEndpoint
from proxy.dialects import anthropic_messages, chat_completions, completions, responses
from proxy.endpoints import EmbeddingsEndpoint, GenerationEndpoint, Services
from proxy.errors import HttpRefusal, MethodNotAllowed, NoSuchPath, NoWebSockets
from proxy.hot_paths import HotPaths
from proxy.ledger_api import ledger_router
from proxy.ledger_reads import LedgerReads, SpentInLedger
from proxy.limits import RequestLimits
from proxy.live import Live
from proxy.operation import Operation
from proxy.request_log import RequestLog, RequestRecord
from proxy.run_tokens import RunTokens
from proxy.runs_api import runs_router
from proxy.treatments import Treatments
from proxy.upstreams.http_client import Deadlines
from proxy.upstreams.local import LocalUpstream
from proxy.upstreams.remote import RemoteUpstreams
from proxy.upstreams.server_exchange import ServerTerms


class Application(FastAPI):
    """FastAPI, but for what `hot_paths` take: its own layers would cost that 0.05 ms. `hot`: those paths,
    behind our layers."""

    hot_paths: HotPaths
    hot: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.hot if self.hot_paths.takes(scope) else super().__call__)(scope, receive, send)


def create_app(
    operation: Operation, pool: WorkerPool, meter: MemoryMeter, sampler: DeviceSampler | None = None
) -> Application:
    """`pool` must be entered before the first request. `sampler`: what /api/device shows; its owner starts
    and stops it, and `operation`. `app.state.stopping` is an asyncio.Event: set it when the server begins
    to stop, so that event streams end and do not hold it up."""
    app = Application(
        title="Hotseat",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # /metrics and the log are ours
        exception_handlers={HTTPException: _refuse, RequestValidationError: _invalid_query},
    )
    app.state.stopping = asyncio.Event()
    live = operation.live
    ledger = operation.ledger
    accounts = accounting(live, sampler, None if ledger is None else SpentInLedger(ledger))

    treatments = Treatments(accounts.runs, operation.remote_http, live.now.config.recordings)

    def on_end(record: RequestRecord) -> None:
        accounts.gate.settled(record)
        treatments.ended(record)
        operation.metrics.count(record)
        if ledger is not None:
            ledger.end(record)

    log = RequestLog(
        on_begin=None if ledger is None else ledger.begin,
        on_attempt_failed=None if ledger is None else ledger.attempt_failed,
        price=accounts.pricing.price,
        price_attempt=accounts.pricing.price_attempt,
        on_end=on_end,
    )
    local = LocalUpstream(
        pool, operation.http, lambda model: server_terms(live, model), at_work=accounts.pricing.at_work
    )
    services = Services(
        live=live,
        upstreams={"local": local},
        seats=local.seats,
        log=log,
        remote=RemoteUpstreams(operation.remote_http),
        gate=accounts.gate,
        treatments=treatments,
    )
    posts = _add_v1(app, services, ModelsEndpoint(live, pool, treatments), operation.tokens)
    gets: dict[str, ASGIApp] = {
        "/health": HealthEndpoint(),
        "/metrics": MetricsEndpoint(operation.metrics),
        "/api/events": EventsEndpoint(pool, operation.news, live, app.state.stopping),
    }
    for path, endpoint in gets.items():
        app.router.routes.append(HttpRoute(path, endpoint, methods=["GET"]))
    app.include_router(admin_router(operation, pool, meter, log, sampler))
    app.include_router(ledger_router(LedgerReads(ledger, log)))
    app.include_router(runs_router(accounts.runs, accounts.gate, treatments, live))
    app.hot = app.hot_paths = HotPaths(app.router, posts)
    for layer, options in _layers(live, accounts.runs):
        app.add_middleware(layer, **options)
        app.hot = layer(app.hot, **options)
    return app


def _layers(live: Live, runs: RunTokens) -> list[tuple[Any, dict[str, Any]]]:
    """Innermost first: each is wrapped around those before it."""
    return [
        (RequestLimits, {"limits": lambda: live.now.limits}),
        (AccessGuard, {"policy": lambda: live.now.access, "runs": runs}),
        (Boundary, {}),
    ]


def _add_v1(app: FastAPI, services: Services, models: ASGIApp, tokens: TokenCounter) -> dict[str, ASGIApp]:
    """The endpoints that are posted to, by path. The router has them too: it says which methods there are."""
    posts: dict[str, ASGIApp] = {
        "/v1/chat/completions": GenerationEndpoint(chat_completions, services),
        "/v1/completions": GenerationEndpoint(completions, services),
        "/v1/responses": GenerationEndpoint(responses, services),
        "/v1/messages": GenerationEndpoint(anthropic_messages, services),
        "/v1/messages/count_tokens": CountTokensEndpoint(services, tokens),
        "/v1/embeddings": EmbeddingsEndpoint(services),
    }
    for prefix in ("", "/r/{run}"):
        for path, endpoint in posts.items():
            app.router.routes.append(HttpRoute(prefix + path, endpoint, methods=["POST"]))
        app.router.routes.append(HttpRoute(prefix + "/v1/models", models, methods=["GET"]))
        app.router.routes.append(HttpRoute(prefix + "/v1/models/{name:path}", models, methods=["GET"]))
    return posts


def server_terms(live: Live, model: str) -> ServerTerms:
    """How the server that a model has of its own is asked, by the configuration of now."""
    entry = live.now.config.models.get(model)  # None: removed while the request waited
    sampling = entry.spec.sampling if entry else Sampling()
    return ServerTerms(sampling, Deadlines(idle_s=live.now.limits.decode_stall_s))


async def _refuse(request: Request, error: Exception) -> Any:
    """Starlette's own refusals, as ours: the boundary answers them."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        if DECLINED_UPGRADE in request.headers:
            raise NoWebSockets("WebSockets are not spoken here: send the request as a POST")
        allowed = (error.headers or {}).get("Allow", "")
        raise MethodNotAllowed(f"{request.method} is not allowed here: use {allowed}")
    if error.status_code == 404:
        raise NoSuchPath(f"nothing is served at {request.url.path[:200]!r}")
    raise HttpRefusal(str(error.detail))


async def _invalid_query(request: Request, error: Exception) -> Any:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    raise InvalidRequest(f"{field}: {first['msg']}", param=field)
