"""ScriptedEngine: answers from a script, deterministically, with the timing that the script asks for.

Ships with the package: tests and benchmarks run real requests, from a real client to a real
worker process, against it, without a model. What a script may say is documented in script.py,
how tokens are counted and answers are cut in script_answers.py.

It behaves as an engine does where callers could notice: no more than `slots` requests run at
once and the others wait inside; a prompt that leaves no room in n_ctx is refused; prompt plus answer never
exceed n_ctx (finish reason "length"); each slot remembers its previous prompt, and `cached_tokens`
is the beginning that a request shares with its slot's, at most all but one token. It gets the free
slot that forgets least by it; of those the one that shares most, then the longest unused.
Sampling parameters and ignore_eos are accepted and change nothing.

Time comes from the clock given to the constructor, and nothing here sleeps: `wait_s` says when
the next step is due.
"""

from __future__ import annotations

import heapq
import math
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import shake_256
from pathlib import Path
from typing import assert_never

import msgspec
import psutil

from inference.chat import (
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Finish,
    GenerateRequest,
    TextDelta,
    Timings,
    Usage,
)
from inference.context_room import overflow, room_of
from inference.engines.base import OnProgress
from inference.engines.script import Fault, Pace, Script, Turn, read_script
from inference.engines.script_answers import (
    MAX_TOKEN_ID,
    NO_PROMPT,
    Candidate,
    Limits,
    Plan,
    Prompt,
    answer,
    candidates,
    common_tokens,
    echo,
    pace,
    plan,
    prompt,
    scene,
    token_text,
    tokens,
)
from inference.engines.script_faults import Die, die, first_time, run_load
from inference.engines.script_record import Record
from inference.errors import EngineFault, ErrorInfo, InvalidRequest
from inference.messages import Embed, Generate, ModelFacts, Output, PromptProgress
from inference.model_spec import ModelSpec


def load(
    spec: ModelSpec,
    on_progress: OnProgress,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    die: Die = die,
) -> ScriptedEngine:
    """Load as the script at `spec.path` says. Raises InvalidModelFile, ConfigError, LoadFailed."""
    path = Path(spec.path)
    script = read_script(path)
    ballast = run_load(script.load, path.parent, on_progress, pause, die)
    return ScriptedEngine(spec, script, folder=path.parent, ballast=ballast, clock=clock, die=die)


@dataclass(frozen=True, slots=True)
class Job:
    """A request that this model can answer: one to generate for, or vectors that are already there."""

    request_id: int
    work: GenerateRequest | Embeddings
    prompt: Prompt = NO_PROMPT
    candidates: tuple[Candidate, ...] = ()


@dataclass(slots=True, eq=False)
class _Stream:
    """One answer on its way. `done` counts the events sent; -1 while the prompt is processed."""

    request_id: int
    prompt: Prompt
    plan: Plan
    pace: Pace
    turn: Turn
    done: int = -1
    fault_at: int = -2
    slot: int = -1
    cached: int = 0
    chunk_s: float = 0.0
    due: float = 0.0
    admitted_at: float = 0.0
    first_at: float = 0.0
    gone: bool = False


@dataclass(slots=True)
class _Slot:
    prompt: Prompt = NO_PROMPT
    released: int = 0  # serial number: among equally good slots the longest unused one is taken


class ScriptedEngine:
    """See the module docstring. `die` is what a scripted crash calls."""

    def __init__(
        self,
        spec: ModelSpec,
        script: Script,
        *,
        folder: Path = Path(),
        ballast: bytearray | None = None,
        clock: Callable[[], float] = time.monotonic,
        die: Die = die,
    ) -> None:
        self._spec = spec
        self._script = script
        self._folder = folder
        self._ballast = ballast
        self._clock = clock
        self._die = die
        kept = script.model.requests_file
        self._record = None if kept is None else Record(folder / kept)
        self._matched = [0] * len(script.turn)
        self._shared_plans: dict[int, Plan] = {}
        self._generations = 0
        self._slots = [_Slot() for _ in range(spec.slots)]
        self._free = set(range(spec.slots))
        self._releases = 0
        self._at_once: list[Output] = []
        self._waiting: dict[int, _Stream] = {}
        self._running: dict[int, _Stream] = {}
        self._due_now: list[_Stream] = []
        self._later: list[tuple[float, int, _Stream]] = []
        self.facts = ModelFacts(
            architecture="scripted",
            n_ctx=spec.n_ctx,
            n_ctx_train=spec.n_ctx,
            n_vocab=MAX_TOKEN_ID,
            slots=spec.slots,
            engine_build="scripted",
            has_chat_template=True,
            rss_bytes=psutil.Process().memory_info().rss,
        )

    # --- Engine protocol ---------------------------------------------------------------------

    def prepare(self, message: Generate | Embed) -> Job:
        if isinstance(message, Embed):
            return Job(message.request_id, self._embeddings(message.request))
        if self._spec.embeddings:
            raise InvalidRequest(
                f"{self._spec.name!r} is an embedding model: use /v1/embeddings, or another model for text",
                param="model",
            )
        asked = prompt(message.request)
        if asked.n_tokens == 0:
            raise InvalidRequest("the prompt is empty: give at least one token", param="prompt")
        if asked.n_tokens >= (room := room_of(message.request, self._spec)):
            raise overflow(asked.n_tokens, room, self._spec)
        return Job(
            message.request_id, message.request, asked, candidates(self._script, scene(message.request))
        )

    def submit(self, job: Job) -> None:
        if isinstance(job.work, Embeddings):
            self._at_once.append(Output(job.request_id, job.work))
            return
        self._generations += 1
        chosen = self._choose(job.candidates)
        if self._record is not None:
            self._record.add(self._name(chosen), job.work)
        if chosen is None and self._script.model.unmatched == "error":
            refusal = InvalidRequest(
                f"no turn of the script matches this request: {Path(self._spec.path).name}"
            )
            self._at_once.append(Output(job.request_id, refusal.info()))
            return
        self._waiting[job.request_id] = self._stream(job, job.work, chosen)

    def cancel(self, request_id: int) -> None:
        self._waiting.pop(request_id, None)
        if (stream := self._running.get(request_id)) is not None:
            self._release(stream)

    def step(self) -> list[Output]:
        now = self._clock()
        outputs, self._at_once = self._at_once, []
        while self._waiting and self._free:
            self._admit(self._waiting.pop(next(iter(self._waiting))), now, outputs)
        while self._later and self._later[0][0] <= now:
            self._due_now.append(heapq.heappop(self._later)[2])
        streams, self._due_now = self._due_now, []
        for stream in streams:
            if not stream.gone:
                self._advance(stream, now, outputs)
        return outputs

    def wait_s(self) -> float | None:
        if self._at_once or self._due_now or (self._waiting and self._free):
            return 0.0
        while self._later and self._later[0][2].gone:
            heapq.heappop(self._later)
        return max(0.0, self._later[0][0] - self._clock()) if self._later else None

    @property
    def archive_bytes(self) -> int:
        return 0

    def save(self, deadline_s: float) -> int:
        return 0

    def close(self) -> None:
        self._waiting.clear()
        self._running.clear()
        self._due_now.clear()
        self._later.clear()
        self._ballast = None
        if self._record is not None:
            self._record.close()
            self._record = None

    # --- from a request to a stream ----------------------------------------------------------

    def _choose(self, found: tuple[Candidate, ...]) -> Candidate | None:
        """The first candidate that the counts since load allow."""
        for candidate in found:
            turn = self._script.turn[candidate.number]
            if turn.match.request not in (None, self._generations):
                continue
            if turn.times is not None and self._matched[candidate.number] >= turn.times:
                continue
            self._matched[candidate.number] += 1
            return candidate
        return None

    def _name(self, chosen: Candidate | None) -> str | int | None:
        return None if chosen is None else self._script.turn[chosen.number].name or chosen.number

    def _stream(self, job: Job, request: GenerateRequest, chosen: Candidate | None) -> _Stream:
        turn = self._script.turn[chosen.number] if chosen else Turn()
        own = pace(self._script.defaults, turn)
        ready = self._plan(job, request, chosen, own.chunk_tokens)
        return _Stream(
            request_id=job.request_id,
            prompt=job.prompt,
            plan=ready,
            pace=own,
            turn=turn,
            fault_at=-2 if turn.fault is None else min(turn.fault.after_chunks, len(ready.events)),
            chunk_s=0.0 if own.tokens_per_second is None else own.chunk_tokens / own.tokens_per_second,
        )

    def _plan(self, job: Job, request: GenerateRequest, chosen: Candidate | None, chunk_tokens: int) -> Plan:
        room = room_of(request, self._spec) - job.prompt.n_tokens
        limits = Limits(
            room=room if request.max_tokens is None else min(room, request.max_tokens),
            stop=request.stop,
            logprobs=request.sampling.logprobs,
        )
        if chosen is None:
            made = plan(job.prompt, echo(request), chunk_tokens, limits)
        else:
            made = self._shared(chosen, chunk_tokens, limits) or plan(
                job.prompt, answer(self._script.turn[chosen.number], chosen.captures), chunk_tokens, limits
            )
        if isinstance(request, CompletionRequest) and request.echo:
            repeated = TextDelta(text=token_text(request.prompt, param="prompt"))
            return replace(made, events=(repeated, *made.events))
        return made

    def _shared(self, chosen: Candidate, chunk_tokens: int, limits: Limits) -> Plan | None:
        """The plan of a turn that says the same to everybody. Cutting an answer into events costs
        more than sending it, and in a benchmark hundreds of requests get the same one."""
        turn = self._script.turn[chosen.number]
        if chosen.captures or turn.tool_calls or limits.stop or limits.logprobs is not None:
            return None
        shared = self._shared_plans.get(chosen.number)
        if shared is None:
            unlimited = Limits(room=sys.maxsize)
            shared = plan(NO_PROMPT, answer(turn, {}), chunk_tokens, unlimited)
            self._shared_plans[chosen.number] = shared
        return shared if shared.output_tokens <= limits.room else None

    # --- a stream's life ---------------------------------------------------------------------

    def _admit(self, stream: _Stream, now: float, outputs: list[Output]) -> None:
        stream.slot, shared = self._best_slot(stream.prompt)
        n_tokens = stream.prompt.n_tokens
        stream.cached = min(shared, max(0, n_tokens - 1))
        self._free.remove(stream.slot)
        self._slots[stream.slot].prompt = stream.prompt
        self._running[stream.request_id] = stream
        stream.admitted_at = now
        stream.due = now + stream.pace.first_token_s
        if (rate := stream.pace.prefill_tokens_per_second) is not None:
            stream.due += (n_tokens - stream.cached) / rate
        outputs.append(_progress(stream, stream.cached))
        self._schedule(stream, now)

    def _best_slot(self, asked: Prompt) -> tuple[int, int]:
        """The free slot that forgets least, and how many tokens it shares with the prompt."""
        shared = {slot: common_tokens(self._slots[slot].prompt, asked) for slot in self._free}

        def cost(slot: int) -> tuple[int, int, int, int]:
            forgotten = self._slots[slot].prompt.n_tokens - shared[slot]
            return forgotten, -shared[slot], self._slots[slot].released, slot

        best = min(self._free, key=cost)
        return best, shared[best]

    def _schedule(self, stream: _Stream, now: float) -> None:
        if stream.due <= now:
            self._due_now.append(stream)
        else:
            heapq.heappush(self._later, (stream.due, stream.request_id, stream))

    def _advance(self, stream: _Stream, now: float, outputs: list[Output]) -> None:
        """At most one event, then when the next is due. One that is late is followed at once."""
        if stream.done < 0:
            outputs.append(_progress(stream, stream.prompt.n_tokens))
            stream.first_at = now
            stream.done = 0
        if stream.done == stream.fault_at and self._strike(stream, outputs):
            return
        events = stream.plan.events
        if stream.done < len(events):
            outputs.append(Output(stream.request_id, events[stream.done]))
            stream.done += 1
        if stream.done == len(events) and stream.done != stream.fault_at:
            outputs.append(Output(stream.request_id, _finish(stream, now)))
            self._release(stream)
            return
        stream.due += stream.chunk_s
        self._schedule(stream, now)

    def _strike(self, stream: _Stream, outputs: list[Output]) -> bool:
        """Let the turn's fault happen. False: it has already happened once, which was all it should."""
        fault = stream.turn.fault
        stream.fault_at = -2
        if fault is None or not first_time(fault.once_file, self._folder):
            return False
        match fault.kind:
            case "error":
                outputs.append(Output(stream.request_id, _error(fault)))
                self._release(stream)
            case "engine_fault":
                raise EngineFault(fault.message)
            case "stall":
                pass  # the slot stays taken and nothing is scheduled: only cancelling ends this stream
            case "hang" | "kill" | "abort":
                self._die(fault.kind)
            case _:
                assert_never(fault.kind)
        return True

    def _release(self, stream: _Stream) -> None:
        stream.gone = True
        del self._running[stream.request_id]
        self._free.add(stream.slot)
        self._releases += 1
        self._slots[stream.slot].released = self._releases

    # --- embeddings --------------------------------------------------------------------------

    def _embeddings(self, request: EmbeddingRequest) -> Embeddings:
        texts = [token_text(item, param="input") for item in request.inputs]
        counts = [len(tokens(text)) for text in texts]
        if min(counts, default=0) == 0:
            raise InvalidRequest("an input is empty: give at least one token", param="input")
        if max(counts) > self._spec.n_ctx:
            raise overflow(max(counts), self._spec.n_ctx, self._spec, "input")
        dimensions = self._script.model.dimensions
        return Embeddings(
            vectors=tuple(_unit_vector(text, dimensions) for text in texts),
            dimensions=dimensions,
            usage=Usage(input_tokens=sum(counts)),
        )


def _progress(stream: _Stream, done: int) -> Output:
    return Output(
        stream.request_id, PromptProgress(done=done, total=stream.prompt.n_tokens, cached=stream.cached)
    )


def _finish(stream: _Stream, now: float) -> Finish:
    n_tokens, made = stream.prompt.n_tokens, stream.plan
    usage = Usage(
        input_tokens=n_tokens,
        cached_tokens=stream.cached,
        output_tokens=made.output_tokens,
        reasoning_tokens=made.reasoning_tokens,
    )
    said = msgspec.structs.asdict(stream.turn.usage)
    return Finish(
        reason=stream.turn.finish or made.reason,
        usage=msgspec.structs.replace(usage, **{name: n for name, n in said.items() if n is not None}),
        timings=Timings(
            prefill_tokens=n_tokens - stream.cached,
            prefill_s=stream.first_at - stream.admitted_at,
            decode_tokens=made.output_tokens,
            decode_s=now - stream.first_at,
        ),
        stop_sequence=made.stop_sequence,
    )


def _error(fault: Fault) -> ErrorInfo:
    return ErrorInfo(code=fault.code, message=fault.message, retry_after_s=fault.retry_after_s)


def _unit_vector(text: str, dimensions: int) -> bytes:
    """The same text always has the same vector; different texts are about orthogonal."""
    digest = shake_256(text.encode("utf-8", "surrogatepass")).digest(4 * dimensions)
    values = [value / 2**31 + 2**-33 for value in struct.unpack(f"<{dimensions}i", digest)]  # never all zero
    norm = math.sqrt(sum(value * value for value in values))
    return struct.pack(f"<{dimensions}f", *(value / norm for value in values))
