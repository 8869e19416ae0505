"""KV caches of sequences that are in no slot now: in host memory, and in files that survive a swap.

A Snapshot is what llama.cpp needs to go on with a sequence, and the tokens it stands for. KvMemory
keeps those pushed out of slots while the model stays loaded. KvStore keeps those of a worker that
ends, one file each, under the fingerprint of everything that its bytes depend on: another model
file, KV type or engine build has another folder, so nothing is ever restored that does not fit.

Files are whole or absent (written aside, renamed), checksummed, readable by their owner only, and
bounded in bytes and age, the least recently used going first. A full or read-only disk costs
nothing but the snapshot: it is reported once. Losing the newest files in a power cut is accepted,
since the checksum tells; so nothing is synced, and writing costs a copy into the page cache.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from inference.batching import Tier, TokenArray, common_prefix

MAGIC = b"HSKV0001"
MAX_HEADER_BYTES = 1 << 20
MAX_TOKENS = 1 << 24
MIN_TOKENS = 128
"""A shorter sequence is computed again sooner than it is worth keeping."""

_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of layers that cannot go back (recurrent, sliding window) after `n_tokens` tokens."""

    n_tokens: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One sequence. It can be cut back to any length of at least `trim_floor`, or to a checkpoint."""

    tokens: TokenArray
    data: bytes | memoryview
    trim_floor: int = 0
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def n_bytes(self) -> int:
        return self.tokens.nbytes + len(self.data) + sum(len(c.data) for c in self.checkpoints)


@dataclass(slots=True)
class Kept:
    """A snapshot that can be had, as placement sees it: `key` is negative, where slots count from 0."""

    key: int
    tokens: TokenArray
    trim_floor: int
    checkpoints: tuple[int, ...]
    n_bytes: int
    used_at: int
    snapshot: Snapshot | None  # None: in a file
    path: Path | None = None

    @property
    def tier(self) -> Tier:
        return "disk" if self.snapshot is None else "memory"


class KvArchive:
    """Every snapshot of one model: memory first, files behind it. Owned by one engine."""

    def __init__(self, limit_bytes: int, store: KvStore | None) -> None:
        self._limit_bytes = limit_bytes
        self._store = store
        self._kept: dict[int, Kept] = {}
        self._next_key = -1
        self._clock = 0
        for stored in store.entries() if store is not None else ():
            self._add(stored)

    def views(self) -> Iterator[Kept]:
        return iter(self._kept.values())

    @property
    def memory_bytes(self) -> int:
        return sum(kept.n_bytes for kept in self._kept.values() if kept.snapshot is not None)

    def put(self, snapshot: Snapshot) -> None:
        """Keep a snapshot in memory, if it is worth it and fits; what it extends is dropped."""
        if len(snapshot.tokens) < MIN_TOKENS or snapshot.n_bytes > self._limit_bytes:
            return
        for kept in [
            k for k in self._kept.values() if k.snapshot is not None and _extends(snapshot, k.tokens)
        ]:
            del self._kept[kept.key]
        self._make_room(snapshot.n_bytes)
        positions = tuple(c.n_tokens for c in snapshot.checkpoints)
        self._add(Kept(0, snapshot.tokens, snapshot.trim_floor, positions, snapshot.n_bytes, 0, snapshot))

    def take(self, key: int) -> Snapshot | None:
        """The snapshot, no longer kept in memory. None if its file turned out to be unusable."""
        kept = self._kept.pop(key)
        if kept.snapshot is not None or kept.path is None or self._store is None:
            return kept.snapshot
        return self._store.read(kept.path)

    def save(self, live: list[Snapshot], deadline_s: float) -> int:
        """Write `live` (most valuable first) and what memory holds to files. Returns how many."""
        if self._store is None:
            return 0
        in_memory = sorted(
            (k for k in self._kept.values() if k.snapshot is not None), key=lambda k: -k.used_at
        )
        snapshots = [s for s in live if len(s.tokens) >= MIN_TOKENS]
        snapshots += [k.snapshot for k in in_memory if k.snapshot is not None]
        return self._store.save(snapshots, deadline_s)

    def _add(self, kept: Kept) -> None:
        self._clock += 1
        kept.key, kept.used_at = self._next_key, self._clock
        self._kept[kept.key] = kept
        self._next_key -= 1

    def _make_room(self, n_bytes: int) -> None:
        in_memory = sorted(
            (k for k in self._kept.values() if k.snapshot is not None), key=lambda k: k.used_at
        )
        while in_memory and self.memory_bytes + n_bytes > self._limit_bytes:
            del self._kept[in_memory.pop(0).key]


def _extends(snapshot: Snapshot, tokens: TokenArray) -> bool:
    return common_prefix(snapshot.tokens, tokens) == len(tokens)


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    n_tokens: int
    trim_floor: int
    data_bytes: int
    checkpoints: list[tuple[int, int]]  # tokens, bytes

    def payload_bytes(self) -> int:
        return 4 * self.n_tokens + self.data_bytes + sum(size for _, size in self.checkpoints)

    def is_sane(self) -> bool:
        sizes = [self.data_bytes, *(size for _, size in self.checkpoints)]
        positions = [self.trim_floor, *(position for position, _ in self.checkpoints)]
        return (
            0 < self.n_tokens <= MAX_TOKENS
            and all(size > 0 for size in sizes)
            and all(0 <= position <= self.n_tokens for position in positions)
        )


class KvStore:
    """Snapshot files of one fingerprint, in a folder that all models share the bounds of."""

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        *,
        limit_bytes: int,
        max_age_s: float,
        warn: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = folder
        self._folder = folder / fingerprint
        self._limit_bytes = limit_bytes
        self._max_age_s = max_age_s
        self._warn = warn
        self._warned = False
        self._now = now

    def entries(self) -> list[Kept]:
        """What is there for this fingerprint, least recently used first. Unreadable files are left out."""
        found: list[tuple[float, Kept]] = []
        for path in self._files(self._folder):
            try:
                age_s = self._now() - path.stat().st_mtime
                if age_s <= self._max_age_s:
                    found.append((-age_s, _read_entry(path)))
            except (OSError, ValueError, msgspec.DecodeError):
                continue  # removed by another worker meanwhile, or not ours: never used, so harmless
        return [kept for _, kept in sorted(found, key=lambda pair: pair[0])]

    def read(self, path: Path) -> Snapshot | None:
        """The snapshot in a file, or None: gone, or its checksum is wrong (then it is removed)."""
        try:
            snapshot = _parse(path.read_bytes())
            self._touch(path)
        except OSError:
            return None  # removed by another worker, or the disk failed: prefill instead
        except (ValueError, msgspec.DecodeError) as error:
            self._warn(f"KV snapshot {path.name} is damaged ({error}): removed, the prompt is computed again")
            path.unlink(missing_ok=True)
            return None
        return snapshot

    def save(self, snapshots: list[Snapshot], deadline_s: float) -> int:
        """Write until done or `deadline_s` (time.monotonic) has passed. Never raises for a bad disk."""
        n_written = 0
        known = {kept.path: kept.tokens for kept in self.entries() if kept.path is not None}
        try:
            for snapshot in snapshots:
                if time.monotonic() > deadline_s:
                    break
                n_written += self._write(snapshot, known)
            self._prune(0)
        except OSError as error:
            self._warn_once(f"KV snapshots are not kept: {error.strerror or error}: {self._root}")
        return n_written

    def _write(self, snapshot: Snapshot, known: dict[Path, TokenArray]) -> bool:
        """Write one file in place of those of `known` that it extends. `known` is kept up to date."""
        if snapshot.n_bytes > self._limit_bytes:
            return False
        for folder in (self._root, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in [path for path, tokens in known.items() if _extends(snapshot, tokens)]:
            del known[path]
            path.unlink(missing_ok=True)
        self._prune(snapshot.n_bytes)
        name = hashlib.sha256(snapshot.tokens.tobytes()).hexdigest()[:32]
        aside = self._folder / f".{name}-{secrets.token_hex(4)}"
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                _write_to(file.write, snapshot)
            self._touch(aside)
            known[aside.replace(self._folder / f"{name}.kv")] = snapshot.tokens
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        return True

    def _touch(self, path: Path) -> None:
        """A file's modification time is when it was last used."""
        os.utime(path, (self._now(), self._now()))

    def _prune(self, room_bytes: int) -> None:
        """Remove what is too old, and the least recently used until `room_bytes` more would fit."""
        known: list[tuple[float, int, Path]] = []
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            for path in self._files(folder):
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                known.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in known)
        for modified_s, size, path in sorted(known):
            too_old = self._now() - modified_s > self._max_age_s
            if too_old or total + room_bytes > self._limit_bytes:
                path.unlink(missing_ok=True)
                total -= size

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        try:
            return [path for path in folder.iterdir() if path.suffix == ".kv"]
        except OSError:
            return []

    def _warn_once(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(text)


def _write_to(write: Callable[[bytes | memoryview], object], snapshot: Snapshot) -> None:
    """MAGIC, header length, header, tokens, state, checkpoints, SHA-256 of all before it."""
    header = msgspec.json.encode(
        _Header(
            len(snapshot.tokens),
            snapshot.trim_floor,
            len(snapshot.data),
            [(c.n_tokens, len(c.data)) for c in snapshot.checkpoints],
        )
    )
    digest = hashlib.sha256()
    tokens = snapshot.tokens.astype("<i4").tobytes()
    for part in (MAGIC + _LENGTH.pack(len(header)) + header, tokens, snapshot.data):
        digest.update(part)
        write(part)
    for checkpoint in snapshot.checkpoints:
        digest.update(checkpoint.data)
        write(checkpoint.data)
    write(digest.digest())


def _read_entry(path: Path) -> Kept:
    """Header and tokens of a file, without its state. Raises ValueError if it is not whole."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, offset = _read_header(file.read(len(MAGIC) + _LENGTH.size + MAX_HEADER_BYTES))
        if size != offset + header.payload_bytes() + _DIGEST_BYTES:
            raise ValueError(f"{size} bytes where its header announces another size")
        file.seek(offset)
        tokens = np.frombuffer(file.read(4 * header.n_tokens), dtype="<i4").astype(np.int32)
    positions = tuple(position for position, _ in header.checkpoints)
    return Kept(0, tokens, header.trim_floor, positions, size, 0, None, path)


def _read_header(start: bytes) -> tuple[_Header, int]:
    fixed = len(MAGIC) + _LENGTH.size
    if len(start) < fixed or not start.startswith(MAGIC):
        raise ValueError("not a KV snapshot of this version")
    (length,) = _LENGTH.unpack_from(start, len(MAGIC))
    if length > MAX_HEADER_BYTES or len(start) < fixed + length:
        raise ValueError("header out of bounds")
    header = msgspec.json.decode(start[fixed : fixed + length], type=_Header)
    if not header.is_sane():
        raise ValueError("header out of bounds")
    return header, fixed + length


def _parse(content: bytes) -> Snapshot:
    header, offset = _read_header(content[: len(MAGIC) + _LENGTH.size + MAX_HEADER_BYTES])
    if len(content) != offset + header.payload_bytes() + _DIGEST_BYTES:
        raise ValueError("wrong size")
    if hashlib.sha256(memoryview(content)[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:]:
        raise ValueError("wrong checksum")
    tokens = np.frombuffer(content, dtype="<i4", count=header.n_tokens, offset=offset).astype(np.int32)
    offset += 4 * header.n_tokens
    data = content[offset : offset + header.data_bytes]
    offset += header.data_bytes
    checkpoints: list[Checkpoint] = []
    for n_tokens, size in header.checkpoints:
        checkpoints.append(Checkpoint(n_tokens, content[offset : offset + size]))
        offset += size
    return Snapshot(tokens, data, header.trim_floor, tuple(checkpoints))
