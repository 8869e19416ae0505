"""The llama.cpp engine: continuous batching over `slots` sequences on llama-cpp-python's low-level API.

Owns the model, its context and the state of each slot. One `step` computes one batch: a token for
every running stream, and as much prompt as prefill_budget allows beside them. What can be decided
without llama.cpp is decided in inference/batching.py; raw calls are in llama_native.py.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from inference.batching import (
    Pending,
    Placement,
    SlotView,
    TokenArray,
    better_soon,
    place,
    plan_prefill,
    prefill_budget,
)
from inference.chat import (
    ChatRequest,
    CompletionRequest,
    FinishReason,
    GenerateRequest,
    TextDelta,
)
from inference.context_room import longest_answer
from inference.engines.base import OnProgress
from inference.engines.llama_answer import AnswerParser, AnswerReader
from inference.engines.llama_constraint import GrammarConstraint
from inference.engines.llama_dry import DrySamplers
from inference.engines.llama_embedding import EmbeddingRunner, EmbedJob
from inference.engines.llama_job import GenerateJob
from inference.engines.llama_markup import Markup
from inference.engines.llama_native import (
    ENGINE_VERSION,
    Context,
    EngineLog,
    Model,
    amx_warning,
    system_info,
)
from inference.engines.llama_prompt import Prompt, PromptReader
from inference.engines.llama_sampling import TokenSampler
from inference.engines.llama_slots import Slot, SlotCache, open_archive
from inference.engines.llama_threads import ThreadPool
from inference.errors import InvalidRequest
from inference.messages import Embed, Generate, ModelFacts, Output, PromptProgress
from inference.model_spec import ModelSpec
from inference.prefix_report import compare, explain, log_line
from inference.text_stream import TextStream
from inference.thread_governor import ThreadGovernor

WARM_UP_STEPS = 2
"""Per thread count; the first one touches memory, so the faster of two is what a step costs."""

_NO_TOKENS: TokenArray = np.empty(0, dtype=np.int32)


Job = GenerateJob | EmbedJob


def load(spec: ModelSpec, on_progress: OnProgress) -> LlamaEngine:
    """Load the model of `spec`. Blocks; raises LoadFailed with llama.cpp's own words."""
    log = EngineLog()
    try:
        return LlamaEngine(spec, on_progress, log)
    except BaseException:
        log.close()
        raise


class LlamaEngine:
    """Implements engines.base.Engine. `prepare` is thread-safe; all else belongs to one thread."""

    def __init__(self, spec: ModelSpec, on_progress: OnProgress, log: EngineLog) -> None:
        self._spec = spec
        self._log = log
        info = system_info()
        if warning := amx_warning(info):
            sys.stderr.write(f"{warning}\n")
        self._model = Model(spec, log, on_progress)
        self._governor = ThreadGovernor(_n_threads(spec))
        self._context = Context(self._model, spec, self._governor.threads, log)
        self._threads = ThreadPool(self._governor.threads)
        self._threads.attach(self._context.pointer)
        self._reader = PromptReader(self._model, spec)
        self._answers = AnswerReader(self._model, self._reader)
        self._dry = DrySamplers(self._model)
        self._markup = Markup(self._model)
        self._embedder = EmbeddingRunner(self._model, self._context, spec)
        archive = open_archive(self._model, spec, f"{ENGINE_VERSION} {info}")
        self._cache = SlotCache(self._model, self._context, spec, archive, self._markup)
        self._jobs: dict[int, Job] = {}  # by slot; a slot without one is idle
        self._waiting: deque[Job] = deque()
        self._clock = 0
        self._prefill_rate = 200.0  # tokens/s, corrected by every step that prefills
        self._warm_up()
        self.facts = ModelFacts(
            architecture=self._model.meta("general.architecture") or "unknown",
            n_ctx=spec.n_ctx,
            n_ctx_train=self._model.n_ctx_train,
            n_vocab=self._model.n_vocab,
            slots=spec.slots,
            engine_build=info,
            has_chat_template=self._model.meta("tokenizer.chat_template") is not None,
            rss_bytes=0,
            sampling=self._reader.defaults,
        )

    def prepare(self, message: Generate | Embed) -> Job:
        if isinstance(message, Embed):
            return self._embedder.prepare(message)
        if self._spec.embeddings:
            raise InvalidRequest(
                f"{self._spec.name!r} is an embedding model: use /v1/embeddings, or another model for text",
                param="model",
            )
        request = message.request
        prompt = self._reader.read(request)
        parser, constraint = self._bounds(request, prompt)
        return GenerateJob(
            request_id=message.request_id,
            prompt=prompt.tokens,
            sampling=self._reader.sampling(request),
            max_tokens=longest_answer(request, len(prompt.tokens), self._spec),
            ignore_eos=request.ignore_eos,
            stream=TextStream(request.stop),
            parser=parser,
            constraint=constraint,
            echo=prompt.text if isinstance(request, CompletionRequest) and request.echo else "",
            removed=prompt.removed,
        )

    def _bounds(
        self, request: GenerateRequest, prompt: Prompt
    ) -> tuple[AnswerParser | None, GrammarConstraint | None]:
        """How the answer is read, and what it may be."""
        if not isinstance(request, ChatRequest):
            return None, None
        return self._answers.parser(request, prompt), self._answers.constraint(request, prompt)

    def submit(self, job: Job) -> None:
        self._clock += 1
        job.order = self._clock
        job.started_s = time.monotonic()
        self._waiting.append(job)

    def cancel(self, request_id: int) -> None:
        self._waiting = deque(job for job in self._waiting if job.request_id != request_id)
        for slot in self._cache.slots:
            job = self._jobs.get(slot.index)
            if job is not None and job.request_id == request_id:
                self._release(slot, job)

    def wait_s(self) -> float | None:
        return 0.0 if self._waiting or self._jobs else None

    def step(self) -> list[Output]:
        outputs: list[Output] = []
        self._seat_waiting(outputs)
        self._step_embeddings(outputs)
        self._step_generations(outputs)
        return outputs

    @property
    def archive_bytes(self) -> int:
        return self._cache.archive_bytes

    def save(self, deadline_s: float) -> int:
        """Keep useful sequences for the next time this model is loaded. Returns how many."""
        return self._cache.save(deadline_s) if self._context.memory is not None else 0

    def close(self) -> None:
        for job in self._jobs.values():
            if isinstance(job, GenerateJob) and job.sampler is not None:
                job.sampler.close()
        self._dry.close()
        self._context.close()
        self._threads.close()
        self._model.close()
        self._log.close()

    # --- seating -------------------------------------------------------------------------------

    def _seat_waiting(self, outputs: list[Output]) -> None:
        """Give idle slots to waiting jobs, in order but for those that gain by waiting."""
        for job in list(self._waiting):
            if len(self._jobs) == len(self._cache.slots):
                return  # every step while others wait: views cost calls into llama.cpp
            views = self._views()
            prompt = job.prompt if isinstance(job, GenerateJob) else _NO_TOKENS
            placement = place(prompt, views)
            if placement is None:
                return
            if not better_soon(prompt, placement, views):
                self._waiting.remove(job)
                self._seat(job, placement, views, outputs)

    def _views(self) -> list[SlotView]:
        views: list[SlotView] = []
        for slot in self._cache.slots:
            job = self._jobs.get(slot.index)
            prefills = isinstance(job, GenerateJob) and slot.n_cached < len(job.prompt)
            coming = job.prompt if prefills and isinstance(job, GenerateJob) else None
            views.append(self._cache.view(slot, busy=job is not None, coming=coming))
        return views + self._cache.archived()

    def _seat(self, job: Job, placement: Placement, views: list[SlotView], outputs: list[Output]) -> None:
        slot = self._cache.slots[placement.index]
        self._jobs[slot.index] = job
        self._cache.touch(slot)
        if isinstance(job, EmbedJob):
            self._cache.empty(slot)
            return
        match = compare(job.prompt, placement, views, self._markup.text, self._markup.is_control)
        job.cached = self._cache.adopt(slot, job.prompt, placement)
        report = explain(match, job.cached, job.removed)
        sys.stderr.write(log_line(job.request_id, report) + "\n")
        outputs.append(Output(job.request_id, report))
        seed = secrets.randbits(32) if job.sampling.seed is None else job.sampling.seed & 0xFFFFFFFF
        ban = self._model.eog_tokens if job.ignore_eos else _NO_TOKENS
        job.sampler = TokenSampler(
            self._model,
            job.sampling,
            seed=seed,
            prompt=job.prompt,
            ban=ban,
            dry=self._dry,
            constraint=job.constraint,
        )
        if job.echo:
            outputs.append(Output(job.request_id, TextDelta(text=job.echo)))

    def _release(self, slot: Slot, job: Job) -> None:
        if isinstance(job, EmbedJob):
            self._cache.clear(slot)
        elif job.sampler is not None:
            job.sampler.close()
        del self._jobs[slot.index]
        self._cache.touch(slot)

    # --- computing -----------------------------------------------------------------------------

    def _step_embeddings(self, outputs: list[Output]) -> None:
        """One chunk of the oldest embedding job, in a batch of its own."""
        running = [(job.order, index, job) for index, job in self._jobs.items() if isinstance(job, EmbedJob)]
        if not running:
            return
        _, index, job = min(running, key=lambda entry: entry[0])
        result = self._embedder.step(job, index)
        if result is not None:
            outputs.append(Output(job.request_id, result))
            self._release(self._cache.slots[index], job)

    def _step_generations(self, outputs: list[Output]) -> None:
        """By slot: llama.cpp computes rows of neighbouring sequences at once, in ascending order only."""
        jobs = [
            (s, job) for s in self._cache.slots if isinstance(job := self._jobs.get(s.index), GenerateJob)
        ]
        chunks = self._prompt_chunks(jobs)
        batch = self._context.batch
        batch.clear()
        rows: list[tuple[Slot, GenerateJob, int]] = []
        n_prefilled = 0
        for slot, job in jobs:
            if job.n_output:
                rows.append((slot, job, batch.add_one(slot.index, slot.n_cached, job.next_token)))
                slot.tokens[slot.n_cached] = job.next_token
                slot.n_cached += 1
            elif n_tokens := chunks[slot.index]:
                n_prefilled += n_tokens
                self._add_prompt(slot, job, n_tokens, rows, outputs)
        if batch.n_tokens == 0:
            return
        started_s = time.monotonic()
        self._context.decode()
        now_s = time.monotonic()
        if n_prefilled:
            self._learn_rate(n_prefilled, now_s - started_s)
        else:
            self._context.set_threads(self._governor.observe(len(rows), now_s - started_s, now_s))
        for index in chunks:
            self._cache.reached_stop(self._cache.slots[index])
        for slot, job, row in rows:
            self._sample(slot, job, row, outputs)

    def _prompt_chunks(self, jobs: Sequence[tuple[Slot, GenerateJob]]) -> dict[int, int]:
        """How many tokens of each unfinished prompt the step computes, by slot."""
        pending = [
            Pending(slot.index, slot.next_stop(len(job.prompt)) - slot.n_cached, job.order)
            for slot, job in jobs
            if not job.n_output
        ]
        n_decoding = len(jobs) - len(pending)
        n_batch = self._context.n_batch
        budget = prefill_budget(n_decoding, len(pending), n_batch, self._prefill_rate)
        chunks = dict.fromkeys((entry.index for entry in pending), 0)
        for chunk in plan_prefill(pending, budget, n_batch - n_decoding):
            chunks[chunk.index] = chunk.n_tokens
        return chunks

    def _add_prompt(
        self,
        slot: Slot,
        job: GenerateJob,
        n_tokens: int,
        rows: list[tuple[Slot, GenerateJob, int]],
        outputs: list[Output],
    ) -> None:
        """Add a piece of a prompt to the batch; if it is the last one, it joins `rows`."""
        start, end = slot.n_cached, slot.n_cached + n_tokens
        is_last = end == len(job.prompt)
        row = self._context.batch.add(
            slot.index, start, job.prompt[start:end], outputs="last" if is_last else "none"
        )
        slot.n_cached = end
        if is_last:
            rows.append((slot, job, row))
        else:
            progress = PromptProgress(done=end, total=len(job.prompt), cached=job.cached)
            outputs.append(Output(job.request_id, progress))

    def _learn_rate(self, n_tokens: int, seconds: float) -> None:
        if n_tokens >= 8 and seconds > 0:
            self._prefill_rate += 0.3 * (n_tokens / seconds - self._prefill_rate)

    def _sample(self, slot: Slot, job: GenerateJob, row: int, outputs: list[Output]) -> None:
        assert job.sampler is not None  # seated jobs have one
        try:
            token, logprob = job.sampler.draw(self._context, row)
        except InvalidRequest as error:  # a schema that turned out too complex on the way
            outputs.append(Output(job.request_id, error.info()))
            self._release(slot, job)
            return
        job.next_token = token
        job.n_output += 1
        if job.n_output == 1:
            job.first_token_s = time.monotonic()
        if logprob is not None:
            job.logprobs.append(logprob)
        if self._model.is_eog(token) and not job.ignore_eos:
            self._finish(slot, job, "stop", outputs)
            return
        piece = self._model.piece(token) if job.parser is None else self._answers.piece(token)
        text = job.stream.push(piece)
        if job.stream.stopped is not None:
            self._finish(slot, job, "stop", outputs, text)
        elif job.n_output == job.max_tokens or slot.n_cached == self._spec.n_ctx:
            self._finish(slot, job, "length", outputs, text)
        else:
            outputs += [Output(job.request_id, delta) for delta in job.say(text, time.monotonic())]

    def _finish(
        self, slot: Slot, job: GenerateJob, reason: FinishReason, outputs: list[Output], text: str = ""
    ) -> None:
        outputs += [Output(job.request_id, event) for event in job.finish(reason, text, time.monotonic())]
        self._release(slot, job)

    def _warm_up(self) -> None:
        """Decode a few tokens with each thread count: pages and buffers are in place for the first
        request, and a machine that is busy from the start gets as many threads as help."""
        if self._context.memory is None:
            return
        seconds: dict[int, float] = {}
        for threads in self._governor.levels[:2]:
            self._context.set_threads(threads)
            seconds[threads] = min(self._timed_token() for _ in range(WARM_UP_STEPS))
        self._governor.start_from(seconds)
        self._context.set_threads(self._governor.threads)

    def _timed_token(self) -> float:
        """Seconds for one token in an empty sequence, forgotten again."""
        self._context.batch.clear()
        self._context.batch.add(0, 0, np.zeros(1, dtype=np.int32), outputs="last")
        started_s = time.monotonic()
        self._context.decode()
        self._context.forget(0)
        return time.monotonic() - started_s


def _n_threads(spec: ModelSpec) -> int:
    """The cores this process may use, unless models.toml says otherwise."""
    return spec.threads or max(1, len(os.sched_getaffinity(0)))
