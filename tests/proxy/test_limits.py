"""Bodies before they are understood: media type, size, deadline; whole, cut and slow."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from proxy.errors import BodyTimeout, BodyTooLarge, ClientGone, UnsupportedMedia
from proxy.limits import BoundedReceive, check_head, is_json, read_body

JSON = (b"content-type", b"application/json")


def test_what_passes() -> None:
    check_head("GET", [], 10)
    check_head("POST", [], 10)
    check_head("POST", [(b"content-length", b"0")], 10)
    check_head("POST", [(b"content-length", b"10"), JSON], 10)
    check_head("POST", [(b"transfer-encoding", b"chunked"), JSON], 10)
    check_head("POST", [(b"content-length", b"1"), JSON, (b"content-encoding", b"identity")], 10)


def test_declared_size() -> None:
    with pytest.raises(BodyTooLarge):
        check_head("POST", [(b"content-length", b"11"), JSON], 10)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"GZIP", b"identity, gzip"])
def test_compressed(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMedia):
        check_head("POST", [(b"content-length", b"1"), JSON, (b"content-encoding", encoding)], 10)


@pytest.mark.parametrize(
    ("content_type", "accepted"),
    [
        (b"application/json", True),
        (b"Application/JSON ; charset=UTF-8", True),
        (b'application/json; charset="utf-8"', True),
        (b"application/json; charset=utf-16", False),
        (b"application/jsonp", False),
        (b"text/plain", False),
        (b"text/plain; application/json", False),
        (b"multipart/form-data; boundary=x", False),
        (b"", False),
    ],
)
def test_media_type(content_type: bytes, accepted: bool) -> None:
    assert is_json(content_type) is accepted
    if not accepted:
        with pytest.raises(UnsupportedMedia):
            check_head("POST", [(b"content-length", b"1"), (b"content-type", content_type)], 10)


def parts(*bodies: bytes, then: Message | None = None) -> Receive:
    """A client that sends `bodies`, then `then`, then nothing for ever."""
    messages: list[Message] = [
        {"type": "http.request", "body": body, "more_body": i < len(bodies) - 1 or then is not None}
        for i, body in enumerate(bodies)
    ]
    messages += [then] if then else []

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    return receive


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=8))
def test_a_body_is_the_same_however_it_is_cut(bodies: list[bytes]) -> None:
    async def main() -> bytes:
        return await read_body(BoundedReceive(parts(*bodies), 100, 60.0))

    assert asyncio.run(main()) == b"".join(bodies)


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=8), st.integers(0, 40))
def test_undeclared_size(bodies: list[bytes], limit: int) -> None:
    async def main() -> bytes:
        return await read_body(BoundedReceive(parts(*bodies), limit, 60.0))

    if len(b"".join(bodies)) <= limit:
        asyncio.run(main())
    else:
        with pytest.raises(BodyTooLarge):
            asyncio.run(main())


def test_slow_body() -> None:
    async def main() -> None:
        await read_body(
            BoundedReceive(parts(b"{", b"", then={"type": "http.request", "more_body": True}), 9, 0.05)
        )

    with pytest.raises(BodyTimeout):
        asyncio.run(main())


def test_client_leaves_before_the_end() -> None:
    async def main() -> None:
        await read_body(BoundedReceive(parts(b"{", then={"type": "http.disconnect"}), 9, 60.0))

    with pytest.raises(ClientGone):
        asyncio.run(main())


def test_the_deadline_is_the_bodys_not_the_answers() -> None:
    """After the body, waiting for the disconnect may take as long as the answer does."""

    async def main() -> None:
        receive = BoundedReceive(parts(b"{}"), 9, 0.01)
        await read_body(receive)
        waiting = asyncio.ensure_future(receive())
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        waiting.cancel()

    asyncio.run(main())
