"""POST /v1/messages/count_tokens: how long a prompt would be. Never loads a model, nor makes one leave."""

from __future__ import annotations

import msgspec
from starlette.types import Receive, Scope, Send

from inference.errors import InvalidRequest
from inference.token_counts import TokenCounter
from proxy.boundary import REQUEST_ID, send_json
from proxy.dialects import anthropic_messages
from proxy.endpoints import route_headers
from proxy.limits import read_body
from proxy.live import Live
from proxy.presence import Presence
from proxy.routing import run_of


class CountTokensEndpoint:
    def __init__(self, live: Live, tokens: TokenCounter) -> None:
        self._live = live
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        run_of(scope["path_params"])
        request = anthropic_messages.decode_count(await read_body(receive))
        now = self._live.now
        route = now.routes.resolve(request.model)  # of a background name the role's own model
        spec = now.config.models[route.model].spec
        if spec.embeddings:
            raise InvalidRequest(f"model: {spec.name!r} is an embedding model", param="model")
        async with Presence(receive):
            n_tokens = await self._tokens.count(spec, msgspec.structs.replace(request, model=route.model))
        headers = [*route_headers(route), (b"x-hotseat-request-id", scope[REQUEST_ID].encode())]
        await send_json(send, anthropic_messages.encode_count(n_tokens), headers)
