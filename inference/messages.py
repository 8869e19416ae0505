"""What pool and worker say to each other, and how it is framed.

A frame is a 4-byte little-endian length and a msgpack body. The pool speaks `ToWorker`, the
worker `FromWorker`; both sides decode with their own union, so nothing else gets through. A
worker process starts empty, knows only its engine, and is told what to load:

    worker                        pool
    Hello(pid, rss)          ──▶
                             ◀──  Load(spec)
    LoadProgress(0.0..1.0)   ──▶        (pushed by the engine's own callback)
    Ready(facts) | LoadError ──▶
                             ◀──  Generate(id) | Embed(id) | Cancel(id) | Shutdown
    Outputs((id, event), …)  ──▶        (one frame per decode step)
    Alive                    ──▶        (after a step that had nothing to say, and to a Cancel)

End of file on the socket means that the other side is gone: the worker exits at once.
"""

from __future__ import annotations

import struct
from typing import Literal

import msgspec

from inference.chat import ChatEvent, EmbeddingRequest, Embeddings, GenerateRequest, Sampling, Wire
from inference.errors import ErrorInfo
from inference.model_spec import ModelSpec

MAX_FRAME_BYTES = 256 * 1024 * 1024
_HEADER = struct.Struct("<I")


class Load(Wire):
    """`sign_of_life_s`: a worker that has requests says something at least this often while it can."""

    spec: ModelSpec
    sign_of_life_s: float = 1.0


class Generate(Wire):
    request_id: int
    request: GenerateRequest


class Embed(Wire):
    request_id: int
    request: EmbeddingRequest


class Cancel(Wire):
    request_id: int


class Shutdown(Wire):
    """Finish nothing, save what is worth saving, exit 0."""


ToWorker = Load | Generate | Embed | Cancel | Shutdown


class Hello(Wire):
    """The process runs and has imported its engine. `rss_bytes` is the baseline for measured deltas."""

    pid: int
    rss_bytes: int


class LoadProgress(Wire):
    fraction: float


class ModelFacts(Wire):
    """What the engine found after loading. `n_ctx` is per slot and equals what was asked for. `sampling`:
    what it does where a request is silent; None: it is not known, or nothing is drawn.

    `base_url` and `server_pid`: the server that the worker has started; requests go to it over HTTP.
    """

    architecture: str
    n_ctx: int
    n_ctx_train: int
    n_vocab: int
    slots: int
    engine_build: str
    has_chat_template: bool
    rss_bytes: int
    base_url: str | None = None
    server_pid: int | None = None
    sampling: Sampling | None = None


class Ready(Wire):
    facts: ModelFacts


class LoadError(Wire):
    error: ErrorInfo


class PromptProgress(Wire):
    """Prefill reached `done` of `total` prompt tokens; `cached` of them were reused."""

    done: int
    total: int
    cached: int


Side = Literal["client", "engine"]


class PrefixCause(Wire):
    """Why `tokens` of a prompt were computed though something like them was cached.

    `side`: whose doing it is. "unknown" of the client means that no rule knows the difference.
    """

    name: str
    side: Side
    tokens: int
    remedy: str = ""


PrefixSource = Literal["none", "slot", "copy", "memory", "disk"]


class PrefixReport(Wire):
    """What of a prompt was reused, said once when the request gets its slot.

    `source`: where that lay: in the slot itself, in another slot, in a snapshot in host memory or in
    a file. `cached_tokens` is the length of what lay nearest to the prompt; `first_difference` is
    the index of the first token in which the two differ, None if one is the beginning of the other.
    The windows are text of a few tokens before that index (the same in both) and from it on; they
    are prompt text, so they go into no log. `causes`: the costliest first; empty if nothing was lost.
    `removed`: what `stabilise_prefix` took out of the messages, by name.
    """

    prompt_tokens: int
    reused_tokens: int
    source: PrefixSource
    slot: int
    cached_tokens: int = 0
    first_difference: int | None = None
    before: str = ""
    in_prompt: str = ""
    in_cache: str = ""
    causes: tuple[PrefixCause, ...] = ()
    removed: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def culprit(self) -> str:
        """The costliest cause's name; "" if nothing was lost."""
        return self.causes[0].name if self.causes else ""


GenerateEvent = ChatEvent | PromptProgress | PrefixReport
"""What is said of a generation while it goes well."""

Event = GenerateEvent | Embeddings | ErrorInfo
"""What can be said of one request. Finish, Embeddings and ErrorInfo are last words."""


class Output(msgspec.Struct, frozen=True, array_like=True):
    request_id: int
    event: Event


class Outputs(Wire):
    outputs: list[Output]


class Memory(Wire):
    """The worker's resident set now; sent when it has grown noticeably since the last report."""

    rss_bytes: int


class Alive(Wire):
    """The engine moves though it has nothing to say; also the answer to a Cancel."""


FromWorker = Hello | LoadProgress | Ready | LoadError | Outputs | Alive | Memory

_encoder = msgspec.msgpack.Encoder()
to_worker_decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
from_worker_decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    """One message, ready to write."""
    return framed(_encoder.encode(message))


def framed(body: bytes) -> bytes:
    """What a FrameReader makes `body` of again."""
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"message of {len(body)} bytes exceeds the frame limit of {MAX_FRAME_BYTES}")
    return _HEADER.pack(len(body)) + body


class FrameReader:
    """Bytes in, bodies out, however the bytes were cut. Raises ValueError for an absurd length."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        if not self._rest:  # almost always: a read holds whole frames, and is not copied twice
            bodies, start = _cut(data)
            self._rest += data[start:]
        else:
            self._rest += data
            bodies, start = _cut(self._rest)
            del self._rest[:start]
        return bodies


def _cut(data: bytes | bytearray) -> tuple[list[bytes], int]:
    """The whole frames' bodies, and where the rest begins."""
    bodies: list[bytes] = []
    start = 0
    while len(data) - start >= _HEADER.size:
        (length,) = _HEADER.unpack_from(data, start)
        if length > MAX_FRAME_BYTES:
            raise ValueError(f"frame of {length} bytes announced, limit {MAX_FRAME_BYTES}")
        end = start + _HEADER.size + length
        if len(data) < end:
            break
        bodies.append(bytes(data[start + _HEADER.size : end]))
        start = end
    return bodies, start
