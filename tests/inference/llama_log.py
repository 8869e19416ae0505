"""What llama.cpp logs of its buffers when it loads a model, for comparing estimates with the truth.

A process of its own, because llama.cpp has one log per process. Reads a JSON list of
[path, ModelSpec fields] pairs from stdin and prints one JSON object for each: MiB by kind.

    echo '[["tiny.gguf", {"n_ctx": 512}]]' | python -m tests.inference.llama_log
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from typing import Any

import llama_cpp.llama_cpp as lib

from inference.model_spec import ModelSpec
from inference.vram import N_OUTPUTS_MAX

KV_TYPES = {
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
PATTERNS = {
    "weights": r"model buffer size =\s+([\d.]+)",
    "kv": r"KV buffer size =\s+([\d.]+)",
    "recurrent": r"RS buffer size =\s+([\d.]+)",
    "compute": r"compute buffer size =\s+([\d.]+)",
    "output": r"output buffer size =\s+([\d.]+)",
}


def load(spec: ModelSpec) -> None:
    model_params = lib.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model_params.use_extra_bufts = False
    model = lib.llama_model_load_from_file(spec.path.encode(), model_params)
    assert model, spec.path
    params = lib.llama_context_default_params()
    params.n_ctx = spec.n_ctx * spec.slots
    params.n_seq_max = spec.slots
    params.n_batch, params.n_ubatch = spec.n_batch, spec.n_ubatch
    params.n_outputs_max = max(N_OUTPUTS_MAX, spec.slots)
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = KV_TYPES[spec.kv_type]
    params.flash_attn_type = -1 if spec.flash_attn == "auto" else int(spec.flash_attn)
    params.swa_full, params.kv_unified = spec.swa_full, spec.kv_unified
    context = lib.llama_init_from_model(model, params)
    assert context, spec
    lib.llama_free(context)
    lib.llama_model_free(model)


def main() -> None:
    lines: list[str] = []

    def collect(_level: int, text: bytes, _user_data: Any) -> None:
        lines.append(text.decode("utf-8", "replace"))

    callback = lib.llama_log_callback(collect)
    lib.llama_log_set(callback, ctypes.c_void_p(0))
    lib.llama_backend_init()
    for path, settings in json.load(sys.stdin):
        lines.clear()
        load(ModelSpec(**{"name": "m", "path": path, "slots": 1, **settings}))
        log = "".join(lines)
        found = {kind: sum(map(float, re.findall(pattern, log))) for kind, pattern in PATTERNS.items()}
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
