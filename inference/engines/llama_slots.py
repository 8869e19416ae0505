"""What each slot's sequence holds: the KV cache as tokens, checkpoints to return to, snapshots beside it.

Owns llama.cpp's memory of every sequence, and the archive of sequences that are in no slot now.
Engines say what a slot must hold next; how it gets there (cut back, copied, restored, or nothing)
is decided by inference/batching.py and carried out here. A restored state is bit-exact, so any path
gives the same answer as computing the prompt again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inference.batching import Placement, SlotView, TokenArray, plan_checkpoints
from inference.engines.llama_markup import Markup
from inference.engines.llama_native import Context, Model
from inference.file_identity import fingerprint
from inference.kv_store import MIN_TOKENS, Checkpoint, KvArchive, KvStore, Snapshot
from inference.model_spec import ModelSpec

MAX_SLOT_CHECKPOINTS = 6
"""Kept per slot: the first (after the system prompt) and the latest."""


@dataclass(slots=True)
class Slot:
    """One sequence. `tokens[:n_cached]` are those in the KV cache."""

    index: int
    tokens: TokenArray
    n_cached: int = 0
    used_at: int = 0
    checkpoints: list[Checkpoint] = field(default_factory=list)
    planned: list[int] = field(default_factory=list)  # positions where a checkpoint is to be kept

    def next_stop(self, n_prompt: int) -> int:
        """How far prefill may go in one chunk: to the next planned checkpoint, or the prompt's end."""
        return self.planned[0] if self.planned else n_prompt


def open_archive(model: Model, spec: ModelSpec, engine_build: str) -> KvArchive:
    """The archive that `spec` asks for; its files are those of this model, build and configuration."""
    store = None
    if spec.kv_store is not None:
        name = fingerprint(
            Path(spec.path),
            engine_build,
            spec.kv_type,
            f"flash_attn={spec.flash_attn} swa_full={spec.swa_full} n_gpu_layers={spec.n_gpu_layers}",
            model.meta("tokenizer.chat_template") or "",
            spec.chat_template or "",
        )
        store = KvStore(
            Path(spec.kv_store),
            name,
            limit_bytes=spec.kv_store_limit_bytes,
            max_age_s=spec.kv_store_max_age_s,
            warn=lambda text: print(text, file=sys.stderr, flush=True),  # noqa: T201 - the worker's log
        )
    return KvArchive(spec.kv_ram_bytes, store)


class SlotCache:
    def __init__(
        self, model: Model, context: Context, spec: ModelSpec, archive: KvArchive, markup: Markup
    ) -> None:
        self._model = model
        self._markup = markup
        self._context = context
        self._archive = archive
        self._window = 0 if spec.swa_full else model.n_swa
        self._needs_checkpoints = model.is_recurrent or bool(self._window)
        self._clock = 0
        capacity = context.n_ctx_slot + 1
        self.slots = [Slot(i, np.empty(capacity, dtype=np.int32)) for i in range(spec.slots)]

    def touch(self, slot: Slot) -> None:
        """Note that the slot is in use now."""
        self._clock += 1
        slot.used_at = self._clock

    def view(self, slot: Slot, *, busy: bool, coming: TokenArray | None = None) -> SlotView:
        return SlotView(
            slot.index,
            slot.tokens[: slot.n_cached],
            busy,
            slot.used_at,
            self._trim_floor(slot),
            tuple(c.n_tokens for c in slot.checkpoints),
            coming,
        )

    def archived(self) -> list[SlotView]:
        """Snapshots as placement sees them: copied from, never run in."""
        return [
            SlotView(kept.key, kept.tokens, True, 0, kept.trim_floor, kept.checkpoints, tier=kept.tier)
            for kept in self._archive.views()
        ]

    @property
    def archive_bytes(self) -> int:
        """Host memory that snapshots take. Bounded by `kv_ram` of the model."""
        return self._archive.memory_bytes

    def adopt(self, slot: Slot, prompt: TokenArray, placement: Placement) -> int:
        """Bring the slot to hold exactly the reusable prefix of the prompt. Returns its length."""
        reuse = placement.reuse
        if placement.copy_from is None:
            self._keep_tail(slot, reuse)
        else:
            self._keep_tail(slot, 0)
            self._copy(placement.copy_from, slot)
        if not self._cut(slot, min(reuse, slot.n_cached)):
            self.clear(slot)
        slot.tokens[: len(prompt)] = prompt
        slot.planned = self._plan(prompt, slot.n_cached) if self._needs_checkpoints else []
        return slot.n_cached

    def empty(self, slot: Slot) -> None:
        """Make the slot empty for other use, keeping what it held."""
        self._keep_tail(slot, 0)
        self.clear(slot)

    def reached_stop(self, slot: Slot) -> None:
        """Keep a checkpoint if the slot stands at a planned one now. Call after the decode."""
        if not slot.planned or slot.n_cached != slot.planned[0]:
            return
        slot.planned.pop(0)
        data = self._context.save_state(slot.index, partial=True)
        slot.checkpoints.append(Checkpoint(slot.n_cached, data))
        if len(slot.checkpoints) > MAX_SLOT_CHECKPOINTS:
            del slot.checkpoints[1]

    def clear(self, slot: Slot) -> None:
        self._context.forget(slot.index)
        slot.n_cached = 0
        slot.checkpoints.clear()
        slot.planned.clear()

    def save(self, deadline_s: float) -> int:
        """Write every sequence worth keeping to files, the latest used first. Returns how many."""
        latest = sorted(self.slots, key=lambda slot: -slot.used_at)
        return self._archive.save([s for slot in latest if (s := self._snapshot(slot))], deadline_s)

    def _trim_floor(self, slot: Slot) -> int:
        if self._model.is_recurrent:
            return slot.n_cached
        if not self._window or slot.n_cached == 0:
            return 0
        first = self._context.first_position(slot.index)
        return first + self._window if first > 0 else 0

    def _keep_tail(self, slot: Slot, reuse: int) -> None:
        """Before `slot` loses what lies behind `reuse`: keep it in host memory, if it is much."""
        if slot.n_cached - reuse >= MIN_TOKENS and (snapshot := self._snapshot(slot)):
            self._archive.put(snapshot)

    def _snapshot(self, slot: Slot) -> Snapshot | None:
        if slot.n_cached < MIN_TOKENS:
            return None
        return Snapshot(
            slot.tokens[: slot.n_cached].copy(),
            self._context.save_state(slot.index, partial=False),
            self._saved_floor(slot),
            tuple(slot.checkpoints),
        )

    def _saved_floor(self, slot: Slot) -> int:
        """The trim floor of a saved state: llama.cpp saves no more of a window than the last tokens need."""
        if self._model.is_recurrent or (self._window and slot.n_cached > self._window):
            return slot.n_cached
        return 0

    def _copy(self, source: int, slot: Slot) -> None:
        if source < 0:
            self._restore(source, slot)
            return
        other = self.slots[source]
        self._context.copy_sequence(other.index, slot.index)
        slot.tokens[: other.n_cached] = other.tokens[: other.n_cached]
        slot.n_cached = other.n_cached
        slot.checkpoints = list(other.checkpoints)

    def _restore(self, key: int, slot: Slot) -> None:
        self.clear(slot)
        snapshot = self._archive.take(key)
        n_tokens = len(snapshot.tokens) if snapshot else 0
        if snapshot is None or n_tokens >= len(slot.tokens):
            return
        if not self._context.restore_state(slot.index, snapshot.data, partial=False):
            self.clear(slot)
            return
        slot.tokens[:n_tokens] = snapshot.tokens
        slot.n_cached = n_tokens
        slot.checkpoints = list(snapshot.checkpoints)

    def _cut(self, slot: Slot, n_tokens: int) -> bool:
        """Cut the slot back to `n_tokens`. False if it cannot be: then its content is undefined."""
        if n_tokens == slot.n_cached:
            return True
        if n_tokens < self._trim_floor(slot):
            checkpoint = next((c for c in slot.checkpoints if c.n_tokens == n_tokens), None)
            if checkpoint is None:
                return False
            if not self._context.restore_state(slot.index, checkpoint.data, partial=True):
                return False
        slot.checkpoints = [c for c in slot.checkpoints if c.n_tokens <= n_tokens]
        slot.n_cached = n_tokens
        return self._context.keep_prefix(slot.index, n_tokens)

    def _plan(self, prompt: TokenArray, n_reused: int) -> list[int]:
        boundaries = np.flatnonzero(self._markup.is_control(prompt)).tolist()
        return plan_checkpoints(boundaries, n_reused, len(prompt))
