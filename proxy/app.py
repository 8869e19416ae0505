"""create_app: the HTTP surface, put together. Nothing happens at import time.

    Boundary            request id, typed errors
    └── AccessGuard     Host, Origin, key
        └── RequestLimits   media type, body size, body deadline
            └── FastAPI     routes: inference (plain ASGI), /api (FastAPI)

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
from starlette.types import ASGIApp

from inference.device_sampler import DeviceSampler
from inference.errors import InvalidRequest
from inference.gpu import MemoryMeter
from inference.pool import WorkerPool
from proxy.admin import EventsEndpoint, HealthEndpoint, ModelsEndpoint, admin_router
from proxy.auth import AccessGuard, access_policy
from proxy.boundary import Boundary
from proxy.config import Config
from proxy.dialects import chat_completions, completions
from proxy.endpoints import EmbeddingsEndpoint, GenerationEndpoint, Services
from proxy.errors import HttpRefusal, MethodNotAllowed, NoSuchPath
from proxy.limits import RequestLimits
from proxy.request_log import RequestLog
from proxy.routing import route_table
from proxy.upstreams.local import LocalUpstream


def create_app(
    config: Config, pool: WorkerPool, meter: MemoryMeter, sampler: DeviceSampler | None = None
) -> FastAPI:
    """`pool` must be entered before the first request. `sampler`: what /api/device shows; its owner starts
    and stops it. `app.state.stopping` is an asyncio.Event: set it when the server begins to stop, so
    that event streams end and do not hold it up."""
    app = FastAPI(
        title="Hotseat",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
        exception_handlers={HTTPException: _refuse, RequestValidationError: _invalid_query},
    )
    app.state.stopping = asyncio.Event()
    log = RequestLog()
    routes = route_table(config)
    services = Services(
        routes=routes, upstreams={"local": LocalUpstream(pool)}, log=log, limits=config.server.limits
    )
    _add_v1(app, services, ModelsEndpoint(config, pool, routes))
    events = EventsEndpoint(pool, config.server.limits.keepalive_s, app.state.stopping)
    app.router.routes.append(HttpRoute("/health", HealthEndpoint(), methods=["GET"]))
    app.router.routes.append(HttpRoute("/api/events", events, methods=["GET"]))
    app.include_router(admin_router(config, pool, meter, routes, log, sampler))
    for layer in _layers(config):
        app.add_middleware(layer[0], **layer[1])
    return app


def _layers(config: Config) -> list[tuple[Any, dict[str, Any]]]:
    """Innermost first: each is wrapped around those before it."""
    return [
        (RequestLimits, {"limits": config.server.limits}),
        (AccessGuard, {"policy": access_policy(config.server)}),
        (Boundary, {}),
    ]


def _add_v1(app: FastAPI, services: Services, models: ASGIApp) -> None:
    """The hot routes come first: the router asks them in order."""
    posts: dict[str, ASGIApp] = {
        "/v1/chat/completions": GenerationEndpoint(chat_completions, services),
        "/v1/completions": GenerationEndpoint(completions, services),
        "/v1/embeddings": EmbeddingsEndpoint(services),
    }
    for prefix in ("", "/r/{run}"):
        for path, endpoint in posts.items():
            app.router.routes.append(HttpRoute(prefix + path, endpoint, methods=["POST"]))
        app.router.routes.append(HttpRoute(prefix + "/v1/models", models, methods=["GET"]))
        app.router.routes.append(HttpRoute(prefix + "/v1/models/{name:path}", models, methods=["GET"]))


async def _refuse(request: Request, error: Exception) -> Any:
    """Starlette's own refusals, as ours: the boundary answers them."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
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
