"""Files are read within bounds, and what is wrong with them is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import BenchError, PlanError
from bench.reading import bounded, bounded_text, first_complaint


def test_a_file_within_its_bounds_and_one_byte_more(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert bounded(path, 5) == b"12345"
    assert bounded_text(path, 5) == "12345"
    with pytest.raises(BenchError, match=r"a: 5 bytes, more than 4"):
        bounded(path, 4)


def test_a_file_without_end_is_not_read_whole() -> None:
    with pytest.raises(BenchError, match="more than 10"):
        bounded(Path("/dev/zero"), 10)


def test_what_is_wrong_is_in_the_callers_words(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none: No such file or directory; try another"):
        bounded(tmp_path / "none", 10, PlanError, "; try another")
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match="b: not UTF-8"):
        bounded_text(tmp_path / "b", 10, PlanError)


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: int


class Outer(BaseModel):
    inner: list[Inner]


def test_the_first_complaint_names_key_and_value_and_is_short() -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"inner": [{"count": 1}, {"count": "x" * 500}]})
    said = first_complaint(raised.value)
    assert said.startswith("inner.1.count: Input should be a valid integer")
    assert said.endswith("found '" + "x" * 80 + "'")
