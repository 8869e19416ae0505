"""Decisions of continuous batching: which slot, how much prefix, which tokens next.

Pure: token arrays and counts in, plans out. The engine (engines/llama.py) carries them out.
A slot is one sequence of the batch; its cached tokens are those whose KV entries exist now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

TokenArray = npt.NDArray[np.int32]
Tier = Literal["slot", "memory", "disk"]

MIN_COPY_TOKENS = 32
"""A shorter common prefix is computed again: copying a stream costs milliseconds, and a slot's memory."""

FEW_TOKENS = 512
"""As many are soon had back, from memory or computed again: a slot that holds no more may be taken for its
place, although another was used longer ago."""

MAX_LOST_SHARE = 0.25
"""A slot whose own continuation this may be is reused in place if no more than this share of it is lost."""

TILE = 64
"""Prompt tokens that llama.cpp's attention on a CPU computes at once (GGML_FA_TILE_Q): a shorter piece
costs as much, so prompts are cut at multiples of it."""

STEP_TARGET_S = 0.25
"""How long a step may take while others decode. Shorter steps read smoother, but prompts behind them
begin to decode one by one: at 0.1 s eight clients on two cores lost a fifth of their tok/s."""

MOST_PATIENCE = 4.0
"""By how much a step may outgrow STEP_TARGET_S for a crowd of waiting prompts."""

NEARLY_DONE_STEPS = 2
"""A prompt that needs no more steps than this is finished first, undivided: unequal pieces of several
sequences are computed one after another, and a short piece costs nearly a whole pass."""


MIN_WAIT_TOKENS = 64
"""A prompt waits for another's prefill if that will save at least this many tokens."""


@dataclass(frozen=True, slots=True)
class SlotView:
    """What placement needs to know of a slot, or of a kept snapshot (then `index` is negative and it
    is busy: it can be copied from, not run in). `used_at` grows with each use.

    A sequence can be cut back to any length of at least `trim_floor`, and to one of `checkpoints`.
    Full attention has floor 0; a sliding window reaches back only so far; recurrent layers cannot
    go back at all, so their floor is the whole. `coming`: the prompt being prefilled here, whose
    tokens will be cached soon. `tier`: where the state lies.
    """

    index: int
    cached: TokenArray
    busy: bool
    used_at: int
    trim_floor: int = 0
    checkpoints: tuple[int, ...] = ()
    coming: TokenArray | None = None
    tier: Tier = "slot"


@dataclass(frozen=True, slots=True)
class Placement:
    """Run in slot `index`, after copying `copy_from` (a slot, or a snapshot) there if set, keeping
    `reuse` tokens.

    `nearest` is what has the longest common prefix with the prompt, `prefix` its length: no part of
    the decision, but it explains it (prefix_report.py). None where nothing is cached at all.
    """

    index: int
    reuse: int
    copy_from: int | None = None
    nearest: int | None = field(default=None, compare=False)
    prefix: int = field(default=0, compare=False)

    @property
    def source(self) -> int:
        """The slot or snapshot whose tokens are reused."""
        return self.index if self.copy_from is None else self.copy_from


def common_prefix(a: TokenArray, b: TokenArray) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    if n == 0:
        return 0
    differs = a[:n] != b[:n]
    first = int(differs.argmax())
    return first if differs[first] else n


def reusable(prompt: TokenArray, slot: SlotView) -> int:
    """How many cached tokens the prompt can start from.

    At least one prompt token is always computed: its logits are needed.
    """
    return reusable_prefix(common_prefix(prompt, slot.cached), len(prompt), slot)


def reusable_prefix(prefix: int, n_prompt: int, slot: SlotView) -> int:
    """`reusable` where the common prefix is known."""
    prefix = min(prefix, n_prompt - 1)
    if prefix == len(slot.cached) or prefix >= slot.trim_floor:
        return prefix
    return max((n for n in slot.checkpoints if n <= prefix), default=0)


def better_soon(prompt: TokenArray, placement: Placement, slots: Sequence[SlotView]) -> bool:
    """Whether a prefill now under way will hold so much more of this prompt that waiting for it pays.

    Sub-agents started together share a long system prompt: the first computes it, the others copy.
    """
    soon = max(
        (common_prefix(prompt, s.coming) for s in slots if s.coming is not None and s.trim_floor == 0),
        default=0,
    )
    return min(soon, len(prompt) - 1) - placement.reuse >= MIN_WAIT_TOKENS


def place(prompt: TokenArray, slots: Sequence[SlotView]) -> Placement | None:
    """Choose the slot for a prompt, or None if all are busy.

    In order: continue a session where it is; else take the emptiest or least recently used idle
    slot, with the longest useful prefix copied from wherever it lies, so that a shared system
    prompt is computed once and no session is destroyed for another's sake.
    """
    idle = [slot for slot in slots if not slot.busy]
    if not idle:
        return None
    common = {slot.index: common_prefix(prompt, slot.cached) for slot in slots}
    reuse = {slot.index: reusable_prefix(common[slot.index], len(prompt), slot) for slot in slots}
    placement = _choose(slots, idle, reuse)
    nearest = max(
        (slot for slot in slots if len(slot.cached)),
        key=lambda slot: (common[slot.index], slot.index == placement.source, slot.used_at),
        default=None,
    )
    if nearest is None:
        return placement
    return replace(placement, nearest=nearest.index, prefix=common[nearest.index])


def _choose(slots: Sequence[SlotView], idle: Sequence[SlotView], reuse: Mapping[int, int]) -> Placement:
    running = [slot.index for slot in slots if slot.busy and slot.index >= 0]
    home = _home(idle, reuse, running)
    source = max(slots, key=lambda slot: (reuse[slot.index], slot.index == home.index))
    gain = reuse[source.index] - reuse[home.index]
    if gain < MIN_COPY_TOKENS and _is_continuation(reuse[home.index], len(home.cached)):
        return Placement(home.index, reuse[home.index])
    others = [slot for slot in idle if slot.index != source.index or reuse[slot.index] == 0]
    if not others:
        return Placement(source.index, reuse[source.index])
    target = _free(others, running)
    if reuse[source.index] - reuse[target.index] >= MIN_COPY_TOKENS:
        return Placement(target.index, reuse[source.index], copy_from=source.index)
    return Placement(target.index, reuse[target.index])


def _home(idle: Sequence[SlotView], reuse: Mapping[int, int], running: Sequence[int]) -> SlotView:
    """The slot that holds most of the prompt. Of those that hold as much but for a few tokens, as sessions
    with one system prompt do: one that loses next to nothing, else one beside what runs."""
    most = max(reuse[slot.index] for slot in idle)

    def cost(slot: SlotView) -> tuple[bool, int, int, int]:
        reused = reuse[slot.index]
        is_cut = len(slot.cached) - reused > MIN_COPY_TOKENS
        return is_cut, n_groups([*running, slot.index]), -reused, -slot.used_at

    return min((slot for slot in idle if reuse[slot.index] > most - MIN_COPY_TOKENS), key=cost)


def _is_continuation(reuse: int, cached: int) -> bool:
    return reuse > 0 and cached - reuse <= max(MIN_COPY_TOKENS, MAX_LOST_SHARE * cached)


def _free(idle: Sequence[SlotView], running: Sequence[int]) -> SlotView:
    """The slot to run something new in: an empty one, else one whose tokens are few or that was used least
    recently. Among those, beside what runs already: each group of neighbours is a pass over the model's
    weights in every step."""
    empty = [slot for slot in idle if not len(slot.cached)]
    old_at = sorted(slot.used_at for slot in idle)[(len(idle) - 1) // 2]
    spare = [slot for slot in idle if len(slot.cached) <= FEW_TOKENS or slot.used_at <= old_at]
    return min(empty or spare, key=lambda slot: (n_groups([*running, slot.index]), slot.used_at))


def n_groups(slots: Iterable[int]) -> int:
    """Of neighbours."""
    indices = set(slots)
    return sum(index - 1 not in indices for index in indices)


@dataclass(frozen=True, slots=True)
class Pending:
    """A slot with prompt tokens still to compute. `order` grows with arrival."""

    index: int
    remaining: int
    order: int


@dataclass(frozen=True, slots=True)
class Chunk:
    index: int
    n_tokens: int


def prefill_budget(n_decoding: int, n_pending: int, n_batch: int, tokens_per_s: float) -> int:
    """Prompt tokens that the next step may carry beside `n_decoding` running streams.

    With nobody decoding: a whole batch. Else as many tiles as keep the step near STEP_TARGET_S at
    the measured prefill rate, so that a long prompt slows running streams but never stalls them.
    Where more clients wait for their first token than are being served, steps may grow with that ratio.
    """
    if n_decoding == 0:
        return n_batch
    target_s = STEP_TARGET_S * min(MOST_PATIENCE, max(1.0, n_pending / n_decoding))
    tiles = max(1, round(tokens_per_s * target_s / TILE))
    return max(0, min(n_batch - n_decoding, TILE * tiles))


def plan_prefill(pending: Sequence[Pending], budget: int, room: int) -> list[Chunk]:
    """Divide the budget. The oldest prompt is finished first; one that needs many more steps gets
    half, and short ones behind it the rest. So nobody starves, and a short prompt answers soon.

    A prompt that is cut is cut at a whole tile. One that would leave less than half a tile for the
    next step is finished in this one, if there is room (at least `budget`) for it.
    """
    if not pending or budget <= 0:
        return []
    limit = min(room, budget + TILE // 2)
    oldest = min(pending, key=lambda p: p.order)
    is_long = oldest.remaining > NEARLY_DONE_STEPS * budget
    half = min(budget, -(-budget // (2 * TILE)) * TILE)
    shares = {oldest.index: half if is_long else _piece(oldest.remaining, budget, limit)}
    spent = shares[oldest.index]
    for p in sorted((p for p in pending if p is not oldest), key=lambda p: (p.remaining, p.order)):
        if take := _piece(p.remaining, budget - spent, limit - spent):
            shares[p.index] = take
            spent += take
    shares[oldest.index] += max(0, min(budget - spent, oldest.remaining - shares[oldest.index]))
    return [Chunk(index, n) for index, n in shares.items() if n]


def _piece(remaining: int, budget: int, limit: int) -> int:
    """How much of a prompt goes into a step: all of it within `limit`, else whole tiles of `budget`."""
    if remaining <= limit:
        return remaining
    return max(0, budget) // TILE * TILE


MAX_CHECKPOINTS = 3
"""New checkpoints for one prompt: the end of the shared beginning, and the last two boundaries."""

MIN_CHECKPOINT_TOKENS = 64

NEAR_END_TOKENS = 32
"""A boundary this close to the prompt's end serves as its end."""


def plan_checkpoints(boundaries: Sequence[int], n_reused: int, n_prompt: int) -> list[int]:
    """Where, in a prompt whose layers cannot go back, to keep a state to return to. Ascending.

    `boundaries` are positions where a message begins. A client comes back with the same messages
    and a new one, with an answer rewritten (reasoning dropped), or with the same system prompt and
    another task: so the last boundaries, and the first after the system prompt.
    """
    useful = [b for b in boundaries if max(n_reused, MIN_CHECKPOINT_TOKENS - 1) < b < n_prompt]
    chosen = {*useful[:1], *useful[-(MAX_CHECKPOINTS - 1) :]}
    last = n_prompt - 1
    if not chosen or last - max(chosen) > NEAR_END_TOKENS:
        chosen = {*sorted(chosen)[: MAX_CHECKPOINTS - 1], last}
    return sorted(b for b in chosen if b > n_reused and b >= MIN_CHECKPOINT_TOKENS)
