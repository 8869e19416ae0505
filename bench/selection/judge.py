"""Whoever answers a prompt; and the one that asks a model of a running Hotseat.

A judge is any model that the server can answer with, a small local one too. It has a run of its own, so that
what it costs stands in the ledger by itself; its questions are bounded in number of tokens, time and dollars.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp

from bench.errors import ProxyError
from bench.evidence import Row, cost_of
from bench.proxy_client import ProxyClient, RunTicket, RunWish, bounded_body
from bench.selection.prompts import Prompt, unbounded

RUN_TTL_S = 24 * 3600.0
BUDGET_USD = Decimal("1.00")
ANSWER_S = 900.0
MAX_ANSWER_TOKENS = 8192
"""Of reasoning and answer together; of a small context a third at most."""

CHARS_PER_TOKEN = 2.5
"""Of patches. Few tokenisers need more tokens for them; where one does, the server says that the prompt is
too long, and it is asked again with less room."""

DEFAULT_CONTEXT = 32_768
"""Of a remote model whose limits the configuration does not give."""

MAX_PROMPT_CHARS = 400_000
"""Of a judge with a large context: what is longer costs more than it tells."""

MAX_REPLY_BYTES = 2 * 2**20
ATTEMPTS = 3
MAX_PAUSE_S = 30.0
PARALLEL = 2
LIST_S = 30.0
MAX_SHOWN_CHARS = 300
_LOCAL_OWNER = "hotseat"
_BUSY = (429, 503)
_HOPELESS = (401, 402, 403, 404)
_TOO_LONG = "context_length_exceeded"
_CANNOT_ANSWER = ("offline", "no key")


@dataclass(frozen=True, slots=True)
class Reply:
    """`text` "": there is none, and `problem` says why. `request_id`: of its rows in the ledger."""

    text: str
    problem: str = ""
    request_id: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


class TooLong(Exception):
    """The prompt does not fit the judge's context: a smaller one may."""


class Judge(Protocol):
    @property
    def room_chars(self) -> int:
        """What a prompt may have."""
        ...

    async def ask(self, prompt: Prompt) -> Reply:
        """Raises TooLong, and BenchError if there is no use in asking again."""
        ...


# --- over HTTP -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """`budget_usd`: of all questions together; None: none. `parallel`: questions at once.
    `rewards_are_hidden`: candidates are not pruned by their rewards. `seed`: of the orders."""

    model: str
    budget_usd: Decimal | None = BUDGET_USD
    parallel: int = PARALLEL
    answer_s: float = ANSWER_S
    rewards_are_hidden: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class JudgeModel:
    """As the server offers it. `answer_tokens`: what is left to an answer."""

    name: str
    context_length: int
    answer_tokens: int
    is_local: bool

    @property
    def room_chars(self) -> int:
        return min(MAX_PROMPT_CHARS, int((self.context_length - self.answer_tokens) * CHARS_PER_TOKEN))


def judge_model(name: str, row: Mapping[str, Any]) -> JudgeModel:
    """From a row of /v1/models. Raises ProxyError for what cannot judge."""
    if row.get("embeddings") is True:
        raise ProxyError(f"{name} makes embeddings and cannot judge: take another model")
    context = _count(row.get("context_length")) or DEFAULT_CONTEXT
    most = _count(row.get("max_output_tokens")) or MAX_ANSWER_TOKENS
    answer = min(MAX_ANSWER_TOKENS, most, context // 3)
    return JudgeModel(name, context, answer, row.get("owned_by") == _LOCAL_OWNER)


class HttpJudge:
    """`session` is the caller's to close."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        ticket: RunTicket,
        model: JudgeModel,
        settings: JudgeSettings,
    ) -> None:
        self.run = ticket.run
        self._session = session
        self._url = f"{url}/r/{quote(ticket.run, safe='')}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {ticket.token}"}
        self._model = model
        self._answer_s = settings.answer_s
        self._turns = asyncio.Semaphore(settings.parallel)  # questions under way

    @property
    def room_chars(self) -> int:
        return self._model.room_chars

    async def ask(self, prompt: Prompt) -> Reply:
        body = self._body(prompt)
        async with self._turns:
            status, headers, data = await self._post(body)
            for attempt in range(1, ATTEMPTS):
                if status not in _BUSY:
                    break
                await asyncio.sleep(_pause_s(headers.get("retry-after"), attempt))
                status, headers, data = await self._post(body)
        request_id = headers.get("x-hotseat-request-id", "")
        return reply_of(self._model.name, status, data, request_id)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        schema = prompt.schema if self._model.is_local else unbounded(prompt.schema)
        return {
            "model": self._model.name,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            "temperature": 0,
            "max_tokens": self._model.answer_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": prompt.schema_name, "strict": True, "schema": schema},
            },
        }

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """A server that is gone is worth an exception: nothing else will be answered either."""
        try:
            async with self._session.post(
                self._url,
                json=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=self._answer_s),
                allow_redirects=False,
            ) as response:
                return response.status, response.headers, await bounded_body(response, MAX_REPLY_BYTES)
        except TimeoutError:
            return 504, {}, json.dumps({"error": {"message": f"no answer in {self._answer_s:g} s"}}).encode()
        except aiohttp.ClientError as error:
            said = str(error) or type(error).__name__
            raise ProxyError(
                f"the server was lost while the judge was asked ({said}): see its log"
            ) from error


def reply_of(model: str, status: int, data: bytes, request_id: str) -> Reply:
    """What an answer of the server's is worth. Raises TooLong and ProxyError."""
    answer = _object(data)
    if status != 200:
        said = _message(answer, status)
        if _about(answer).get("code") == _TOO_LONG:
            raise TooLong(said)
        if status in _HOPELESS:
            raise ProxyError(f"the judge {model} cannot be asked: {said}")
        return Reply("", f"no answer: {said}", request_id)
    try:
        choice = answer["choices"][0]
        text, finish = choice["message"]["content"] or "", choice["finish_reason"]
    except (KeyError, IndexError, TypeError):
        return Reply("", "an answer without choices", request_id)
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text=text if isinstance(text, str) else "",
        problem="its answer did not come to an end" if finish == "length" else "",
        request_id=request_id,
        input_tokens=_count(counts.get("prompt_tokens")) or 0,
        output_tokens=_count(counts.get("completion_tokens")) or 0,
    )


def _about(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    error = answer.get("error")
    return error if isinstance(error, dict) else {}


def _message(answer: Mapping[str, Any], status: int) -> str:
    return " ".join(str(_about(answer).get("message") or f"status {status}").split())[:MAX_SHOWN_CHARS]


def _pause_s(retry_after: str | None, attempt: int) -> float:
    try:
        asked_s = float(retry_after) if retry_after is not None else float(2**attempt)
    except ValueError:
        asked_s = float(2**attempt)
    return min(MAX_PAUSE_S, max(0.0, asked_s)) if math.isfinite(asked_s) else MAX_PAUSE_S


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


# --- its run -----------------------------------------------------------------------------------------


class Costs(Protocol):
    async def of(self, request_ids: Sequence[str]) -> Decimal | None:
        """What these have cost together. None: it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class LedgerCosts:
    """From the run's rows: an attempt that failed may have cost something too."""

    client: ProxyClient
    run: str

    async def of(self, request_ids: Sequence[str]) -> Decimal | None:
        if not request_ids:
            return Decimal(0)
        wanted = set(request_ids)
        rows: Sequence[Row] = (await self.client.settled(self.run)).rows
        found = [row for row in rows if row.request_id in wanted]
        return cost_of(found) if {row.request_id for row in found} == wanted else None


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a judge sits: the judge, the name of its run, and what it costs."""

    judge: Judge
    run: str
    costs: Costs


@contextlib.asynccontextmanager
async def seated(settings: JudgeSettings, client: ProxyClient, name: str) -> AsyncIterator[Seat]:
    """With a run of its own, which ends with this. Raises ProxyError if there is no such model."""
    wish = RunWish(f"{name[:48]}-{secrets.token_hex(4)}", (settings.model,), RUN_TTL_S, settings.budget_usd)
    ticket = await client.begin_run(wish)
    try:
        async with aiohttp.ClientSession() as session:
            model = await _offered(session, client.url, ticket, settings.model)
            judge = HttpJudge(session, client.url, ticket, model, settings)
            yield Seat(judge, ticket.run, LedgerCosts(client, ticket.run))
    finally:
        await client.end_run(ticket.run)


async def _offered(session: aiohttp.ClientSession, url: str, ticket: RunTicket, name: str) -> JudgeModel:
    """The model as this run sees it, by its name or its role."""
    headers = {"authorization": f"Bearer {ticket.token}"}
    place = f"{url}/r/{quote(ticket.run, safe='')}/v1/models/{quote(name)}"
    limit = aiohttp.ClientTimeout(total=LIST_S)
    try:
        async with session.get(place, headers=headers, timeout=limit, allow_redirects=False) as response:
            status, row = response.status, _object(await bounded_body(response, MAX_REPLY_BYTES))
    except (TimeoutError, aiohttp.ClientError) as error:
        raise ProxyError(f"{place}: {str(error) or type(error).__name__}: see the server's log") from error
    if status != 200:
        raise ProxyError(f"there is no judge {name!r}: {_message(row, status)}")
    if (state := row.get("state")) in _CANNOT_ANSWER:
        raise ProxyError(f"the judge {name!r} cannot answer ({state}): take another, or see `hotseat doctor`")
    return judge_model(name, row)
