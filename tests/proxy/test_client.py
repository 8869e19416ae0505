"""The command line's HTTP client, against servers that are none, are not ours, or break off."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.client import BrokenStream, Client
from proxy.log_follower import follow_logs, new_lines
from tests.proxy.served import error_line, question, unused_address


@contextlib.contextmanager
def fake_server(status: int, body: bytes, content_type: str = "application/json") -> Iterator[str]:
    """Answers every request alike, then closes the connection."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as fake:
        thread = threading.Thread(target=fake.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{fake.server_address[1]}"
        finally:
            fake.shutdown()
            thread.join()


NOT_OURS = {
    "html": (200, b"<html>", "JSON"),
    "json of another kind": (200, b"[1]", "is it Hotseat"),
    "redirect": (302, b"", "status 302"),
    "plain 404": (404, b"not here", "status 404"),
    "nested json": (500, b"[" * 100_000, "status 500"),
    "an error": (503, b'{"error": {"message": "queue\\nfull"}}', "queue full"),
}


@pytest.mark.parametrize(("status", "body", "expected"), NOT_OURS.values(), ids=NOT_OURS.keys())
def test_an_answer_that_is_not_ours(status: int, body: bytes, expected: str) -> None:
    with fake_server(status, body) as url:
        assert expected in error_line(CliRunner().invoke(main, ["ps", "--server", url]))


def test_nobody_there() -> None:
    for command in (["ps"], ["load", "x"], ["unload", "x"], ["chat", "x", "y"], ["logs"], ["logs", "-f"]):
        message = error_line(CliRunner().invoke(main, [*command, "--server", unused_address()]))
        assert "hotseat serve" in message


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:port", "http://user:pw@x", "http://[::1"])
def test_not_an_address(url: str) -> None:
    assert "--server" in error_line(CliRunner().invoke(main, ["ps", "--server", url]))


BROKEN = {
    "no end": (b'data: {"choices": []}\n\n', "broke off"),
    "nothing": (b"", "broke off"),
    "an error": (b': hi\n\ndata: {"error": {"message": "worker died"}}\n\n', "worker died"),
    "an error and a clean end": (b'data: {"error": {"message": "x"}}\n\ndata: [DONE]\n\n', "x"),
}


@pytest.mark.parametrize(("body", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_a_stream_that_does_not_end_well_is_an_error(body: bytes, expected: str) -> None:
    with fake_server(200, body, "text/event-stream") as url, pytest.raises(BrokenStream, match=expected):
        list(Client(url, None).chat(question("x", "y")))


def test_following_ends_with_the_server() -> None:
    with fake_server(200, b'{"models": []}') as url:
        lines: list[str] = []
        with pytest.raises(Exception, match="shutting down"):
            follow_logs(Client(url, None), None, lines.append)


@pytest.mark.parametrize(
    ("seen", "lines", "new"),
    [
        ([], ["a"], ["a"]),
        (["a"], ["a"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b"], ["b", "c"], ["c"]),
        (["a", "a"], ["a", "a", "a"], ["a"]),
        (["a", "b"], ["x"], ["x"]),
        (["a", "b"], [], []),
    ],
)
def test_new_lines_of_a_moving_window(seen: list[str], lines: list[str], new: list[str]) -> None:
    assert new_lines(seen, lines) == new
