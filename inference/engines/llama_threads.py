"""A thread pool that outlives a step.

Without one, ggml starts and joins its threads for every graph. llama_cpp binds neither the pool nor
its attachment, so both are looked up through the handle of libllama: that finds them in the very
libraries libllama was linked to. (Opening libggml-cpu by its file name can load a second copy, whose
tables are not set up: it computes nonsense.)
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import llama_cpp.llama_cpp as lib

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
    """Threads for one context, asleep between graphs. Close it after the context.

    Does nothing where the engine build keeps its CPU code in a plug-in (GGML_BACKEND_DL) or needs
    no second thread: ggml then starts its threads itself, as it would without a pool.
    """

    def __init__(self, n_threads: int) -> None:
        self._pool: Any = None
        if n_threads < 2:
            return
        try:
            params_default = lib._lib.ggml_threadpool_params_default
            new = lib._lib.ggml_threadpool_new
            self._attach = lib._lib.llama_attach_threadpool
            self._free = lib._lib.ggml_threadpool_free
        except AttributeError:
            return
        params_default.restype = _Params
        params = params_default(ctypes.c_int(n_threads))
        params.poll = 0  # spinning between steps would take a core from the proxy and the client
        new.restype = ctypes.c_void_p
        self._pool = ctypes.c_void_p(new(ctypes.byref(params)))

    def attach(self, context: Any) -> None:
        """Let `context` (a llama_context pointer) compute with this pool."""
        if self._pool is not None:
            self._attach(ctypes.c_void_p(context), self._pool, self._pool)

    def close(self) -> None:
        if self._pool is not None:
            self._free(self._pool)
            self._pool = None
