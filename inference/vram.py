"""Bytes that a model will need, from its GGUF header and its configuration.

    weights + KV cache + recurrent state + compute buffers + outputs + the process's CUDA context

Weights, KV cache and recurrent state are exact: they equal what llama.cpp (as of llama-cpp-python
0.3.36) logs. The compute buffer is a formula that leans upwards: llama.cpp's allocator packs a
graph's tensors by lifetime, and this takes the widest stage of a layer, with holes as they usually
fall. Measured against the buffers of real loads and dry runs: SmolLM2 135M and Gemma 3 270M
−0.3 to +6.5 % over 36 settings (+0.5 % of the total at most); llama, gemma3, qwen35moe and
deepseek2 of 0.5 to 35 billion parameters −5 to +8 % over 99 settings; toys of every other
architecture mostly 0 to +45 % of a few MiB, and too low where inference/model_layers.py says that
it does not know an architecture's extra caches. The CUDA context is a constant until a measured
delta replaces the estimate.

Where weights and caches go depends on `offload`: with it, the bytes are the GPU's share of
`n_gpu_layers`; without, all are host memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from inference.gguf import GgufHeader, TensorInfo
from inference.model_layers import (
    Layer,
    encodes_only,
    head_counts,
    layers_of,
    state_floats,
    trunk_layers,
    uses_mla,
)
from inference.model_spec import KvType, ModelSpec

N_OUTPUTS_MAX = 32
"""Rows of logits the engine reserves per step (more if it has more slots); not n_ubatch rows."""

CUDA_CONTEXT_BYTES = 512 * 1024 * 1024
"""CUDA context, kernels and cuBLAS workspace of one process: 0.3 to 0.6 GiB, in no file's header."""

_CELL_PADDING = 256
_FLOAT = 4
_INPUT_BYTES_PER_TOKEN = 32  # ids, positions and cache indices
_BLOCKS: Mapping[KvType, tuple[int, int]] = {  # elements, bytes
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q5_1": (32, 24),
    "q5_0": (32, 22),
    "q4_1": (32, 20),
    "q4_0": (32, 18),
    "iq4_nl": (32, 18),
}
_NO_FLASH_ATTENTION = frozenset(("grok",))  # llama.cpp forces it off
_INPUT_TENSORS = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.")
"""What llama.cpp keeps in host memory even when everything is offloaded."""

_BLOCK_TENSOR = re.compile(r"blk\.(\d{1,9})\.(.+)")


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """In bytes of the one memory that is budgeted: the GPU's if offloaded, else the host's."""

    weights_bytes: int
    kv_bytes: int
    recurrent_bytes: int
    compute_bytes: int
    output_bytes: int = 0  # logits and embeddings handed out; host memory
    context_bytes: int = 0  # CUDA context

    @property
    def total_bytes(self) -> int:
        return (
            self.weights_bytes
            + self.kv_bytes
            + self.recurrent_bytes
            + self.compute_bytes
            + self.output_bytes
            + self.context_bytes
        )


def estimate(header: GgufHeader, spec: ModelSpec, *, offload: bool) -> MemoryEstimate:
    """What loading `header`'s model as `spec` takes. Raises InvalidModelFile for contradictory keys."""
    plan = _plan(header, spec)
    first = _first_offloaded(plan) if offload else 0
    return MemoryEstimate(
        weights_bytes=_gpu_weights(plan, first) if offload else _host_weights(plan),
        kv_bytes=_kv_bytes(plan, first),
        recurrent_bytes=sum(layer.state_bytes for layer in plan.layers[first:]) * spec.slots,
        compute_bytes=_compute_bytes(plan),
        output_bytes=0 if offload else _output_bytes(plan),
        context_bytes=CUDA_CONTEXT_BYTES if offload else 0,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """The context that the engine will make: `cells` per stream, `tokens` per graph."""

    header: GgufHeader
    spec: ModelSpec
    layers: tuple[Layer, ...]
    n_embd: int
    cells: int
    streams: int
    n_ubatch: int
    tokens: int
    flash: bool

    def cells_of(self, layer: Layer) -> int:
        """Per stream. A window must hold what each sequence still sees and the tokens being added."""
        if layer.window is None or self.spec.swa_full:
            return self.cells
        sequences = self.spec.slots if self.spec.kv_unified else 1
        return _pad(min(self.cells, layer.window * sequences + self.n_ubatch))

    @property
    def quantised_kv(self) -> bool:
        return _BLOCKS[self.spec.kv_type][0] > 1


def _plan(header: GgufHeader, spec: ModelSpec) -> _Plan:
    total = spec.n_ctx * spec.slots
    n_batch = min(spec.n_batch, total)
    n_ubatch = min(spec.n_ubatch, n_batch) if spec.n_ubatch else n_batch
    return _Plan(
        header=header,
        spec=spec,
        layers=layers_of(header),
        n_embd=header.integer("embedding_length"),
        cells=_pad(total if spec.kv_unified else spec.n_ctx),
        streams=1 if spec.kv_unified else spec.slots,
        n_ubatch=n_ubatch,
        tokens=_pad(n_ubatch, spec.slots),
        flash=spec.flash_attn is not False and header.architecture not in _NO_FLASH_ATTENTION,
    )


def _pad(n: int, to: int = _CELL_PADDING) -> int:
    return -(-n // to) * to


# --- weights ---------------------------------------------------------------------------------------


def _first_offloaded(plan: _Plan) -> int:
    """llama.cpp offloads the last n_gpu_layers of block_count + 1, of which the last is the output."""
    if plan.spec.n_gpu_layers == "all":
        return 0
    return max(plan.header.integer("block_count") + 1 - plan.spec.n_gpu_layers, 0)


def _host_weights(plan: _Plan) -> int:
    return sum(tensor.n_bytes for tensor in _loaded(plan.header))


def _gpu_weights(plan: _Plan, first: int) -> int:
    output_offloaded = first <= plan.header.integer("block_count")
    total = 0
    for tensor in _loaded(plan.header):
        block = _block_of(tensor)
        if block is not None:
            total += tensor.n_bytes if block >= first else 0
        elif output_offloaded and not tensor.name.startswith(_INPUT_TENSORS):
            total += tensor.n_bytes
    if output_offloaded and (tied := _tied_output(plan.header)):
        total += tied.n_bytes  # the GPU gets a copy of its own
    return total


def _loaded(header: GgufHeader) -> list[TensorInfo]:
    """All tensors but those of multi-token prediction blocks, which the engine leaves in the file."""
    trunk = trunk_layers(header)
    return [t for t in header.tensors if (block := _block_of(t)) is None or block < trunk]


def _block_of(tensor: TensorInfo) -> int | None:
    named = _BLOCK_TENSOR.match(tensor.name)
    return int(named[1]) if named else None


def _tied_output(header: GgufHeader) -> TensorInfo | None:
    """token_embd, where it is the output matrix too."""
    named = {tensor.name: tensor for tensor in header.tensors}
    if "output.weight" in named or encodes_only(header):
        return None
    return named.get("token_embd.weight")


# --- caches ----------------------------------------------------------------------------------------


def _kv_bytes(plan: _Plan, first: int) -> int:
    # Without flash attention V is stored transposed, and every layer gets the widest layer's rows.
    widest_v = 0 if plan.flash else max(layer.v_width for layer in plan.layers)
    total = 0
    for layer in plan.layers[first:]:
        v_width = max(layer.v_width, widest_v) if layer.v_width else 0
        row = sum(
            _row_bytes(width, plan.spec.kv_type) for width in (layer.k_width, v_width, layer.index_width)
        )
        total += plan.cells_of(layer) * plan.streams * row
    return total


def _row_bytes(width: int, kv_type: KvType) -> int:
    elements, n_bytes = _BLOCKS[kv_type]
    return -(-width // elements) * n_bytes


# --- outputs and compute buffers -------------------------------------------------------------------


def _output_bytes(plan: _Plan) -> int:
    """Rows of logits (and embeddings) that a step hands out; llama.cpp keeps logits even unused."""
    n_vocab = _n_vocab(plan.header)
    if plan.spec.embeddings:
        return max(plan.spec.n_batch, plan.spec.slots) * (n_vocab + plan.n_embd) * _FLOAT
    return plan.spec.slots * n_vocab * _FLOAT


def _n_vocab(header: GgufHeader) -> int:
    """Rows of the output matrix, or of the embedding where that is the output matrix too."""
    for name in ("output.weight", "token_embd.weight"):
        for tensor in header.tensors:
            if tensor.name == name and len(tensor.dims) > 1:
                return tensor.dims[1]
    return 0


def _compute_bytes(plan: _Plan) -> int:
    """The larger of what a layer and what the output needs; they do not live at the same time."""
    outputs = plan.spec.n_batch if plan.spec.embeddings else max(N_OUTPUTS_MAX, plan.spec.slots)
    outputs = min(plan.tokens, outputs)
    n_vocab = 0 if encodes_only(plan.header) else _n_vocab(plan.header)
    output_floats = outputs * n_vocab + 2 * (plan.tokens + outputs) * plan.n_embd
    layer_bytes = _mask_bytes(plan) + _stage_floats(plan) * _FLOAT
    inputs = _INPUT_BYTES_PER_TOKEN * plan.tokens + _rotation_bytes(plan)
    return max(layer_bytes, output_floats * _FLOAT) + inputs


def _mask_bytes(plan: _Plan) -> int:
    """One attention mask per kind of layer: float16 for flash attention, else float32."""
    cells = {(layer.window, plan.cells_of(layer)) for layer in plan.layers if layer.k_width}
    columns = sum(n for _, n in cells) if cells else plan.tokens
    return columns * plan.tokens * (2 if plan.flash else _FLOAT)


def _rotation_bytes(plan: _Plan) -> int:
    """A quantised cache is rotated, by a square matrix of the largest power of two in the head's size."""
    length = plan.header.integer("attention.key_length", default=0)
    return (length & -length) ** 2 * _FLOAT if plan.quantised_kv else 0


def _stage_floats(plan: _Plan) -> int:
    """Floats of the widest stage of a layer: attention, feed-forward, experts or recurrence."""
    widths = _tensor_widths(plan.header)
    feed_forward = max(_feed_forward_width(plan, widths), _experts_width(plan, widths))
    stages = [feed_forward * plan.tokens, _attention_floats(plan, widths)]
    if any(layer.state_bytes for layer in plan.layers):
        stages.append(_recurrence_floats(plan, widths))
    return max(stages)


_Widths = Mapping[str, tuple[int, ...]]


def _tensor_widths(header: GgufHeader) -> dict[str, tuple[int, ...]]:
    """Weight without its block -> its dims, each the largest of all blocks."""
    widest: dict[str, tuple[int, ...]] = {}
    for tensor in _loaded(header):
        named = _BLOCK_TENSOR.match(tensor.name)
        if named is None or not named[2].endswith(".weight"):
            continue
        name = named[2].removesuffix(".weight")
        known = widest.get(name, ())
        widest[name] = tuple(map(max, known, tensor.dims)) if len(known) == len(tensor.dims) else tensor.dims
    return widest


def _rows(widths: _Widths, *names: str) -> int:
    """Output width of the first of `names` that the model has as a matrix."""
    return next((widths[name][1] for name in names if len(widths.get(name, ())) > 1), 0)


def _q_width(widths: _Widths) -> int:
    """Of the query projection, with its gate where it has one."""
    return _rows(widths, "attn_q", "attn_q_b", "attn_qkv")


def _feed_forward_width(plan: _Plan, widths: _Widths) -> int:
    """Gate, up and their product at once, the residual, and holes left by attention."""
    gate, up = _rows(widths, "ffn_gate"), _rows(widths, "ffn_up")
    product = 3 * max(gate, up) if gate else up * 3 // 2
    if not product:
        return 0
    normed_again = "post_ffw_norm" in widths  # Gemma: the output is normalised before it is added
    holes = 3 * plan.n_embd + (_q_width(widths) if normed_again else plan.n_embd)
    if plan.quantised_kv and any(layer.window for layer in plan.layers):
        holes += plan.n_embd
    return product + holes


def _experts_width(plan: _Plan, widths: _Widths) -> int:
    down = widths.get("ffn_down_exps", ())
    if len(down) != 3:
        return 0
    ff_width, _, experts = down
    used = max(plan.header.per_layer("expert_used_count", len(plan.layers), default=1))
    return 4 * plan.n_embd + used * (3 * ff_width + plan.n_embd) + 2 * experts


def _attention_floats(plan: _Plan, widths: _Widths) -> int:
    header = plan.header
    heads = max(head_counts(header, len(plan.layers)))
    cells = max((plan.cells_of(layer) for layer in plan.layers if layer.k_width), default=plan.tokens)
    if uses_mla(header):
        rank = header.integer("attention.kv_lora_rank", default=0)
        rope = header.integer("rope.dimension_count", default=0)
        head = header.integer("attention.key_length_mla")
        width = 3 * plan.n_embd + heads * (3 * rank + rope + head) + rank + rope
        converted = 2 * rank + rope if plan.flash else rank  # K and V; V alone, transposed
    else:
        kv = _rows(widths, "attn_k") + _rows(widths, "attn_v")
        width = 3 * plan.n_embd + 2 * _q_width(widths) + kv * (1 if plan.flash else 2)
        converted = kv if plan.flash else 0
    floats = (width + _indexer_width(header, cells)) * plan.tokens
    if not plan.flash:
        floats += cells * heads * plan.tokens  # the scores
    if not plan.flash or plan.spec.kv_type == "f32":
        floats += cells * plan.streams * converted // 2  # a copy of the whole cache in float16
    return floats


def _indexer_width(header: GgufHeader, cells: int) -> int:
    """Sparse attention: its own queries, and the scores, ranks and mask of every cell."""
    heads = header.integer("attention.indexer.head_count", default=0)
    if not heads:
        return 0
    return 2 * heads * header.integer("attention.indexer.key_length", default=0) + 5 * cells // 2


def _recurrence_floats(plan: _Plan, widths: _Widths) -> int:
    """The input projections, the convolution's input and output, and the states being updated."""
    conv, state = state_floats(plan.header)
    kernel = plan.header.integer("ssm.conv_kernel", default=0)
    channels = conv // (kernel - 1) if kernel > 1 else conv
    if mamba := _rows(widths, "ssm_in"):
        projected = mamba + plan.header.integer("ssm.inner_size", default=0)
    else:
        projected = _rows(widths, "attn_qkv") + _rows(widths, "attn_gate")
    per_token = 3 * plan.n_embd + projected + 2 * channels
    return per_token * plan.tokens + plan.spec.slots * (2 * conv + state + state // 4)
