"""When two model files count as the same one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference.file_identity import SAMPLED, fingerprint, identity

MIB = 2**20


def model(path: Path, content: bytes, modified_s: int = 1000) -> Path:
    path.write_bytes(content)
    os.utime(path, (modified_s, modified_s))
    return path


def test_the_name_does_not_count_and_everything_else_does(tmp_path: Path) -> None:
    content = b"a" * (4 * MIB)
    same = fingerprint(model(tmp_path / "a", content), "x", "y")
    assert fingerprint(model(tmp_path / "b", content), "x", "y") == same
    others = [
        fingerprint(model(tmp_path / "c", content + b"a"), "x", "y"),
        fingerprint(model(tmp_path / "c", content, 2000), "x", "y"),
        fingerprint(model(tmp_path / "c", b"b" + content[1:]), "x", "y"),
        fingerprint(model(tmp_path / "c", content[:-1] + b"b"), "x", "y"),
        fingerprint(tmp_path / "a", "xy"),
        fingerprint(tmp_path / "a", "y", "x"),
        fingerprint(tmp_path / "a", "x", "y", ""),
    ]
    assert len({same, *others}) == 8


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint(tmp_path / "none")


def test_an_identity_is_of_the_bytes_and_not_of_where_or_when(tmp_path: Path) -> None:
    content = bytes(range(256)) * (100 * MIB // 256)
    same = identity([model(tmp_path / "a", content)])
    assert same.startswith(f"{SAMPLED}:")
    assert identity([model(tmp_path / "b", content, 2000)]) == same
    others = [
        identity([model(tmp_path / "c", b"x" + content[1:])]),
        identity([model(tmp_path / "c", content[:-1] + b"x")]),
        identity([model(tmp_path / "c", content + b"x")]),
        identity([tmp_path / "a", tmp_path / "b"]),
    ]
    middle = bytearray(content)
    middle[(len(content) - MIB) // 15 * 7 + 5] ^= 1
    others.append(identity([model(tmp_path / "c", bytes(middle))]))
    assert len({same, *others}) == 6


@pytest.mark.parametrize("n_bytes", [0, 1, MIB, MIB + 1, 16 * MIB, 16 * MIB + 1])
def test_of_a_short_file_every_byte_counts(tmp_path: Path, n_bytes: int) -> None:
    content = bytearray(n_bytes)
    before = identity([model(tmp_path / "a", bytes(content))])
    for at in {0, n_bytes // 2, n_bytes - 1} if n_bytes else ():
        content[at] ^= 1
        assert identity([model(tmp_path / "a", bytes(content))]) != before
        content[at] ^= 1
