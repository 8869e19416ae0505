"""Providers on tape: asked over HTTP while their answers are recorded, or answered from a recording without
a socket. What a recording is: proxy/recording.py.

An answer is kept when it is over, however it ended, and what broke off breaks off again in a replay. An
answer that never began, and one whose client left, is not kept. A failure to keep one is logged, and is no
concern of the client's.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

from proxy.errors import NotRecorded
from proxy.recording import (
    MAX_ANSWER_BYTES,
    Address,
    End,
    Entry,
    Heard,
    Question,
    Recording,
    Replay,
    question,
)
from proxy.redaction import Redaction
from proxy.remote_config import ProviderConfig
from proxy.upstream_errors import BadAnswer, Broken, Silent, UpstreamError
from proxy.upstreams.http_client import Body, Deadlines
from proxy.upstreams.transport import ProviderAnswer, Transport

_log = logging.getLogger("hotseat.recording")


class Tape(Protocol):
    """`is_replay`: nobody is asked, so nobody need be spared."""

    @property
    def is_replay(self) -> bool: ...

    def transport(self, provider: ProviderConfig, model: str) -> Transport: ...


# --- recording -----------------------------------------------------------------------------------


class RecordingTape:
    is_replay = False

    def __init__(self, transport: Transport, recording: Recording) -> None:
        self._transport = transport
        self._recording = recording

    def transport(self, provider: ProviderConfig, model: str) -> Transport:
        return _RecordingTransport(self._transport, self._recording, provider, model)


class _RecordingTransport:
    def __init__(
        self, transport: Transport, recording: Recording, provider: ProviderConfig, model: str
    ) -> None:
        self._transport = transport
        self._recording = recording
        self._provider = provider
        self._model = model

    def post(
        self, url: str, body: bytes, deadlines: Deadlines, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        return self._asked(url, body, deadlines, headers)

    @asynccontextmanager
    async def _asked(
        self, url: str, body: bytes, deadlines: Deadlines, headers: Mapping[str, str] | None
    ) -> AsyncIterator[ProviderAnswer]:
        asked = question(_address(url, self._provider, self._model), body)
        async with self._transport.post(url, body, deadlines, headers) as answer:
            heard = _HeardAnswer(answer)
            try:
                yield heard
            except Exception:  # of whoever reads it: what came is kept all the same
                await self._keep(asked, heard)
                raise
            await self._keep(asked, heard)

    async def _keep(self, asked: Question, heard: _HeardAnswer) -> None:
        key = self._provider.api_key
        redaction = Redaction(key.reveal() if key else None)
        try:
            kept = asyncio.to_thread(self._recording.keep, asked, heard.heard(), redaction)
            await asyncio.shield(kept)
        except OSError as error:
            _log.error("recording %s: an answer could not be kept: %s", self._recording.name, error)


class _HeardAnswer(Body):
    """`answer`, with a copy of what came."""

    def __init__(self, answer: ProviderAnswer) -> None:
        self.status = answer.status
        self.media_type = answer.media_type
        self.retry_after_s = answer.retry_after_s
        self._answer = answer
        self._chunks: list[bytes] | None = []
        self._n_bytes = 0
        self._error: UpstreamError | None = None

    @property
    def idle_s(self) -> float:
        return self._answer.idle_s

    @idle_s.setter
    def idle_s(self, limit_s: float) -> None:
        self._answer.idle_s = limit_s

    async def settle(self, limit_s: float) -> None:
        await self._answer.settle(limit_s)

    async def piece(self) -> bytes:
        try:
            data = await self._answer.piece()
        except UpstreamError as error:
            self._error = error
            raise
        self._note(data)
        return data

    def _note(self, data: bytes) -> None:
        if not data:
            return
        self._n_bytes += len(data)
        if self._n_bytes > MAX_ANSWER_BYTES:
            self._chunks = None
        elif self._chunks is not None:
            self._chunks.append(data)

    def heard(self) -> Heard:
        headers = {"content-type": self.media_type}
        if self.retry_after_s is not None:
            headers["retry-after"] = f"{self.retry_after_s:.0f}"
        if self._error is None:
            return Heard(self.status, headers, self._chunks)
        return Heard(self.status, headers, self._chunks, _end_of(self._error), self._error.message)


def _end_of(error: UpstreamError) -> End:
    match error:
        case Broken():
            return "broken"
        case Silent():
            return "silent"
        case _:
            return "bad"


# --- replaying -----------------------------------------------------------------------------------


class ReplayTape:
    is_replay = True

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def transport(self, provider: ProviderConfig, model: str) -> Transport:
        return _ReplayTransport(self._replay, provider, model)


class _ReplayTransport:
    def __init__(self, replay: Replay, provider: ProviderConfig, model: str) -> None:
        self._replay = replay
        self._provider = provider
        self._model = model

    def post(
        self, url: str, body: bytes, deadlines: Deadlines, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        return self._answered(url, body)

    @asynccontextmanager
    async def _answered(self, url: str, body: bytes) -> AsyncIterator[ProviderAnswer]:
        """Raises NotRecorded, RecordingUnusable."""
        asked = question(_address(url, self._provider, self._model), body)
        entry = self._replay.next(asked)
        if entry is None:
            why = await asyncio.to_thread(self._replay.explained, asked)
            raise NotRecorded(f"recording {self._replay.name!r} does not have {asked.address}: {why}")
        if entry.left_out:
            raise NotRecorded(
                f"recording {self._replay.name!r}: answer {entry.number} was left out: {entry.left_out}"
            )
        yield _ReplayedAnswer(entry, await asyncio.to_thread(self._replay.body, entry))


class _ReplayedAnswer(Body):
    def __init__(self, entry: Entry, body: bytes) -> None:
        self.status = entry.status
        self.media_type = entry.headers.get("content-type", "")
        retry_after = entry.headers.get("retry-after")
        self.retry_after_s = None if retry_after is None else float(retry_after)
        self.idle_s = 0.0
        self._entry = entry
        self._body = io.BytesIO(body)
        self._at = 0  # of the entry's chunks

    async def settle(self, limit_s: float) -> None:
        return

    async def piece(self) -> bytes:
        """As they came, and no faster than they are taken."""
        if self._at:
            await asyncio.sleep(0)
        if self._at < len(self._entry.chunks):
            data = self._body.read(self._entry.chunks[self._at])
            self._at += 1
            return data
        match self._entry.end:
            case "broken":
                raise Broken(self._entry.message)
            case "silent":
                raise Silent(self._entry.message)
            case "bad":
                raise BadAnswer(self._entry.message)
            case "whole":
                return b""


def _address(url: str, provider: ProviderConfig, model: str) -> Address:
    return Address("POST", urlsplit(url).path, provider.name, model)
