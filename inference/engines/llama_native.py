"""Thin, typed objects around llama_cpp's C functions: Model, Context, Batch.

Owns the raw pointers. Nothing here decides anything; engines/llama.py does. Only this module,
llama_sampling.py and llama_dry_run.py import llama_cpp. Contracts and units are llama.h's
(llama.cpp as vendored in llama-cpp-python 0.3.36).
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, Literal

import llama_cpp
import llama_cpp.llama_cpp as lib
import numpy as np
import numpy.typing as npt

from inference.batching import TokenArray
from inference.errors import EngineFault, InsufficientMemory, LoadFailed
from inference.model_spec import ModelSpec
from inference.template_markup import SpecialToken
from inference.vram import N_OUTPUTS_MAX

ENGINE_VERSION: Final = f"llama-cpp-python {llama_cpp.__version__}"

_KV_TYPES: Final[dict[str, int]] = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""enum ggml_type of ggml.h; llama_cpp names only some of them."""

_POOLING: Final[dict[str, int]] = {
    "model": lib.LLAMA_POOLING_TYPE_UNSPECIFIED,
    "mean": lib.LLAMA_POOLING_TYPE_MEAN,
    "cls": lib.LLAMA_POOLING_TYPE_CLS,
    "last": lib.LLAMA_POOLING_TYPE_LAST,
}

_FLASH_ATTN: Final[dict[bool | str, int]] = {
    "auto": lib.LLAMA_FLASH_ATTN_TYPE_AUTO,
    True: lib.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    False: lib.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}

_PARTIAL: Final = 1
"""LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY of llama.h: recurrent state and sliding windows only."""

_GGML_LEVEL_WARN: Final = 3  # ggml.h: NONE 0, DEBUG 1, INFO 2, WARN 3, ERROR 4, CONT 5
_GGML_LEVEL_ERROR: Final = 4
_GGML_LEVEL_CONT: Final = 5


class EngineLog:
    """llama.cpp's log: warnings, errors and buffer sizes go to stderr, errors are kept as causes."""

    _WORTH_SHOWING = re.compile(r"buffer size|n_ctx|offloaded|error|fail", re.IGNORECASE)

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=8)
        self._level = 0
        self._callback = lib.llama_log_callback(self._on_log)  # kept alive with this object
        lib.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _on_log(self, level: int, text: bytes, _user_data: Any) -> None:
        line = text.decode("utf-8", "replace")
        if level != _GGML_LEVEL_CONT:
            self._level = level
        if self._level == _GGML_LEVEL_ERROR and line.strip():
            self.errors.append(line.strip())
        if self._level >= _GGML_LEVEL_WARN or self._WORTH_SHOWING.search(line):
            sys.stderr.write(line)

    def close(self) -> None:
        """Give the log back to llama.cpp, which would else call a callback that is gone."""
        lib.llama_log_set(lib.llama_log_callback(0), ctypes.c_void_p(0))

    def cause(self) -> str:
        """The errors so far as one line, for a message."""
        return "; ".join(self.errors) or "llama.cpp gave no reason"


_NO_MEMORY = re.compile(r"out of memory|(failed|unable) to allocate|cudaMalloc failed", re.IGNORECASE)


def _load_error(message: str) -> LoadFailed | InsufficientMemory:
    """By llama.cpp's own words: memory that was not there may be there when others have left."""
    return InsufficientMemory(message) if _NO_MEMORY.search(message) else LoadFailed(message)


def system_info() -> str:
    """The instruction sets this engine build uses, as llama.cpp prints them."""
    info: bytes = lib.llama_print_system_info()
    return info.decode("utf-8", "replace").strip(" |")


def amx_warning(info: str) -> str | None:
    """What to tell the owner of a build that runs AMX kernels; None for others."""
    if not uses_amx(info):
        return None
    return (
        "this engine build uses AMX kernels, which crash in prefill on some virtual machines: they are "
        "switched off at run time; rebuild with scripts/serve (GGML_NATIVE=OFF) for full speed"
    )


def uses_amx(info: str) -> bool:
    """Whether a build runs AMX tile kernels: those crash in prefill on some virtual machines."""
    return "AMX_INT8 = 1" in info


def model_params(spec: ModelSpec) -> Any:
    """llama_model_params of `spec`: the same for a load and for a dry run."""
    params = lib.llama_model_default_params()
    params.n_gpu_layers = -1 if spec.n_gpu_layers == "all" else spec.n_gpu_layers
    # AMX kernels live in the extra buffer types; without those the build is safe, only slower.
    params.use_extra_bufts = not uses_amx(system_info())
    return params


def context_params(spec: ModelSpec, n_threads: int, *, has_encoder: bool) -> Any:
    """llama_context_params of `spec`: the same for a load and for a dry run."""
    params = lib.llama_context_default_params()
    params.n_ctx = spec.n_ctx * spec.slots
    params.n_seq_max = spec.slots
    params.n_batch = params.n_ubatch = spec.n_batch
    if not (spec.embeddings and has_encoder):
        params.n_ubatch = min(spec.n_ubatch, spec.n_batch)
    params.n_outputs_max = max(N_OUTPUTS_MAX, spec.slots)
    params.n_threads = params.n_threads_batch = n_threads
    params.type_k = params.type_v = _KV_TYPES[spec.kv_type]
    params.flash_attn_type = _FLASH_ATTN[spec.flash_attn]
    params.swa_full = spec.swa_full
    params.kv_unified = spec.kv_unified
    params.no_perf = True
    if spec.embeddings:
        params.embeddings = True
        params.n_outputs_max = spec.n_batch
        params.pooling_type = _POOLING[spec.pooling]
    return params


class Model:
    """Weights and vocabulary of one GGUF file. The vocabulary's methods are thread-safe."""

    def __init__(
        self,
        spec: ModelSpec,
        log: EngineLog,
        on_progress: Callable[[float], None],
        *,
        vocab_only: bool = False,
    ) -> None:
        """`vocab_only`: without weights, for those who only tokenise."""
        lib.llama_backend_init()
        params = model_params(spec)
        params.vocab_only = vocab_only

        def report(fraction: float, _user_data: Any) -> bool:
            on_progress(fraction)
            return True  # go on loading

        params.progress_callback = lib.llama_progress_callback(report)
        pointer = lib.llama_model_load_from_file(spec.path.encode(), params)
        if not pointer:
            raise _load_error(f"llama.cpp refused {spec.path}: {log.cause()}")
        self.pointer: Any = pointer
        self.vocab: Any = lib.llama_model_get_vocab(pointer)
        self.n_vocab: int = lib.llama_vocab_n_tokens(self.vocab)
        self.n_embd: int = lib.llama_model_n_embd_out(pointer)
        self.n_ctx_train: int = lib.llama_model_n_ctx_train(pointer)
        self.n_swa: int = lib.llama_model_n_swa(pointer)
        self.is_recurrent = bool(lib.llama_model_is_recurrent(pointer) or lib.llama_model_is_hybrid(pointer))
        self.has_encoder = bool(lib.llama_model_has_encoder(pointer))
        self.has_decoder = bool(lib.llama_model_has_decoder(pointer))
        self._pieces: dict[int, bytes] = {}

    def meta(self, key: str) -> str | None:
        """A metadata value of the file as text, or None."""
        size = lib.llama_model_meta_val_str(self.pointer, key.encode(), None, 0)
        if size < 0:
            return None
        buffer = ctypes.create_string_buffer(size + 1)
        lib.llama_model_meta_val_str(self.pointer, key.encode(), buffer, size + 1)
        return buffer.value.decode("utf-8", "replace")

    def token_text(self, token: int) -> str:
        """The vocabulary's own text of a token, special ones included; "" for none (id −1)."""
        if not 0 <= token < self.n_vocab:
            return ""
        return (lib.llama_vocab_get_text(self.vocab, token) or b"").decode("utf-8", "replace")

    def is_eog(self, token: int) -> bool:
        """Whether the token ends a generation (end of sequence, of turn, of message)."""
        return bool(lib.llama_vocab_is_eog(self.vocab, token))

    def is_control(self, token: int) -> bool:
        """Whether the token is markup of the chat template rather than text."""
        return bool(lib.llama_vocab_is_control(self.vocab, token))

    @cached_property
    def eog_tokens(self) -> TokenArray:
        """All tokens that end a generation. Asks for each token of the vocabulary once, 0.1 s for 262k."""
        return np.array([t for t in range(self.n_vocab) if self.is_eog(t)], dtype=np.int32)

    @property
    def bos_text(self) -> str:
        return self.token_text(lib.llama_vocab_bos(self.vocab))

    @property
    def eos_text(self) -> str:
        return self.token_text(lib.llama_vocab_eos(self.vocab))

    @property
    def adds_bos(self) -> bool:
        return bool(lib.llama_vocab_get_add_bos(self.vocab))

    def special_token(self, token: int) -> SpecialToken | None:
        """How a token is spelled that is recognised in text only where special tokens are asked for."""
        attributes = lib.llama_vocab_get_attr(self.vocab, token)
        if not attributes & (lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN):
            return None
        return SpecialToken(
            self.token_text(token),
            strips_before=bool(attributes & lib.LLAMA_TOKEN_ATTR_LSTRIP),
            strips_after=bool(attributes & lib.LLAMA_TOKEN_ATTR_RSTRIP),
        )

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool = True) -> TokenArray:
        """Token ids of `text`. `parse_special`: special tokens written out in it are recognised."""
        data = text.encode("utf-8", "surrogatepass")
        tokens: TokenArray = np.empty(len(data) + 2, dtype=np.int32)
        pointer = tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        n = lib.llama_tokenize(self.vocab, data, len(data), pointer, len(tokens), add_special, parse_special)
        if n < 0:
            raise EngineFault(f"tokenizer asked for room for {-n} tokens for {len(data)} bytes")
        return tokens[:n].copy()

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for in text; control tokens stand for none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._read_piece(token)
        return known

    def _read_piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = lib.llama_token_to_piece(self.vocab, token, buffer, size, 0, False)
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def close(self) -> None:
        lib.llama_model_free(self.pointer)


class Context:
    """KV cache, compute buffers and one batch of at most `n_batch` tokens, for `slots` sequences."""

    def __init__(self, model: Model, spec: ModelSpec, n_threads: int, log: EngineLog) -> None:
        params = context_params(spec, n_threads, has_encoder=model.has_encoder)
        pointer = lib.llama_init_from_model(model.pointer, params)
        if not pointer:
            raise _load_error(f"llama.cpp made no context for {spec.name}: {log.cause()}")
        self.pointer: Any = pointer
        self.model = model
        self.n_ctx_slot: int = lib.llama_n_ctx_seq(pointer)
        self.n_batch: int = lib.llama_n_batch(pointer)
        self.pooling: int = lib.llama_pooling_type(pointer)
        self._n_threads = n_threads
        self.memory: Any = lib.llama_get_memory(pointer)
        self.batch = Batch(self.n_batch)

    def decode(self) -> None:
        """Run the batch. Blocks for its computation, with the interpreter lock released."""
        run = lib.llama_decode if self.memory or not self.model.has_encoder else lib.llama_encode
        status = run(self.pointer, self.batch.native())
        if status != 0:
            raise EngineFault(f"llama_decode returned {status} for a batch of {self.batch.n_tokens} tokens")

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """Logits of batch position `row`: a view of float32 (n_vocab,), valid until the next decode."""
        return _float_view(lib.llama_get_logits_ith(self.pointer, row), self.model.n_vocab)

    def token_embedding(self, row: int) -> npt.NDArray[np.float32]:
        """Embedding of batch position `row`: a view of float32 (n_embd,), valid until the next decode."""
        return _float_view(lib.llama_get_embeddings_ith(self.pointer, row), self.model.n_embd)

    def pooled_embedding(self, sequence: int) -> npt.NDArray[np.float32]:
        """Pooled embedding of a sequence: a view of float32 (n_embd,), valid until the next decode."""
        return _float_view(lib.llama_get_embeddings_seq(self.pointer, sequence), self.model.n_embd)

    def want_embeddings(self, wanted: bool) -> None:
        lib.llama_set_embeddings(self.pointer, wanted)

    def set_threads(self, n_threads: int) -> None:
        """Threads of the next decodes. Costs nothing where it is the count already set."""
        if n_threads != self._n_threads:
            lib.llama_set_n_threads(self.pointer, n_threads, n_threads)
            self._n_threads = n_threads

    def keep_prefix(self, sequence: int, n_tokens: int) -> bool:
        """Forget all but the first `n_tokens` of a sequence. False: this memory cannot; nothing changed."""
        return bool(lib.llama_memory_seq_rm(self.memory, sequence, n_tokens, -1))

    def forget(self, sequence: int) -> None:
        if self.memory:
            lib.llama_memory_seq_rm(self.memory, sequence, -1, -1)

    def copy_sequence(self, source: int, target: int) -> None:
        """Make `target` a copy of `source`. Whole sequences only: streams cannot be copied in part."""
        lib.llama_memory_seq_rm(self.memory, target, -1, -1)
        lib.llama_memory_seq_cp(self.memory, source, target, -1, -1)

    def save_state(self, sequence: int, *, partial: bool) -> memoryview:
        """The state of a sequence; `partial`: only that of layers which cannot go back. Copied once."""
        flags = _PARTIAL if partial else 0
        size = lib.llama_state_seq_get_size_ext(self.pointer, sequence, flags)
        if size == 0:
            return memoryview(b"")
        # Fresh pages, written once: NumPy would ask for huge pages, which the kernel takes long to find.
        state = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        target = _pointer(np.frombuffer(state, dtype=np.uint8), ctypes.c_uint8)
        n = lib.llama_state_seq_get_data_ext(self.pointer, target, size, sequence, flags)
        if n != size:
            raise EngineFault(f"llama.cpp saved {n} of {size} bytes of sequence {sequence}")
        return state

    def restore_state(self, sequence: int, data: bytes | memoryview, *, partial: bool) -> bool:
        """Put a saved state in place of the sequence's. False: llama.cpp refused it."""
        buffer = _pointer(np.frombuffer(data, dtype=np.uint8), ctypes.c_uint8)
        flags = _PARTIAL if partial else 0
        n: int = lib.llama_state_seq_set_data_ext(self.pointer, buffer, len(data), sequence, flags)
        return n > 0

    def first_position(self, sequence: int) -> int:
        """The earliest position the memory still holds: above 0 once a sliding window has moved on."""
        position: int = lib.llama_memory_seq_pos_min(self.memory, sequence)
        return position

    def close(self) -> None:
        lib.llama_free(self.pointer)


Outputs = Literal["none", "last", "all"]


class Batch:
    """A llama_batch over NumPy arrays: filled by slices, never token by token."""

    def __init__(self, capacity: int) -> None:
        self.n_tokens = 0
        self._tokens = np.zeros(capacity, dtype=np.int32)
        self._positions = np.zeros(capacity, dtype=np.int32)
        self._n_sequences = np.ones(capacity, dtype=np.int32)
        self._sequences = np.zeros(capacity, dtype=np.int32)
        self._wants_output = np.zeros(capacity, dtype=np.int8)
        self._counting = np.arange(capacity, dtype=np.int32)
        first = self._sequences.ctypes.data
        self._sequence_pointers = np.array([first + 4 * i for i in range(capacity)], dtype=np.uint64)
        self._native = lib.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._n_sequences, ctypes.c_int32),
            seq_id=_pointer(self._sequence_pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wants_output, ctypes.c_int8),
        )

    def clear(self) -> None:
        self.n_tokens = 0

    @property
    def sequences(self) -> npt.NDArray[np.int32]:
        """Of each row. Valid until the next `clear`."""
        return self._sequences[: self.n_tokens]

    def add(self, sequence: int, position: int, tokens: TokenArray, *, outputs: Outputs) -> int:
        """Append tokens at consecutive positions; returns the last row. `outputs`: "none", "last", "all"."""
        start, end = self.n_tokens, self.n_tokens + len(tokens)
        self._tokens[start:end] = tokens
        np.add(self._counting[: len(tokens)], position, out=self._positions[start:end])
        self._sequences[start:end] = sequence
        self._wants_output[start:end] = outputs == "all"
        if outputs == "last":
            self._wants_output[end - 1] = 1
        self.n_tokens = end
        return end - 1

    def add_one(self, sequence: int, position: int, token: int) -> int:
        """Append one token whose logits are wanted. Returns its row."""
        row = self.n_tokens
        self._tokens[row] = token
        self._positions[row] = position
        self._sequences[row] = sequence
        self._wants_output[row] = 1
        self.n_tokens = row + 1
        return row

    def native(self) -> Any:
        self._native.n_tokens = self.n_tokens
        return self._native


def _pointer(array: npt.NDArray[Any], ctype: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctype))


def _float_view(pointer: Any, length: int) -> npt.NDArray[np.float32]:
    """The floats that `pointer` points at, not copied. (np.ctypeslib.as_array takes ten times as long.)"""
    if not pointer:
        raise EngineFault("llama.cpp returned no output for a row that asked for it")
    floats: Any = (ctypes.c_float * length).from_address(ctypes.addressof(pointer.contents))
    view: npt.NDArray[np.float32] = np.frombuffer(floats, dtype=np.float32)
    return view
