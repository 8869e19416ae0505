"""The HTTP client against servers that say every byte as they are told to: framing at every cut, what is no
answer, what is too much, when a connection is used again, and when it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream_errors import BadAnswer, Broken, Silent, Unreachable, UpstreamError
from proxy.upstreams.http_client import Deadlines, HttpAnswer, HttpClient, request_head
from proxy.upstreams.http_connection import HELD_BYTES, MAX_OVERHEAD_BYTES, HttpConnection
from proxy.upstreams.http_pool import HttpPool, address_of
from tests.proxy.raw_server import RawServer, raw_server
from tests.proxy.rig import run
from tests.proxy.served import self_signed, unused_address

T = TypeVar("T")

SOON = Deadlines(connect_s=5.0, first_byte_s=20.0, idle_s=20.0)
QUICK = Deadlines(connect_s=0.2, first_byte_s=0.2, idle_s=0.2)
OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"content-type: application/json\r\n"


def of_length(body: bytes, *headers: bytes, status: bytes = OK) -> bytes:
    return status + b"".join(headers) + b"content-length: %d\r\n\r\n" % len(body) + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    said = b"".join(b"%x;why=because\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return OK + b"transfer-encoding: chunked\r\n\r\n" + said + end


ABC = of_length(b"abc")


class Wire(asyncio.Transport):
    """The other end of a connection, without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.has_ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def is_closing(self) -> bool:
        return self.has_ended

    def close(self) -> None:
        self.has_ended = True

    def abort(self) -> None:
        self.has_ended = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def heard(
    pieces: Sequence[bytes], *, ends: bool = False, limit_s: float = 20.0
) -> tuple[int, str, bytes, bool]:
    """Status, media type, body of an answer that comes in `pieces`, and whether the connection may be used
    again: the same whether its reader runs after each of them or after all."""

    async def main(*, is_read_at_once: bool) -> tuple[int, str, bytes, bool]:
        loop = asyncio.get_running_loop()
        plain, _ = pair = socket.socketpair()
        connection = HttpConnection(loop, plain, lambda _: None)
        connection.connection_made(Wire())

        async def read() -> tuple[int, str, bytes, bool]:
            await connection.ask(b"?", limit_s)
            answer = HttpAnswer(connection, loop, loop.time() + limit_s, limit_s)
            body = await answer.read()
            return answer.status, answer.media_type, body, connection.release()

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        for piece in pieces:
            if not reading.done():
                connection.data_received(piece)
            if is_read_at_once:
                await asyncio.sleep(0)
        if ends:
            connection.connection_lost(None)
        for end in pair:
            end.close()
        return await reading

    told = [_outcome(main(is_read_at_once=is_read_at_once)) for is_read_at_once in (False, True)]
    assert str(told[0]) == str(told[1])
    if isinstance(told[0], UpstreamError):
        raise told[0]
    return told[0]


def _outcome(main: Coroutine[None, None, T]) -> T | UpstreamError:
    try:
        return run(main)
    except UpstreamError as error:
        return error


def cuts(said: bytes) -> list[list[bytes]]:
    """Whole, in two at every place, and byte by byte."""
    in_two = [[said[:at], said[at:]] for at in range(1, len(said))]
    return [[said], *in_two, [bytes([byte]) for byte in said]]


async def ask(server: RawServer, client: HttpClient, deadlines: Deadlines = SOON) -> tuple[int, str, bytes]:
    async with client.post(f"{server.url}/v1/x?y=1", b'{"a":1}', deadlines, {"x-mine": "yes"}) as answer:
        return answer.status, answer.media_type, await answer.read()


def answered(*answers: bytes | Sequence[bytes], count: int = 1) -> tuple[list[tuple[int, str, bytes]], int]:
    """What `count` requests in a row are answered, and over how many connections."""

    async def main() -> tuple[list[tuple[int, str, bytes]], int]:
        async with raw_server(*answers) as server, HttpClient(keep_connections=True) as client:
            got = [await ask(server, client) for _ in range(count)]
            return got, len(server.asked)

    return run(main())


WHOLE: dict[str, tuple[bytes, int, str, bytes]] = {
    "length": (of_length(b'{"a": 1}', JSON), 200, "application/json", b'{"a": 1}'),
    "empty": (of_length(b""), 200, "", b""),
    "chunked": (chunked(b"abc", b"d" * 300), 200, "", b"abc" + b"d" * 300),
    "trailers": (chunked(b"abc", end=b"0\r\nx-late: yes\r\ncontent-type: text/x\r\n\r\n"), 200, "", b"abc"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "", b""),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + of_length(b"abc"), 200, "", b"abc"),
    "hints": (
        b"HTTP/1.1 103 Early Hints\r\ncontent-type: text/x\r\n\r\n" * 2 + of_length(b"abc", JSON),
        200, "application/json", b"abc",
    ),
    "an error": (of_length(b"no", status=b"HTTP/1.1 503 Later\r\n"), 503, "", b"no"),
    "type": (of_length(b"x", b"Content-TYPE: Text/X ; charset=utf-8\r\n"), 200, "text/x", b"x"),
    "the first of two": (of_length(b"x", JSON, b"content-type: text/x\r\n"), 200, "application/json", b"x"),
}  # fmt: skip
TO_THE_END: dict[str, bytes] = {
    "no length": OK + b"\r\nabc",
    "old": b"HTTP/1.0 200 OK\r\n\r\nabc",
    "another coding": OK + b"transfer-encoding: identity\r\n\r\nabc",
}


@pytest.mark.parametrize("case", WHOLE)
def test_an_answer_is_the_same_wherever_it_is_cut(case: str) -> None:
    said, status, media_type, body = WHOLE[case]
    for cut in cuts(said):
        assert heard(cut) == (status, media_type, body, True)


@given(
    st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=6),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_chunks_and_cuts_of_all_kinds(pieces: list[bytes], at: list[int]) -> None:
    said = chunked(*pieces)
    places = sorted({0, len(said), *(place for place in at if place < len(said))})
    cut = [said[begin:end] for begin, end in itertools.pairwise(places)]
    assert heard(cut) == (200, "", b"".join(pieces), True)


@pytest.mark.parametrize("case", TO_THE_END)
def test_a_body_that_ends_with_its_connection(case: str) -> None:
    for cut in cuts(TO_THE_END[case]):
        assert heard(cut, ends=True) == (200, "", b"abc", False)
        with pytest.raises(Silent):
            heard(cut, limit_s=0.01)


def test_the_same_over_sockets() -> None:
    for said, status, media_type, body in WHOLE.values():
        got, n_connections = answered([said[:9], said[9:]], said, count=2)
        assert got == [(status, media_type, body)] * 2
        assert n_connections == 1
    for said in TO_THE_END.values():
        got, n_connections = answered([said, b""], [said, b""], count=2)
        assert got == [(200, "", b"abc")] * 2
        assert n_connections == 2


BROKEN = {
    "nothing": b"",
    "half a head": OK + JSON[:5],
    "no body": of_length(b"abc")[:-3],
    "half a body": of_length(b"abc")[:-1],
    "half a chunk": chunked(b"abc")[:-9],
    "no last chunk": chunked(b"abc", end=b""),
    "only hints": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}
NO_ANSWER = {
    "not HTTP": b"hello there, who is it?\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n",
    "two lengths": OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "length and chunks": OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad length": OK + b"content-length: -3\r\n\r\nabc",
    "bad chunk": OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
    "bare line feeds": OK + b"x: y\n\r\nabc",
    "folded": OK + b"x: y\r\n z\r\ncontent-length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nabc",
    "encoded": of_length(b"abc", b"content-encoding: gzip\r\n"),
    "an endless head": OK + b"x: " + b"y" * (MAX_OVERHEAD_BYTES + 1),
    "endless hints": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4000,
    "endless headers": OK + b"x: y\r\n" * 12_000,
    "an endless extension": OK + b"transfer-encoding: chunked\r\n\r\n3;" + b"y" * (MAX_OVERHEAD_BYTES + 1),
    "endless trailers": chunked(b"abc", end=b"0\r\n" + b"x: y\r\n" * 12_000),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_connection_that_ends_too_soon(case: str) -> None:
    for cut in cuts(BROKEN[case]):
        with pytest.raises(Broken):
            heard(cut, ends=True)


@pytest.mark.parametrize("case", NO_ANSWER)
def test_what_is_no_answer(case: str) -> None:
    said = NO_ANSWER[case]
    some = cuts(said) if len(said) < 300 else [[said[at : at + 99] for at in range(0, len(said), 99)]]
    for cut in some:
        with pytest.raises(BadAnswer) as refused:
            heard(cut)
        assert "\n" not in refused.value.message
        assert len(refused.value.message) < 300


def test_the_bound_is_for_what_is_no_body() -> None:
    """Of small pieces, each with a head of its own, as many as there are."""
    pieces = [b"x"] * (MAX_OVERHEAD_BYTES // 4)
    said = chunked(*pieces)
    assert heard([said[at : at + 999] for at in range(0, len(said), 999)])[2] == b"".join(pieces)


def test_what_came_before_the_end_is_read_first() -> None:
    async def main() -> None:
        said = [chunked(b"one", end=b""), b""]
        async with raw_server(said) as server, HttpClient(keep_connections=True) as client:
            answering = client.post(server.url, b"", SOON)
            async with answering as answer:
                await server.until_ended(1)
                assert await answer.piece() == b"one"
                with pytest.raises(Broken):
                    await answer.piece()

    run(main())


def test_silence() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    for said in (b"", OK, hint, ABC[:-1]):
        with pytest.raises(Silent):
            heard([said], limit_s=0.01)

    async def main() -> None:
        async with raw_server([]) as server, HttpClient(keep_connections=True) as client:
            with pytest.raises(Silent):
                await ask(server, client, QUICK)
            await server.until_ended(1)

    run(main())


@pytest.mark.parametrize("begins", [OK, OK + b"transfer-encoding: chunked\r\n\r\n1;"], ids=["head", "chunk"])
def test_a_drip_of_what_is_no_body_is_silence(begins: bytes) -> None:
    """A byte every now and then, each well within the limit."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        plain, other = socket.socketpair()
        connection = HttpConnection(loop, plain, lambda _: None)
        connection.connection_made(Wire())

        def drip() -> None:
            connection.data_received(b"x")
            loop.call_later(0.01, drip)

        loop.call_soon(connection.data_received, begins)
        loop.call_soon(drip)
        with pytest.raises(Silent):
            await connection.ask(b"?", 0.1)
            await connection.read(0.1)
        plain.close()
        other.close()

    run(main())


def test_nobody_there() -> None:
    async def main() -> None:
        async with HttpClient(keep_connections=True) as client:
            for url in (unused_address(), "http://nobody.invalid/", "http://[::1]:1/"):
                with pytest.raises(Unreachable) as failed:
                    async with client.get(url, SOON):
                        pass
                assert "127.0.0.1" not in failed.value.message

    run(main())


def test_somebody_who_accepts_nobody_is_not_waited_for() -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(4):  # its queue is full then
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            async with HttpClient(keep_connections=True) as client:
                with pytest.raises(Unreachable, match="in time"):
                    async with client.get(f"http://127.0.0.1:{listener.getsockname()[1]}", QUICK):
                        pass

    run(main())


# --- what is asked -----------------------------------------------------------------------------


def test_the_request() -> None:
    async def main() -> None:
        async with raw_server(of_length(b"")) as server, HttpClient(keep_connections=True) as client:
            await ask(server, client)
            head, _, body = server.asked[0][0].partition(b"\r\n\r\n")
            line, *headers = head.decode().split("\r\n")
            assert line == "POST /v1/x?y=1 HTTP/1.1"
            assert sorted(headers) == [
                "accept-encoding: identity",
                "content-length: 7",
                "content-type: application/json",
                f"host: {server.url.removeprefix('http://')}",
                "user-agent: hotseat",
                "x-mine: yes",
            ]
            assert body == b'{"a":1}'

    run(main())


def test_a_large_request_arrives_whole() -> None:
    async def main() -> None:
        body = b"x" * (8 * 2**20)
        async with raw_server(of_length(b"ok")) as server, HttpClient(keep_connections=True) as client:
            async with client.post(server.url, body, SOON) as answer:
                assert await answer.read() == b"ok"
            assert server.asked[0][0].endswith(b"\r\n\r\n" + body)

    run(main())


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\rb", "a\0b", "\n"])
def test_a_header_is_one_line(value: str) -> None:
    for headers in ({"x-mine": value}, {value: "x"}):
        with pytest.raises(ValueError, match="line break or a NUL"):
            request_head("GET", address_of("http://a/"), headers, keeps=True)


ADDRESSES = {
    "http://example.com": ("example.com", 80, False, "example.com", "/"),
    "https://example.com/v1?a=b": ("example.com", 443, True, "example.com", "/v1?a=b"),
    "http://Example.COM:8080/a/../b": ("example.com", 8080, False, "example.com:8080", "/a/../b"),
    "https://example.com:443/": ("example.com", 443, True, "example.com", "/"),
    "http://[::1]:9/x": ("::1", 9, False, "[::1]:9", "/x"),
    "https://bücher.example/ä b": (
        "xn--bcher-kva.example",
        443,
        True,
        "xn--bcher-kva.example",
        "/%C3%A4%20b",
    ),
    "https://example.com/a%20b?q=%41": ("example.com", 443, True, "example.com", "/a%20b?q=%41"),
    'http://h/a"b<c>': ("h", 80, False, "h", "/a%22b%3Cc%3E"),
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses(url: str) -> None:
    address = address_of(url)
    origin = address.origin
    assert (origin.host, origin.port, origin.is_tls, address.host_header, address.target) == ADDRESSES[url]


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://example.com", "http://", "http://user:secret@example.com", "http://a:b/",
     "http://a:99999/", "file:///etc/passwd", "http://[::1/", "http://a b/", "unix:///x"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(Unreachable) as refused:
        address_of(url)
    assert "secret" not in refused.value.message


def test_an_address_of_the_other_family() -> None:
    async def main() -> None:
        said = of_length(b"six")
        async with raw_server(said, host="::1") as server, HttpClient(keep_connections=True) as client:
            assert (await ask(server, client))[2] == b"six"
            assert b"\r\nhost: [::1]:" in server.asked[0][0]

    run(main())


def test_a_name_is_looked_up() -> None:
    """localhost may mean two addresses, of which one answers."""

    async def main() -> None:
        async with raw_server(of_length(b"here")) as server, HttpClient(keep_connections=True) as client:
            server.url = server.url.replace("127.0.0.1", "localhost")
            assert (await ask(server, client))[2] == b"here"

    run(main())


# --- connections -------------------------------------------------------------------------------


def over(n_connections: int, *answers: bytes | Sequence[bytes]) -> None:
    got, connections = answered(*answers, count=len(answers))
    assert [body for _, _, body in got] == [b"abc"] * len(answers)
    assert connections == n_connections


def test_connections_are_used_again() -> None:
    over(1, ABC, chunked(b"abc"), ABC)


def test_who_wants_to_close_is_not_asked_again() -> None:
    over(2, of_length(b"abc", b"connection: close\r\n"), ABC)


@pytest.mark.parametrize("more", [ABC, b"x", b"\r\n\r\nx", of_length(b"evil") * 2])
def test_more_than_one_answer_is_nobodys(more: bytes) -> None:
    """What was not asked for answers no later request."""
    over(2, ABC + more, ABC)


def test_who_speaks_unasked_is_not_asked_again() -> None:
    async def main() -> None:
        async with raw_server([ABC, ABC], ABC) as server, HttpClient(keep_connections=True) as client:
            async with client.get(server.url, SOON) as answer:
                assert await answer.read() == b"abc"
                await server.until_said(2)
            assert (await ask(server, client))[2] == b"abc"
            assert len(server.asked) == 2

    run(main())


def test_a_connection_that_was_ended_meanwhile() -> None:
    async def main() -> None:
        async with raw_server([ABC, b""], ABC) as server, HttpClient(keep_connections=True) as client:
            assert (await ask(server, client))[2] == b"abc"
            await server.until_ended(1)
            assert (await ask(server, client))[2] == b"abc"

    run(main())


def test_without_keeping_each_request_has_its_own() -> None:
    async def main() -> None:
        async with raw_server(ABC, ABC) as server, HttpClient(keep_connections=False) as client:
            for number in (1, 2):
                assert (await ask(server, client))[2] == b"abc"
                await server.until_ended(number)
            assert all(b"\r\nconnection: close\r\n" in asked for [asked] in server.asked)

    run(main())


def test_requests_at_once_have_connections_of_their_own() -> None:
    async def main() -> None:
        async with raw_server(*[ABC] * 6) as server, HttpClient(keep_connections=True) as client:
            await asyncio.gather(*(ask(server, client) for _ in range(3)))
            await asyncio.gather(*(ask(server, client) for _ in range(3)))
            assert sorted(map(len, server.asked)) == [2, 2, 2]

    run(main())


@pytest.mark.parametrize("n_idle", [0, 1, 2])
def test_so_many_are_kept(n_idle: int) -> None:
    async def main() -> None:
        async with raw_server() as server:
            pool = HttpPool(asyncio.get_running_loop(), most_idle=n_idle)
            origin = address_of(server.url).origin
            for connection in [await pool.connect(origin, 5.0) for _ in range(3)]:
                pool.keep(origin, connection)
            await server.until_ended(3 - n_idle)
            assert [pool.take(origin) is not None for _ in range(3)] == [True] * n_idle + [False] * (
                3 - n_idle
            )
            pool.close()

    run(main())


def test_an_idle_one_is_closed_after_a_while() -> None:
    async def main() -> None:
        async with raw_server() as server:
            pool = HttpPool(asyncio.get_running_loop(), most_idle=9, idle_s=0.02)
            origin = address_of(server.url).origin
            for number in (1, 2):  # the second is closed by a timer of its own
                pool.keep(origin, await pool.connect(origin, 5.0))
                await server.until_ended(number)
                assert pool.take(origin) is None

    run(main())


def test_closing_ends_the_idle_and_later_the_busy() -> None:
    async def main() -> None:
        async with raw_server(ABC, [ABC[:-1], ABC[-1:]]) as server:
            async with HttpClient(keep_connections=True) as client:
                await ask(server, client)
                async with client.get(server.url, SOON) as answer:
                    await client.__aexit__(None, None, None)
                    assert await answer.read() == b"abc"
            await server.until_ended(1)
            with pytest.raises(RuntimeError, match="not open"):
                client.get(server.url, SOON)

    run(main())


async def _leave(answer: HttpAnswer) -> None:
    return


async def _leave_after_a_piece(answer: HttpAnswer) -> None:
    await answer.piece()


async def _fail(answer: HttpAnswer) -> None:
    with contextlib.suppress(BadAnswer):
        await answer.read(max_bytes=1)


@pytest.mark.parametrize(
    ("how", "said"),
    [(_leave, ABC[:-1]), (_leave, ABC), (_leave_after_a_piece, ABC[:-1]), (_fail, ABC[:-1])],
)
def test_who_leaves_before_the_end_closes(how: Callable[[HttpAnswer], Awaitable[None]], said: bytes) -> None:
    """That is how the other side learns of it."""

    async def main() -> None:
        async with raw_server(said, ABC) as server, HttpClient(keep_connections=True) as client:
            async with client.get(server.url, SOON) as answer:
                await how(answer)
            await server.until_ended(1)
            assert (await ask(server, client))[2] == b"abc"

    run(main())


@pytest.mark.parametrize("said", [b"", ABC[:10], ABC[:-1]], ids=["nothing", "half a head", "half a body"])
def test_who_is_cancelled_closes(said: bytes) -> None:
    async def main() -> None:
        pieces = [said] if said else []
        async with raw_server(pieces) as server, HttpClient(keep_connections=True) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ask(server, client)
            await server.until_ended(1)

    run(main())


def test_a_settled_answer_leaves_its_connection() -> None:
    async def main() -> None:
        said = [chunked(b"abc", end=b""), b"0\r\n\r\n"]
        async with raw_server(said, ABC) as server, HttpClient(keep_connections=True) as client:
            async with client.get(server.url, SOON) as answer:
                assert await answer.piece() == b"abc"
                await answer.settle(5.0)
            await ask(server, client)
            assert len(server.asked) == 1

    run(main())


def test_what_does_not_settle_costs_the_connection() -> None:
    async def main() -> None:
        said = chunked(b"abc", end=b"")
        async with raw_server(said) as server, HttpClient(keep_connections=True) as client:
            async with client.get(server.url, SOON) as answer:
                assert await answer.piece() == b"abc"
                await answer.settle(0.01)
            await server.until_ended(1)

    run(main())


def test_a_reader_that_takes_nothing_holds_the_server_back() -> None:
    """Only so much is held here, however much comes."""

    async def main() -> None:
        n_bytes = 64 * 2**20
        sent = 0

        async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"content-length: %d\r\n\r\n" % n_bytes)
            while sent < n_bytes:
                writer.write(b"x" * 2**16)
                await writer.drain()
                sent += 2**16
            writer.close()

        server = await asyncio.start_server(pour, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with HttpClient(keep_connections=True) as client, client.get(url, SOON) as answer:
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.05)
            assert sent < n_bytes // 2, "the rest waits on the other side"
            assert len(await answer.piece()) <= HELD_BYTES + 2**18
            n_read = HELD_BYTES
            async for data in answer.chunks():
                n_read += len(data)
            assert n_read >= n_bytes - 2**18, "and all of it comes when it is taken"
        server.close()

    run(main())


# --- TLS ---------------------------------------------------------------------------------------

FETCH = """
import asyncio, sys
from proxy.upstreams.http_client import Deadlines, HttpClient
async def main():
    async with HttpClient(keep_connections=True) as client:
        for _ in range(2):
            async with client.get(sys.argv[1], Deadlines()) as answer:
                print(answer.status, (await answer.read()).decode())
asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
@pytest.mark.parametrize(("name", "is_good"), [("localhost", True), ("127.0.0.1", False)])
def test_tls(tmp_path: Path, name: str, is_good: bool) -> None:
    """By the machine's authorities, which are this certificate here; under its own name only."""

    async def main() -> None:
        certificate, key = self_signed(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        raw = RawServer([[ABC], [chunked(b"abc")]])
        server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, ssl=context)
        url = f"https://{name}:{server.sockets[0].getsockname()[1]}/"
        fetching = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FETCH, url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "SSL_CERT_FILE": str(certificate)},
        )  # fmt: skip
        said, complaint = await fetching.communicate()
        server.close()
        if is_good:
            assert (said, complaint) == (b"200 abc\n" * 2, b"")
            assert len(raw.asked) == 1, "one handshake for both"
        else:
            assert b"Untrusted" in complaint
            assert raw.asked in ([], [[]]), "nothing was asked of it"

    run(main())
