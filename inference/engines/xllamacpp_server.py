"""llama.cpp's own server inside a Python process: `python -m inference.engines.xllamacpp_server SPEC PORT`.

Needs the optional package xllamacpp, whose wheels carry the server ready built. SPEC is a ModelSpec
as JSON. Runs until SIGTERM.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

import msgspec

from inference.model_spec import ModelSpec

ALL_LAYERS = 10_000
_FLASH_ATTN: dict[object, str] = {"auto": "AUTO", True: "ENABLED", False: "DISABLED"}


def main(argv: list[str]) -> None:
    spec = msgspec.json.decode(argv[1], type=ModelSpec)
    # Blocked before the library starts its threads: then it waits for the line at the end.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        library = importlib.import_module("xllamacpp")
    except ImportError as error:
        sys.exit(f"error: {error}: install it with `pip install hotseat[xllamacpp]`")
    try:
        server = library.Server(_params(library, spec, int(argv[2])))
    except Exception as error:  # noqa: BLE001 - the process border: its words are the cause that is shown
        sys.exit(f"error: xllamacpp cannot serve {spec.path}: {error}")
    signal.sigwait({signal.SIGTERM})
    del server
    os._exit(0)


def _params(library: Any, spec: ModelSpec, port: int) -> Any:
    params = library.CommonParams()
    params.model.path = spec.path
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = spec.slots
    params.n_ctx = spec.n_ctx * spec.slots  # it gives each slot its share
    params.kv_unified = False
    params.fit_params = False  # it would lower n_ctx silently where memory is short
    params.cache_ram_mib = spec.kv_ram_bytes // 2**20
    params.n_batch, params.n_ubatch = spec.n_batch, spec.n_ubatch
    params.n_gpu_layers = ALL_LAYERS if spec.n_gpu_layers == "all" else spec.n_gpu_layers
    kv_type = getattr(library.ggml_type, f"GGML_TYPE_{spec.kv_type.upper()}")
    params.cache_type_k = params.cache_type_v = kv_type
    flash_attn = f"LLAMA_FLASH_ATTN_TYPE_{_FLASH_ATTN[spec.flash_attn]}"
    params.flash_attn_type = getattr(library.llama_flash_attn_type, flash_attn)
    params.cpuparams.n_threads = spec.threads or max(1, len(os.sched_getaffinity(0)))
    params.swa_full = spec.swa_full
    params.embedding = spec.embeddings
    if spec.embeddings and spec.pooling != "model":
        pooling = f"LLAMA_POOLING_TYPE_{spec.pooling.upper()}"
        params.pooling_type = getattr(library.llama_pooling_type, pooling)
    if spec.chat_template is not None:
        with open(spec.chat_template, encoding="utf-8") as file:
            params.chat_template = file.read()
    return params


if __name__ == "__main__":
    main(sys.argv)
