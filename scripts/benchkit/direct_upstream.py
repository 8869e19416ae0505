"""The least that an OpenAI upstream can be: fixed bytes, as soon as a request is whole.

What Hotseat adds is measured against this, so it checks nothing and waits for nothing: it shares the
machine with what is measured. A request for {"max_tokens": N} with a stream is answered with N chunks.

Example:
    python -m benchkit.direct_upstream 8099
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import httptools
import uvloop

_CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "bench",
    "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}],
}
_END = {**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}


def _whole(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_BODY = _whole(json.dumps(_ANSWER, separators=(",", ":")).encode())
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LINE = _piece(b"data: " + json.dumps(_CHUNK, separators=(",", ":")).encode() + b"\n\n")
_LAST = _piece(
    b"data: " + json.dumps(_END, separators=(",", ":")).encode() + b"\n\ndata: [DONE]\n\n"
) + _piece(b"")


class DirectUpstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        asked = json.loads(body) if b'"stream"' in body else {}
        if not asked.get("stream"):
            self._transport.write(_BODY)
            return
        self._transport.write(_STREAM)
        for _ in range(asked["max_tokens"]):
            self._transport.write(_LINE)
        self._transport.write(_LAST)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(DirectUpstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
