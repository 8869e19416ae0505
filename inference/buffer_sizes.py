"""Sizes of the buffers that llama.cpp makes for a context, as it logs them, and what they say of an estimate.

    sched_reserve:      CUDA0 compute buffer size =   248.51 MiB
    sched_reserve:  CUDA_Host compute buffer size =     6.01 MiB
    llama_memory_recurrent:        CPU RS buffer size =    62.81 MiB
    llama_context:        CPU  output buffer size =     0.19 MiB

Exact to the 0.01 MiB that the log rounds to. In a dry run weights and KV cache are logged as 0.00,
so those two stay as the estimate has them: it equals the log of a real load.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

import msgspec

from inference.vram import MemoryEstimate

BufferKind = Literal["compute", "recurrent", "output"]

_KINDS: dict[str, BufferKind] = {"compute": "compute", "RS": "recurrent", "output": "output"}
_LINE = re.compile(r"(\S+)\s+(compute|RS|output) buffer size =\s*(\d{1,9}\.\d\d) MiB")
_MIB = 2**20


class Buffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`device` is ggml's name of where it lies: CPU, CUDA0, CUDA_Host."""

    device: str
    kind: BufferKind
    n_bytes: int

    @property
    def is_on_gpu(self) -> bool:
        return not (self.device.startswith("CPU") or self.device.endswith("_Host"))


def parse_buffers(log: str) -> tuple[Buffer, ...]:
    """The buffers of one context. Empty for a log that names none."""
    found: dict[tuple[str, BufferKind], int] = {}
    for device, name, mib in _LINE.findall(log):
        key = (device, _KINDS[name])
        n_bytes = round(float(mib) * _MIB)
        # A graph is reserved anew when flash attention turns out not to work: the last one stays.
        # Recurrent layers may be spread over several caches, which all stay.
        found[key] = found.get(key, 0) + n_bytes if name == "RS" else n_bytes
    return tuple(Buffer(device, kind, n_bytes) for (device, kind), n_bytes in found.items())


def corrected(estimate: MemoryEstimate, buffers: tuple[Buffer, ...], *, offload: bool) -> MemoryEstimate:
    """`estimate` with what was logged in the place of what was computed."""

    def total(kind: BufferKind) -> int:
        return sum(b.n_bytes for b in buffers if b.kind == kind and b.is_on_gpu == offload)

    return dataclasses.replace(
        estimate,
        recurrent_bytes=total("recurrent"),
        compute_bytes=total("compute"),
        output_bytes=total("output"),
    )
