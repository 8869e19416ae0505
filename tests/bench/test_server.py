"""What is made of an answer that is not a Hotseat's."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from bench.server import ServerTrouble, fetch_offer


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that answers one request so and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def http(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http("{}", "401 Unauthorized"), "wants a key: set HOTSEAT_API_KEY"),
        (http("{}", "404 Not Found"), "answered with status 404 and no list of models"),
        (http("{}", "302 Found"), "answered with status 302"),
        (http("<html>"), "no list of models: is it Hotseat"),
        (http("[" * 100_000), "no list of models: is it Hotseat"),
        (http("[]"), "no list of models: is it Hotseat"),
        (http('{"object":"list","data":[]}'), "is no Hotseat of this version"),
        (b"SSH-2.0-OpenSSH\r\n", "no server at"),
        (b"", "no server at"),
    ],
)
def test_no_hotseat(answer: bytes, said: str) -> None:
    with answering(answer) as url, pytest.raises(ServerTrouble, match=said):
        fetch_offer(url, None)


def test_rows_are_read_with_care() -> None:
    row = '{"id":"a","context_length":true,"aliases":"x","error":" two\\n lines "}'
    with answering(http(f'{{"data":[7,{{"id":3}},{row}],"roles":{{"main":1}}}}')) as url:
        offer = fetch_offer(url, None)
    (model,) = offer.models
    assert (model.name, model.context_length, model.aliases, model.problem) == ("a", None, (), "two lines")
    assert (model.is_local, model.embeddings, offer.roles) == (False, False, {})


def test_a_model_is_found_by_any_of_its_names() -> None:
    rows = '{"id":"a","aliases":["short"]},{"id":"b"}'
    with answering(
        http(f'{{"data":[{rows}],"roles":{{"main":"b","small":"short","a":"b","gone":"c"}}}}')
    ) as url:
        offer = fetch_offer(url, None)
    asked = ("a", "short", "b", "main", "small", "gone", "c")
    found = {name: model.name for name in asked if (model := offer.named(name)) is not None}
    assert found == {"a": "a", "short": "a", "b": "b", "main": "b", "small": "a"}, "a name goes before a role"
