"""A dry run: llama.cpp makes a model and its context without weights and KV cache, and logs its buffers.

    python -m inference.engines.llama_dry_run '{"name": "m", "path": "m.gguf", "n_ctx": 4096}' 10

The arguments are a ModelSpec as JSON and the seconds it may take. Prints one JSON line, a list of
buffers; exits with 3 and llama.cpp's reason on stderr if there are none. A process of its own,
because llama.cpp has one log per process, aborts on what it does not like, and is given a file
that nobody vouches for: time, processor time and memory are bounded by the kernel, whether the
parent lives or not. Costs 0.01 to 0.4 s beyond the start of Python, recurrent state for real, and
on a GPU a CUDA context while it lasts, which fits into the memory that is kept in reserve.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import Any

import llama_cpp.llama_cpp as lib
import msgspec

from inference.buffer_sizes import Buffer, parse_buffers
from inference.engines.llama_native import context_params, model_params
from inference.model_spec import ModelSpec

EXIT_REFUSED = 3
MAX_DATA_BYTES = 4 * 2**30
"""Private memory. A vocabulary of 262k tokens takes 0.2 GiB; an address space limit would stop CUDA."""

MAX_KEPT_CHARS = 200_000
_NICENESS = 10
_LEVEL_ERROR = 4  # ggml.h
_LEVEL_CONT = 5


def main(argv: list[str]) -> int:
    spec = msgspec.json.decode(argv[1], type=ModelSpec)
    _limit(int(argv[2]))
    buffers = dry_run(spec)
    if not buffers:
        sys.stderr.write("llama.cpp logged no buffers\n")
        return EXIT_REFUSED
    sys.stdout.write(msgspec.json.encode(buffers).decode() + "\n")
    return 0


def dry_run(spec: ModelSpec) -> tuple[Buffer, ...]:
    """The buffers a context of `spec` takes; empty if llama.cpp refuses it, with its errors on stderr."""
    log = _Log()
    lib.llama_backend_init()
    params = model_params(spec)
    params.no_alloc = True
    params.load_mode = lib.LLAMA_LOAD_MODE_NONE  # with a mapped file no_alloc ends in GGML_ASSERT
    model = lib.llama_model_load_from_file(spec.path.encode(), params)
    if not model:
        return ()
    has_encoder = bool(lib.llama_model_has_encoder(model))
    context = lib.llama_init_from_model(model, context_params(spec, 1, has_encoder=has_encoder))
    return parse_buffers(log.text()) if context else ()


class _Log:
    """llama.cpp's log: lines about buffers are kept, errors go to stderr."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._n_chars = 0
        self._level = 0
        self._callback = lib.llama_log_callback(self._on_log)  # kept alive with this object
        lib.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _on_log(self, level: int, text: bytes, _user_data: Any) -> None:
        line = text.decode("utf-8", "replace")
        if level != _LEVEL_CONT:
            self._level = level
        if self._level == _LEVEL_ERROR:
            sys.stderr.write(line)
        elif "buffer size" in line and self._n_chars < MAX_KEPT_CHARS:
            self._kept.append(line)
            self._n_chars += len(line)

    def text(self) -> str:
        return "".join(self._kept)


def _limit(seconds: int) -> None:
    """What the kernel ends this process for. SIGALRM also ends a native call that waits for ever."""
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
    signal.alarm(seconds)


if __name__ == "__main__":
    status = main(sys.argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # freeing what was never allocated is of no use, and could still crash
