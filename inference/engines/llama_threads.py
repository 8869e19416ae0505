"""A thread pool that outlives a step.

Without one, ggml starts and joins its threads for every graph, several times a step. llama_cpp binds
neither the pool nor its attachment, so both are called here in the libraries that it has loaded.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Final

import llama_cpp

_MAX_THREADS: Final = 512  # GGML_MAX_N_THREADS of ggml.h


class _Params(ctypes.Structure):
    """struct ggml_threadpool_params of ggml.h."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * _MAX_THREADS),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


class ThreadPool:
    """`n_threads` threads for one context, asleep between graphs. Close it after the context."""

    def __init__(self, n_threads: int) -> None:
        cpu, base = _library("ggml-cpu"), _library("ggml-base")
        base.ggml_threadpool_params_default.restype = _Params
        params = base.ggml_threadpool_params_default(ctypes.c_int(n_threads))
        params.poll = 0  # spinning between steps would take a core from the proxy and the client
        cpu.ggml_threadpool_new.restype = ctypes.c_void_p
        self._cpu = cpu
        self._pool: Any = ctypes.c_void_p(cpu.ggml_threadpool_new(ctypes.byref(params)))

    def attach(self, context: Any) -> None:
        """Let `context` (a llama_context pointer) compute with this pool."""
        _library("llama").llama_attach_threadpool(ctypes.c_void_p(context), self._pool, self._pool)

    def close(self) -> None:
        self._cpu.ggml_threadpool_free(self._pool)


def _library(name: str) -> Any:
    """A library of the engine that is loaded already: opening it again gives the same one."""
    return ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / f"lib{name}.so"))
