"""Tiny GGUF models of four attention kinds, written for tests: llama (GQA), gemma3 (sliding window),
qwen35moe (hybrid: gated delta net and attention, experts) and deepseek2 (MLA, experts).

They have random weights and a byte-level tokenizer with a ChatML template, and llama.cpp loads
them. With `weights=False` the file has the right size and no content (a hole), so a header of any
size costs nothing: good for the header reader and the estimator, not for loading.

    model = qwen35moe(layers=8)
    write(model, tmp_path / "tiny.gguf", seed=1)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
N_VOCAB = 256 + len(SPECIAL_TOKENS) + 1  # one merge makes one more token

Dims = tuple[int, ...]


@dataclass(frozen=True)
class GgufModel:
    """A model to write. `tensors`: dims as GGUF orders them (fastest first); `types` overrides F32."""

    architecture: str
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Dims]
    types: Mapping[str, str] = field(default_factory=dict)

    def type_of(self, name: str) -> gguf.GGMLQuantizationType:
        if name in self.types:
            return gguf.GGMLQuantizationType[self.types[name]]
        default = self.types.get("*") if len(self.tensors[name]) > 1 else None
        return gguf.GGMLQuantizationType[default or "F32"]


def llama(
    *,
    layers: int = 2,
    n_embd: int = 64,
    n_head: int = 4,
    n_head_kv: int = 2,
    head_dim: int = 32,
    n_ff: int = 128,
    n_vocab: int = N_VOCAB,
    n_ctx: int = 2048,
    tied: bool = False,
    **model: Any,
) -> GgufModel:
    metadata = _common(layers, n_embd, n_ctx, n_vocab) | {
        "feed_forward_length": n_ff,
        "attention.head_count": n_head,
        "attention.head_count_kv": n_head_kv,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.dimension_count": head_dim,
        "rope.freq_base": 10000.0,
    }
    tensors = _embeddings(n_embd, n_vocab, tied)
    for il in range(layers):
        tensors |= {
            **_attention(il, n_embd, n_head * head_dim, n_head_kv * head_dim, n_head_kv * head_dim),
            **_dense_ffn(il, n_embd, n_ff),
        }
    return _model("llama", metadata, tensors, **model)


def gemma3(
    *,
    layers: int = 6,
    n_embd: int = 64,
    n_head: int = 4,
    n_head_kv: int = 1,
    head_dim: int = 32,
    n_ff: int = 128,
    n_vocab: int = N_VOCAB,
    n_ctx: int = 2048,
    window: int = 64,
    pattern: int | list[bool] | None = None,
    **model: Any,
) -> GgufModel:
    metadata = _common(layers, n_embd, n_ctx, n_vocab) | {
        "feed_forward_length": n_ff,
        "attention.head_count": n_head,
        "attention.head_count_kv": n_head_kv,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.sliding_window": window,
        "rope.freq_base": 1000000.0,
    }
    if pattern is not None:
        metadata["attention.sliding_window_pattern"] = pattern
    tensors = _embeddings(n_embd, n_vocab, tied=True)
    for il in range(layers):
        tensors |= {
            **_attention(il, n_embd, n_head * head_dim, n_head_kv * head_dim, n_head_kv * head_dim),
            f"blk.{il}.attn_q_norm.weight": (head_dim,),
            f"blk.{il}.attn_k_norm.weight": (head_dim,),
            f"blk.{il}.post_attention_norm.weight": (n_embd,),
            f"blk.{il}.post_ffw_norm.weight": (n_embd,),
            **_dense_ffn(il, n_embd, n_ff),
        }
    return _model("gemma3", metadata, tensors, **model)


def qwen35moe(
    *,
    layers: int = 4,
    mtp_layers: int = 0,
    n_embd: int = 64,
    n_head: int = 4,
    n_head_kv: int = 2,
    head_dim: int = 32,
    n_expert: int = 4,
    n_expert_used: int = 2,
    n_ff_exp: int = 32,
    n_ff_shexp: int = 32,
    conv_kernel: int = 4,
    state: int = 32,
    groups: int = 2,
    dt_rank: int = 4,
    interval: int | None = 4,
    n_vocab: int = N_VOCAB,
    n_ctx: int = 2048,
    rope_dims: int | None = None,
    **model: Any,
) -> GgufModel:
    rope = rope_dims or head_dim // 2
    metadata = _common(layers + mtp_layers, n_embd, n_ctx, n_vocab) | {
        "attention.head_count": n_head,
        "attention.head_count_kv": n_head_kv,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "expert_count": n_expert,
        "expert_used_count": n_expert_used,
        "expert_feed_forward_length": n_ff_exp,
        "expert_shared_feed_forward_length": n_ff_shexp,
        "rope.dimension_count": rope,
        "rope.dimension_sections": [rope // 2 - 2 * (rope // 6), rope // 6, rope // 6, 0],
        "rope.freq_base": 10000000.0,
        "ssm.conv_kernel": conv_kernel,
        "ssm.state_size": state,
        "ssm.group_count": groups,
        "ssm.time_step_rank": dt_rank,
        "ssm.inner_size": state * dt_rank,
    }
    if interval is not None:
        metadata["full_attention_interval"] = interval
    if mtp_layers:
        metadata["nextn_predict_layers"] = mtp_layers
    tensors = _embeddings(n_embd, n_vocab, tied=False)
    for il in range(layers + mtp_layers):
        attends = il >= layers or (il + 1) % (interval or 4) == 0
        tensors |= {
            **(
                {
                    **_attention(
                        il,
                        n_embd,
                        n_head * head_dim * 2,
                        n_head_kv * head_dim,
                        n_head_kv * head_dim,
                        gated=True,
                    ),
                    f"blk.{il}.attn_q_norm.weight": (head_dim,),
                    f"blk.{il}.attn_k_norm.weight": (head_dim,),
                }
                if attends
                else _delta_net(il, n_embd, conv_kernel, state, groups, dt_rank)
            ),
            f"blk.{il}.post_attention_norm.weight": (n_embd,),
            **_experts(il, n_embd, n_expert, n_ff_exp, n_ff_shexp),
            f"blk.{il}.ffn_gate_inp_shexp.weight": (n_embd,),
        }
    for il in range(layers, layers + mtp_layers):
        tensors |= {
            f"blk.{il}.nextn.eh_proj.weight": (2 * n_embd, n_embd),
            f"blk.{il}.nextn.enorm.weight": (n_embd,),
            f"blk.{il}.nextn.hnorm.weight": (n_embd,),
        }
    return _model("qwen35moe", metadata, tensors, **model)


def deepseek2(
    *,
    layers: int = 2,
    dense_layers: int = 1,
    n_embd: int = 64,
    n_head: int = 4,
    q_lora_rank: int = 32,
    kv_lora_rank: int = 64,
    rope_dims: int = 32,
    nope_dims: int = 32,
    value_dims: int = 32,
    n_ff: int = 128,
    n_expert: int = 4,
    n_expert_used: int = 2,
    n_ff_exp: int = 32,
    n_vocab: int = N_VOCAB,
    n_ctx: int = 2048,
    **model: Any,
) -> GgufModel:
    metadata = _common(layers, n_embd, n_ctx, n_vocab) | {
        "feed_forward_length": n_ff,
        "leading_dense_block_count": dense_layers,
        "attention.head_count": n_head,
        "attention.head_count_kv": 1,
        "attention.key_length": kv_lora_rank + rope_dims,
        "attention.value_length": kv_lora_rank,
        "attention.key_length_mla": nope_dims + rope_dims,
        "attention.value_length_mla": value_dims,
        "attention.q_lora_rank": q_lora_rank,
        "attention.kv_lora_rank": kv_lora_rank,
        "rope.dimension_count": rope_dims,
        "rope.freq_base": 10000.0,
        "expert_count": n_expert,
        "expert_used_count": n_expert_used,
        "expert_shared_count": 1,
        "expert_feed_forward_length": n_ff_exp,
        "expert_gating_func": 2,
    }
    tensors = _embeddings(n_embd, n_vocab, tied=False)
    for il in range(layers):
        tensors |= {
            f"blk.{il}.attn_norm.weight": (n_embd,),
            f"blk.{il}.attn_q_a.weight": (n_embd, q_lora_rank),
            f"blk.{il}.attn_q_a_norm.weight": (q_lora_rank,),
            f"blk.{il}.attn_q_b.weight": (q_lora_rank, n_head * (nope_dims + rope_dims)),
            f"blk.{il}.attn_kv_a_mqa.weight": (n_embd, kv_lora_rank + rope_dims),
            f"blk.{il}.attn_kv_a_norm.weight": (kv_lora_rank,),
            f"blk.{il}.attn_k_b.weight": (nope_dims, kv_lora_rank, n_head),
            f"blk.{il}.attn_v_b.weight": (kv_lora_rank, value_dims, n_head),
            f"blk.{il}.attn_output.weight": (n_head * value_dims, n_embd),
            f"blk.{il}.ffn_norm.weight": (n_embd,),
            **(
                _dense_ffn(il, n_embd, n_ff)
                if il < dense_layers
                else {
                    **_experts(il, n_embd, n_expert, n_ff_exp, n_ff_exp),
                    f"blk.{il}.exp_probs_b.bias": (n_expert,),
                }
            ),
        }
    return _model("deepseek2", metadata, tensors, **model)


def write(model: GgufModel, path: Path, *, seed: int = 0, weights: bool = True) -> Path:
    """Writes `model` to `path`, with random weights or (sparse) none."""
    writer = gguf.GGUFWriter(path, model.architecture)
    _add_metadata(writer, model)
    total = 0
    for name, dims in model.tensors.items():
        kind = model.type_of(name)
        n_bytes = _n_bytes(dims, kind)
        writer.add_tensor_info(name, tuple(reversed(dims)), np.dtype(np.float32), n_bytes, kind)
        total += _padded(n_bytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.seek(_padded(file.tell()))
        if weights:
            _write_weights(file, model, np.random.default_rng(seed))
        else:
            file.truncate(file.tell() + total)
    return path


def _write_weights(file: Any, model: GgufModel, rng: np.random.Generator) -> None:
    for name, dims in model.tensors.items():
        shape = tuple(reversed(dims))
        if len(dims) == 1 and "norm" in name:
            values = np.ones(shape, dtype=np.float32)
        elif name.endswith("ssm_a"):
            values = -rng.uniform(0.1, 1.0, shape).astype(np.float32)
        else:
            values = (rng.standard_normal(shape) / np.sqrt(dims[0])).astype(np.float32)
        data = gguf.quants.quantize(values, model.type_of(name)).tobytes()
        file.write(data.ljust(_padded(len(data)), b"\0"))


def _add_metadata(writer: gguf.GGUFWriter, model: GgufModel) -> None:
    for key, value in model.metadata.items():
        full = key if key.startswith(("general.", "tokenizer.", "split.")) else f"{model.architecture}.{key}"
        if isinstance(value, bool):
            writer.add_bool(full, value)
        elif isinstance(value, int):
            writer.add_uint32(full, value)
        elif isinstance(value, float):
            writer.add_float32(full, value)
        elif isinstance(value, str):
            writer.add_string(full, value)
        else:
            writer.add_array(full, value)


def _model(
    architecture: str,
    metadata: dict[str, Any],
    tensors: dict[str, Dims],
    *,
    types: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    tokenizer: bool = True,
) -> GgufModel:
    """`extra` metadata is added last and wins; None takes a key out."""
    merged = metadata | (_tokenizer(metadata["vocab_size"]) if tokenizer else {}) | dict(extra or {})
    return GgufModel(
        architecture, {key: value for key, value in merged.items() if value is not None}, tensors, types or {}
    )


def _common(layers: int, n_embd: int, n_ctx: int, n_vocab: int) -> dict[str, Any]:
    return {
        "general.name": "Tiny test model",
        "general.file_type": 0,
        "block_count": layers,
        "context_length": n_ctx,
        "embedding_length": n_embd,
        "vocab_size": n_vocab,
        "attention.layer_norm_rms_epsilon": 1e-6,
    }


def _embeddings(n_embd: int, n_vocab: int, tied: bool) -> dict[str, Dims]:
    tensors: dict[str, Dims] = {"token_embd.weight": (n_embd, n_vocab), "output_norm.weight": (n_embd,)}
    return tensors if tied else tensors | {"output.weight": (n_embd, n_vocab)}


def _attention(il: int, n_embd: int, q: int, k: int, v: int, *, gated: bool = False) -> dict[str, Dims]:
    return {
        f"blk.{il}.attn_norm.weight": (n_embd,),
        f"blk.{il}.attn_q.weight": (n_embd, q),
        f"blk.{il}.attn_k.weight": (n_embd, k),
        f"blk.{il}.attn_v.weight": (n_embd, v),
        f"blk.{il}.attn_output.weight": (q // 2 if gated else q, n_embd),
    }


def _delta_net(il: int, n_embd: int, conv: int, state: int, groups: int, dt_rank: int) -> dict[str, Dims]:
    inner = state * dt_rank
    channels = 2 * groups * state + inner
    return {
        f"blk.{il}.attn_norm.weight": (n_embd,),
        f"blk.{il}.attn_qkv.weight": (n_embd, channels),
        f"blk.{il}.attn_gate.weight": (n_embd, inner),
        f"blk.{il}.ssm_conv1d.weight": (conv, channels),
        f"blk.{il}.ssm_dt.bias": (dt_rank,),
        f"blk.{il}.ssm_a": (dt_rank,),
        f"blk.{il}.ssm_beta.weight": (n_embd, dt_rank),
        f"blk.{il}.ssm_alpha.weight": (n_embd, dt_rank),
        f"blk.{il}.ssm_norm.weight": (state,),
        f"blk.{il}.ssm_out.weight": (inner, n_embd),
    }


def _dense_ffn(il: int, n_embd: int, n_ff: int) -> dict[str, Dims]:
    return {
        f"blk.{il}.ffn_norm.weight": (n_embd,),
        f"blk.{il}.ffn_gate.weight": (n_embd, n_ff),
        f"blk.{il}.ffn_up.weight": (n_embd, n_ff),
        f"blk.{il}.ffn_down.weight": (n_ff, n_embd),
    }


def _experts(il: int, n_embd: int, n_expert: int, n_ff: int, n_ff_shared: int) -> dict[str, Dims]:
    return {
        f"blk.{il}.ffn_gate_inp.weight": (n_embd, n_expert),
        f"blk.{il}.ffn_gate_exps.weight": (n_embd, n_ff, n_expert),
        f"blk.{il}.ffn_up_exps.weight": (n_embd, n_ff, n_expert),
        f"blk.{il}.ffn_down_exps.weight": (n_ff, n_embd, n_expert),
        f"blk.{il}.ffn_gate_shexp.weight": (n_embd, n_ff_shared),
        f"blk.{il}.ffn_up_shexp.weight": (n_embd, n_ff_shared),
        f"blk.{il}.ffn_down_shexp.weight": (n_ff_shared, n_embd),
    }


def _tokenizer(n_vocab: int) -> dict[str, Any]:
    """Byte-level BPE with a single merge: any text is tokens, one for nearly each of its bytes."""
    merged = "he"
    tokens = [*_byte_characters(), merged, *SPECIAL_TOKENS]
    types = [1] * 257 + [3] * len(SPECIAL_TOKENS)
    for number in range(len(tokens), n_vocab):
        tokens.append(f"<unused_{number}>")
        types.append(5)
    end, start, turn = (tokens.index(special) for special in SPECIAL_TOKENS)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": ["h e"],
        "tokenizer.ggml.bos_token_id": start,
        "tokenizer.ggml.eos_token_id": turn,
        "tokenizer.ggml.padding_token_id": end,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def _byte_characters() -> list[str]:
    """GPT-2's 256 printable characters: bytes that print stand for themselves, others from U+0100 on."""
    printing = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printing]
    return [chr(byte) for byte in printing] + [chr(256 + n) for n in range(len(others))]


def _n_bytes(dims: Dims, kind: gguf.GGMLQuantizationType) -> int:
    elements, block_bytes = GGML_QUANT_SIZES[kind]
    return int(np.prod(dims, dtype=np.int64)) // elements * block_bytes


def _padded(size: int, alignment: int = gguf.GGUF_DEFAULT_ALIGNMENT) -> int:
    return -(-size // alignment) * alignment


# Models of real sizes, for `write(..., weights=False)`.

LLAMA_8B = llama(
    layers=32, n_embd=4096, n_head=32, n_head_kv=8, head_dim=128, n_ff=14336, n_vocab=128256,
    types={"*": "Q4_0"}, tokenizer=False,
)  # fmt: skip
GEMMA3_4B = gemma3(
    layers=34, n_embd=2560, n_head=8, n_head_kv=4, head_dim=256, n_ff=10240, n_vocab=262144, window=1024,
    types={"*": "Q4_0"}, tokenizer=False,
)  # fmt: skip
QWEN35_35B = qwen35moe(
    layers=40, mtp_layers=1, n_embd=2048, n_head=16, n_head_kv=2, head_dim=256, n_expert=256, n_expert_used=8,
    n_ff_exp=512, n_ff_shexp=512, state=128, groups=16, dt_rank=32, n_vocab=248320, rope_dims=64,
    types={"*": "Q4_0"} | {f"blk.{il}.ssm_conv1d.weight": "F32" for il in range(41)}, tokenizer=False,
)  # fmt: skip
GLM_FLASH = deepseek2(
    layers=47, dense_layers=1, n_embd=2048, n_head=20, q_lora_rank=768, kv_lora_rank=512, rope_dims=64,
    nope_dims=192, value_dims=256, n_ff=10240, n_expert=64, n_expert_used=4, n_ff_exp=1536, n_vocab=154880,
    types={"*": "Q4_0"}, tokenizer=False,
)  # fmt: skip
REAL_SIZES = {
    "llama-8b": LLAMA_8B,
    "gemma3-4b": GEMMA3_4B,
    "qwen3.6-35b-a3b": QWEN35_35B,
    "glm-4.7-flash": GLM_FLASH,
}


def without_vocabulary(model: GgufModel) -> GgufModel:
    """One that llama.cpp loads although nobody wrote it a tokenizer."""
    return dataclasses.replace(model, metadata={**model.metadata, "tokenizer.ggml.model": "no_vocab"})
