"""POST /v1/messages/count_tokens: how long a prompt would be. Never loads a model, nor makes one leave.

It is in the request log without an attempt: nobody generates, and nothing costs. For a remote route the
provider is asked, if it can count; an estimate of ours would be wrong by a third.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
from starlette.types import Receive, Scope, Send

from inference.errors import InvalidRequest
from inference.token_counts import TokenCounter, TokensNotCountable
from proxy.attribution import Attribution, attribute
from proxy.boundary import ANSWER_HEADERS, REQUEST_ID, send_json
from proxy.dialects import anthropic_messages
from proxy.endpoints import Services
from proxy.limits import read_body
from proxy.live import Current
from proxy.presence import Presence
from proxy.provider_errors import client_error
from proxy.remote_attempts import Asked, remote_request, route_headers, targets_of
from proxy.request_log import MAX_NAME_CHARS, RequestRecord
from proxy.routing import run_of
from proxy.treatments import Treatment
from proxy.upstream_errors import UpstreamError
from proxy.upstreams.remote import Target

COUNT_TIMEOUT_S = 60.0
NAME = "count-tokens"  # in the request log, beside the dialects


class CountTokensEndpoint:
    def __init__(self, services: Services, tokens: TokenCounter) -> None:
        self._services = services
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        with services.log.track(scope[REQUEST_ID], run_of(scope["path_params"]), NAME) as record:
            raw = await read_body(receive)
            now = services.live.now
            treatment = services.treatments.of(record.run)
            asked = remote_request(raw, anthropic_messages.NAME, scope, now, record, treatment)
            record.attribute(counting(attribute(scope["headers"], has_tools=False)))
            if asked is None:
                await self._count(raw, now, treatment, record, scope, receive, send)
                return
            await services.admit(scope, record, asked.route, 0, 0, is_free=True)
            remote = services.remote_for(treatment)
            await _ask(targets_of(asked, remote)[0], asked, scope, receive, send)

    async def _count(
        self,
        raw: bytes,
        now: Current,
        treatment: Treatment,
        record: RequestRecord,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        request = anthropic_messages.decode_count(raw)
        record.requested_model = request.model[:MAX_NAME_CHARS]
        # Of a background name the role's own model.
        route = now.routes.resolve(treatment.meant(request.model))
        record.model, record.upstream = route.model, route.upstream
        await self._services.admit(scope, record, route, 0, 0, is_free=True)
        spec = now.config.models[route.model].spec
        if spec.embeddings:
            raise InvalidRequest(f"model: {spec.name!r} is an embedding model", param="model")
        async with Presence(receive):
            n_tokens = await self._tokens.count(spec, msgspec.structs.replace(request, model=route.model))
        headers = [
            *route_headers(route.upstream, route.model),
            (b"x-hotseat-request-id", scope[REQUEST_ID].encode()),
        ]
        await send_json(send, anthropic_messages.encode_count(n_tokens), headers)


def counting(who: Attribution) -> Attribution:
    """A sub-agent of whom only tokens were counted has not worked."""
    return replace(who, role="auxiliary") if who.node else who


async def _ask(target: Target, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
    server = target.server
    assert server is not None
    if not (server.kind.counts_tokens and server.speaks(asked.passed.dialect)):
        raise TokensNotCountable(
            f"{target.upstream} cannot count the tokens of a prompt, and its tokenizer is not known here"
        )
    try:
        async with Presence(receive, limit_s=COUNT_TIMEOUT_S):
            counted = await server.count_tokens(asked.passed)
    except UpstreamError as error:
        raise client_error(error, target.upstream, server.redaction) from error
    request_id = (b"x-hotseat-request-id", scope[REQUEST_ID].encode())
    await send_json(send, counted, [*scope[ANSWER_HEADERS], request_id])
