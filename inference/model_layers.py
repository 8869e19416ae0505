"""What each layer of a model keeps in memory between tokens, read from its GGUF header.

An attention layer keeps a K and a V row per token, all of them or a sliding window's worth; an
MLA layer keeps one compressed row; a recurrent layer keeps a state of fixed size per sequence.
The rules are those of llama.cpp as of llama-cpp-python 0.3.36 (llama-hparams.cpp and each
architecture's load_arch_hparams). An architecture that is not named here counts as plain
attention over the full context, which is never less than the truth for the attention part.
Checked against the logs of 128 random-weight models, one or two per architecture, at 5 settings
each: equal for all but deepseek4 (its compressed cache is smaller), minimax-m3 (lacks its block
index) and qwen4exp (lacks its n-gram history).
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.gguf import GgufHeader

MAX_LAYERS = 512  # llama.cpp's own limit

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Layer:
    """`k_width` and `v_width` are elements per token; v_width 0 where V is a view of K (MLA).

    `window` None is the full context. `state_bytes` is per sequence, independent of the context.
    """

    k_width: int = 0
    v_width: int = 0
    window: int | None = None
    index_width: int = 0  # sparse attention's own small key cache
    state_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Which layers of an architecture slide: all but one in `period`, the last or the first of it.

    `period` None: the file must list them. `window` is what llama.cpp assumes or imposes.
    """

    period: int | None
    full_first: bool = False
    window: int | None = None
    imposed: bool = False


_SLIDING: dict[str, _Pattern] = {
    "afmoe": _Pattern(4),
    "cohere2": _Pattern(4),
    "cohere2moe": _Pattern(4, full_first=True),
    "dots3note": _Pattern(None),
    "exaone4": _Pattern(4, window=4096),
    "exaone-moe": _Pattern(4, window=128),
    "gemma2": _Pattern(2, window=4096),
    "gemma3": _Pattern(6),
    "gemma3n": _Pattern(5),
    "gemma4": _Pattern(None),
    "gpt-oss": _Pattern(2),
    "granite_swa": _Pattern(None),
    "laguna": _Pattern(4, full_first=True),
    "lfm2": _Pattern(0),
    "llama4": _Pattern(4, window=8192, imposed=True),
    "maple": _Pattern(None),
    "mellum": _Pattern(4),
    "mimo2": _Pattern(None),
    "muse-glimmer": _Pattern(4),
    "olmo2": _Pattern(4),
    "plamo3": _Pattern(8),
    "smallthinker": _Pattern(4, full_first=True, window=4096, imposed=True),
    "spark2_5": _Pattern(None),
    "step35": _Pattern(None),
}
_EXAONE4_SLIDING_LAYERS = 64  # the 32B slides; the 1.2B, of the same architecture, does not

_ENCODERS = frozenset(
    "bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert "
    "gemma-embedding t5encoder dream llada llada-moe rnd1".split()
)
_RECURRENT = frozenset(("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"))
_RECURRENT_WITHOUT_KV = frozenset(
    "bailingmoe3 glm5-next granitehybrid jamba kimi-k3 kimi-linear lfm2 lfm2moe nemotron_h nemotron_h_moe "
    "plamo2".split()
)
_FULL_ATTENTION_INTERVAL = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "qwen4exp": 4, "minimax-01": 8}
_INDEXED = frozenset("deepseek32 dots3note glm-dsa glm5-next hy_v4 qwen4exp".split())
_INDEXED_THROUGHOUT = frozenset(("deepseek32", "qwen4exp"))
_KEYS_OF_POOLED_INDEX = 3  # glm5-next caches key, gate and pooled key


def trunk_layers(header: GgufHeader) -> int:
    """Layers of the model proper. Blocks of multi-token prediction follow them and are not loaded."""
    blocks = header.integer("block_count")
    extra = header.integer("nextn_predict_layers", default=0)
    if not 1 <= blocks <= MAX_LAYERS:
        header.refuse_key("block_count", blocks, f"1 to {MAX_LAYERS} layers")
    if extra >= blocks:
        header.refuse_key("nextn_predict_layers", extra, f"fewer than its {blocks} blocks")
    return blocks - extra


def layers_of(header: GgufHeader) -> tuple[Layer, ...]:
    """The trunk's layers in order. Raises InvalidModelFile for keys that contradict each other."""
    count = trunk_layers(header)
    if encodes_only(header):
        return (Layer(),) * count
    attention = _attention(header, count)
    recurrent = _recurrent(header, count)
    if header.architecture.startswith("nemotron_h"):  # some of its layers are an MLP and keep nothing
        ffn = header.per_layer("feed_forward_length", count, default=0)
        attention = [Layer() if width else layer for width, layer in zip(ffn, attention, strict=True)]
        recurrent = [flag and not width for width, flag in zip(ffn, recurrent, strict=True)]
    if header.architecture == "falcon-h1":  # attention and Mamba side by side in every layer
        return tuple(
            Layer(a.k_width, a.v_width, a.window, state_bytes=_state_bytes(header)) for a in attention
        )
    return tuple(
        Layer(state_bytes=_state_bytes(header)) if is_recurrent else layer
        for is_recurrent, layer in zip(recurrent, attention, strict=True)
    )


def encodes_only(header: GgufHeader) -> bool:
    """Encoders (and diffusion models) see all of their input at once: no cache, no next-token logits."""
    return header.architecture in _ENCODERS


def uses_mla(header: GgufHeader) -> bool:
    """Compressed attention, cached as one row. Files made before llama.cpp had it lack these keys."""
    return bool(
        header.integer("attention.key_length_mla", default=0)
        and header.integer("attention.value_length_mla", default=0)
    )


def head_counts(header: GgufHeader, layers: int) -> tuple[int, ...]:
    return header.per_layer("attention.head_count", layers, default=0)


# --- attention -------------------------------------------------------------------------------------


def _attention(header: GgufHeader, count: int) -> list[Layer]:
    heads = head_counts(header, count)
    default_length = header.integer("embedding_length") // heads[0] if heads[0] else 0
    k_full = header.integer("attention.key_length", default=default_length)
    v_full = header.integer("attention.value_length", default=default_length)
    k_sliding = header.integer("attention.key_length_swa", default=k_full)
    v_sliding = header.integer("attention.value_length_swa", default=v_full)
    kv_heads = _kv_head_counts(header, count)
    windows = _windows(header, count)
    own_kv = _layers_with_own_kv(header, count)
    mla = uses_mla(header)
    index = _index_widths(header, count)
    layers: list[Layer] = []
    for il in range(count):
        if il >= own_kv:
            layers.append(Layer())
            continue
        k, v = (k_full, v_full) if windows[il] is None else (k_sliding, v_sliding)
        layers.append(Layer(kv_heads[il] * k, 0 if mla else kv_heads[il] * v, windows[il], index[il]))
    return layers


def _kv_head_counts(header: GgufHeader, count: int) -> tuple[int, ...]:
    key = "attention.head_count_kv"
    given = f"{header.architecture}.{key}" in header.metadata
    return header.per_layer(key, count) if given else head_counts(header, count)


def _index_widths(header: GgufHeader, count: int) -> list[int]:
    """Sparse attention keeps a small key per token in the layers that choose what to attend to."""
    if header.architecture not in _INDEXED:
        return [0] * count
    width = header.integer("attention.indexer.key_length", default=0)
    if header.integer("attention.indexer.kpool", default=0):
        width *= _KEYS_OF_POOLED_INDEX
    if header.architecture in _INDEXED_THROUGHOUT:
        return [width] * count
    choosing = header.per_layer("attention.indexer.types", count, default=1)
    return [width if flag else 0 for flag in choosing]


def _windows(header: GgufHeader, count: int) -> list[int | None]:
    """The sliding window of each layer, None for full attention."""
    pattern = _SLIDING.get(header.architecture)
    if pattern is None or (header.architecture == "exaone4" and count != _EXAONE4_SLIDING_LAYERS):
        return [None] * count
    window = header.integer("attention.sliding_window", default=pattern.window or 0)
    if not window:
        return [None] * count
    if pattern.imposed and pattern.window:
        window = pattern.window
    return [window if slides else None for slides in _sliding(header, pattern, count)]


def _sliding(header: GgufHeader, pattern: _Pattern, count: int) -> list[bool]:
    key = "attention.sliding_window_pattern"
    if pattern.period is None or isinstance(header.metadata.get(f"{header.architecture}.{key}"), tuple):
        return [bool(flag) for flag in header.per_layer(key, count, default=0)]
    period = header.integer(key, default=pattern.period)
    if period == 0:
        return [True] * count
    full_at = 0 if pattern.full_first else period - 1
    return [il % period != full_at for il in range(count)]


def _layers_with_own_kv(header: GgufHeader, count: int) -> int:
    """Layers from here on reuse the cache of an earlier one."""
    if header.architecture == "gemma3n":
        return min(count, 20)
    if header.architecture == "gemma4":
        return count - min(count, header.integer("attention.shared_kv_layers", default=0))
    return count


# --- recurrent layers ------------------------------------------------------------------------------


def _recurrent(header: GgufHeader, count: int) -> list[bool]:
    architecture = header.architecture
    if architecture in _RECURRENT:
        return [True] * count
    if architecture in _FULL_ATTENTION_INTERVAL:
        return _recurrent_by_interval(header, count)
    if architecture in _RECURRENT_WITHOUT_KV:
        return [heads == 0 for heads in _kv_head_counts(header, count)]
    return [False] * count


def _recurrent_by_interval(header: GgufHeader, count: int) -> list[bool]:
    listed = "attention.recurrent_layers"
    if f"{header.architecture}.{listed}" in header.metadata:
        return [bool(flag) for flag in header.per_layer(listed, count)]
    interval = header.integer(
        "full_attention_interval", default=_FULL_ATTENTION_INTERVAL[header.architecture]
    )
    if interval == 0:
        header.refuse_key("full_attention_interval", interval, "at least 1")
    return [(il + 1) % interval != 0 for il in range(count)]


def _state_bytes(header: GgufHeader) -> int:
    """Convolution and recurrent state of one layer for one sequence; both are float32."""
    return sum(state_floats(header)) * _FLOAT_BYTES


def state_floats(header: GgufHeader) -> tuple[int, int]:
    """Elements of the convolution (or token-shift) state and of the recurrent state of a layer."""
    n_embd = header.integer("embedding_length")
    n_head = header.per_layer("attention.head_count", 1, default=0)[0]
    if wkv := header.integer("wkv.head_size", default=0):  # RWKV
        return header.integer("token_shift_count", default=2) * n_embd, n_embd * wkv
    if cached := header.integer("shortconv.l_cache", default=0):  # LFM2
        return n_embd * (cached - 1), 0
    conv = header.integer("ssm.conv_kernel", default=0)
    if kda := header.integer("kda.head_dim", default=0):  # Kimi delta attention
        return 3 * (max(conv - 1, 0) or 3) * n_head * kda, kda * kda * n_head
    if header.architecture == "minimax-01":
        length = header.integer("attention.key_length", default=n_embd // n_head if n_head else 0)
        return 0, length * length * n_head
    state = header.integer("ssm.state_size", default=0)
    inner = header.integer("ssm.inner_size", default=0)
    channels = inner + 2 * header.integer("ssm.group_count", default=0) * state
    return max(conv - 1, 0) * channels, state * inner
