"""One model as configured: everything a worker needs to load it, and the scheduler to place it.

Built by proxy/config.py from models.toml, frozen, and sent to the worker as it is.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from inference.chat import Sampling, Wire

EngineName = Literal["llama-cpp-python", "scripted", "command", "xllamacpp"]
KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
Pooling = Literal["model", "mean", "cls", "last"]


class ModelSpec(Wire):
    """`n_ctx` is what one client can use; a worker allocates it for each of its `slots`.

    `path` is the GGUF file, or for engine "scripted" the script file, or "" for a command without one.
    """

    name: str
    path: str
    engine: EngineName = "llama-cpp-python"
    n_ctx: int = 4096
    slots: int = 2
    n_gpu_layers: int | Literal["all"] = "all"
    kv_type: KvType = "f16"
    flash_attn: bool | Literal["auto"] = "auto"
    n_batch: int = 512
    n_ubatch: int = 512
    threads: int | None = None  # None: chosen by the worker from the cores it may use
    swa_full: bool = False
    kv_unified: bool = False
    embeddings: bool = False  # a dedicated embedding model: pooled context, no text generation
    pooling: Pooling = "model"
    command: tuple[str, ...] = ()  # engine "command": the server's argv, with {placeholders}
    env: dict[str, str] = msgspec.field(default_factory=dict)  # added to the server's environment
    health_path: str = "/health"  # answers 2xx once the server is ready
    health_timeout_s: float = 2.0  # of one probe
    stop_command: tuple[str, ...] = ()  # instead of SIGTERM
    memory_bytes: int | None = None  # what the server takes, where no GGUF file says it
    chat_template: str | None = None  # path of a Jinja file that replaces the GGUF's own
    tool_format: str | None = None  # of inference/toolcall_formats; None: found in the template
    sampling: Sampling = Sampling()  # defaults where the request is silent
    stabilise_prefix: bool = False  # remove known nonces from messages before the chat template
    idle_unload_s: float | None = None  # None: never
    kv_ram_bytes: int = 256 * 2**20  # host memory for sequences pushed out of slots
    kv_store: str | None = None  # folder for sequences that survive an unload; None: not kept
    kv_store_limit_bytes: int = 20 * 2**30  # of the whole folder
    kv_store_max_age_s: float = 7 * 86400.0
    pinned: bool = False
    priority: int = 0
    preload: bool = False  # loaded when the server starts, in the background
    aliases: tuple[str, ...] = ()
