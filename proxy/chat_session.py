"""`hotseat chat`: one answer, or a conversation, streamed to the terminal.

The answer goes to `out`; what is worth knowing beside it (waiting, reasoning, speed) to `notes`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from proxy.client import Client, ClientError
from proxy.progress import PoolProgress

HELP = "Ctrl-C stops an answer, Ctrl-D leaves, /clear forgets the conversation."

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class ChatOptions:
    model: str
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None


class ChatSession:
    """The conversation so far with one model."""

    def __init__(self, client: Client, options: ChatOptions, out: TextIO, notes: TextIO) -> None:
        self._client = client
        self._options = options
        self._out = out
        self._notes = notes
        self._progress = PoolProgress(client, notes)
        self._messages = self._opening()

    def ask(self, prompt: str) -> None:
        """Stream the answer to `prompt`. Raises ClientError; the conversation is then as it was before."""
        with self._progress:
            self._ask(prompt)

    def talk(self, read_line: Callable[[str], str]) -> None:
        """Ask what `read_line` gives, until it raises EOFError. Errors are shown and the talk goes on."""
        self._notes.write(f"{self._options.model}: {HELP}\n")
        with self._progress:
            while True:
                try:
                    self._say(read_line("> ").strip())
                except EOFError:
                    self._notes.write("\n")
                    return
                except KeyboardInterrupt:
                    self._notes.write("\n")
                except ClientError as error:
                    self._notes.write(f"hotseat: {error}\n")

    def _say(self, line: str) -> None:
        if line == "/clear":
            self._messages = self._opening()
        elif line:
            self._ask(line)

    def _ask(self, prompt: str) -> None:
        question = {"role": "user", "content": prompt}
        answer = _Answer(self._out, self._notes, on_first=self._progress.end)
        self._progress.begin()
        try:
            for chunk in self._client.chat(self._request(question)):
                answer.take(chunk)
        finally:
            self._progress.end()
            answer.finish_line()
        self._notes.write(f"[{answer.summary()}]\n")
        self._messages += [question, {"role": "assistant", "content": answer.text}]

    def _opening(self) -> list[dict[str, str]]:
        system = self._options.system
        return [{"role": "system", "content": system}] if system else []

    def _request(self, question: Mapping[str, str]) -> dict[str, Any]:
        options = self._options
        optional = {"temperature": options.temperature, "max_tokens": options.max_tokens}
        return {
            "model": options.model,
            "messages": [*self._messages, question],
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in optional.items() if value is not None},
        }


class _Answer:
    """One streamed answer on its way out. Text is cleaned for a terminal only: a pipe gets all of it."""

    def __init__(self, out: TextIO, notes: TextIO, on_first: Callable[[], None]) -> None:
        self.text = ""
        self._out = out
        self._notes = notes
        self._on_first = on_first
        self._asked_at = time.monotonic()
        self._first_s: float | None = None
        self._reason = ""
        self._usage: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}

    def take(self, chunk: Mapping[str, Any]) -> None:
        self._usage = chunk.get("usage") or self._usage
        self._timings = chunk.get("timings") or self._timings
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            self._reason = choice.get("finish_reason") or self._reason
            if reasoning := delta.get("reasoning_content"):
                self._mark_first()
                dim, plain = (_DIM, _PLAIN) if self._notes.isatty() else ("", "")
                _write(self._notes, f"{dim}{_printable(reasoning)}{plain}")
            if text := delta.get("content"):
                self._mark_first()
                self.text += text
                _write(self._out, _printable(text) if self._out.isatty() else text)

    def finish_line(self) -> None:
        if self.text and not self.text.endswith("\n"):
            _write(self._out, "\n")

    def summary(self) -> str:
        """`40 tokens, 105.3 tok/s; prompt 12 (3 cached); first after 0.21 s; stop`"""
        parts = [f"{self._usage.get('completion_tokens', '?')} tokens"]
        if speed := self._timings.get("predicted_per_second"):
            parts[0] += f", {speed:.1f} tok/s"
        if prompt := self._usage.get("prompt_tokens"):
            cached = (self._usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            parts.append(f"prompt {prompt} ({cached} cached)")
        if self._first_s is not None:
            parts.append(f"first after {self._first_s:.2f} s")
        return "; ".join([*parts, self._reason or "no finish reason"])

    def _mark_first(self) -> None:
        if self._first_s is None:
            self._first_s = time.monotonic() - self._asked_at
            self._on_first()


def _printable(text: str) -> str:
    """Without the control characters that could steer a terminal."""
    return _CONTROL.sub("", text)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
