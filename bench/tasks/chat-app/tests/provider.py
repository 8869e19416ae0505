"""A provider that answers by a script and keeps what it was sent."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GATE_S = 30.0


def text(*pieces):
    return [{"text": piece} for piece in pieces] + [{"end": True}]


def call(name, **arguments):
    return [{"call": {"id": f"id-{name}", "name": name, "arguments": arguments}}, {"end": True}]


class Provider:
    """`answers`: for each request what to say; a number is a status. None sets `has_begun` and waits for
    `gate`. `sent`: the conversations, `offered`: the tools' names with each. A request beyond the script is
    refused."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.sent = []
        self.offered = []
        self.has_begun = threading.Event()
        self.gate = threading.Event()

    @contextmanager
    def running(self):
        """Gives its address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _handler(self):
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                provider.sent.append(body["messages"])
                provider.offered.append([tool["name"] for tool in body["tools"]])
                answer = provider.answers.pop(0) if provider.answers else 500
                self.send_response(answer if isinstance(answer, int) else 200)
                self.end_headers()
                for piece in answer if isinstance(answer, list) else []:
                    if piece is None:
                        provider.has_begun.set()
                        provider.gate.wait(GATE_S)
                        continue
                    self.wfile.write(json.dumps(piece).encode() + b"\n")
                    self.wfile.flush()

            def log_message(self, *about):
                pass

        return Handler
