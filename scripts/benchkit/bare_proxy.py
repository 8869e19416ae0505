"""The least that a Python proxy can be: FastAPI and uvicorn in front, aiohttp behind, one field changed.

It checks nothing, knows no models, keeps no account and cannot stream. What Hotseat does beyond that is
measured against it.

Example:
    python -m benchkit.bare_proxy 8098 http://127.0.0.1:8099
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from fastapi import FastAPI, Request, Response


def create_app(upstream: str) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            app.state.session = session
            yield

    app = FastAPI(lifespan=lifespan, telemetry={"tracing": False, "metrics": False, "logs": False})

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/chat/completions")
    async def passed(request: Request) -> Response:
        body = json.loads(await request.body()) | {"model": "bench"}
        headers = {"content-type": "application/json"}
        url = f"{upstream}/v1/chat/completions"
        async with app.state.session.post(url, data=json.dumps(body), headers=headers) as answer:
            return Response(await answer.read(), answer.status, media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
    )
