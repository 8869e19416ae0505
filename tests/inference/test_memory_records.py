"""What is known of models' memory from earlier runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.buffer_sizes import Buffer
from inference.gpu import DeviceMemory
from inference.memory_records import (
    MAX_LOADS,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    NOTHING_KNOWN,
    LoadMeasured,
    MemoryRecord,
    MemoryRecords,
    engine_build,
    record_key,
)
from inference.model_spec import ModelSpec

RECORD = MemoryRecord(
    model="m",
    file="/models/m.gguf",
    device="host",
    buffers=(Buffer("CPU", "compute", 7),),
    loads=(LoadMeasured(100, 1.0),),
)
HOST = DeviceMemory("cpu", "host memory", 10, 10)


def records(folder: Path) -> tuple[MemoryRecords, list[str]]:
    warnings: list[str] = []
    return MemoryRecords(folder, warn=warnings.append), warnings


def test_a_record_is_read_by_the_next_run(tmp_path: Path) -> None:
    first, _ = records(tmp_path / "a" / "dry-runs")
    assert first.read("key") is NOTHING_KNOWN
    first.write("key", RECORD)
    second, _ = records(tmp_path / "a" / "dry-runs")
    assert second.read("key") == RECORD
    assert second.read("other") is NOTHING_KNOWN


def test_only_the_owner_may_read_and_nothing_is_left_aside(tmp_path: Path) -> None:
    kept, _ = records(tmp_path / "dry-runs")
    kept.write("key", RECORD)
    kept.write("key", RECORD)
    (file,) = (tmp_path / "dry-runs").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


GOOD = msgspec.json.encode(RECORD)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:-1],
        b"[]",
        GOOD.replace(b'"version":1', b'"version":2'),
        GOOD.replace(b'"n_bytes":7', b'"n_bytes":-7'),
        GOOD.replace(b'"n_bytes":100', b'"n_bytes":-1'),
        GOOD.replace(b'"n_bytes":7', b'"n_bytes":"7"'),
        GOOD.replace(b'"model"', b'"other"'),
        GOOD + b" " * MAX_RECORD_BYTES,
        b"[" * 10_000,
    ],
)
def test_a_file_that_is_not_a_record_counts_as_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_bytes(content)
    kept, _ = records(tmp_path)
    assert kept.read("key") == NOTHING_KNOWN


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept, warnings = records(tmp_path / "file" / "dry-runs")
    kept.write("key", RECORD)
    kept.write("key", RECORD)
    assert len(warnings) == 1
    assert "dry runs are made again" in warnings[0]


def test_the_oldest_records_are_dropped(tmp_path: Path) -> None:
    for number in range(MAX_RECORDS):
        file = tmp_path / f"{number}.json"
        file.write_bytes(GOOD)
        os.utime(file, (1000 + number, 1000 + number))
    kept, _ = records(tmp_path)
    kept.write("new", RECORD)
    assert len(list(tmp_path.iterdir())) == MAX_RECORDS
    assert kept.read("0") is NOTHING_KNOWN
    assert kept.read("1") == kept.read("new") == RECORD


# --- loads ---------------------------------------------------------------------------------------


def test_the_highest_of_the_last_loads_counts() -> None:
    record = NOTHING_KNOWN
    assert record.measured_bytes is None
    for number, n_bytes in enumerate([900, *[100] * (MAX_LOADS - 1)]):
        record = record.with_load(LoadMeasured(n_bytes, float(number)))
    assert record.measured_bytes == 900
    record = record.with_load(LoadMeasured(150, 99.0))
    assert (record.measured_bytes, len(record.loads)) == (150, MAX_LOADS)


def test_growth_of_a_load_replaces_what_was_measured_of_it() -> None:
    record = RECORD.with_load(LoadMeasured(120, 1.0))
    assert record.loads == (LoadMeasured(120, 1.0),)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 6)), max_size=20))
def test_loads_stay_bounded(loads: list[tuple[int, int]]) -> None:
    record = NOTHING_KNOWN
    for n_bytes, at_s in loads:
        record = record.with_load(LoadMeasured(n_bytes, float(at_s)))
        assert record.loads[-1].n_bytes == n_bytes
        assert len(record.loads) <= MAX_LOADS


# --- keys ----------------------------------------------------------------------------------------


def test_a_key_knows_what_changes_memory_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")

    def key(engine: str = "1", device: DeviceMemory = HOST, file_bytes: int = 4, **settings: Any) -> str:
        fields = {"name": "m", "path": str(tmp_path / "m.gguf"), **settings}
        return record_key(ModelSpec(**fields), file_bytes, engine, device)

    same = [key(), key(name="other", priority=3, threads=2, aliases=("x",), kv_ram_bytes=0)]
    assert same[0] == same[1]
    changed = [
        key(n_ctx=1),
        key(slots=7),
        key(kv_type="q8_0"),
        key(n_gpu_layers=3),
        key(flash_attn=False),
        key(n_batch=64),
        key(n_ubatch=64),
        key(swa_full=True),
        key(kv_unified=True),
        key(embeddings=True),
        key(engine="2"),
        key(file_bytes=5),
        key(device=DeviceMemory("cuda", "host memory", 10, 10)),
        key(device=DeviceMemory("cpu", "other", 10, 10)),
    ]
    assert len({same[0], *changed}) == 1 + len(changed)
    assert key(device=DeviceMemory("cpu", "host memory", 20, 5)) == same[0]  # what is free is no identity


def test_the_engine_is_named_by_version_and_libraries() -> None:
    build = engine_build()
    assert build.split()[0][0].isdigit()
    assert "libllama.so:" in build
