"""A scripted stand-in for an OpenAI-compatible server: `python fake_model_server.py --port N …`.

How it starts is said by its options, how it answers by the last user message of a request. It is
no part of the package: tests start it as the command of a model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SSE = "text/event-stream"
VECTOR = [3.0, 4.0]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unready", type=int, default=0, help="so many health checks say 503 first")
    parser.add_argument("--hang", type=int, default=0, help="so many health checks are never answered")
    parser.add_argument("--drip", type=int, default=0, help="so many health checks get one byte now and then")
    parser.add_argument("--health", default="/health")
    parser.add_argument("--die", help="words on stderr before it ends with code 7")
    parser.add_argument("--die-when-asked", action="store_true", help="ends in the first health check")
    parser.add_argument("--deaf", action="store_true", help="ignores SIGTERM")
    parser.add_argument("--child", help="starts a process of its own and writes its pid there")
    parser.add_argument("--folder", default=".", help="where it leaves notes of what happened to it")
    parser.add_argument("--report", help="writes argv and environment there")
    return parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.server.on_health(self)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.note(f"asked {self.path}", json.dumps(body))
        self.server.note(f"headers {self.path}", json.dumps(dict(self.headers)))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if self.path == "/v1/embeddings":
                self._embed(body)
            else:
                self._answer(body)
            return
        self.server.note("cancelled")
        self.close_connection = True

    # --- ways to answer ------------------------------------------------------------------------

    def _answer(self, body: dict[str, Any]) -> None:
        word = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        ways: dict[str, Callable[[], None]] = {
            "garbage": lambda: self.whole(200, SSE, b"\x00\xff\x00 what is this\n\n"),
            "not http": lambda: self._raw(b"SSH-2.0-what\r\n\r\n"),
            "half json": lambda: self.whole(200, SSE, b'data: {"choices":[{"delta":{"con\n\n'),
            "web page": lambda: self.whole(200, "text/html", b"<html>hello</html>"),
            "empty": lambda: self.whole(200, SSE, b""),
            "no words": lambda: self._stream([self._finish("stop"), "[DONE]"]),
            "redirect": lambda: self.whole(302, "text/html", b"", location="http://127.0.0.1:9/"),
            "overflow": lambda: self._error(
                400,
                {
                    "code": 400,
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 99,
                    "n_ctx": 64,
                    "message": "request (99 tokens) exceeds the available context size (64 tokens)",
                },
            ),
            "wrong field": lambda: self._error(
                400, {"message": "temperature: too hot", "param": "temperature"}
            ),
            "broken": lambda: self._error(500, {"message": "the device is lost"}),
            "busy": lambda: self._error(503, {"message": "all slots are taken"}),
            "error inside": lambda: self._stream(
                [self._text("one "), {"error": {"message": "decode failed"}}]
            ),
            "no finish": lambda: self._stream([self._text("one "), "[DONE]"]),
            "cut short": lambda: self._stream([self._text("one ")]),
            "no done": lambda: self._stream([self._text("one"), self._finish("stop")]),
            "crash": self._crash,
            "crash at once": lambda: os.kill(os.getpid(), signal.SIGKILL),
            "stop": self._freeze,
            "hang": self._hang,
            "endless": self._endless,
            "long line": lambda: self.whole(200, SSE, b"data: " + b"x" * (17 * 2**20)),
        }
        if way := ways.get(word):
            way()
            return
        self._stream([self._text("you "), self._text("said "), self._text(word), self._finish("stop"),
                      {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3,
                       "prompt_tokens_details": {"cached_tokens": 2}},
                       "timings": {"cache_n": 2, "prompt_n": 5, "prompt_ms": 50.0, "predicted_n": 3,
                                   "predicted_ms": 30.0}}, "[DONE]"])  # fmt: skip

    def whole(self, status: int, media_type: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, error: dict[str, Any]) -> None:
        self.whole(status, "application/json", json.dumps({"error": error}).encode())

    def _embed(self, body: dict[str, Any]) -> None:
        if body["input"] == ["garbage"]:
            self.whole(200, "application/json", b'{"data": [')
            return
        data = [{"index": i, "embedding": VECTOR} for i in range(len(body["input"]))]
        answer = {"data": data[::-1], "usage": {"prompt_tokens": 5}}
        self.whole(200, "application/json", json.dumps(answer).encode())

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("content-type", SSE)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _stream(self, chunks: list[Any]) -> None:
        self._begin()
        for chunk in chunks:
            self._send(chunk)
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, chunk: Any) -> None:
        data = f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _text(self, text: str) -> dict[str, Any]:
        if self.path == "/v1/completions":
            return {"choices": [{"index": 0, "text": text, "finish_reason": None}]}
        return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}

    def _finish(self, reason: str) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": reason}]}

    def _raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.close_connection = True

    def _crash(self) -> None:
        self._begin()
        self._send(self._text("one "))
        sys.stderr.write("fake server: error: out of luck\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def _freeze(self) -> None:
        self._begin()
        self._send(self._text("one "))
        os.kill(os.getpid(), signal.SIGSTOP)
        threading.Event().wait()  # the signal may stop this thread a moment later

    def _hang(self) -> None:
        self._begin()
        self._send(self._text("one "))
        threading.Event().wait()

    def _endless(self) -> None:
        """Until the client has gone; as fast as it takes it."""
        self._begin()
        while True:
            self._send(self._text("more "))


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, chosen: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", chosen.port), Handler)
        self._chosen = chosen
        self._checks = 0
        self._lock = threading.Lock()

    def note(self, name: str, text: str = "") -> None:
        folder = Path(self._chosen.folder)
        aside = folder / f".{threading.get_ident()}"
        aside.write_text(text)
        aside.rename(folder / name.replace("/", "."))

    def on_health(self, handler: Handler) -> None:
        with self._lock:
            self._checks += 1
            check = self._checks
        chosen = self._chosen
        if chosen.die_when_asked:
            os._exit(8)
        if check <= chosen.hang:
            threading.Event().wait()
        if check <= chosen.drip:
            with contextlib.suppress(OSError):
                while not threading.Event().wait(0.05):
                    handler.wfile.write(b"H")
            return
        status = 404 if handler.path != chosen.health else 503 if check <= chosen.unready else 200
        handler.whole(status, "application/json", b"{}")


def main() -> None:
    chosen = options()
    if chosen.report:
        Path(chosen.report).write_text(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}))
    if chosen.die:
        sys.stderr.write(f"loading…\nfake server: error: {chosen.die}\n")
        sys.exit(7)
    if chosen.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if chosen.child:
        process = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
        Path(chosen.child).write_text(str(process.pid))
    FakeServer(chosen).serve_forever()


if __name__ == "__main__":
    main()
