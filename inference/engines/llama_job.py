"""One generation of the llama.cpp engine, from its tokens to its last event."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.batching import TokenArray
from inference.chat import Finish, FinishReason, Sampling, TextDelta, Timings, TokenLogprob, Usage
from inference.engines.llama_answer import AnswerParser
from inference.engines.llama_constraint import GrammarConstraint
from inference.engines.llama_sampling import TokenSampler
from inference.stream_parser import Delta
from inference.text_stream import TextStream

SEND_INTERVAL_S = 0.015
"""A stream is sent no more often than this. Each sending wakes the proxy and the client, which on few
cores interrupts the next step: at 9 ms a token, one by one, that cost a tenth of the speed."""


@dataclass(slots=True)
class GenerateJob:
    """One generation, from its tokens to its last event."""

    request_id: int
    prompt: TokenArray
    sampling: Sampling
    max_tokens: int | None
    ignore_eos: bool
    stream: TextStream
    parser: AnswerParser | None = None
    constraint: GrammarConstraint | None = None  # closed with the sampler
    echo: str = ""
    removed: dict[str, int] = field(default_factory=dict)  # what stabilise_prefix took out
    order: int = 0
    cached: int = 0
    sampler: TokenSampler | None = None  # from seating to release
    n_output: int = 0
    started_s: float = 0.0
    first_token_s: float = 0.0
    next_token: int = -1
    logprobs: list[TokenLogprob] = field(default_factory=list)
    held: str = ""  # text not sent yet
    sent_s: float = 0.0

    def say(self, text: str, now_s: float) -> list[Delta]:
        """What to send now: nothing if some was sent a moment ago, then it goes with the next token's."""
        self._hold(text)
        if now_s - self.sent_s < SEND_INTERVAL_S:
            return []
        deltas = self._taken()
        if deltas:
            self.sent_s = now_s
        return deltas

    def finish(self, reason: FinishReason, text: str, now_s: float) -> list[Delta | Finish]:
        """The last events. `text`: of the last token."""
        self._hold(text if self.stream.stopped is not None else text + self.stream.finish())
        if self.parser is not None:
            reason = self.parser.finish(reason)
        events: list[Delta | Finish] = [*self._taken()]
        if self.logprobs:
            events.append(TextDelta(text="", logprobs=tuple(self.logprobs)))
        usage = Usage(
            input_tokens=len(self.prompt),
            cached_tokens=self.cached,
            output_tokens=self.n_output,
            reasoning_tokens=self.parser.n_reasoning if self.parser is not None else 0,
        )
        timings = Timings(
            prefill_tokens=len(self.prompt) - self.cached,
            prefill_s=self.first_token_s - self.started_s,
            decode_tokens=self.n_output - 1,
            decode_s=now_s - self.first_token_s,
        )
        stop_sequence = self.stream.stopped or ""
        events.append(Finish(reason=reason, usage=usage, timings=timings, stop_sequence=stop_sequence))
        return events

    def _hold(self, text: str) -> None:
        if self.parser is None:
            self.held += text
        else:
            self.parser.feed(text)

    def _taken(self) -> list[Delta]:
        """What is held, with the log-probabilities of all tokens since the last text."""
        if self.parser is not None:
            deltas = self.parser.take()
        else:
            deltas, self.held = [TextDelta(text=self.held)] if self.held else [], ""
        for index, delta in enumerate(deltas):
            if self.logprobs and isinstance(delta, TextDelta):
                deltas[index] = TextDelta(text=delta.text, logprobs=tuple(self.logprobs))
                self.logprobs = []
        return deltas
