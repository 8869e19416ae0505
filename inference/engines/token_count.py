"""The helper of token_counts.py: prompts in, their numbers of tokens out, a JSON line for each.

    echo '{"type":"ChatRequest","model":"m","messages":[]}' | \\
        python -m inference.engines.token_count '{"type":"ModelSpec","name":"m","path":"m.gguf"}' 30

The arguments are a ModelSpec as JSON and the seconds an answer may take. A process of its own, because
llama.cpp has one log per process, aborts on what it does not like, and is given a file that nobody
vouches for. It ends with its input.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable

import msgspec

from inference.chat import ChatRequest
from inference.engines import script_answers
from inference.errors import ContextLengthExceeded, ErrorInfo, HotseatError
from inference.model_spec import ModelSpec
from inference.token_counts import Counted

MAX_DATA_BYTES = 4 * 2**30
"""Private memory. A vocabulary of 262k tokens takes 0.2 GiB."""

Count = Callable[[ChatRequest], int]


def main(argv: list[str]) -> int:
    spec = msgspec.json.decode(argv[1], type=ModelSpec)
    limit_s = int(argv[2])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
    signal.alarm(limit_s)
    try:
        count = _scripted if spec.engine == "scripted" else _by_vocabulary(spec)
    except HotseatError as error:
        _say(error.info())
        return 1
    for line in sys.stdin.buffer:
        signal.alarm(limit_s)  # ends a native call that does not return, too
        _say(_answer(count, msgspec.json.decode(line, type=ChatRequest)))
        signal.alarm(0)
    return 0


def _answer(count: Count, request: ChatRequest) -> Counted | ErrorInfo:
    try:
        return Counted(n_tokens=count(request))
    except ContextLengthExceeded as error:
        if error.n_tokens is None:
            return error.info()
        return Counted(n_tokens=error.n_tokens)  # too long for an answer, not for counting
    except HotseatError as error:
        return error.info()


def _scripted(request: ChatRequest) -> int:
    return script_answers.prompt(request).n_tokens


def _by_vocabulary(spec: ModelSpec) -> Count:
    from inference.engines.llama_native import EngineLog, Model
    from inference.engines.llama_prompt import PromptReader

    log = EngineLog()
    reader = PromptReader(Model(spec, log, lambda _fraction: None, vocab_only=True), spec)
    return lambda request: len(reader.read(request).tokens)


def _say(answer: Counted | ErrorInfo) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    status = main(sys.argv)
    os._exit(status)  # freeing a vocabulary is of no use
