"""The way to the endpoints that generate: by the exact path, without asking a router.

FastAPI, its own middleware and its router cost 0.1 ms for a request, more than validating one; what they
do (telemetry, parameters, exit stacks) these endpoints do not use. Every other request, and every other
method, goes on to the application, which knows what to say of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

RUN_PREFIX = "/r/"


class HotPaths:
    """ASGI layer: POSTs to one of `posts`, by path, also under /r/RUN."""

    def __init__(self, app: ASGIApp, posts: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._posts = posts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        run, endpoint = self._endpoint(scope)
        if endpoint is not None:
            scope["path_params"] = {"run": run} if run else {}
        await (endpoint or self._app)(scope, receive, send)

    def takes(self, scope: Scope) -> bool:
        """Whether it goes to one of them, also before the access guard has put its run into the path."""
        return self._endpoint(scope)[1] is not None

    def _endpoint(self, scope: Scope) -> tuple[str, ASGIApp | None]:
        if scope["type"] != "http" or scope["method"] != "POST":
            return "", None
        run, path = split_run(scope["path"])
        return run, self._posts.get(path)


def split_run(path: str) -> tuple[str, str]:
    """ "/r/RUN/v1/…" -> RUN and "/v1/…"; "" and `path` itself where there is no run."""
    if not path.startswith(RUN_PREFIX):
        return "", path
    run, slash, rest = path[len(RUN_PREFIX) :].partition("/")
    return (run, slash + rest) if run else ("", path)
