"""KV snapshots in memory and in files: bounds, damage, bad disks. States here are plain bytes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from inference.file_identity import fingerprint
from inference.kv_store import MIN_TOKENS, Checkpoint, KvArchive, KvStore, Snapshot

SOON = time.monotonic() + 3600


def snapshot(start: int, n_tokens: int = 200, size: int = 1000, **fields: object) -> Snapshot:
    tokens = np.arange(start, start + n_tokens, dtype=np.int32)
    return Snapshot(tokens, bytes([start % 251]) * size, **fields)  # type: ignore[arg-type]


class Disk:
    """A store with a clock of its own and every warning it gave."""

    def __init__(self, folder: Path, limit_bytes: int = 10**6, max_age_s: float = 1000.0) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self.now_s = time.time()
        self._limit_bytes = limit_bytes
        self._max_age_s = max_age_s

    def store(self, name: str = "model") -> KvStore:
        return KvStore(
            self.folder,
            name,
            limit_bytes=self._limit_bytes,
            max_age_s=self._max_age_s,
            warn=self.warnings.append,
            now=lambda: self.now_s,
        )

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.kv"))

    def starts(self, name: str = "model") -> list[int]:
        """First token of each snapshot there, least recently used first."""
        return [int(kept.tokens[0]) for kept in self.store(name).entries()]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "kv")


def test_what_was_saved_comes_back_equal(disk: Disk) -> None:
    saved = snapshot(7, trim_floor=150, checkpoints=(Checkpoint(50, b"abc"), Checkpoint(90, b"de")))
    assert disk.store().save([saved], SOON) == 1
    (kept,) = disk.store().entries()
    assert kept.path is not None
    assert (kept.trim_floor, kept.checkpoints) == (150, (50, 90))
    back = disk.store().read(kept.path)
    assert back is not None
    assert back.tokens.tolist() == saved.tokens.tolist()
    assert (back.data, back.trim_floor, back.checkpoints) == (saved.data, 150, saved.checkpoints)


def test_files_are_for_their_owner_only(disk: Disk) -> None:
    disk.store().save([snapshot(1)], SOON)
    (file,) = disk.files()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(disk.folder.stat().st_mode) == 0o700


def test_nothing_half_written_is_left_behind(disk: Disk) -> None:
    disk.store().save([snapshot(1)], SOON)
    assert [path.suffix for path in disk.folder.rglob("*") if path.is_file()] == [".kv"]


def test_a_longer_snapshot_replaces_what_it_extends(disk: Disk) -> None:
    disk.store().save([snapshot(0, 200), snapshot(900, 200)], SOON)
    disk.store().save([snapshot(0, 300)], SOON)
    assert sorted(len(kept.tokens) for kept in disk.store().entries()) == [200, 300]


def test_the_least_recently_used_goes_first_when_the_limit_is_reached(disk: Disk) -> None:
    for start in (1000, 2000, 3000):
        disk.store().save([snapshot(start, size=300_000)], SOON)
        disk.now_s += 10
    oldest = disk.store().entries()[0].path
    assert oldest is not None
    disk.store().read(oldest)
    disk.now_s += 10
    disk.store().save([snapshot(4000, size=300_000)], SOON)
    assert sorted(disk.starts()) == [1000, 3000, 4000]


def test_the_limit_holds_over_all_models(disk: Disk) -> None:
    for number in range(6):
        disk.store(f"model{number}").save([snapshot(number, size=300_000)], SOON)
    assert sum(file.stat().st_size for file in disk.files()) <= 10**6


def test_a_snapshot_larger_than_the_limit_is_not_kept(disk: Disk) -> None:
    assert disk.store().save([snapshot(1, size=2 * 10**6)], SOON) == 0
    assert disk.files() == []


def test_an_old_snapshot_is_neither_used_nor_kept(disk: Disk) -> None:
    disk.store().save([snapshot(1)], SOON)
    disk.now_s += 2000
    assert disk.store().entries() == []
    disk.store().save([snapshot(500)], SOON)
    assert disk.starts() == [500]
    assert len(disk.files()) == 1


def test_models_do_not_see_each_others_snapshots(disk: Disk) -> None:
    disk.store("one").save([snapshot(1)], SOON)
    assert disk.store("two").entries() == []


@pytest.mark.parametrize("cut", [0, 4, 11, 30, 500, -1])
def test_a_truncated_file_is_left_out(disk: Disk, cut: int) -> None:
    disk.store().save([snapshot(1)], SOON)
    (file,) = disk.files()
    file.write_bytes(file.read_bytes()[:cut])
    assert disk.store().entries() == []
    assert disk.store().read(file) is None


def test_every_flipped_byte_is_noticed(disk: Disk) -> None:
    disk.store().save([snapshot(1, checkpoints=(Checkpoint(150, b"state"),))], SOON)
    (file,) = disk.files()
    whole = file.read_bytes()
    for position in range(0, len(whole), 37):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        file.write_bytes(damaged)
        assert disk.store().read(file) is None, f"byte {position}"
        file.write_bytes(whole)
    assert disk.store().read(file) is not None


def test_a_header_that_promises_the_moon_is_refused_without_reading_it(disk: Disk) -> None:
    disk.store().save([snapshot(1)], SOON)
    (file,) = disk.files()
    file.write_bytes(file.read_bytes().replace(b'"n_tokens":200', b'"n_tokens":2000000000'))
    assert disk.store().entries() == []


def test_a_file_gone_meanwhile_is_a_miss(disk: Disk) -> None:
    disk.store().save([snapshot(1)], SOON)
    store = disk.store()
    (kept,) = store.entries()
    assert kept.path is not None
    kept.path.unlink()
    assert store.read(kept.path) is None
    assert disk.warnings == []


def test_a_folder_that_cannot_be_made_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    disk = Disk(tmp_path / "file" / "kv")
    store = disk.store()
    assert store.save([snapshot(1)], SOON) == 0
    assert store.save([snapshot(1)], SOON) == 0
    assert len(disk.warnings) == 1
    assert "KV snapshots are not kept: Not a directory" in disk.warnings[0]


FULL_DISK = """
import resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.inference.test_kv_store import Disk, snapshot
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
disk = Disk(Path(sys.argv[1]))
print(disk.store().save([snapshot(1, size=100_000)], time.monotonic() + 60), disk.warnings)
"""


def test_a_disk_that_fills_up_costs_the_snapshot_only(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "kv"), str(root)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.startswith("0 ['KV snapshots are not kept: File too large")
    assert [path for path in (tmp_path / "kv").rglob("*") if path.is_file()] == []


def test_saving_stops_at_its_deadline(disk: Disk) -> None:
    assert disk.store().save([snapshot(1), snapshot(500)], time.monotonic() - 1) == 0


def test_memory_keeps_what_was_pushed_out_and_gives_it_back_once() -> None:
    archive = KvArchive(10**6, None)
    archive.put(snapshot(1))
    (kept,) = archive.views()
    assert kept.key < 0
    back = archive.take(kept.key)
    assert back is not None
    assert back.tokens[0] == 1
    assert list(archive.views()) == []


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    archive = KvArchive(700_000, None)
    for start in (1000, 2000, 3000):
        archive.put(snapshot(start, size=300_000))
    assert [int(kept.tokens[0]) for kept in archive.views()] == [2000, 3000]
    assert archive.memory_bytes <= 700_000
    archive.put(snapshot(9, size=800_000))
    assert len(list(archive.views())) == 2


def test_memory_replaces_what_a_snapshot_extends_and_ignores_short_ones() -> None:
    archive = KvArchive(10**6, None)
    archive.put(snapshot(0, 200))
    archive.put(snapshot(0, 300))
    archive.put(snapshot(5000, MIN_TOKENS - 1))
    assert [len(kept.tokens) for kept in archive.views()] == [300]


def test_what_memory_holds_is_saved_with_the_slots(disk: Disk) -> None:
    archive = KvArchive(10**6, disk.store())
    archive.put(snapshot(1000))
    assert archive.save([snapshot(2000), snapshot(3000, 5)], SOON) == 2
    again = KvArchive(10**6, disk.store())
    assert sorted(int(kept.tokens[0]) for kept in again.views()) == [1000, 2000]
    assert again.memory_bytes == 0
    assert all(again.take(kept.key) is not None for kept in list(again.views()))


def test_the_fingerprint_tells_files_and_settings_apart(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"x" * 3_000_000)
    one = fingerprint(model, "f16", "build 1")
    assert one == fingerprint(model, "f16", "build 1")
    assert one != fingerprint(model, "q8_0", "build 1")
    assert one != fingerprint(model, "f16", "build 2")
    assert fingerprint(model, "ab", "c") != fingerprint(model, "a", "bc")
    content = bytearray(model.read_bytes())
    content[-1] = 0
    times = model.stat()
    model.write_bytes(content)
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert one != fingerprint(model, "f16", "build 1")
