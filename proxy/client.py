"""A running server, as the command line talks to it: requests, streamed events, errors worth reading.

Standard library only and blocking: `hotseat ps` should not pay for an event loop. One connection
per request; whoever iterates a stream may close it, which closes the connection.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

NOT_DOWNLOADED = ": not downloaded:"  # in the error of a model whose file was never there (inventory.py)
DEFAULT_SERVER = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
SILENCE_TIMEOUT_S = 120.0  # streams carry a comment every few seconds while nothing else happens
MAX_BODY_BYTES = 64 * 2**20
MAX_LINE_BYTES = 16 * 2**20


class ClientError(Exception):
    """What went wrong and what to do, in one line."""


class Unreachable(ClientError):
    """Nobody answers at the address."""


class Refused(ClientError):
    """The server answered with an error."""

    def __init__(self, message: str, status: int, *, by_hotseat: bool) -> None:
        super().__init__(message)
        self.status = status
        self.by_hotseat = by_hotseat


class BrokenStream(ClientError):
    """A stream that ended with an error, or without its end."""


class Client:
    """`key` is sent to this server and nowhere else: there are no redirects and no proxies."""

    def __init__(self, url: str, key: str | None) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ClientError(f"--server: {error}: give an address like {DEFAULT_SERVER}") from error
        if parts.scheme not in ("http", "https") or not self._host or parts.username is not None:
            raise ClientError(f"--server: expected an address like {DEFAULT_SERVER}")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._secure = parts.scheme == "https"
        self._headers = {"user-agent": "hotseat"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def state(self, *, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        return _object(self._answer("GET", "/api/state", timeout_s))

    def load(self, model: str) -> None:
        """Returns when the model is ready, however long that takes."""
        self._answer("POST", f"/api/models/{quote(model, safe='')}/load", None)

    def unload(self, model: str | None) -> None:
        """Unload `model`, or every model; returns when the memory is free."""
        self._answer("POST", f"/api/models/{quote(model, safe='')}/unload" if model else "/api/unload", None)

    def reload(self) -> dict[str, Any]:
        """Let the server read its models.toml again."""
        return _object(self._answer("POST", "/api/reload", None))

    def spending(self, by: str, since: float | None) -> dict[str, Any]:
        """What the server's ledger says was spent, by group; `since` is of the epoch."""
        query = f"by={quote(by)}" + ("" if since is None else f"&since={since}")
        return _object(self._answer("GET", f"/api/spend?{query}", ANSWER_TIMEOUT_S))

    def log_lines(self, model: str) -> list[str]:
        answer = _object(self._answer("GET", f"/api/models/{quote(model, safe='')}/log", ANSWER_TIMEOUT_S))
        return [str(line) for line in answer.get("lines", [])]

    def pool_events(self) -> Iterator[dict[str, Any]]:
        """What happens in the pool from now on, until the server or the caller ends it."""
        for data in self._stream("GET", "/api/events", None):
            yield _object(_parsed(data))

    def chat(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of a streamed answer. Raises BrokenStream unless it ends with [DONE]."""
        for data in self._stream("POST", "/v1/chat/completions", body):
            if data == b"[DONE]":
                return
            chunk = _object(_parsed(data))
            if "error" in chunk:
                raise BrokenStream(_error_message(chunk) or "the server reported an error")
            yield chunk
        raise BrokenStream("the answer broke off before its end: see `hotseat logs`, then ask again")

    # --- one request ---------------------------------------------------------------------------

    def _answer(self, method: str, path: str, timeout_s: float | None) -> Any:
        with self._exchange(method, path, None, timeout_s) as response:
            data = response.read(MAX_BODY_BYTES + 1)
        if len(data) > MAX_BODY_BYTES:
            raise ClientError(f"{self.url}{path} answered more than {MAX_BODY_BYTES} bytes: is it Hotseat?")
        return _parsed(data)

    def _stream(self, method: str, path: str, body: Mapping[str, Any] | None) -> Iterator[bytes]:
        """The data of each server-sent event."""
        with self._exchange(method, path, body, SILENCE_TIMEOUT_S) as response:
            while line := response.readline(MAX_LINE_BYTES):
                if line.startswith(b"data:"):
                    yield line[5:].strip()

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float | None
    ) -> Generator[http.client.HTTPResponse]:
        """Send the request; the response if it is no error. What breaks while it is read is translated."""
        with closing(self._connect()) as connection:
            try:
                connection.sock.settimeout(timeout_s)
                headers = self._headers | ({"content-type": "application/json"} if body else {})
                connection.request(method, path, json.dumps(body).encode() if body else None, headers)
                with connection.getresponse() as response:
                    if response.status >= 300:
                        raise self._refusal(response.status, response.read(MAX_BODY_BYTES))
                    yield response
            except TimeoutError as error:
                raise ClientError(f"{self.url} fell silent: see its log, or run `hotseat doctor`") from error
            except (OSError, http.client.HTTPException) as error:
                message = f"{self.url} closed the connection ({_reason(error)}): is it still running?"
                raise BrokenStream(message) from error

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
        except OSError as error:
            remedy = "start one with `hotseat serve`, or name it with --server"
            raise Unreachable(f"no server at {self.url} ({_reason(error)}): {remedy}") from error
        return connection

    def _refusal(self, status: int, body: bytes) -> Refused:
        answer = _parsed(body, {})
        error = answer.get("error") if isinstance(answer, dict) else None
        message = _error_message(answer) or f"{self.url} answered with status {status}: is it Hotseat?"
        if status == 401:
            message += ": set HOTSEAT_API_KEY to a key of this server"
        return Refused(message, status, by_hotseat=isinstance(error, dict) and "hotseat" in error)


def is_hotseat(url: str) -> bool:
    """Whether a Hotseat answers there, key or no key."""
    try:
        return "swaps" in Client(url, None).state(timeout_s=1.0)
    except Refused as refused:
        return refused.by_hotseat
    except ClientError:
        return False


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _parsed(data: bytes, otherwise: Any = None) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        if otherwise is not None:
            return otherwise
        raise ClientError("the server did not answer in JSON: is it Hotseat?") from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ClientError("the server answered something unexpected: is it Hotseat, and of this version?")
    return value


def _error_message(body: Any) -> str | None:
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(message.split()) if isinstance(message, str) else None
