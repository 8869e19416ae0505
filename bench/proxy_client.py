"""A running Hotseat, asked over HTTP: runs and their rows, models and their loads.

Every answer is bounded in size and time. What goes wrong is a ProxyError of one line with its remedy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import aiohttp
from pydantic import ValidationError

from bench.errors import ProxyError
from bench.evidence import Row, wire_of
from bench.watch import NOTHING_YET, Wire

ANSWER_S = 30.0
LOAD_S = 1800.0
MAX_ANSWER_BYTES = 64 * 2**20
MAX_SHOWN_CHARS = 300
PAGE = 1000
"""As many rows as the server gives at once."""

MAX_PAGES = 1000
RECENT_ROWS = 200
"""Asked for while a run goes on; if all of them are new, the ones before are asked for too."""

_NOT_THERE = ("unloaded", "failed", "unavailable")

SETTLE_S = 10.0
SETTLE_INTERVAL_S = 0.05
"""When a harness has gone, its last requests end a moment later."""


@dataclass(frozen=True, slots=True)
class RunWish:
    """What a run may do. What is None, empty or "native" is not said, so that every server understands.
    `aliases`: what the run calls models -> what the server calls them; `record`, `replay`: a recording;
    `volatile`: texts that the digests of prompts leave out."""

    name: str
    models: tuple[str, ...]
    ttl_s: float
    budget_usd: Decimal | None = None
    policy: str = "native"
    aliases: Mapping[str, str] = field(default_factory=dict)
    context: int | None = None
    record: str | None = None
    replay: str | None = None
    volatile: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        said: dict[str, Any] = {"name": self.name, "models": list(self.models), "ttl_s": self.ttl_s}
        said |= {} if self.budget_usd is None else {"budget_usd": str(self.budget_usd)}
        said |= {} if self.policy == "native" else {"policy": self.policy}
        terms = {"context": self.context, "record": self.record, "replay": self.replay}
        said |= {"aliases": dict(self.aliases)} if self.aliases else {}
        said |= {"volatile": list(self.volatile)} if self.volatile else {}
        return said | {name: value for name, value in terms.items() if value is not None}


@dataclass(frozen=True, slots=True)
class RunTicket:
    run: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What a server tells of a run that its rows do not. `sampling`: what requests said, by role. None: it
    does not say."""

    sampling: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    loads: int | None = None
    load_waits: int | None = None


@dataclass(frozen=True, slots=True)
class ModelNow:
    """A local model as /api/state shows it. `engine` "", `sampling` empty: not loaded, so it has not said."""

    name: str
    state: str
    slots: int
    engine: str
    footprint_bytes: int = 0
    pinned: bool = False
    n_ctx: int | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)  # where requests are silent


@dataclass(frozen=True, slots=True)
class StateNow:
    """`used_bytes` of a GPU's memory, by whomever; None: there is no GPU."""

    models: Mapping[str, ModelNow]
    swaps: int
    used_bytes: int | None
    budget_bytes: int = 0  # for all models that are loaded at once; 0: not said


@dataclass(frozen=True, slots=True)
class Listed:
    rows: tuple[Row, ...]
    raw: tuple[dict[str, Any], ...]
    in_flight: int


class ProxyClient:
    """`key` None: the server asks for none. Close the session that it is given, not this."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None) -> None:
        self.url = url
        self._session = session
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    # --- runs --------------------------------------------------------------------------------------

    async def begin_run(self, wish: RunWish) -> RunTicket:
        answer = await self._ask("POST", "/api/runs", wish.body())
        run, token = answer.get("run"), answer.get("token")
        if not isinstance(run, str) or not isinstance(token, str):
            raise ProxyError(f"{self.url}/api/runs gave no token: is it a Hotseat of this version?")
        return RunTicket(run, token)

    async def end_run(self, run: str) -> RunEnd:
        """Its token is worth nothing from now on. A run that has ended already is no error."""
        try:
            answer = await self._ask("DELETE", f"/api/runs/{quote(run, safe='')}")
        except ProxyError:
            return RunEnd()
        return _run_end(answer)

    async def newest(self, run: str, limit: int = PAGE, until: float | None = None) -> Listed:
        """Rows of a run by their end, the last first; `until`: that ended then or before."""
        asked = f"/api/requests?run={quote(run, safe='')}&limit={limit}"
        answer = await self._ask("GET", asked if until is None else f"{asked}&until={until!r}")
        raw, in_flight = answer.get("requests"), answer.get("in_flight")
        if not isinstance(raw, list) or not isinstance(in_flight, int):
            raise ProxyError(f"{self.url}/api/requests gave no rows: is it a Hotseat of this version?")
        if answer.get("incomplete"):
            raise ProxyError(f"{self.url}: rows of the run are missing: {answer['incomplete']}")
        try:
            return Listed(tuple(Row.model_validate(row) for row in raw), tuple(raw), in_flight)
        except ValidationError as error:
            first = error.errors()[0]
            raise ProxyError(f"{self.url}/api/requests: {first['loc']}: {first['msg']}") from error

    async def settled(self, run: str) -> Listed:
        """Every row of a run, when the last of its requests has ended, or SETTLE_S have passed."""
        listed = await RunFeed(self, run).whole()
        if not listed.in_flight:  # nearly always
            return listed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while (await self.newest(run, 1)).in_flight:  # noqa: ASYNC110 - it is in another process
                    await asyncio.sleep(SETTLE_INTERVAL_S)
        return await RunFeed(self, run).whole()

    # --- models ------------------------------------------------------------------------------------

    async def state(self) -> StateNow:
        answer = await self._ask("GET", "/api/state")
        try:
            models = {row["name"]: _model_now(row) for row in answer["models"]}
            device, swaps = answer["device"], int(answer["swaps"])
            total, free = device.get("total_bytes"), device.get("free_bytes")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProxyError(f"{self.url}/api/state is not as expected: is it Hotseat?") from error
        known = isinstance(total, int) and isinstance(free, int) and device.get("kind") == "cuda"
        budget = device.get("budget_bytes")
        budget_bytes = budget if isinstance(budget, int) else 0
        return StateNow(models, swaps, total - free if known else None, budget_bytes)

    async def model_file(self, model: str) -> str:
        """What its file is, in a way that is the same on other machines; "": it is of none, or not known."""
        try:
            answer = await self._ask("GET", f"/api/models/{quote(model, safe='')}/file")
        except ProxyError:
            return ""  # it is for the record, and no reason to lose a trial
        return str(answer.get("identity") or "")

    async def load(self, model: str) -> None:
        """Returns when it is ready."""
        await self._ask("POST", f"/api/models/{quote(model, safe='')}/load", limit_s=LOAD_S)

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, limit_s: float = ANSWER_S
    ) -> dict[str, Any]:
        try:
            async with self._session.request(
                method,
                self.url + path,
                json=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=limit_s),
                allow_redirects=False,
            ) as response:
                status, data = response.status, await bounded_body(response, MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise ProxyError(f"{self.url}{path} gave no answer within {limit_s:g} s: see its log") from error
        except aiohttp.ClientError as error:
            said = str(error) or type(error).__name__
            raise ProxyError(
                f"no server at {self.url} ({said}): start one with scripts/serve, or name it with --url"
            ) from error
        answer = _object(data)
        if status not in (200, 201):
            raise ProxyError(f"{self.url}{path}: status {status}: {_message(answer)}")
        if answer is None:
            raise ProxyError(f"{self.url}{path} answered with no JSON object: is it Hotseat?")
        return answer


class RunFeed:
    """A run's rows, asked for again and again while it goes on; for process.run. Of a GPU, its memory too.
    `models`: of the run, by the server's names."""

    def __init__(
        self, client: ProxyClient, run: str, *, has_gpu: bool = False, models: Collection[str] = ()
    ) -> None:
        self._client = client
        self._run = run
        self._has_gpu = has_gpu
        self._models = models
        self.peak_bytes: int | None = None
        self.peak_models_bytes: int | None = None
        self._rows: dict[tuple[str, int], tuple[Row, dict[str, Any]]] = {}
        self._in_flight = 0
        self._last = NOTHING_YET

    async def wire(self) -> Wire:
        """A server that does not answer now has seen nothing new: a harness that goes on without it ends by
        itself, or is ended as silent."""
        with contextlib.suppress(ProxyError):
            await self._read(RECENT_ROWS)
            self._last = wire_of([row for row, _ in self._rows.values()], self._in_flight)
            if self._has_gpu:
                self.saw_memory(await self._client.state())
        return self._last

    def saw_memory(self, state: StateNow) -> None:
        """The peaks are the most that was seen."""
        if state.used_bytes is not None:
            self.peak_bytes = max(state.used_bytes, self.peak_bytes or 0)
            known = (state.models[name] for name in self._models if name in state.models)
            held = sum(model.footprint_bytes for model in known if model.state not in _NOT_THERE)
            self.peak_models_bytes = max(held, self.peak_models_bytes or 0)

    async def whole(self) -> Listed:
        """Every row, the oldest first."""
        await self._read(PAGE, to_the_end=True)
        found = sorted(self._rows.values(), key=lambda both: (both[0].ended_at, both[0].attempt))
        return Listed(tuple(row for row, _ in found), tuple(raw for _, raw in found), self._in_flight)

    async def _read(self, limit: int, *, to_the_end: bool = False) -> None:
        page = await self._client.newest(self._run, limit)
        self._in_flight = page.in_flight
        for _ in range(MAX_PAGES):
            is_full = len(page.rows) >= limit
            is_new = self._keep(page.rows, page.raw)
            if not is_full or not (is_new or to_the_end):
                return
            limit, until = PAGE, page.rows[-1].ended_at
            page = await self._client.newest(self._run, limit, until)
            if page.rows and page.rows[-1].ended_at == until == page.rows[0].ended_at:
                return  # nothing but what ended at that moment
        raise ProxyError(f"the run {self._run} has more than {MAX_PAGES * PAGE} rows: lower caps.requests")

    def _keep(self, rows: Sequence[Row], raw: Sequence[dict[str, Any]]) -> bool:
        """Whether all of them were new."""
        before = len(self._rows)
        self._rows |= {
            (row.request_id, row.attempt): (row, as_said) for row, as_said in zip(rows, raw, strict=True)
        }
        return len(self._rows) == before + len(rows)


@contextlib.asynccontextmanager
async def connected(url: str, key: str | None) -> AsyncIterator[ProxyClient]:
    async with aiohttp.ClientSession() as session:
        yield ProxyClient(session, url, key)


def _model_now(row: Mapping[str, Any]) -> ModelNow:
    facts = row.get("facts")
    facts = facts if isinstance(facts, dict) else {}
    engine, n_ctx, sampling = facts.get("engine_build"), facts.get("n_ctx"), facts.get("sampling")
    footprint = row.get("footprint_bytes")
    return ModelNow(
        name=str(row["name"]),
        state=str(row["state"]),
        slots=int(row["slots"]),
        engine=str(engine or ""),
        footprint_bytes=footprint if isinstance(footprint, int) else 0,
        pinned=row.get("pinned") is True,
        n_ctx=n_ctx if isinstance(n_ctx, int) else None,
        sampling={
            name: value
            for name, value in (sampling.items() if isinstance(sampling, dict) else ())
            if isinstance(value, int | float)
        },
    )


def _run_end(answer: Mapping[str, Any]) -> RunEnd:
    loads, waits, sampling = answer.get("loads"), answer.get("load_waits"), answer.get("sampling")
    return RunEnd(
        sampling={
            str(role): tuple(str(wish)[:MAX_SHOWN_CHARS] for wish in wishes)
            for role, wishes in (sampling.items() if isinstance(sampling, dict) else ())
            if isinstance(wishes, list)
        },
        loads=loads if isinstance(loads, int) else None,
        load_waits=waits if isinstance(waits, int) else None,
    )


async def bounded_body(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Raises ProxyError."""
    data = bytearray()
    async for part in response.content.iter_any():
        data += part
        if len(data) > limit_bytes:
            raise ProxyError(f"{response.url}: more than {limit_bytes} bytes: is it Hotseat?")
    return bytes(data)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _message(answer: Mapping[str, Any] | None) -> str:
    """Of an error in Hotseat's shape, in one line."""
    error = (answer or {}).get("error")
    said = error.get("message") if isinstance(error, dict) else None
    return " ".join(str(said or "no reason given").split())[:MAX_SHOWN_CHARS]
