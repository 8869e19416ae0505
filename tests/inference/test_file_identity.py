"""When two model files count as the same one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference.file_identity import fingerprint

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
