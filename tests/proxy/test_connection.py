"""Broken, hostile and slow HTTP on a raw socket: typed refusals, bounded, and nothing reaches a worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.config import Limits
from proxy.connection import LINGER_S, MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES
from tests.proxy.rig import Rig, Setup, question, run, serving

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = json.dumps(question()).encode()
SHORT = Limits(header_timeout_s=0.2, body_timeout_s=0.2)
LONG_ANSWER = '[[turn]]\ntext = "0123456789"\nrepeat = 2_000_000\nchunk_tokens = 1000\n'


class Raw:
    """A client that speaks bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """One response with a Content-Length."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def refusal(self) -> tuple[int, str]:
        """Status and code of a refusal after which the connection is closed."""
        status, headers, body = await self.response()
        assert headers["content-type"] == "application/json"
        assert await self.closed() == b""
        error = json.loads(body)["error"]
        assert error["hotseat"]["code"] == error["code"]
        return status, error["code"]

    async def closed(self) -> bytes:
        """What else comes until the server closes."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


@contextlib.asynccontextmanager
async def raw(rig: Rig) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=2**20)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def nothing_was_started(rig: Rig) -> None:
    """I1-I3 of every fault: the proxy answers, no request is left open, no worker was started."""
    assert await rig.get("/health") == {"status": "ok"}
    model = await rig.model("echo")
    assert (model["state"], model["leases"], model["queued"]) == ("unloaded", 0, 0)


def length(size: int, body: bytes = b"") -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (size, body)


MALFORMED = {
    "two lengths": POST + b"Content-Length: 2\r\n" + length(3, b"{}"),
    "the same length twice": POST + b"Content-Length: 2\r\n" + length(2, b"{}"),
    "length and chunked": POST + b"Transfer-Encoding: chunked\r\n" + length(2, b"0\r\n\r\n"),
    "chunked and length": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a list as length": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "absurd length": POST + b"Content-Length: 1%s\r\n\r\n" % (b"0" * 30),
    "bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    "negative chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    "chunk longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "unknown transfer encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nHost: localhost\n\n",
    "bare line feed in a header": b"GET /health HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "blank before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "folded header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "blank before the first header": b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "NUL in a header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    "carriage return in a header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
    "header without a colon": b"GET /health HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n",
    "no version": b"GET /health\r\n\r\n",
    "unknown version": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no method": b" /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "noise": b"\x00\xff\xfe hello\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_fault_1_malformed_http(tmp_path: Path, name: str) -> None:
    """Fault 1."""

    async def main() -> None:
        async with serving(tmp_path) as rig:
            for pieces in ([MALFORMED[name]], [bytes([byte]) for byte in MALFORMED[name]]):
                async with raw(rig) as client:
                    with contextlib.suppress(ConnectionError):
                        for piece in pieces:
                            await client.send(piece)
                    assert await client.refusal() == (400, "malformed_http")
            await nothing_was_started(rig)
            assert all(r["status"] == 499 for r in (await rig.get("/api/requests"))["requests"])

    run(main())


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        pytest.param(b"GET /%s HTTP/1.1\r\n" % (b"x" * MAX_URL_BYTES), (414, "url_too_long"), id="long URL"),
        pytest.param(b"GET /" + b"x" * 10**6, (414, "url_too_long"), id="endless URL"),
        pytest.param(
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n",
            (431, "headers_too_large"),
            id="many headers",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nX: " + b"y" * (MAX_HEAD_BYTES + 1),
            (431, "headers_too_large"),
            id="endless header",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n",
            (431, "headers_too_large"),
            id="large header, whole",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\n" + b"y" * 10**6, (431, "headers_too_large"), id="endless header name"
        ),
    ],
)
def test_fault_2_head_too_large(tmp_path: Path, data: bytes, answer: tuple[int, str]) -> None:
    """Fault 2."""

    async def main() -> None:
        async with serving(tmp_path) as rig, raw(rig) as client:
            client.writer.write(data)
            assert await client.refusal() == answer
            await nothing_was_started(rig)

    run(main())


def test_head_within_the_limits(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig, raw(rig) as client:
            headers = b"".join(b"X%d: %s\r\n" % (i, b"y" * 500) for i in range(MAX_HEADERS - 1))
            await client.send(HEALTH.replace(b"\r\n\r\n", b"\r\n" + headers + b"\r\n"))
            assert (await client.response())[0] == 200

    run(main())


@pytest.mark.parametrize("beginning", [b"", b"GET /heal", HEALTH[:-2], b"\r\n"])
def test_fault_4_head_deadline(tmp_path: Path, beginning: bytes) -> None:
    """Fault 4: a head that does not come, or stops."""

    async def main() -> None:
        async with serving(tmp_path, Setup(limits=SHORT)) as rig, raw(rig) as client:
            await client.send(beginning)
            assert await client.refusal() == (408, "request_head_timeout")
            await nothing_was_started(rig)

    run(main())


@pytest.mark.parametrize("drip", [HEALTH, b"\r\n" * 100], ids=["head", "empty lines"])
@pytest.mark.parametrize("first", [b"", HEALTH], ids=["first request", "second request"])
def test_fault_4_head_drip(tmp_path: Path, first: bytes, drip: bytes) -> None:
    """Fault 4: a byte now and then keeps no connection alive, before the first request or after it."""

    async def main() -> None:
        async with serving(tmp_path, Setup(limits=SHORT)) as rig, raw(rig) as client:
            if first:
                await client.send(first)
                assert (await client.response())[0] == 200
            dripping = asyncio.create_task(_drip(client, drip))
            assert await client.refusal() == (408, "request_head_timeout")
            dripping.cancel()

    run(main())


def test_fault_4_a_head_that_begins_behind_a_request(tmp_path: Path) -> None:
    """In one packet with it, and stops."""

    async def main() -> None:
        async with serving(tmp_path, Setup(limits=SHORT)) as rig, raw(rig) as client:
            await client.send(HEALTH + b"GET /heal")
            assert (await client.response())[0] == 200
            assert await client.refusal() == (408, "request_head_timeout")

    run(main())


async def _drip(client: Raw, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in data:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.03)


def test_fault_4_slow_body(tmp_path: Path) -> None:
    """Fault 4: the body has a deadline of its own."""

    async def main() -> None:
        async with serving(tmp_path, Setup(limits=SHORT)) as rig, raw(rig) as client:
            await client.send(POST + length(len(BODY)))
            dripping = asyncio.create_task(_drip(client, BODY))
            assert await client.refusal() == (408, "request_body_timeout")
            dripping.cancel()
            await nothing_was_started(rig)
            [record] = (await rig.get("/api/requests"))["requests"]
            assert (record["status"], record["fault"]) == (408, "client")

    run(main())


def test_fault_4_slow_connections_do_not_disturb_others(tmp_path: Path) -> None:
    """Fault 4: 300 half-sent heads; the server goes on answering."""

    async def main() -> None:
        async with serving(tmp_path) as rig, contextlib.AsyncExitStack() as stack:
            for _ in range(300):
                client = await stack.enter_async_context(raw(rig))
                await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost:")
            loop = asyncio.get_running_loop()
            begun = loop.time()
            assert await rig.get("/health") == {"status": "ok"}
            assert loop.time() - begun < 2.0
            status, _, _ = await rig.chat({})
            assert status == 200

    run(main())


def test_fault_3_declared_body_too_large(tmp_path: Path) -> None:
    """Fault 3: refused before any of it is read; a client that goes on sending can still read why."""

    async def main() -> None:
        async with serving(tmp_path, Setup(limits=Limits(max_body_bytes=1000))) as rig, raw(rig) as client:
            await client.send(POST + length(10**7))
            sending = asyncio.create_task(_pour(client))
            status, _, body = await client.response()
            assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
            begun = asyncio.get_running_loop().time()
            await client.closed()
            assert asyncio.get_running_loop().time() - begun < LINGER_S + 5
            sending.cancel()
            await nothing_was_started(rig)

    run(main())


def test_fault_3_undeclared_body_too_large(tmp_path: Path) -> None:
    """Fault 3: an endless chunked body."""

    async def main() -> None:
        async with serving(tmp_path, Setup(limits=Limits(max_body_bytes=100_000))) as rig, raw(rig) as client:
            await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            sending = asyncio.create_task(_pour(client, b"400\r\n" + b" " * 1024 + b"\r\n"))
            status, _, body = await client.response()
            assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
            await client.closed()
            sending.cancel()
            await nothing_was_started(rig)

    run(main())


async def _pour(client: Raw, piece: bytes = b" " * 1024) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await client.send(piece)
            await asyncio.sleep(0)


def test_a_refused_body_that_ends_leaves_the_connection_usable(tmp_path: Path) -> None:
    """Nothing of a refused body may be taken for the next request."""

    async def main() -> None:
        async with serving(tmp_path) as rig, raw(rig) as client:
            smuggled = HEALTH
            await client.send(
                POST.replace(b"application/json", b"text/plain") + length(len(smuggled), smuggled)
            )
            status, _, body = await client.response()
            assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_media_type")
            await client.send(HEALTH)
            status, _, body = await client.response()
            assert (status, body) == (200, b'{"status":"ok"}')

    run(main())


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig, raw(rig) as client:
            await client.send(
                POST + length(len(BODY), BODY) + HEALTH + b"GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            assert [(await client.response())[0] for _ in range(3)] == [200, 200, 404]

    run(main())


def test_long_bodies_do_not_count_as_heads(tmp_path: Path) -> None:
    """The last piece of a body, with the next head behind it, was once taken for a head that is too large."""

    async def main() -> None:
        async with serving(tmp_path, Setup(n_ctx=10**7)) as rig, raw(rig) as client:
            body = json.dumps(question("word " * 60_000)).encode()
            await client.send((POST + length(len(body), body)) * 3 + HEALTH)
            assert [(await client.response())[0] for _ in range(4)] == [200] * 4

    run(main())


@pytest.mark.parametrize("whole", [True, False], ids=["in one piece", "byte by byte"])
def test_offers_to_change_the_protocol_are_ignored(tmp_path: Path, whole: bool) -> None:
    """The body after such an offer was once lost, or read as a request of its own."""

    async def main() -> None:
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        data = POST + offer + length(len(BODY), BODY) + HEALTH
        async with serving(tmp_path) as rig, raw(rig) as client:
            for piece in [data] if whole else [bytes([byte]) for byte in data]:
                await client.send(piece)
            status, _, body = await client.response()
            assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "You said: hello")
            assert (await client.response())[2] == b'{"status":"ok"}'
            await client.send(POST + offer + length(len(HEALTH), HEALTH))
            assert (await client.response())[0] == 400
            await client.send(
                HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            )
            assert (await client.response())[0] == 200

    run(main())


def test_who_would_rather_have_a_websocket_is_told_to_do_without(tmp_path: Path) -> None:
    """As Codex does, which then goes on with HTTP."""

    async def main() -> None:
        async with serving(tmp_path) as rig, raw(rig) as client:
            ask = HEALTH.replace(b"/health", b"/v1/responses")
            await client.send(
                ask.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            )
            status, headers, body = await client.response()
            assert (status, headers["upgrade"]) == (426, "http/1.1")
            assert json.loads(body)["error"]["code"] == "no_websockets"
            await client.send(ask)
            assert (await client.response())[0] == 405

    run(main())


def test_expect_continue(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig, raw(rig) as client:
            await client.send(POST + b"Expect: 100-continue\r\n" + length(len(BODY)))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(BODY)
            assert (await client.response())[0] == 200

    run(main())


STREAM = json.dumps(question() | {"stream": True}).encode()


def test_half_a_request_behind_a_stream_does_not_end_it(tmp_path: Path) -> None:
    """The head deadline of the next request waits for the answer to this one."""

    async def main() -> None:
        script = '[[turn]]\ntext = "tick "\nrepeat = 10\ntokens_per_second = 16\n'
        async with serving(tmp_path, Setup({"echo": script}, limits=SHORT)) as rig, raw(rig) as client:
            await client.send(POST + length(len(STREAM), STREAM))
            await client.reader.readuntil(b"tick")
            await client.send(b"GET /health HTT")
            rest = await client.reader.readuntil(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            assert rest.count(b"tick") == 9
            assert await client.refusal() == (408, "request_head_timeout")

    run(main())


def test_noise_behind_a_stream_is_not_answered_into_it(tmp_path: Path) -> None:
    async def main() -> None:
        script = '[[turn]]\ntext = "tick "\nrepeat = 1000\ntokens_per_second = 50\n'
        async with serving(tmp_path, Setup({"echo": script})) as rig, raw(rig) as client:
            await client.send(POST + length(len(STREAM), STREAM))
            await client.reader.readuntil(b"tick")
            await client.send(b"\x00\x01\x02\r\n\r\n")
            rest = await client.closed()
            assert b"HTTP/1.1 400" not in rest
            assert b"[DONE]" not in rest
            await rig.until("echo", lambda model: model["leases"] == 0)

    run(main())


def test_client_that_pipelines_and_leaves(tmp_path: Path) -> None:
    """Both its requests are dropped, not only the one that came last."""

    async def main() -> None:
        script = '[[turn]]\ntext = "tick "\nrepeat = 100_000\ntokens_per_second = 50\n'
        async with serving(tmp_path, Setup({"echo": script}, n_ctx=10**8)) as rig:
            async with raw(rig) as client:
                await client.send((POST + length(len(STREAM), STREAM)) * 2)
                await client.reader.readuntil(b"tick")
            await rig.until("echo", lambda model: model["leases"] == 0)
            records = (await rig.get("/api/requests"))["requests"]
            assert {(record["status"], record["code"]) for record in records} == {(499, "client_gone")}

    run(main())


def test_noise_behind_a_waiting_pipeline(tmp_path: Path) -> None:
    async def main() -> None:
        script = '[[turn]]\ntext = "tick "\nrepeat = 100_000\ntokens_per_second = 50\n'
        async with serving(tmp_path, Setup({"echo": script}, n_ctx=10**8)) as rig, raw(rig) as client:
            await client.send(POST + length(len(STREAM), STREAM))
            await client.reader.readuntil(b"tick")
            await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n")
            assert b"HTTP/1.1" not in await client.closed()
            await rig.until("echo", lambda model: model["leases"] == 0)

    run(main())


def test_fault_13_client_that_does_not_read_loses_its_slot(tmp_path: Path) -> None:
    """Fault 13: the buffer is bounded, and the slot comes back at the stall deadline."""

    async def main() -> None:
        setup = Setup({"echo": LONG_ANSWER}, limits=Limits(client_stall_s=0.3), slots=1, n_ctx=10**8)
        async with serving(tmp_path, setup) as rig, raw(rig) as client:
            await client.send(POST + length(len(STREAM), STREAM))
            await client.reader.readuntil(b"0123456789")
            cast(asyncio.Transport, client.writer.transport).pause_reading()
            await rig.until("echo", lambda model: model["leases"] == 1)
            await rig.until("echo", lambda model: model["leases"] == 0)
            [record] = (await rig.get("/api/requests"))["requests"]
            assert (record["status"], record["code"]) == (499, "client_gone")

    run(main())


def test_slow_reader_within_the_deadline_gets_everything(tmp_path: Path) -> None:
    async def main() -> None:
        script = '[[turn]]\ntext = "0123456789"\nrepeat = 300_000\nchunk_tokens = 100\n'
        setup = Setup({"echo": script}, limits=Limits(client_stall_s=30.0), n_ctx=10**8)
        async with serving(tmp_path, setup) as rig, raw(rig) as client:
            await client.send(POST + b"Connection: close\r\n" + length(len(STREAM), STREAM))
            received = bytearray()
            while piece := await client.reader.read(2**17):
                received += piece
                await asyncio.sleep(0.002)
            assert received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            assert _text(bytes(received)) == "0123456789" * 300_000

    run(main())


def _text(response: bytes) -> str:
    """The text of a chunked stream of chunks."""
    _, _, rest = response.partition(b"\r\n\r\n")
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    lines = [
        line.removeprefix(b"data: ") for line in bytes(body).split(b"\n\n") if line.startswith(b"data: {")
    ]
    chunks: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
