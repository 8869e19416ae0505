"""What the ledger says was spent is what the providers billed: over two thousand mixed requests with retries,
fallbacks, cancellations and broken streams, model by model, to the last digit; and over a server that is
killed, except for what it says was under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sqlite3
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import aiohttp

from tests.fake_answers import Answer, Price, Tokens, last_words
from tests.fake_openrouter import openrouter, openrouter_url
from tests.fake_provider import Asked, Bill, Billed, FakeProvider, total
from tests.fake_wire import Failure, Reply, Response, Wire
from tests.fake_zai import NO_BALANCE, OVERLOADED, anthropic_url, general_url, zai
from tests.proxy.remote_rig import KEYS, SCRIPT
from tests.proxy.rig import Rig, run, serving_file
from tests.proxy.served import serving_config

LANES = 25
PER_LANE = 80
RUN = "mix"
"""Each lane asks one after the other and has models of its own: a provider's model that fails five times in a
row is left alone for a while, and whether it was five must not depend on who came first."""

Way = Literal["chat", "chat stream", "messages", "messages stream", "responses", "responses stream"]


@dataclass(frozen=True)
class Kind:
    """One sort of request: to which of the lane's models, in which way, and what the provider does about it,
    attempt by attempt. `leaves`: the client goes after that many events."""

    model: str
    way: Way
    responses: tuple[Response | None, ...] = (None,)  # None: a good answer
    status: int = 200
    wire: Wire = field(default_factory=Wire)
    leaves: int | None = None
    is_broken: bool = False


KINDS = [
    Kind("or", "chat"),
    Kind("or", "chat", (Failure(502),) * 3, status=502),
    Kind("or", "chat stream"),
    Kind("careful", "chat stream", (Failure(502),) * 3),  # and then the lane's GLM
    Kind("or", "messages stream", wire=Wire(comments=True)),
    Kind("or", "chat stream", wire=Wire(ends_at=900, resets=True), is_broken=True),
    Kind("z", "responses stream"),
    Kind("or", "responses"),
    Kind("or", "messages stream", wire=Wire(error_after=2), is_broken=True),
    Kind("or", "chat stream", wire=Wire(n_usage=2)),
    Kind("or", "chat", wire=Wire(ends_at=30, resets=True), status=502),
    Kind("zm", "messages"),
    Kind("zm", "messages stream"),
    Kind("zm", "messages", wire=Wire(ends_at=30, resets=True), status=502),
    Kind("zm", "messages stream", wire=Wire(stall_after=4), leaves=1),
    Kind("z", "chat", (NO_BALANCE,), status=402),
    Kind("z", "chat", (OVERLOADED, None)),
    Kind("zm", "messages stream", (OVERLOADED, OVERLOADED, None)),
    Kind("or", "chat stream", wire=Wire(stall_after=3), leaves=1),
    Kind("or", "chat", (Failure(503), Failure(429), None)),
    Kind("z", "messages stream", wire=Wire(stall_after=1), leaves=1),
    Kind("z", "chat stream", wire=Wire(has_done=False)),
    Kind("or", "chat", (Failure(200, "Provider returned error", 502), None)),
    Kind("or", "chat stream", (Failure(200, "overloaded", 503, as_event=True), None)),
    Kind("or", "chat", wire=Wire(stall_after=0), leaves=0),
    Kind("or", "chat", (Failure(400, "too strange"),), status=400),
    Kind("echo", "chat"),
    Kind("nobody", "chat", status=404),
]


def prices(prefix: str) -> dict[str, Price]:
    """A price for each lane's model, with digits of its own."""
    return {
        f"{prefix}{lane}": Price(
            Decimal("0.0000003") + Decimal(lane) / 10**11,
            Decimal("0.0000150000000000000007") + Decimal(lane) / 10**9,
            Decimal("0.00000003") + Decimal(lane) / 10**12,
            Decimal("0.000000375"),
        )
        for lane in range(LANES)
    }


def good(number: int) -> Answer:
    """Its length and its classes of tokens differ from request to request."""
    return Answer(
        "word " * (2 + number % 4),
        reasoning="hm " * (number % 3),
        cached=number % 4,
        cache_write=number % 2,
    )


class Scripted:
    """What each prompt ("kind number") is answered, attempt by attempt."""

    def __init__(self) -> None:
        self._attempts: Counter[tuple[str, str]] = Counter()
        self.arrivals: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def __call__(self, asked: Asked) -> Response:
        prompt = last_words(asked.body)
        self.arrivals[prompt].set()
        kind, number = (int(word) for word in prompt.split())
        tries = self._attempts[asked.body["model"], prompt]
        self._attempts[asked.body["model"], prompt] += 1
        chosen = KINDS[kind]
        failed = chosen.responses[tries] if tries < len(chosen.responses) else None
        fell_back = chosen.model == "careful" and asked.body["model"].startswith("glm-")
        answer = good(number)
        if not asked.path.startswith("/api/v1"):  # Z.ai tells nothing of tokens that were written to a cache,
            answer = replace(answer, cache_write=0)
        if asked.path.startswith("/api/anthropic"):  # nor, there, of those that were thought
            answer = replace(answer, reasoning="")
        reply = Reply(answer, chosen.wire)
        return reply if failed is None or fell_back else failed


def config(openrouter_at: str, general: str, messages: str) -> str:
    lanes = range(LANES)
    routes = "".join(
        f"""
[routes.or{lane}]
provider = "openrouter"
model = "vendor/m{lane}"
[routes.careful{lane}]
provider = "openrouter"
model = "vendor/m{lane}"
fallbacks = ["z{lane}"]
[routes.z{lane}]
provider = "zai"
model = "glm-{lane}"
[routes.zm{lane}]
provider = "zai-messages"
model = "glm-{lane}"
"""
        for lane in lanes
    )
    quick = 'retry_delay = "1ms"'
    return f"""
[server.limits]
keepalive = 30
[models.echo]
path = "echo.toml"
engine = "scripted"
[providers.openrouter]
base_url = "{openrouter_at}"
{quick}
[providers.zai]
base_url = "{general}"
{quick}
[providers.zai-messages]
base_url = "{messages}"
{quick}
[prices]
book = "./book.toml"
{routes}"""


def book(of: Mapping[str, Price]) -> str:
    """Z.ai says no cost: it comes from the book."""
    return "".join(
        f"""
[[price]]
provider = "{provider}"
model = "{model}"
date = 2026-01-01
source = "the fake's own list"
input = "{price.prompt:f}"
output = "{price.completion:f}"
cached_input = "{price.cached:f}"
"""
        for provider in ("zai", "zai-messages")
        for model, price in of.items()
    )


def write(folder: Path, far: FakeProvider, further: FakeProvider) -> Path:
    (folder / "echo.toml").write_text(SCRIPT)
    (folder / "book.toml").write_text(book(prices("glm-")))
    path = folder / "models.toml"
    path.write_text(config(openrouter_url(far), general_url(further), anthropic_url(further)))
    return path


# --- asking ------------------------------------------------------------------------------------


PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}


def body_of(way: Way, model: str, prompt: str) -> dict[str, Any]:
    dialect, _, streamed = way.partition(" ")
    body: dict[str, Any] = {"model": model, "stream": bool(streamed)}
    if dialect == "responses":
        return body | {"input": prompt}
    messages = [{"role": "user", "content": prompt}]
    limit: dict[str, Any] = {"max_tokens": 500} if dialect == "messages" else {}
    if dialect == "messages":
        limit["thinking"] = {"type": "enabled", "budget_tokens": 400}
    return body | {"messages": messages} | limit


async def ask(http: aiohttp.ClientSession, url: str, kind: Kind, model: str, prompt: str) -> None:
    """As a client that knows what to expect. One that leaves closes its connection."""
    path = PATHS[kind.way.partition(" ")[0]]
    async with http.post(f"{url}/r/{RUN}{path}", json=body_of(kind.way, model, prompt)) as response:
        assert response.status == kind.status, (kind, await response.text())
        seen = 0
        text = b""
        async for line in response.content:
            text += line
            seen += line.startswith(b"data:") and b"message_start" not in line
            if kind.leaves is not None and seen > kind.leaves:
                response.close()
                return
        is_error = re.search(rb'"error": ?\{', text) is not None
        assert is_error == (kind.is_broken or kind.status != 200), (kind, text)


@dataclass(frozen=True)
class Storm:
    rig: Rig
    far: FakeProvider
    further: FakeProvider
    script: Scripted

    async def lane(self, number: int) -> None:
        for i in range(PER_LANE):
            which = (number * 7 + i) % len(KINDS)
            kind = KINDS[which]
            prompt = f"{which} {number * PER_LANE + i}"
            model = kind.model if kind.model in ("echo", "nobody") else f"{kind.model}{number}"
            asking = ask(self.rig.http, self.rig.url, kind, model, prompt)
            if kind.leaves != 0:
                await asking
                continue
            task = asyncio.create_task(asking)
            await self.script.arrivals[prompt].wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def storm(folder: Path) -> AsyncIterator[Storm]:
    far, further = openrouter(prices("vendor/m")), zai(prices("glm-"))
    script = Scripted()
    far.respond(script)
    further.respond(script)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(far.running())
        await stack.enter_async_context(further.running())
        path = write(folder, far, further)
        rig = await stack.enter_async_context(serving_file(path, **dict[str, Any](KEYS)))
        yield Storm(rig, far, further, script)


# --- comparing ---------------------------------------------------------------------------------


def billed_by_model(bills: Iterable[Bill]) -> dict[str, Billed]:
    by_model: dict[str, list[Bill]] = {}
    for bill in bills:
        by_model.setdefault(bill.model, []).append(bill)
    return {model: total(of) for model, of in by_model.items()}


def booked_by_model(nodes: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Tokens, Decimal]]:
    """Providers' models only."""
    booked: dict[str, tuple[Tokens, Decimal]] = {}
    for node in nodes:
        if node["upstream"] not in ("openrouter", "zai", "zai-messages"):
            continue
        tokens, cost = booked.get(node["model"], (Tokens(), Decimal(0)))
        more = Tokens(
            node["input_tokens"],
            node["output_tokens"],
            node["cached_tokens"],
            node["cache_write_tokens"],
            node["reasoning_tokens"],
        )
        booked[node["model"]] = (tokens + more, cost + Decimal(node["cost_usd"]))
    return booked


def test_two_thousand_mixed_requests(tmp_path: Path) -> None:
    async def main() -> None:
        async with storm(tmp_path) as over:
            async with asyncio.TaskGroup() as lanes:
                for number in range(LANES):
                    lanes.create_task(over.lane(number))
            far, further = over.far, over.further
            report = await settled(over)
            totals = report["totals"]
            assert totals["requests"] == 2000
            posted = len(far.posted) + len(further.posted)
            assert totals["attempts"] - local_attempts(report) == posted
            bills = [*far.bills, *further.bills]
            told = billed_by_model(bill for bill in bills if bill.was_told)
            booked = booked_by_model(report["nodes"])
            assert {model: (of.tokens, of.cost) for model, of in told.items()} == booked
            assert totals["unpriced"] == sum(not bill.was_told for bill in bills) > 0
        check_file(tmp_path, bills)

    run(main(), patience_s=110.0)


def local_attempts(report: Mapping[str, Any]) -> int:
    return sum(node["attempts"] for node in report["nodes"] if node["upstream"] == "local")


async def settled(storm: Storm) -> Any:
    """The report, once the server knows of the end of those whose clients have left."""
    for fake in (storm.far, storm.further):
        await fake.until(lambda fake=fake: fake.n_running == 0)  # type: ignore[misc]
    while True:
        async with storm.rig.http.get(f"{storm.rig.url}/api/runs/{RUN}") as response:
            report = json.loads(await response.text(), parse_float=Decimal)
        if report["totals"]["requests"] == LANES * PER_LANE:
            return report


def check_file(folder: Path, bills: Iterable[Bill]) -> None:
    """The file itself, without Hotseat: another program reads the same sum."""
    (path,) = folder.rglob("ledger.sqlite3")
    with sqlite3.connect(path) as database:
        costs = database.execute(
            "SELECT cost_usd FROM attempts WHERE upstream != 'local' AND cost_usd IS NOT NULL"
        )
        spent = sum((Decimal(cost) for (cost,) in costs), Decimal(0))
    database.close()
    assert spent == total([bill for bill in bills if bill.was_told]).cost


# --- a server that is killed -------------------------------------------------------------------

AT_ONCE = 40
ENOUGH = 150


def test_a_killed_server_loses_only_what_it_reports(tmp_path: Path) -> None:
    """SIGKILL amid a storm. Started again, its books have every request whose answer a client has had, at the
    provider's own cost, and name as lost those that had none."""
    far, further = openrouter(prices("vendor/m")), zai(prices("glm-"))
    held = Wire(stall_after=2)

    def respond(asked: Asked) -> Response:
        _, number = (int(word) for word in last_words(asked.body).split())
        return Reply(good(number), held if number % 10 == 9 else Wire())

    far.respond(respond)
    with far.in_thread(), further.in_thread():
        path = write(tmp_path, far, further)
        with serving_config(tmp_path, path, **KEYS) as served:
            answered = asyncio.run(
                half_a_storm(served.url, far, lambda: served.process.send_signal(signal.SIGKILL))
            )
            served.process.wait()
        with serving_config(tmp_path, path, **KEYS) as served:
            report, rows = asyncio.run(read_back(served.url))
            served.stop()
    lost = [row for row in rows if row["code"] == "lost"]
    others = [row for row in rows if row["code"] != "lost"]
    assert 10 <= len(lost) <= AT_ONCE, "never more than were under way"
    booked = {row["request_id"]: Decimal(str(row["cost_usd"])) for row in others}
    reported = {row["request_id"] for row in lost}
    assert len(answered) >= ENOUGH
    for request_id, cost in answered.items():
        assert request_id in reported or booked[request_id] == cost
    assert 0 <= len(rows) - len(far.posted) <= len(lost), "nothing was asked that is in no book"
    told = [bill for bill in far.bills if bill.was_told]
    in_books = sum((Decimal(str(row["cost_usd"])) for row in others), Decimal(0))
    missing = total(told).cost - in_books
    most = sum(sorted((bill.cost for bill in told), reverse=True)[: len(lost)], Decimal(0))
    assert 0 <= missing <= most, "what is missing was under way, and is reported"
    assert report["totals"]["attempts"] == len(rows)


async def half_a_storm(url: str, far: FakeProvider, kill: Callable[[], None]) -> dict[str, Decimal]:
    """Requests until enough are answered and ten hang; then the server is killed. The cost, by
    id, of what was answered to its end."""
    answered: dict[str, Decimal] = {}
    hanging = asyncio.Semaphore(0)
    enough = asyncio.Event()

    async def one(http: aiohttp.ClientSession, number: int) -> None:
        body = body_of("chat stream", f"or{number % LANES}", f"0 {number}")
        async with http.post(f"{url}/r/{RUN}/v1/chat/completions", json=body) as response:
            cost = None
            async for line in response.content:
                if b'"usage"' in line:
                    usage = json.loads(line.removeprefix(b"data: "), parse_float=Decimal)["usage"]
                    cost = Decimal(usage["cost"])
                if line == b"data: [DONE]\n" and cost is not None:
                    answered[response.headers["x-hotseat-request-id"]] = cost
                if number % 10 == 9:
                    hanging.release()
            if len(answered) >= ENOUGH:
                enough.set()

    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as http:
        tasks = [asyncio.create_task(one(http, number)) for number in range(300)]
        await asyncio.wait_for(enough.wait(), 30)
        for _ in range(10):
            await asyncio.wait_for(hanging.acquire(), 30)
        kill()
        await asyncio.gather(*tasks, return_exceptions=True)
    return answered


async def read_back(url: str) -> tuple[Any, list[Any]]:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/api/runs/{RUN}") as response:
            report = json.loads(await response.text(), parse_float=Decimal)
        async with http.get(f"{url}/api/requests?run={RUN}&limit=1000") as response:
            rows = json.loads(await response.text(), parse_float=Decimal)["requests"]
    return report, rows
