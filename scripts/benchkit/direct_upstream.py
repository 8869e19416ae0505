"""The least that an OpenAI upstream can be: fixed bytes from a bare ASGI app on uvicorn.

What Hotseat adds is measured against this, so it decodes nothing and waits for nothing. A request
for {"max_tokens": N} is answered with N chunks.

Example:
    python -m benchkit.direct_upstream 8099
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
_CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "bench",
    "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}],
}
_LINE = b"data: " + json.dumps(_CHUNK, separators=(",", ":")).encode() + b"\n\n"
_END = {**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
_LAST = b"data: " + json.dumps(_END, separators=(",", ":")).encode() + b"\n\ndata: [DONE]\n\n"
_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}
_BODY = json.dumps(_ANSWER, separators=(",", ":")).encode()


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        return
    body = b""
    if scope["method"] == "POST":
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
    request = json.loads(body) if body else {}
    streams = bool(request.get("stream"))
    kind = b"text/event-stream" if streams else b"application/json"
    headers = [(b"content-type", kind)]
    if not streams:
        headers.append((b"content-length", str(len(_BODY)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if not streams:
        await send({"type": "http.response.body", "body": _BODY})
        return
    for _ in range(request["max_tokens"]):
        await send({"type": "http.response.body", "body": _LINE, "more_body": True})
    await send({"type": "http.response.body", "body": _LAST})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
