"""llama.cpp's log lines -> buffers -> a corrected estimate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.buffer_sizes import Buffer, corrected, parse_buffers
from inference.vram import MemoryEstimate

MIB = 2**20

GPU_LOG = """
load_tensors:        CUDA0 model buffer size =     0.00 MiB
llama_context:  CUDA_Host  output buffer size =     0.95 MiB
llama_kv_cache:      CUDA0 KV buffer size =     0.00 MiB
llama_memory_recurrent:      CUDA0 RS buffer size =    62.81 MiB
sched_reserve:      CUDA0 compute buffer size =   248.51 MiB
sched_reserve:  CUDA_Host compute buffer size =     6.01 MiB
sched_reserve: graph nodes  = 1031
"""


def test_a_gpu_log_names_each_buffer_with_its_device() -> None:
    assert parse_buffers(GPU_LOG) == (
        Buffer("CUDA_Host", "output", round(0.95 * MIB)),
        Buffer("CUDA0", "recurrent", round(62.81 * MIB)),
        Buffer("CUDA0", "compute", round(248.51 * MIB)),
        Buffer("CUDA_Host", "compute", round(6.01 * MIB)),
    )


def test_a_graph_that_is_reserved_anew_counts_once_and_recurrent_caches_add_up() -> None:
    log = "a: CPU compute buffer size = 10.00 MiB\na: CPU compute buffer size = 30.00 MiB\n"
    log += "a: CPU RS buffer size = 1.00 MiB\na: CPU RS buffer size = 2.00 MiB\n"
    assert parse_buffers(log) == (Buffer("CPU", "compute", 30 * MIB), Buffer("CPU", "recurrent", 3 * MIB))


@pytest.mark.parametrize(
    "log",
    [
        "",
        "compute buffer size = ",
        "CPU compute buffer size = nan MiB",
        "CPU compute buffer size = -1.00 MiB",
    ],
)
def test_what_is_no_buffer_line_is_none(log: str) -> None:
    assert parse_buffers(log) == ()


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    assert all(buffer.n_bytes >= 0 for buffer in parse_buffers(text + " compute buffer size = 1.00 MiB"))


def test_on_a_gpu_only_its_own_buffers_replace_the_estimate() -> None:
    estimate = MemoryEstimate(1000, 200, 3, 4, 0, 50)
    found = corrected(estimate, parse_buffers(GPU_LOG), offload=True)
    assert found == MemoryEstimate(1000, 200, round(62.81 * MIB), round(248.51 * MIB), 0, 50)


def test_on_the_host_its_buffers_and_outputs_do() -> None:
    buffers = (Buffer("CPU", "compute", 7), Buffer("CPU", "output", 5), Buffer("CUDA0", "compute", 100))
    found = corrected(MemoryEstimate(1000, 200, 3, 4, 6, 0), buffers, offload=False)
    assert found == MemoryEstimate(1000, 200, 0, 7, 5, 0)
