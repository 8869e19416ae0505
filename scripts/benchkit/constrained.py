"""Constrained answers of one model, several at once in one batch, straight on the engine's parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.batching import TokenArray, common_prefix
from inference.chat import Sampling
from inference.engines.llama_constraint import CompiledGrammar
from inference.engines.llama_dry import DrySamplers
from inference.engines.llama_grammar import GrammarCompiler, read_vocabulary
from inference.engines.llama_native import Context, EngineLog, Model
from inference.engines.llama_sampling import TokenSampler
from inference.model_spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Ask:
    prompt: str
    grammar: CompiledGrammar | None
    seed: int


@dataclass(slots=True)
class Answer:
    """`ended`: the model ended it; otherwise it was cut. `decode_s`: of all tokens but the first, by the
    clock; `cpu_s` computed for them, and of that `draw_s` to draw them. All three are the batch's."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    ended: bool = False
    decode_s: float = 0.0
    cpu_s: float = 0.0
    draw_s: float = 0.0


class Bench:
    """A model with a context for `slots` answers at a time, on `threads`."""

    def __init__(self, path: Path, *, slots: int, n_ctx: int = 1024, threads: int) -> None:
        self._log = EngineLog()
        spec = ModelSpec(
            name="bench",
            path=str(path),
            n_ctx=n_ctx,
            slots=slots,
            n_batch=512,
            n_ubatch=512,
            threads=threads,
        )
        self.threads = threads
        self.model = Model(spec, self._log, lambda _fraction: None)
        self.context = Context(self.model, spec, threads, self._log)
        self.compiler = GrammarCompiler(lambda: read_vocabulary(self.model))
        self._dry = DrySamplers(self.model)

    def answers(self, asks: Sequence[Ask], sampling: Sampling, max_tokens: int) -> list[Answer]:
        """At most `slots` answers, decoded together."""
        model, context, batch = self.model, self.context, self.context.batch
        answers = [Answer() for _ in asks]
        samplers: list[TokenSampler] = []
        rows: dict[int, int] = {}
        positions: list[int] = []
        prompts = [model.tokenize(ask.prompt, add_special=False) for ask in asks]
        for index, (ask, prompt) in enumerate(zip(asks, prompts, strict=True)):
            constraint = ask.grammar.constraint() if ask.grammar else None
            samplers.append(
                TokenSampler(
                    model,
                    sampling,
                    seed=ask.seed,
                    prompt=prompt,
                    ban=prompt[:0],
                    dry=self._dry,
                    constraint=constraint,
                )
            )
            shared = self._share(prompt, index, prompts[0]) if index else 0
            if not shared:
                context.forget(index)
            batch.clear()
            row = batch.add(index, shared, prompt[shared:], outputs="last")
            context.decode()
            positions.append(len(prompt))
            answers[index].tokens.append(samplers[index].draw(context, row)[0])
        started_s, begun_cpu_s, draw_s = time.perf_counter(), time.process_time(), 0.0
        while True:
            batch.clear()
            rows.clear()
            for index, answer in enumerate(answers):
                answer.ended = answer.ended or model.is_eog(answer.tokens[-1])
                if not answer.ended and len(answer.tokens) < max_tokens:
                    rows[index] = batch.add_one(index, positions[index], answer.tokens[-1])
                    positions[index] += 1
            if not rows:
                break
            context.decode()
            begun_s = time.thread_time()
            for index, row in rows.items():
                answers[index].tokens.append(samplers[index].draw(context, row)[0])
            draw_s += time.thread_time() - begun_s
        decode_s, cpu_s = time.perf_counter() - started_s, time.process_time() - begun_cpu_s
        for sampler, answer in zip(samplers, answers, strict=True):
            sampler.close()
            answer.decode_s, answer.cpu_s, answer.draw_s = decode_s, cpu_s, draw_s
            answer.text = b"".join(model.piece(token) for token in answer.tokens).decode("utf-8", "replace")
        return answers

    def _share(self, prompt: TokenArray, index: int, first: TokenArray) -> int:
        """Give sequence `index` what its prompt has in common with sequence 0, whose prompt was `first`:
        half of the time for short answers was computing the same instructions again. Returns its tokens."""
        shared = common_prefix(prompt[:-1], first)  # the logits of the last one are needed
        self.context.copy_sequence(0, index)
        return shared if shared and self.context.keep_prefix(index, shared) else 0

    def close(self) -> None:
        self.context.close()
        self._dry.close()
        self.model.close()
        self._log.close()
