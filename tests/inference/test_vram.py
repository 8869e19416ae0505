from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidModelFile
from inference.gguf import GgufHeader, TensorInfo, read_header
from inference.model_layers import Layer, layers_of
from inference.model_spec import KvType, ModelSpec
from inference.vram import CUDA_CONTEXT_BYTES, MemoryEstimate, estimate
from tests.inference import gguf_models
from tests.inference.gguf_models import GgufModel

MIB = 1024 * 1024


def spec(**settings: Any) -> ModelSpec:
    logged = {"name": "m", "path": "m.gguf", "slots": 1, "n_ctx": 4096, "n_ubatch": 256}
    return ModelSpec(**{**logged, **settings})


def header_of(
    architecture: str, metadata: Mapping[str, Any], tensors: tuple[TensorInfo, ...] = ()
) -> GgufHeader:
    values = {"general.architecture": architecture}
    values |= {f"{architecture}.{key}": value for key, value in metadata.items()}
    return GgufHeader("m.gguf", 3, values, tensors, file_bytes=0)


def header_for(model: GgufModel, directory: Path) -> GgufHeader:
    """Of `model` as a sparse file: any size costs nothing."""
    return read_header(gguf_models.write(model, directory / "model.gguf", weights=False))


def host(header: GgufHeader, **settings: Any) -> MemoryEstimate:
    return estimate(header, spec(**settings), offload=False)


# --- hybrid models, against figures that llama.cpp logged for the real ones ------------------------

QWEN36_35B = {
    "block_count": 40,
    "embedding_length": 2048,
    "full_attention_interval": 4,
    "attention.head_count": 16,
    "attention.head_count_kv": 2,
    "attention.key_length": 256,
    "attention.value_length": 256,
    "ssm.conv_kernel": 4,
    "ssm.state_size": 128,
    "ssm.group_count": 16,
    "ssm.time_step_rank": 32,
    "ssm.inner_size": 4096,
}
QWEN36_27B = QWEN36_35B | {
    "block_count": 64,
    "embedding_length": 5120,
    "attention.head_count": 24,
    "attention.head_count_kv": 4,
    "ssm.inner_size": 6144,
    "ssm.time_step_rank": 48,
}
CODER_NEXT = QWEN36_35B | {"block_count": 48}
WITH_MTP = QWEN36_35B | {"block_count": 41, "nextn_predict_layers": 1}


@pytest.mark.parametrize(
    ("metadata", "n_ctx", "kv_type", "kv_mib", "recurrent_mib"),
    [
        pytest.param(QWEN36_35B, 262144, "f16", 5120.0, 62.8125, id="35B-A3B"),
        pytest.param(QWEN36_35B, 262144, "q8_0", 2720.0, 62.8125, id="35B-A3B q8_0"),
        pytest.param(QWEN36_35B, 16640, "f16", 325.0, 62.8125, id="35B-A3B short"),
        pytest.param(WITH_MTP, 262144, "f16", 5120.0, 62.8125, id="35B-A3B with an MTP block"),
        pytest.param(QWEN36_27B, 131072, "q8_0", 4352.0, 149.625, id="27B"),
        pytest.param(CODER_NEXT, 131072, "f16", 3072.0, 75.375, id="Coder-Next"),
    ],
)
def test_known_vectors(
    metadata: dict[str, int], n_ctx: int, kv_type: KvType, kv_mib: float, recurrent_mib: float
) -> None:
    found = host(header_of("qwen35moe", metadata), n_ctx=n_ctx, kv_type=kv_type)
    assert found.kv_bytes == kv_mib * MIB
    assert found.recurrent_bytes == recurrent_mib * MIB


def test_recurrent_state_is_per_sequence_and_not_per_token() -> None:
    header = header_of("qwen35moe", QWEN36_35B)
    one, four = host(header, n_ctx=4096), host(header, n_ctx=1024, slots=4)
    assert four.recurrent_bytes == 4 * one.recurrent_bytes
    assert four.kv_bytes == one.kv_bytes


@pytest.mark.parametrize(
    ("keys", "attending"),
    [
        ({}, {3, 7}),
        ({"full_attention_interval": 2}, {1, 3, 5, 7}),
        ({"attention.recurrent_layers": (1, 0, 0, 1, 1, 1, 1, 1)}, {1, 2}),
    ],
)
def test_which_layers_attend_in_a_hybrid(keys: dict[str, Any], attending: set[int]) -> None:
    metadata = QWEN36_35B | {"block_count": 8} | keys
    if not keys:
        del metadata["full_attention_interval"]
    layers = layers_of(header_of("qwen3next", metadata))
    assert {il for il, layer in enumerate(layers) if layer.k_width} == attending
    assert {il for il, layer in enumerate(layers) if not layer.state_bytes} == attending


# --- generated models, against what llama.cpp 0.3.36 logged when it loaded them --------------------

DEFAULT = {"n_ctx": 512}
THREE_SLOTS = {"n_ctx": 1000, "slots": 3}
UNIFIED = {"n_ctx": 1000, "slots": 3, "kv_unified": True}
Q8_0 = {"n_ctx": 2048, "slots": 2, "kv_type": "q8_0"}
SWA_FULL = {"n_ctx": 1024, "slots": 2, "swa_full": True}
NO_FLASH = {"n_ctx": 1024, "slots": 2, "flash_attn": False}
SMALL_BATCH = {"n_ctx": 1024, "n_ubatch": 64, "n_batch": 64}
LISTED = gguf_models.gemma3(layers=4, pattern=[True, False, True, True])

LOGGED: list[tuple[GgufModel, dict[str, Any], float, float, float]] = [
    # settings, KV cache MiB, recurrent MiB, compute buffer MiB
    (gguf_models.llama(), DEFAULT, 0.25, 0, 0.82),
    (gguf_models.llama(), THREE_SLOTS, 1.50, 0, 1.08),
    (gguf_models.llama(), UNIFIED, 1.50, 0, 2.08),
    (gguf_models.llama(), Q8_0, 1.06, 0, 1.57),
    (gguf_models.llama(), {**Q8_0, "kv_type": "f32"}, 4.00, 0, 2.51),
    (gguf_models.llama(), NO_FLASH, 1.00, 0, 5.57),
    (gguf_models.llama(), {**DEFAULT, "kv_type": "q5_1"}, 0.09, 0, 0.82),
    (gguf_models.llama(), {**DEFAULT, "kv_type": "iq4_nl"}, 0.07, 0, 0.82),
    (gguf_models.llama(), {**DEFAULT, "kv_type": "bf16"}, 0.25, 0, 0.82),
    (gguf_models.gemma3(), DEFAULT, 0.37, 0, 1.07),
    (gguf_models.gemma3(), THREE_SLOTS, 1.32, 0, 1.33),
    (gguf_models.gemma3(), UNIFIED, 0.69, 0, 2.34),
    (gguf_models.gemma3(), Q8_0, 0.60, 0, 1.82),
    (gguf_models.gemma3(), SWA_FULL, 1.50, 0, 1.57),
    (gguf_models.gemma3(), NO_FLASH, 0.87, 0, 5.69),
    (gguf_models.gemma3(), SMALL_BATCH, 0.28, 0, 0.30),
    (LISTED, THREE_SLOTS, 0.94, 0, 1.33),
    (gguf_models.gemma3(layers=4, pattern=2), THREE_SLOTS, 1.13, 0, 1.33),
    (gguf_models.qwen35moe(), DEFAULT, 0.12, 0.06, 1.20),
    (gguf_models.qwen35moe(), THREE_SLOTS, 0.75, 0.17, 1.48),
    (gguf_models.qwen35moe(mtp_layers=1), THREE_SLOTS, 0.75, 0.17, 1.48),
    (gguf_models.qwen35moe(interval=2), Q8_0, 1.06, 0.07, 1.96),
    (gguf_models.deepseek2(), DEFAULT, 0.19, 0, 1.50),
    (gguf_models.deepseek2(), UNIFIED, 1.12, 0, 2.78),
    (gguf_models.deepseek2(), Q8_0, 0.80, 0, 2.25),
    (gguf_models.deepseek2(), {**Q8_0, "kv_type": "f32"}, 3.00, 0, 3.22),
    (gguf_models.deepseek2(), NO_FLASH, 0.75, 0, 6.22),
]


@pytest.mark.parametrize(("model", "settings", "kv_mib", "recurrent_mib", "compute_mib"), LOGGED)
def test_caches_equal_the_log_and_compute_is_not_less(
    model: GgufModel,
    settings: dict[str, Any],
    kv_mib: float,
    recurrent_mib: float,
    compute_mib: float,
    tmp_path: Path,
) -> None:
    found = host(header_for(model, tmp_path), **settings)
    assert found.kv_bytes / MIB == pytest.approx(kv_mib, abs=0.011)  # the log rounds, twice with windows
    assert found.recurrent_bytes / MIB == pytest.approx(recurrent_mib, abs=0.006)
    assert 0.995 * compute_mib <= found.compute_bytes / MIB <= 1.2 * compute_mib


LONG = {"n_ctx": 32768, "n_ubatch": 512}


@pytest.mark.parametrize(
    ("model", "settings", "logged_mib"),
    [
        pytest.param(gguf_models.LLAMA_8B, {}, 60.01, id="llama 8B"),
        pytest.param(gguf_models.LLAMA_8B, LONG, 148.01, id="llama 8B, long context"),
        pytest.param(gguf_models.LLAMA_8B, {"kv_type": "q8_0"}, 56.08, id="llama 8B, q8_0"),
        pytest.param(gguf_models.LLAMA_8B, {"flash_attn": False}, 154.0, id="llama 8B, no flash attention"),
        pytest.param(gguf_models.LLAMA_8B, {"n_ubatch": 32}, 16.66, id="llama 8B, small batch"),
        pytest.param(gguf_models.GEMMA3_4B, {}, 42.13, id="gemma3 4B"),
        pytest.param(
            gguf_models.GEMMA3_4B, LONG | {"kv_type": "q8_0"}, 117.05, id="gemma3 4B, long context, q8_0"
        ),
        pytest.param(gguf_models.GEMMA3_4B, {"flash_attn": False}, 52.76, id="gemma3 4B, no flash attention"),
        pytest.param(gguf_models.QWEN35_35B, {}, 38.32, id="qwen3.6 35B"),
        pytest.param(gguf_models.QWEN35_35B, {"slots": 4}, 46.38, id="qwen3.6 35B, four slots"),
        pytest.param(gguf_models.QWEN35_35B, LONG, 104.02, id="qwen3.6 35B, long context"),
        pytest.param(gguf_models.GLM_FLASH, {}, 43.0, id="GLM 4.7 Flash"),
        pytest.param(gguf_models.GLM_FLASH, LONG, 114.01, id="GLM 4.7 Flash, long context"),
        pytest.param(
            gguf_models.GLM_FLASH, {"flash_attn": False}, 121.44, id="GLM 4.7 Flash, no flash attention"
        ),
    ],
)
def test_compute_buffer_of_real_sizes_against_dry_runs(
    model: GgufModel, settings: dict[str, Any], logged_mib: float, tmp_path: Path
) -> None:
    found = host(header_for(model, tmp_path), **settings).compute_bytes / MIB
    assert 0.99 * logged_mib <= found <= 1.08 * logged_mib


def test_demo_models_equal_their_logs(smollm2_path: Path, gemma3_path: Path) -> None:
    """MiB of weights, KV cache, compute buffer and output as logged by a load on the CPU."""
    for path, n_ctx, slots, logged in [
        (smollm2_path, 4096, 1, (92.10, 90.00, 8.76, 0.19)),
        (smollm2_path, 4096, 4, (92.10, 360.00, 8.76, 0.75)),
        (gemma3_path, 4096, 1, (235.16, 23.25, 32.70, 1.00)),
        (gemma3_path, 1000, 3, (235.16, 42.75, 32.71, 3.00)),
    ]:
        found = host(read_header(path), n_ctx=n_ctx, slots=slots)
        weights, kv, compute, output = logged
        assert found.weights_bytes / MIB == pytest.approx(weights, abs=0.006)
        assert found.kv_bytes / MIB == pytest.approx(kv, abs=0.006)
        assert found.compute_bytes / MIB == pytest.approx(compute, rel=0.03)
        assert found.output_bytes / MIB == pytest.approx(output, abs=0.006)


# --- attention caches ------------------------------------------------------------------------------


BYTES_PER_32: dict[KvType, int] = {
    "f32": 128,
    "f16": 64,
    "bf16": 64,
    "q8_0": 34,
    "q5_1": 24,
    "q5_0": 22,
    "q4_1": 20,
    "q4_0": 18,
    "iq4_nl": 18,
}


@pytest.mark.parametrize(("kv_type", "bytes_per_32"), BYTES_PER_32.items())
def test_kv_types(kv_type: KvType, bytes_per_32: int, tmp_path: Path) -> None:
    header = header_for(gguf_models.llama(layers=3), tmp_path)  # K and V of 2 heads × 32 dimensions
    assert host(header, n_ctx=256, kv_type=kv_type).kv_bytes == 3 * 256 * 2 * 2 * bytes_per_32


def windowed(**keys: Any) -> GgufHeader:
    return header_of(
        "gemma3",
        {
            "block_count": 6,
            "embedding_length": 64,
            "attention.head_count": 2,
            "attention.head_count_kv": 1,
            "attention.key_length": 32,
            "attention.value_length": 32,
            "attention.sliding_window": 512,
            **keys,
        },
    )


ROW = 2 * 32 * 2  # K and V, f16


@pytest.mark.parametrize(
    ("settings", "full_cells", "window_cells"),
    [
        ({"n_ctx": 8192, "n_ubatch": 256}, 8192, 768),
        ({"n_ctx": 8192, "n_ubatch": 512}, 8192, 1024),
        ({"n_ctx": 8192, "n_ubatch": 100}, 8192, 768),
        ({"n_ctx": 8192, "n_ubatch": 2048, "n_batch": 128}, 8192, 768),
        ({"n_ctx": 600, "n_ubatch": 256}, 768, 768),
        ({"n_ctx": 8192, "n_ubatch": 256, "slots": 4}, 4 * 8192, 4 * 768),
        ({"n_ctx": 8192, "n_ubatch": 256, "slots": 4, "kv_unified": True}, 4 * 8192, 4 * 512 + 256),
        ({"n_ctx": 8192, "n_ubatch": 256, "swa_full": True}, 8192, 8192),
    ],
)
def test_window_cells(settings: dict[str, Any], full_cells: int, window_cells: int) -> None:
    assert host(windowed(), **settings).kv_bytes == ROW * (full_cells + 5 * window_cells)


@pytest.mark.parametrize(
    ("architecture", "keys", "sliding"),
    [
        ("gemma3", {}, [True] * 5 + [False] + [True] * 2),
        ("gemma3", {"attention.sliding_window_pattern": 2}, [True, False] * 4),
        ("gemma3", {"attention.sliding_window_pattern": 0}, [True] * 8),
        ("gemma3", {"attention.sliding_window_pattern": 1}, [False] * 8),
        ("gemma3", {"attention.sliding_window_pattern": (False, True) * 4}, [False, True] * 4),
        ("gemma3", {"attention.sliding_window": 0}, [False] * 8),
        ("gemma2", {"attention.sliding_window": None}, [True, False] * 4),
        ("gpt-oss", {}, [True, False] * 4),
        ("cohere2moe", {}, [False, True, True, True] * 2),
        ("llama", {}, [False] * 8),
        ("phi3", {}, [False] * 8),
        ("exaone4", {}, [False] * 8),
        (
            "gemma4",
            {"attention.sliding_window_pattern": (True, True, False, True) * 2},
            [True, True, False, True] * 2,
        ),
    ],
)
def test_which_layers_slide(architecture: str, keys: dict[str, Any], sliding: list[bool]) -> None:
    metadata = {
        "block_count": 8,
        "embedding_length": 64,
        "attention.head_count": 2,
        "attention.sliding_window": 512,
        **keys,
    }
    header = header_of(architecture, {key: value for key, value in metadata.items() if value is not None})
    assert [layer.window is not None for layer in layers_of(header)] == sliding


def test_shared_and_imposed_windows() -> None:
    keys = {
        "block_count": 8,
        "embedding_length": 64,
        "attention.head_count": 2,
        "attention.sliding_window": 512,
    }
    llama4 = layers_of(header_of("llama4", keys))
    assert llama4[0].window == 8192  # whatever the file says
    gemma4 = layers_of(header_of("gemma4", keys | {"attention.shared_kv_layers": 3}))
    assert [bool(layer.k_width) for layer in gemma4] == [True] * 5 + [False] * 3
    gemma3n = layers_of(header_of("gemma3n", keys | {"block_count": 30}))
    assert sum(bool(layer.k_width) for layer in gemma3n) == 20


def test_head_counts_and_lengths_per_layer() -> None:
    keys = {
        "block_count": 3,
        "embedding_length": 64,
        "attention.head_count": (4, 4, 4),
        "attention.head_count_kv": (4, 2, 0),
        "attention.sliding_window": 512,
        "attention.sliding_window_pattern": (False, True, True),
        "attention.key_length_swa": 8,
        "attention.value_length_swa": 24,
    }
    assert layers_of(header_of("gemma3", keys)) == (Layer(64, 64), Layer(16, 48, 512), Layer(0, 0, 512))


def test_without_flash_attention_every_v_row_is_as_wide_as_the_widest() -> None:
    header = windowed(**{"attention.value_length_swa": 8})
    settings = {"n_ctx": 8192, "n_ubatch": 256}
    narrow = host(header, **settings).kv_bytes
    assert narrow == 8192 * ROW + 5 * 768 * (32 + 8) * 2
    assert host(header, **settings, flash_attn=False).kv_bytes == ROW * (8192 + 5 * 768)


def test_mla_caches_one_compressed_row() -> None:
    keys = {
        "block_count": 2,
        "embedding_length": 64,
        "attention.head_count": 16,
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.kv_lora_rank": 512,
        "rope.dimension_count": 64,
    }
    compressed = {"attention.key_length_mla": 192, "attention.value_length_mla": 128}
    assert host(header_of("deepseek2", keys | compressed), n_ctx=256).kv_bytes == 2 * 256 * 576 * 2
    assert host(header_of("deepseek2", keys), n_ctx=256).kv_bytes == 2 * 256 * (576 + 512) * 2


@pytest.mark.parametrize(
    ("architecture", "keys", "expected"),
    [
        # conv 4, inner 512, state 16, groups 2: (3 × 576 + 16 × 512) × 4 bytes
        ("mamba2", {}, [(0, 39680)] * 3),
        ("jamba", {"attention.head_count_kv": (0, 2, 0)}, [(0, 39680), (64, 0), (0, 39680)]),
        ("falcon-h1", {}, [(128, 39680)] * 3),
        (
            "nemotron_h",
            {"attention.head_count_kv": (0, 2, 2), "feed_forward_length": (0, 64, 0)},
            [(0, 39680), (0, 0), (64, 0)],
        ),
        (
            "lfm2",
            {"attention.head_count_kv": (0, 2, 0), "shortconv.l_cache": 3},
            [(0, 1024), (64, 0), (0, 1024)],
        ),
        ("rwkv7", {"wkv.head_size": 64}, [(0, (2 * 128 + 128 * 64) * 4)] * 3),
        (
            "kimi-linear",
            {"attention.head_count_kv": (0, 4, 0), "kda.head_dim": 16},
            [(0, (3 * 3 * 64 + 16 * 64) * 4), (128, 0), (0, (3 * 3 * 64 + 16 * 64) * 4)],
        ),
        ("bert", {}, [(0, 0)] * 3),
    ],
)
def test_recurrent_and_other_layers(
    architecture: str, keys: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    metadata = {
        "block_count": 3,
        "embedding_length": 128,
        "attention.head_count": 4,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 512,
        "ssm.state_size": 16,
        "ssm.group_count": 2,
        **keys,
    }
    layers = layers_of(header_of(architecture, metadata))
    assert [(layer.k_width, layer.state_bytes) for layer in layers] == expected


def test_sparse_attention_caches_its_index_too() -> None:
    keys = {
        "block_count": 3,
        "embedding_length": 128,
        "attention.head_count": 4,
        "attention.indexer.key_length": 16,
        "attention.indexer.types": (1, 0, 1),
    }
    assert [layer.index_width for layer in layers_of(header_of("glm-dsa", keys))] == [16, 0, 16]
    assert [layer.index_width for layer in layers_of(header_of("deepseek32", keys))] == [16, 16, 16]
    assert [layer.index_width for layer in layers_of(header_of("llama", keys))] == [0, 0, 0]
    pooled = layers_of(header_of("glm5-next", keys | {"attention.indexer.kpool": 4}))
    assert [layer.index_width for layer in pooled] == [48, 0, 48]
    plain = host(header_of("llama", keys), n_ctx=256).kv_bytes
    assert host(header_of("glm-dsa", keys), n_ctx=256).kv_bytes == plain + 2 * 256 * 16 * 2


# --- weights ---------------------------------------------------------------------------------------


def sizes(header: GgufHeader) -> dict[str, int]:
    return {tensor.name: tensor.n_bytes for tensor in header.tensors}


def test_everything_on_the_host_is_the_sum_of_the_tensors(tmp_path: Path) -> None:
    header = header_for(gguf_models.llama(tied=True), tmp_path)
    assert host(header).weights_bytes == sum(sizes(header).values())


def test_mtp_blocks_stay_in_the_file(tmp_path: Path) -> None:
    with_mtp = header_for(gguf_models.qwen35moe(mtp_layers=1), tmp_path)
    without = header_for(gguf_models.qwen35moe(), tmp_path)
    assert sum(sizes(with_mtp).values()) > sum(sizes(without).values())
    for offload in (False, True):
        assert estimate(with_mtp, spec(), offload=offload) == estimate(without, spec(), offload=offload)


def test_an_offloaded_model_leaves_its_embedding_on_the_host(tmp_path: Path) -> None:
    header = header_for(gguf_models.llama(), tmp_path)
    found = estimate(header, spec(), offload=True)
    assert found.weights_bytes == sum(sizes(header).values()) - sizes(header)["token_embd.weight"]
    assert found.output_bytes == 0
    assert found.context_bytes == CUDA_CONTEXT_BYTES
    assert found.kv_bytes == host(header).kv_bytes


def test_a_tied_embedding_is_duplicated_on_the_gpu(tmp_path: Path) -> None:
    header = header_for(gguf_models.gemma3(), tmp_path)
    assert "output.weight" not in sizes(header)
    assert estimate(header, spec(), offload=True).weights_bytes == sum(sizes(header).values())


def test_the_last_layers_are_offloaded_first(tmp_path: Path) -> None:
    header = header_for(gguf_models.qwen35moe(layers=4), tmp_path)  # layer 3 attends, 0 to 2 are recurrent
    blocks = [sum(n for name, n in sizes(header).items() if name.startswith(f"blk.{il}.")) for il in range(4)]
    output = sizes(header)["output.weight"] + sizes(header)["output_norm.weight"]
    whole = estimate(header, spec(), offload=True)
    expected = [
        (0, 0, 0, 0),
        (1, output, 0, 0),
        (2, output + blocks[3], whole.kv_bytes, 0),
        (3, output + sum(blocks[2:]), whole.kv_bytes, whole.recurrent_bytes // 3),
        (5, output + sum(blocks), whole.kv_bytes, whole.recurrent_bytes),
        (99, output + sum(blocks), whole.kv_bytes, whole.recurrent_bytes),
    ]
    for layers, weights, kv, recurrent in expected:
        found = estimate(header, spec(n_gpu_layers=layers), offload=True)
        assert (found.weights_bytes, found.kv_bytes, found.recurrent_bytes) == (weights, kv, recurrent)


# --- the rest --------------------------------------------------------------------------------------


def test_logits_are_bounded_by_outputs_and_not_by_the_batch(tmp_path: Path) -> None:
    header = header_for(gguf_models.llama(n_vocab=262144, tokenizer=False), tmp_path)
    assert host(header, n_ubatch=512).compute_bytes < 34 * MIB  # 32 rows of 1 MiB
    assert host(header, n_ubatch=512, slots=48).compute_bytes > 48 * MIB
    pooled = host(header, n_ubatch=512, n_batch=512, embeddings=True)
    assert pooled.compute_bytes > 512 * MIB
    assert pooled.output_bytes > 512 * MIB


def test_an_encoder_has_no_cache_and_no_logits(tmp_path: Path) -> None:
    as_llama = header_for(gguf_models.llama(n_vocab=30522, tokenizer=False, tied=True), tmp_path)
    keys = {key.removeprefix("llama."): v for key, v in as_llama.metadata.items() if key.startswith("llama.")}
    found = estimate(header_of("bert", keys, as_llama.tensors), spec(embeddings=True), offload=True)
    assert (found.kv_bytes, found.recurrent_bytes) == (0, 0)
    assert found.compute_bytes < 2 * MIB
    assert found.weights_bytes < sum(sizes(as_llama).values())  # nothing is duplicated for an output


def test_the_total_is_the_sum() -> None:
    assert MemoryEstimate(1, 20, 300, 4000, 50000, 600000).total_bytes == 654321


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"block_count": 0}, "block_count"),
        ({"block_count": 2**32 - 1}, "block_count, found 4294967295"),
        ({"nextn_predict_layers": 4}, "nextn_predict_layers"),
        ({"embedding_length": None}, "embedding_length, found nothing"),
        ({"full_attention_interval": 0}, "full_attention_interval"),
        ({"attention.head_count_kv": (1, 2)}, "attention.head_count_kv"),
        ({"attention.key_length": -1}, "attention.key_length"),
    ],
)
def test_contradictory_keys_are_refused_by_name(keys: dict[str, Any], named: str) -> None:
    metadata = {k: v for k, v in (QWEN36_35B | {"block_count": 4} | keys).items() if v is not None}
    with pytest.raises(InvalidModelFile, match=re.escape(named)):
        host(header_of("qwen35moe", metadata))


KEYS = sorted({*QWEN36_35B, "nextn_predict_layers", "attention.sliding_window", "attention.key_length_mla"})


@given(
    architecture=st.sampled_from(
        ("llama", "gemma3", "qwen35moe", "deepseek2", "jamba", "mamba", "llama4", "bert")
    ),
    keys=st.dictionaries(st.sampled_from(KEYS), st.integers(-1, 2**40) | st.integers(0, 9) | st.booleans()),
    offload=st.booleans(),
    layers=st.just("all") | st.integers(0, 600),
)
def test_any_header_gives_an_estimate_or_is_refused(
    architecture: str, keys: dict[str, int], offload: bool, layers: Any
) -> None:
    header = header_of(architecture, QWEN36_35B | keys)
    try:
        found = estimate(header, spec(n_gpu_layers=layers, slots=3), offload=offload)
    except InvalidModelFile:
        return
    assert min(found.kv_bytes, found.recurrent_bytes, found.compute_bytes) >= 0
