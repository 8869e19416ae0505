"""One client connection: what uvicorn's HTTP protocol leaves open is bounded here.

uvicorn waits for ever for a request head, for a client that takes no data, and for the rest of a
body that was refused; it answers broken HTTP in plain text, even into a running stream. This
subclass adds deadlines and sizes, and says its refusals as the boundary does. The parser is
httptools (llhttp): it refuses Content-Length beside Transfer-Encoding, repeated Content-Length,
bare line feeds, blanks before a colon and bad chunk sizes (tests/proxy/test_connection.py).

    head deadline    from the first moment of a connection, and from the first byte of each later head
    linger           after an early refusal the rest of the body is discarded for a moment, so that
                     the client reads the refusal instead of a reset
    stall deadline   the send buffer has been full for limits.client_stall_s: the connection is cut,
                     the application sees a disconnect, and the slot is free
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from inference.errors import HotseatError, Overloaded
from proxy.config import Limits, ServerConfig
from proxy.corked_transport import CorkedTransport
from proxy.error_shapes import error_body
from proxy.errors import HttpRefusal

MAX_HEADERS = 100
MAX_HEAD_BYTES = 64 * 1024
MAX_URL_BYTES = 8 * 1024
MAX_CONNECTIONS = 900  # below the usual 1024 descriptors of a process: workers and files need some too
LINGER_S = 2.0
DECLINED_UPGRADE = "x-declined-upgrade"
"""Stands in for the header `upgrade` of a request that goes on without: routes may want to answer 426."""

KEEP_ALIVE_S = 30  # longer than the idle time of common client pools, which would meet a closing socket

_log = logging.getLogger("hotseat.connection")


class HeadTimeout(HttpRefusal):
    code = "request_head_timeout"
    status = 408


class UrlTooLong(HttpRefusal):
    code = "url_too_long"
    status = 414


class HeadTooLarge(HttpRefusal):
    code = "headers_too_large"
    status = 431


class MalformedHttp(HttpRefusal):
    code = "malformed_http"
    status = 400


def uvicorn_config(app: ASGIApp, server: ServerConfig, *, log_level: str = "info") -> uvicorn.Config:
    """How Hotseat is served: the guarded protocol, uvloop, no WebSockets, no access log."""
    return uvicorn.Config(
        app,
        host=server.host,
        port=server.port,
        http=guarded_protocol(server.limits),
        ws="none",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        log_level=log_level,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(server.limits.shutdown_grace_s)),
    )


def guarded_protocol(limits_: Limits) -> type[GuardedProtocol]:
    """The protocol class with its limits; uvicorn wants a class and builds one object per connection."""

    class Guarded(GuardedProtocol):
        limits = limits_

    return Guarded


class GuardedProtocol(HttpToolsProtocol):
    limits: ClassVar[Limits] = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._has_begun = False  # a head has, and is not complete
        self._head_bytes = 0  # of a head that is not complete yet
        self._heads = 0  # complete ones
        self._upgrade_method = b""  # of a head that offers another protocol
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._refusal: HotseatError | None = None
        self._active: RequestResponseCycle | None = (
            None  # uvicorn's `cycle` is the last one, active or waiting
        )

    # --- connection ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(CorkedTransport(transport, self.loop))
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(Overloaded(f"more than {MAX_CONNECTIONS} connections", retry_after_s=5.0), 503)
            return
        self._arm_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._stall_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._drop_active()

    def data_received(self, data: bytes) -> None:
        if self._linger_timer is not None or self.transport.is_closing():
            return
        heads = self._heads
        self._feed(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large(), 431)
                return
        if self._head_timer is None and (self._heads == heads or self._has_begun):
            self._arm_head_timer()  # most heads come whole, and need none

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read the request once more without the offer to change the protocol, which is never taken.

        httptools hands over to the other protocol where the head ends: a body would be lost, or read
        as the next request. Java's HTTP client offers h2c with every POST.
        """
        kept = [
            (DECLINED_UPGRADE.encode() if name == b"upgrade" else name) + b": " + value + b"\r\n"
            for name, value in self.headers
        ]
        request_line = b"%s %s HTTP/1.1\r\n" % (self._upgrade_method, self.url)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._feed(request_line + b"".join(kept) + b"\r\n" + rest)

    # --- the head ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._has_begun = True
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refusal = UrlTooLong(f"the URL is longer than {MAX_URL_BYTES} bytes")
            raise self._refusal

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if len(self.headers) > MAX_HEADERS or self._header_bytes > MAX_HEAD_BYTES:
            self._refusal = _head_too_large()
            raise self._refusal

    def on_headers_complete(self) -> None:
        self._upgrade_method = self.parser.get_method() if self.parser.should_upgrade() else b""
        if self._upgrade_method == b"CONNECT":
            raise MalformedHttp("this server is no proxy for other hosts")
        if self._upgrade_method:
            return
        self._in_head = self._has_begun = False
        self._heads += 1
        self._head_bytes = 0
        self._cancel_head_timer()
        if self.parser.get_http_version() not in ("1.1", "1.0"):  # 0.9 has no headers, so no Host either
            raise MalformedHttp("only HTTP/1.1 and 1.0 are spoken here")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._upgrade_method:
            return
        self._in_head = True
        super().on_message_complete()

    def _arm_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.header_timeout_s, self._on_head_timeout)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        """A head that is late ends the connection, but never the answer to the request before it."""
        if self._answering():
            self._arm_head_timer()
        elif not self.transport.is_closing():
            limit_s = self.limits.header_timeout_s
            self._refuse(HeadTimeout(f"the request head did not arrive within {limit_s:g} s"), 408)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def _answering(self) -> bool:
        return self._active is not None and not self._active.response_complete

    def _drop_active(self) -> None:
        """Tell the application that its client is gone. uvicorn tells only the last request of a pipeline."""
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()

    # --- refusals ------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """The parser, or one of the callbacks above, refuses what came."""
        refusal = self._refusal or MalformedHttp("malformed HTTP request")
        self._refuse(refusal, refusal.status if isinstance(refusal, HttpRefusal) else 400)

    def _refuse(self, error: HotseatError, status: int) -> None:
        """Say `error` and close; if an answer has begun, only close: it must not be continued by this."""
        self._cancel_head_timer()
        if self._active is not None and self._answering():
            speak = not self._active.response_started and self._active.more_body
            self._drop_active()
            if not speak:
                self.transport.abort()
                return
        body = error_body(self._asked_path(), error, "none")
        retry = b"retry-after: 5\r\n" if status == 503 else b""
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\n"
            + b"content-length: %d\r\nconnection: close\r\n" % len(body)
            + retry
            + b"\r\n"
            + body
        )
        self.transport.close()

    def _asked_path(self) -> str:
        """As far as it is known: of the first head, the URL may not have come yet."""
        url: bytes = getattr(self, "url", b"")
        return url.partition(b"?")[0].decode("latin-1")

    # --- after an answer -----------------------------------------------------------------------

    def on_response_complete(self) -> None:
        unread_body = self._active is not None and self._active.more_body
        super().on_response_complete()
        if unread_body and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.flow.resume_reading()
            self._linger_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    # --- clients that do not read --------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self.limits.client_stall_s, self._on_stall)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _on_stall(self) -> None:
        _log.info("cut a client that took no data for %g s", self.limits.client_stall_s)
        self.transport.abort()


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"the request head exceeds {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers")
